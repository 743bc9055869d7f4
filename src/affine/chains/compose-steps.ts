import { EPSILON, type FloatType } from '../../graph/index.js';
import type { Floats } from '../../linalg/floats.js';
import { batchedMatmul, type MatrixBatch } from '../../linalg/matmul.js';
import { evaluateConstant } from '../../runtime/session/constant.js';
import type { NormOperator } from '../operators.js';
import { alphaOf, ownBias } from './compose.js';
import { composedKernel, composeKernels } from './compose-kernels.js';
import { type AttributeProtos, attributesOfKernels } from './kernel-attributes.js';
import { isKernelChain, isSpatial, type Link, outputsOf } from './link.js';
import { outInData, outInFactor } from './site-layout.js';
import { inputsPerGroup, outputsPerGroup, taps } from './site-size.js';
import { type SkipPlace, skipPlace } from './skip-place.js';
import type { Step, StepSkip } from './steps.js';

/** An affine map: of each group a matrix outputs x (inputs * taps), and what is added to each output. */
interface Affine {
  /** Undefined for the identity. */
  readonly matrix: MatrixBatch | undefined;
  readonly bias: Float64Array | undefined;
}

const IDENTITY: Affine = { matrix: undefined, bias: undefined };

/** What a chain with connections or normalizations multiplies out to. */
export interface StepsComposition {
  /** In the layout of the last factor's node. */
  readonly weight: Floats;
  /** All that is added to the outputs; undefined where that is what the last factor's node adds already. */
  readonly bias: Float64Array | undefined;
}

/** Where connections from a chain's input stand, or why the chain is not one node. Pure; reads no weights. */
export function whyNotSteps(steps: readonly Step[]): string | undefined {
  const last = steps.at(-1) as Step;
  const links = steps.map(({ link }) => link);
  const later = links.slice(1).find(({ site }) => isSpatial(site));
  if (later !== undefined && !isKernelChain(links))
    return `'${later.node.label}', behind its first factor, has a kernel`;
  if (alphaOf(last.link) === 0) return 'its last factor has an alpha of 0';
  const isShifted = steps.some(({ norm, link }) => norm !== undefined || link.bias !== undefined);
  if (last.link.hasOpenBias && isShifted)
    return 'a bias would have to be added to one that is no constant vector';
  for (const [at, { norm, link, skips }] of steps.entries()) {
    if (norm !== undefined && norm.scale.shape[0] !== outputsOf(link.site))
      return `'${norm.node.label}' has another number of channels than its factor`;
    for (const { from, projection } of skips) {
      if (projection?.bias !== undefined || projection?.hasOpenBias) return 'a projection has a bias';
      const problem = whyNotSkip(steps, at + 1, from, projection);
      if (problem !== undefined) return problem;
    }
  }
  return undefined;
}

function whyNotSkip(
  steps: readonly Step[],
  to: number,
  from: number,
  projection: Link | undefined,
): string | undefined {
  const links = steps.map(({ link }) => link);
  const [first] = links;
  if (first === undefined) return undefined;
  const { groups } = first.site;
  const width = from === 0 ? inputsPerGroup(first.site) : outputsPerGroup((links[from - 1] as Link).site);
  const wanted = outputsPerGroup((links[to - 1] as Link).site);
  const own = projection?.site;
  const [inputs, outputs] = own ? [inputsPerGroup(own), outputsPerGroup(own)] : [width, width];
  if (inputs !== width || outputs !== wanted || (own !== undefined && own.groups !== groups))
    return 'a connection has other channels than what it is added to';
  if (own?.weight.dataType !== undefined && own.weight.dataType !== first.site.weight.dataType)
    return 'a projection has another element type';
  if (isKernelChain(links) && !(from === 0 && to === steps.length))
    return 'a connection ends between kernels';
  if (from > 0)
    return own !== undefined && isSpatial(own) ? 'a projection has a kernel, stride or padding' : undefined;
  const place = placeOf(links);
  if ('reason' in place) return place.reason;
  if (own === undefined)
    return place.isSame ? undefined : 'a connection has another size than what it is added to';
  const given = projection?.node.proto.attribute ?? [];
  return isAlike(given, place.attributes)
    ? undefined
    : 'a projection has another stride or padding than its chain';
}

/** Where a connection from the input stands in the kernel of the chain. */
function placeOf(links: readonly Link[]): SkipPlace | { readonly reason: string } {
  const { node, site, note } = links[0] as Link;
  const chain = links.map((link) => ({ node: link.node, kernel: link.site.kernel }));
  const isSplit = isKernelChain(links);
  const attributes = isSplit
    ? attributesOfKernels(chain, note?.attributes ?? '')
    : (node.proto.attribute ?? []);
  return skipPlace({ op: site.op, node, kernel: isSplit ? composedKernel(links) : site.kernel, attributes });
}

const LIKE = ['strides', 'pads', 'output_padding', 'dilations', 'transA'];

function isAlike(a: AttributeProtos, b: AttributeProtos): boolean {
  const meaning = (list: AttributeProtos): string =>
    JSON.stringify(
      LIKE.map((name) => {
        const found = list.find((attribute) => attribute.name === name);
        const numbers = [...(found?.ints ?? []), ...(found?.i === undefined ? [] : [found.i])].map(Number);
        const usual = name === 'strides' || name === 'dilations' ? 1 : 0;
        return numbers.every((number) => number === usual) ? [] : numbers;
      }),
    );
  return meaning(a) === meaning(b);
}

/** Multiplies a chain out in float64. The one with several kernels has a connection around all of it at most. */
export async function composeSteps(steps: readonly Step[]): Promise<StepsComposition> {
  const links = steps.map(({ link }) => link);
  const first = links[0] as Link;
  const last = steps.at(-1) as Step;
  const whole = isKernelChain(links) ? await composeSplit(steps) : await composePointwise(steps);
  const kernel = isKernelChain(links) ? composedKernel(links) : first.site.kernel;
  const size = { inputs: inputsPerGroup(first.site), outputs: outputsPerGroup(last.link.site), kernel };
  // The node keeps its alpha.
  const matrix = whole.matrix && scaledBy(whole.matrix, 1 / alphaOf(last.link));
  const { data } = outInFactor(last.link.site, matrix?.data ?? new Float64Array(0), size);
  return { weight: data, bias: await addedBias(last, whole.bias) };
}

/** A chain whose first factor has the kernel: from behind, since the first is the largest. */
async function composePointwise(steps: readonly Step[]): Promise<Affine> {
  let whole: Affine = IDENTITY;
  for (let to = steps.length; to > 0; ) {
    const from = cutBefore(steps, to);
    whole = await after(whole, await composeSegment(steps, from, to));
    to = from;
  }
  return whole;
}

/** The last value before `to` that no connection goes around. */
function cutBefore(steps: readonly Step[], to: number): number {
  let cut = to - 1;
  for (let value = to; value > cut; value -= 1) {
    for (const { from } of (steps[value - 1] as Step).skips) cut = Math.min(cut, from);
  }
  return cut;
}

async function composeSegment(steps: readonly Step[], from: number, to: number): Promise<Affine> {
  const values = new Map<number, Affine>([[from, IDENTITY]]);
  for (let value = from + 1; value <= to; value += 1) {
    const step = steps[value - 1] as Step;
    const own: Affine = { matrix: await matrixOf(step.link), bias: await ownBias(step.link) };
    let made = await normalized(await after(own, values.get(value - 1) ?? IDENTITY), step.norm);
    for (const skip of step.skips) {
      const around = await projected(skip, values.get(skip.from) ?? IDENTITY);
      made = added(made, around, skip.from === 0 ? tapOf(steps) : 0);
    }
    values.set(value, made);
  }
  return values.get(to) ?? IDENTITY;
}

async function projected({ projection }: StepSkip, before: Affine): Promise<Affine> {
  return projection ? after({ matrix: await matrixOf(projection), bias: undefined }, before) : before;
}

/**
 * A chain with several kernels, which has no other connection than one around all of it. All padding is in front, so that what is
 * added to a channel is the same wherever a later kernel looks.
 */
async function composeSplit(steps: readonly Step[]): Promise<Affine> {
  const links = steps.map(({ link }) => link);
  const factors = new Map<Link, Floats>();
  let bias: Float64Array | undefined;
  for (const { link, norm } of steps) {
    const matrix = await matrixOf(link);
    const own = {
      matrix,
      bias: sum(bias && (await applied(overTaps(matrix, link), bias)), await ownBias(link)),
    };
    const made = await normalized(own, norm);
    factors.set(link, made.matrix?.data ?? matrix.data);
    bias = made.bias;
  }
  const [first, last] = [links[0] as Link, links.at(-1) as Link];
  const matrix: MatrixBatch = {
    batch: first.site.groups,
    rows: outputsPerGroup(last.site),
    columns: inputsPerGroup(first.site) * taps(composedKernel(links)),
    data: await composeKernels(links, (link) => factors.get(link)),
  };
  let whole: Affine = { matrix, bias };
  for (const skip of steps.at(-1)?.skips ?? [])
    whole = added(whole, await projected(skip, IDENTITY), tapOf(steps));
  return whole;
}

/** The sums over the taps of a kernel: what it makes of a constant. */
function overTaps(matrix: MatrixBatch, { site }: Link): MatrixBatch {
  const width = taps(site.kernel);
  if (width === 1) return matrix;
  const data = new Float64Array(matrix.data.length / width);
  for (let i = 0; i < matrix.data.length; i += 1)
    (data[Math.floor(i / width)] as number) += matrix.data[i] as number;
  return { ...matrix, columns: matrix.columns / width, data };
}

function tapOf(steps: readonly Step[]): number {
  const place = placeOf(steps.map(({ link }) => link));
  return 'tap' in place ? place.tap : 0;
}

/** The matrix of a factor, Gemm's alpha multiplied in. */
async function matrixOf(link: Link): Promise<MatrixBatch> {
  const { site } = link;
  const { groups, kernel } = site;
  const [inputs, outputs] = [inputsPerGroup(site), outputsPerGroup(site)];
  const stored = (await evaluateConstant(site.weight.graph, site.weight.value)).floats();
  const data = outInData(site, stored, { inputs, outputs, kernel });
  const matrix = { batch: groups, rows: outputs, columns: inputs * taps(kernel), data };
  return scaledBy(matrix, alphaOf(link));
}

function scaledBy(matrix: MatrixBatch, factor: number): MatrixBatch {
  if (factor === 1) return matrix;
  const data = new Float64Array(matrix.data);
  for (let i = 0; i < data.length; i += 1) (data[i] as number) *= factor;
  return { ...matrix, data };
}

async function after(later: Affine, earlier: Affine): Promise<Affine> {
  if (later.matrix === undefined) return earlier;
  const carried = earlier.bias && (await applied(later.matrix, earlier.bias));
  return {
    matrix: earlier.matrix === undefined ? later.matrix : await batchedMatmul(later.matrix, earlier.matrix),
    bias: sum(carried, later.bias),
  };
}

async function applied(matrix: MatrixBatch, bias: Float64Array): Promise<Float64Array> {
  const column = { batch: matrix.batch, rows: matrix.columns, columns: 1, data: bias };
  return (await batchedMatmul(matrix, column)).data as Float64Array;
}

function sum(a: Float64Array | undefined, b: Float64Array | undefined): Float64Array | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return a.map((value, i) => value + (b[i] as number));
}

/** gamma (x - mean) / sqrt(variance + epsilon) + beta (Ioffe & Szegedy 2015, algorithm 2). */
async function normalized({ matrix, bias }: Affine, norm: NormOperator | undefined): Promise<Affine> {
  if (norm === undefined || matrix === undefined) return { matrix, bias };
  const [scale, shift, mean, variance] = await Promise.all(
    [norm.scale, norm.shift, norm.mean, norm.variance].map(async ({ graph, value }) =>
      (await evaluateConstant(graph, value)).floats(),
    ),
  );
  const factors = Float64Array.from(
    scale ?? [],
    (gamma, i) => gamma / Math.sqrt((variance?.[i] ?? 0) + norm.epsilon),
  );
  const data = new Float64Array(matrix.data.length);
  for (let i = 0; i < data.length; i += 1)
    data[i] = (factors[Math.floor(i / matrix.columns)] as number) * (matrix.data[i] as number);
  return {
    matrix: { ...matrix, data },
    bias: factors.map((factor, i) => factor * ((bias?.[i] ?? 0) - (mean?.[i] ?? 0)) + (shift?.[i] ?? 0)),
  };
}

/** The sum of two maps of one input, of which the second may look at one tap of the first one's kernel only. */
function added(map: Affine, around: Affine, tap: number): Affine {
  if (map.matrix === undefined) return map;
  const { rows, columns } = map.matrix;
  const data = new Float64Array(map.matrix.data);
  if (around.matrix === undefined) {
    const width = columns / rows;
    for (let i = 0; i < data.length / columns; i += 1)
      (data[i * columns + (i % rows) * width + tap] as number) += 1;
  } else {
    const width = columns / around.matrix.columns;
    const other = around.matrix.data;
    for (let i = 0; i < other.length; i += 1)
      (data[i * width + (width === 1 ? 0 : tap)] as number) += other[i] as number;
  }
  return { matrix: { ...map.matrix, data }, bias: sum(map.bias, around.bias) };
}

/** All that is added; undefined where that is the last factor's own bias, or zero where it has none, to the rounding of its type. */
async function addedBias({ link }: Step, bias: Float64Array | undefined): Promise<Float64Array | undefined> {
  if (link.hasOpenBias) {
    return undefined;
  }
  const own = await ownBias(link);
  const before = own ?? new Float64Array(bias?.length ?? 0);
  const size = Math.hypot(...before);
  const difference = Math.hypot(...before.map((value, i) => value - (bias?.[i] ?? 0)));
  const isSame = difference <= 4 * EPSILON[link.site.weight.dataType as FloatType] * size;
  return isSame ? undefined : (bias ?? before);
}
