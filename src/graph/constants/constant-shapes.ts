import { isView, traitsOf } from '../operators/index.js';
import { shapesMade } from '../shapes/shape-rules.js';
import { type DataType, dataTypeOf } from '../tensor/data-type.js';
import type { Node } from '../types.js';

export interface TypeAndShape {
  readonly dataType: DataType;
  readonly shape: readonly number[];
}

/** A constant that a node reads. */
export interface ConstantInput extends TypeAndShape {
  /** The elements of a small integer tensor, where they are known. */
  integers(): readonly number[] | undefined;
}

const BOOLEAN = [
  ...['Equal', 'Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual'],
  ...['And', 'Or', 'Xor', 'Not', 'IsInf', 'IsNaN'],
];
const REDUCTION = /^Reduce(?:L1|L2|LogSum|LogSumExp|Max|Mean|Min|Prod|Sum|SumSquare)$/;
const RULED = ['ConstantOfShape', 'Concat', 'DequantizeLinear', 'Expand', 'Gather', 'Slice', 'Split', 'Tile'];

/** Is it an operator of whose result typeOf can tell type and shape? */
export function hasKnownType(node: Node): boolean {
  if (node.domain !== '') return node.domain === 'com.microsoft' && node.opType === 'DequantizeLinear';
  const { elementwise, shape, quantized } = traitsOf(node);
  if (RULED.includes(node.opType) || REDUCTION.test(node.opType) || isView(node)) return true;
  return elementwise === true && shape !== undefined && quantized !== true && !node.is('CastLike', 'BitCast');
}

/** Type and shape of one output of a node from constant inputs; undefined where they do not follow. */
export function typeOf(
  node: Node,
  inputs: readonly (ConstantInput | undefined)[],
  output: number,
): TypeAndShape | undefined {
  const dataType = typeMade(node, inputs);
  const shapes = inputs.map((input) => input?.shape);
  const made =
    node.opType === 'DequantizeLinear'
      ? shapes[0]
      : shapesMade(node, shapes, { integers: (_, index) => inputs[index]?.integers() })[output];
  const shape = made?.filter((dim) => typeof dim === 'number');
  return dataType !== undefined && shape !== undefined && shape.length === made?.length
    ? { dataType, shape }
    : undefined;
}

function typeMade(node: Node, [first, second]: readonly (ConstantInput | undefined)[]): DataType | undefined {
  const { attributes, opType } = node;
  switch (opType) {
    case 'ConstantOfShape':
      return attributes.tensor('value')?.dataType ?? 'float32';
    case 'Cast':
      return dataTypeOf(attributes.int('to', 0));
    case 'DequantizeLinear':
    case 'Where':
      return second?.dataType;
    default:
      return BOOLEAN.includes(opType) ? 'bool' : first?.dataType;
  }
}
