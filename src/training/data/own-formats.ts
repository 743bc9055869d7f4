import { type Definition, Registry } from '../../graph/registry.js';
import type { DatasetOptions, Split } from './options.js';
import type { Source } from './source.js';

/** A format of data that a program brings. */
export interface FormatDefinition {
  /**
   * Whether a file or folder is of this format. Formats that programs define are asked first, the newest before the others.
   *
   * @param head the first bytes of a file, at most 4096; empty for a folder
   */
  recognizes(path: string, head: Uint8Array): boolean;
  /**
   * Opens it: columns of one length, read by the indices of samples. What is damaged is a ModelError; its file is added.
   *
   * @param options those of openDataset that are not applied to what it returns: `split`, `target`, `memory`
   */
  open(path: string, options: Pick<DatasetOptions, 'split' | 'target' | 'memory'>): Source | Promise<Source>;
  /** The parts that it comes in; default none. */
  splits?(path: string): readonly Split[];
  /** The files that are read, which no output may replace; default the path. */
  files?(path: string): readonly string[];
}

const OWN = new Registry<FormatDefinition>('a format', (name) =>
  ['idx', 'cifar', 'csv', 'images', 'npz', 'npy'].includes(name),
);

/**
 * Adds a format of data to those that `openDataset` reads. Types, shapes and labels are then brought to what the model takes, as those
 * of every format are.
 *
 * @returns disposing of it takes the format away again; data that is open stays open
 * @throws OptionError for a name that is taken
 * @example
 * using format = defineFormat('acme', {
 *   recognizes: (path) => path.endsWith('.acme'),
 *   open: async (path) => {
 *     const values = Float32Array.from((await readFile(path, 'utf8')).trim().split(/\s+/), Number);
 *     const read = (width: number, from: number) => (indices: ArrayLike<number>) =>
 *       Float32Array.from({ length: indices.length * width }, (_, i) => values[(indices[Math.floor(i / width)] ?? 0) * 4 + from + (i % width)] ?? 0);
 *     return {
 *       size: values.length / 4,
 *       inputs: [{ name: 'x', type: 'float32', shape: [3], read: read(3, 0) }],
 *       target: { name: 'y', type: 'float32', shape: [], read: read(1, 3) },
 *     };
 *   },
 * });
 * await using data = await openDataset('samples.acme');
 */
export function defineFormat(name: string, format: FormatDefinition): Definition {
  return OWN.define(name, format);
}

/** The format that a program defined for a file or folder, with its name. */
export function ownFormatOf(
  path: string,
  head: () => Uint8Array,
): { readonly name: string; readonly format: FormatDefinition } | undefined {
  if (OWN.size === 0) return undefined;
  const bytes = head();
  const found = OWN.entries()
    .reverse()
    .find(([, format]) => format.recognizes(path, bytes));
  return found && { name: found[0], format: found[1] };
}
