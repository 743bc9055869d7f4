import { Random } from '../runtime/index.js';
import type { Samples } from './fit.js';
import { dataPath, type Labelled, labelledSamples } from './labelled.js';

/** The name in settings of images that are made here. */
export const PATTERNS = 'patterns';
/** Of PATTERNS: pixels an axis, classes, waves a class, pixels that a sample is moved by at most, and the deviation of its noise. */
const [SIZE, CLASSES, WAVES, SHIFT, NOISE] = [16, 10, 4, 2, 1.5] as const;

export interface ImageSizes {
  readonly samples: number;
  readonly tests: number;
  readonly seed: number;
  /** Each sample as one row of features. */
  readonly isFlat: boolean;
}

/**
 * Labelled images: of a folder that the user points at, by its name, or those made here. Each class of PATTERNS is a sum of plane waves of
 * low frequency on 16 x 16 pixels, which a sample shows moved by up to 2 pixels, under normal noise: a task that any machine has,
 * not one whose figures mean anything by themselves. The classes are always the same; the seed draws the samples.
 *
 * @throws as labelledSamples
 */
export async function labelledImages(
  name: string,
  paths: readonly string[],
  sizes: ImageSizes,
): Promise<Labelled> {
  if (name !== PATTERNS) return labelledSamples(dataPath(name, paths), sizes);
  const classes = Array.from({ length: CLASSES }, (_, index) => wavesOf(new Random(index, PATTERNS)));
  const made = (part: string, count: number): Samples => samplesOf(classes, count, sizes, part);
  const train = made('train', sizes.samples);
  return {
    train,
    test: made('test', sizes.tests),
    shape: train.inputs.shape.slice(1),
    classes: CLASSES,
  };
}

/** Cycles along both axes, and a phase. */
type Wave = readonly [down: number, right: number, phase: number];

function wavesOf(random: Random): Wave[] {
  return Array.from({ length: WAVES }, () => [
    random.integer(4),
    random.integer(7) - 3,
    random.integer(1000) / 1000,
  ]);
}

function samplesOf(
  classes: readonly (readonly Wave[])[],
  count: number,
  { seed, isFlat }: ImageSizes,
  part: string,
): Samples {
  const random = new Random(seed, `${PATTERNS} ${part}`);
  const data = random.fillNormal(new Float32Array(count * SIZE * SIZE), NOISE);
  const labels = new BigInt64Array(count);
  for (let sample = 0; sample < count; sample += 1) {
    const label = random.integer(CLASSES);
    labels[sample] = BigInt(label);
    const [top, left] = [random.integer(2 * SHIFT + 1) - SHIFT, random.integer(2 * SHIFT + 1) - SHIFT];
    for (let row = 0; row < SIZE; row += 1)
      for (let column = 0; column < SIZE; column += 1) {
        const at = (sample * SIZE + row) * SIZE + column;
        for (const [down, right, phase] of classes[label] as readonly Wave[])
          (data[at] as number) += Math.cos(
            2 * Math.PI * ((down * (row + top) + right * (column + left)) / SIZE + phase),
          );
      }
  }
  const shape = isFlat ? [SIZE * SIZE] : [1, SIZE, SIZE];
  return {
    inputs: { type: 'float32', shape: [count, ...shape], data },
    targets: { type: 'int64', shape: [count], data: labels },
  };
}
