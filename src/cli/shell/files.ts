import { extname } from 'node:path';
import type { Model, SaveOptions } from '../../graph/index.js';
import type { Document } from '../../report/text/document.js';
import { FORMATS, type Format, render } from '../../report/text/render.js';
import { Interrupted, UsageError } from './errors.js';
import { hasColour, type Io, lineWidth, ReaderGone, readAll, tell, write, writeTalk } from './io.js';
import { keepApart, type Output } from './outputs.js';

/** The positional of a model. */
export const MODEL = {
  type: 'string',
  demandOption: true,
  describe: 'ONNX file, - for standard input',
} as const;

const STDIO = '-';
const MOST_WARNINGS = 3;
/** Endings of files that take the table as text. */
const TEXT_ENDINGS = ['', 'txt', 'text', 'log'];
const NOTE = ['note:', 'bold'] as const;

/** How a file of the command line is called in messages. */
export function nameOf(path: string): string {
  return path === STDIO ? 'standard input' : path;
}

/** Reads a model as it is, whatever is wrong with it. */
export async function readGiven(path: string, io: Io): Promise<Model> {
  const { readModel } = await import('../../graph/index.js');
  if (path !== STDIO) return await readModel(path);
  if (io.stdin.isTTY)
    throw new UsageError('standard input is a terminal; pipe a model into it, or name a file');
  return await readModel(await readAll(io.stdin), { directory: process.cwd() });
}

/**
 * Reads a model and checks it. Its warnings go to stderr.
 *
 * @param options fixInputs makes constants of initializers that are inputs too
 *
 * @throws ModelError when it cannot be read or is not valid
 */
export async function loadModel(
  path: string,
  io: Io,
  options: {
    readonly quiet: boolean;
    readonly verbose: boolean;
    readonly fixInputs?: boolean | undefined;
    /** What the command writes, for it to be none of the model's files. */
    readonly outputs?: readonly Output[];
    /** The output that may replace the model itself. */
    readonly inPlace?: string | undefined;
  },
): Promise<Model> {
  const { dataFilesOf, ModelError } = await import('../../graph/index.js');
  const { check } = await import('../../graph/check/check.js');
  const model = await readGiven(path, io);
  const { outputs = [], inPlace } = options;
  keepApart(inPlace === undefined ? outputs : outputs.filter((file) => file.path !== inPlace), [path], io);
  keepApart(outputs, dataFilesOf(model), io);
  const problems = check(model);
  const errors = problems.filter(({ severity }) => severity === 'error');
  const [first] = errors;
  if (first !== undefined) {
    const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : '';
    throw new ModelError(`${first.message}; ${first.hint}${more}`, { ...first.where, file: nameOf(path) });
  }
  const warnings = options.quiet ? [] : problems.filter(({ severity }) => severity === 'warning');
  const shown = options.verbose ? warnings : warnings.slice(0, MOST_WARNINGS);
  for (const { message, where } of shown) {
    await warn(new ModelError(message, { ...where, file: nameOf(path) }).message, io);
  }
  if (warnings.length > shown.length) {
    await warn(`${nameOf(path)}: ${warnings.length - shown.length} more of these; --verbose lists them`, io);
  }
  if (options.fixInputs) {
    const { fixInputs } = await import('../../passes/rewrite/fix-inputs.js');
    const [{ fixed }] = await model.apply(fixInputs());
    if (fixed.length > 0 && !options.quiet) {
      const inputs = fixed.length === 1 ? '1 input' : `${fixed.length} inputs`;
      await tell(io, `${nameOf(path)}: ${inputs} with a value in the file taken as constant`);
    }
  }
  return model;
}

export async function warn(text: string, io: Io): Promise<void> {
  await tell(io, text, ['warning:', 'yellow']);
}

interface WriteArguments {
  readonly overwrite: boolean;
  readonly dataFile?: string | undefined;
  readonly external?: SaveOptions['external'] | undefined;
}

/** Where a model is to be written, checked before the work. */
export async function checkOutput(
  args: WriteArguments & { readonly output?: string | undefined; readonly dryRun: boolean },
  io: Io,
): Promise<string | undefined> {
  const { output, overwrite, dataFile, dryRun } = args;
  if (dryRun) return undefined;
  if (output === undefined || output === '') {
    throw new UsageError('no output: pass -o <file>, -o - for standard output, or --dry-run');
  }
  if (output !== STDIO) {
    const { assertDataFile, assertWritable } = await import('../../graph/index.js');
    await assertWritable(output, { overwrite });
    if (dataFile !== undefined) assertDataFile(output, dataFile);
  } else if (dataFile !== undefined) {
    throw new UsageError('--data-file goes with an output file, not with standard output');
  } else if (io.stdout.isTTY) {
    throw new UsageError('a model is binary and standard output is a terminal; redirect it, or name a file');
  }
  return output;
}

/** Writes a model. Ctrl-C while it does leaves the old file and no other. */
export async function writeModel(
  model: Model,
  output: string,
  { overwrite, dataFile, external }: WriteArguments,
  io: Io,
): Promise<void> {
  const { modelToBytes, saveModel } = await import('../../graph/index.js');
  if (output === STDIO) await write(io, modelToBytes(model));
  else {
    const { kept } = await interruptible((signal) =>
      saveModel(model, output, { overwrite, dataFile, ...(external && { external }), signal }),
    );
    for (const file of kept) {
      await tell(io, `${file} stays, which the replaced model read: another model may read it too`, NOTE);
    }
  }
}

/** Prints a document to standard output or, where the model goes there, to stderr. */
export async function print(
  document: Document,
  options: {
    readonly format?: Format | undefined;
    readonly verbose: boolean;
    readonly output?: string | undefined;
  },
  io: Io,
): Promise<void> {
  const stream = options.output === STDIO ? io.stderr : io.stdout;
  const text = render(document, {
    format: options.format ?? 'table',
    width: lineWidth({ ...io, stdout: stream }),
    colour: hasColour(stream, io.env),
    legend: options.verbose,
    words: io.words,
  });
  if (stream === io.stderr) return await writeTalk(io, text);
  try {
    await write(io, text);
  } catch (error) {
    // What the command found out does not change because nobody reads it to the end.
    if (!(error instanceof ReaderGone)) throw error;
  }
}

/**
 * Prints the summary of what a command did. With --quiet only where it is data: --format asks for it, and it goes to
 * standard output.
 */
export async function summarize(
  document: Document,
  options: Parameters<typeof print>[1] & { readonly quiet: boolean },
  io: Io,
): Promise<void> {
  const isData = options.format !== undefined && options.output !== STDIO;
  if (!options.quiet || isData) await print(document, options, io);
}

/** The format that was asked for or, failing that, the one that the file's name tells; UsageError where it tells none. */
export function formatOf(
  format: Format | undefined,
  path: string | undefined,
  formats: readonly Format[] = FORMATS,
  option = '-o',
): Format {
  const extension = extname(path ?? '')
    .slice(1)
    .toLowerCase();
  const told = extension === 'markdown' ? 'md' : formats.find((known) => known === extension);
  if (format === undefined && told === undefined && !TEXT_ENDINGS.includes(extension)) {
    throw new UsageError(
      `${option} ${path}: no format of a report ends in .${extension}; name it ${formats.map((known) => `.${known === 'table' ? 'txt' : known}`).join(', ')}, or pass --format`,
    );
  }
  return format ?? told ?? 'table';
}

/** Where and how a report is written. */
export interface ReportTarget {
  readonly output?: string | undefined;
  readonly format?: Format | undefined;
  readonly overwrite: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
}

/** UsageError for a page that nobody said a file for, where a terminal would print it; `example` is such a file. */
export function refusePageOnTerminal(
  format: Format,
  output: string | undefined,
  io: Io,
  example: string,
): void {
  if (format === 'html' && output === undefined && io.stdout.isTTY)
    throw new UsageError(`a page is for a browser: pass -o ${example}, or redirect standard output`);
}

/** Writes a document to a file, in one step. */
export async function writeDocument(
  document: Document,
  path: string,
  options: { readonly format: Format | undefined; readonly overwrite: boolean; readonly verbose: boolean },
  { words }: Pick<Io, 'words'>,
): Promise<void> {
  const { atomicWrite, MemorySource } = await import('../../graph/index.js');
  const text = render(document, { format: formatOf(options.format, path), legend: options.verbose, words });
  const content = new MemorySource(new TextEncoder().encode(text));
  await interruptible((signal) => atomicWrite(path, content, { overwrite: options.overwrite, signal }));
}

/**
 * Work that SIGINT and SIGTERM end in order. Only saving is: elsewhere there is nothing to clear away, and the
 * process had better end at once than after the matrix product that keeps it from hearing the signal.
 */
async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const stop = (signal: 'SIGINT' | 'SIGTERM'): void => controller.abort(new Interrupted(signal));
  process.once('SIGINT', stop).once('SIGTERM', stop);
  try {
    return await work(controller.signal);
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
}
