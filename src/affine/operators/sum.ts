import type { ConstantValue, KnownConstants, Node } from '../../graph/index.js';
import { opsetOf } from '../../graph/opsets.js';
import { isZero, readVector, shapeBeside, whyNoVector } from '../map/channel-vector.js';
import { identityAt } from '../map/place.js';
import { added, diagonal } from '../map/values.js';
import { type Refusal, refuse } from '../refusal.js';
import type { MapOperator, Sign } from '../rule.js';
import { floatOperand } from './operand.js';

interface Signed<T> {
  readonly sign: Sign;
  readonly value: T;
}

/** Add, Sub and Sum of values and constants. */
export function addition(node: Node, known: KnownConstants): MapOperator | undefined {
  const data: Signed<string>[] = [];
  const constants: Signed<ConstantValue>[] = [];
  for (const [index, input] of node.inputs.entries()) {
    const sign = node.opType === 'Sub' && index === 1 ? -1 : 1;
    const value = floatOperand(node, index, known);
    if ('kind' in value) data.push({ sign, value: input });
    else constants.push({ sign, value });
  }
  return data.length === 0 ? undefined : sumOf(node, data, constants);
}

export function negation(node: Node): MapOperator {
  return sumOf(node, [{ sign: -1, value: node.inputs[0] ?? '' }], []);
}

export function identity(node: Node): MapOperator {
  return sumOf(node, [{ sign: 1, value: node.inputs[0] ?? '' }], []);
}

/** Dropout, which does nothing in inference. */
export function dropout(node: Node, constants: KnownConstants): MapOperator | Refusal {
  const isOff = ((): boolean => {
    if (opsetOf(node.graph) < 7) return node.attributes.int('is_test', 0) === 1;
    if (!node.inputs[2]) return true;
    const mode = constants.operand(node, 2);
    return !('reason' in mode) && mode.root !== undefined && mode.root.size === 1 && !mode.root.array()[0];
  })();
  return isOff ? identity(node) : refuse('unsupported', `'${node.label}' (Dropout) is in training mode`);
}

function sumOf(
  node: Node,
  data: readonly Signed<string>[],
  constants: readonly Signed<ConstantValue>[],
): MapOperator {
  const signs = data.map(({ sign }) => sign);
  const isPlain = data.length === 1 && signs[0] === 1;
  const [constant, ...others] = constants;
  const isAddend = isPlain && constant?.sign === 1 && others.length === 0 && !node.attributes.has('axis');
  return {
    node,
    data: data.map(({ value }) => value),
    constants: constants.map(({ value }) => value),
    signs,
    pointwise: 'summand',
    ...(isAddend && { addend: constant.value }),
    details: { factors: { signs }, summands: { constants } },
    geometry: (channels, place) => {
      for (const { value } of constants) {
        const problem = whyNoVector(value, node, channels, place);
        if (problem !== undefined) return problem;
      }
      return {
        ...identityAt(place, channels),
        hasBias: constants.length > 0,
        isShifted: constants.some(({ value }) => !isZero(value)),
      };
    },
    values: async (geometry, { parts }) => {
      const { outputs } = geometry;
      let bias: Float64Array | undefined;
      for (const { sign, value } of constants) {
        const part = await readVector(value, outputs, shapeBeside(value, node, parts));
        bias = added(bias, sign === 1 ? part : part.map((element) => -element));
      }
      return diagonal(
        geometry,
        new Float64Array(outputs).fill(data.length === 1 ? (signs[0] ?? 1) : 1),
        bias,
      );
    },
    work: ({ outputs }) => {
      if (data.length > 1) return outputs * (data.length + constants.length - 1);
      return isPlain && constants.length === 0 ? 0 : outputs;
    },
  };
}
