import { stemOf } from '../../affine/chains/factor-names.js';
import { foldedMetadata } from '../../affine/chains/note.js';
import { evaluatePlan, statisticsOf } from '../../affine/map/evaluate.js';
import { constantsOfPlan } from '../../affine/map/expression.js';
import { type Grid, gridOf, placesInGrid } from '../../affine/map/geometry.js';
import type { Rearrangement } from '../../affine/map/rearrange.js';
import { type AffineValues, inOneGroup, outIn } from '../../affine/map/values.js';
import { isPointwiseTarget } from '../../affine/match/cost.js';
import type { Region } from '../../affine/match/region.js';
import { windowOf } from '../../affine/operators.js';
import { RELABELLING } from '../../affine/relabel.js';
import {
  type AttributeValue,
  type ConstantValue,
  type Node,
  type NodeProto,
  type NodeSpec,
  Tensor,
} from '../../graph/index.js';
import { opsetOf } from '../../graph/opsets.js';
import { trainedNames } from '../../graph/trained-names.js';
import type { Floats } from '../../linalg/floats.js';
import { swapped, transposed } from '../../linalg/floats.js';
import { asConstants, editWith, scratchTensor } from '../rewrite/placement.js';
import { removeUnread } from '../rewrite/weight-source.js';
import { collapsedName, withAttribute } from './fold.js';
import { removeUnreadValue } from './remove-unread.js';
import { Rounding } from './rounding.js';

/** The numbers of the node that a region becomes, before they are rounded to its type. */
export interface FoldedValues {
  /** [outputs, inputs / groups, ...kernel] of a Conv, or a matrix; without a weight, of the factors. */
  readonly shape: readonly number[];
  readonly weight: Floats;
  /** How a matrix stands. */
  readonly layout: 'out-in' | 'in-out';
  readonly bias: Float64Array | undefined;
}

/** The constants that a region's nodes, or some of them, read: weights, biases, statistics. */
export function constantsOfRegion({ plan }: Region, isMeant: (node: Node) => boolean): ConstantValue[] {
  return constantsOfPlan(plan)
    .filter(({ node }) => isMeant(node))
    .map(({ constant }) => constant);
}

/** Composes a region's nodes in float64. Changes nothing. */
export async function foldedValues(region: Region): Promise<FoldedValues> {
  const { plan, frame, carrier } = region;
  const { geometry } = plan;
  if (isPointwiseTarget(region.target)) return pointwiseValues(region);
  const isMatrix = frame.axis !== 'channel';
  const wanted = frame.axis !== 'last' || carrier.attributes.int('transB', 0) === 1 ? 'out-in' : 'in-out';
  const evaluated = await evaluatePlan(plan, { layout: wanted });
  // A matrix has no groups, though a grouped convolution may be part of it.
  const values = isMatrix && geometry.groups > 1 ? inOneGroup(evaluated) : evaluated;
  const bias = geometry.hasBias ? (values.bias ?? new Float64Array(geometry.outputs)) : undefined;
  if (isMatrix) {
    const { inputs, outputs } = geometry;
    // Only a Gemm takes either.
    const isGemm = region.target.main === 'Gemm';
    const layout = isGemm ? values.layout : frame.axis === 'left' ? 'out-in' : 'in-out';
    const rows = values.layout === 'out-in' ? outputs : inputs;
    const weight = values.layout === layout ? values.kernel : transposed(values.kernel, rows);
    return { shape: layout === 'out-in' ? [outputs, inputs] : [inputs, outputs], weight, layout, bias };
  }
  const grid = gridOf(geometry);
  const { groups, inputs, outputs, taps, up } = geometry;
  if (up !== undefined) {
    const shape = [inputs, outputs / groups, ...grid.extents];
    const weight = swapped(outIn(values).kernel, groups, outputs / groups, inputs / groups, taps.length);
    return { shape, weight, layout: 'in-out', bias };
  }
  const shape = [outputs, inputs / groups, ...grid.extents];
  return { shape, weight: onGrid(outIn(values), grid), layout: 'out-in', bias };
}

/** Why a region's numbers can not be rounded to its type; undefined where they can. */
export function whyInexact({ frame, plan }: Region, values: FoldedValues): string | undefined {
  const groups = frame.axis === 'channel' ? plan.geometry.groups : 1;
  const rounding = new Rounding(frame.type, { ...values, groups });
  rounding.add(values.weight);
  return rounding.problem(values.bias);
}

/** Factors and summands of one number a channel; of a normalization, for the statistics that the carrier has. */
async function pointwiseValues(region: Region): Promise<FoldedValues> {
  const { plan, carrier, target } = region;
  const values = await evaluatePlan(plan, { layout: 'out-in' });
  const [kernel, bias] = target.isUniform
    ? [values.kernel.slice(0, 1), values.bias?.slice(0, 1)]
    : [values.kernel, values.bias];
  const common = { shape: vectorShape(region), layout: 'out-in' } as const;
  if (target.main !== 'BatchNormalization') {
    const sum = plan.geometry.hasBias ? (bias ?? new Float64Array(kernel.length)) : undefined;
    return { ...common, weight: kernel, bias: sum };
  }
  const { mean, variance, epsilon } = await statisticsOf(carrier);
  const shift = bias ?? new Float64Array(kernel.length);
  return {
    ...common,
    weight: kernel.map((factor, i) => factor * Math.sqrt((variance[i] as number) + epsilon)),
    bias: shift.map((value, i) => value + (kernel[i] as number) * (mean[i] as number)),
  };
}

/** The shape of one number a channel beside a region's source; of a bias too. */
export function vectorShape({ frame, plan, target }: Region): number[] {
  const { outputs } = plan.geometry;
  if (target.isUniform) return [];
  if (frame.axis === 'left') return [outputs, 1];
  if (!isPointwiseTarget(target) || target.main === 'BatchNormalization') return [outputs];
  return frame.axis === 'channel' ? [outputs, ...plan.geometry.stride.map(() => 1)] : [outputs];
}

/** The kernel over the whole window, with zeros where no tap is. */
function onGrid({ geometry, kernel }: AffineValues, grid: Grid): Floats {
  const places = placesInGrid(geometry.taps, grid);
  const width = grid.extents.reduce((product, extent) => product * extent, 1);
  if (places.length === width && places.every((place, i) => place === i)) return kernel;
  const rows = kernel.length / places.length;
  const result = new Float64Array(rows * width);
  for (let row = 0; row < rows; row += 1) {
    for (const [t, place] of places.entries()) {
      result[row * width + place] = kernel[row * places.length + t] as number;
    }
  }
  return result;
}

/** The names that the nodes of a folded region need. */
interface FoldedNames {
  readonly weight: string;
  readonly bias: string | undefined;
  /** A name for a value between two of them. */
  readonly fresh: (base: string) => string;
}

/** The nodes that a region becomes, reading constants of the given names. */
export function foldedNodes(
  region: Region,
  values: FoldedValues,
  names: FoldedNames,
  label: string,
): NodeSpec[] {
  const { output, source, head, tail, nodes } = region;
  const arranging: NodeSpec[] = [];
  let from = source;
  const present = [...nodes];
  for (const [i, step] of head.entries()) {
    const made = names.fresh(`${source}/${i === head.length - 1 ? 'arranged' : 'turned'}`);
    const at = present.findIndex((node) => node.opType.toLowerCase() === step.kind);
    const [own] = at < 0 ? [] : present.splice(at, 1);
    const name = own?.name ?? stepName(label && `${label}/source`, head, i);
    arranging.push(...rearrangingNodes(region, step, from, names.fresh, { name, outputs: [made] }));
    from = made;
  }
  const rearranging: NodeSpec[] = [];
  let input = output;
  // From the last to the first, so that each knows the value that it makes.
  for (const [i, step] of [...tail.entries()].reverse()) {
    const made = input;
    input = names.fresh(`${output}/${i === 0 ? 'folded' : 'turned'}`);
    const common = { name: stepName(label, tail, i), outputs: [made] };
    rearranging.unshift(...rearrangingNodes(region, step, input, names.fresh, common));
  }
  return [
    ...arranging,
    ...mapNodes({ ...region, source: from }, values, names, label, input),
    ...rearranging,
  ];
}

/** A name for one of several nodes; of a kind that comes more than once, with its number. */
function stepName(label: string, steps: readonly Rearrangement[], at: number): string {
  const kind = steps[at]?.kind ?? '';
  const earlier = steps.slice(0, at).filter((step) => step.kind === kind).length;
  return label === '' ? '' : `${label}/${kind}${earlier === 0 ? '' : `_${earlier + 1}`}`;
}

function rearrangingNodes(
  { graph }: Region,
  step: Rearrangement,
  input: string,
  fresh: FoldedNames['fresh'],
  common: Pick<NodeSpec, 'name' | 'outputs'>,
): NodeSpec[] {
  switch (step.kind) {
    case 'transpose': {
      const attributes = { perm: { ints: step.permutation } };
      return [{ ...common, opType: 'Transpose', inputs: [input], attributes }];
    }
    case 'flatten':
      return [{ ...common, opType: 'Flatten', inputs: [input], attributes: { axis: { int: 1 } } }];
    case 'reshape': {
      if (opsetOf(graph) < 5)
        return [
          { ...common, opType: 'Reshape', inputs: [input], attributes: { shape: { ints: step.target } } },
        ];
      const shape = fresh(`${common.outputs[0]}/shape`);
      const tensor = Tensor.of('', 'int64', [step.target.length], BigInt64Array.from(step.target, BigInt));
      return [
        { opType: 'Constant', inputs: [], outputs: [shape], attributes: { value: { tensor } } },
        { ...common, opType: 'Reshape', inputs: [input, shape] },
      ];
    }
  }
}

function mapNodes(
  region: Region,
  values: FoldedValues,
  names: FoldedNames,
  label: string,
  output: string,
): NodeSpec[] {
  const { source, carrier, target } = region;
  const metadata = foldedMetadata(carrier);
  const common = { template: carrier.proto, name: label, outputs: [output], metadata };
  const bias = names.bias === undefined ? [] : [names.bias];
  const inputs = [source, names.weight, ...bias];
  if (target.main === 'BatchNormalization') {
    const attributes = { epsilon: { float: carrier.attributes.float('epsilon', Math.fround(1e-5)) } };
    const statistics = carrier.inputs.slice(3, 5);
    return [{ ...common, opType: 'BatchNormalization', inputs: [...inputs, ...statistics], attributes }];
  }
  if (isPointwiseTarget(target)) return pointwiseNodes(region, names, label, output);
  const { up, groups } = region.plan.geometry;
  if (up !== undefined) {
    const given = up.node.proto.attribute ?? [];
    const isSame = up.node.attributes.int('group', 1) === groups;
    const attributeProtos = isSame ? given : withAttribute(given, 'group', { int: groups });
    return [{ ...common, opType: 'ConvTranspose', inputs, attributeProtos }];
  }
  if (target.main === 'Conv') return [{ ...common, opType: 'Conv', inputs, ...convAttributes(region) }];
  if (target.main === 'Gemm')
    return [{ ...common, opType: 'Gemm', inputs, ...gemmAttributes(region, values) }];
  const factors = region.frame.axis === 'left' ? [names.weight, source] : [source, names.weight];
  const product = { ...common, opType: 'MatMul', inputs: factors };
  if (names.bias === undefined) return [product];
  const between = names.fresh(`${region.output}/product`);
  return [
    { ...product, outputs: [between] },
    {
      opType: 'Add',
      name: label === '' ? '' : `${label}/bias`,
      inputs: [between, names.bias],
      outputs: [output],
      // Before operator set 7 nothing was broadcast unless said.
      ...(opsetOf(region.graph) < 7 && { attributes: { broadcast: { int: 1 } } }),
    },
  ];
}

function pointwiseNodes(
  { source, carrier, target }: Region,
  names: FoldedNames,
  label: string,
  output: string,
): NodeSpec[] {
  const metadata = foldedMetadata(carrier);
  const steps = target.operators.filter((opType) => opType === 'Mul' || opType === 'Add');
  let value = source;
  return steps.map((opType, i) => {
    const isLast = i === steps.length - 1;
    const made = isLast ? output : names.fresh(`${output}/product`);
    const suffix = i > 0 ? '/bias' : '';
    const inputs = [value, opType === 'Mul' ? names.weight : (names.bias ?? '')];
    value = made;
    return { opType, name: label === '' ? '' : `${label}${suffix}`, inputs, outputs: [made], metadata };
  });
}

type NodeAttributes = Pick<NodeSpec, 'attributes' | 'attributeProtos'>;

function own(proto: NodeProto): NodeAttributes {
  return { attributeProtos: proto.attribute ?? [] };
}

/** The carrier's attributes as they are where the window is still its own, so that a Conv keeps what it leaves to defaults. */
function convAttributes({ plan, carrier }: Region): NodeAttributes {
  const { geometry } = plan;
  const grid = gridOf(geometry);
  const attributes: Record<string, AttributeValue> = {
    dilations: { ints: grid.dilations },
    group: { int: geometry.groups },
    kernel_shape: { ints: grid.extents },
    ...(geometry.auto ? { auto_pad: { string: geometry.auto.mode } } : { pads: { ints: grid.pads } }),
    strides: { ints: geometry.stride },
  };
  if (!carrier.is('Conv')) return { attributes };
  const window = windowOf(carrier, grid.extents);
  const kernel = carrier.attributes.ints('kernel_shape');
  const isSame =
    (kernel ?? grid.extents).join() === grid.extents.join() &&
    window.strides.join() === geometry.stride.join() &&
    window.dilations.every(
      (dilation, axis) => grid.extents[axis] === 1 || dilation === grid.dilations[axis],
    ) &&
    carrier.attributes.int('group', 1) === geometry.groups &&
    (geometry.auto === undefined
      ? (window.auto === undefined || grid.extents.every((extent) => extent === 1)) &&
        window.pads.join() === grid.pads.join()
      : window.auto === geometry.auto.mode);
  return isSame ? own(carrier.proto) : { attributes };
}

function gemmAttributes({ plan, carrier, graph }: Region, { layout }: FoldedValues): NodeAttributes {
  const { isTransposed } = plan.geometry;
  const transB = Number(layout === 'out-in');
  const { attributes } = carrier;
  const isSame =
    carrier.is('Gemm') &&
    attributes.float('alpha', 1) === 1 &&
    attributes.float('beta', 1) === 1 &&
    attributes.int('transA', 0) === Number(isTransposed) &&
    attributes.int('transB', 0) === transB &&
    (attributes.has('broadcast') || opsetOf(graph) >= 7);
  if (isSame) return own(carrier.proto);
  return {
    attributes: {
      ...(isTransposed && { transA: { int: 1 } }),
      transB: { int: transB },
      ...(opsetOf(graph) < 7 && { broadcast: { int: 1 } }),
    },
  };
}

/** Weights that were made already, by the key of their region: regions of one key share theirs. */
export type FoldedWeights = Map<string, string>;

/**
 * Puts one node in the place of a region's nodes, in one checked edit, and takes away the constants that nothing
 * reads any more. Composed in float64 and rounded once.
 *
 * @param weights hand the same map to every call, so that regions that shared their weights share the folded one
 * @param computed what foldedValues gave, where that is known already
 * @returns the new nodes
 */
export async function foldRegion(
  region: Region,
  weights: FoldedWeights = new Map(),
  computed?: FoldedValues,
): Promise<Node[]> {
  const { graph, carrier, frame, plan, target } = region;
  const { model } = graph;
  const constants = constantsOfPlan(plan);
  const home = constants.find(({ isWeight }) => isWeight)?.constant.graph ?? graph;
  const values = computed ?? (await foldedValues(region));
  const label = labelOf(region);
  const known = weights.get(region.key);
  const weightName = known ?? weightNameOf(region, home);
  weights.set(region.key, weightName);
  const tensors: Tensor[] = [];
  if (known === undefined && target.main !== 'Add')
    tensors.push(await scratchTensor(model, weightName, frame.type, values.shape, values.weight));
  const bias = biasOf(region, values, `${weightName}/bias`, weightName);
  if (bias !== undefined) {
    tensors.push(await scratchTensor(model, bias.name, frame.type, bias.shape, bias.values));
  }
  const fresh = (base: string): string => model.freshName(base);
  const nodes = foldedNodes(region, values, { weight: weightName, bias: bias?.name, fresh }, label);
  // Shapes, axes and pads.
  const shapes = region.nodes
    .filter((node) => node.is(...RELABELLING, 'Pad'))
    .flatMap((node) => node.inputs.slice(1));
  const inserted = editWith(asConstants(home, tensors), home, region.nodes.at(-1) ?? carrier, {
    removeNodes: region.nodes,
    insertNodes: nodes,
  });
  for (const { constant } of constants) removeUnread(constant);
  for (const value of shapes) removeUnreadValue(graph, value);
  return inserted;
}

interface Bias {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float64Array;
}

function biasOf(
  region: Region,
  { bias }: FoldedValues,
  fallback: string,
  weightName: string,
): Bias | undefined {
  const { graph, plan, target } = region;
  const { model } = graph;
  const { outputs } = plan.geometry;
  // Before operator set 11 a Gemm could not do without.
  const isNeeded = target.main === 'Gemm' && opsetOf(graph) < 11;
  const values = bias ?? (isNeeded ? new Float64Array(outputs) : undefined);
  if (values === undefined) return undefined;
  const natural = /(^|[._/])weight$/.test(weightName) ? weightName.replace(/weight$/, 'bias') : fallback;
  return { name: model.freshName(natural), shape: vectorShape(region), values };
}

/** What the names of a chain's factors begin with, if they are one chain's. */
function commonStem(names: readonly string[]): string | undefined {
  const stems = new Set(names.map(stemOf));
  return stems.size === 1 ? [...stems][0] : undefined;
}

/** The name of the node that a region becomes. */
export function labelOf({ carrier, plan, graph, nodes }: Region): string {
  const makers = constantsOfPlan(plan).filter(({ isWeight }) => isWeight);
  const stem = commonStem(makers.map(({ node }) => node.name));
  const isTaken = graph.nodes.some((node) => node.name === stem && !nodes.includes(node));
  return stem === undefined || isTaken ? carrier.name : stem;
}

/** The name of the chain's weight, or the carrier's weight's where nothing else reads that, or a new one. */
function weightNameOf({ carrier, nodes, plan, graph }: Region, home: typeof graph): string {
  const { model } = graph;
  const makers = constantsOfPlan(plan).filter(({ isWeight }) => isWeight);
  const stem = commonStem(makers.map(({ constant }) => constant.value));
  if (stem !== undefined && home.resolve(stem) === undefined) return stem;
  const own = makers.find(({ node }) => node === carrier)?.constant;
  const constants = new Set(constantsOfPlan(plan).map(({ constant }) => constant.value));
  const name = own?.value ?? carrier.inputs.find((input) => constants.has(input)) ?? `${carrier.name}/weight`;
  const isReplaced =
    own !== undefined &&
    own.path.length === 0 &&
    own.graph === home &&
    home.kind === 'graph' &&
    !home.isOutput(name) &&
    !trainedNames(model).has(name) &&
    home.uses(name).every(({ node }) => nodes.includes(node));
  return isReplaced ? name : model.freshName(collapsedName(name));
}
