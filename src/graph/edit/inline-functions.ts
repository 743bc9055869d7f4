import { ConstantSearch, isConstant } from '../constants/constants.js';
import { assertFunctionsFit, functionKey } from '../limits/function-size.js';
import { createModel } from '../model.js';
import { createMessage } from '../proto/codec.js';
import type { FunctionProto, GraphProto, NodeProto, OperatorSetIdProto } from '../proto/schema.js';
import { subgraphsOf } from '../subgraphs.js';
import type { Model, Node } from '../types.js';
import { imaginedNames } from './imagined-names.js';
import { calledKey, functionsOf, Inliner, type NodeOrigin } from './inliner.js';

/**
 * The model with the bodies of its own functions in place of every call, in subgraphs and in other functions too. The
 * model itself where it calls none. Inputs, outputs, initializers and their names stay.
 *
 * @throws ModelError for a function of another version of an operator set than the model's whose operators changed in between,
 *   for one that calls itself, and for functions that stand for more nodes than fit the memory limit
 * @example
 * const plain = inlinedFunctions(await readModel('model.onnx')); // plain.functions.length === 0
 */
export function inlinedFunctions(model: Model): Model {
  return inlinedExcept(model, () => false);
}

/** The same but for some calls; where one of them stays, all functions do. */
export function inlinedExcept(model: Model, stays: (call: NodeProto) => boolean): Model {
  const functions = functionsOf(model);
  if (functions.size === 0) return model;
  assertFunctionsFit(model);
  const graph = model.graph.proto as GraphProto;
  const target = { nodes: graph.node ?? [], imports: model.proto.opset_import ?? [] };
  let staying = false;
  const chosen = (calls: readonly NodeProto[]): boolean => {
    const call = calls.at(-1);
    const isStaying = call !== undefined && stays(call);
    staying ||= isStaying;
    return !isStaying;
  };
  const inliner = new Inliner(model, target, { fresh: imaginedNames(model), chosen });
  const nodes = inliner.expand();
  return createModel(
    createMessage('ModelProto', {
      ...model.proto,
      functions: staying ? (model.proto.functions ?? []) : [],
      opset_import: staying ? inliner.imports : importsOf(inliner.imports, nodes, functions),
      graph: createMessage('GraphProto', { ...graph, node: nodes }),
    }),
  );
}

/** Without those of the model's own functions that nothing calls any more. */
function importsOf(
  imports: readonly OperatorSetIdProto[],
  nodes: readonly NodeProto[],
  functions: ReadonlyMap<string, FunctionProto>,
): OperatorSetIdProto[] {
  const own = new Set([...functions.values()].map(({ domain = '' }) => domain));
  const used = new Set([...allNodes(nodes)].map(({ domain = '' }) => domain));
  return imports.filter(({ domain = '' }) => !own.has(domain) || used.has(domain));
}

function* allNodes(nodes: readonly NodeProto[]): Generator<NodeProto> {
  for (const node of nodes) {
    yield node;
    for (const graph of subgraphsOf(node)) yield* allNodes(graph.node ?? []);
  }
}

/** Nodes that belong together: a layer, or a region. */
export type NodeGroup = readonly Node[];

/**
 * Puts the bodies of the model's own functions in place of those calls behind which `find` sees more than in the functions by
 * themselves: weights that are passed as arguments, values of attributes, what stands on both sides of a call. All other calls
 * stay, and so do functions that are still called. Inputs, outputs, initializers and their names stay; nodes are named by the
 * calls that led to them, 'block/fc/MatMul'.
 *
 * @param find what is looked for, in a model that has no more calls; each node of a group with the constants that it reads
 * @returns the names of the calls that were replaced
 * @throws ModelError for functions that call themselves, and that stand for more nodes than fit the memory limit
 * @example
 * const calls = inlineCalls(model, (plain) => findLinearSites(plain).sites.map(({ node }) => [node]));
 */
export function inlineCalls(model: Model, find: (plain: Model) => Iterable<NodeGroup>): string[] {
  const functions = functionsOf(model);
  if (functions.size === 0) return [];
  assertFunctionsFit(model);
  const chosen = new CallPaths();
  const origins = new WeakMap<NodeProto, NodeOrigin>();
  const plain = inlinedEverywhere(model, functions, origins);
  const constants = new ConstantSearch();
  chosen.add([...find(plain)].map((group) => originsOf(group, origins, constants)));
  return chosen.isEmpty ? [] : replaceCalls(model, functions, (calls) => chosen.has(calls));
}

/** A model with all functions in place, in the functions as well. It is only to be looked at. */
function inlinedEverywhere(
  model: Model,
  functions: ReadonlyMap<string, FunctionProto>,
  origins: WeakMap<NodeProto, NodeOrigin>,
): Model {
  const fresh = imaginedNames(model);
  const inlined = (body: GraphProto | FunctionProto, imports: readonly OperatorSetIdProto[]) => {
    const target = { nodes: body.node ?? [], imports };
    const inliner = new Inliner(model, target, { fresh, isLenient: true, copiesConstants: true }, origins);
    return { node: inliner.expand(), opset_import: inliner.imports };
  };
  const graph = model.graph.proto as GraphProto;
  const { node, opset_import } = inlined(graph, model.proto.opset_import ?? []);
  // One that nothing calls may be of any size.
  const called = calledFunctions(model, functions);
  return createModel(
    createMessage('ModelProto', {
      ...model.proto,
      opset_import,
      graph: createMessage('GraphProto', { ...graph, node }),
      functions: [...functions.values()].map((body) =>
        called.has(functionKey(body))
          ? createMessage('FunctionProto', { ...body, ...inlined(body, body.opset_import ?? []) })
          : body,
      ),
    }),
  );
}

/** The functions that a model calls, if through others. */
function calledFunctions(model: Model, functions: ReadonlyMap<string, FunctionProto>): Set<string> {
  const called = new Set<string>();
  const graphs = [model.graph, ...model.trainingGraphs];
  const stack = graphs.map(({ proto }) => proto.node ?? []);
  for (let nodes = stack.pop(); nodes !== undefined; nodes = stack.pop()) {
    for (const node of allNodes(nodes)) {
      const key = calledKey(node);
      const body = functions.get(key);
      if (body === undefined || called.has(key)) continue;
      called.add(key);
      stack.push(body.node ?? []);
    }
  }
  return called;
}

/** Where the nodes of a group stood, and those that make the constants that they read. */
function originsOf(
  group: NodeGroup,
  origins: WeakMap<NodeProto, NodeOrigin>,
  constants: ConstantSearch,
): readonly NodeOrigin[] {
  const nodes = new Set(group);
  for (const node of group) {
    for (const input of node.inputs) {
      const found = input === '' ? undefined : constants.find(node.graph, input);
      if (found !== undefined && isConstant(found)) for (const maker of found.path) nodes.add(maker);
    }
  }
  return [...nodes].map(({ proto }) => origins.get(proto) ?? { calls: [], node: proto });
}

/** Calls that are to be replaced: each with those that lead to it, from the graph or function on in which they all are needed. */
class CallPaths {
  readonly #ids = new WeakMap<NodeProto, number>();
  readonly #paths = new Set<string>();
  #count = 0;

  get isEmpty(): boolean {
    return this.#paths.size === 0;
  }

  has(calls: readonly NodeProto[]): boolean {
    return calls.some((_, start) => this.#paths.has(this.#key(calls.slice(start))));
  }

  /** Takes what is needed to see some groups of nodes that functions by themselves do not show. */
  add(groups: readonly (readonly NodeOrigin[])[]): void {
    const seen = new Set(groups.map((group) => this.#groupKey(group, 0)));
    for (const group of groups) {
      const shared = sharedCalls(group);
      const isSeenInside = Array.from({ length: shared }, (_, start) =>
        this.#groupKey(group, start + 1),
      ).some((key) => seen.has(key));
      if (isSeenInside) continue;
      for (const { calls } of group) {
        for (let end = 1; end <= calls.length; end += 1) this.#paths.add(this.#key(calls.slice(0, end)));
      }
    }
  }

  /** @param start how many of the outermost calls are left out */
  #groupKey(group: readonly NodeOrigin[], start: number): string {
    return group
      .map(({ calls, node }) => this.#key([...calls.slice(start), node]))
      .sort()
      .join(' ');
  }

  #key(nodes: readonly NodeProto[]): string {
    return nodes.map((node) => this.#idOf(node)).join('/');
  }

  #idOf(node: NodeProto): number {
    let id = this.#ids.get(node);
    if (id === undefined) {
      this.#count += 1;
      id = this.#count;
      this.#ids.set(node, id);
    }
    return id;
  }
}

/** How many calls, from the outermost on, all nodes of a group have in common. */
function sharedCalls([first, ...others]: readonly NodeOrigin[]): number {
  const calls = first?.calls ?? [];
  const end = calls.findIndex((call, place) => others.some((other) => other.calls[place] !== call));
  return end < 0 ? calls.length : end;
}

function replaceCalls(
  model: Model,
  functions: ReadonlyMap<string, FunctionProto>,
  chosen: (calls: readonly NodeProto[]) => boolean,
): string[] {
  const before = calledFunctions(model, functions);
  const options = { fresh: (base: string) => model.freshName(base), chosen, isLenient: true };
  const replaced: string[] = [];
  const main = model.proto;
  for (const graph of [model.graph, ...model.functions]) {
    const { proto, kind } = graph;
    // A function has its own operator sets.
    const imports = kind === 'function' ? (proto as FunctionProto) : main;
    const target = { nodes: proto.node ?? [], imports: imports.opset_import ?? [] };
    const inliner = new Inliner(model, target, options);
    const nodes = inliner.expand();
    if (inliner.replaced.length === 0) continue;
    replaced.push(...inliner.replaced.map((call) => call.name || call.op_type || ''));
    proto.node = nodes;
    graph.touch();
    imports.opset_import = importsOf(inliner.imports, nodes, functions);
  }
  const after = calledFunctions(model, functions);
  const isGone = (body: FunctionProto): boolean => {
    const key = functionKey(body);
    return before.has(key) && !after.has(key);
  };
  if (main.functions?.some(isGone)) main.functions = main.functions.filter((body) => !isGone(body));
  return replaced;
}
