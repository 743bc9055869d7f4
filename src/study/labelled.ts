import { basename, resolve } from 'node:path';
import { ModelError } from '../graph/index.js';
import { Random, type RuntimeTensor } from '../runtime/index.js';
import { type InputSpec, openDataset } from '../training/data/index.js';
import type { Samples } from './fit.js';

export interface LabelledOptions {
  /** Samples to train on and to test on, at most; which ones, the seed decides. */
  readonly samples: number;
  readonly tests: number;
  readonly seed: number;
  /** What the model takes of a sample; default all that the data has. */
  readonly spec?: InputSpec | undefined;
  /** Each sample as one row of features; default true. */
  readonly isFlat?: boolean | undefined;
}

export interface Labelled {
  readonly train: Samples;
  readonly test: Samples;
  /** Of a sample. */
  readonly shape: readonly number[];
  readonly classes: number;
}

/** The name of data in settings: the last part of its path. */
export function dataName(path: string): string {
  return basename(resolve(path));
}

/** The path of a name, among those that the user points at. */
export function dataPath(name: string, paths: readonly string[]): string {
  const path = paths.find((one) => dataName(one) === name);
  if (path === undefined) throw new ModelError(`there is no data '${name}': point at it again`);
  return path;
}

/**
 * Labelled data of a folder.
 *
 * @throws as openDataset; ModelError where it has no labels, or no part to test on
 */
export async function labelledSamples(path: string, options: LabelledOptions): Promise<Labelled> {
  const { samples, tests, seed, spec, isFlat = spec === undefined } = options;
  const read = async (split: 'train' | 'test', most: number): Promise<Samples> => {
    await using data = await openDataset(path, { split, ...(spec && { inputs: [spec] }) });
    const [field] = data.inputs;
    if (field === undefined || data.target?.type !== 'int64')
      throw new ModelError('has no class labels, which this study needs', { file: path });
    const count = Math.min(most, data.size);
    const { inputs, target } = await data.batch(
      drawn(data.size, count, new Random(seed, `samples ${split}`)),
    );
    const tensor = inputs[field.name] as RuntimeTensor;
    const data32 = Float32Array.from(tensor.data as Float32Array);
    const shape = isFlat ? [data32.length / count] : tensor.shape.slice(1);
    return {
      inputs: { type: 'float32', shape: [count, ...shape], data: data32 },
      targets: target as RuntimeTensor,
    };
  };
  const [train, test] = [await read('train', samples), await read('test', tests)];
  const labels = [...labelsOf(train), ...labelsOf(test)];
  return {
    train,
    test,
    shape: train.inputs.shape.slice(1),
    classes: labels.reduce((most, label) => Math.max(most, label), 0) + 1,
  };
}

export function labelsOf({ targets }: Samples): number[] {
  return Array.from(targets.data as BigInt64Array, Number);
}

/** Some of the numbers below `size`, without repetition, ascending. */
function drawn(size: number, count: number, random: Random): number[] {
  const all = Array.from({ length: size }, (_, i) => i);
  for (let i = 0; i < count; i += 1) {
    const j = i + random.integer(size - i);
    [all[i], all[j]] = [all[j] as number, all[i] as number];
  }
  return all.slice(0, count).sort((a, b) => a - b);
}
