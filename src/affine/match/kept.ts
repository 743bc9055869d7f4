import type { ConstantValue, Node } from '../../graph/index.js';
import { type Expression, partsOf } from '../map/expression.js';
import { isIdentity } from '../rule.js';

/** What the node in the place of a region takes over as it is. */
export interface Kept {
  /** The value that stands as bias already: nothing else is added. */
  readonly bias?: KeptBias | undefined;
  /** The Gemm whose alpha stays an attribute. */
  readonly alpha?: Node | undefined;
}

export interface KeptBias {
  readonly value: string;
  /** Undefined for one that is no constant vector. */
  readonly constant: ConstantValue | undefined;
  /** What it is multiplied by: of a Gemm, which has this as an attribute. */
  readonly beta: number;
}

/**
 * The bias and the factor that the last of an expression's nodes has, if nothing is added in front of it and the target can have
 * them, too.
 *
 * @param shape of the bias that the target has
 */
export function keptOf(expression: Expression, main: string | undefined, shape: readonly number[]): Kept {
  const parts = partsOf(expression).filter((part) => part.kind !== 'step' || !isIdentity(part.operator));
  const last = parts.at(-1);
  if (last?.kind === 'sum' && last.geometry.isOpen) {
    const open = last.terms.find(({ geometry }) => geometry.isOpen);
    return open === undefined ? {} : { bias: keptOf(open, main, shape).bias };
  }
  if (last?.kind !== 'step' || parts.slice(0, -1).some(({ geometry }) => geometry.hasBias)) return {};
  const { mixing, addend, node } = last.operator;
  if (mixing !== undefined) {
    const { axis, bias, openBias, alpha, beta } = mixing;
    const fits = main === 'Gemm' || (axis === 'channel' && (main === 'Conv' || main === 'ConvTranspose'));
    const value = bias === undefined ? openBias : node.inputs[2];
    if (!fits) return {};
    return {
      ...(value && { bias: { value, constant: bias, beta } }),
      ...(alpha !== 1 && { alpha: node }),
    };
  }
  const isAlone = addend !== undefined && last.parts === undefined;
  if (!isAlone || main === 'BatchNormalization' || addend.shape.join() !== shape.join()) return {};
  return { bias: { value: addend.value, constant: addend, beta: 1 } };
}
