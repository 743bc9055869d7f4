import { ModelError, messageOf } from '../../graph/errors.js';
import { PatternError } from '../../graph/names/glob.js';
import { printable } from '../../report/text/text.js';

/** The command line was wrong. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** The user stopped the command. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  readonly signal: 'SIGINT' | 'SIGTERM';

  constructor(signal: 'SIGINT' | 'SIGTERM') {
    super('interrupted; nothing was written');
    this.signal = signal;
  }
}

/** Errors of commands whose exit code 1 is an answer. */
const TROUBLES = new WeakSet<Error>();

/**
 * Does the work of a command whose exit code 1 is an answer, as that of diff(1): an error must not look like one, so its code is 2.
 */
export async function answering<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Error) TROUBLES.add(error);
    throw error;
  }
}

/** The exit code that stands for an error. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof UsageError) return 2;
  if (error instanceof Interrupted) return error.signal === 'SIGINT' ? 130 : 143;
  return error instanceof Error && TROUBLES.has(error) ? 2 : 1;
}

const MOST = 600;

/** An error in one or two lines; with its stack and causes where the user asked for them. */
export function describeError(
  error: unknown,
  options: {
    readonly verbose: boolean;
    readonly command?: string | undefined;
    /** What puts the library's words into those of the command line. */
    readonly words?: ((text: string) => string) | undefined;
  },
): string {
  const { words = (text) => text } = options;
  const lines = words(messageOf(error))
    .trim()
    .split(/\s*\n\s*/)
    .map(printable);
  const isExpected =
    error instanceof ModelError || error instanceof UsageError || error instanceof Interrupted;
  let text = lines.slice(0, 2).join('\n  ');
  if (text.length > MOST) text = `${text.slice(0, MOST)}…`;
  if (error instanceof UsageError) {
    text += `\n  See onnx-overparam ${options.command === undefined ? '' : `${options.command} `}--help`;
  } else if (!isExpected && !options.verbose) {
    text += `\n  This was not foreseen; --verbose shows where it happened`;
  }
  if (options.verbose && !(error instanceof UsageError)) text += `\n${stackOf(error)}`;
  return `${error instanceof Interrupted ? '' : 'error: '}${text}\n`;
}

function stackOf(error: unknown): string {
  const parts: string[] = [];
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    parts.push(`${parts.length > 0 ? 'caused by ' : ''}${cause.stack ?? cause.message}`);
  }
  return parts.join('\n').split('\n').map(printable).join('\n');
}

/** Runs work on a file: an error that does not say its file gets it. */
export async function onFile<T>(file: string, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const isPlaced = !(error instanceof ModelError) || error.where.file !== undefined;
    // A pattern is of the command line, whatever file it names nothing in.
    if (isPlaced || error instanceof PatternError) throw error;
    throw new ModelError(error.message, { file }, { cause: error });
  }
}
