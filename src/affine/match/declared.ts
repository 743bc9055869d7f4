import { type FloatType, type Graph, KnownConstants, type Model, type Node } from '../../graph/index.js';
import { trainedNames } from '../../graph/names/trained-names.js';
import type { ValueKeys } from '../../graph/names/value-keys.js';
import type { Skipped } from '../../graph/skipped.js';
import { linearBias } from '../linear-bias.js';
import { type LinearSite, taps } from '../linear-site.js';
import { batchedSite, findExpandableSites } from '../linear-sites.js';
import { expressSegment } from '../map/expression.js';
import type { Axis } from '../map/geometry.js';
import type { Frame } from '../map/place.js';
import { rearrangements } from '../map/rearrange.js';
import { type ChainNote, hasChains, type PartNote, readChainNote, readPartNote } from '../note.js';
import { convolution, explicitPads } from '../operators/conv.js';
import { affineOperator } from '../operators/index.js';
import { batchedMatmul } from '../operators/matrix.js';
import { isRefusal } from '../refusal.js';
import type { AffineOperator, MapOperator } from '../rule.js';
import { costBefore, costWith } from './cost.js';
import { Sources } from './frames.js';
import { keptOf } from './kept.js';
import { type Chain, keysOf, type Region, targetOfRegion, vectorShape } from './region.js';

type Reason = { readonly reason: string };

/** A chain that says that it is one, and is not one any more. */
export interface BrokenChain {
  readonly first: LinearSite;
  readonly reason: string;
}

export interface DeclaredChains {
  /** In the order of execution. */
  readonly regions: readonly (Region & { readonly chain: Chain })[];
  readonly broken: readonly BrokenChain[];
}

/**
 * The chains that say in their metadata that they are one, as regions: whatever they cost they become one node. Changes
 * nothing; of the weights it reads at most vectors, to see whether a bias is zero.
 */
export function declaredRegions(model: Model, keys: ValueKeys): DeclaredChains {
  if (!hasChains(model)) return { regions: [], broken: [] };
  const trained = trainedNames(model);
  const sites = new Map<Node, LinearSite>();
  for (const site of findExpandableSites(model).sites) {
    if (!site.weight.leaves.some(({ name }) => trained.has(name))) sites.set(site.node, site);
  }
  const regions: (Region & { readonly chain: Chain })[] = [];
  const broken: BrokenChain[] = [];
  const sources = new Map<Graph, Sources>();
  for (const first of sites.values()) {
    const note = readChainNote(first.node);
    if (note?.factor !== 0) continue;
    const { graph } = first.node;
    const known = sources.get(graph) ?? new Sources(graph);
    sources.set(graph, known);
    const members = membersOf(first, note, sites);
    const region = 'reason' in members ? members : regionOf(members, note, known, keys);
    if ('reason' in region) broken.push({ first, reason: region.reason });
    else regions.push(region);
  }
  return { regions, broken };
}

/** What is told of a broken chain: the name of what it stands for. */
export function describeBroken({ first, reason }: BrokenChain): Skipped {
  return { node: readChainNote(first.node)?.site || first.node.label, op: first.op, reason };
}

/** The nodes of a chain. */
interface Members {
  readonly factors: readonly LinearSite[];
  readonly projections: readonly LinearSite[];
  /** All nodes, in the order of execution. */
  readonly nodes: readonly Node[];
}

const keyOf = ({ site, weight, of }: ChainNote | PartNote): string => JSON.stringify([site, weight, of]);

/** Follows a chain from its first factor by what its nodes say. */
function membersOf(
  first: LinearSite,
  note: ChainNote,
  sites: ReadonlyMap<Node, LinearSite>,
): Members | Reason {
  const { graph } = first.node;
  const key = keyOf(note);
  const values = new Set([first.data]);
  const factors: LinearSite[] = [];
  const projections: LinearSite[] = [];
  const nodes: Node[] = [];
  let value = first.data;
  const add = (node: Node): void => {
    nodes.push(node);
    value = node.outputs[0] ?? '';
    values.add(value);
  };
  /** Takes in what an operand of a sum is made by; the reason where that is not of the chain. */
  const take = (node: Node, operand: string): Reason | undefined => {
    if (values.has(operand)) return undefined;
    const maker = graph.producer(operand);
    const projection = maker && readPartNote(maker)?.part === 'project' ? sites.get(maker) : undefined;
    if (projection === undefined || !values.has(projection.data))
      return { reason: `'${node.label}' adds what is no value of the chain` };
    projections.push(projection);
    nodes.push(projection.node);
    values.add(operand);
    return undefined;
  };
  let factor: LinearSite | undefined = first;
  for (let index = 0; index < note.of; index += 1) {
    if (factor === undefined) return whyNotFollowed(graph, value, index, note, sites);
    factors.push(factor);
    add(factor.node);
    for (;;) {
      const next = graph.uses(value).find(({ node }) => {
        const part = node.graph === graph ? readPartNote(node) : undefined;
        return part !== undefined && keyOf(part) === key && part.factor === index && part.part !== 'project';
      })?.node;
      if (next === undefined) break;
      for (const input of next.is('Add') ? next.inputs : []) {
        const problem = take(next, input);
        if (problem !== undefined) return problem;
      }
      add(next);
    }
    factor = graph.uses(value).flatMap(({ node }) => {
      const other = node.graph === graph ? readChainNote(node) : undefined;
      const site = sites.get(node);
      const isNext = other !== undefined && keyOf(other) === key && other.factor === index + 1;
      return isNext && site !== undefined && site.data === value ? [site] : [];
    })[0];
  }
  return whyOpen(graph, nodes, value) ?? { factors, projections, nodes };
}

function whyNotFollowed(
  graph: Graph,
  value: string,
  index: number,
  { of }: ChainNote,
  sites: ReadonlyMap<Node, LinearSite>,
): Reason {
  const uses = graph.uses(value);
  const [use] = uses;
  if (graph.isOutput(value)) return { reason: `'${value}', between two factors, is an output of the graph` };
  if (use === undefined) return { reason: `nothing reads '${value}', behind which a factor would follow` };
  const site = sites.get(use.node);
  if (uses.length === 1 && (site === undefined || site.data !== value))
    return {
      reason: `'${value}' is read by '${use.node.label}' (${use.node.opType}), which is no linear node with a constant weight`,
    };
  return { reason: `factor ${index} of ${of} does not follow factor ${index - 1}` };
}

/** The reason for which a chain is not closed: something else reads a value within; undefined where nothing does. */
function whyOpen(graph: Graph, nodes: readonly Node[], last: string): Reason | undefined {
  const own = new Set(nodes);
  for (const value of nodes.flatMap((node) => node.outputs)) {
    if (value === '' || value === last) continue;
    if (graph.isOutput(value))
      return { reason: `'${value}', between two factors, is an output of the graph` };
    const uses = graph.uses(value);
    const other = uses.find(({ node }) => !own.has(node));
    if (other !== undefined)
      return {
        reason: `'${value}', between two factors, is read ${uses.length} times: it is read by '${other.node.label}' too`,
      };
  }
  return undefined;
}

/** A chain as the region that it is. */
function regionOf(
  { factors, projections, nodes }: Members,
  note: ChainNote,
  sources: Sources,
  keys: ValueKeys,
): (Region & { readonly chain: Chain }) | Reason {
  const [first, last] = [factors[0] as LinearSite, factors.at(-1) as LinearSite];
  const problem = whyNotOne(factors, note);
  if (problem !== undefined) return { reason: problem };
  const operators = new Map<Node, AffineOperator>();
  // The one transposed convolution that others mix channels for says how its places differ.
  const grown = first.op === 'ConvTranspose' ? (factors.find(isSpatial) ?? first) : undefined;
  for (const site of [...factors, ...projections]) {
    const operator = linearOperator(site, site === grown);
    if ('reason' in operator) return operator;
    operators.set(site.node, operator);
  }
  for (const node of nodes) {
    if (operators.has(node)) continue;
    const operator = affineOperator(node);
    if (operator === undefined || isRefusal(operator)) {
      const why = operator === undefined ? '' : `: ${operator.reason}`;
      const isNorm = readPartNote(node)?.part === 'norm';
      return {
        reason: isNorm
          ? `'${node.label}' is no BatchNormalization with constant statistics${why}`
          : `'${node.label}' is not where it was${why}`,
      };
    }
    operators.set(node, operator);
  }
  const { graph } = first.node;
  const [source, output] = [first.data, nodes.at(-1)?.outputs[0] ?? ''];
  const frame = frameOf(first, nodes, operators, sources);
  const expressed = expressSegment(
    { source, output, nodes },
    operators,
    frame,
    sources.layoutOf(source, frame),
    first.inputs * first.groups,
  );
  if (isRefusal(expressed)) return expressed;
  const { expression, layout } = expressed;
  const tail = layout === undefined ? [] : rearrangements(layout, nodes.at(-1)?.label ?? '');
  if (isRefusal(tail)) return tail;
  if (tail.length > 0) return { reason: `'${nodes.at(-1)?.label}' is not where it was` };
  const common = { expression, frame, carrier: last.node, head: [], tail };
  const { hasBias, isOpen } = expression.geometry;
  const bare = targetOfRegion(common, hasBias);
  const biasShape = vectorShape({ frame, expression, target: bare });
  const kept = keptOf(expression, bare.main, biasShape);
  if (isOpen && kept.bias === undefined)
    return { reason: 'a bias would have to be added to one that is no constant vector' };
  if (last.op === 'Gemm' && kept.alpha === undefined && last.node.attributes.float('alpha', 1) === 0)
    return { reason: 'its last factor has an alpha of 0' };
  const target = { ...bare, cost: costWith(bare, kept, expression.geometry, biasShape) };
  return {
    ...common,
    graph,
    source,
    output,
    nodes,
    shape: sources.shapeOf(source),
    measures: expressed.measures,
    target,
    kept,
    before: costBefore(expressed, operators),
    usesRunningStatistics: [...operators.values()].some(({ isTraining }) => isTraining),
    keys: keysOf(expression, undefined, target, keys),
    chain: {
      note,
      factors,
      last,
      bias: linearBias(last.node).constant,
      linear: [...factors, ...projections].map(({ node }) => node),
    },
  };
}

/** Why factors are no chain, whatever stands between them. */
function whyNotOne(factors: readonly LinearSite[], note: ChainNote): string | undefined {
  const [first, ...rest] = factors;
  if (first === undefined) return 'it has no factors';
  const kinds = new Set(factors.map(kindOf));
  if (kinds.size > 1) return `its factors are ${[...kinds].join(' and ')}`;
  const types = new Set(factors.map(({ weight }) => weight.dataType));
  if (types.size > 1) return 'its factors have different element types';
  const later = rest.find(isSpatial);
  if (first.op !== 'Conv' || later === undefined) return undefined;
  if (note.attributes === undefined && factors.filter(isSpatial).length === 1) return undefined;
  return whyNotKernels(factors);
}

/** Why a chain of kernels is not one convolution; undefined where it is. */
function whyNotKernels(chain: readonly LinearSite[]): string | undefined {
  const last = chain.findLastIndex(({ kernel }) => taps(kernel) > 1);
  const dilations = new Set<string>();
  for (const [i, { node, kernel }] of chain.entries()) {
    const { attributes } = node;
    const automatic = attributes.string('auto_pad', 'NOTSET');
    const isPadded = automatic.startsWith('SAME') || attributes.ints('pads')?.some((pad) => pad !== 0);
    if (automatic.startsWith('SAME') || (isPadded && i > 0)) return 'a kernel behind its first is padded';
    if (i !== last && attributes.ints('strides')?.some((stride) => stride !== 1))
      return 'a kernel before its last has a stride';
    if (taps(kernel) > 1) dilations.add((attributes.ints('dilations') ?? kernel.map(() => 1)).join());
  }
  return dilations.size > 1 ? 'its kernels have different dilations' : undefined;
}

function kindOf({ op, weight, weightInput }: LinearSite): string {
  if (op === 'Conv') return 'a convolution';
  if (op === 'ConvTranspose') return 'a transposed convolution';
  if (op === 'MatMul' && weight.shape.length > 2) return 'a product of batches';
  return op === 'MatMul' && weightInput === 0 ? 'a matrix product from the left' : 'a matrix product';
}

/** A linear site as an operator. Where a convolution pads by its input's size, and that is known, it pads in numbers. */
function linearOperator(site: LinearSite, isGrown: boolean): AffineOperator | Reason {
  const { node, weight, kernel } = site;
  if (weight.shape.length > 2 && site.op === 'MatMul') return batchOperator(site);
  if (kernel.length > 0) {
    const pads = site.op === 'Conv' ? explicitPads(node.proto.attribute ?? [], kernel, node) : undefined;
    const made = convolution(node, KnownConstants.stored, {
      keepsTransposed: isGrown || isSpatial(site),
      pads: pads === undefined || 'reason' in pads ? undefined : pads,
    });
    if (!isRefusal(made)) return made;
  }
  return affineOperator(node) ?? { reason: `'${node.label}' is no linear node with a constant weight` };
}

function batchOperator({ node, weight, weightInput }: LinearSite): MapOperator | Reason {
  const found = batchedSite(node);
  if (found !== undefined && 'reason' in found) return found;
  return batchedMatmul(node, weight, weightInput === 1);
}

/** True for a convolution that does more than mix channels: a kernel, stride or padding. */
export function isSpatial({ kernel, node: { attributes } }: LinearSite): boolean {
  const automatic = attributes.string('auto_pad', 'NOTSET');
  return (
    kernel.some((extent) => extent !== 1) ||
    (attributes.ints('strides') ?? []).some((stride) => stride !== 1) ||
    (attributes.ints('output_padding') ?? []).some((padding) => padding !== 0) ||
    attributes.has('output_shape') ||
    // With a kernel of one element SAME pads nothing.
    (automatic === 'NOTSET' && (attributes.ints('pads') ?? []).some((pad) => pad !== 0))
  );
}

/** How a chain's source is mixed: as its first factor says, and what else tells its rank. */
function frameOf(
  first: LinearSite,
  nodes: readonly Node[],
  operators: ReadonlyMap<Node, AffineOperator>,
  sources: Sources,
): Frame {
  const { op, weight, weightInput } = first;
  const type = weight.dataType as FloatType;
  if (op === 'Conv' || op === 'ConvTranspose') return { axis: 'channel', rank: weight.shape.length, type };
  if (op === 'Gemm') return { axis: 'last', rank: 2, type };
  const axis: Axis = weightInput === 0 ? 'left' : 'last';
  if (weight.shape.length > 2) return { axis, rank: undefined, type, batch: weight.shape.slice(0, -2) };
  const turn = nodes.find((other) => other.is('Transpose'))?.attributes.ints('perm')?.length;
  // A normalization without a Transpose around it stands at the axis of the units.
  const hasNorm = [...operators.values()].some(({ pointwise }) => pointwise === 'normalization');
  const plain = hasNorm ? (axis === 'left' ? 3 : 2) : undefined;
  const rank = turn ?? sources.rankOf(first.data) ?? plain;
  // A vector has no other axes.
  return { axis, rank: rank === undefined || rank < 2 ? undefined : rank, type };
}
