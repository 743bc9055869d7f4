import { ModelError } from '../errors.js';
import type { FunctionProto, NodeProto } from '../proto/schema.js';
import { subgraphsOf } from '../subgraphs.js';
import type { Model } from '../types.js';
import { assertFits } from './memory-limit.js';

/** What a node takes in a runtime, about. */
const NODE_BYTES = 2048;
/** Functions call functions, but not themselves: deeper than this they must. */
export const DEEPEST_FUNCTIONS = 64;

export function functionKey({ domain = '', name = '', overload = '' }: FunctionProto): string {
  return `${domain}\n${name}\n${overload}`;
}

/**
 * Throws where the functions of a model, each in place of its calls, are more nodes than fit the memory limit: twenty
 * functions that each call the next one twice are a million.
 *
 * @throws ModelError also for functions that call themselves
 */
export function assertFunctionsFit(model: Model): void {
  const functions = new Map((model.proto.functions ?? []).map((body) => [functionKey(body), body]));
  if (functions.size === 0) return;
  const sizes = new Map<FunctionProto, number>();
  const sizeOf = (nodes: readonly NodeProto[], depth: number): number => {
    let sum = nodes.length;
    for (const node of nodes) {
      for (const graph of subgraphsOf(node)) sum += sizeOf(graph.node ?? [], depth);
      const { domain, op_type: name, overload } = node;
      const body = functions.get(functionKey({ domain, name, overload } as FunctionProto));
      if (body === undefined) continue;
      if (depth >= DEEPEST_FUNCTIONS) {
        const why = `its functions call each other ${DEEPEST_FUNCTIONS} deep, as where one calls itself`;
        throw new ModelError(why, { file: model.path, node: node.name });
      }
      const size = sizes.get(body) ?? sizeOf(body.node ?? [], depth + 1);
      sizes.set(body, size);
      sum += size;
    }
    return sum;
  };
  const count = sizeOf(model.proto.graph?.node ?? [], 0);
  assertFits(count * NODE_BYTES, `the ${count.toLocaleString('en')} nodes that its functions stand for`, {
    file: model.path,
  });
}
