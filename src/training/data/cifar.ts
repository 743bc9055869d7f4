import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { FileSource, ModelError, type OpenFiles } from '../../graph/index.js';
import { held, readRows } from './rows.js';
import type { Source } from './source.js';

const PIXELS = 3 * 32 * 32;
const GEOMETRY = { channels: 3, height: 32, width: 32, layout: 'chw' } as const;

/** A kind of CIFAR: its label bytes, each before the pixels, and the files that name the classes. */
const KINDS = {
  'CIFAR-10': [{ name: 'label', classes: 10, file: 'batches.meta.txt' }],
  'CIFAR-100': [
    { name: 'coarse', classes: 20, file: 'coarse_label_names.txt' },
    { name: 'fine', classes: 100, file: 'fine_label_names.txt' },
  ],
} as const;
export type CifarKind = keyof typeof KINDS;

export interface CifarOptions {
  /** What closes them. */
  readonly files: OpenFiles;
  readonly memory: number;
  /** Of CIFAR-100: which label; default fine. */
  readonly target?: string | number | undefined;
}

/**
 * CIFAR-10 or CIFAR-100 in its binary form: records of one or two label bytes and 3 x 32 x 32 bytes of red, green, blue.
 *
 * @see https://www.cs.toronto.edu/~kriz/cifar.html
 * @throws ModelError for files that are no whole number of records, and labels that there are not
 */
export function openCifar(files: readonly string[], kind: CifarKind, options: CifarOptions): Source {
  const labels = KINDS[kind];
  const stride = labels.length + PIXELS;
  const wanted = options.target ?? labels.at(-1)?.name;
  const which = labels.findIndex(({ name }) => name === wanted);
  const label = labels[which];
  if (label === undefined) {
    throw new ModelError(
      `${kind} has the targets ${labels.map(({ name }) => name).join(', ')}, not '${wanted}'`,
    );
  }
  const parts = files.map((file) => {
    const source = options.files.add(new FileSource(file));
    if (source.length === 0 || source.length % stride !== 0) {
      throw new ModelError(
        `is no ${kind} file: its ${source.length} bytes are no whole number of records of ${stride}; is it cut short?`,
        { file },
      );
    }
    return { file, source, count: source.length / stride };
  });
  const total = parts.reduce((sum, { source }) => sum + source.length, 0);
  const shards = parts.map(({ file, source, count }) => ({
    file,
    count,
    source: held(source, total <= options.memory ? Number.POSITIVE_INFINITY : 0),
  }));
  const column = (offset: number, elements: number) => (indices: ArrayLike<number>) => {
    const result = new Uint8Array(elements * indices.length);
    for (let at = 0; at < indices.length; at += 1) {
      let index = indices[at] as number;
      let shard = 0;
      while (index >= (shards[shard]?.count ?? Number.POSITIVE_INFINITY)) {
        index -= shards[shard]?.count ?? 0;
        shard += 1;
      }
      const { source, file } = shards[shard] as (typeof shards)[number];
      const row = readRows({ source, type: 'uint8', elements, offset, stride }, [index]) as Uint8Array;
      if (elements === 1 && (row[0] as number) >= label.classes) {
        throw new ModelError(
          `the label at byte ${index * stride + offset} is ${row[0]}, but ${kind} has ${label.classes} classes; the file is damaged`,
          { file },
        );
      }
      result.set(row, at * elements);
    }
    return result;
  };
  return {
    size: shards.reduce((sum, { count }) => sum + count, 0),
    inputs: [
      {
        name: 'image',
        type: 'uint8',
        shape: [3, 32, 32],
        pixels: GEOMETRY,
        read: column(labels.length, PIXELS),
      },
    ],
    target: { name: label.name, type: 'uint8', shape: [], read: column(which, 1) },
    classes: classNames(join(dirname(files[0] ?? ''), label.file), label.classes),
  };
}

/** The names in a file beside the data, where it is there and has as many as there must be. */
function classNames(path: string, count: number): readonly string[] | undefined {
  try {
    const names = readFileSync(path, 'utf8')
      .split(/\r?\n/)
      .filter((line) => line.trim() !== '');
    return names.length === count ? names : undefined;
  } catch {
    return undefined;
  }
}
