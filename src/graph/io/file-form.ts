import { createMessage } from '../proto/codec.js';
import type { FunctionProto, GraphProto, ModelProto, NodeProto } from '../proto/schema.js';
import { subgraphsOf, valuesRead } from '../subgraphs.js';

/**
 * What a model in memory has otherwise than its file. onnxruntime takes nodes in any order and knows the domains of its own
 * operators without an import; here nodes stand in topological order. A model that nothing changed is written as it was
 * read, and any other one in order and with its imports.
 */

type Body = GraphProto | FunctionProto;

/** Node lists of files, of graphs that have another one in memory. */
const fileOrders = new WeakMap<Body, readonly NodeProto[]>();
const read = new WeakSet<ModelProto>();

/** The node list that a graph has in its file, where that is in no topological order. */
export function fileOrderOf(body: Body): readonly NodeProto[] | undefined {
  return fileOrders.get(body);
}

/** Puts the nodes of every graph of a model that was just read in topological order, where they have one. */
export function takeFileForm(model: ModelProto): void {
  read.add(model);
  if (model.graph !== undefined) sortBody(model.graph);
  for (const body of model.functions ?? []) sortBody(body);
  for (const { initialization, algorithm } of model.training_info ?? []) {
    if (initialization !== undefined) sortBody(initialization);
    if (algorithm !== undefined) sortBody(algorithm);
  }
}

function sortBody(body: Body): void {
  const nodes = body.node ?? [];
  for (const node of nodes) for (const graph of subgraphsOf(node)) sortBody(graph);
  const sorted = inOrder(nodes);
  if (sorted === undefined) return;
  fileOrders.set(body, nodes);
  body.node = sorted;
}

/**
 * Nodes in topological order, each as early as its place in the list allows: before a node come those whose values it
 * reads.
 *
 * @returns undefined for a list that is in order already, or that has a cycle
 */
export function inOrder(nodes: readonly NodeProto[]): NodeProto[] | undefined {
  const makers = new Map<string, number>();
  for (const [position, node] of nodes.entries()) {
    for (const output of node.output ?? []) if (!makers.has(output)) makers.set(output, position);
  }
  const makersOf = (position: number): number[] => {
    const found: number[] = [];
    for (const value of valuesRead(nodes[position] ?? {})) {
      const maker = makers.get(value);
      if (maker !== undefined) found.push(maker);
    }
    return found;
  };
  if (nodes.every((_, position) => makersOf(position).every((maker) => maker < position))) return undefined;
  const sorted: NodeProto[] = [];
  const isOpen = new Set<number>();
  const isDone = new Set<number>();
  for (const root of nodes.keys()) {
    const path = [root];
    for (let at = path.at(-1); at !== undefined; at = path.at(-1)) {
      const waiting = isDone.has(at) ? [] : makersOf(at).filter((maker) => !isDone.has(maker));
      if (waiting.length > 0) {
        if (isOpen.has(at) || waiting.includes(at)) return undefined;
        isOpen.add(at);
        for (const maker of waiting.reverse()) path.push(maker);
        continue;
      }
      path.pop();
      if (isDone.has(at)) continue;
      isDone.add(at);
      sorted.push(nodes[at] ?? {});
    }
  }
  return sorted;
}

/** Lets a copy of a message know what its original knows of its file. */
export function copyFileForm(from: object, to: object): void {
  if (read.has(from)) read.add(to);
  const order = fileOrders.get(from);
  if (order === undefined) return;
  const [originals, copies] = [from, to].map((body) => (body as Body).node ?? []);
  const copyOf = new Map(originals?.map((node, index) => [node, copies?.[index]]));
  const copied = order.map((node) => copyOf.get(node)).filter((node) => node !== undefined);
  // Of a graph that was edited the list is of no use any more.
  if (copied.length === order.length) fileOrders.set(to as Body, copied);
}

/** Domains whose operators onnxruntime knows without an import, and the version that one is to have. */
const RUNTIME_DOMAINS: ReadonlyMap<string, number> = new Map([
  ['com.microsoft', 1],
  ['com.microsoft.experimental', 1],
  ['com.microsoft.nchwc', 1],
  ['org.pytorch.aten', 1],
  ['ai.onnx.ml', 5],
  ['ai.onnx.preview', 1],
  ['ai.onnx.preview.training', 1],
]);

/** Does onnxruntime know the operators of a domain that a model does not import? */
export function isRuntimeDomain(domain: string): boolean {
  return RUNTIME_DOMAINS.has(domain);
}

/**
 * Gives a model, for the moment of writing it, the form that its file is to have.
 *
 * @returns what takes that back
 */
export function putFileForm(model: ModelProto, isChanged: boolean): () => void {
  if (!isChanged && read.has(model)) {
    const undo: (() => void)[] = [];
    for (const body of bodies(model)) {
      const order = fileOrders.get(body);
      if (order === undefined) continue;
      const sorted = body.node ?? [];
      undo.push(() => {
        body.node = sorted;
      });
      body.node = [...order];
    }
    return () => {
      for (const back of undo) back();
    };
  }
  const imports = model.opset_import ?? [];
  const missing = missingDomains(model);
  if (missing.length === 0) return () => undefined;
  model.opset_import = [
    ...imports,
    ...missing.map((domain) =>
      createMessage('OperatorSetIdProto', { domain, version: RUNTIME_DOMAINS.get(domain) ?? 1 }),
    ),
  ];
  return () => {
    model.opset_import = imports;
  };
}

/** The domains of onnxruntime whose operators the main graph calls without an import; functions have imports of their own. */
function missingDomains(model: ModelProto): string[] {
  const imported = new Set((model.opset_import ?? []).map(({ domain }) => domain ?? ''));
  // Models before version 3 import nothing at all.
  if (imported.size === 0 || model.graph === undefined) return [];
  const used = new Set<string>();
  for (const body of graphsBelow(model.graph)) {
    for (const { domain = '' } of body.node ?? []) used.add(domain);
  }
  return [...used].filter((domain) => RUNTIME_DOMAINS.has(domain) && !imported.has(domain));
}

function* bodies(model: ModelProto): Generator<Body> {
  if (model.graph !== undefined) yield* graphsBelow(model.graph);
  for (const body of model.functions ?? []) yield* graphsBelow(body);
  for (const { initialization, algorithm } of model.training_info ?? []) {
    if (initialization !== undefined) yield* graphsBelow(initialization);
    if (algorithm !== undefined) yield* graphsBelow(algorithm);
  }
}

function* graphsBelow(body: Body): Generator<Body> {
  yield body;
  for (const node of body.node ?? []) for (const graph of subgraphsOf(node)) yield* graphsBelow(graph);
}
