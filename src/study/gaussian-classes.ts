import { Random } from '../runtime/index.js';
import type { Samples } from './fit.js';

export interface GaussianClassesOptions {
  readonly classes: number;
  readonly features: number;
  /** A multiple of `classes`. */
  readonly samples: number;
  readonly seed: number;
}

/** Samples of classes of equal size: standard normal around means that are standard normal, too. */
export function gaussianClasses({ classes, features, samples, seed }: GaussianClassesOptions): Samples {
  const random = new Random(seed, 'classes');
  const means = random.fillNormal(new Float64Array(classes * features));
  const inputs = random.fillNormal(new Float32Array(samples * features));
  const labels = Array.from({ length: samples }, (_, i) => i % classes);
  for (let i = 0; i < inputs.length; i += 1) {
    const label = labels[Math.floor(i / features)] as number;
    inputs[i] = (inputs[i] as number) + (means[label * features + (i % features)] as number);
  }
  return {
    inputs: { type: 'float32', shape: [samples, features], data: inputs },
    targets: { type: 'int64', shape: [samples], data: BigInt64Array.from(labels, BigInt) },
  };
}
