import { type Model, type Node, type StandardOperator, traitsOf } from '../../../graph/index.js';
import { type Definition, operatorName, Registry } from '../../../graph/registry.js';
import type { OwnRule, Rule } from '../types.js';
import { ARITHMETIC } from './arithmetic.js';
import { CONV } from './conv.js';
import { ELEMENTWISE } from './elementwise.js';
import { INDEXING } from './indexing.js';
import { MATMUL } from './matmul.js';
import { NORM } from './norm.js';
import { POOL } from './pool.js';
import { REDUCE } from './reduce.js';
import { RESAMPLE } from './resample.js';
import { SHAPE } from './shape.js';

/** One rule for each operator. */
export const RULES = {
  ...ARITHMETIC,
  ...CONV,
  ...ELEMENTWISE,
  ...INDEXING,
  ...MATMUL,
  ...NORM,
  ...POOL,
  ...REDUCE,
  ...RESAMPLE,
  ...SHAPE,
} as const satisfies Partial<Record<StandardOperator, Rule>>;

/** A standard operator that a gradient passes through. */
export type DifferentiableOp = keyof typeof RULES;

/** The standard operators that a gradient passes through. */
export const DIFFERENTIABLE_OPS = (Object.keys(RULES) as DifferentiableOp[]).sort();

const OWN = new Registry<OwnRule>('a gradient rule', (name) => Object.hasOwn(RULES, name));

/**
 * Gives an operator a gradient: its vector-Jacobian product, as nodes. For operators of the standard that have none here (with a rule
 * that passes gradients straight through, for Round and QuantizeLinear too), for those of com.microsoft, and for functions of a
 * model, which are then not put in place of their calls. Models are differentiated in operator set 18 or later. The gradient
 * of a node must have the type and shape of its input; tensors that broadcast are summed by `build.unbroadcast`.
 *
 * `train` computes in this thread, not in one of its own, where it meets such an operator.
 *
 * @param operator `Round`, or `com.acme.Swish`: its domain and its name
 * @returns disposing of it takes the rule away again
 * @throws OptionError for an operator that has a rule already
 * @example
 * // y = x sigmoid(x): dx = dy (s + y (1 - s))
 * using rule = defineGradient('com.acme.Swish', {
 *   backward: ({ build, inputs: [x], outputs: [y], gradients: [dy] }) => {
 *     if (!x || !y || !dy) return [];
 *     const s = build.unary('Sigmoid', x);
 *     return [build.mul(dy, build.add(s, build.mul(y, build.minus(1, s))))];
 *   },
 * });
 * const step = await gradient(model, { loss: 'mse', batch: 16 });
 */
export function defineGradient(operator: string, rule: OwnRule): Definition {
  return OWN.define(operator, rule);
}

/** The rule that a program gave an operator. */
export function ownRuleOf(node: Pick<Node, 'domain' | 'opType'>): OwnRule | undefined {
  return OWN.size === 0 ? undefined : OWN.get(operatorName(node));
}

/** Does a model have nodes whose gradient a program gave? */
export function readsOwnRules(model: Model): boolean {
  return OWN.size > 0 && [...model.nodes()].some((node) => ownRuleOf(node) !== undefined);
}

/** How a gradient meets a node: by a rule, not at all, or a reason why it cannot pass. */
export function ruleOf(node: Node): Rule | 'stops' | { readonly reason: string } {
  const own = ownRuleOf(node);
  if (own === undefined && traitsOf(node).flat) return 'stops';
  const rule: Rule | undefined =
    own ??
    (node.domain === '' && Object.hasOwn(RULES, node.opType)
      ? RULES[node.opType as DifferentiableOp]
      : undefined);
  const name = operatorName(node);
  if (rule === undefined) return { reason: `${name} has no gradient here` };
  if (rule.stops?.(node)) return 'stops';
  const reason = rule.refuses?.(node);
  return reason === undefined ? rule : { reason: `${name}: ${reason}` };
}

/** The inputs of a node that its rule passes gradients to. */
export function throughInputs(rule: Rule, node: Node): readonly number[] {
  const all = [...node.inputs.keys()];
  const through = rule.through ?? [0];
  return (through === 'all' ? all : through).filter(
    (index) => index < node.inputs.length && node.inputs[index] !== '',
  );
}
