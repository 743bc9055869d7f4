import { matmul } from '../../linalg/index.js';
import { semiOrthogonal } from '../../linalg/orthogonal.js';
import { Random } from '../../runtime/random.js';
import type { Samples } from '../fit.js';
import type { BlockSamples } from './randomized.js';

/** How a coordinate depends on the class: through one threshold, or through slabs of alternating class. */
export const COORDINATES = ['linear', 'noisy-linear', 'slabs-5', 'slabs-7'] as const;
export type Coordinate = (typeof COORDINATES)[number];

/** Data sets of Shah et al.: the first coordinate is simpler than all others, each of which tells the classes apart, too. */
export const SLAB_DATA = {
  'lms-5': { simple: 'linear', complex: 'slabs-5' },
  'lms-7': { simple: 'linear', complex: 'slabs-7' },
  'ms-5-7': { simple: 'slabs-5', complex: 'slabs-7' },
  'noisy-lms-7': { simple: 'noisy-linear', complex: 'slabs-7' },
} as const satisfies Record<string, { readonly simple: Coordinate; readonly complex: Coordinate }>;
/** The name of one of SLAB_DATA. */
export type SlabData = keyof typeof SLAB_DATA;

/** Half the width of a coordinate, and the margin between slabs is 2 m. */
const [W, M] = [1, 0.1];
/** Share of the values of a noisy coordinate that lie in its margin. */
const NOISE = 0.1;

/**
 * A coordinate of a sample of class y (0 or 1).
 *
 * With U uniform on [0, 1], w = 1 and m = 0.1 (code of Shah et al., harshays/simplicitybiaspitfalls):
 * 'linear' (2y - 1)(m + (w - m) U); 'slabs-5', s = (2w - 8m) / 5: class 1 ±((w + 6m) / 5 + s U), class 0 with 3/4 ±s U / 2, else
 * ±((3w + 8m) / 5 + s U); 'slabs-7', s = (2w - 12m) / 7: class 1 with 7/8 ±(s / 2 + 2m + s U), else ±(5s / 2 + 6m + s U), class 0
 * half ±s U / 2, half ±(3s / 2 + 4m + s U). 'noisy-linear' is 'linear' but for a tenth of the values, uniform on [-m, m].
 */
export function drawCoordinate(kind: Coordinate, y: 0 | 1, random: Random): number {
  if (kind === 'linear') return (2 * y - 1) * (M + (W - M) * random.uniform());
  if (kind === 'noisy-linear')
    return random.uniform() < NOISE ? M * (2 * random.uniform() - 1) : drawCoordinate('linear', y, random);
  const sign = random.uniform() < 0.5 ? -1 : 1;
  const share = random.uniform();
  const u = random.uniform();
  if (kind === 'slabs-5') {
    const s = (2 * W - 8 * M) / 5;
    if (y === 1) return sign * ((W + 6 * M) / 5 + s * u);
    return sign * (share < 3 / 4 ? (s * u) / 2 : (3 * W + 8 * M) / 5 + s * u);
  }
  const s = (2 * W - 12 * M) / 7;
  if (y === 1) return sign * ((share < 7 / 8 ? s / 2 + 2 * M : (5 * s) / 2 + 6 * M) + s * u);
  return sign * (share < 1 / 2 ? (s * u) / 2 : (3 * s) / 2 + 4 * M + s * u);
}

/** What `slabSamples` makes. */
export interface SlabOptions {
  /** Coordinates, the simple one among them; default 50. */
  readonly width?: number | undefined;
  readonly samples: number;
  readonly tests: number;
  readonly seed: number;
}

/** Samples before and behind a rotation. */
export interface SlabSamples {
  readonly train: Samples;
  /** The block S is the simple coordinate, Sᶜ all others. */
  readonly test: BlockSamples;
}

/**
 * A data set of slabs (Shah et al., "The Pitfalls of Simplicity Bias", NeurIPS 2020, arXiv 2006.07710): coordinates that are
 * independent given the class, of which each tells the classes apart by itself, behind one random rotation.
 *
 * @example
 * const { train, test } = await slabSamples('lms-5', { samples: 10_000, tests: 2_000, seed: 0 });
 */
export async function slabSamples(name: SlabData, options: SlabOptions): Promise<SlabSamples> {
  const { width = 50, samples, tests, seed } = options;
  const { simple, complex } = SLAB_DATA[name];
  const kinds = Array.from({ length: width }, (_, i): Coordinate => (i === 0 ? simple : complex));
  const { data: rotation } = await semiOrthogonal(width, width, true, new Random(seed, 'rotation'));
  const turned = async (coordinates: Float32Array): Promise<Float32Array> => {
    const rows = coordinates.length / width;
    const z = { rows, columns: width, data: Float64Array.from(coordinates) };
    const made = await matmul(z, { rows: width, columns: width, data: rotation }, { transposeB: true });
    return Float32Array.from(made.data);
  };
  const draw = (count: number, key: string) => {
    const random = new Random(seed, key);
    const labels = Uint8Array.from({ length: count }, () => random.integer(2));
    const coordinates = new Float32Array(count * width);
    for (let i = 0; i < count; i += 1)
      for (const [j, kind] of kinds.entries())
        coordinates[i * width + j] = drawCoordinate(kind, labels[i] === 1 ? 1 : 0, random);
    return { labels, coordinates };
  };
  const train = draw(samples, 'train');
  const test = draw(tests, 'test');
  return {
    train: {
      inputs: { type: 'float32', shape: [samples, width], data: await turned(train.coordinates) },
      targets: { type: 'int64', shape: [samples], data: BigInt64Array.from(train.labels, BigInt) },
    },
    test: {
      blocks: test.coordinates,
      width,
      isSimple: (column) => column === 0,
      labels: test.labels,
      inputs: turned,
    },
  };
}
