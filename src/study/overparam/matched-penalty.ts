/** A coefficient tried, and the share of full rank that training with it ended at. */
export interface Trial<Result> {
  readonly penalty: number;
  readonly share: number;
  readonly result: Result;
}

/** Coefficients λ between which the search looks, and how near in share of full rank is matched; at most so many trainings. */
export const SEARCH = { lowest: 1e-4, highest: 1, tolerance: 0.01, trials: 10 } as const;

/**
 * The penalty of which training ends nearest to an effective rank: bisection of log λ, since the rank falls as λ grows. Ends once a trial is
 * within the tolerance or all trials are made; a trial that diverged (share NaN) counts as one with too large a penalty.
 *
 * @param target share of full rank to end at, in (0, 1]
 * @param train trains from the same start with a coefficient
 * @returns the nearest trial, or undefined if all diverged
 */
export async function matchPenalty<Result>(
  target: number,
  train: (penalty: number) => Promise<Omit<Trial<Result>, 'penalty'>>,
): Promise<Trial<Result> | undefined> {
  let [low, high] = [Math.log(SEARCH.lowest), Math.log(SEARCH.highest)];
  let best: Trial<Result> | undefined;
  for (let trial = 0; trial < SEARCH.trials; trial++) {
    const middle = (low + high) / 2;
    const penalty = Math.exp(middle);
    const { share, result } = await train(penalty);
    const gap = Math.abs(share - target);
    if (gap < (best === undefined ? Number.POSITIVE_INFINITY : Math.abs(best.share - target)))
      best = { penalty, share, result };
    if (gap <= SEARCH.tolerance) break;
    if (share > target) low = middle;
    else high = middle;
  }
  return best;
}
