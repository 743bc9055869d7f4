import { type Node, type StandardOperator, traitsOf } from '../../../graph/index.js';
import type { Rule } from '../types.js';
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

/** How a gradient meets a node: by a rule, not at all, or a reason why it cannot pass. */
export function ruleOf(node: Node): Rule | 'stops' | { readonly reason: string } {
  if (traitsOf(node).flat) return 'stops';
  const rule: Rule | undefined =
    node.domain === '' && Object.hasOwn(RULES, node.opType)
      ? RULES[node.opType as DifferentiableOp]
      : undefined;
  const name = node.domain === '' ? node.opType : `${node.domain}.${node.opType}`;
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
