import type { Random } from '../../runtime/random.js';

/** Test samples whose features fall into a simple block S and all others, Sᶜ. */
export interface BlockSamples {
  /** samples x width, in the coordinates in which S is a set of columns. */
  readonly blocks: Float32Array;
  readonly width: number;
  isSimple(column: number): boolean;
  /** 0 or 1, one a sample. */
  readonly labels: Uint8Array;
  /** What a network is fed, samples x width, of such coordinates. */
  inputs(blocks: Float32Array): Promise<Float32Array>;
}

/** Which block is randomized. */
export type RandomizedBlock = 'simple' | 'complex';

/**
 * The coordinates with one block permuted over the samples, all its columns together; labels stay. What a block is by itself
 * stays the same, but it tells nothing of the class any more (Shah et al., section 3: S- and Sᶜ-randomized accuracy).
 */
export function randomized(samples: BlockSamples, block: RandomizedBlock, random: Random): Float32Array {
  const { blocks, width } = samples;
  const count = blocks.length / width;
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i -= 1) {
    const j = random.integer(i + 1);
    [order[i], order[j]] = [order[j] as number, order[i] as number];
  }
  const made = blocks.slice();
  for (let column = 0; column < width; column += 1) {
    if (samples.isSimple(column) !== (block === 'simple')) continue;
    for (let i = 0; i < count; i += 1)
      made[i * width + column] = blocks[(order[i] as number) * width + column] as number;
  }
  return made;
}

/**
 * The area under the ROC curve: how often a sample of class 1 has a larger score than one of class 0, ties counting half (Mann &
 * Whitney 1947). NaN where a class has no samples.
 *
 * @example
 * areaUnderCurve([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]); // 0.75
 */
export function areaUnderCurve(scores: ArrayLike<number>, labels: ArrayLike<number>): number {
  const order = Array.from({ length: scores.length }, (_, i) => i).sort(
    (a, b) => (scores[a] as number) - (scores[b] as number),
  );
  let [sum, positives] = [0, 0];
  for (let from = 0; from < order.length; ) {
    let to = from;
    while (to < order.length && scores[order[to] as number] === scores[order[from] as number]) to += 1;
    for (let at = from; at < to; at += 1) {
      if (labels[order[at] as number] !== 1) continue;
      sum += (from + to + 1) / 2;
      positives += 1;
    }
    from = to;
  }
  const negatives = order.length - positives;
  return (sum - (positives * (positives + 1)) / 2) / (positives * negatives);
}
