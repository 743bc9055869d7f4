import type { Node } from '../../graph/index.js';
import type { AffineOperator } from '../rule.js';

/**
 * True for a constant factor or summand that ends a layer normalization or a GELU written out in single nodes.
 *
 * It could be folded into the matrix product behind it. But onnxruntime (LayerNormFusion, GeluFusion) and others
 * recognise those patterns by their ends, and run them as one node: without the end they would run some ten nodes.
 */
export function isPartOfFusion(operator: AffineOperator): boolean {
  const [value] = operator.data;
  const before = value === undefined ? undefined : operator.node.graph.producer(value);
  if (before === undefined) return false;
  if (operator.pointwise === 'factor') return isNormalized(before) || isGelu(before, operator.node);
  if (operator.pointwise === 'summand' && operator.constants.length > 0) {
    return before.is('Mul') && before.inputs.some((input) => isNormalized(before.graph.producer(input)));
  }
  return false;
}

/** (x - mean) / sqrt(variance + epsilon). */
function isNormalized(node: Node | undefined): boolean {
  return node?.is('Div') === true && node.graph.producer(node.inputs[1] ?? '')?.is('Sqrt') === true;
}

/** x (1 + erf(x / sqrt 2)), before the factor 1/2. */
function isGelu(node: Node, factor: Node): boolean {
  const isOneAndErf = (value: string): boolean => {
    const sum = node.graph.producer(value);
    return sum?.is('Add') === true && sum.inputs.some((input) => node.graph.producer(input)?.is('Erf'));
  };
  return factor.is('Mul') && node.is('Mul') && node.inputs.some(isOneAndErf);
}
