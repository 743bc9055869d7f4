import type { KnownConstants, Node } from '../../graph/index.js';
import { relabellingOf } from '../../graph/shapes/relabelling.js';
import { type Refusal, refuse } from '../refusal.js';
import type { RelabelOperator } from '../rule.js';

/** Flatten, Reshape, Squeeze, Transpose, Unsqueeze: other axes for the same elements. */
export function relabel(node: Node, constants: KnownConstants): RelabelOperator | Refusal {
  const relabelling = relabellingOf(node, constants);
  return relabelling === undefined
    ? refuse('operand', `the shape that '${node.label}' (${node.opType}) makes is computed`)
    : { node, data: [node.inputs[0] ?? ''], constants: [], relabelling };
}
