import type { ConstantValue, Node } from '../../graph/index.js';
import { type Expression, partsOf } from '../map/expression.js';
import { type AffineOperator, isWeighted } from '../operators.js';

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
  const parts = partsOf(expression).filter((part) => part.kind !== 'step' || !isNothing(part.operator));
  const last = parts.at(-1);
  if (last?.kind === 'sum' && last.geometry.isOpen) {
    const open = last.terms.find(({ geometry }) => geometry.isOpen);
    return open === undefined ? {} : { bias: keptOf(open, main, shape).bias };
  }
  if (last?.kind !== 'step' || parts.slice(0, -1).some(({ geometry }) => geometry.hasBias)) return {};
  const { operator } = last;
  const { node } = operator;
  if (isWeighted(operator)) {
    const isGemm = operator.kind === 'matrix';
    const fits = main === 'Gemm' || (!isGemm && (main === 'Conv' || main === 'ConvTranspose'));
    const value = operator.bias === undefined ? operator.openBias : node.inputs[2];
    if (!fits) return {};
    return {
      ...(value && {
        bias: { value, constant: operator.bias, beta: operator.kind === 'matrix' ? operator.beta : 1 },
      }),
      ...(operator.kind === 'matrix' && operator.alpha !== 1 && { alpha: node }),
    };
  }
  if (operator.kind !== 'sum' || operator.signs[0] !== 1 || node.attributes.has('axis')) return {};
  const [constant, ...others] = operator.constants;
  const isAlone = constant?.sign === 1 && others.length === 0 && last.parts === undefined;
  if (!isAlone || main === 'BatchNormalization' || constant.value.shape.join() !== shape.join()) return {};
  return { bias: { value: constant.value.value, constant: constant.value, beta: 1 } };
}

/** True for Identity and Dropout. */
function isNothing(operator: AffineOperator): boolean {
  return (
    operator.kind === 'sum' &&
    operator.constants.length === 0 &&
    operator.signs.length === 1 &&
    operator.signs[0] === 1
  );
}
