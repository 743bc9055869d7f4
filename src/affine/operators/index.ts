import {
  createNode,
  KnownConstants,
  ModelError,
  makeNode,
  type Node,
  type NodeSpec,
  type StandardOperator,
} from '../../graph/index.js';
import { type Definition, operatorName, Registry } from '../../graph/registry.js';
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

/** A standard node that computes what a node of another operator does. */
export type StandIn = Pick<NodeSpec, 'opType' | 'inputs' | 'attributes'>;

/**
 * Which standard node a node of an operator equals; a reason, in words, for one that could be affine and is not; undefined for
 * all others. Inputs are values that the node reads.
 */
export type OwnAffineRule = (node: Node) => StandIn | string | undefined;

const OWN = new Registry<OwnAffineRule>('an affine rule', (name) => Object.hasOwn(RULES, name));

/**
 * Adds an operator to those that `collapse` folds: by a standard node that computes the same. It is one of those that the library
 * folds itself: Gemm, MatMul, Conv, ConvTranspose, AveragePool, BatchNormalization, Add, Sub, Mul, Div, Neg, Pad, Reshape, Transpose and
 * their like, in the operator set that the model imports. A model with the operator must run in onnxruntime: as a function of the
 * model, or as one of com.microsoft.
 *
 * @param operator `com.acme.Linear`: its domain and its name
 * @returns disposing of it takes the rule away again
 * @throws OptionError for an operator that has a rule already; `collapse` throws ModelError where the standard node is no affine one or
 *   reads what the node does not
 * @example
 * // y = x Wᵀ + b
 * using rule = defineAffine('com.acme.Linear', ({ inputs }) => ({ opType: 'Gemm', inputs, attributes: { transB: { int: 1 } } }));
 * await model.apply(collapse());
 */
export function defineAffine(operator: string, rule: OwnAffineRule): Definition {
  return OWN.define(operator, rule);
}

function ruleFor(node: Node): AffineRule | undefined {
  const own = OWN.size === 0 ? undefined : OWN.get(operatorName(node));
  if (own !== undefined) return (_node, constants) => asStandIn(node, own(node), constants);
  return node.domain === '' && Object.hasOwn(RULES, node.opType)
    ? RULES[node.opType as StandardOperator]
    : undefined;
}

function asStandIn(
  node: Node,
  standIn: ReturnType<OwnAffineRule>,
  constants: KnownConstants,
): ReturnType<AffineRule> {
  if (standIn === undefined) return undefined;
  if (typeof standIn === 'string') return refuse('unsupported', `'${node.label}': ${standIn}`);
  const { opType, inputs, attributes = {} } = standIn;
  const rule = Object.hasOwn(RULES, opType) ? RULES[opType as StandardOperator] : undefined;
  const foreign = inputs.find((input) => input !== '' && !node.inputs.includes(input));
  if (rule === undefined || foreign !== undefined) {
    const what =
      rule === undefined
        ? `names ${opType}, which is not affine`
        : `reads '${foreign}', which the node does not`;
    throw new ModelError(`the affine rule of ${operatorName(node)} ${what}`, { node: node.label });
  }
  const proto = makeNode({ opType, inputs, attributes, outputs: node.outputs.slice(0, 1), name: node.label });
  const found = rule(createNode(proto, node.graph), constants);
  return found === undefined || 'reason' in found ? found : { ...found, node };
}

/**
 * What a node is as an affine map of one or more values; a refusal for one that could be but for its operands or
 * attributes; undefined for all others. Reads no weights.
 */
export function affineOperator(
  node: Node,
  constants: KnownConstants = KnownConstants.stored,
): AffineOperator | Refusal | undefined {
  const rule = ruleFor(node);
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
