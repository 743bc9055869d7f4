import { taps } from '../../affine/linear-site.js';
import { decompose } from '../../linalg/decompose.js';
import type { Matrix } from '../../linalg/matmul.js';
import type { Random } from '../../runtime/random.js';

/** A kernel [outputs, inputs, ...extents] as the matrix outputs x (inputs * taps). */
interface Kernel {
  readonly inputs: number;
  readonly outputs: number;
  readonly extents: readonly number[];
  readonly data: Float32Array | Float64Array;
}

/** Which matrix of pairs of taps a kernel is written as; see `unfold`. */
type Form = 'spread' | 'copies' | 'sums';

interface Cut {
  /** Factors on the left of the cut: those applied first. */
  readonly at: number;
  /** Hidden units that the cut itself needs at most, and that the whole of the chain does. */
  readonly hidden: number;
  readonly width: number;
}

/**
 * The hidden units a group that always do for a chain of kernels of stride 1.
 *
 * A kernel W[o, c, t] is the composition of L[h, c, a] and R[o, h, b] when W[o, c, t] = sum over a + b = t of T[(o, b), (c, a)]
 * with T = R L a matrix of rank h. Any T whose sums are right will do. Where each tap t comes from one pair (a, b), T has
 * c * prod ceil(k / k_R) columns that are not zero (L copies the input at places as far apart as R is wide), or
 * o * prod ceil(k / k_L) rows that are not zero (R adds up what L computed for each place): its rank is no more than the
 * smaller of the two.
 */
export function sufficientHidden(
  inputs: number,
  outputs: number,
  kernels: readonly (readonly number[])[],
): number {
  return kernels.length < 2 ? 0 : bestCut(inputs, outputs, kernels).width;
}

function bestCut(inputs: number, outputs: number, kernels: readonly (readonly number[])[]): Cut {
  let best: Cut | undefined;
  for (let at = 1; at < kernels.length; at += 1) {
    const [left, right] = [kernels.slice(0, at), kernels.slice(at)];
    const { copies, sums } = bounds(inputs, outputs, extentsOf(left), extentsOf(right));
    const hidden = Math.min(copies, sums);
    const width = Math.max(
      hidden,
      sufficientHidden(inputs, hidden, left),
      sufficientHidden(hidden, outputs, right),
    );
    if (best === undefined || width < best.width) best = { at, hidden, width };
  }
  return best as Cut;
}

function bounds(
  inputs: number,
  outputs: number,
  left: readonly number[],
  right: readonly number[],
): { readonly copies: number; readonly sums: number } {
  const places = (window: readonly number[]): number =>
    left.reduce(
      (product, extent, axis) =>
        product * Math.ceil((extent + (right[axis] as number) - 1) / (window[axis] as number)),
      1,
    );
  return { copies: inputs * places(right), sums: outputs * places(left) };
}

/** Extents that a chain of kernels composes to. */
function extentsOf(kernels: readonly (readonly number[])[]): number[] {
  const [first = []] = kernels;
  return first.map((_, axis) => kernels.reduce((sum, kernel) => sum + (kernel[axis] as number) - 1, 1));
}

/**
 * Factors a kernel into a chain of kernels, each [outputs, inputs * taps] in the order of application, with `hidden` units
 * in between. Each cut takes the singular value decomposition of T (see sufficientHidden) and gives each factor of the
 * chain its share s^(1/n), so that the two sides of a cut are balanced. Units beyond the rank of a cut have random
 * incoming weights and zero outgoing ones.
 *
 * @param epsilon machine epsilon of the weight's type
 * @returns the rank of the cut that has most, and no factors where it is more than `hidden`
 */
export async function splitKernel(
  weight: Matrix,
  inputs: number,
  kernels: readonly (readonly number[])[],
  hidden: number,
  init: 'balanced' | 'identity',
  epsilon: number,
  random: Random,
): Promise<{ readonly rank: number; readonly factors: readonly Matrix[] | undefined }> {
  const kernel: Kernel = { inputs, outputs: weight.rows, extents: extentsOf(kernels), data: weight.data };
  const result = await split(kernel, kernels, hidden, init, epsilon);
  if (result.rank > hidden) return { rank: result.rank, factors: undefined };
  const matrices = result.factors.map((factor, i) => {
    const isFirst = i === 0;
    const isLast = i === kernels.length - 1;
    return widen(
      { outputs: factor.outputs, inputs: factor.inputs, taps: taps(factor.extents), data: factor.data },
      { outputs: isLast ? factor.outputs : hidden, inputs: isFirst ? factor.inputs : hidden },
      random,
    );
  });
  return { rank: result.rank, factors: matrices };
}

async function split(
  kernel: Kernel,
  kernels: readonly (readonly number[])[],
  hidden: number,
  init: 'balanced' | 'identity',
  epsilon: number,
): Promise<{ readonly rank: number; readonly factors: readonly Kernel[] }> {
  if (kernels.length === 1) return { rank: 0, factors: [kernel] };
  const { inputs, outputs } = kernel;
  const { at } = bestCut(inputs, outputs, kernels);
  const [left, right] = [kernels.slice(0, at), kernels.slice(at)];
  const [leftExtents, rightExtents] = [extentsOf(left), extentsOf(right)];
  const { copies, sums } = bounds(inputs, outputs, leftExtents, rightExtents);
  const whole = Math.min(outputs * taps(rightExtents), inputs * taps(leftExtents));
  const tiled: Form = copies <= sums ? 'copies' : 'sums';
  const t = unfold(
    kernel,
    leftExtents,
    rightExtents,
    init === 'balanced' && whole <= hidden ? 'spread' : tiled,
  );
  const { rank, first, last } =
    init === 'balanced'
      ? await balancedCut(t, left.length / kernels.length, epsilon)
      : identityCut(t, tiled === 'copies');
  if (rank > hidden) return { rank, factors: [] };
  const before = await split(
    { inputs, outputs: rank, extents: leftExtents, data: first },
    left,
    hidden,
    init,
    epsilon,
  );
  const after = await split(
    { inputs: rank, outputs, extents: rightExtents, data: fromRows(last, outputs, rank, taps(rightExtents)) },
    right,
    hidden,
    init,
    epsilon,
  );
  return {
    rank: Math.max(rank, before.rank, after.rank),
    factors: [...before.factors, ...after.factors],
  };
}

interface CutSides {
  readonly rank: number;
  /** rank x (c, a). */
  readonly first: Float32Array | Float64Array;
  /** (o, b) x rank. */
  readonly last: Float32Array | Float64Array;
}

async function balancedCut(t: Matrix, share: number, epsilon: number): Promise<CutSides> {
  const decomposition = await decompose({ rows: t.rows, columns: t.columns, load: () => t }, epsilon);
  const { values } = decomposition;
  // A weight of zeros has the rank 0; a convolution has at least one channel.
  if (values.length === 0) {
    return { rank: 1, first: new Float64Array(t.columns), last: new Float64Array(t.rows) };
  }
  const first = await decomposition.right(values.map((value) => value ** share));
  const last = await decomposition.left(values.map((value) => value ** (1 - share)));
  return { rank: values.length, first: first.data, last: last.data };
}

/** T times the identity on its columns that are not zero, or the identity on its rows that are not times T. */
function identityCut(t: Matrix, isCopies: boolean): CutSides {
  const { rows, columns, data } = t;
  const kept: number[] = [];
  const length = isCopies ? columns : rows;
  for (let i = 0; i < length; i += 1) if (isUsed(t, i, isCopies)) kept.push(i);
  if (kept.length === 0) kept.push(0);
  const rank = kept.length;
  const first = new Float64Array(rank * columns);
  const last = new Float64Array(rows * rank);
  for (const [unit, from] of kept.entries()) {
    if (isCopies) first[unit * columns + from] = 1;
    else last[from * rank + unit] = 1;
    for (let j = 0; j < (isCopies ? rows : columns); j += 1) {
      if (isCopies) last[j * rank + unit] = data[j * columns + from] as number;
      else first[unit * columns + j] = data[from * columns + j] as number;
    }
  }
  return { rank, first, last };
}

function isUsed({ rows, columns, data }: Matrix, index: number, isColumn: boolean): boolean {
  for (let j = 0; j < (isColumn ? rows : columns); j += 1) {
    if (data[isColumn ? j * columns + index : index * columns + j] !== 0) return true;
  }
  return false;
}

/** (outputs, taps) x rank as outputs x (rank, taps). */
function fromRows(
  data: Float32Array | Float64Array,
  outputs: number,
  rank: number,
  size: number,
): Float32Array | Float64Array {
  const made = new Float64Array(data.length);
  for (let o = 0; o < outputs; o += 1) {
    for (let b = 0; b < size; b += 1) {
      for (let h = 0; h < rank; h += 1)
        made[(o * rank + h) * size + b] = data[(o * size + b) * rank + h] as number;
    }
  }
  return made;
}

/**
 * The matrix T[(o, b), (c, a)] of a kernel: 'copies' and 'sums' take each tap t from one pair a + b = t, with the fewest
 * places a and b; 'spread' takes it from all of them in equal parts, the smallest T there is.
 */
function unfold(
  { inputs, outputs, extents, data }: Kernel,
  left: readonly number[],
  right: readonly number[],
  form: Form,
): Matrix {
  const [leftTaps, rightTaps, size] = [taps(left), taps(right), taps(extents)];
  const columns = inputs * leftTaps;
  const t = new Float64Array(outputs * rightTaps * columns);
  for (const { tap, a, b, part } of pairs(extents, left, right, form)) {
    for (let o = 0; o < outputs; o += 1) {
      for (let c = 0; c < inputs; c += 1) {
        t[(o * rightTaps + b) * columns + c * leftTaps + a] =
          part * (data[(o * inputs + c) * size + tap] as number);
      }
    }
  }
  return { rows: outputs * rightTaps, columns, data: t };
}

interface Pair {
  readonly tap: number;
  readonly a: number;
  readonly b: number;
  /** The share of the tap that comes from this pair. */
  readonly part: number;
}

/** Pairs of taps, as places in row-major kernels. */
function pairs(
  extents: readonly number[],
  left: readonly number[],
  right: readonly number[],
  form: Form,
): Pair[] {
  let all: Pair[] = [{ tap: 0, a: 0, b: 0, part: 1 }];
  for (const [axis, extent] of extents.entries()) {
    const [l, r] = [left[axis] as number, right[axis] as number];
    const along: Pair[] = [];
    for (let tap = 0; tap < extent; tap += 1) {
      const fits = Array.from({ length: l }, (_, a) => a).filter((a) => tap - a >= 0 && tap - a < r);
      const chosen =
        form === 'spread'
          ? fits
          : [
              form === 'copies'
                ? Math.min(Math.floor(tap / r) * r, l - 1)
                : tap - Math.min(Math.floor(tap / l) * l, r - 1),
            ];
      along.push(...chosen.map((a) => ({ tap, a, b: tap - a, part: 1 / chosen.length })));
    }
    all = all.flatMap((outer) =>
      along.map((inner) => ({
        tap: outer.tap * extent + inner.tap,
        a: outer.a * l + inner.a,
        b: outer.b * r + inner.b,
        part: outer.part * inner.part,
      })),
    );
  }
  return all;
}

interface Channels {
  readonly outputs: number;
  readonly inputs: number;
}

/**
 * Adds units to the two ends of a factor [outputs, inputs * taps]. Those at its input are not read by the units within;
 * those at its output read the added ones alone, or the ones within where none were added, by random weights of the size of
 * the factor's own. Nothing changes, and no unit is dead.
 */
export function widen(
  factor: Channels & { readonly taps: number; readonly data: Float32Array | Float64Array },
  to: Channels,
  random: Random,
): Matrix {
  const { outputs, inputs, taps, data } = factor;
  const columns = to.inputs * taps;
  if (to.outputs === outputs && to.inputs === inputs) return { rows: outputs, columns, data };
  const wide = new Float64Array(to.outputs * columns);
  let square = 0;
  for (let o = 0; o < outputs; o += 1) {
    const row = data.subarray(o * inputs * taps, (o + 1) * inputs * taps);
    wide.set(row, o * columns);
    for (const value of row) square += value * value;
  }
  // The norm of a row of the factor, on the average.
  const norm = Math.sqrt(square / Math.max(1, outputs)) || 1;
  const from = to.inputs > inputs ? inputs * taps : 0;
  const deviation = norm / Math.sqrt(columns - from);
  for (let o = outputs; o < to.outputs; o += 1) {
    random.fillNormal(wide.subarray(o * columns + from, (o + 1) * columns), deviation);
  }
  return { rows: to.outputs, columns, data: wide };
}
