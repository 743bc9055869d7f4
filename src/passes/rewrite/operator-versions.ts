/**
 * Versions of the standard operator set, from 7 on, in which a node of an operator came to mean something else, or to be
 * written otherwise, than the same node before. Versions that only allow more are not among them.
 */
const REWRITTEN: Readonly<Record<string, readonly number[]>> = {
  BatchNormalization: [9, 14],
  Clip: [11],
  DFT: [20],
  Dropout: [12],
  GridSample: [20],
  GroupNormalization: [21],
  Hardmax: [13],
  LogSoftmax: [13],
  Pad: [11],
  ReduceL1: [18],
  ReduceL2: [18],
  ReduceLogSum: [18],
  ReduceLogSumExp: [18],
  ReduceMax: [18],
  ReduceMean: [18],
  ReduceMin: [18],
  ReduceProd: [18],
  ReduceSum: [13],
  ReduceSumSquare: [18],
  Resize: [11],
  Scatter: [11],
  Slice: [10],
  Softmax: [13],
  Split: [13, 18],
  Squeeze: [13],
  TopK: [10],
  Unsqueeze: [13],
  Upsample: [10],
};

/** Before it, Add and its like broadcast by attributes. */
const OLDEST = 7;

/** Does a node of an operator, written in one version of the standard operator set, mean the same in a newer one? */
export function keepsMeaning(opType: string, from: number, to: number): boolean {
  return from >= OLDEST && !(REWRITTEN[opType] ?? []).some((version) => version > from && version <= to);
}
