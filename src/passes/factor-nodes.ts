import { type ChainNote, chainMetadata } from '../analysis/chain-note.js';
import type { LinearSite } from '../analysis/linear-sites.js';
import {
  type AttributeValue,
  type Graph,
  makeAttribute,
  type NodeSpec,
  type Tensor,
} from '../graph/index.js';
import type { ChainPlan } from './chain-plan.js';
import { type FreshName, factorName } from './naming.js';
import { asConstants, editWith, opsetOf } from './placement.js';
import { type AttributeProtos, encodeAttributes, splitAttributes } from './split-attributes.js';
import { describeSource } from './weight-source.js';

/** The names that a chain gives to what it is made of, in the order of application. */
export interface ChainNames {
  readonly nodes: readonly string[];
  /** Of the values between the factors, and the site's own output. */
  readonly outputs: readonly string[];
}

export function chainNames({ node }: LinearSite, depth: number, fresh: FreshName): ChainNames {
  const nodes: string[] = [];
  const outputs: string[] = [];
  for (let i = 0; i < depth; i += 1) {
    const name = fresh(factorName(node.label, i));
    nodes.push(name);
    outputs.push(i === depth - 1 ? (node.outputs[0] ?? '') : fresh(`${name}/out`));
  }
  return { nodes, outputs };
}

/** True for a chain of Gemm nodes, whose C is not optional before opset 11. */
export function needsZeroBias(site: LinearSite): boolean {
  return site.op === 'Gemm' && opsetOf(site.node.graph) < 11;
}

/** What the nodes of a chain read besides one another. */
export interface ChainConstants {
  /** Names of the factors. */
  readonly names: readonly string[];
  /** The factors; empty where the graph has them already, from another site of the same weight. */
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
  names: ChainNames,
  constants: ChainConstants,
): void {
  const { node } = site;
  const split = plan.isSplit ? splitAttributes(site, plan) : undefined;
  if (split !== undefined && 'reason' in split) throw new RangeError(split.reason);
  const { home } = constants;
  const source = describeSource(site.weight);
  const chain = names.nodes.map((name, index): NodeSpec => {
    const isLast = index === names.nodes.length - 1;
    const note: ChainNote = {
      site: node.name,
      factor: index,
      of: names.nodes.length,
      weight: site.weight.value,
      ...(index === 0 && source && { source }),
      ...(index === 0 && split && { attributes: encodeAttributes(node.proto.attribute ?? []) }),
    };
    return factorNode(site, {
      isFirst: index === 0,
      isLast,
      name,
      input: (index === 0 ? node.inputs[1 - site.weightInput] : names.outputs[index - 1]) ?? '',
      weight: constants.names[index] ?? '',
      output: names.outputs[index] ?? '',
      note,
      zero: constants.zero,
      attributes: split?.[index],
    });
  });
  editWith(asConstants(home, constants.tensors), home, node, { removeNodes: [node], insertNodes: chain });
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

function factorAttributes(site: LinearSite, { isFirst, isLast }: FactorPlace): AttributeProtos {
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
      if (isFirst) return own;
      return [
        made('kernel_shape', { ints: site.kernel.map(() => 1) }),
        ...(site.groups > 1 ? [made('group', { int: site.groups })] : []),
      ];
    case 'MatMul':
      return isLast ? own : [];
  }
}

function made(name: string, value: AttributeValue): AttributeProtos[number] {
  return makeAttribute(name, value);
}
