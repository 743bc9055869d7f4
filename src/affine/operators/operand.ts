import {
  type ConstantValue,
  isFloatType,
  type KnownConstants,
  type Node,
  quantizedStorage,
} from '../../graph/index.js';
import { type Refusal, refuse } from '../refusal.js';
import type { Mixing } from '../rule.js';

/** A constant of a float type, or why an input is none. */
export function floatOperand(node: Node, index: number, constants: KnownConstants): ConstantValue | Refusal {
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
export function biasOf(
  node: Node,
  weight: ConstantValue,
  outputs: number,
  constants: KnownConstants,
): Pick<Mixing, 'bias' | 'openBias'> {
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

/** A weight and its bias, if it has one. */
export function withBias({ weight, bias }: Pick<Mixing, 'weight' | 'bias'>): ConstantValue[] {
  return bias === undefined ? [weight] : [weight, bias];
}

export function elements({ shape }: ConstantValue): number {
  return shape.reduce((product, dim) => product * dim, 1);
}
