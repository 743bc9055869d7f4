import { figureOf } from '../../analysis/spectra/descriptors.js';
import { RESOLUTION, spectrumMetrics } from '../../analysis/spectra/metrics.js';
import { extrasOf } from '../../analysis/spectra/row-extras.js';
import { outputAxisOf } from '../../analysis/weights/output-axis.js';
import { matrixLike, type WeightPair, weightDelta } from '../../analysis/weights/weight-delta.js';
import type { WeightStore } from '../../analysis/weights/weight-store.js';
import { chosenBy } from '../../analysis/weights/weights.js';
import { EPSILON, isFloatType } from '../../graph/index.js';
import { glob, PatternError } from '../../graph/names/glob.js';
import type { Skipped } from '../../graph/skipped.js';
import { decompose, norm2 } from '../../linalg/decompose.js';
import { withEigenThreads } from '../../linalg/gram-eigen.js';
import { type Matrix, matmul } from '../../linalg/index.js';
import type { LoraFactors } from './adapter-file.js';
import { checkExtractOptions } from './options.js';

/** Options of extractLora. */
export interface ExtractLoraOptions {
  /** Of each adapter; 'auto' (the default): the spikes of the Marchenko-Pastur fit to its change. */
  readonly rank?: number | 'auto' | undefined;
  /** Globs: only weights one of whose names matches one of them. Default all. */
  readonly only?: readonly string[] | undefined;
  /** Between two weights, it ends the call with its reason. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: { done: number; total: number; what: string }) => void) | undefined;
}

/** The adapter of one weight. */
export interface ExtractedLora extends LoraFactors {
  readonly weight: string;
  readonly rank: number;
  /** ‖W1 - W0 - b a‖F / ‖W1 - W0‖F, of the factors as they are written. */
  readonly error: number;
  /** ‖W1 - W0‖F / ‖W0‖F. */
  readonly relativeChange: number;
}

/** What extractLora returns: an adapter per weight that changed. */
export interface LoraExtraction {
  readonly base: string | undefined;
  readonly tuned: string | undefined;
  readonly adapters: readonly ExtractedLora[];
  readonly skipped: readonly Skipped[];
  /** Whether the base's weights are in x out. */
  readonly fanInFanOut: boolean;
}

/**
 * Adapters that turn one model into another, as far as their ranks allow: of each matrix W1 - W0 = U S Vᵀ the leading directions,
 * b = U S^½ and a = S^½ Vᵀ, which is the nearest product of that rank (Eckart & Young 1936). In float64, rounded once.
 *
 * @throws ModelError where a weight cannot be read; OptionError for options out of range; PatternError for a glob that matches no weight
 * @example
 * const { adapters } = await extractLora(await readModel('base.onnx'), await readModel('tuned.onnx'), { rank: 8 });
 */
export async function extractLora(
  base: WeightStore,
  tuned: WeightStore,
  options: ExtractLoraOptions = {},
): Promise<LoraExtraction> {
  const { rank, only = [], onProgress } = options;
  const wanted = checkExtractOptions({ only, ...(rank !== undefined && { rank: String(rank) }) });
  const { pairs, others } = await weightDelta(base, tuned);
  for (const pattern of only) {
    const told = [...pairs.map(({ delta }) => delta.name), ...others.map(({ node }) => node.label)];
    if (pairs.some(({ delta }) => chosenBy([pattern])(delta)) || told.some(glob(pattern))) continue;
    throw new PatternError('only', pattern, 'weight or node', told, tuned.path);
  }
  const chosen = pairs.filter(({ delta }) => chosenBy(only)(delta));
  const adapters: ExtractedLora[] = [];
  const skipped: Skipped[] = others.map(({ node, reason }) => ({
    node: node.label,
    op: node.opType,
    reason,
  }));
  let turned = 0;
  await withEigenThreads(async () => {
    for (const [done, pair] of chosen.entries()) {
      options.signal?.throwIfAborted();
      onProgress?.({ done, total: chosen.length, what: pair.delta.name });
      const axis = outputAxisOf(pair.before, base);
      const { node } = pair.before.uses[0];
      const found = 'reason' in axis ? axis : await adapterOf(pair, axis.axis, wanted);
      if ('reason' in found) skipped.push({ node: node.label, op: node.opType, reason: found.reason });
      else {
        adapters.push(found);
        if ('axis' in axis && axis.axis === 'columns') turned += 1;
      }
    }
  });
  return {
    base: base.path,
    tuned: tuned.path,
    adapters,
    skipped,
    fanInFanOut: turned > 0 && turned === adapters.length,
  };
}

async function adapterOf(
  { before, after, delta }: WeightPair,
  axis: 'rows' | 'columns',
  wanted: number | 'auto',
): Promise<ExtractedLora | { readonly reason: string }> {
  if (after.uses[0].data.factors !== undefined) return { reason: 'it is an adapter already' };
  const change = await matrixLike(delta, before);
  const size = norm2(change.data);
  if (size === 0) return { reason: 'it did not change' };
  if (!Number.isFinite(size)) return { reason: 'its change has NaN or infinite elements' };
  const epsilon = isFloatType(delta.dataType) ? EPSILON[delta.dataType] : EPSILON.float32;
  const parts = await decompose({ ...change, load: () => change }, epsilon);
  const rank = Math.min(parts.values.length, wanted === 'auto' ? automatic(parts.values, change) : wanted);
  if (rank === 0) return { reason: 'its change has no direction that stands out of noise; give a rank' };
  const roots = parts.values.map((value, i) => (i < rank ? Math.sqrt(value) : 0));
  const left = columnsOf(await parts.left(roots), rank);
  const right = rowsOf(await parts.right(roots), rank);
  // PEFT's factors are of out x in.
  const [b, a] = axis === 'rows' ? [left, right] : [transposed(right), transposed(left)];
  const product = await matmul(left, right);
  const rest = change.data.map((value, i) => value - (product.data[i] as number));
  const old = norm2((await matrixLike(before, before)).data);
  return {
    weight: before.name,
    module: before.name.replace(/\.weight$/, ''),
    a,
    b,
    scale: 1,
    rank,
    error: norm2(rest) / size,
    relativeChange: old > 0 ? size / old : Number.POSITIVE_INFINITY,
  };
}

/** Singular values beyond the bulk of noise; of a matrix whose rest is zero, those that are not. */
function automatic(values: Float64Array, { rows, columns }: Matrix): number {
  const all = new Float64Array(Math.min(rows, columns));
  all.set(values.subarray(0, all.length));
  const size = { rows, columns, resolution: RESOLUTION };
  const metrics = spectrumMetrics(all, { ...size, epsilon: EPSILON.float32, copies: 1 });
  const extras = extrasOf(all, { extras: true, ...size });
  const spikes = figureOf({ metrics, extras, problem: undefined }, 'mpSpikes');
  return spikes ?? metrics.numericalRank;
}

function columnsOf({ rows, columns, data }: Matrix, count: number): Matrix {
  const kept = new Float32Array(rows * count);
  for (let i = 0; i < rows; i += 1)
    for (let j = 0; j < count; j += 1) kept[i * count + j] = data[i * columns + j] as number;
  return { rows, columns: count, data: kept };
}

function rowsOf({ columns, data }: Matrix, count: number): Matrix {
  return { rows: count, columns, data: Float32Array.from(data.subarray(0, count * columns)) };
}

function transposed({ rows, columns, data }: Matrix): Matrix {
  const turned = new Float32Array(data.length);
  for (let i = 0; i < rows; i += 1)
    for (let j = 0; j < columns; j += 1) turned[j * rows + i] = data[i * columns + j] as number;
  return { rows: columns, columns: rows, data: turned };
}
