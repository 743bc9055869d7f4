import { findLinearSites, type LinearSite } from '../analysis/linear-sites.js';
import { type Model, ModelError } from '../graph/index.js';
import { inputsPerGroup, outputsPerGroup } from '../passes/chain-plan.js';
import type { Floats } from '../passes/decompose.js';
import { blockOf, siteFactor } from '../passes/site-matrices.js';
import type { RuntimeTensor } from '../runtime/index.js';
import type { Matrix } from '../runtime/matmul.js';
import { checkLeast, checkShare } from './optimizers/ranges.js';
import { mapSingularValues } from './singular-map.js';

export interface RankPruningOptions {
  /** Steps from one pruning to the next; default 20. */
  readonly interval?: number | undefined;
  /**
   * The most that a pruning drops: the sum of the squares of the singular values dropped is no more than this share of
   * the sum of all; default 0.02. 0 drops nothing.
   */
  readonly energy?: number | undefined;
  /** Coefficient of the nuclear norm ‖W‖* (the sum of the singular values) in the loss; default 0.0003. */
  readonly nuclear?: number | undefined;
}

/** As the paper has them. */
export const RANK_PRUNING_DEFAULTS = { interval: 20, energy: 0.02, nuclear: 0.0003 } as const;

/** What a pruning did to one weight. */
export interface PrunedWeight {
  readonly weight: string;
  /** Singular values that are left (the largest of the groups). */
  readonly rank: number;
  /** The most that there can be: the smaller side of the matrix. */
  readonly of: number;
  /** The sum of the singular values that are left, of all groups. */
  readonly nuclearNorm: number;
  /** The share of the sum of squares that was dropped. */
  readonly dropped: number;
}

export interface RankPruning {
  /** The weights that are pruned. */
  readonly weights: readonly string[];
  /** Weights of linear layers that are not, and why. */
  readonly skipped: readonly { readonly weight: string; readonly reason: string }[];
  /** After how many steps, all in all, to prune next when `step` are done. */
  next(step: number): number;
  /**
   * The weights pruned: those named in `weights`, as they are after some steps.
   *
   * @param rate the sum of the learning rates of the steps since the last pruning, which the penalty is scaled by; 0
   *   for a pruning without it, which the end of a training asks for
   * @throws RangeError where a weight has NaN or infinite values
   */
  prune(
    weights: ReadonlyMap<string, RuntimeTensor>,
    rate: number,
  ): Promise<{
    readonly weights: ReadonlyMap<string, RuntimeTensor>;
    readonly pruned: readonly PrunedWeight[];
  }>;
  /** What rank the weights have, up to rounding; they stay as they are. */
  ranks(weights: ReadonlyMap<string, RuntimeTensor>): Promise<readonly PrunedWeight[]>;
}

/**
 * Trained Rank Pruning (Xu et al., "TRP: Trained Rank Pruning for Efficient Deep Neural Networks", IJCAI 2020, arXiv
 * 2004.14566): every `interval` steps of training each weight of a linear layer becomes its best approximation of
 * the lowest rank that the energy allows, and a penalty on the nuclear norm draws singular values to zero in between. What
 * training ends with then factorizes without loss (see `rankRecipe`).
 *
 * The paper adds the sub-gradient λ U V^T to the gradient of each step. Here the penalty of all steps since the last
 * pruning is taken in one: W - λ (Σ lr) U V^T, where no singular value goes below zero. To the first order that is the
 * same for plain gradient descent; it is the proximal step of the nuclear norm (Cai, Candès & Shen 2010), does not
 * oscillate around zero as the sub-gradient does, costs nothing in the steps themselves and, as AdamW's weight decay, is
 * not rescaled by what an optimizer makes of gradients. Singular values are those of the matrix that `expand` factorizes,
 * for each group by itself: out x (in * kernel), or in x out.
 *
 * @param weights the initializers that are trained
 * @throws ModelError for options out of their range, and where no weight can be pruned
 * @example
 * const pruning = trainedRankPruning(model, weights, { energy: 0.05 });
 * const { weights: next } = await pruning.prune(state.weights, 20 * learningRate);
 */
export function trainedRankPruning(
  model: Model,
  weights: Iterable<string>,
  options: RankPruningOptions = {},
): RankPruning {
  const interval = options.interval ?? RANK_PRUNING_DEFAULTS.interval;
  const energy = options.energy ?? RANK_PRUNING_DEFAULTS.energy;
  const nuclear = options.nuclear ?? RANK_PRUNING_DEFAULTS.nuclear;
  if (!Number.isSafeInteger(interval) || interval < 1) {
    throw new ModelError(
      `the interval of rank pruning must be a whole number of at least 1, not ${interval}`,
    );
  }
  checkShare(energy, 'the energy that rank pruning may drop');
  checkLeast(nuclear, 'the coefficient of the nuclear norm');
  const { targets, skipped } = findTargets(model, new Set(weights));
  if (targets.size === 0) {
    throw new ModelError(
      'no weight that is trained is a matrix of a linear layer, so no rank can be pruned',
      {
        file: model.path,
      },
    );
  }
  return {
    weights: [...targets.keys()],
    skipped,
    next: (step) => (Math.floor(step / interval) + 1) * interval,
    prune: (current, rate) => pruneAll(targets, current, { energy, threshold: rate * nuclear }),
    ranks: async (current) => (await pruneAll(targets, current, { energy: ROUNDING, threshold: 0 })).pruned,
  };
}

/** Share of the sum of squares that rounding to float32 may leave in singular values that were zero. */
const ROUNDING = 1e-10;

async function pruneAll(
  targets: ReadonlyMap<string, LinearSite>,
  current: ReadonlyMap<string, RuntimeTensor>,
  limits: Limits,
): ReturnType<RankPruning['prune']> {
  const weights = new Map<string, RuntimeTensor>();
  const pruned: PrunedWeight[] = [];
  for (const [name, site] of targets) {
    const tensor = current.get(name);
    if (tensor === undefined) continue;
    const done = await pruneWeight(name, site, tensor, limits);
    weights.set(name, done.tensor);
    pruned.push(done.account);
  }
  return { weights, pruned };
}

/** The weights that are matrices of linear layers, with the layout that one of their sites gives. */
function findTargets(
  model: Model,
  weights: ReadonlySet<string>,
): { readonly targets: ReadonlyMap<string, LinearSite>; readonly skipped: RankPruning['skipped'] } {
  const targets = new Map<string, LinearSite>();
  const reasons = new Map<string, string>();
  for (const site of findLinearSites(model).sites) {
    const { root } = site.weight;
    const name = root?.name ?? '';
    if (root === undefined || !weights.has(name) || targets.has(name)) continue;
    const reason = whyNot(site, root.dataType);
    const [rows = 0, columns = 0] = root.shape;
    if (reason !== undefined) reasons.set(name, reason);
    // The transpose of a matrix has the same singular values, so rows and columns are taken as they are stored.
    else targets.set(name, site.kernel.length === 0 ? { ...site, rows, columns } : site);
  }
  const skipped = [...reasons]
    .filter(([name]) => !targets.has(name))
    .map(([weight, reason]) => ({ weight, reason }));
  return { targets, skipped };
}

function whyNot(site: LinearSite, type: string): string | undefined {
  if (type !== 'float32' && type !== 'float64') return `it is ${type}`;
  const view = site.weight.path.find(
    (node) => !node.is('Identity') && !(node.is('Transpose') && site.kernel.length === 0),
  );
  if (view !== undefined) return `it is read through ${view.opType}`;
  const outputs = outputsPerGroup(site);
  const inputs = (site.rows * site.columns) / site.groups / Math.max(1, outputs);
  if (Math.min(outputs, inputs) === 1) return 'its matrix has one row or one column';
  return undefined;
}

interface Limits {
  readonly energy: number;
  /** What is taken off each singular value. */
  readonly threshold: number;
}

async function pruneWeight(
  weight: string,
  site: LinearSite,
  tensor: RuntimeTensor,
  { energy, threshold }: Limits,
): Promise<{ readonly tensor: RuntimeTensor; readonly account: PrunedWeight }> {
  const data = tensor.data as Floats;
  const length = data.length / site.groups;
  const blocks: Matrix[] = [];
  const found = { rank: 0, nuclearNorm: 0, squares: 0, dropped: 0 };
  for (let group = 0; group < site.groups; group += 1) {
    const block = blockOf(site, data.subarray(group * length, (group + 1) * length));
    const { matrix } = await mapSingularValues(block, (values) => {
      const { rank, dropped, squares } = energyRank(values, energy);
      found.squares += squares;
      found.dropped += dropped;
      const next = values.map((value, i) => (i < rank ? Math.max(0, value - threshold) : 0));
      found.rank = Math.max(found.rank, next.filter((value) => value > 0).length);
      found.nuclearNorm += next.reduce((sum, value) => sum + value, 0);
      return next;
    });
    blocks.push(matrix);
  }
  const whole = { inputs: inputsPerGroup(site), outputs: outputsPerGroup(site), kernel: site.kernel };
  return {
    tensor: { ...tensor, data: siteFactor(site, blocks, whole).data },
    account: {
      weight,
      rank: found.rank,
      of: Math.min(blocks[0]?.rows ?? 0, blocks[0]?.columns ?? 0),
      nuclearNorm: found.nuclearNorm,
      dropped: found.squares === 0 ? 0 : found.dropped / found.squares,
    },
  };
}

/** The lowest rank that leaves out no more than a share of the squares; at least 1. */
function energyRank(
  values: Float64Array,
  energy: number,
): { readonly rank: number; readonly dropped: number; readonly squares: number } {
  const squares = values.reduce((sum, value) => sum + value * value, 0);
  let [rank, dropped] = [values.length, 0];
  while (rank > 1) {
    const next = dropped + (values[rank - 1] as number) ** 2;
    if (next > energy * squares) break;
    dropped = next;
    rank -= 1;
  }
  return { rank, dropped, squares };
}

/**
 * The sub-gradient U_r V_r^T of the nuclear norm of a matrix with the rank r (Watson 1992): its gradient where all
 * singular values are above zero.
 *
 * @example
 * const { data } = await nuclearSubgradient({ rows: 64, columns: 32, data: weight });
 */
export async function nuclearSubgradient(a: Matrix): Promise<Matrix> {
  const { matrix } = await mapSingularValues(a, (values) => values.map((value) => (value > 0 ? 1 : 0)));
  return matrix;
}
