import { each, type Family } from './traits.js';

/** Operators that reduce axes or run along one. */
export const REDUCE = {
  ...each(
    [
      ...(['ReduceL1', 'ReduceL2', 'ReduceLogSum', 'ReduceLogSumExp', 'ReduceMax', 'ReduceMean'] as const),
      ...(['ReduceMin', 'ReduceProd', 'ReduceSumSquare'] as const),
    ],
    { rewritten: [18] },
  ),
  ReduceSum: { rewritten: [13] },
  ...each(['CumSum', 'CumProd'], { shape: 'first' }),
  ...each(['NegativeLogLikelihoodLoss', 'SoftmaxCrossEntropyLoss'], {}),
} satisfies Family;
