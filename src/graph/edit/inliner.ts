import { ModelError } from '../errors.js';
import { DEEPEST_FUNCTIONS, functionKey } from '../limits/function-size.js';
import { makeNode, specOf } from '../node.js';
import { keepsMeaning } from '../operators/index.js';
import { createMessage, toNumber } from '../proto/codec.js';
import type { FunctionProto, GraphProto, NodeProto, OperatorSetIdProto } from '../proto/schema.js';
import { subgraphsOf } from '../subgraphs.js';
import type { Model } from '../types.js';
import { type Copying, copyNode, nameOutputs, withGraphs } from './copy-nodes.js';

/** Where a node stood: itself, and the calls that led to it, from the outermost on. */
export interface NodeOrigin {
  readonly calls: readonly NodeProto[];
  readonly node: NodeProto;
}

/** What nodes are put into: the main graph, or a function. */
export interface InlineTarget {
  readonly nodes: readonly NodeProto[];
  readonly imports: readonly OperatorSetIdProto[];
}

export interface InlinerOptions {
  /** A name that nothing has. */
  readonly fresh: (base: string) => string;
  /** Whether a call is to be replaced, by the calls that lead to it and itself; default: every one. */
  readonly chosen?: (calls: readonly NodeProto[]) => boolean;
  /** Calls that cannot be replaced stay; default: an error. */
  readonly isLenient?: boolean;
  /** Whether each call has its own copy of a function's Constant nodes; default: one is for all, as one weight is. */
  readonly copiesConstants?: boolean;
}

/** How deep nodes stand in what is made. */
interface Depth {
  readonly calls: number;
  readonly graphs: number;
}

/** Puts the bodies of functions in place of their calls. */
export class Inliner {
  /** Operator sets of the nodes, after `expand`. */
  readonly imports: OperatorSetIdProto[];
  /** The calls that were replaced in the target itself. */
  readonly replaced: NodeProto[] = [];
  /** The nodes of the target, and of the functions that are in place. */
  readonly #written: NodeProto[];
  readonly #target: InlineTarget;
  readonly #model: Model;
  readonly #functions: ReadonlyMap<string, FunctionProto>;
  readonly #options: InlinerOptions;
  readonly #origins: WeakMap<NodeProto, NodeOrigin>;
  /** What Constant nodes of functions put out, where their copies stand in the target itself and all after them see them. */
  readonly #constants = new Map<NodeProto, string>();

  /** @param origins where the nodes that are made stood; this adds to it */
  constructor(
    model: Model,
    target: InlineTarget,
    options: InlinerOptions,
    origins: WeakMap<NodeProto, NodeOrigin> = new WeakMap(),
  ) {
    this.#model = model;
    this.#functions = functionsOf(model);
    this.#target = target;
    this.#options = options;
    this.#origins = origins;
    this.imports = [...target.imports];
    this.#written = [...target.nodes];
  }

  /** The nodes of the target; those that neither are nor hold replaced calls are the same objects. */
  expand(): NodeProto[] {
    return this.#expand(this.#target.nodes, { calls: 0, graphs: 0 });
  }

  #expand(nodes: readonly NodeProto[], depth: Depth): NodeProto[] {
    return nodes.flatMap((node) => {
      const inside = this.#inside(node, depth);
      const body = this.#functions.get(calledKey(node));
      if (body === undefined) return [inside];
      const { calls: outer, node: call } = this.#originOf(node);
      const calls = [...outer, call];
      if (this.#options.chosen?.(calls) === false) return [inside];
      const problem = this.#problemOf(body, depth.calls);
      if (problem !== undefined) {
        if (this.#options.isLenient) return [inside];
        throw problem(node);
      }
      if (depth.calls === 0) this.replaced.push(node);
      const isSeen = depth.graphs === 0 && this.#options.copiesConstants !== true;
      return this.#expand(this.#called(inside, body, { calls, isSeen }), {
        ...depth,
        calls: depth.calls + 1,
      });
    });
  }

  #originOf(node: NodeProto): NodeOrigin {
    return this.#origins.get(node) ?? { calls: [], node };
  }

  /** A node whose subgraphs have the bodies in place. */
  #inside(node: NodeProto, depth: Depth): NodeProto {
    let isChanged = false;
    const expanded = (graph: GraphProto): GraphProto => {
      const before = graph.node ?? [];
      const after = this.#expand(before, { ...depth, graphs: depth.graphs + 1 });
      if (after.length === before.length && after.every((one, place) => one === before[place])) return graph;
      isChanged = true;
      return createMessage('GraphProto', { ...graph, node: after });
    };
    const attributes = (node.attribute ?? []).map((attribute) =>
      attribute.g || (attribute.graphs ?? []).length > 0 ? withGraphs(attribute, expanded) : attribute,
    );
    if (!isChanged) return node;
    const made = makeNode({ ...specOf(node), attributeProtos: attributes });
    this.#origins.set(made, this.#originOf(node));
    return made;
  }

  #called(
    node: NodeProto,
    body: FunctionProto,
    { calls, isSeen }: { readonly calls: readonly NodeProto[]; readonly isSeen: boolean },
  ): NodeProto[] {
    const label = node.name || body.name || '';
    const names = new Map<string, string>();
    for (const [index, input] of (body.input ?? []).entries()) names.set(input, node.input?.[index] ?? '');
    const passed: NodeProto[] = [];
    for (const [index, output] of (body.output ?? []).entries()) {
      const name = node.output?.[index] ?? '';
      if (name === '') continue;
      // What a function puts out may be what goes in, or go out twice.
      const known = names.get(output);
      if (known !== undefined)
        passed.push(makeNode({ opType: 'Identity', inputs: [known], outputs: [name] }));
      else names.set(output, name);
    }
    const defaults = (body.attribute_proto ?? []).map((one) => [one.name ?? '', one] as const);
    const given = new Map([
      ...defaults,
      ...(node.attribute ?? []).map((one) => [one.name ?? '', one] as const),
    ]);
    const copying: Copying = {
      label,
      fresh: this.#options.fresh,
      made: (copy, original) => this.#origins.set(copy, { calls, node: original }),
      attribute: (attribute) => {
        const reference = attribute.ref_attr_name;
        if (!reference) return attribute;
        const value = given.get(reference);
        return value && createMessage('AttributeProto', { ...value, name: attribute.name ?? '' });
      },
    };
    const results = new Set(body.output ?? []);
    const inner = (body.node ?? []).filter((one) => {
      const output = one.output?.[0] ?? '';
      if (!isConstantNode(one) || results.has(output)) return true;
      const known = this.#constants.get(one);
      if (known !== undefined) names.set(output, known);
      return known === undefined;
    });
    nameOutputs(inner, names, copying);
    if (isSeen) {
      for (const one of inner)
        if (isConstantNode(one)) this.#constants.set(one, names.get(one.output?.[0] ?? '') ?? '');
    }
    return [...inner.map((one) => copyNode(one, names, copying)), ...passed];
  }

  /**
   * Brings the operator sets of the target and of a function together. Where their versions differ it is the newer one
   * that both are in, if every node of the older part means the same there.
   *
   * @returns why that, or putting it in place, cannot be done
   */
  #problemOf(body: FunctionProto, depth: number): ((call: NodeProto) => ModelError) | undefined {
    const name = body.name ?? '';
    if (depth >= DEEPEST_FUNCTIONS) {
      return (call) =>
        new ModelError(`calls the function ${name}, which calls itself`, {
          file: this.#model.path,
          node: call.name || call.op_type || '',
        });
    }
    const imports = [...this.imports];
    for (const entry of body.opset_import ?? []) {
      const domain = standard(entry.domain);
      const place = imports.findIndex((other) => standard(other.domain) === domain);
      const known = imports[place];
      if (known === undefined) {
        imports.push(entry);
        continue;
      }
      const [own, its] = [toNumber(known.version), toNumber(entry.version)];
      if (own === its) continue;
      const older = its < own ? (body.node ?? []) : this.#written;
      const changed =
        domain === '' ? firstChanged(older, Math.min(own, its), Math.max(own, its)) : 'its operators';
      if (changed !== undefined) {
        const set = domain === '' ? 'ai.onnx' : domain;
        return () =>
          new ModelError(
            `its function ${name} is written in version ${its} of ${set}, the model in ${own}, and ${changed} may not mean the same in both, so it cannot be put in place; convert the model to one version`,
            { file: this.#model.path },
          );
      }
      if (its > own) imports[place] = entry;
    }
    this.imports.splice(0, this.imports.length, ...imports);
    this.#written.push(...(body.node ?? []));
    return undefined;
  }
}

/** The functions of a model, by what calls name. */
export function functionsOf(model: Model): ReadonlyMap<string, FunctionProto> {
  return new Map((model.proto.functions ?? []).map((body) => [functionKey(body), body]));
}

/** What a node calls, if it is a call: a key of `functionsOf`. */
export function calledKey({ domain, op_type: name, overload }: NodeProto): string {
  return functionKey({ domain, name, overload } as FunctionProto);
}

/** A Constant that is the same for every call. */
function isConstantNode({ op_type: type, domain, attribute = [] }: NodeProto): boolean {
  return type === 'Constant' && standard(domain) === '' && !attribute.some(({ ref_attr_name: name }) => name);
}

function standard(domain = ''): string {
  return domain === 'ai.onnx' ? '' : domain;
}

/** The first operator of some nodes, or of their subgraphs, that a newer version writes otherwise. */
function firstChanged(nodes: readonly NodeProto[], from: number, to: number): string | undefined {
  for (const node of nodes) {
    const type = node.op_type ?? '';
    if (standard(node.domain) === '' && !keepsMeaning(type, from, to)) return type;
    for (const graph of subgraphsOf(node)) {
      const inner = firstChanged(graph.node ?? [], from, to);
      if (inner !== undefined) return inner;
    }
  }
  return undefined;
}
