import type { ConstantValue, Node } from '../graph/index.js';
import { evaluateConstant } from '../runtime/constants/constant.js';
import { affineOperator } from './operators/index.js';
import { isRefusal } from './refusal.js';

/** The bias of a linear node. */
export interface LinearBias {
  /** Where it is a constant that is the same for every row. */
  readonly constant: ConstantValue | undefined;
  /** True where it is something else: it can be kept, but not multiplied or added to. */
  readonly isOpen: boolean;
}

export function linearBias(node: Node): LinearBias {
  const operator = affineOperator(node);
  const mixing = operator === undefined || isRefusal(operator) ? undefined : operator.mixing;
  return { constant: mixing?.bias, isOpen: mixing?.openBias !== undefined };
}

/** A constant bias as one number an output, Gemm's beta multiplied in; undefined where it is absent or zero. */
export async function biasVector(
  node: Node,
  bias: ConstantValue | undefined,
  outputs: number,
): Promise<Float64Array | undefined> {
  if (bias === undefined) return undefined;
  const values = (await evaluateConstant(bias.graph, bias.value)).floats();
  const beta = node.is('Gemm') ? node.attributes.float('beta', 1) : 1;
  const vector = Float64Array.from(
    { length: outputs },
    (_, i) => beta * (values[values.length === 1 ? 0 : i] as number),
  );
  return vector.some((value) => value !== 0) ? vector : undefined;
}
