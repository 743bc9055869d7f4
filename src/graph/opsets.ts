import type { FunctionProto, OperatorSetIdProto } from './proto/schema.js';
import type { Graph } from './types.js';

/** The main graph or function that a graph is, or is in. */
export function bodyOf(graph: Graph): Graph {
  let body = graph;
  while (body.parent !== undefined) body = body.parent;
  return body;
}

/** Operator sets that hold in a graph: a function has its own. */
export function opsetsOf(graph: Graph): readonly OperatorSetIdProto[] {
  const body = bodyOf(graph);
  const owner = body.kind === 'function' ? (body.proto as FunctionProto) : graph.model.proto;
  return owner.opset_import ?? [];
}

/** Version of the standard operator set that holds in a graph. */
export function opsetOf(graph: Graph): number {
  const entry = opsetsOf(graph).find(({ domain = '' }) => domain === '' || domain === 'ai.onnx');
  return Number(entry?.version ?? 0);
}
