import { linearBias } from '../../affine/linear-bias.js';
import { type FactorSize, type LinearSite, taps } from '../../affine/linear-site.js';
import { explicitPads } from '../../affine/operators/conv.js';
import { type AttributeProtos, makeAttribute } from '../../graph/index.js';
import { shapesOf } from '../../graph/shapes/shapes.js';
import type { Reason } from '../../graph/skipped.js';
import { type ChainSettings, effectiveSize } from './options.js';
import { skipPlace } from './skip-place.js';

/** The shape of a chain, without its numbers. */
export interface ChainPlan extends ChainExtras {
  readonly depth: number;
  /** Hidden units of each group (of each matrix of a batch). */
  readonly perGroup: number;
  /** Spatial extents of each factor of a convolution, in the order of application; empty elsewhere. */
  readonly kernels: readonly (readonly number[])[];
  /** A factor behind the first has a kernel. */
  readonly isSplit: boolean;
}

/** What the sizes of factors follow from. */
export type ChainSizes = Pick<ChainPlan, 'depth' | 'perGroup' | 'kernels'>;

export function planOf(site: LinearSite, settings: ChainSettings): ChainPlan {
  const list = kernelList(site, settings.kernelSizes);
  const depth = list?.length ?? settings.depth;
  const ones = site.kernel.map(() => 1);
  const kernels =
    site.kernel.length === 0
      ? []
      : Array.from({ length: depth }, (_, i) => {
          if (list === undefined) return i === 0 ? site.kernel : ones;
          return site.kernel.map((extent) => (extent === 1 ? 1 : (list[i] as number)));
        });
  const isSplit = kernels.some((kernel, i) => i > 0 && taps(kernel) > 1);
  const perGroup = Math.max(1, Math.round(settings.width * site.outputs));
  const widths = [site.inputs, ...new Array<number>(depth - 1).fill(perGroup), site.outputs];
  return { depth, perGroup, kernels, isSplit, ...extrasOf(site, { depth, widths, isSplit }, settings) };
}

/** The list whose kernels compose to the site's, along each axis where it has one. */
function kernelList(
  { op, kernel }: LinearSite,
  lists: readonly (readonly number[])[],
): readonly number[] | undefined {
  const sizes = new Set(kernel.filter((extent) => extent !== 1));
  const [size = 1] = sizes;
  if (op !== 'Conv' || sizes.size > 1) return undefined;
  return lists.find((list) => effectiveSize(list) === size);
}

/** The factors' sizes in the order of application. */
export function factorSizes(site: LinearSite, { depth, perGroup, kernels }: ChainSizes): FactorSize[] {
  return Array.from({ length: depth }, (_, i) => ({
    inputs: i === 0 ? site.inputs : perGroup,
    outputs: i === depth - 1 ? site.outputs : perGroup,
    kernel: kernels[i] ?? [],
  }));
}

/** The size of a projection. */
export function projectionSize(
  site: LinearSite,
  { depth, perGroup }: ChainPlan,
  { from, to }: Skip,
): FactorSize {
  return {
    inputs: from === 0 ? site.inputs : perGroup,
    outputs: to === depth ? site.outputs : perGroup,
    kernel: site.kernel.map(() => 1),
  };
}

/** Elements of the weights of a chain, projections included. */
export function chainParameters(site: LinearSite, plan: ChainPlan): number {
  const projections = plan.skips.filter(({ isLearned }) => isLearned);
  const sizes = [...factorSizes(site, plan), ...projections.map((skip) => projectionSize(site, plan, skip))];
  return sizes.reduce(
    (sum, { inputs, outputs, kernel }) => sum + site.groups * inputs * outputs * taps(kernel),
    0,
  );
}

/** Whether a chain's factors have to make up for connections around them. */
export function hasIdentities({ skips }: ChainPlan): boolean {
  return skips.some(({ isLearned }) => !isLearned);
}

/** Gemm multiplies what its last factor makes by alpha, but not what is added behind it. */
export function alphaBeside(site: LinearSite, { skips, depth }: ChainPlan): number {
  if (site.op !== 'Gemm' || !skips.some(({ to, isLearned }) => to === depth && !isLearned)) return 1;
  return site.node.attributes.float('alpha', 1);
}

export function tapOf(site: LinearSite): number {
  const { op, node, kernel } = site;
  const place = skipPlace({ op, node, kernel, attributes: node.proto.attribute ?? [] });
  return 'tap' in place ? place.tap : 0;
}

/** A connection around some layers of a chain. */
export interface Skip {
  /** The values of a chain are counted from its input, 0, to its output, the depth. */
  readonly from: number;
  readonly to: number;
  /** A learned projection; else the identity. */
  readonly isLearned: boolean;
}

/** What a chain has besides its factors. */
export interface ChainExtras {
  /** In the order of the values that they are added to, shorter ones first. */
  readonly skips: readonly Skip[];
  /** The factors that a BatchNormalization stands behind. */
  readonly norms: readonly number[];
  /** The permutation that brings the units to axis 1 in front of a normalization; undefined where they are there. */
  readonly turn?: readonly number[] | undefined;
  /** What was asked for and is not there, and why. */
  readonly without: readonly string[];
}

/** What decides where extras can stand. */
interface Shape {
  readonly depth: number;
  /** Channels of a group at each value. */
  readonly widths: readonly number[];
  /** A factor behind the first has a kernel. */
  readonly isSplit: boolean;
}

export function extrasOf(site: LinearSite, shape: Shape, settings: ChainSettings): ChainExtras {
  if (site.op === 'Gemm' && site.node.attributes.float('alpha', 1) === 0) {
    return { skips: [], norms: [], without: ['neither residual nor BatchNormalization: its alpha is 0'] };
  }
  const skips = settings.residual ? skipsOf(site, shape, settings) : { skips: [], without: [] };
  const norms = settings.batchNorm ? normsOf(site, shape.depth) : { norms: [], without: [] };
  return { ...norms, skips: skips.skips, without: [...skips.without, ...norms.without] };
}

/** Of each interval n a connection from value m - n to value m, for m = n, 2n, …, as minyoungg/overparam has them. */
function skipsOf(
  site: LinearSite,
  shape: Shape,
  { residualIntervals, residualMode }: ChainSettings,
): Omit<ChainExtras, 'norms'> {
  const { depth } = shape;
  const skips: Skip[] = [];
  const reasons = new Map<string, string[]>();
  const leaveOut = (what: string, reason: string): void => {
    reasons.set(reason, [...(reasons.get(reason) ?? []), what]);
  };
  const intervals = new Set(residualIntervals.map((interval) => (interval === -1 ? depth : interval)));
  for (const interval of [...intervals].sort((a, b) => a - b)) {
    if (interval > depth) leaveOut(`${interval} layers`, `the chain has ${depth}`);
    for (let to = interval; to <= depth; to += interval) {
      const found = skipBetween(site, shape, { from: to - interval, to }, residualMode);
      const around = interval === 1 ? `layer ${to}` : `layers ${to - interval + 1}-${to}`;
      if (typeof found === 'string') leaveOut(around, found);
      else skips.push(found);
    }
  }
  return {
    skips: skips.sort((a, b) => a.to - b.to || b.from - a.from),
    without: [...reasons].map(([reason, what]) => `no residual around ${what.join(', ')}: ${reason}`),
  };
}

function skipBetween(
  site: LinearSite,
  { depth, widths, isSplit }: Shape,
  { from, to }: { readonly from: number; readonly to: number },
  mode: ChainSettings['residualMode'],
): Skip | string {
  if (isSplit && !(from === 0 && to === depth)) return 'between kernels the sizes differ';
  // Its factors could not make up for what is added behind them.
  if (to === depth && site.op === 'Gemm' && site.node.attributes.float('alpha', 1) === 0)
    return 'its alpha is 0';
  const attributes = site.node.proto.attribute ?? [];
  // The kernel is in the first factor; all that follows it works at each place by itself.
  const place =
    from > 0 ? undefined : skipPlace({ op: site.op, node: site.node, kernel: site.kernel, attributes });
  const [width, wanted] = [widths[from] as number, widths[to] as number];
  const isSame = place === undefined || ('isSame' in place && place.isSame);
  if (width === wanted && isSame) return { from, to, isLearned: false };
  if (mode === 'none') {
    const what =
      width === wanted
        ? 'the size changes'
        : `the number of ${site.kernel.length > 0 ? 'channels' : 'units'} changes`;
    return `${what} (\`residualMode: 'learn'\` projects it)`;
  }
  return place !== undefined && 'reason' in place ? place.reason : { from, to, isLearned: true };
}

/**
 * BatchNormalization normalizes axis 1: the units of a MatMul on data of more axes are brought there and back, so that the
 * statistics are those of all rows (of all tokens of a batch).
 */
function normsOf(site: LinearSite, depth: number): Omit<ChainExtras, 'skips'> {
  const no = (why: string): Omit<ChainExtras, 'skips'> => ({
    norms: [],
    without: [`no BatchNormalization: ${why}`],
  });
  let turn: readonly number[] | undefined;
  if (site.op === 'MatMul') {
    if (site.groups > 1 || site.weight.shape.length > 2) return no('its weight is batched');
    const shapes = shapesOf(site.node.graph);
    const data = site.node.inputs[1 - site.weightInput] ?? '';
    const rank = shapes.rank(data) ?? shapes.rank(site.node.outputs[0] ?? '');
    if (rank === undefined) return no('the rank of its data is not known');
    if (rank < 2) return no('its data is a vector');
    const axis = rank - (site.weightInput === 0 ? 2 : 1);
    if (axis !== 1) turn = unitsFirst(rank, axis);
  }
  // What normalizations add after training could not be put into it.
  if (linearBias(site.node).isOpen) return no('its bias is no constant vector');
  return { norms: Array.from({ length: depth }, (_, factor) => factor), turn, without: [] };
}

/** The permutation that brings an axis to the place that normalizations take for channels, and keeps the others' order. */
function unitsFirst(rank: number, axis: number): number[] {
  const [batch = axis, ...others] = Array.from({ length: rank }, (_, at) => at).filter((at) => at !== axis);
  return [batch, axis, ...others];
}

/**
 * The attributes of the factors of a convolution with more than one kernel. All of the padding is on the first, so that the
 * others see zeros where the one kernel would have; each has the dilation; the last that has a kernel has the stride: what
 * follows it works on the smaller grid, and what comes before needs every position.
 */
export function splitAttributes(
  site: LinearSite,
  { kernels }: ChainPlan,
): readonly AttributeProtos[] | Reason {
  const { attributes } = site.node;
  const ones = site.kernel.map(() => 1);
  const dilations = attributes.ints('dilations') ?? ones;
  const strides = attributes.ints('strides') ?? ones;
  const pads = explicitPads(site.node.proto.attribute ?? [], site.kernel, site.node);
  if ('reason' in pads) return pads;
  const last = kernels.findLastIndex((kernel) => taps(kernel) > 1);
  return kernels.map((kernel, i) => [
    ...list('dilations', taps(kernel) > 1 ? dilations : ones, 1),
    ...(site.groups > 1 ? [makeAttribute('group', { int: site.groups })] : []),
    makeAttribute('kernel_shape', { ints: kernel }),
    ...list('pads', i === 0 ? pads : [], 0),
    ...list('strides', i === last ? strides : ones, 1),
  ]);
}

/** An attribute, where it says more than its default. */
function list(name: string, values: readonly number[], usual: number): AttributeProtos {
  return values.every((value) => value === usual) ? [] : [makeAttribute(name, { ints: values })];
}
