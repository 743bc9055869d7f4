import { EPSILON, type Node } from '../graph/index.js';
import { opsetOf } from '../graph/opsets.js';
import { type Floats, joined, swapped, transposed } from '../linalg/floats.js';
import { biasVector } from './linear-bias.js';
import { evaluateExpression, type LazyValues } from './map/evaluate.js';
import { type Geometry, type Grid, gridOf, placesInGrid } from './map/geometry.js';
import { type AffineValues, inOneGroup, type MatrixLayout, outIn } from './map/values.js';
import { isPointwiseTarget, type Target } from './match/cost.js';
import { type Region, targetOfRegion, vectorShape } from './match/region.js';
import { statisticsOf } from './operators/norm.js';

/** What the node in the place of a region computes with, before it is rounded to the region's type. */
export interface Composition {
  /** What the region becomes: without a bias where all that is added comes to nothing. */
  readonly target: Target;
  /** [outputs, inputs / groups, ...kernel] of a Conv, or a matrix; without a weight, of the factors. */
  readonly shape: readonly number[];
  /** How a matrix stands. */
  readonly layout: MatrixLayout;
  /** Elements, row-major, computed when asked for, in parts that need not be in memory together. */
  readonly weight: () => AsyncIterable<Floats>;
  readonly bias: ComposedBias | undefined;
  /** All that is added, where that is constant: the bias, whether new or not. */
  readonly added: Float64Array | undefined;
  /** Of a normalization, which subtracts a mean of its own: the factors and summands that it has with that mean. */
  readonly normalized?: { readonly factors: Floats; readonly summands: Floats };
  /** What the node multiplies its weight by. */
  readonly alpha: number;
}

export type ComposedBias =
  /** A value that is there already. */
  | { readonly kind: 'kept'; readonly value: string }
  | { readonly kind: 'new'; readonly shape: readonly number[]; readonly values: Float64Array };

/** Composes a region's nodes in float64: who rounds the numbers sees what is lost. Changes nothing. */
export async function composeRegion(region: Region): Promise<Composition> {
  const { expression, frame, carrier, kept, chain } = region;
  if (isPointwiseTarget(region.target)) return pointwise(region);
  const { geometry } = expression;
  const wanted = frame.axis !== 'last' || carrier.attributes.int('transB', 0) === 1 ? 'out-in' : 'in-out';
  const values = scaledBack(
    region,
    await evaluateExpression(expression, { layout: wanted, unscaled: kept.alpha }),
  );
  const bias = await biasOf(region, values.bias);
  const target = bias === undefined ? targetOfRegion(region, false) : region.target;
  const alpha = alphaOf(kept.alpha ?? chain?.last.node);
  const common = { target, bias, added: values.bias, alpha };
  if (frame.axis !== 'channel') return { ...common, ...(await matrixOf(region, values, wanted)) };
  const grid = gridOf(geometry);
  const { groups, inputs, outputs, upsampling } = geometry;
  const isWhole = values.layout === 'out-in' && upsampling === undefined && isOnGrid(values.geometry, grid);
  const inParts = () => partsOf(values);
  const onWindow = async function* () {
    const kernel = onGrid(outIn(await whole(values)), grid);
    const count = kernel.length / (outputs * (inputs / groups));
    yield upsampling === undefined
      ? kernel
      : swapped(kernel, groups, outputs / groups, inputs / groups, count);
  };
  const shape =
    upsampling === undefined
      ? [outputs, inputs / groups, ...grid.extents]
      : [inputs, outputs / groups, ...grid.extents];
  const weight = isWhole ? inParts : onWindow;
  return { ...common, shape, weight, layout: upsampling === undefined ? 'out-in' : 'in-out' };
}

async function whole({ kernel, ...rest }: LazyValues): Promise<AffineValues> {
  if (typeof kernel !== 'function') return { ...rest, kernel };
  const parts: Floats[] = [];
  for await (const part of kernel()) parts.push(part.slice());
  return { ...rest, kernel: joined(parts) };
}

async function* partsOf({ kernel }: LazyValues): AsyncGenerator<Floats> {
  if (typeof kernel === 'function') yield* kernel();
  else yield kernel;
}

/** Of a chain whose last factor keeps its alpha, but has something behind it. */
function scaledBack({ chain, kept }: Region, values: LazyValues): LazyValues {
  const alpha = kept.alpha === undefined ? alphaOf(chain?.last.node) : 1;
  if (alpha === 1) return values;
  return {
    ...values,
    kernel: async function* () {
      for await (const part of partsOf(values)) yield Float64Array.from(part, (value) => value / alpha);
    },
  };
}

function alphaOf(node: Node | undefined): number {
  return node?.is('Gemm') ? node.attributes.float('alpha', 1) : 1;
}

async function matrixOf(
  { expression: { geometry }, frame, target, chain }: Region,
  values: LazyValues,
  wanted: MatrixLayout,
): Promise<Pick<Composition, 'shape' | 'layout' | 'weight'>> {
  const { inputs, outputs, groups } = geometry;
  const { batch } = frame;
  if (batch !== undefined) {
    const [rows, columns] = [outputs / groups, inputs / groups];
    const layout = frame.axis === 'left' ? 'out-in' : 'in-out';
    const weight = async function* () {
      const { kernel } = outIn(await whole(values));
      yield layout === 'out-in' ? kernel : swapped(kernel, groups, rows, columns);
    };
    return {
      shape: [...batch, ...(layout === 'out-in' ? [rows, columns] : [columns, rows])],
      layout,
      weight,
    };
  }
  // Only a Gemm takes either; that of a chain has what it had.
  const layout =
    target.main !== 'Gemm' ? (frame.axis === 'left' ? 'out-in' : 'in-out') : chain ? wanted : values.layout;
  const shape = layout === 'out-in' ? [outputs, inputs] : [inputs, outputs];
  // A matrix has no groups, though a grouped convolution may be part of it.
  if (groups === 1 && values.layout === layout) return { shape, layout, weight: () => partsOf(values) };
  const weight = async function* () {
    const eager = await whole(values);
    const { kernel, layout: own } = groups > 1 ? inOneGroup(eager) : eager;
    yield own === layout ? kernel : transposed(kernel, own === 'out-in' ? outputs : inputs);
  };
  return { shape, layout, weight };
}

async function biasOf(region: Region, values: Float64Array | undefined): Promise<ComposedBias | undefined> {
  const { kept, expression, graph, target, chain } = region;
  const { outputs, hasBias } = expression.geometry;
  if (kept.bias !== undefined) return { kind: 'kept', value: kept.bias.value };
  // Before operator set 11 a Gemm could not do without.
  const isNeeded = target.main === 'Gemm' && opsetOf(graph) < 11;
  const added = hasBias ? (values ?? new Float64Array(outputs)) : undefined;
  const own = chain && added && (await sameAsOwn(region, added));
  if (own !== undefined && !(own === '' && isNeeded))
    return own === '' ? undefined : { kind: 'kept', value: own };
  const made = added ?? (isNeeded ? new Float64Array(outputs) : undefined);
  return made && { kind: 'new', shape: vectorShape(region), values: made };
}

/**
 * The bias that the last factor of a chain has, '' for none, if that is all that is added to the rounding of its type:
 * normalizations take away what they add as long as they are not trained.
 */
async function sameAsOwn({ chain, frame }: Region, added: Float64Array): Promise<string | undefined> {
  if (chain === undefined) return undefined;
  const {
    last: { node },
    bias,
  } = chain;
  const own = (await biasVector(node, bias, added.length)) ?? new Float64Array(added.length);
  const difference = normOf(added.map((value, i) => value - (own[i] as number)));
  if (!(difference <= 4 * EPSILON[frame.type] * normOf(own))) return undefined;
  return bias === undefined ? '' : (node.inputs[2] ?? '');
}

function normOf(values: Float64Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}

/** Elements of the whole window. */
function widthOf({ extents }: Grid): number {
  return extents.reduce((product, extent) => product * extent, 1);
}

/** Whether the taps are the whole window, in its order. */
function isOnGrid({ taps }: Geometry, grid: Grid): boolean {
  return taps.length === widthOf(grid) && placesInGrid(taps, grid).every((place, i) => place === i);
}

/** The kernel over the whole window, with zeros where no tap is. */
function onGrid({ geometry, kernel }: AffineValues, grid: Grid): Floats {
  if (isOnGrid(geometry, grid)) return kernel;
  const places = placesInGrid(geometry.taps, grid);
  const width = widthOf(grid);
  const rows = kernel.length / places.length;
  const result = new Float64Array(rows * width);
  for (let row = 0; row < rows; row += 1) {
    for (const [t, place] of places.entries()) {
      result[row * width + place] = kernel[row * places.length + t] as number;
    }
  }
  return result;
}

/** Factors and summands of one number a channel; of a normalization, for the statistics that the carrier has. */
async function pointwise(region: Region): Promise<Composition> {
  const { expression, carrier, target, kept } = region;
  const values = await whole(await evaluateExpression(expression, { layout: 'out-in' }));
  const [kernel, bias] = target.isUniform
    ? [values.kernel.slice(0, 1), values.bias?.slice(0, 1)]
    : [values.kernel, values.bias];
  const shape = vectorShape(region);
  const composed = (weight: Floats, values: Float64Array | undefined): Composition => ({
    target,
    shape,
    layout: 'out-in',
    weight: async function* () {
      yield weight;
    },
    added: values,
    alpha: 1,
    bias: kept.bias ? { kind: 'kept', value: kept.bias.value } : values && { kind: 'new', shape, values },
  });
  const shift = bias ?? new Float64Array(kernel.length);
  if (target.main !== 'BatchNormalization')
    return composed(kernel, expression.geometry.hasBias ? shift : undefined);
  const { mean, variance, epsilon } = await statisticsOf(carrier);
  const made = composed(
    kernel.map((factor, i) => factor * Math.sqrt((variance[i] as number) + epsilon)),
    shift.map((value, i) => value + (kernel[i] as number) * (mean[i] as number)),
  );
  return { ...made, normalized: { factors: kernel, summands: shift } };
}
