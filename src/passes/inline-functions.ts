import { Model, ModelError, makeNode, type NodeProto, specOf, Tensor } from '../graph/index.js';
import { createMessage, toNumber } from '../graph/proto/codec.js';
import type {
  AttributeProto,
  FunctionProto,
  GraphProto,
  OperatorSetIdProto,
  ValueInfoProto,
} from '../graph/proto/schema.js';

/** Functions call functions, but not themselves: deeper than this they must. */
const DEEPEST = 64;

/**
 * The model with the bodies of its own functions in place of every call, in subgraphs and in other functions too. The
 * model itself where it calls none. Inputs, outputs, initializers and their names stay.
 *
 * @throws ModelError for a function of another version of an operator set than the model's, and for one that calls itself
 * @example
 * const plain = inlinedFunctions(await readModel('model.onnx')); // plain.functions.length === 0
 */
export function inlinedFunctions(model: Model): Model {
  const functions = new Map((model.proto.functions ?? []).map((body) => [keyOf(body), body]));
  if (functions.size === 0) return model;
  const inliner = new Inliner(model, functions);
  const graph = model.graph.proto as GraphProto;
  const nodes = inliner.expand(graph.node ?? [], 0);
  const own = new Set([...functions.values()].map(({ domain = '' }) => domain));
  const used = new Set(nodes.map(({ domain = '' }) => domain));
  return new Model(
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

type Names = ReadonlyMap<string, string>;
type Given = ReadonlyMap<string, AttributeProto>;

class Inliner {
  readonly imports: OperatorSetIdProto[];
  readonly #model: Model;
  readonly #functions: ReadonlyMap<string, FunctionProto>;

  constructor(model: Model, functions: ReadonlyMap<string, FunctionProto>) {
    this.#model = model;
    this.#functions = functions;
    this.imports = [...(model.proto.opset_import ?? [])];
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
    this.#define(body.node ?? [], names, label);
    return [...(body.node ?? []).map((inner) => this.#copy(inner, names, given, label)), ...passed];
  }

  #define(nodes: readonly NodeProto[], names: Map<string, string>, label: string): void {
    for (const output of nodes.flatMap((node) => node.output ?? []))
      if (output !== '' && !names.has(output)) names.set(output, this.#model.freshName(`${label}/${output}`));
  }

  #copy(node: NodeProto, names: Names, given: Given, label: string): NodeProto {
    const renamed = (name: string): string => names.get(name) ?? name;
    const attributes = (node.attribute ?? []).flatMap((attribute): AttributeProto[] => {
      const reference = attribute.ref_attr_name;
      if (!reference) return [withGraphs(attribute, (graph) => this.#copyGraph(graph, names, given, label))];
      const value = given.get(reference);
      return value === undefined
        ? []
        : [createMessage('AttributeProto', { ...value, name: attribute.name ?? '' })];
    });
    return makeNode({
      ...specOf(node),
      attributeProtos: attributes,
      name: this.#model.freshName(`${label}/${node.name || node.op_type || ''}`),
      inputs: (node.input ?? []).map(renamed),
      outputs: (node.output ?? []).map(renamed),
    });
  }

  #copyGraph(graph: GraphProto, outer: Names, given: Given, label: string): GraphProto {
    const names = new Map(outer);
    const own = [...(graph.input ?? []), ...(graph.initializer ?? [])].map(({ name = '' }) => name);
    for (const name of own) names.set(name, this.#model.freshName(`${label}/${name}`));
    for (const node of graph.node ?? []) for (const output of node.output ?? []) names.delete(output);
    this.#define(graph.node ?? [], names, label);
    const nameOf = (name = ''): string => names.get(name) ?? name;
    const renamed = (value: ValueInfoProto): ValueInfoProto =>
      createMessage('ValueInfoProto', { ...value, name: nameOf(value.name) });
    return createMessage('GraphProto', {
      ...graph,
      node: (graph.node ?? []).map((node) => this.#copy(node, names, given, label)),
      input: (graph.input ?? []).map(renamed),
      output: (graph.output ?? []).map(renamed),
      initializer: (graph.initializer ?? []).map(
        (tensor) => new Tensor(tensor).renamed(nameOf(tensor.name)).proto,
      ),
      value_info: [],
    });
  }

  #checkImports(body: FunctionProto): void {
    for (const entry of body.opset_import ?? []) {
      const domain = (entry.domain ?? '').replace(/^ai\.onnx$/, '');
      const known = this.imports.find((other) => (other.domain ?? '').replace(/^ai\.onnx$/, '') === domain);
      if (known === undefined) this.imports.push(entry);
      else if (toNumber(known.version) !== toNumber(entry.version)) {
        throw new ModelError(
          `its function ${body.name ?? ''} is written in version ${toNumber(entry.version)} of '${domain}', the model in ${toNumber(known.version)}, so it can not be put in place`,
          { file: this.#model.path },
        );
      }
    }
  }
}

function withGraphs(attribute: AttributeProto, change: (graph: GraphProto) => GraphProto): AttributeProto {
  if (!attribute.g && (attribute.graphs ?? []).length === 0) return attribute;
  return createMessage('AttributeProto', {
    ...attribute,
    ...(attribute.g && { g: change(attribute.g) }),
    ...((attribute.graphs ?? []).length > 0 && { graphs: (attribute.graphs ?? []).map(change) }),
  });
}
