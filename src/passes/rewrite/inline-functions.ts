import {
  assertFunctionsFit,
  createModel,
  keepsMeaning,
  type Model,
  ModelError,
  makeNode,
  type NodeProto,
  specOf,
  subgraphsOf,
} from '../../graph/index.js';
import { createMessage, toNumber } from '../../graph/proto/codec.js';
import type { FunctionProto, GraphProto, OperatorSetIdProto } from '../../graph/proto/schema.js';
import { type Copying, copyNode, nameOutputs, withGraphs } from './copy-nodes.js';

/** Functions call functions, but not themselves: deeper than this they must. */
const DEEPEST = 64;

/**
 * The model with the bodies of its own functions in place of every call, in subgraphs and in other functions too. The
 * model itself where it calls none. Inputs, outputs, initializers and their names stay.
 *
 * @throws ModelError for a function of another version of an operator set than the model's whose operators changed in between,
 *   and for one that calls itself
 * @example
 * const plain = inlinedFunctions(await readModel('model.onnx')); // plain.functions.length === 0
 */
export function inlinedFunctions(model: Model): Model {
  const functions = new Map((model.proto.functions ?? []).map((body) => [keyOf(body), body]));
  if (functions.size === 0) return model;
  assertFunctionsFit(model);
  const inliner = new Inliner(model, functions);
  const graph = model.graph.proto as GraphProto;
  const nodes = inliner.expand(graph.node ?? [], 0);
  const own = new Set([...functions.values()].map(({ domain = '' }) => domain));
  const used = new Set(nodes.map(({ domain = '' }) => domain));
  return createModel(
    createMessage('ModelProto', {
      ...model.proto,
      functions: [],
      opset_import: inliner.imports.filter(({ domain = '' }) => !own.has(domain) || used.has(domain)),
      graph: createMessage('GraphProto', { ...graph, node: nodes }),
    }),
  );
}

function keyOf({ domain = '', name = '', overload = '' }: FunctionProto): string {
  return `${domain}\n${name}\n${overload}`;
}

class Inliner {
  readonly imports: OperatorSetIdProto[];
  /** The nodes of the model, and of the functions that are in place. */
  readonly #written: NodeProto[];
  readonly #model: Model;
  readonly #functions: ReadonlyMap<string, FunctionProto>;

  constructor(model: Model, functions: ReadonlyMap<string, FunctionProto>) {
    this.#model = model;
    this.#functions = functions;
    this.imports = [...(model.proto.opset_import ?? [])];
    this.#written = [...((model.graph.proto as GraphProto).node ?? [])];
  }

  expand(nodes: readonly NodeProto[], depth: number): NodeProto[] {
    return nodes.flatMap((node) => {
      const inside = this.#inside(node, depth);
      const body = this.#functions.get(`${node.domain ?? ''}\n${node.op_type ?? ''}\n${node.overload ?? ''}`);
      if (body === undefined) return [inside];
      if (depth >= DEEPEST) {
        throw new ModelError(`calls the function ${body.name ?? ''}, which calls itself`, {
          file: this.#model.path,
          node: node.name || node.op_type || '',
        });
      }
      this.#checkImports(body);
      return this.expand(this.#called(inside, body), depth + 1);
    });
  }

  /** A node whose subgraphs call no functions. */
  #inside(node: NodeProto, depth: number): NodeProto {
    if (!(node.attribute ?? []).some(({ g, graphs }) => g || (graphs ?? []).length > 0)) return node;
    const expanded = (graph: GraphProto): GraphProto =>
      createMessage('GraphProto', { ...graph, node: this.expand(graph.node ?? [], depth) });
    const attributes = (node.attribute ?? []).map((attribute) => withGraphs(attribute, expanded));
    return makeNode({ ...specOf(node), attributeProtos: attributes });
  }

  #called(node: NodeProto, body: FunctionProto): NodeProto[] {
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
      fresh: (name) => this.#model.freshName(name),
      attribute: (attribute) => {
        const reference = attribute.ref_attr_name;
        if (!reference) return attribute;
        const value = given.get(reference);
        return value && createMessage('AttributeProto', { ...value, name: attribute.name ?? '' });
      },
    };
    nameOutputs(body.node ?? [], names, copying);
    return [...(body.node ?? []).map((inner) => copyNode(inner, names, copying)), ...passed];
  }

  /**
   * Brings the operator sets of the model and of a function together. Where their versions differ it is the newer one
   * that both are in, if every node of the older part means the same there.
   */
  #checkImports(body: FunctionProto): void {
    for (const entry of body.opset_import ?? []) {
      const domain = standard(entry.domain);
      const place = this.imports.findIndex((other) => standard(other.domain) === domain);
      const known = this.imports[place];
      if (known === undefined) {
        this.imports.push(entry);
        continue;
      }
      const [own, its] = [toNumber(known.version), toNumber(entry.version)];
      if (own === its) continue;
      const older = its < own ? (body.node ?? []) : this.#written;
      const changed =
        domain === '' ? firstChanged(older, Math.min(own, its), Math.max(own, its)) : 'its operators';
      if (changed !== undefined) {
        const name = domain === '' ? 'ai.onnx' : domain;
        throw new ModelError(
          `its function ${body.name ?? ''} is written in version ${its} of ${name}, the model in ${own}, and ${changed} may not mean the same in both, so it cannot be put in place; convert the model to one version`,
          { file: this.#model.path },
        );
      }
      if (its > own) this.imports[place] = entry;
    }
    this.#written.push(...(body.node ?? []));
  }
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
