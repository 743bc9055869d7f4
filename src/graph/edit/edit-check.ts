import { ModelError } from '../errors.js';
import { makeNode } from '../node.js';
import type { GraphProto, NodeProto } from '../proto/schema.js';
import { subgraphsOf, valuesMadeBelow, valuesRead } from '../subgraphs.js';
import type { Graph, GraphEdit, Node, Origin, Use } from '../types.js';
import { indexNear } from './nearby.js';

/** Throws where an edit would break the graph; returns where the inserted nodes go. */
export function checkEdit(graph: Graph, change: GraphEdit): number {
  const {
    removeNodes = [],
    insertNodes = [],
    removeInitializers = [],
    setInitializers = [],
    before,
  } = change;
  const list = graph.proto.node ?? [];
  const removed = new Set<Node>();
  let position = before === undefined ? list.length : positionOf(graph, before);
  if (before === undefined && removeNodes.length > 0) position = -1;
  for (const node of removeNodes) {
    const at = positionOf(graph, node);
    if (removed.has(node)) throw editError(graph, `node '${node.label}' is to be removed twice`);
    removed.add(node);
    if (before === undefined) position = Math.max(position, at + 1);
  }
  if (graph.kind === 'function' && setInitializers.length > 0) {
    throw editError(graph, 'a function has no initializers; insert a Constant node instead');
  }

  const made = new Map<string, number>();
  for (const [index, spec] of insertNodes.entries()) {
    for (const output of spec.outputs) {
      if (output === '') continue;
      if (made.has(output)) throw editError(graph, `two inserted nodes make '${output}'`);
      made.set(output, index);
      const producer = graph.producer(output);
      const taken =
        (producer !== undefined && !removed.has(producer)) ||
        (graph.initializers.has(output) && !removeInitializers.includes(output)) ||
        (graph.isInput(output) && producer === undefined && !graph.initializers.has(output)) ||
        graph.sparseInitializers.has(output) ||
        isNamedAround(graph, output, removed);
      if (taken) {
        throw editError(
          graph,
          `'${output}' exists already; include its producer in removeNodes, or take a name from model.freshName('${output}')`,
        );
      }
    }
  }
  for (const tensor of setInitializers) {
    const producer = graph.producer(tensor.name);
    if (tensor.name === '') throw editError(graph, 'an initializer needs a name');
    if (made.has(tensor.name) || (producer !== undefined && !removed.has(producer))) {
      throw editError(graph, `'${tensor.name}' is made by a node; remove that node or take model.freshName`);
    }
    if (!graph.initializers.has(tensor.name)) {
      if (graph.sparseInitializers.has(tensor.name) || isNamedAround(graph, tensor.name, removed)) {
        throw editError(
          graph,
          `'${tensor.name}' exists already; take a name from model.freshName('${tensor.name}')`,
        );
      }
    }
  }
  const set = new Set(setInitializers.map((tensor) => tensor.name));

  const lost = new Set<string>();
  for (const node of removed) for (const output of node.outputs) if (output !== '') lost.add(output);
  for (const name of removeInitializers) {
    if (!graph.initializers.has(name)) throw editError(graph, `no initializer is named '${name}'`);
    lost.add(name);
  }
  for (const value of lost) {
    if (made.has(value) || set.has(value)) continue;
    const reader = graph.uses(value).find((use) => !isWithin(use.node, removed));
    if (reader !== undefined) {
      throw editError(
        graph,
        `node '${reader.node.label}' still reads '${value}'; call replaceUses('${value}', …) first, or make it again in insertNodes`,
      );
    }
    if (graph.isOutput(value)) {
      throw editError(graph, `'${value}' is an output of the graph; make it again in insertNodes`);
    }
    checkTraining(graph, value);
  }

  for (const [index, spec] of insertNodes.entries()) {
    const hasGraphs =
      Object.values(spec.attributes ?? {}).some((value) => 'graph' in value) ||
      (spec.attributeProtos ?? []).some((attribute) => attribute.g || attribute.graphs?.length);
    if (hasGraphs) checkSubgraphNames(graph, makeNode(spec), (name) => made.has(name) || set.has(name), lost);
    for (const input of hasGraphs ? valuesRead(makeNode(spec)) : spec.inputs) {
      if (input === '' || set.has(input)) continue;
      const at = made.get(input);
      if (at !== undefined) {
        if (at >= index)
          throw editError(
            graph,
            `the inserted node that reads '${input}' stands before the one that makes it`,
          );
        continue;
      }
      const origin = lost.has(input) ? undefined : graph.resolve(input);
      if (origin === undefined)
        throw editError(graph, `an inserted node reads '${input}', which nothing makes`);
      if (isMadeBehind(graph, origin, position)) {
        const maker = origin.kind === 'node' ? origin.node.label : '';
        throw editError(
          graph,
          `an inserted node would stand before '${maker}', whose '${input}' it reads; name a later node in before`,
        );
      }
    }
  }
  // Readers of what is made again must stand behind it.
  for (const value of made.keys()) {
    for (const use of graph.uses(value)) {
      const reader = ownNode(graph, use.node);
      if (!removed.has(reader) && positionOf(graph, reader) < position) {
        throw editError(
          graph,
          `node '${reader.label}' reads '${value}' before the inserted nodes; name it in before`,
        );
      }
    }
  }
  return position;
}

/** True for a value of a node that stands at `position` of the graph or later, or beside or behind its owner. */
function isMadeBehind(graph: Graph, origin: Origin, position: number): boolean {
  if (origin.kind !== 'node') return false;
  if (origin.graph === graph) return positionOf(graph, origin.node) >= position;
  if (graph.owner === undefined) return false;
  return (
    positionOf(origin.graph, origin.node) >= positionOf(origin.graph, ownNode(origin.graph, graph.owner))
  );
}

/** Throws where a new subgraph at `position` reads what is not made by then, or makes what is made already. */
export function checkSubgraphs(graph: Graph, node: NodeProto, position: number): void {
  checkSubgraphNames(graph, node, () => false, new Set());
  for (const value of valuesRead(node)) {
    const origin = graph.resolve(value);
    if (origin === undefined)
      throw editError(graph, `the new subgraph reads '${value}', which nothing makes`);
    if (isMadeBehind(graph, origin, position))
      throw editError(graph, `the new subgraph reads '${value}', which is made behind it`);
  }
}

function checkSubgraphNames(
  graph: Graph,
  node: NodeProto,
  isNew: (name: string) => boolean,
  lost: ReadonlySet<string>,
): void {
  for (const inner of subgraphsOf(node)) {
    for (const name of valuesMadeBelow(inner)) {
      if (isNew(name) || (!lost.has(name) && graph.resolve(name) !== undefined)) {
        throw editError(
          graph,
          `a new subgraph makes '${name}', which exists already; take a name from model.freshName('${name}')`,
        );
      }
    }
  }
}

/** Throws where training_info, whose graphs and bindings name values of the main graph, needs a value. */
export function checkTraining(graph: Graph, value: string): void {
  if (graph !== graph.model.graph) return;
  const infos = graph.model.proto.training_info ?? [];
  const isBound = infos.some((info) =>
    [...(info.initialization_binding ?? []), ...(info.update_binding ?? [])].some(({ key }) => key === value),
  );
  const isRead = (training: Graph): boolean =>
    training.resolve(value) === undefined && training.uses(value).length > 0;
  if (isBound || graph.model.trainingGraphs.some(isRead)) {
    throw editError(
      graph,
      `'${value}' is a name that the model's training_info uses; remove training_info first`,
    );
  }
}

/** Throws unless `value` is made before each of its would-be readers. */
export function checkOrder(graph: Graph, value: string, uses: readonly Use[]): void {
  for (const use of uses) {
    const origin = use.node.graph.resolve(value);
    if (origin === undefined) throw editError(graph, `no value is named '${value}'`);
    if (origin.kind !== 'node') continue;
    const reader = ownNode(origin.graph, use.node);
    if (positionOf(origin.graph, origin.node) >= positionOf(origin.graph, reader)) {
      throw editError(graph, `'${value}' is made behind node '${use.node.label}', which would read it`);
    }
  }
}

/** Throws where a value here, around or below has a name. */
export function checkFree(graph: Graph, name: string): void {
  if (name === '') throw editError(graph, 'a value needs a name');
  if (graph.resolve(name) !== undefined || isNamedBelow(graph, name))
    throw editError(graph, `a value is already named '${name}'; take one from model.freshName('${name}')`);
}

/** Throws where a node, or training_info, reads a value. */
export function checkUnread(graph: Graph, value: string): void {
  const [use] = graph.uses(value);
  if (use !== undefined)
    throw editError(
      graph,
      `node '${use.node.label}' still reads '${value}'; call replaceUses('${value}', …) first`,
    );
  checkTraining(graph, value);
}

/** The message of the main graph; throws for another, whose inputs and outputs a node or its callers bind by their order. */
export function mainProto(graph: Graph, method: string): GraphProto {
  if (graph !== graph.model.graph)
    throw editError(
      graph,
      `${method} is of the main graph; a node or callers bind the inputs and outputs of this one`,
    );
  return graph.proto as GraphProto;
}

/** The node of the graph that is `node`, or holds it in a subgraph. */
function ownNode(graph: Graph, node: Node): Node {
  let own = node;
  while (own.graph !== graph) {
    if (own.graph.owner === undefined) throw editError(graph, `node '${node.label}' is not in this graph`);
    own = own.graph.owner;
  }
  return own;
}

function isWithin(node: Node, set: ReadonlySet<Node>): boolean {
  for (let own: Node | undefined = node; own !== undefined; own = own.graph.owner)
    if (set.has(own)) return true;
  return false;
}

/** True for a name of a value of a graph below, but for those in the nodes `apart`. */
function isNamedBelow(graph: Graph, name: string, apart?: ReadonlySet<Node>): boolean {
  return graph.index.subgraphs.some(
    (inner) =>
      (inner.owner === undefined || !apart?.has(inner.owner)) &&
      (inner.index.has(name) || isNamedBelow(inner, name)),
  );
}

/** True for a name of an outer graph, or of one below that is not in the nodes `apart`. */
function isNamedAround(graph: Graph, name: string, apart: ReadonlySet<Node>): boolean {
  return graph.parent?.resolve(name) !== undefined || isNamedBelow(graph, name, apart);
}

/** Where a node stands in a graph; throws where it does not. */
export function positionOf(graph: Graph, node: Node): number {
  const { proto } = node;
  const position = indexNear(graph.proto.node ?? [], (other) => other === proto);
  if (position < 0 || node.graph !== graph) {
    throw editError(graph, `node '${node.label}' is not in this graph (was it removed before?)`);
  }
  return position;
}

export function editError(graph: Graph, what: string): ModelError {
  return new ModelError(what, { graph: graph.name || (graph.kind === 'function' ? 'function' : 'main') });
}
