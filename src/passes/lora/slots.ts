import { type FactorSize, type LinearSite, taps } from '../../affine/linear-site.js';
import { findExpandableSites } from '../../affine/linear-sites.js';
import {
  type AttributeProtos,
  type FloatType,
  findConstant,
  isConstant,
  isFloatType,
  type Model,
  makeAttribute,
  type Node,
  quantizedStorage,
} from '../../graph/index.js';
import { opsetOf } from '../../graph/opsets.js';
import type { Reason } from '../../graph/skipped.js';
import { type Floats, swapped } from '../../linalg/floats.js';
import { factorAttributes } from '../expand/write.js';
import { readLoraNote } from './note.js';

/** A layer that an adapter can stand beside: a linear site, or a matrix product with a quantized weight. */
export interface Slot {
  readonly node: Node;
  /** Undefined where its weight is quantized: adapters can begin at zero beside it, and cannot be merged. */
  readonly site: LinearSite | undefined;
  readonly op: LinearSite['op'];
  /** The value that its weight is. */
  readonly weight: string;
  readonly weightInput: number;
  readonly type: FloatType;
  /** Of each group. */
  readonly inputs: number;
  readonly outputs: number;
  readonly groups: number;
  readonly kernel: readonly number[];
  /** Of the weight of a batched MatMul. */
  readonly batch: readonly number[];
}

/** Matrix products with blocks of a quantized weight, K x N. */
const BLOCKED: ReadonlySet<string> = new Set(['MatMulNBits', 'MatMulBnb4']);

/** The layers of a model that adapters can stand beside, in the order of execution, and those that none can, with the reason. */
export function findSlots(model: Model): {
  readonly slots: readonly Slot[];
  readonly others: readonly { readonly node: Node; readonly reason: string }[];
} {
  const { sites, others } = findExpandableSites(model);
  const found = new Map<Node, Slot | Reason>(sites.map((site) => [site.node, slotOfSite(site)]));
  for (const { node, reason } of others) found.set(node, quantizedSlot(node) ?? { reason });
  const slots: Slot[] = [];
  const rest: { node: Node; reason: string }[] = [];
  for (const node of model.nodes()) {
    const slot = found.get(node) ?? (BLOCKED.has(node.opType) ? quantizedSlot(node) : undefined);
    if (slot === undefined || readLoraNote(node) !== undefined) continue;
    if ('reason' in slot) rest.push({ node, reason: slot.reason });
    else slots.push(slot);
  }
  return { slots, others: rest };
}

/** The layer that a node is; undefined where adapters cannot stand beside it. */
export function slotOf(node: Node, site: LinearSite | undefined): Slot | undefined {
  const slot = site === undefined ? quantizedSlot(node) : slotOfSite(site);
  return slot === undefined || 'reason' in slot ? undefined : slot;
}

function slotOfSite(site: LinearSite): Slot | Reason {
  const { node, op, weight, weightInput, inputs, outputs, groups, kernel } = site;
  if (op === 'Gemm' && node.attributes.int('transA', 0) === 1 && opsetOf(node.graph) < 11)
    return { reason: 'its input is transposed, in an operator set before 11' };
  if (op === 'Gemm' && node.attributes.float('alpha', 1) === 0) return { reason: 'its alpha is 0' };
  const type = weight.dataType as FloatType;
  const batch = op === 'MatMul' ? weight.shape.slice(0, -2) : [];
  return { node, site, op, weight: weight.value, weightInput, type, inputs, outputs, groups, kernel, batch };
}

/** MatMulNBits or MatMulBnb4, or a MatMul whose weight is dequantized. */
function quantizedSlot(node: Node): Slot | undefined {
  const slot = {
    node,
    site: undefined,
    op: 'MatMul',
    weightInput: 1,
    groups: 1,
    kernel: [],
    batch: [],
  } as const;
  if (BLOCKED.has(node.opType)) {
    const scales = findConstant(node.graph, node.inputs[2] ?? '');
    const [inputs, outputs] = [node.attributes.int('K', 0), node.attributes.int('N', 0)];
    if (!isConstant(scales) || !isFloatType(scales.dataType) || inputs < 1 || outputs < 1) return undefined;
    return { ...slot, weight: node.inputs[1] ?? '', type: scales.dataType, inputs, outputs };
  }
  if (!node.is('MatMul')) return undefined;
  const weight = findConstant(node.graph, node.inputs[1] ?? '');
  if (!isConstant(weight) || quantizedStorage(weight) === undefined) return undefined;
  const [inputs = 0, outputs = 0, ...more] = weight.shape;
  if (more.length > 0 || outputs === 0 || !isFloatType(weight.dataType)) return undefined;
  return { ...slot, weight: weight.value, type: weight.dataType, inputs, outputs };
}

/** Inputs of a layer's matrix: those of a group, by the taps of a kernel. */
export function columnsOf({ inputs, kernel }: Pick<Slot, 'inputs' | 'kernel'>): number {
  return inputs * taps(kernel);
}

/** Sizes of an adapter's factors, in the order of application: the first has the kernel. */
export function adapterSizes({ inputs, outputs, kernel }: Slot, rank: number, count: number): FactorSize[] {
  const ones = kernel.map(() => 1);
  return Array.from({ length: count }, (_, i) => ({
    inputs: i === 0 ? inputs : rank,
    outputs: i === count - 1 ? outputs : rank,
    kernel: i === 0 ? kernel : ones,
  }));
}

/** Whether the factors of a layer's adapter are in x out: they are MatMul nodes with the weight on the right. */
function isInOut({ op, weightInput }: Slot): boolean {
  return op === 'Gemm' || (op === 'MatMul' && weightInput === 1);
}

/** The tensor of a factor, from its matrices out x (in * kernel) of the groups, consecutive. */
export function storedFactor(
  slot: Slot,
  data: Floats,
  size: FactorSize,
): { readonly shape: readonly number[]; readonly data: Floats } {
  const { inputs, outputs } = size;
  if (isInOut(slot))
    return { shape: [...slot.batch, inputs, outputs], data: swapped(data, slot.groups, outputs, inputs) };
  if (slot.op === 'MatMul' || slot.site === undefined)
    return { shape: [...slot.batch, outputs, inputs], data };
  return slot.site.factorOfOutIn(data, size);
}

/** Undoes storedFactor. */
export function outInFactor(slot: Slot, data: Floats, size: FactorSize): Floats {
  const { inputs, outputs } = size;
  if (isInOut(slot)) return swapped(data, slot.groups, inputs, outputs);
  if (slot.op === 'MatMul' || slot.site === undefined) return data;
  return slot.site.outInOf(data, size);
}

/** Operator, inputs and attributes of the node of a factor. */
export function factorOperator(
  slot: Slot,
  isFirst: boolean,
  value: string,
  weight: string,
): { opType: string; inputs: string[]; attributeProtos: AttributeProtos } {
  const { op, node, site } = slot;
  if (isFirst && op === 'Gemm' && node.attributes.int('transA', 0) === 1)
    return {
      opType: 'Gemm',
      inputs: [value, weight],
      attributeProtos: [makeAttribute('transA', { int: 1 })],
    };
  if (op === 'Gemm' || op === 'MatMul') {
    const inputs = isInOut(slot) ? [value, weight] : [weight, value];
    return { opType: 'MatMul', inputs, attributeProtos: [] };
  }
  const attributeProtos = site === undefined ? [] : factorAttributes(site, { isFirst, isLast: false });
  return { opType: op, inputs: [value, weight], attributeProtos };
}
