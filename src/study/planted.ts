import { matmul } from '../linalg/index.js';
import { Random } from '../runtime/index.js';
import type { Samples } from './fit.js';

export interface PlantedOptions {
  /** Inputs and outputs. */
  readonly width: number;
  /** Of the map. */
  readonly rank: number;
  /** Samples to train on. */
  readonly samples: number;
  /** Samples to test on. */
  readonly tests: number;
  readonly seed: number;
}

export interface Planted {
  readonly train: Samples;
  readonly test: Samples;
  /** The map, width x width, row-major: y = T x. */
  readonly map: Float64Array;
}

/**
 * A linear map of low rank to be found again from samples: y = T x with T = U V / sqrt(rank width), U of width x rank and V of
 * rank x width standard normal, and x standard normal, so that inputs and outputs have variance 1.
 */
export async function plantedRegression(options: PlantedOptions): Promise<Planted> {
  const { width, rank, samples, tests, seed } = options;
  const random = new Random(seed, 'planted');
  const left = random.fillNormal(new Float64Array(width * rank), 1 / Math.sqrt(rank * width));
  const right = random.fillNormal(new Float64Array(rank * width));
  const { data: map } = await matmul(
    { rows: width, columns: rank, data: left },
    { rows: rank, columns: width, data: right },
  );
  const draw = async (count: number): Promise<Samples> => {
    const inputs = random.fillNormal(new Float32Array(count * width));
    const x = { rows: count, columns: width, data: Float64Array.from(inputs) };
    const outputs = await matmul(x, { rows: width, columns: width, data: map }, { transposeB: true });
    return {
      inputs: { type: 'float32', shape: [count, width], data: inputs },
      targets: { type: 'float32', shape: [count, width], data: Float32Array.from(outputs.data) },
    };
  };
  const train = await draw(samples);
  return { train, test: await draw(tests), map: Float64Array.from(map) };
}
