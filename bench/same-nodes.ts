import { inlinedFunctions } from '../src/graph/edit/inline-functions.js';
import type { Model } from '../src/graph/index.js';

/** Same nodes: names, operators and what they read and write, in any order; calls of functions count as their nodes. */
export function sameNodes(a: Model, b: Model): boolean {
  const keys = (model: Model): string =>
    [...model.nodes()]
      .map((node) => JSON.stringify([node.name, node.domain, node.opType, node.inputs, node.outputs]))
      .sort()
      .join('\n');
  return (
    keys(a) === keys(b) || (a.functions.length > 0 && keys(inlinedFunctions(a)) === keys(inlinedFunctions(b)))
  );
}
