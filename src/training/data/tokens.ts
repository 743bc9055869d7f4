import { FileSource, ModelError, type OpenFiles } from '../../graph/index.js';
import { openNpy } from './numpy.js';
import type { InputSpec } from './options.js';
import { held, readRows } from './rows.js';
import type { Column, Source } from './source.js';

/** Options of openTokens. */
export interface TokenOptions {
  /** Tokens that a model reads of a sample. */
  readonly length: number;
  readonly inputs?: readonly InputSpec[] | undefined;
  readonly memory: number;
  readonly files: OpenFiles;
}

/** Token numbers, by sample: so many of the one behind the other, the last of which is read by no model. */
interface Windows {
  readonly size: number;
  /** Tokens of a window, the model's and one more. */
  readonly width: number;
  read(indices: ArrayLike<number>): Promise<ArrayLike<number | bigint>>;
}

/**
 * Token numbers to model language on: each sample is `length` tokens, its target the tokens that follow each of them. A .npy file of
 * one axis, or a .bin file of uint16 (as nanoGPT writes it), is one text that is cut into samples, without a gap, so that each token but the
 * first is a target once; a .npy file of two axes has one sample a row. An input whose name speaks of a mask gets ones, one
 * that speaks of positions 0, 1, 2, …; others get the tokens.
 *
 * @throws ModelError for files that hold no token numbers, or fewer than a sample
 */
export function openTokens(file: string, options: TokenOptions): Source {
  const windows = windowsOf(file, options);
  const length = windows.width - 1;
  if (windows.size < 1)
    throw new ModelError(`has fewer than ${length + 1} tokens: one sample of ${length} and its target`);
  const column = (name: string, read: Column['read']): Column => ({
    name,
    type: 'int64',
    shape: [length],
    read,
  });
  const tokens = (name: string, from: number): Column =>
    column(name, async (indices) => {
      const all = await windows.read(indices);
      const data = new BigInt64Array(indices.length * length);
      for (let at = 0; at < data.length; at += 1) {
        const token = BigInt(all[Math.floor(at / length) * windows.width + from + (at % length)] as number);
        if (token < 0n) throw new ModelError(`has the token ${token}; tokens are numbers from 0 on`);
        data[at] = token;
      }
      return data;
    });
  const every = (name: string, value: (at: number) => bigint): Column =>
    column(name, (indices) => {
      const data = new BigInt64Array(indices.length * length);
      for (let at = 0; at < data.length; at += 1) data[at] = value(at % length);
      return data;
    });
  const names = options.inputs?.map(({ name }) => name) ?? ['input_ids'];
  let fed = 0;
  const inputs = names.map((name) => {
    if (/mask/i.test(name)) return every(name, () => 1n);
    if (/position/i.test(name)) return every(name, BigInt);
    fed += 1;
    if (fed > 1 || /past|cache/i.test(name))
      throw new ModelError(`are tokens, of which nothing is fed to the model's input '${name}'`);
    return tokens(name, 0);
  });
  return { size: windows.size, inputs, target: tokens('next', 1), classAxis: -1 };
}

function windowsOf(file: string, { length, memory, files }: TokenOptions): Windows {
  if (file.endsWith('.npy')) {
    const array = openNpy(file, 'tokens', { memory, files });
    if (!/^u?int/.test(array.type)) throw new ModelError(`is ${array.type}; token numbers are integers`);
    const [own, ...more] = array.shape;
    if (more.length > 0) throw new ModelError(`has ${array.shape.length + 1} axes; one or two are read`);
    if (own === undefined) {
      const read = async (from: ArrayLike<number>) => await array.read(from);
      return streamed(array.size, length, read);
    }
    if (own - 1 !== length)
      throw new ModelError(`has ${own} tokens a row: \`tokens: ${own - 1}\` and the target of the last`);
    return { size: array.size, width: own, read: async (indices) => await array.read(indices) };
  }
  const source = files.add(new FileSource(file));
  if (source.length % 2 !== 0)
    throw new ModelError('has an odd number of bytes; tokens are uint16 in a .bin file');
  const rows = { source: held(source, memory), type: 'uint16', elements: 1 } as const;
  return streamed(source.length / 2, length, async (from) => readRows(rows, from));
}

/** One text, in windows that overlap by the token that is the last target of one and the first of the next. */
function streamed(
  count: number,
  length: number,
  read: (indices: ArrayLike<number>) => Promise<ArrayLike<number | bigint>>,
): Windows {
  const width = length + 1;
  return {
    size: Math.floor((count - 1) / length),
    width,
    read: (indices) => {
      const places = new Float64Array(indices.length * width);
      for (let at = 0; at < places.length; at += 1)
        places[at] = (indices[Math.floor(at / width)] as number) * length + (at % width);
      return read(places);
    },
  };
}
