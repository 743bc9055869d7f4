import { LinearSite } from '../../affine/linear-site.js';
import { findLinearSites } from '../../affine/linear-sites.js';
import { type Model, ModelError } from '../../graph/index.js';
import { checkOptions } from '../../graph/option-descriptors.js';
import { type Floats, swapped } from '../../linalg/floats.js';
import type { Matrix } from '../../linalg/matmul.js';
import type { RuntimeTensor } from '../../runtime/index.js';
import type { EngineSpec } from '../engine/engine-spec.js';
import type { PrunedWeight, TrainingState } from '../types.js';
import { nuclearSlot } from './nuclear-norm.js';
import {
  type PrunedForm,
  RANK_PRUNING_DEFAULTS,
  RANK_PRUNING_OPTIONS,
  type RankPruningOptions,
} from './options.js';
import { mapSingularValues } from './singular-map.js';

/** Trained rank pruning, as trainedRankPruning sets it up. */
export interface RankPruning {
  /** The weights that are pruned. */
  readonly weights: readonly string[];
  /** Weights of linear layers that are not, and why. */
  readonly skipped: readonly { readonly weight: string; readonly reason: string }[];
  /** After how many steps, all in all, to prune next when `step` are done. */
  next(step: number): number;
  /** What the steps add to the loss; undefined where it is nothing. */
  readonly penalty: EngineSpec['nuclear'];
  /**
   * A state with the weights pruned, and with the sub-gradients that the next steps take.
   *
   * @throws RangeError where a weight has NaN or infinite values
   */
  prune(
    state: TrainingState,
  ): Promise<{ readonly state: TrainingState; readonly pruned: readonly PrunedWeight[] }>;
  /** A state as it is, with the sub-gradients: where training begins. */
  begin(state: TrainingState): Promise<TrainingState>;
  /** What rank the weights have, up to rounding; they stay as they are. */
  ranks(weights: ReadonlyMap<string, RuntimeTensor>): Promise<readonly PrunedWeight[]>;
}

/**
 * Trained Rank Pruning (Xu et al., "TRP: Trained Rank Pruning for Efficient Deep Neural Networks", IJCAI 2020, arXiv
 * 2004.14566): every `interval` steps of training each weight of a linear layer becomes its best approximation of
 * the lowest rank that the energy allows, and the sub-gradient U V^T of the nuclear norm, times λ, is added to the gradient
 * of every step, which draws singular values to zero. What training ends with then factorizes without loss (see `rankRecipe`).
 *
 * U and V are those of the decomposition that pruned last, cut to the rank that was left, as in the authors' program: they
 * are computed once an interval, and the state holds their product in between. Singular values are those of the
 * matrix that `expand` factorizes, for each group by itself: out x (in * kernel), or in x out; with `form: 'spatial'` a kernel of two
 * axes is (in * kh) x (out * kw), the matrix of two convolutions along one axis each.
 *
 * @param weights the initializers that are trained
 * @throws OptionError for options out of range; ModelError where no weight can be pruned
 * @example
 * const pruning = trainedRankPruning(model, weights, { energy: 0.05 });
 * const { state } = await pruning.prune(await engine.state());
 */
export function trainedRankPruning(
  model: Model,
  weights: Iterable<string>,
  options: RankPruningOptions = {},
): RankPruning {
  const { interval, energy, nuclear, form } = {
    ...RANK_PRUNING_DEFAULTS,
    ...checkOptions(RANK_PRUNING_OPTIONS, options),
  };
  const { targets, skipped } = findTargets(model, new Set(weights));
  if (targets.size === 0) {
    throw new ModelError(
      'no weight that is trained is a matrix of a linear layer, so no rank can be pruned',
      {
        file: model.path,
      },
    );
  }
  const all = [...targets.keys()];
  const withSlopes = (state: TrainingState, slopes: Tensors): TrainingState => ({
    ...state,
    slots: new Map([
      ...state.slots,
      ...[...slopes].map(([name, slope]) => [nuclearSlot(name), slope] as const),
    ]),
  });
  const limits = { energy, form, hasSlopes: nuclear > 0 };
  return {
    weights: all,
    skipped,
    penalty: nuclear > 0 ? { coefficient: nuclear, weights: all } : undefined,
    next: (step) => (Math.floor(step / interval) + 1) * interval,
    begin: async (state) =>
      nuclear > 0 ? withSlopes(state, (await pruneAll(targets, state.weights, limits)).slopes) : state,
    prune: async (state) => {
      const { weights: next, slopes, pruned } = await pruneAll(targets, state.weights, limits);
      return {
        state: { ...withSlopes(state, slopes), weights: new Map([...state.weights, ...next]) },
        pruned,
      };
    },
    ranks: async (current) =>
      (await pruneAll(targets, current, { energy: ROUNDING, form, hasSlopes: false })).pruned,
  };
}

/** Share of the sum of squares that rounding to float32 may leave in singular values that were zero. */
const ROUNDING = 1e-10;

type Tensors = ReadonlyMap<string, RuntimeTensor>;

interface Pruned {
  readonly weights: Tensors;
  /** Sub-gradients of the nuclear norms, where they are wanted. */
  readonly slopes: Tensors;
  readonly pruned: readonly PrunedWeight[];
}

interface Limits {
  readonly energy: number;
  readonly form: PrunedForm;
  readonly hasSlopes: boolean;
}

async function pruneAll(
  targets: ReadonlyMap<string, LinearSite>,
  current: Tensors,
  limits: Limits,
): Promise<Pruned> {
  const weights = new Map<string, RuntimeTensor>();
  const slopes = new Map<string, RuntimeTensor>();
  const pruned: PrunedWeight[] = [];
  for (const [name, site] of targets) {
    const tensor = current.get(name);
    if (tensor === undefined) continue;
    const done = await pruneWeight(name, site, tensor, limits);
    weights.set(name, done.tensor);
    if (done.slope !== undefined) slopes.set(name, done.slope);
    pruned.push(done.account);
  }
  return { weights, slopes, pruned };
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
    else targets.set(name, site.kernel.length === 0 ? new LinearSite({ ...site, rows, columns }) : site);
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
  const outputs = site.outputs;
  const inputs = (site.rows * site.columns) / site.groups / Math.max(1, outputs);
  if (Math.min(outputs, inputs) === 1) return 'its matrix has one row or one column';
  return undefined;
}

async function pruneWeight(
  weight: string,
  site: LinearSite,
  tensor: RuntimeTensor,
  { energy, form, hasSlopes }: Limits,
): Promise<{
  readonly tensor: RuntimeTensor;
  readonly slope: RuntimeTensor | undefined;
  readonly account: PrunedWeight;
}> {
  const data = tensor.data as Floats;
  const length = data.length / site.groups;
  const blocks: Matrix[] = [];
  const slopes: Matrix[] = [];
  const found = { rank: 0, nuclearNorm: 0, squares: 0, dropped: 0 };
  const [turned, back] = turns(site, form);
  for (let group = 0; group < site.groups; group += 1) {
    const block = turned(site.matrixOf(data.subarray(group * length, (group + 1) * length)));
    const [matrix, slope] = await mapSingularValues(block, (values) => {
      const { rank, dropped, squares } = energyRank(values, energy);
      found.squares += squares;
      found.dropped += dropped;
      found.rank = Math.max(found.rank, values.subarray(0, rank).filter((value) => value > 0).length);
      found.nuclearNorm += values.subarray(0, rank).reduce((sum, value) => sum + value, 0);
      const next = values.map((value, i) => (i < rank ? value : 0));
      return hasSlopes ? [next, next.map((value) => (value > 0 ? 1 : 0))] : [next];
    });
    blocks.push(matrix as Matrix);
    if (slope !== undefined) slopes.push(slope);
  }
  const whole = { inputs: site.inputs, outputs: site.outputs, kernel: site.kernel };
  const stored = (parts: readonly Matrix[]): RuntimeTensor => ({
    ...tensor,
    data: site.factorOf(parts.map(back), whole).data,
  });
  return {
    // What loses nothing is not rounded anew.
    tensor: found.dropped === 0 ? tensor : stored(blocks),
    slope: hasSlopes ? stored(slopes) : undefined,
    account: {
      weight,
      rank: found.rank,
      of: Math.min(blocks[0]?.rows ?? 0, blocks[0]?.columns ?? 0),
      nuclearNorm: found.nuclearNorm,
      dropped: found.squares === 0 ? 0 : found.dropped / found.squares,
    },
  };
}

type Turn = (matrix: Matrix) => Matrix;

/** From the matrix of a weight as its site has it to the one that is cut, and back. */
function turns({ op, inputs, outputs, kernel }: LinearSite, form: PrunedForm): readonly [Turn, Turn] {
  const [height = 1, width = 1, ...more] = kernel;
  const isSpatial = form === 'spatial' && op === 'Conv' && more.length === 0 && height > 1 && width > 1;
  if (!isSpatial) return [(matrix) => matrix, (matrix) => matrix];
  const rows = inputs * height;
  return [
    ({ data }) => ({ rows, columns: outputs * width, data: swapped(data, 1, outputs, rows, width) }),
    ({ data }) => ({ rows: outputs, columns: rows * width, data: swapped(data, 1, rows, outputs, width) }),
  ];
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
