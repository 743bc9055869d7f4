import { KnownConstants, type Node, type StandardOperator } from '../../graph/index.js';
import { type Refusal, refuse } from '../refusal.js';
import type { AffineOperator, AffineRule } from '../rule.js';
import { convolution } from './conv.js';
import { gemm, matmul } from './matrix.js';
import { batchNormalization } from './norm.js';
import { zeroPad } from './pad.js';
import { averagePool } from './pool.js';
import { relabel } from './relabel.js';
import { scaling } from './scale.js';
import { addition, dropout, identity, negation } from './sum.js';

/** The operators of the standard that are affine maps. */
const RULES: Readonly<Partial<Record<StandardOperator, AffineRule>>> = {
  Add: addition,
  AveragePool: averagePool,
  BatchNormalization: batchNormalization,
  Conv: convolution,
  ConvTranspose: convolution,
  Div: scaling,
  Dropout: dropout,
  Flatten: relabel,
  Gemm: gemm,
  Identity: identity,
  MatMul: matmul,
  Mul: scaling,
  Neg: negation,
  Pad: zeroPad,
  Reshape: relabel,
  Squeeze: relabel,
  Sub: addition,
  Sum: addition,
  Transpose: relabel,
  Unsqueeze: relabel,
};

/**
 * What a node is as an affine map of one or more values; a refusal for one that could be but for its operands or
 * attributes; undefined for all others. Reads no weights.
 */
export function affineOperator(
  node: Node,
  constants: KnownConstants = KnownConstants.stored,
): AffineOperator | Refusal | undefined {
  const rule =
    node.domain === '' && Object.hasOwn(RULES, node.opType)
      ? RULES[node.opType as StandardOperator]
      : undefined;
  if (rule === undefined) return undefined;
  const referring = node.attributes.names().find((name) => node.attributes.isReference(name));
  if (referring !== undefined) {
    return refuse('operand', `attribute '${referring}' of '${node.label}' is an attribute of the function`);
  }
  const readsExtra = node.outputs
    .slice(1)
    .some((output) => output !== '' && (node.graph.uses(output).length > 0 || node.graph.isOutput(output)));
  if (readsExtra) return refuse('shared', `more than the first output of '${node.label}' is read`);
  if (!node.outputs[0] || !node.inputs[0]) return undefined;
  return rule(node, constants);
}
