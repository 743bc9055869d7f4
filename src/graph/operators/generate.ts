import { each, type Family } from './traits.js';

/** Operators that make tensors of sizes and attributes: constants, ranges, windows, random numbers. */
export const GENERATE = {
  Constant: {},
  ConstantOfShape: { flat: true },
  EyeLike: { shape: 'first', flat: true },
  ...each(['BlackmanWindow', 'HammingWindow', 'HannWindow', 'MelWeightMatrix', 'Range'], {}),
  ...each(['RandomNormal', 'RandomUniform'], { random: true }),
  ...each(['RandomNormalLike', 'RandomUniformLike'], { shape: 'first', random: true, flat: true }),
  Bernoulli: { shape: 'first', random: true, flat: true },
  Multinomial: { random: true },
} satisfies Family;
