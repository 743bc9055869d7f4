import { axis, each, type Family } from './traits.js';

const SAME = { shape: 'first' } as const;
const SCALED = { ...SAME, weights: [1, 2] } as const;
/** Before operator set 13 these took all axes from `axis` on for one. */
const SOFT = {
  ...SAME,
  axis: [
    { since: 1, value: 1 },
    { since: 13, value: -1 },
  ],
  rewritten: [13],
} as const;

/** Normalizations. */
export const NORM = {
  BatchNormalization: { ...SCALED, statistics: [3, 4], rewritten: [9, 14] },
  GroupNormalization: { ...SCALED, rewritten: [21] },
  InstanceNormalization: SCALED,
  LayerNormalization: { ...SCALED, ...axis(-1) },
  RMSNormalization: { ...SAME, weights: [1], ...axis(-1) },
  ...each(['LRN', 'MeanVarianceNormalization'], SAME),
  LpNormalization: { ...SAME, ...axis(-1) },
  ...each(['Softmax', 'LogSoftmax'], SOFT),
  Hardmax: { ...SOFT, decides: true, flat: true },
} satisfies Family;
