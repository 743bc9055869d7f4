import type { ConstantValue, KnownConstants, Node } from '../../graph/index.js';
import { readVector, shapeBeside, whyNoVector } from '../map/channel-vector.js';
import { identityAt } from '../map/place.js';
import { diagonal } from '../map/values.js';
import type { MapOperator } from '../rule.js';
import { floatOperand } from './operand.js';

/** Mul by a constant and Div by one. */
export function scaling(node: Node, constants: KnownConstants): MapOperator | undefined {
  const [first, second] = [floatOperand(node, 0, constants), floatOperand(node, 1, constants)];
  const isDivision = node.opType === 'Div';
  if ('kind' in first && !('kind' in second)) return scaled(node, 0, second, isDivision);
  // A constant by a value is not affine in the value.
  return isDivision || 'kind' in first || !('kind' in second) ? undefined : scaled(node, 1, first, false);
}

function scaled(node: Node, input: number, factor: ConstantValue, isDivision: boolean): MapOperator {
  return {
    node,
    data: [node.inputs[input] ?? ''],
    constants: [factor],
    pointwise: 'factor',
    details: { factors: { factor, isDivision } },
    geometry: (channels, place) => whyNoVector(factor, node, channels, place) ?? identityAt(place, channels),
    values: async (geometry, { parts }) => {
      const factors = await readVector(factor, geometry.outputs, shapeBeside(factor, node, parts));
      return diagonal(geometry, isDivision ? factors.map((value) => 1 / value) : factors);
    },
    work: ({ outputs }) => outputs,
  };
}
