import { createReadStream } from 'node:fs';
import { createGunzip } from 'node:zlib';
import { CsvError, type InfoRecord, parse } from 'csv-parse';
import {
  assertFits,
  type ByteSource,
  FileSource,
  MemorySource,
  ModelError,
  messageOf,
  type Scratch,
} from '../../graph/index.js';
import { headOf, isGzip } from './inflate.js';
import { readRows } from './rows.js';
import { type Column, type Source, skippedNotes } from './source.js';

export interface CsvOptions {
  readonly memory: number;
  readonly scratch: Scratch;
  /** Name or index of the column to predict; default the last. */
  readonly target?: string | number | undefined;
  /** All columns are features. */
  readonly unlabeled?: boolean | undefined;
  readonly header?: boolean | undefined;
  readonly delimiter?: string | undefined;
  readonly classNames?: readonly string[] | undefined;
  readonly skipBad?: boolean | undefined;
}

/** Texts beyond this number are no names of classes. */
const MOST_CLASSES = 65_536;
/** Bytes of features that are written at once. */
const BLOCK = 4 * 2 ** 20;

/**
 * A table in CSV (RFC 4180), plain or gzip: numbers, and one column to predict, which may be the names of classes.
 * It is parsed once; where its numbers take more than `memory` bytes, they go to a temporary file.
 *
 * @throws ModelError naming the file, the line and the column, for what is no number, and lines of another length, which `skipBad` leaves out
 */
export async function openCsv(path: string, options: CsvOptions): Promise<Source> {
  const head = firstBytes(path);
  if (head.length === 0) throw new ModelError('is empty', { file: path });
  const isPacked = isGzip(head);
  const file = createReadStream(path);
  const text = isPacked ? file.pipe(createGunzip()) : file;
  const table = new Table(path, options);
  try {
    const delimiter = options.delimiter ?? (isPacked ? undefined : delimiterOf(head));
    const parser = parse({
      bom: true,
      info: true,
      trim: true,
      skip_empty_lines: true,
      max_record_size: LONGEST_ROW,
      relax_column_count: options.skipBad ?? false,
      delimiter: delimiter === undefined ? [',', ';', '\t'] : delimiter,
    });
    // An error of a stream does not go through a pipe.
    for (const stream of [file, text]) stream.on('error', (error: Error) => parser.destroy(error));
    for await (const { record, info } of text.pipe(parser) as AsyncIterable<{
      readonly record: readonly string[];
      readonly info: InfoRecord;
    }>) {
      table.add(record, info.lines);
    }
  } catch (error) {
    if (error instanceof ModelError) throw error;
    const what =
      error instanceof CsvError ? `is not CSV: ${error.message}` : `cannot be read: ${messageOf(error)}`;
    throw new ModelError(what, { file: path }, { cause: error });
  } finally {
    file.destroy();
  }
  return table.finish();
}

function delimiterOf(head: Uint8Array): string {
  const [line = ''] = new TextDecoder().decode(head).split(/\r?\n/, 1);
  const count = (delimiter: string): number => line.split(delimiter).length;
  return [',', ';', '\t'].reduce((best, next) => (count(next) > count(best) ? next : best));
}

/** Bytes of a row. A longer one is no table, and would be held in memory. */
const LONGEST_ROW = 1 << 26;
/** What the target of a row takes while it may be a number or a class. */
const TARGET_BYTES = 16;

/** Rows as they come. */
class Table {
  readonly #file: string;
  readonly #options: CsvOptions;
  #names: readonly string[] | undefined;
  /** Index of the target among the columns; -1 for none. */
  #target = -1;
  #width = 0;
  #size = 0;
  #block = new Float32Array();
  #filled = 0;
  readonly #blocks: ByteSource[] = [];
  readonly #values: number[] = [];
  /** Numbers of the texts, as long as they may be classes. */
  #classes: Map<string, number> | undefined = new Map();
  readonly #labels: number[] = [];
  /** Line of the first target that is no number. */
  #textLine: number | undefined;
  /** Why lines are left out: the first of them, and how many. */
  readonly #skipped: string[] = [];

  constructor(file: string, options: CsvOptions) {
    this.#file = file;
    this.#options = options;
  }

  add(record: readonly string[], line: number): void {
    if (this.#block.length === 0 && this.#begin(record)) return;
    if (this.#options.skipBad && this.#isBad(record, line)) return;
    for (const [index, text] of record.entries()) {
      if (index === this.#target) {
        this.#addTarget(text, line);
        continue;
      }
      this.#block[this.#filled] = this.#number(text, index, line);
      this.#filled += 1;
    }
    this.#size += 1;
    if (this.#size % 65536 === 0)
      assertFits(TARGET_BYTES * this.#size, 'the targets of its rows', { file: this.#file });
    if (this.#filled === this.#block.length) this.#flush();
  }

  /** Whether a line is no sample; what is wrong with it is kept. */
  #isBad(record: readonly string[], line: number): boolean {
    try {
      const [fields, names] = [record.length, this.#names?.length ?? 0];
      if (fields !== names)
        throw new ModelError(`line ${line}: has ${fields} fields, not ${names}`, { file: this.#file });
      for (const [index, text] of record.entries())
        if (index !== this.#target || text === '') this.#number(text, index, line);
      return false;
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      this.#skipped.push(error.message);
      return true;
    }
  }

  finish(): Source {
    const file = this.#file;
    const all = this.#size + this.#skipped.length;
    if (this.#size === 0)
      throw new ModelError(all === 0 ? 'has no rows' : `has no row of numbers: ${this.#skipped[0]}`, {
        file,
      });
    this.#flush();
    return {
      size: this.#size,
      inputs: [this.#features()],
      ...(this.#target < 0 ? { target: undefined } : this.#targets()),
      notes: skippedNotes(this.#skipped, all, 'lines'),
    };
  }

  /** Looks at the first line; true where it is a header. */
  #begin(record: readonly string[]): boolean {
    const { target, unlabeled, header } = this.#options;
    if (this.#names === undefined) {
      const isNumber = (text: string): boolean => text !== '' && !Number.isNaN(Number(text));
      const last = typeof target === 'number' ? (target + record.length) % record.length : record.length - 1;
      const features = record.filter((_, index) => unlabeled || index !== last);
      const hasNames = header ?? (typeof target === 'string' || !features.every(isNumber));
      this.#names = hasNames ? record : record.map((_, index) => `column ${index + 1}`);
      if (!unlabeled) this.#target = this.#targetOf(record.length);
      this.#width = record.length - (unlabeled ? 0 : 1);
      if (this.#width === 0) {
        throw new ModelError(
          'has one column alone, so there is nothing to predict it from; is the delimiter right?',
          {
            file: this.#file,
          },
        );
      }
      if (hasNames) return true;
    }
    this.#block = new Float32Array(this.#width * Math.max(1, Math.floor(BLOCK / (4 * this.#width))));
    return false;
  }

  #targetOf(count: number): number {
    const { target = -1 } = this.#options;
    const names = this.#names ?? [];
    const index = typeof target === 'number' ? (target < 0 ? target + count : target) : names.indexOf(target);
    if (Number.isInteger(index) && index >= 0 && index < count) return index;
    const shown = names.slice(0, 12).join(', ') + (names.length > 12 ? ', …' : '');
    throw new ModelError(
      `has no column ${typeof target === 'number' ? target : `'${target}'`}; it has ${shown}`,
      {
        file: this.#file,
      },
    );
  }

  #number(text: string, index: number, line: number): number {
    const value = text === '' ? Number.NaN : Number(text);
    if (!Number.isNaN(value)) return value;
    const column = this.#names?.[index] ?? '';
    const what = text === '' ? 'is empty' : `'${text.slice(0, 40)}' is no number`;
    throw new ModelError(
      `line ${line}, ${column.startsWith('column ') ? column : `column '${column}'`}: ${what}; leave the column out, or fill it`,
      { file: this.#file },
    );
  }

  #addTarget(text: string, line: number): void {
    if (text === '') this.#number(text, this.#target, line);
    const value = Number(text);
    if (Number.isNaN(value)) this.#textLine ??= line;
    this.#values.push(value);
    if (this.#classes === undefined) {
      if (this.#textLine !== undefined) this.#tooMany();
      return;
    }
    const known = this.#classes.get(text) ?? this.#classes.size;
    this.#classes.set(text, known);
    this.#labels.push(known);
    if (this.#classes.size <= MOST_CLASSES) return;
    // So many different numbers are quantities.
    if (this.#textLine !== undefined) this.#tooMany();
    this.#classes = undefined;
    this.#labels.length = 0;
  }

  #tooMany(): never {
    const name = this.#names?.[this.#target] ?? '';
    throw new ModelError(
      `line ${this.#textLine}, column '${name}': the target is a text, and there are more than ${MOST_CLASSES} of them; is it the column to predict?`,
      { file: this.#file },
    );
  }

  #flush(): void {
    if (this.#filled === 0) return;
    const bytes = new Uint8Array(this.#block.buffer.slice(0, 4 * this.#filled));
    const isHeld = 4 * this.#size * this.#width <= this.#options.memory;
    this.#blocks.push(isHeld ? new MemorySource(bytes) : this.#options.scratch.put(bytes));
    this.#filled = 0;
  }

  #features(): Column {
    const elements = this.#width;
    const perBlock = this.#block.length / elements;
    const read = (indices: ArrayLike<number>): Float32Array => {
      const result = new Float32Array(elements * indices.length);
      for (let at = 0; at < indices.length; at += 1) {
        const index = indices[at] as number;
        const source = this.#blocks[Math.floor(index / perBlock)] as ByteSource;
        result.set(
          readRows({ source, type: 'float32', elements }, [index % perBlock]) as Float32Array,
          at * elements,
        );
      }
      return result;
    };
    return { name: 'features', type: 'float32', shape: [elements], read };
  }

  #targets(): Pick<Source, 'target' | 'classes'> {
    const name = this.#names?.[this.#target] ?? 'target';
    if (this.#textLine !== undefined) {
      // The order of the names, not that of the lines: another part of the data gets the same numbers.
      const found = [...(this.#classes?.keys() ?? [])];
      const classes = this.#options.classNames ?? [...found].sort();
      const ranks = found.map((text) => BigInt(classes.indexOf(text)));
      const unknown = ranks.indexOf(-1n);
      if (unknown >= 0) {
        throw new ModelError(`column '${name}': the training data has no class '${found[unknown]}'`, {
          file: this.#file,
        });
      }
      const labels = BigInt64Array.from(
        this.#labels as readonly unknown[] as bigint[],
        (label) => ranks[Number(label)] as bigint,
      );
      return {
        classes,
        target: { name, type: 'int64', shape: [], read: (indices) => pick(labels, indices) },
      };
    }
    if (this.#values.every(Number.isSafeInteger)) {
      const labels = BigInt64Array.from(this.#values, BigInt);
      return { target: { name, type: 'int64', shape: [], read: (indices) => pick(labels, indices) } };
    }
    const values = Float64Array.from(this.#values);
    return { target: { name, type: 'float64', shape: [], read: (indices) => pick(values, indices) } };
  }
}

function pick<A extends BigInt64Array | Float64Array>(all: A, indices: ArrayLike<number>): A {
  const result = new (all.constructor as new (length: number) => A)(indices.length);
  for (let at = 0; at < indices.length; at += 1) result[at] = all[indices[at] as number] as never;
  return result;
}

function firstBytes(path: string): Uint8Array {
  using file = new FileSource(path);
  return headOf(file, 1 << 16);
}
