import { alphaOf, ownBias } from '../../affine/chains/compose.js';
import { stemOf } from '../../affine/chains/factor-names.js';
import type { AttributeProtos } from '../../affine/chains/kernel-attributes.js';
import { type Link, outputsOf } from '../../affine/chains/link.js';
import type { Chain } from '../../affine/chains/match.js';
import { foldedMetadata } from '../../affine/chains/note.js';
import { convolutionAttributes } from '../../affine/chains/shape.js';
import { constantsOf } from '../../affine/operators.js';
import {
  type AttributeValue,
  copyUnknownFields,
  makeAttribute,
  type NodeProto,
  type NodeSpec,
} from '../../graph/index.js';
import { opsetOf } from '../../graph/opsets.js';
import type { ValueKeys } from '../../graph/value-keys.js';

export interface FoldedNames {
  readonly node: string;
  readonly weight: string;
}

/** The names that the result gets: those that the metadata or the factors' names tell, else those of the last factor. */
export function namesOf({ links, by }: Chain): FoldedNames {
  const last = links.at(-1) as Link;
  const note = links[0]?.note;
  if (by === 'metadata' && note !== undefined) return { node: note.site, weight: note.weight };
  return {
    node: commonStem(links.map((link) => link.node.name)) ?? last.node.name,
    weight: commonStem(links.map((link) => link.site.weight.value)) ?? collapsedName(last.site.weight.value),
  };
}

/** What a product is called that can not have the name of what it was. */
export function collapsedName(weight: string): string {
  return weight.endsWith('/collapsed') ? weight : `${weight}/collapsed`;
}

function commonStem(names: readonly string[]): string | undefined {
  const stems = new Set(names.map(stemOf));
  return stems.size === 1 ? [...stems][0] : undefined;
}

/** Chains of the same key have the same product. */
export function productKey({ links, whole }: Chain, keys: ValueKeys): string {
  const parts = links.map((link, index) => {
    const { weight, op, orientation, groups } = link.site;
    const scale = index < links.length - 1 ? alphaOf(link) : 1;
    return [keys.of(weight.graph, weight.value), op === 'Conv', orientation, groups, scale];
  });
  const extras = (whole?.steps ?? []).map(({ norm, skips }) => [
    norm && constantsOf(norm).map((constant) => keys.of(constant.graph, constant.value)),
    skips.map(({ from, projection: { site } = {} }) => [
      from,
      site && keys.of(site.weight.graph, site.weight.value),
    ]),
  ]);
  return JSON.stringify([...parts, ...extras]);
}

/** The operator of the result: the last one's, or Gemm where the first transposes or a bias comes to a MatMul. */
export function opOf(links: readonly Link[], hasNewBias = false): string {
  const op = (links.at(-1) as Link).site.op;
  const hasBias = hasNewBias || links.some((link) => link.bias !== undefined);
  return op === 'MatMul' && (hasTransA(links) || hasBias) ? 'Gemm' : op;
}

function hasTransA([first]: readonly Link[]): boolean {
  return first?.site.op === 'Gemm' && first.node.attributes.int('transA', 0) === 1;
}

/**
 * The bias that the result needs in the place of the last node's own: what stands before the last node, carried
 * through it, and its own. Undefined where the last node keeps what it has.
 *
 * @param before the biases before the last node's own
 */
export async function biasOf(
  links: readonly Link[],
  before: Float64Array | undefined,
): Promise<Float64Array | undefined> {
  const last = links.at(-1) as Link;
  if (before !== undefined) {
    const own = await ownBias(last);
    return own ? before.map((value, i) => value + (own[i] as number)) : before;
  }
  const needsBias = opOf(links) === 'Gemm' && last.site.op !== 'Gemm' && opsetOf(last.node.graph) < 11;
  return needsBias ? new Float64Array(outputsOf(last.site)) : undefined;
}

/** The names that the nodes in the place of a chain need. */
export interface FoldedValues {
  readonly node: string;
  readonly weight: string;
  readonly bias: string | undefined;
  readonly output: string;
  /** A name for a value between two of them. */
  readonly fresh: (base: string) => string;
}

/** The node in the place of a chain; of a product on data of more than two axes that gets a bias, it and an Add. */
export function foldedNodes(chain: Chain, { node, weight, bias, output, fresh }: FoldedValues): NodeSpec[] {
  const { links } = chain;
  if (bias === undefined || !isAddedTo(chain))
    return [{ ...foldedNode(links, node, weight, bias), outputs: [output] }];
  const product = fresh(`${output}/product`);
  return [
    { ...foldedNode(links, node, weight, undefined), outputs: [product] },
    {
      opType: 'Add',
      name: node === '' ? '' : `${node}/bias`,
      inputs: [product, bias],
      outputs: [output],
      // Before operator set 7 nothing was broadcast unless said.
      ...(opsetOf((links[0] as Link).node.graph) < 7 && { attributes: { broadcast: { int: 1 } } }),
    },
  ];
}

/** True where a bias of the product is to be added by a node of its own. */
export function isAddedTo({ whole }: Chain): boolean {
  return whole?.rank !== undefined;
}

/** The shape of the bias of what a chain becomes. */
export function biasShape(chain: Chain, length: number): number[] {
  const { op, weightInput } = (chain.links[0] as Link).site;
  return isAddedTo(chain) && op === 'MatMul' && weightInput === 0 ? [length, 1] : [length];
}

function foldedNode(
  links: readonly Link[],
  name: string,
  weight: string,
  bias: string | undefined,
): NodeSpec {
  const first = links[0] as Link;
  const last = links.at(-1) as Link;
  const inputs = [...last.node.inputs];
  inputs[1 - last.site.weightInput] = first.node.inputs[1 - first.site.weightInput] ?? '';
  inputs[last.site.weightInput] = weight;
  if (bias !== undefined) inputs[2] = bias;
  return {
    template: withoutName(last.node.proto),
    opType: opOf(links, bias !== undefined),
    ...(name !== '' && { name }),
    inputs,
    outputs: last.node.outputs,
    attributeProtos: foldedAttributes(links, bias !== undefined),
    metadata: foldedMetadata(last.node),
  };
}

function withoutName(proto: NodeProto): NodeProto {
  const { name: _name, ...copy } = proto;
  copyUnknownFields(proto, copy);
  return copy;
}

/** Attributes of the result: of a convolution those of the carrier of kernel and stride, of Gemm both ends'. */
function foldedAttributes(links: readonly Link[], hasNewBias: boolean): AttributeProtos {
  const first = links[0] as Link;
  const last = links.at(-1) as Link;
  if (last.site.op === 'Conv' || last.site.op === 'ConvTranspose') return convolutionAttributes(links);
  let attributes = last.node.proto.attribute ?? [];
  if (opOf(links, hasNewBias) !== 'Gemm') return attributes;
  const transA = first.site.op === 'Gemm' ? first.node.attributes.int('transA', 0) : 0;
  const lastTransA = last.site.op === 'Gemm' ? last.node.attributes.int('transA', 0) : 0;
  if (transA !== lastTransA) attributes = withAttribute(attributes, 'transA', { int: transA });
  if (hasNewBias) {
    if (last.site.op === 'Gemm' && last.node.attributes.has('beta')) {
      attributes = withAttribute(attributes, 'beta', { float: 1 });
    }
    if (opsetOf(last.node.graph) < 7) attributes = withAttribute(attributes, 'broadcast', { int: 1 });
  }
  return attributes;
}

/** With an attribute in the place that it has, or at the end. */
export function withAttribute(
  attributes: AttributeProtos,
  name: string,
  value: AttributeValue,
): AttributeProtos {
  const at = attributes.findIndex((attribute) => attribute.name === name);
  const made = makeAttribute(name, value);
  return at < 0 ? [...attributes, made] : attributes.toSpliced(at, 1, made);
}
