import { opsetOf } from '../opsets.js';
import type { Node } from '../types.js';
import { CONV } from './conv.js';
import { ELEMENTWISE } from './elementwise.js';
import { GENERATE } from './generate.js';
import { INDEXING } from './indexing.js';
import { MATMUL } from './matmul.js';
import { NORM } from './norm.js';
import { OTHER } from './other.js';
import { POOL } from './pool.js';
import { QUANTIZE } from './quantize.js';
import { RECURRENT } from './recurrent.js';
import { REDUCE } from './reduce.js';
import { SHAPE } from './shape.js';
import type { OperatorTraits } from './traits.js';
import type { StandardOperator } from './versions.js';

export type { OperatorTraits } from './traits.js';
export { LAST_OPSET, type StandardOperator, VERSIONS } from './versions.js';

/** Every operator of the standard, and what is known of it. */
export const OPERATORS: Readonly<Record<StandardOperator, OperatorTraits>> = {
  ...CONV,
  ...ELEMENTWISE,
  ...GENERATE,
  ...INDEXING,
  ...MATMUL,
  ...NORM,
  ...OTHER,
  ...POOL,
  ...QUANTIZE,
  ...RECURRENT,
  ...REDUCE,
  ...SHAPE,
};

const UNKNOWN: OperatorTraits = {};

/** What is known of a node's operator; nothing for those of other domains, whatever their name. */
export function traitsOf({ domain, opType }: Pick<Node, 'domain' | 'opType'>): OperatorTraits {
  const isStandard = (domain === '' || domain === 'ai.onnx') && Object.hasOwn(OPERATORS, opType);
  return isStandard ? OPERATORS[opType as StandardOperator] : UNKNOWN;
}

/** Does a node only give the elements of its first input other axes, another order or another type? */
export function isView(node: Node): boolean {
  return traitsOf(node).relabels === true || node.is('Identity', 'Cast');
}

/** The operators of the standard that have a trait, in alphabetical order. */
export function operatorsWith(trait: keyof OperatorTraits): StandardOperator[] {
  const names = Object.keys(OPERATORS) as StandardOperator[];
  return names.filter((name) => OPERATORS[name][trait] !== undefined).sort();
}

/**
 * A node's axis, counted from the last where negative: the attribute, or what its operator set takes where it is absent.
 *
 * @throws Error for an operator that has no default
 */
export function axisOf(node: Node): number {
  const opset = opsetOf(node.graph);
  const value = traitsOf(node).axis?.findLast(({ since }) => since === 1 || since <= opset)?.value;
  if (value === undefined) throw new Error(`${node.opType} has no default axis`);
  return node.attributes.int('axis', value);
}

/** Where each axis of a Transpose's output stands in its input. */
export function permutationOf(node: Node, rank: number): readonly number[] {
  return node.attributes.ints('perm') ?? Array.from({ length: rank }, (_, axis) => rank - 1 - axis);
}

/** Before it, Add and its like broadcast by attributes. */
const OLDEST = 7;

/** Does a node of an operator of the standard, written in one operator set, mean the same in a newer one? */
export function keepsMeaning(opType: string, from: number, to: number): boolean {
  const versions = traitsOf({ domain: '', opType }).rewritten ?? [];
  return from >= OLDEST && !versions.some((version) => version > from && version <= to);
}
