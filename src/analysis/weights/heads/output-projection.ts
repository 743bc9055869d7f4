import type { Node } from '../../../graph/index.js';
import { nodeOutputAxis } from '../output-axis.js';
import type { StoredUse } from '../types.js';
import type { WeightMatrix } from '../weights.js';
import type { Projection } from './attention-layer.js';

/** Nodes between a projection and its attention; more would be something else. */
export const MOST_STEPS = 12;

/** A projection, and which of its outputs or inputs are meant. */
export interface Found {
  readonly weight: WeightMatrix<StoredUse>;
  /** The axis of its outputs, and of its inputs. */
  readonly axis: 'rows' | 'columns';
  readonly size: number;
  /** The first of its outputs that belongs to the value, behind a Split. */
  readonly start: number;
  readonly rotates: boolean;
}

/** The linear node that alone reads the output. */
export function projectionBehind(
  { graph, outputs }: Node,
  byNode: ReadonlyMap<unknown, readonly WeightMatrix<StoredUse>[]>,
): Found | undefined {
  let value = outputs[0] ?? '';
  for (let step = 0; step < MOST_STEPS; step += 1) {
    const [use, ...more] = graph.uses(value);
    if (use === undefined || more.length > 0) return undefined;
    const [weight] = byNode.get(use.node) ?? [];
    if (weight !== undefined) {
      const axis = nodeOutputAxis(use.node) === 'rows' ? 'columns' : 'rows';
      return { weight, axis, size: weight[axis], start: 0, rotates: false };
    }
    if (!['Reshape', 'Transpose', 'Cast', 'Identity', 'Squeeze'].includes(use.node.opType)) return undefined;
    value = use.node.outputs[0] ?? '';
  }
  return undefined;
}

/** The projection of what `size` inputs give, `each` a head. */
export function outputOf(found: Found | undefined, size: number, each: number): Projection | undefined {
  if (found === undefined || found.size !== size) return undefined;
  return { weight: found.weight, axis: found.axis, start: (head) => head * each };
}
