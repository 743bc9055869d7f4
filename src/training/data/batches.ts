import { ModelError } from '../../graph/index.js';
import { checkOptions, type OptionDescriptors, OptionError } from '../../graph/option-descriptors.js';
import { Random } from '../../runtime/index.js';
import type { Batch, BatchOptions, Dataset } from '../types.js';

/** Options of shuffledBatches and orderedBatches. */
export interface BatchesOptions extends BatchOptions {
  /** Samples a batch, at least 1. */
  readonly batch: number;
  /** Leave out a last batch that is smaller; default false. */
  readonly dropLast?: boolean | undefined;
  /** Batches that are made ahead while the caller works on one; default 2. */
  readonly prefetch?: number | undefined;
  /** Batches to pass over, as they were used already; default 0. */
  readonly start?: number | undefined;
}

const BATCHES_OPTIONS = {
  batch: { kind: 'integer', min: 1, help: 'samples per batch' },
  prefetch: { kind: 'integer', min: 0, max: 1024, default: 2, help: 'batches that are made ahead' },
  start: { kind: 'integer', min: 0, default: 0, help: 'batches to pass over' },
} as const satisfies OptionDescriptors;

/**
 * An epoch of batches, in an order that depends on `seed` and `epoch` alone.
 *
 * @throws OptionError for options out of range; ModelError for a batch larger than the dataset with `dropLast`, and as Dataset.batch does
 * @example
 * for await (const { inputs, target } of shuffledBatches(dataset, { batch: 64, seed: 0, epoch: 3, augment: true })) {
 *   console.log(inputs, target);
 * }
 */
export function shuffledBatches(
  dataset: Dataset,
  options: BatchesOptions,
): AsyncGenerator<Batch, void, void> {
  return batches(dataset, shuffledOrder(dataset.size, options.seed ?? 0, options.epoch ?? 0), options);
}

/**
 * All samples in batches, as the dataset has them: for validation.
 *
 * @throws OptionError for options out of range; ModelError for a batch larger than the dataset with `dropLast`, and as Dataset.batch does
 * @example
 * let samples = 0;
 * for await (const { target } of orderedBatches(dataset, { batch: 256 })) samples += target?.shape[0] ?? 0;
 */
export function orderedBatches(dataset: Dataset, options: BatchesOptions): AsyncGenerator<Batch, void, void> {
  return batches(
    dataset,
    Uint32Array.from({ length: dataset.size }, (_, index) => index),
    options,
  );
}

async function* batches(
  dataset: Dataset,
  order: Uint32Array,
  options: BatchesOptions,
): AsyncGenerator<Batch, void, void> {
  const { batch, dropLast = false, prefetch = 2, start = 0 } = options;
  checkOptions(BATCHES_OPTIONS, { batch, prefetch, start });
  const count = dropLast ? Math.floor(order.length / batch) : Math.ceil(order.length / batch);
  if (count === 0)
    throw new ModelError(`a batch of ${batch} is more than the ${order.length} samples there are`);
  const { augment, seed, epoch } = options;
  const make = (index: number): Promise<Batch> => {
    const made = dataset.batch(order.subarray(index * batch, (index + 1) * batch), { augment, seed, epoch });
    // It is awaited in its turn; until then, that it failed is nobody's business.
    made.catch(() => undefined);
    return made;
  };
  const ahead: Promise<Batch>[] = [];
  let next = start;
  try {
    for (let index = start; index < count; index += 1) {
      for (; next < count && next <= index + prefetch; next += 1) ahead.push(make(next));
      yield await (ahead.shift() as Promise<Batch>);
    }
  } finally {
    // Whoever stops early may dispose the dataset at once.
    await Promise.allSettled(ahead);
  }
}

/**
 * Two disjoint parts of a dataset, drawn by the seed: the rest and, second, `fraction` of the samples. They read from the
 * dataset, so it is to be disposed after them. A sample is augmented in a part as in the whole.
 *
 * @param fraction of the samples in the second part, between 0 and 1; each part has at least one
 * @throws OptionError for a fraction out of range; ModelError for data of one sample
 * @example
 * const [train, validation] = splitDataset(dataset, 0.1, 0);
 */
export function splitDataset(dataset: Dataset, fraction: number, seed = 0): readonly [Dataset, Dataset] {
  if (!(fraction > 0 && fraction < 1)) {
    throw new OptionError('fraction', `must be a number between 0 and 1, is ${fraction}`);
  }
  if (dataset.size < 2) throw new ModelError('one sample cannot be split');
  const order = shuffledOrder(dataset.size, seed, -1);
  const second = Math.min(dataset.size - 1, Math.max(1, Math.round(dataset.size * fraction)));
  // In the order of the files, which reads them from front to back.
  return [part(dataset, order.slice(second).sort()), part(dataset, order.slice(0, second).sort())];
}

function part(dataset: Dataset, own: Uint32Array): Dataset {
  const { targets } = dataset;
  const numbers = (indices: ArrayLike<number>): Float64Array =>
    Float64Array.from(indices, (index) => {
      const sample = own[index];
      if (sample === undefined) throw new RangeError(`there is no sample ${index}; there are ${own.length}`);
      return sample;
    });
  return {
    inputs: dataset.inputs,
    target: dataset.target,
    path: dataset.path,
    classes: dataset.classes,
    classAxis: dataset.classAxis,
    notes: dataset.notes,
    size: own.length,
    numberOf: (index) => {
      const sample = own[index] ?? index;
      return dataset.numberOf?.(sample) ?? sample;
    },
    nameOf: (index) => dataset.nameOf?.(own[index] ?? index),
    ...(targets && { targets: async (indices) => await targets.call(dataset, numbers(indices)) }),
    batch: async (indices, options) => await dataset.batch(numbers(indices), options),
    [Symbol.asyncDispose]: async () => undefined,
  };
}

/**
 * The numbers 0 to size - 1 in an order that seed and epoch decide (Durstenfeld's shuffle, CACM 1964, algorithm 235).
 *
 * @example
 * shuffledOrder(4, 0, 1); // Uint32Array [3, 1, 2, 0]
 */
export function shuffledOrder(size: number, seed: number, epoch: number): Uint32Array {
  const order = Uint32Array.from({ length: size }, (_, index) => index);
  const random = new Random(seed, `epoch ${epoch}`);
  for (let last = size - 1; last > 0; last -= 1) {
    const other = random.integer(last + 1);
    const moved = order[last] as number;
    order[last] = order[other] as number;
    order[other] = moved;
  }
  return order;
}
