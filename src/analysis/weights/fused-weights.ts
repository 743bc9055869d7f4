import { LINEAR_OPS, type LinearOp } from '../../affine/linear-site.js';
import { calledKey, functionsOf } from '../../graph/edit/inliner.js';
import {
  type ConstantValue,
  findConstant,
  isConstant,
  isFloatType,
  type Node,
  OPERATORS,
  traitsOf,
} from '../../graph/index.js';
import { einsumMatrix } from './einsum-weights.js';
import { bnb4Data, expertsData, gatherBlockData } from './packed-weights.js';
import { blockQuantizedData, type Quantization, quantizedData, scaledBehind } from './quantized-weights.js';
import type { ConvGeometry, Found, Part, WeightUse } from './types.js';
import { constantData, isNumbered, type WeightData } from './weight-data.js';

type Reason = { readonly reason: string };
/** What one input of a node holds. */
type Outcome = Found | Reason;

/** So many matrices of a batched weight are looked at; more would drown the rest of a report. */
const MOST_BATCHES = 32;

interface QuantizedOp extends Omit<Quantization, 'axes'> {
  readonly input: number;
  readonly axis: (node: Node) => number;
  readonly isConv?: boolean;
}

type Reader = (node: Node) => Found;

/** How operators with an integer weight are read, in either domain. */
const INTEGER: Readonly<Record<string, Reader>> = {
  QLinearConv: integers({ input: 3, scale: 4, zeroPoint: 5, axis: () => 0, isConv: true }),
  QLinearMatMul: integers({ input: 3, scale: 4, zeroPoint: 5, axis: () => -1 }),
  QGemm: integers({
    input: 3,
    scale: 4,
    zeroPoint: 5,
    axis: (node) => (node.attributes.int('transB', 0) === 1 ? 0 : 1),
  }),
  DynamicQuantizeMatMul: integers({ input: 1, scale: 2, zeroPoint: 3, axis: () => -1 }),
  MatMulIntegerToFloat: integers({ input: 1, scale: 3, zeroPoint: 5, axis: () => -1 }),
  // The scale of these comes from other nodes.
  MatMulInteger: unscaled(-1),
  ConvInteger: unscaled(0),
};

/** How operators of the standard that are no linear sites are read, besides those with gates. */
const STANDARD: Readonly<Record<string, Reader>> = { ...INTEGER, Gather: tables(0), Einsum: einsum };

const QKV = ['q', 'k', 'v'];

/** The same of com.microsoft. */
const CONTRIB: Readonly<Record<string, Reader>> = {
  ...INTEGER,
  Attention: attention([1, QKV]),
  PackedAttention: attention([1, QKV]),
  DecoderMaskedSelfAttention: attention([1, QKV]),
  LongformerAttention: attention([1, QKV], [4, QKV.map((name) => `global ${name}`)]),
  DecoderAttention: attention([2, ['q']], [3, ['k', 'v']]),
  QAttention: quantizedAttention,
  DynamicQuantizeLSTM: quantizedRecurrent,
  // Batches of matrices, one an expert.
  MoE: experts(2, 4, 6),
  EmbedLayerNormalization: tables(2, 3, 4),
  MatMulNBits: blocks,
  MatMulBnb4: whole(bnb4Data),
  GatherBlockQuantized: whole(gatherBlockData),
  QMoE: quantizedExperts,
  // Their inputs that look like weights are caches and masks.
  GroupQueryAttention: () => NOTHING,
  RotaryEmbedding: () => NOTHING,
};

/** Fused operators of com.microsoft that take their weight as the standard operator does. */
const FUSED: Readonly<Record<string, LinearOp>> = {
  FusedConv: 'Conv',
  FusedGemm: 'Gemm',
  FusedMatMul: 'MatMul',
  FusedMatMulActivation: 'MatMul',
};

/** The linear operator that a node is, or takes its weight like; undefined for others. */
export function linearOpOf(node: Node): LinearOp | undefined {
  const isFused = node.domain === 'com.microsoft' && Object.hasOwn(FUSED, node.opType);
  return isFused ? FUSED[node.opType] : LINEAR_OPS.find((name) => node.is(name));
}

const NOTHING: Found = { uses: [], reasons: [] };

/** The weights of an operator that is no linear site; nothing for those that have none. */
export function fusedWeights(node: Node): Found {
  const { domain } = node;
  if (domain !== '' && domain !== 'com.microsoft') return foreign(node);
  const found = readerOf(node)?.(node);
  if (found === undefined || found === NOTHING) return NOTHING;
  const referring = node.attributes.names().find((name) => node.attributes.isReference(name));
  if (referring === undefined) return found;
  return { uses: [], reasons: [`its attribute '${referring}' is an attribute of the function`] };
}

function readerOf(node: Node): Reader | undefined {
  const { gates } = traitsOf(node);
  if (gates !== undefined) return () => recurrent(node, gates);
  const table = node.domain === '' ? STANDARD : CONTRIB;
  if (Object.hasOwn(table, node.opType)) return table[node.opType];
  return node.domain === '' ? undefined : foreign;
}

/** W and R of each direction and gate. */
function recurrent(node: Node, gates: readonly string[]): Found {
  return each([1, 2], (input) => {
    const weight = floatConstant(node, input);
    if ('reason' in weight) return weight;
    return ofGates(node, input, constantData(weight, node, false), gates);
  });
}

/** com.microsoft.DynamicQuantizeLSTM has W and R transposed: direction x inputs x gates. */
function quantizedRecurrent(node: Node): Found {
  return each([1, 2], (input) => {
    const scale = input === 1 ? 8 : 10;
    const data = quantizedData(node, input, { scale, zeroPoint: scale + 1, axes: [0, 2] });
    return 'reason' in data ? data : ofGates(node, input, data, OPERATORS.LSTM.gates ?? [], true);
  });
}

/** The matrix of each direction and gate in a weight of directions x gates x inputs; transposed, the last two change places. */
function ofGates(
  node: Node,
  input: number,
  data: WeightData,
  gates: readonly string[],
  isTransposed = false,
): Outcome {
  const isBoth = node.attributes.string('direction', 'forward') === 'bidirectional';
  const directions = isBoth ? ['forward', 'reverse'] : [node.attributes.string('direction', 'forward')];
  const [count, second = 0, third = 0] = data.shape;
  const [gateRows, columns] = isTransposed ? [third, second] : [second, third];
  if (data.shape.length !== 3 || count !== directions.length || gateRows % gates.length !== 0) {
    return { reason: `its weight has the shape ${list(data.shape)}, not that of ${gates.length} gates` };
  }
  const rows = gateRows / gates.length;
  const [rowStride, columnStride] = isTransposed ? [1, gateRows] : [columns, 1];
  const base = baseName(data, node, input === 1 ? 'W' : 'R');
  const uses = directions.flatMap((direction, d) =>
    gates.map((gate, g) => {
      const start = d * gateRows * columns + g * rows * rowStride;
      const name = `${base}[${[direction, gate].filter(Boolean).join(',')}]`;
      return { ...matrix(node, data, { start, rows, columns, rowStride, columnStride }), name };
    }),
  );
  return only(uses);
}

/** The projections that stand side by side in the columns of a weight. */
function attention(...inputs: readonly (readonly [input: number, names: readonly string[]])[]): Reader {
  return (node) =>
    each(inputs, ([input, names]) => {
      if (!node.inputs[input]) return NOTHING;
      const weight = floatConstant(node, input);
      return 'reason' in weight ? weight : projections(node, constantData(weight, node, false), names);
    });
}

function quantizedAttention(node: Node): Found {
  return each([1], (input) => {
    const data = quantizedData(node, input, { scale: 4, zeroPoint: 7, axes: [-1] });
    return 'reason' in data ? data : projections(node, data, QKV);
  });
}

function projections(node: Node, data: WeightData, names: readonly string[]): Outcome {
  const [rows, total] = data.shape as [number, number];
  const sizes = node.attributes.ints('qkv_hidden_sizes');
  const widths = sizes?.length === names.length ? sizes : names.map(() => total / names.length);
  const sum = widths.reduce((a, b) => a + b, 0);
  if (data.shape.length !== 2 || sum !== total || !widths.every(Number.isInteger)) {
    return {
      reason: `its weight has the shape ${list(data.shape)}, not that of ${names.join(', ')} side by side`,
    };
  }
  let start = 0;
  const uses = widths.map((columns, index) => {
    const part = { start, rows, columns, rowStride: total, columnStride: 1 };
    start += columns;
    const name = `${baseName(data, node, 'weight')}[${names[index]}]`;
    return { ...matrix(node, data, part), name };
  });
  return only(uses);
}

function integers({ input, scale, zeroPoint, axis, isConv = false }: QuantizedOp): Reader {
  return (node) =>
    each([input], () => {
      const data = quantizedData(node, input, { scale, zeroPoint, axes: [axis(node)] });
      if ('reason' in data) return data;
      return isConv ? convolution(node, data) : batched(node, data);
    });
}

function unscaled(axis: number): Reader {
  return (node) => scaledLater(node, axis);
}

function scaledLater(node: Node, axis: number): Found {
  if (!isConstant(findConstant(node.graph, node.inputs[1] ?? ''))) return NOTHING;
  const scaled = scaledBehind(node);
  if (scaled === undefined) {
    return {
      uses: [],
      reasons: ['the scale of its integer weight is not to be found in the nodes behind it'],
    };
  }
  const isConv = node.opType === 'ConvInteger';
  return integers({ input: 1, scale: scaled.scale, zeroPoint: 3, axis: () => axis, isConv })(node);
}

function blocks(node: Node): Found {
  return each([1], () => {
    const data = blockQuantizedData(node);
    if ('reason' in data) return data;
    const { rows, columns } = data;
    return only([{ node, op: node.opType, data, rows, columns }]);
  });
}

function experts(...inputs: readonly number[]): Reader {
  return (node) =>
    each(inputs, (input) => {
      if (!node.inputs[input]) return NOTHING;
      const weight = floatConstant(node, input);
      return 'reason' in weight
        ? weight
        : batched(node, constantData(weight, node, false), Number.POSITIVE_INFINITY);
    });
}

function quantizedExperts(node: Node): Found {
  return each([2, 5, 8], (input) => {
    if (!node.inputs[input]) return NOTHING;
    const data = expertsData(node, input);
    return 'reason' in data ? data : batched(node, data, Number.POSITIVE_INFINITY);
  });
}

/** One matrix that is all of its tensor. */
function whole(read: (node: Node) => WeightData | Reason): Reader {
  return (node) =>
    each([0], () => {
      const data = read(node);
      if ('reason' in data) return data;
      const [rows = 0, columns = 0] = data.shape;
      return only([{ node, op: node.opType, data, rows, columns }]);
    });
}

/** The constant operand of an Einsum of two, where its equation makes matrices of it. */
function einsum(node: Node): Found {
  const weights = node.inputs.map((_, index) => floatConstant(node, index));
  const index = weights.findIndex((weight) => !('reason' in weight) && weight.shape.length >= 2);
  const weight = weights[index];
  if (weight === undefined || 'reason' in weight || node.inputs.length !== 2) return foreign(node);
  const data = constantData(weight, node, false);
  const found = einsumMatrix(node.attributes.string('equation', ''), index, weight.shape);
  if ('reason' in found) return { uses: [], reasons: [found.reason] };
  const { batch, rows, columns } = found;
  const uses = Array.from({ length: batch }, (_, at) => {
    const part = { start: at * rows * columns, rows, columns, rowStride: columns, columnStride: 1 };
    return {
      ...matrix(node, data, part),
      ...(batch > 1 && { name: `${baseName(data, node, 'weight')}[${at}]` }),
    };
  });
  return only(uses);
}

/** Constant floating-point tables of two dimensions; everything else that is gathered from is no weight. */
function tables(...inputs: readonly number[]): Reader {
  return (node) =>
    each(inputs, (input) => {
      const weight = floatConstant(node, input);
      if ('reason' in weight || weight.shape.length !== 2) return NOTHING;
      const [rows = 0, columns = 0] = weight.shape;
      return only([{ node, op: node.opType, data: constantData(weight, node), rows, columns }]);
    });
}

/** The weight of a convolution as its matrix; its shape is known to be one or not. */
export function convolution(node: Node, data: WeightData): Outcome {
  const [rows = 0, perGroup = 0, ...kernel] = data.shape;
  if (kernel.length === 0) return { reason: `its weight has the shape ${list(data.shape)}, no kernel` };
  const columns = kernel.reduce((total, extent) => total * extent, perGroup);
  return only([{ node, op: node.opType, data, rows, columns, conv: convGeometry(node) }]);
}

export function convGeometry({ attributes }: Node): ConvGeometry {
  return {
    groups: attributes.int('group', 1),
    strides: attributes.ints('strides'),
    dilations: attributes.ints('dilations'),
  };
}

/** A matrix, or one for each entry of a batch of them. */
export function batched(node: Node, data: WeightData, most = MOST_BATCHES): Outcome {
  const { shape } = data;
  const [rows, columns] = shape.slice(-2) as [number, number];
  if (shape.length < 2) return { reason: `its weight is a vector, of shape ${list(shape)}` };
  const outer = shape.slice(0, -2);
  const count = outer.reduce((a, b) => a * b, 1);
  if (outer.length === 0) return only([{ node, op: node.opType, data, rows, columns }]);
  const shown = Math.min(count, most);
  const uses = Array.from({ length: shown }, (_, index) => {
    const part = { start: index * rows * columns, rows, columns, rowStride: columns, columnStride: 1 };
    const name = `${baseName(data, node, 'weight')}[${indices(index, outer).join(',')}]`;
    return { ...matrix(node, data, part), ...(count > 1 && { name }) };
  });
  const reasons =
    shown < count ? [`${count - shown} of the ${count} matrices of its batched weight are left out`] : [];
  return { uses, reasons };
}

/** Operators of other domains are named where they read a constant that looks like a weight. Functions of the model's own are looked into. */
function foreign(node: Node): Found {
  if (functionsOf(node.graph.model).has(calledKey(node.proto))) return NOTHING;
  const isWeight = (input: string): boolean => {
    const found = input === '' ? undefined : findConstant(node.graph, input);
    if (found === undefined || !isConstant(found)) return false;
    return found.shape.filter((extent) => extent > 1).length >= 2;
  };
  if (!node.inputs.some(isWeight)) return NOTHING;
  const name = node.domain === '' ? node.opType : `${node.domain}.${node.opType}`;
  return { uses: [], reasons: [`what ${name} does with its weights is not known here`] };
}

function matrix(node: Node, data: WeightData, part: Part): WeightUse {
  const { rows, columns } = part;
  return { node, op: node.opType, data, rows, columns, part, shape: [rows, columns] };
}

/** The tensor's name or, where an exporter numbered it, the node's and what it is there. */
function baseName({ name }: WeightData, node: Node, role: string): string {
  return isNumbered(name) ? `${node.label}.${role}` : name;
}

function indices(index: number, shape: readonly number[]): number[] {
  return shape.map((extent, axis) => {
    const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
    return Math.floor(index / inner) % extent;
  });
}

function floatConstant(node: Node, input: number): ConstantValue | Reason {
  const value = node.inputs[input];
  if (!value) return { reason: `it has no input ${input}` };
  const found = findConstant(node.graph, value);
  if (!isConstant(found)) return found;
  if (!isFloatType(found.dataType)) return { reason: `its weight is ${found.dataType}, not floating-point` };
  return found;
}

function only(uses: readonly WeightUse[]): Found {
  return { uses, reasons: [] };
}

function each<T>(inputs: readonly T[], of: (input: T) => Outcome): Found {
  const outcomes = inputs.map(of);
  return {
    uses: outcomes.flatMap((found) => ('reason' in found ? [] : found.uses)),
    reasons: outcomes.flatMap((found) => ('reason' in found ? [found.reason] : found.reasons)),
  };
}

function list(shape: readonly number[]): string {
  return `[${shape.join(', ')}]`;
}
