import { ModelError } from '../../graph/index.js';
import { Random, type RuntimeTensor } from '../../runtime/index.js';
import { openDataset } from '../../training/data/index.js';
import type { Samples } from '../fit.js';
import type { SlabSamples } from './slabs.js';

/** What `collageSamples` is made of. */
export interface CollageOptions {
  /** Folders of images: the simpler ones (digits), and the others (garments, photographs). */
  readonly simple: string;
  readonly complex: string;
  /** The two classes of each, that of label 0 first; default digits 0 and 1, and 2 and 4 (pullover and coat) of the others. */
  readonly simpleClasses?: readonly [number, number] | undefined;
  readonly complexClasses?: readonly [number, number] | undefined;
  /** The most samples. */
  readonly samples: number;
  readonly tests: number;
  readonly seed: number;
}

interface Images {
  readonly pixels: readonly [Float32Array[], Float32Array[]];
  readonly size: number;
}

/**
 * Images of two data sets side by side, as MNIST-CIFAR of Shah et al. is made: label 0 has a 0 beside a pullover, label 1 a 1
 * beside a coat, each drawn by itself. Each image is one row of pixels from 0 to 1, the simple block first.
 *
 * @throws as openDataset; ModelError where a folder lacks one of the classes
 * @example
 * const options = { simple: 'mnist', complex: 'fashion-mnist', samples: 2000, tests: 500, seed: 0 };
 * const { train, test } = await collageSamples(options);
 */
export async function collageSamples(
  options: CollageOptions,
): Promise<SlabSamples & { readonly width: number }> {
  const { simple, complex, simpleClasses = [0, 1], complexClasses = [2, 4], seed } = options;
  const draw = async (split: 'train' | 'test', most: number) => {
    const [a, b] = [
      await imagesOf(simple, simpleClasses, split),
      await imagesOf(complex, complexClasses, split),
    ];
    const random = new Random(seed, `collage ${split}`);
    const [zeros, ones] = [0, 1].map((label) => {
      const [left, right] = [a, b].map(({ pixels }) => shuffled(pixels[label as 0 | 1], random));
      const pairs = Math.min(left?.length ?? 0, right?.length ?? 0, Math.floor(most / 2));
      return Array.from({ length: pairs }, (_, i) => ({ label, left: left?.[i], right: right?.[i] }));
    });
    const samples = shuffled([...(zeros ?? []), ...(ones ?? [])], random);
    const width = a.size + b.size;
    const blocks = new Float32Array(samples.length * width);
    for (const [i, { left, right }] of samples.entries()) {
      if (left !== undefined) blocks.set(left, i * width);
      if (right !== undefined) blocks.set(right, i * width + a.size);
    }
    return { blocks, width, simpleSize: a.size, labels: Uint8Array.from(samples, ({ label }) => label) };
  };
  const train = await draw('train', options.samples);
  const test = await draw('test', options.tests);
  const { width, simpleSize } = test;
  const samples: Samples = {
    inputs: { type: 'float32', shape: [train.labels.length, width], data: train.blocks },
    targets: { type: 'int64', shape: [train.labels.length], data: BigInt64Array.from(train.labels, BigInt) },
  };
  return {
    width,
    train: samples,
    test: {
      blocks: test.blocks,
      width,
      isSimple: (column) => column < simpleSize,
      labels: test.labels,
      inputs: async (blocks) => blocks,
    },
  };
}

/** Samples that are read at a time. */
const PIECE = 1000;

async function imagesOf(
  path: string,
  classes: readonly [number, number],
  split: 'train' | 'test',
): Promise<Images> {
  await using data = await openDataset(path, { split });
  const [field] = data.inputs;
  if (field === undefined || data.target?.type !== 'int64')
    throw new ModelError('has no class labels, which a collage needs', { file: path });
  const size = field.shape.reduce((product, dim) => product * dim, 1);
  const pixels: [Float32Array[], Float32Array[]] = [[], []];
  for (let from = 0; from < data.size; from += PIECE) {
    const indices = Array.from({ length: Math.min(PIECE, data.size - from) }, (_, i) => from + i);
    const { inputs, target } = await data.batch(indices);
    const values = (inputs[field.name] as RuntimeTensor).data as Float32Array;
    for (const [i, label] of Array.from((target as RuntimeTensor).data as BigInt64Array, Number).entries()) {
      const at = classes.indexOf(label);
      if (at >= 0) pixels[at as 0 | 1].push(Float32Array.from(values.subarray(i * size, (i + 1) * size)));
    }
  }
  for (const at of [0, 1] as const)
    if (pixels[at].length === 0)
      throw new ModelError(`has no images of class ${classes[at]}`, { file: path });
  return { pixels, size };
}

function shuffled<Item>(items: readonly Item[], random: Random): Item[] {
  const made = [...items];
  for (let i = made.length - 1; i > 0; i -= 1) {
    const j = random.integer(i + 1);
    [made[i], made[j]] = [made[j] as Item, made[i] as Item];
  }
  return made;
}
