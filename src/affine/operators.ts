import {
  type ConstantValue,
  isFloatType,
  KnownConstants,
  type Node,
  quantizedStorage,
} from '../graph/index.js';
import { type Window, windowOf } from '../graph/operators/window.js';
import { opsetOf } from '../graph/opsets.js';
import { RELABELLING, type Relabelling, relabellingOf } from '../graph/shapes/relabelling.js';
import { type Refusal, refuse } from './refusal.js';

interface Operator {
  readonly node: Node;
  /** The values in which the output is affine. */
  readonly data: readonly string[];
}

export interface ConvOperator extends Operator {
  /** A ConvTranspose of stride 1 that says its size by its pads is a Conv with its kernel reversed; others are `up`. */
  readonly kind: 'conv' | 'convTranspose' | 'up';
  readonly weight: ConstantValue;
  readonly bias: ConstantValue | undefined;
  /** A bias that is no constant vector: the node can keep it, but nothing can be put behind the node. */
  readonly openBias?: string | undefined;
  readonly groups: number;
  readonly window: Window;
}

export interface MatrixOperator extends Operator {
  readonly kind: 'matrix';
  /** Which side of the weight the data stands on: x W ('last') or W x ('left'). */
  readonly axis: 'last' | 'left';
  readonly weight: ConstantValue;
  /** Of a batch of matrices: how many, axis by axis. */
  readonly batch?: readonly number[] | undefined;
  readonly bias: ConstantValue | undefined;
  /** A bias that is no constant vector: the node can keep it, but nothing can be put behind the node. */
  readonly openBias?: string | undefined;
  readonly alpha: number;
  readonly beta: number;
  readonly isInputTransposed: boolean;
  /** How the weight stands: rows are outputs, or inputs. */
  readonly layout: 'out-in' | 'in-out';
}

export interface NormOperator extends Operator {
  readonly kind: 'norm';
  readonly scale: ConstantValue;
  readonly shift: ConstantValue;
  readonly mean: ConstantValue;
  readonly variance: ConstantValue;
  readonly epsilon: number;
  /** True where the node computes statistics of its batch, which folding replaces by the running ones. */
  readonly isTraining: boolean;
}

/** Mul and Div by a constant. */
export interface ScaleOperator extends Operator {
  readonly kind: 'scale';
  readonly factor: ConstantValue;
  readonly isDivision: boolean;
}

/** Add, Sub, Sum, Neg, Identity, Dropout: signed values and signed constants. */
export interface SumOperator extends Operator {
  readonly kind: 'sum';
  /** One for each of `data`. */
  readonly signs: readonly (1 | -1)[];
  readonly constants: readonly { readonly sign: 1 | -1; readonly value: ConstantValue }[];
}

export interface PoolOperator extends Operator {
  readonly kind: 'pool';
  readonly window: Window;
}

export interface PadOperator extends Operator {
  readonly kind: 'pad';
  /** Before each of the axes, then behind each. */
  readonly pads: readonly number[];
  /** The axes, counted from the last where negative; undefined for all. */
  readonly axes: readonly number[] | undefined;
}

/** Flatten, Reshape, Squeeze, Transpose, Unsqueeze: other axes for the same elements. */
export interface RelabelOperator extends Operator {
  readonly kind: 'relabel';
  readonly how: Relabelling;
}

export type AffineOperator =
  | ConvOperator
  | MatrixOperator
  | NormOperator
  | ScaleOperator
  | SumOperator
  | PoolOperator
  | PadOperator
  | RelabelOperator;

/** True for what carries a weight that mixes channels: every region has one of these. */
export function isWeighted(operator: AffineOperator): operator is ConvOperator | MatrixOperator {
  return (
    operator.kind === 'conv' ||
    operator.kind === 'convTranspose' ||
    operator.kind === 'up' ||
    operator.kind === 'matrix'
  );
}

/** Every constant that an operator reads. */
export function constantsOf(operator: AffineOperator): ConstantValue[] {
  switch (operator.kind) {
    case 'conv':
    case 'convTranspose':
    case 'up':
    case 'matrix':
      return operator.bias === undefined ? [operator.weight] : [operator.weight, operator.bias];
    case 'norm':
      return [operator.scale, operator.shift, operator.mean, operator.variance];
    case 'scale':
      return [operator.factor];
    case 'sum':
      return operator.constants.map(({ value }) => value);
    case 'pool':
    case 'pad':
    case 'relabel':
      return [];
  }
}

/**
 * What a node is as an affine map of one or more values; a refusal for one that could be but for its operands or
 * attributes; undefined for all others. Reads no weights.
 */
export function affineOperator(
  node: Node,
  constants: KnownConstants = KnownConstants.stored,
): AffineOperator | Refusal | undefined {
  const classify = node.domain === '' ? CLASSIFIERS[node.opType] : undefined;
  if (classify === undefined) return undefined;
  const referring = node.attributes.names().find((name) => node.attributes.isReference(name));
  if (referring !== undefined) {
    return refuse('operand', `attribute '${referring}' of '${node.label}' is an attribute of the function`);
  }
  const readsExtra = node.outputs
    .slice(1)
    .some((output) => output !== '' && (node.graph.uses(output).length > 0 || node.graph.isOutput(output)));
  if (readsExtra) return refuse('shared', `more than the first output of '${node.label}' is read`);
  if (!node.outputs[0] || !node.inputs[0]) return undefined;
  return classify(node, constants);
}

const CLASSIFIERS: Readonly<
  Record<string, (node: Node, constants: KnownConstants) => AffineOperator | Refusal | undefined>
> = {
  Conv: convolution,
  ConvTranspose: convolution,
  Gemm: gemm,
  MatMul: matmul,
  BatchNormalization: normalization,
  Add: addition,
  Sub: addition,
  Sum: addition,
  Neg: (node) => unary(node, -1),
  Identity: (node) => unary(node, 1),
  Dropout: dropout,
  Mul: multiplication,
  Div: multiplication,
  AveragePool: pooling,
  Pad: padding,
  ...Object.fromEntries(RELABELLING.map((op) => [op, relabelling])),
};

function unary(node: Node, sign: 1 | -1): SumOperator {
  return { kind: 'sum', node, data: [node.inputs[0] ?? ''], signs: [sign], constants: [] };
}

/** A constant of a float type, or why an input is none. */
function floatOperand(node: Node, index: number, constants: KnownConstants): ConstantValue | Refusal {
  const found = constants.operand(node, index);
  const whose = `input ${index} of '${node.label}'`;
  if ('reason' in found) return refuse('operand', `${whose} is no constant: ${found.reason}`);
  const quantized = quantizedStorage(found);
  if (quantized !== undefined) return refuse('operand', `${whose} is quantized (${quantized.how})`);
  if (!isFloatType(found.dataType))
    return refuse('operand', `${whose} is ${found.dataType}, not floating-point`);
  return found;
}

/** The bias of a node with a weight: a constant that is the same for every row, or an open one. */
function biasOf(
  node: Node,
  weight: ConstantValue,
  outputs: number,
  constants: KnownConstants,
): Pick<ConvOperator | MatrixOperator, 'bias' | 'openBias'> {
  const [, , name] = node.inputs;
  if (!name) return { bias: undefined };
  const bias = floatOperand(node, 2, constants);
  const isVector = !('kind' in bias) && bias.dataType === weight.dataType && isRowVector(bias.shape, outputs);
  return isVector ? { bias } : { bias: undefined, openBias: name };
}

function isRowVector(shape: readonly number[], length: number): boolean {
  const last = shape.at(-1) ?? 1;
  return shape.slice(0, -1).every((dim) => dim === 1) && (last === 1 || last === length);
}

function convolution(node: Node, constants: KnownConstants): ConvOperator | Refusal {
  const weight = floatOperand(node, 1, constants);
  if ('kind' in weight) return weight;
  const { attributes } = node;
  const [rows = 0, perGroup = 0, ...extents] = weight.shape;
  const groups = attributes.int('group', 1);
  if (extents.length === 0 || groups < 1 || rows % groups !== 0) {
    return refuse(
      'operand',
      `'${node.label}' has a weight of shape [${weight.shape.join(', ')}] in ${groups} groups`,
    );
  }
  const window = windowOf(node, extents);
  const bias = biasOf(node, weight, node.is('Conv') ? rows : perGroup * groups, constants);
  const common = { node, data: [node.inputs[0] ?? ''], weight, ...bias, groups, window };
  if (node.opType === 'Conv') return { kind: 'conv', ...common };
  const mode = attributes.string('auto_pad', 'NOTSET');
  const isUp =
    window.strides.some((step) => step !== 1) ||
    (mode !== 'NOTSET' && mode !== 'VALID') ||
    attributes.has('output_shape') ||
    (attributes.ints('output_padding') ?? []).some((extra) => extra !== 0);
  return { kind: isUp ? 'up' : 'convTranspose', ...common };
}

function gemm(node: Node, constants: KnownConstants): MatrixOperator | Refusal {
  const weight = floatOperand(node, 1, constants);
  if ('kind' in weight) return weight;
  if (weight.shape.length !== 2) {
    return refuse(
      'operand',
      `'${node.label}' has a weight of shape [${weight.shape.join(', ')}], not two dimensions`,
    );
  }
  const { attributes } = node;
  const layout = attributes.int('transB', 0) === 1 ? 'out-in' : 'in-out';
  return {
    kind: 'matrix',
    axis: 'last',
    node,
    data: [node.inputs[0] ?? ''],
    weight,
    ...biasOf(node, weight, weight.shape[layout === 'out-in' ? 0 : 1] ?? 0, constants),
    alpha: attributes.float('alpha', 1),
    beta: attributes.float('beta', 1),
    isInputTransposed: attributes.int('transA', 0) === 1,
    layout,
  };
}

function matmul(node: Node, constants: KnownConstants): MatrixOperator | Refusal | undefined {
  const [left, right] = [floatOperand(node, 0, constants), floatOperand(node, 1, constants)];
  const isRight = !('kind' in right);
  // With two constants it is one itself; with none it is a product of two values.
  if (isRight === !('kind' in left)) return undefined;
  const weight = isRight ? right : left;
  if ('kind' in weight) return undefined;
  if (weight.shape.length !== 2) {
    return refuse(
      'operand',
      `'${node.label}' has a weight of shape [${weight.shape.join(', ')}], not two dimensions`,
    );
  }
  return {
    kind: 'matrix',
    axis: isRight ? 'last' : 'left',
    node,
    data: [node.inputs[isRight ? 0 : 1] ?? ''],
    weight,
    bias: undefined,
    alpha: 1,
    beta: 1,
    isInputTransposed: false,
    layout: isRight ? 'in-out' : 'out-in',
  };
}

function normalization(node: Node, constants: KnownConstants): NormOperator | Refusal {
  const operands = [1, 2, 3, 4].map((index) => floatOperand(node, index, constants));
  const bad = operands.find((operand) => 'kind' in operand);
  if (bad !== undefined && 'kind' in bad) return bad;
  const [scale, shift, mean, variance] = operands as ConstantValue[];
  if (scale === undefined || shift === undefined || mean === undefined || variance === undefined) {
    return refuse('operand', `'${node.label}' lacks inputs`);
  }
  const channels = scale.shape[0] ?? 0;
  const isVector = [scale, shift, mean, variance].every(
    ({ shape }) => shape.length === 1 && shape[0] === channels,
  );
  if (!isVector) return refuse('operand', `the statistics of '${node.label}' are not one number a channel`);
  const { attributes } = node;
  const opset = opsetOf(node.graph);
  // Between operator sets 7 and 13 nothing but the outputs tells: only training has more than one.
  if (opset >= 7 && opset < 14 && node.outputs.slice(1).some((output) => output !== ''))
    return refuse(
      'unsupported',
      `'${node.label}' (BatchNormalization) has the outputs of training mode, in which it computes the statistics of its batch`,
    );
  const isTraining =
    attributes.int('training_mode', 0) === 1 || (opset < 7 && attributes.int('is_test', 0) === 0);
  const epsilon = attributes.float('epsilon', Math.fround(1e-5));
  return {
    kind: 'norm',
    node,
    data: [node.inputs[0] ?? ''],
    scale,
    shift,
    mean,
    variance,
    epsilon,
    isTraining,
  };
}

function addition(node: Node, known: KnownConstants): SumOperator | undefined {
  const data: string[] = [];
  const signs: (1 | -1)[] = [];
  const constants: { sign: 1 | -1; value: ConstantValue }[] = [];
  for (const [index, input] of node.inputs.entries()) {
    const sign = node.opType === 'Sub' && index === 1 ? -1 : 1;
    const value = floatOperand(node, index, known);
    if (!('kind' in value)) constants.push({ sign, value });
    else {
      data.push(input);
      signs.push(sign);
    }
  }
  return data.length === 0 ? undefined : { kind: 'sum', node, data, signs, constants };
}

function dropout(node: Node, constants: KnownConstants): SumOperator | Refusal {
  const opset = opsetOf(node.graph);
  const isOff = ((): boolean => {
    if (opset < 7) return node.attributes.int('is_test', 0) === 1;
    if (!node.inputs[2]) return true;
    const mode = constants.operand(node, 2);
    return !('reason' in mode) && mode.root !== undefined && mode.root.size === 1 && !mode.root.array()[0];
  })();
  if (!isOff) return refuse('unsupported', `'${node.label}' (Dropout) is in training mode`);
  return unary(node, 1);
}

function multiplication(node: Node, constants: KnownConstants): ScaleOperator | undefined {
  const isDivision = node.opType === 'Div';
  const [first, second] = [floatOperand(node, 0, constants), floatOperand(node, 1, constants)];
  if ('kind' in first && !('kind' in second)) {
    return { kind: 'scale', node, data: [node.inputs[0] ?? ''], factor: second, isDivision };
  }
  // A constant by a value is not affine in the value.
  if (isDivision || 'kind' in first || !('kind' in second)) return undefined;
  return { kind: 'scale', node, data: [node.inputs[1] ?? ''], factor: first, isDivision };
}

function pooling(node: Node): PoolOperator | Refusal {
  const { attributes } = node;
  const window = windowOf(node, attributes.ints('kernel_shape') ?? []);
  if (attributes.int('ceil_mode', 0) === 1) {
    return refuse(
      'inexact',
      `'${node.label}' (AveragePool) rounds its output's size up, so that its last windows are shorter`,
    );
  }
  const isPadded = window.auto !== undefined || window.pads.some((pad) => pad !== 0);
  if (isPadded && attributes.int('count_include_pad', 0) === 0) {
    return refuse(
      'inexact',
      `'${node.label}' (AveragePool) does not count its padding, so that its border differs`,
    );
  }
  return { kind: 'pool', node, data: [node.inputs[0] ?? ''], window };
}

function padding(node: Node, constants: KnownConstants): PadOperator | Refusal {
  const { attributes } = node;
  const unsupported = (why: string): Refusal => refuse('unsupported', `'${node.label}' (Pad) ${why}`);
  if (attributes.string('mode', 'constant') !== 'constant')
    return unsupported('does not pad with a constant');
  const value = ((): number | undefined => {
    if (!node.inputs[2]) return attributes.float('value', 0);
    const found = constants.operand(node, 2);
    if ('reason' in found || found.root === undefined || found.root.size !== 1) return undefined;
    return Number(found.root.array()[0]);
  })();
  if (value !== 0) return unsupported('pads with something else than zeros');
  const pads = attributes.ints('pads') ?? attributes.ints('paddings') ?? constants.integers(node, 1);
  if (pads === undefined) return unsupported('has pads that are no constants');
  const axes = node.inputs[3] ? constants.integers(node, 3) : undefined;
  if (node.inputs[3] && axes === undefined) return unsupported('has axes that are no constants');
  return { kind: 'pad', node, data: [node.inputs[0] ?? ''], pads, axes };
}

function relabelling(node: Node, constants: KnownConstants): RelabelOperator | Refusal {
  const how = relabellingOf(node, constants);
  return how === undefined
    ? refuse('operand', `the shape that '${node.label}' (${node.opType}) makes is computed`)
    : { kind: 'relabel', node, data: [node.inputs[0] ?? ''], how };
}
