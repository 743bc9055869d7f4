import { linearBias } from '../../affine/linear-bias.js';
import type { LinearSite } from '../../affine/linear-site.js';
import {
  type FloatType,
  findConstant,
  isConstant,
  type Model,
  type Node,
  narrow,
  Tensor,
} from '../../graph/index.js';
import { evaluateConstant } from '../../runtime/constants/constant.js';
import type { Layer } from './layers.js';

/** Where a constant that is added to a layer's outputs can go. */
export type ShiftPlace =
  /** Into the node's bias; `extra` elements more where it has none. */
  | { readonly kind: 'bias'; readonly extra: number }
  /** Off the mean of the BatchNormalization that alone reads the outputs, or into the Add that does. */
  | { readonly kind: 'norm' | 'add'; readonly node: Node; readonly input: number };

/** Undefined where there is none, or where several nodes share the weight. */
export function shiftPlace({ sites }: Pick<Layer, 'sites'>): ShiftPlace | undefined {
  const [site] = sites;
  if (site === undefined || sites.length > 1) return undefined;
  const { node, op, outputs } = site;
  const { graph } = node;
  const output = node.outputs[0] ?? '';
  const uses = graph.uses(output);
  const [use] = uses;
  const reader = uses.length === 1 && !graph.isOutput(output) && use?.node.graph === graph ? use : undefined;
  const { constant, isOpen } = linearBias(node);
  if (op !== 'MatMul' && constant !== undefined) return { kind: 'bias', extra: 0 };
  if (reader?.node.is('BatchNormalization') && reader.index === 0 && isVector(reader.node, 3, outputs))
    return { kind: 'norm', node: reader.node, input: 3 };
  if (op === 'MatMul') {
    const input = reader === undefined ? 0 : 1 - reader.index;
    if (site.weightInput === 0 || !reader?.node.is('Add') || !isVector(reader.node, input, outputs))
      return undefined;
    return { kind: 'add', node: reader.node, input };
  }
  return isOpen ? undefined : { kind: 'bias', extra: outputs };
}

function isVector(node: Node, input: number, size: number): boolean {
  const constant = findConstant(node.graph, node.inputs[input] ?? '');
  return isConstant(constant) && constant.shape.length === 1 && constant.shape[0] === size;
}

/** Adds numbers to the outputs of a node through what reads them. */
export async function shiftReader(
  model: Model,
  place: Exclude<ShiftPlace, { readonly kind: 'bias' }>,
  shift: Float64Array,
): Promise<void> {
  const { node, input, kind } = place;
  const name = node.inputs[input] ?? '';
  const stored = await evaluateConstant(node.graph, name);
  const values = Float64Array.from(stored.floats(), (value, i) =>
    kind === 'norm' ? value - (shift[i] as number) : value + (shift[i] as number),
  );
  setConstant(model, node, input, { type: stored.dataType as FloatType, shape: stored.shape, values });
}

/** Gives an input of a node another constant; a tensor that others read as well stays for them. */
export function setConstant(
  model: Model,
  node: Node,
  input: number,
  {
    type,
    shape,
    values,
  }: { readonly type: FloatType; readonly shape: readonly number[]; readonly values: Float64Array },
): void {
  const { graph } = model;
  const name = node.inputs[input] ?? '';
  const isOwn = graph.initializers.has(name) && graph.uses(name).length === 1 && !graph.isInput(name);
  const own = isOwn ? name : model.freshName(`${name}/own`);
  graph.setInitializer(Tensor.of(own, type, shape, narrow(type, values)));
  if (!isOwn) graph.setInput(node, input, own);
}

/** What a node's outputs are multiplied by before its bias is added. */
export function alphaOf({ node, op }: LinearSite): number {
  return op === 'Gemm' ? node.attributes.float('alpha', 1) : 1;
}
