import {
  appendFileSync,
  closeSync,
  existsSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { ModelError, messageOf } from '../../graph/index.js';
import { isObject } from '../../graph/option-descriptors.js';
import type { RunRecord } from '../study.js';

/** The first line of a file of runs: what made them. */
export interface RunsHeader {
  readonly format: 'onnx-overparam runs';
  readonly study: string;
  /** Version of this package, and of what it runs on. */
  readonly tool: string;
  readonly node: string;
  readonly onnxruntime: string;
  readonly processor: string;
  readonly command: string;
  readonly seeds: number;
  /** Runs of the whole plan, of all shards. */
  readonly planned: number;
  readonly shard: string | null;
  /** Settings that the plan was confined to, where it was: `name=value`. */
  readonly only?: readonly string[] | undefined;
  readonly quick: boolean;
  readonly data: readonly string[];
  /** Of a plan of the user's own. */
  readonly custom?: unknown;
}

/** What parseRuns returns: the contents of a file of runs. */
export interface RunsFile {
  readonly header: RunsHeader;
  readonly runs: readonly RunRecord[];
}

export function processorName(): string {
  const [cpu] = cpus();
  return `${cpu?.model.trim() || process.arch}, ${availableParallelism()} cores`;
}

/** A number as JSON has it; NaN and infinities, which it has not, as texts. */
function replaced(_key: string, value: unknown): unknown {
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
}

/** The line of a run, with its line break: it depends on nothing but the run. */
export function runLine({ study, settings, seed, problem, metrics, pictures }: RunRecord): string {
  const line = {
    study,
    settings,
    seed,
    ...(problem !== undefined && { problem }),
    metrics,
    ...(pictures !== undefined && { pictures }),
  };
  return `${JSON.stringify(line, replaced)}\n`;
}

/**
 * The runs of a file. A last line without its end, which a process left that was killed while it wrote, is no run yet. Of
 * several lines of one run the first counts.
 *
 * @throws ModelError where it is no file of runs, naming the line
 * @example
 * const { header, runs } = parseRuns(await readFile('runs.jsonl', 'utf8'), 'runs.jsonl');
 * console.log(header.study, runs.length, header.planned);
 */
export function parseRuns(text: string, file: string): RunsFile {
  const lines = text.slice(0, text.lastIndexOf('\n') + 1).split('\n');
  lines.pop();
  const parsed = lines.map((line, index): Record<string, unknown> => {
    try {
      const value: unknown = JSON.parse(line);
      if (isObject(value)) return value;
    } catch (error) {
      throw damaged(file, index + 1, messageOf(error));
    }
    throw damaged(file, index + 1, 'it is no object');
  });
  const [header, ...rest] = parsed;
  if (header?.format !== 'onnx-overparam runs' || typeof header.study !== 'string')
    throw new ModelError('is no file of runs: its first line does not say so', { file });
  const runs = rest.map((line, index) => runOf(line, file, index + 2));
  return { header: header as unknown as RunsHeader, runs };
}

function runOf(line: Record<string, unknown>, file: string, at: number): RunRecord {
  const { study, settings, seed, metrics, problem } = line;
  if (typeof study !== 'string' || !isObject(settings) || !Number.isInteger(seed) || !isObject(metrics))
    throw damaged(file, at, 'it is no run');
  if (problem !== undefined && typeof problem !== 'string') throw damaged(file, at, 'it is no run');
  const numbers = Object.entries(metrics).map(([key, value]) => [key, Number(value)] as const);
  const strange = numbers.find(([key, value]) => Number.isNaN(value) && metrics[key] !== 'NaN');
  if (strange !== undefined) throw damaged(file, at, `'${strange[0]}' is no number`);
  return { ...(line as unknown as RunRecord), metrics: Object.fromEntries(numbers) };
}

function damaged(file: string, line: number, why: string): ModelError {
  return new ModelError(`line ${line} cannot be read: ${why}; remove it, and its run is made again`, {
    file,
  });
}

/** Appends runs to a file; each is there as a whole line, or not at all. */
export class RunsWriter {
  readonly #file: string | undefined;
  /** Of all runs that the file is to hold: of a sweep that goes on with more seeds, those. */
  readonly header: RunsHeader;
  readonly runs: RunRecord[] = [];

  /**
   * @param file made with the header where it does not exist; otherwise its runs are taken over, and a half line at its end goes
   * @param merged the header of a file that holds more than it did; throws where its runs are others
   */
  constructor(file: string | undefined, header: RunsHeader, merged: (found: RunsHeader) => RunsHeader) {
    this.#file = file;
    this.header = header;
    if (file === undefined) return;
    const text = existsSync(file) ? readFileSync(file, 'utf8') : '';
    const end = text.lastIndexOf('\n') + 1;
    if (end === 0) {
      const descriptor = openSync(file, 'w');
      try {
        writeSync(descriptor, `${JSON.stringify(header)}\n`);
      } finally {
        closeSync(descriptor);
      }
      return;
    }
    const found = parseRuns(text, file);
    this.header = merged(found.header);
    this.runs.push(...found.runs);
    const first = `${JSON.stringify(this.header)}\n`;
    if (!text.startsWith(first)) {
      // Beside it, so that a process that is killed here leaves the old file.
      const beside = `${file}.new`;
      writeFileSync(beside, first + text.slice(text.indexOf('\n') + 1, end));
      renameSync(beside, file);
      return;
    }
    if (end === text.length) return;
    const descriptor = openSync(file, 'r+');
    try {
      ftruncateSync(descriptor, Buffer.byteLength(text.slice(0, end)));
    } finally {
      closeSync(descriptor);
    }
  }

  add(run: RunRecord): void {
    const line = runLine(run);
    if (this.#file !== undefined) appendFileSync(this.#file, line);
    // As it will be read again.
    this.runs.push(JSON.parse(line) as RunRecord);
  }
}
