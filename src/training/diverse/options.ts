import type { DescriptorsFor } from '../../graph/option-descriptors.js';

/** How models are trained that are to rely on different features. */
export interface DiverseOptions {
  /** Models that are trained together, at least 2. */
  readonly diverse: number;
  /** Weight λ of the alignment of their gradients, at least 0; default 0.1. */
  readonly alignment?: number | undefined;
}

export const DIVERSE_OPTIONS = {
  diverse: {
    kind: 'integer',
    min: 2,
    // The penalty is of all pairs.
    max: 100,
    group: 'Several models',
    help: 'train this many models that rely on different features, from random weights; they are written as <output>-1.onnx, <output>-2.onnx …',
  },
  alignment: {
    kind: 'number',
    min: 0,
    default: 0.1,
    needs: 'diverse',
    group: 'Several models',
    help: 'weight of the penalty on input gradients that are aligned',
  },
} as const satisfies DescriptorsFor<DiverseOptions>;
