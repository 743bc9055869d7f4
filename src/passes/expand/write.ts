import { factorName } from '../../affine/factor-names.js';
import type { LinearSite } from '../../affine/linear-site.js';
import { type ChainNote, type ChainPart, chainMetadata, encodeAttributes } from '../../affine/note.js';
import type { FreshName } from '../../graph/edit/imagined-names.js';
import type { AttributeProtos } from '../../graph/index.js';
import {
  type AttributeValue,
  type Graph,
  makeAttribute,
  type NodeSpec,
  type Tensor,
} from '../../graph/index.js';
import { opsetOf } from '../../graph/opsets.js';
import { asConstants, editWith } from '../rewrite/placement.js';
import { describeSource } from '../rewrite/weight-source.js';
import { type ChainPlan, splitAttributes } from './plan.js';
import { skipPlace } from './skip-place.js';

/** A node of a chain to be: what it is, its name, the values that it reads and the one that it makes. */
export interface ChainNode {
  readonly name: string;
  readonly kind: 'factor' | ChainPart;
  /** The factor that it is, or that it stands behind. */
  readonly factor: number;
  /** Of a projection and a sum: which connection of the plan. */
  readonly skip: number;
  /** Of a Transpose: the one that brings the units back. */
  readonly isBack?: boolean;
  readonly inputs: readonly string[];
  readonly output: string;
}

/**
 * The nodes of a chain in their order: each factor, its normalization, and the connections that end there, the shorter first, as
 * minyoungg/overparam has them.
 */
export function chainNodes(
  { node, weightInput }: LinearSite,
  plan: ChainPlan,
  fresh: FreshName,
): ChainNode[] {
  const { depth, skips, norms, turn } = plan;
  const nodes: ChainNode[] = [];
  const values = [node.inputs[1 - weightInput] ?? ''];
  for (let factor = 0; factor < depth; factor += 1) {
    const ending = [...skips.entries()].filter(([, { to }]) => to === factor + 1);
    const kinds = ['factor', ...(norms.includes(factor) ? ['norm'] : []), ...ending.map(() => 'add')];
    const stem = fresh(factorName(node.label, factor));
    let value = values[factor] ?? '';
    const add = (
      kind: ChainNode['kind'],
      inputs: readonly string[],
      {
        skip = -1,
        isEnd = false,
        isBack = false,
      }: { readonly skip?: number; readonly isEnd?: boolean; readonly isBack?: boolean },
    ): string => {
      const name = kind === 'factor' ? stem : fresh(`${stem}/${kind}`);
      const output = isEnd && factor === depth - 1 ? (node.outputs[0] ?? '') : fresh(`${name}/out`);
      nodes.push({ name, kind, factor, skip, isBack, inputs, output });
      return output;
    };
    value = add('factor', [value], { isEnd: kinds.length === 1 });
    if (norms.includes(factor)) {
      if (turn !== undefined) value = add('turn', [value], {});
      const isEnd = ending.length === 0;
      value = add('norm', [value], { isEnd: isEnd && turn === undefined });
      if (turn !== undefined) value = add('turn', [value], { isEnd, isBack: true });
    }
    for (const [i, [skip, { from, isLearned }]] of ending.entries()) {
      const start = values[from] ?? '';
      const around = isLearned ? add('project', [start], { skip }) : start;
      value = add('add', [value, around], { skip, isEnd: i === ending.length - 1 });
    }
    values.push(value);
  }
  return nodes;
}

/** True for a chain of Gemm nodes, whose C is not optional before opset 11. */
export function needsZeroBias(site: LinearSite): boolean {
  return site.op === 'Gemm' && opsetOf(site.node.graph) < 11;
}

/** What the nodes of a chain read besides one another. */
export interface ChainConstants {
  /** Names of the factors. */
  readonly names: readonly string[];
  /** Names of the projections' weights, in the plan's order. */
  readonly projections: readonly string[];
  /** Names of scale, shift, mean and variance of the plan's normalizations. */
  readonly norms: readonly (readonly string[])[];
  /** What of all these the graph has not yet, from another site of the same weight. */
  readonly tensors: readonly Tensor[];
  /** The graph that holds them. */
  readonly home: Graph;
  /** Name of a zero to be the C of Gemm factors that have no other. */
  readonly zero: string | undefined;
}

/** Puts the chain in the place of the site's node. */
export function insertChain(
  site: LinearSite,
  plan: ChainPlan,
  nodes: readonly ChainNode[],
  constants: ChainConstants,
): void {
  const { node } = site;
  const split = plan.isSplit ? splitAttributes(site, plan) : undefined;
  if (split !== undefined && 'reason' in split) throw new RangeError(split.reason);
  const source = describeSource(site.weight);
  const insertNodes = nodes.map((made): NodeSpec => {
    const { factor } = made;
    const place = { site: node.name, factor, of: plan.depth, weight: site.weight.value };
    if (made.kind !== 'factor') {
      const metadata = chainMetadata({ ...place, part: made.kind }, undefined);
      return { ...partNode(site, plan, made, constants), name: made.name, outputs: [made.output], metadata };
    }
    const note: ChainNote = {
      ...place,
      ...(factor === 0 && source && { source }),
      ...(factor === 0 && split && { attributes: encodeAttributes(node.proto.attribute ?? []) }),
    };
    return factorNode(site, {
      isFirst: factor === 0,
      isLast: factor === plan.depth - 1,
      name: made.name,
      input: made.inputs[0] ?? '',
      weight: constants.names[factor] ?? '',
      output: made.output,
      note,
      zero: constants.zero,
      attributes: split?.[factor],
    });
  });
  const { home, tensors } = constants;
  editWith(asConstants(home, tensors), home, node, { removeNodes: [node], insertNodes });
}

/** What a node that is no factor does. */
function partNode(
  site: LinearSite,
  plan: ChainPlan,
  { kind, inputs, factor, skip, isBack = false }: ChainNode,
  { norms, projections, zero }: ChainConstants,
): Pick<NodeSpec, 'opType' | 'inputs' | 'attributes' | 'attributeProtos'> {
  const [input = ''] = inputs;
  switch (kind) {
    case 'norm': {
      // Before operator set 7 a node had to say that it is not for training.
      const isOld = opsetOf(site.node.graph) < 7;
      const statistics = norms[plan.norms.indexOf(factor)] ?? [];
      return {
        opType: 'BatchNormalization',
        inputs: [input, ...statistics],
        attributes: isOld ? { is_test: { int: 1 } } : {},
      };
    }
    case 'turn': {
      const permutation = plan.turn ?? [];
      const perm = { ints: isBack ? inverseOf(permutation) : permutation };
      return { opType: 'Transpose', inputs, attributes: { perm } };
    }
    case 'project': {
      const learned = plan.skips.slice(0, skip).filter(({ isLearned }) => isLearned).length;
      const weight = projections[learned] ?? '';
      const data = site.weightInput === 0 ? [weight, input] : [input, weight];
      return {
        opType: site.op,
        inputs: [...data, ...(zero === undefined ? [] : [zero])],
        attributeProtos: projectionAttributes(site, plan, skip),
      };
    }
    default:
      return { opType: 'Add', inputs };
  }
}

/** A connection from the chain's input does to it what the first factor does; others work at each place by itself. */
function projectionAttributes(site: LinearSite, { skips }: ChainPlan, skip: number): AttributeProtos {
  const isFirst = skips[skip]?.from === 0;
  const own = site.node.proto.attribute ?? [];
  if (site.kernel.length === 0) return factorAttributes(site, { isFirst, isLast: false });
  if (!isFirst) return pointwiseAttributes(site);
  const place = skipPlace({ op: site.op, node: site.node, kernel: site.kernel, attributes: own });
  return 'reason' in place ? [] : place.attributes;
}

interface FactorPlace {
  readonly isFirst: boolean;
  readonly isLast: boolean;
  readonly name: string;
  readonly input: string;
  readonly weight: string;
  readonly output: string;
  readonly note: ChainNote;
  readonly zero: string | undefined;
  /** Of a factor of a convolution with more than one kernel. */
  readonly attributes: AttributeProtos | undefined;
}

/** One node of a chain. The last carries what the site's node had besides its weight. */
function factorNode(site: LinearSite, place: FactorPlace): NodeSpec {
  const { node } = site;
  const data = site.weightInput === 0 ? [place.weight, place.input] : [place.input, place.weight];
  const rest = place.isLast ? node.inputs.slice(2) : place.zero === undefined ? [] : [place.zero];
  return {
    ...(place.isLast && { template: node.proto }),
    opType: site.op,
    name: place.name,
    inputs: [...data, ...rest],
    outputs: [place.output],
    metadata: {
      ...(place.isLast && Object.fromEntries(node.metadata)),
      ...chainMetadata(place.note, place.isLast ? node : undefined),
    },
    attributeProtos: place.attributes ?? factorAttributes(site, place),
  };
}

/** The attributes of a factor whose kernel is the site's, or 1 behind the first. */
export function factorAttributes(
  site: LinearSite,
  { isFirst, isLast }: Pick<FactorPlace, 'isFirst' | 'isLast'>,
): AttributeProtos {
  const own = site.node.proto.attribute ?? [];
  switch (site.op) {
    case 'Gemm': {
      // transA belongs to the first factor, alpha and beta to the last.
      if (isLast)
        return own.map((attribute) => (attribute.name === 'transA' ? made('transA', { int: 0 }) : attribute));
      const kept = own.filter(({ name }) => name === 'transB' || (isFirst && name === 'transA'));
      return opsetOf(site.node.graph) < 7 ? [...kept, made('broadcast', { int: 1 })] : kept;
    }
    case 'Conv':
    case 'ConvTranspose':
      // The first factor keeps the attributes as they were written.
      return isFirst ? own : pointwiseAttributes(site);
    case 'MatMul':
      return isLast ? own : [];
  }
}

function pointwiseAttributes(site: LinearSite): AttributeProtos {
  return [
    made('kernel_shape', { ints: site.kernel.map(() => 1) }),
    ...(site.groups > 1 ? [made('group', { int: site.groups })] : []),
  ];
}

function made(name: string, value: AttributeValue): AttributeProtos[number] {
  return makeAttribute(name, value);
}

/** The permutation that undoes another. */
function inverseOf(permutation: readonly number[]): number[] {
  return permutation.map((_, axis) => permutation.indexOf(axis));
}
