import { type Floats, transposed } from '../../linalg/floats.js';
import { batchedMatmul, matmul } from '../../linalg/matmul.js';
import { composeGeometry, composeTaps, type Geometry, isDiagonal, mergeTaps } from './geometry.js';

/**
 * The numbers of an affine map. The kernel is [outputs][inputs / groups][taps] ('out-in') or, of a map with one group
 * and one tap only, [inputs][outputs] ('in-out').
 */
export interface AffineValues {
  readonly geometry: Geometry;
  readonly kernel: Floats;
  readonly layout: MatrixLayout;
  readonly bias: Float64Array | undefined;
  /** Some rows of a matrix as it stands, where these can be had without all others. */
  readonly rows?: ((start: number, count: number) => Floats) | undefined;
}

/** The map that multiplies each channel by a number. */
export function diagonal(geometry: Geometry, factors: Float64Array, bias?: Float64Array): AffineValues {
  return { geometry, kernel: factors, layout: 'out-in', bias };
}

/** A matrix of outputs x inputs, or of inputs x outputs. */
export type MatrixLayout = 'out-in' | 'in-out';

/** `second` after `first`, in float64. */
export async function composeValues(
  first: AffineValues,
  second: AffineValues,
  layout: MatrixLayout,
): Promise<AffineValues> {
  const geometry = composeGeometry(first.geometry, second.geometry);
  const bias = await composeBias(first, second);
  if (isDiagonal(second.geometry)) return { ...scaled(first, second.kernel, 'outputs'), geometry, bias };
  if (isDiagonal(first.geometry)) return { ...scaled(second, first.kernel, 'inputs'), geometry, bias };
  if (isMatrix(first) && isMatrix(second))
    return { geometry, bias, layout, kernel: await product(first, second, layout) };
  const [before, after] = [outIn(first), outIn(second)];
  if (after.geometry.groups === geometry.outputs && geometry.outputs === after.geometry.inputs) {
    return { geometry, bias, layout: 'out-in', kernel: depthwiseBehind(before, after, geometry) };
  }
  if (before.geometry.groups === geometry.inputs && geometry.inputs === before.geometry.outputs) {
    return { geometry, bias, layout: 'out-in', kernel: depthwiseInFront(before, after, geometry) };
  }
  return { geometry, bias, layout: 'out-in', kernel: await contract(before, after, geometry) };
}

/** True for a map that is one matrix, and no vector of factors. */
export function isMatrix({ geometry }: AffineValues): boolean {
  return geometry.groups === 1 && geometry.taps.length === 1 && !isDiagonal(geometry);
}

/** The product of two matrices, in either layout, from either. */
async function product(first: AffineValues, second: AffineValues, layout: MatrixLayout): Promise<Floats> {
  const matrixOf = ({ geometry, kernel, layout: own }: AffineValues) =>
    own === 'out-in'
      ? { rows: geometry.outputs, columns: geometry.inputs, data: kernel }
      : { rows: geometry.inputs, columns: geometry.outputs, data: kernel };
  const [left, right] = layout === 'out-in' ? [second, first] : [first, second];
  const { data } = await matmul(matrixOf(left), matrixOf(right), {
    transposeA: left.layout !== layout,
    transposeB: right.layout !== layout,
  });
  return data;
}

/** sum over h of K2[m, h, t2] K1[h, c, t1], added up where t2 and t1 come to the same tap: one product a tap of K2. */
async function contract(
  first: AffineValues,
  second: AffineValues,
  geometry: Geometry,
): Promise<Float64Array> {
  const { groups, outputs, inputs } = geometry;
  const { taps, places } = composeTaps(first.geometry, second.geometry);
  const [k1, k2] = [coarsened(first, groups), coarsened(second, groups)];
  const hidden = first.geometry.outputs / groups;
  const [perOutput, perInput] = [outputs / groups, inputs / groups];
  const [t1Count, t2Count] = [first.geometry.taps.length, second.geometry.taps.length];
  const right = { batch: groups, rows: hidden, columns: perInput * t1Count, data: k1 };
  const contracted = async (left: Floats): Promise<Float64Array> => {
    const { data } = await batchedMatmul(
      { batch: groups, rows: perOutput, columns: hidden, data: left },
      right,
    );
    return data as Float64Array;
  };
  if (t2Count === 1) return contracted(k2);
  const kernel = new Float64Array(outputs * perInput * taps.length);
  for (let t2 = 0; t2 < t2Count; t2 += 1) {
    const left = Float64Array.from({ length: outputs * hidden }, (_, i) => k2[i * t2Count + t2] as number);
    addAtPlaces(
      kernel,
      await contracted(left),
      outputs * perInput,
      places.slice(t2 * t1Count, (t2 + 1) * t1Count),
      taps.length,
    );
  }
  return kernel;
}

/** Adds a kernel's elements, `places.length` taps a row, to rows of `width` taps. */
function addAtPlaces(
  kernel: Float64Array,
  part: Floats,
  rows: number,
  places: readonly number[],
  width: number,
): void {
  for (const [t, place] of places.entries()) {
    for (let row = 0; row < rows; row += 1) {
      (kernel[row * width + place] as number) += part[row * places.length + t] as number;
    }
  }
}

/** A map with a window of each channel by itself, behind any map. */
function depthwiseBehind(first: AffineValues, second: AffineValues, geometry: Geometry): Float64Array {
  const { taps, places } = composeTaps(first.geometry, second.geometry);
  const perInput = first.geometry.inputs / first.geometry.groups;
  const same = first.geometry.groups === geometry.groups;
  const k1 = same ? first.kernel : coarsened(first, geometry.groups);
  const columns = same ? perInput : geometry.inputs / geometry.groups;
  const [t1Count, t2Count] = [first.geometry.taps.length, second.geometry.taps.length];
  const kernel = new Float64Array(geometry.outputs * columns * taps.length);
  for (let m = 0; m < geometry.outputs; m += 1) {
    for (let t2 = 0; t2 < t2Count; t2 += 1) {
      const factor = second.kernel[m * t2Count + t2] as number;
      for (let c = 0; c < columns; c += 1) {
        const row = m * columns + c;
        for (let t1 = 0; t1 < t1Count; t1 += 1) {
          const at = row * taps.length + (places[t2 * t1Count + t1] as number);
          (kernel[at] as number) += factor * (k1[row * t1Count + t1] as number);
        }
      }
    }
  }
  return kernel;
}

/** Any map behind one with a window of each channel by itself. */
function depthwiseInFront(first: AffineValues, second: AffineValues, geometry: Geometry): Float64Array {
  const { taps, places } = composeTaps(first.geometry, second.geometry);
  const { groups, inputs, outputs } = second.geometry;
  const [perInput, perOutput] = [inputs / groups, outputs / groups];
  const [t1Count, t2Count] = [first.geometry.taps.length, second.geometry.taps.length];
  const kernel = new Float64Array(geometry.outputs * perInput * taps.length);
  for (let m = 0; m < outputs; m += 1) {
    const base = Math.floor(m / perOutput) * perInput;
    for (let c = 0; c < perInput; c += 1) {
      const row = m * perInput + c;
      for (let t2 = 0; t2 < t2Count; t2 += 1) {
        const factor = second.kernel[row * t2Count + t2] as number;
        for (let t1 = 0; t1 < t1Count; t1 += 1) {
          const at = row * taps.length + (places[t2 * t1Count + t1] as number);
          (kernel[at] as number) += factor * (first.kernel[(base + c) * t1Count + t1] as number);
        }
      }
    }
  }
  return kernel;
}

/** What `second` makes of the bias of `first`, and its own bias. Where a bias is composed nothing is padded. */
export async function composeBias(
  first: AffineValues,
  second: AffineValues,
): Promise<Float64Array | undefined> {
  if (first.bias === undefined) return second.bias;
  const { geometry, kernel, layout } = second;
  let carried: Float64Array;
  if (isDiagonal(geometry)) carried = first.bias.map((value, i) => value * (kernel[i] as number));
  else {
    const taps = geometry.taps.length;
    const { bias } = first;
    // Every tap of a kernel sees the same constant.
    const spread = Float64Array.from(
      { length: bias.length * taps },
      (_, i) => bias[Math.floor(i / taps)] as number,
    );
    if (layout === 'in-out') {
      const matrix = { rows: geometry.inputs, columns: geometry.outputs, data: kernel };
      const { data } = await matmul(
        matrix,
        { rows: spread.length, columns: 1, data: spread },
        { transposeA: true },
      );
      carried = data as Float64Array;
    } else {
      const { groups } = geometry;
      const { data } = await batchedMatmul(
        { batch: groups, rows: geometry.outputs / groups, columns: spread.length / groups, data: kernel },
        { batch: groups, rows: spread.length / groups, columns: 1, data: spread },
      );
      carried = data as Float64Array;
    }
  }
  return added(carried, second.bias);
}

export function added(a: Float64Array | undefined, b: Float64Array | undefined): Float64Array | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return a.map((value, i) => value + (b[i] as number));
}

/** A map whose outputs or inputs are multiplied by numbers; the same array where all of them are 1. */
export function scaled(map: AffineValues, factors: Floats, side: 'outputs' | 'inputs'): AffineValues {
  if (factors.every((factor) => factor === 1)) return map;
  const { geometry, kernel, layout } = map;
  const { groups, inputs, outputs, taps } = geometry;
  const [perInput, perOutput] = [inputs / groups, outputs / groups];
  const result = new Float64Array(kernel.length);
  if (layout === 'in-out') {
    for (let i = 0; i < result.length; i += 1) {
      const [c, m] = [Math.floor(i / outputs), i % outputs];
      result[i] = (kernel[i] as number) * (factors[side === 'outputs' ? m : c] as number);
    }
    return { ...map, rows: undefined, kernel: result };
  }
  for (let m = 0, i = 0; m < outputs; m += 1) {
    const base = Math.floor(m / perOutput) * perInput;
    for (let c = 0; c < perInput; c += 1) {
      const factor = factors[side === 'outputs' ? m : base + c] as number;
      for (let t = 0; t < taps.length; t += 1, i += 1) result[i] = (kernel[i] as number) * factor;
    }
  }
  return { ...map, rows: undefined, kernel: result };
}

/** The sum of maps of the same input. */
export function sumValues(
  terms: readonly { readonly sign: 1 | -1; readonly values: AffineValues }[],
  geometry: Geometry,
): AffineValues {
  const { groups, inputs, outputs } = geometry;
  const isMatrix = groups === 1 && geometry.taps.length === 1;
  const layout =
    isMatrix && terms.every(({ values }) => values.layout === 'in-out' || isDiagonal(values.geometry))
      ? 'in-out'
      : 'out-in';
  const taps: (readonly number[])[] = [];
  const places = new Map<string, number>();
  const perInput = inputs / groups;
  const width = geometry.taps.length;
  // Elements between neighbours along outputs, inputs and taps.
  const [stepOut, stepIn, stepTap] = layout === 'in-out' ? [1, outputs, 0] : [perInput * width, width, 1];
  const kernel = new Float64Array(outputs * perInput * width);
  let bias: Float64Array | undefined;
  for (const { sign, values } of terms) {
    const own = values.geometry;
    const at = mergeTaps(taps, places, own.taps);
    const [ownPerInput, ownPerOutput] = [inputs / own.groups, outputs / own.groups];
    const count = own.taps.length;
    const [ownOut, ownIn, ownTap] =
      values.layout === 'in-out' ? [1, outputs, 0] : [ownPerInput * count, count, 1];
    for (let m = 0; m < outputs; m += 1) {
      // Where the term's group begins among the inputs of the sum's group.
      const base = Math.floor(m / ownPerOutput) * ownPerInput - Math.floor((m * groups) / outputs) * perInput;
      for (let c = 0; c < ownPerInput; c += 1) {
        for (let t = 0; t < count; t += 1) {
          const to = m * stepOut + (base + c) * stepIn + (at[t] as number) * stepTap;
          (kernel[to] as number) += sign * (values.kernel[m * ownOut + c * ownIn + t * ownTap] as number);
        }
      }
    }
    bias = added(bias, sign === 1 ? values.bias : values.bias?.map((value) => -value));
  }
  return { geometry, kernel, layout, bias };
}

/** The kernel in fewer groups: zeros where inputs and outputs were of different ones. */
function coarsened(map: AffineValues, groups: number): Floats {
  const values = outIn(map);
  if (values.geometry.groups === groups) return values.kernel;
  const { auto: _auto, ...geometry } = values.geometry;
  return sumValues([{ sign: 1, values }], { ...geometry, groups }).kernel;
}

/** The same map as one group, with zeros. */
export function inOneGroup(map: AffineValues): AffineValues {
  return {
    ...map,
    rows: undefined,
    layout: 'out-in',
    kernel: coarsened(map, 1),
    geometry: { ...map.geometry, groups: 1 },
  };
}

/** The map with its kernel as [outputs][inputs / groups][taps]. */
export function outIn(values: AffineValues): AffineValues {
  if (values.layout === 'out-in') return values;
  return {
    ...values,
    rows: undefined,
    layout: 'out-in',
    kernel: transposed(values.kernel, values.geometry.inputs),
  };
}
