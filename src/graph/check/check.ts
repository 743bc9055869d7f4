import { ModelError, type Where } from '../errors.js';
import { fileOrderOf, isRuntimeDomain } from '../io/file-form.js';
import { toBigInt } from '../proto/codec.js';
import type {
  AttributeProto,
  FunctionProto,
  GraphProto,
  NodeProto,
  OperatorSetIdProto,
  TensorProto,
} from '../proto/schema.js';
import type { Model } from '../types.js';
import { checkAttribute } from './check-attribute.js';
import { checkSparse, checkTensor } from './check-tensor.js';
import { cyclesOf } from './cycles.js';

/** Something in a model that breaks a rule of ONNX ('error'), or that runtimes tolerate ('warning'). */
export interface Problem {
  readonly severity: 'error' | 'warning';
  readonly where: Where;
  /** What is wrong, in one line. */
  readonly message: string;
  /** What to do about it, in one line. */
  readonly hint: string;
}

/** IR versions that this ONNX knows. */
const NEWEST_IR = 13n;
/** Up to this IR version every initializer is listed among the graph's inputs. */
const LAST_IR_WITH_LISTED_INITIALIZERS = 3n;

/**
 * Every broken invariant of a model: names that resolve, single assignment, topological order, types of
 * attributes, imported domains, tensors whose data fills their shape. Reads no weights. Empty for a sound model.
 *
 * @example
 * for (const { severity, message, hint } of check(model)) console.error(`${severity}: ${message}; ${hint}`);
 */
export function check(model: Model): Problem[] {
  return new Checker(model).run();
}

/**
 * Checks a model as `check` does. Warnings pass.
 *
 * @throws ModelError with the first error that `check` finds and the count of the others
 * @example
 * model.graph.renameInput('x', 'features');
 * assertValid(model);
 */
export function assertValid(model: Model): void {
  const [first, ...others] = check(model).filter((problem) => problem.severity === 'error');
  if (first === undefined) return;
  const more =
    others.length === 0 ? '' : ` (and ${others.length} more ${others.length === 1 ? 'error' : 'errors'})`;
  throw new ModelError(`${first.message}; ${first.hint}${more}`, { file: model.path, ...first.where });
}

/** Where a value is made: a node's position, or -1 for inputs and initializers, which come before all nodes. */
type Positions = Map<string, number>;

/** What the nodes of a graph may read and call. */
interface Surroundings {
  readonly where: Where;
  readonly imported: ReadonlySet<string>;
  /** Of a function body: the attributes that its nodes may refer to. */
  readonly attributes: ReadonlySet<string> | undefined;
  /** The graphs around, innermost last, with the position of the node that holds the next one. */
  readonly outer: readonly {
    readonly positions: Positions;
    readonly owner: number;
    /** Is the node of the standard domain? */
    readonly isStandard: boolean;
  }[];
}

class Checker {
  readonly #model: Model;
  readonly #problems: Problem[] = [];
  readonly #functions = new Map<string, FunctionProto>();
  /** Domains reported as not imported, each once. */
  readonly #unimported = new Set<string>();

  constructor(model: Model) {
    this.#model = model;
  }

  run(): Problem[] {
    const { proto } = this.#model;
    this.#checkHeader();
    for (const body of proto.functions ?? []) {
      const key = functionKey(body.domain, body.name, body.overload);
      const where = { graph: functionLabel(body) };
      if (this.#functions.has(key)) {
        this.#error(
          where,
          'a second function has its domain, name and overload',
          'remove one, or set its overload',
        );
      }
      this.#functions.set(key, body);
    }
    const imported = this.#imports(proto.opset_import, {});
    const main = proto.graph ?? {};
    const where = { graph: main.name || 'main' };
    const positions: Positions = new Map();
    this.#reportUnresolved(
      this.#checkGraph(main, { where, imported, attributes: undefined, outer: [] }, positions),
    );
    this.#checkListedInitializers(main, where);
    for (const body of proto.functions ?? []) this.#checkFunction(body);
    this.#checkRecursion();
    for (const info of proto.training_info ?? []) {
      for (const graph of [info.initialization, info.algorithm]) {
        if (graph === undefined) continue;
        // A training graph may read what the main graph makes.
        const free = this.#checkGraph(graph, {
          where: { graph: graph.name || 'training' },
          imported,
          attributes: undefined,
          outer: [],
        });
        for (const name of positions.keys()) free.delete(name);
        this.#reportUnresolved(free);
      }
    }
    return this.#problems;
  }

  #checkHeader(): void {
    const { proto } = this.#model;
    const ir = toBigInt(proto.ir_version);
    if (ir < 1n) this.#error({}, `its ir_version ${ir} is not one of ONNX`, 'set it to 8 or above');
    else if (ir > NEWEST_IR) {
      this.#warn(
        {},
        `its ir_version ${ir} is newer than ${NEWEST_IR}, the newest known`,
        'expect parts that are only kept',
      );
    }
    if (ir >= 3n && (proto.opset_import ?? []).length === 0) {
      this.#error({}, 'it imports no operator set', "add an opset_import of the domain ''");
    }
    if ((proto.functions ?? []).length > 0 && ir < 8n) {
      this.#warn(
        {},
        `it has functions, which ir_version ${ir} does not know`,
        'set ir_version to 8 or above',
      );
    }
  }

  #imports(list: readonly OperatorSetIdProto[] | undefined, where: Where): Set<string> {
    const imported = new Map<string, bigint>();
    for (const { domain, version } of list ?? []) {
      const name = normalDomain(domain);
      const before = imported.get(name);
      if (before === toBigInt(version)) {
        this.#warn(where, `it imports the domain '${domain ?? ''}' twice`, 'keep one entry of opset_import');
      } else if (before !== undefined) {
        this.#error(
          where,
          `it imports the domain '${domain ?? ''}' twice, of versions ${before} and ${toBigInt(version)}`,
          'keep one entry of opset_import',
        );
      }
      if (toBigInt(version) < 1n) {
        this.#error(
          where,
          `it imports version ${toBigInt(version)} of the domain '${domain ?? ''}'`,
          'versions start at 1',
        );
      }
      imported.set(name, toBigInt(version));
    }
    return new Set(imported.keys());
  }

  #checkFunction(body: FunctionProto): void {
    const where = { graph: functionLabel(body) };
    if (!body.name) this.#error(where, 'a function has no name', 'give it one');
    const imported = this.#imports(body.opset_import, where);
    const names = [
      ...(body.attribute ?? []),
      ...(body.attribute_proto ?? []).map((attribute) => attribute.name ?? ''),
    ];
    const attributes = new Set(names);
    for (const name of duplicates(names)) {
      this.#error(where, `the function declares the attribute '${name}' twice`, 'keep one');
    }
    for (const attribute of body.attribute_proto ?? []) this.#checkAttribute(attribute, where, undefined);
    const graph: GraphProto = {
      node: body.node ?? [],
      input: (body.input ?? []).map((name) => ({ name })),
      output: (body.output ?? []).map((name) => ({ name })),
    };
    this.#checkFileOrder(body, where);
    this.#reportUnresolved(this.#checkGraph(graph, { where, imported, attributes, outer: [] }));
  }

  #checkFileOrder(body: GraphProto | FunctionProto, where: Where): void {
    if (fileOrderOf(body) === undefined) return;
    this.#warn(
      where,
      'in the file its nodes are in no topological order; they were sorted',
      'a changed model is written in that order',
    );
  }

  /** Checks a graph and those below it; returns what it reads from outside, each with its first reader. */
  #checkGraph(graph: GraphProto, around: Surroundings, positions: Positions = new Map()): Map<string, Where> {
    const { where } = around;
    const nodes = graph.node ?? [];
    this.#defineInputs(graph, around, positions);
    const nodeNames: string[] = [];
    for (const [position, node] of nodes.entries()) {
      if (node.name) nodeNames.push(node.name);
      for (const output of node.output ?? []) {
        if (output !== '')
          this.#define(output, position, { ...where, node: labelOf(node) }, around, positions);
      }
    }
    for (const name of duplicates(nodeNames)) {
      this.#warn(
        { ...where, node: name },
        'several nodes have this name',
        'rename all but one, to tell them apart',
      );
    }

    const free = new Map<string, Where>();
    // Reader and maker of values that are read before they are made.
    const late: { readonly reader: number; readonly maker: number; readonly value: string }[] = [];
    const read = (value: string, reader: number, by: Where): void => {
      const maker = positions.get(value);
      if (maker === undefined) {
        if (!free.has(value)) free.set(value, by);
      } else if (maker >= reader) late.push({ reader, maker, value });
    };
    for (const [position, node] of nodes.entries()) {
      const here = { ...where, node: labelOf(node) };
      this.#checkCall(node, here, around);
      for (const input of node.input ?? []) if (input !== '') read(input, position, here);
      for (const duplicate of duplicates((node.attribute ?? []).map((attribute) => attribute.name ?? ''))) {
        this.#error(here, `it has two attributes '${duplicate}'`, 'keep one');
      }
      for (const attribute of node.attribute ?? []) {
        this.#checkAttribute(attribute, here, around.attributes);
        for (const inner of [...(attribute.g ? [attribute.g] : []), ...(attribute.graphs ?? [])]) {
          const captured = this.#checkGraph(inner, {
            ...around,
            where: { graph: inner.name || `${attribute.name} of ${labelOf(node)}` },
            outer: [
              ...around.outer,
              { positions, owner: position, isStandard: normalDomain(node.domain) === '' },
            ],
          });
          for (const [value, by] of captured) read(value, position, by);
        }
      }
    }
    if (late.length > 0) this.#reportOrder(nodes, late, where);
    this.#checkFileOrder(graph, where);
    this.#checkOutputs(graph, around, positions, free);
    return free;
  }

  #defineInputs(graph: GraphProto, around: Surroundings, positions: Positions): void {
    const { where } = around;
    const initializers = new Set<string>();
    const add = (tensor: TensorProto | undefined): void => {
      const name = tensor?.name ?? '';
      const here = { ...where, tensor: name };
      if (name === '')
        this.#error(where, 'an initializer has no name', 'give it the name that its readers use');
      else if (initializers.has(name))
        this.#error(here, 'two initializers have this name', 'remove one of them');
      else this.#define(name, -1, here, around, positions);
      initializers.add(name);
    };
    for (const tensor of graph.initializer ?? []) {
      add(tensor);
      this.#report(checkTensor(tensor), { ...where, tensor: tensor.name });
    }
    for (const sparse of graph.sparse_initializer ?? []) {
      add(sparse.values);
      this.#report(checkSparse(sparse), { ...where, tensor: sparse.values?.name });
    }
    const inputs = new Set<string>();
    for (const { name = '' } of graph.input ?? []) {
      const here = { ...where, tensor: name };
      if (name === '') this.#error(where, 'an input of the graph has no name', 'give it one');
      else if (inputs.has(name))
        this.#error(here, 'two inputs of the graph have this name', 'rename one of them');
      // An initializer that is listed as an input is its default.
      else if (!initializers.has(name)) this.#define(name, -1, here, around, positions);
      inputs.add(name);
    }
  }

  #define(value: string, position: number, where: Where, around: Surroundings, positions: Positions): void {
    const before = positions.get(value);
    if (before !== undefined) {
      const what = before < 0 ? 'an input or initializer' : 'another node';
      this.#error(where, `it makes '${value}', which ${what} makes too`, 'rename one of the two values');
      return;
    }
    positions.set(value, position);
    for (const { positions: outer, owner, isStandard } of around.outer) {
      const at = outer.get(value);
      if (at === undefined) continue;
      const what = `the subgraph makes '${value}', a name of the graph around it`;
      // Operators of other domains take their graphs for functions of their own, which see no name around.
      if (at < owner && isStandard) this.#error(where, what, 'rename the inner value');
      else this.#warn(where, what, 'rename the inner value');
      return;
    }
  }

  #checkOutputs(
    graph: GraphProto,
    around: Surroundings,
    positions: Positions,
    free: Map<string, Where>,
  ): void {
    const seen = new Set<string>();
    for (const { name = '' } of graph.output ?? []) {
      const here = { ...around.where, tensor: name };
      if (name === '')
        this.#error(around.where, 'an output of the graph has no name', 'give it that of the value');
      else if (seen.has(name))
        this.#warn(here, 'two outputs of the graph have this name', 'add an Identity node for one');
      else if (!positions.has(name)) {
        if (around.outer.some(({ positions: outer }) => outer.has(name))) {
          this.#warn(
            here,
            'the subgraph returns a value of the graph around it',
            'add an Identity node for it',
          );
          if (!free.has(name)) free.set(name, here);
        } else
          this.#error(
            here,
            'it is an output of the graph, but nothing makes it',
            'add its node, or remove the output',
          );
      }
      seen.add(name);
    }
  }

  #checkCall(node: NodeProto, where: Where, around: Surroundings): void {
    if (!node.op_type) this.#error(where, 'the node has no operator', 'set its op_type');
    const domain = normalDomain(node.domain);
    const isFunction =
      this.#functions.size > 0 && this.#functions.has(functionKey(node.domain, node.op_type, node.overload));
    if (node.overload && !isFunction) {
      this.#error(
        where,
        `it calls the overload '${node.overload}' of ${node.op_type}, which no function of the model has`,
        'add that function, or remove the overload',
      );
    } else if (!around.imported.has(domain) && !isFunction && toBigInt(this.#model.proto.ir_version) >= 3n) {
      const isKnown = isRuntimeDomain(domain) && around.attributes === undefined;
      const message = `its domain '${domain || 'ai.onnx'}' is not imported`;
      if (!isKnown) {
        this.#error(
          where,
          message,
          `add an opset_import of '${domain}', or a function ${node.op_type} of that domain`,
        );
      } else if (!this.#unimported.has(domain)) {
        this.#warn(where, message, `a changed model is written with an opset_import of '${domain}'`);
        this.#unimported.add(domain);
      }
    }
  }

  #checkAttribute(attribute: AttributeProto, where: Where, declared: ReadonlySet<string> | undefined): void {
    const found = checkAttribute(attribute, toBigInt(this.#model.proto.ir_version), declared);
    for (const { severity, message, hint, tensor } of found) {
      const here = tensor === undefined ? where : { ...where, tensor };
      if (severity === 'error') this.#error(here, message, hint);
      else this.#warn(here, message, hint);
    }
  }

  #reportOrder(
    nodes: readonly NodeProto[],
    late: readonly { readonly reader: number; readonly maker: number; readonly value: string }[],
    where: Where,
  ): void {
    const label = (position: number | undefined): string => labelOf(nodes[position ?? 0] ?? {});
    const { cycles, group } = cyclesOf(nodes);
    for (const cycle of cycles) {
      const path = [...cycle, cycle[0]].map((position) => `'${label(position)}'`).join(' -> ');
      this.#error(
        { ...where, node: label(cycle[0]) },
        `the nodes read each other's values in a cycle: ${path}`,
        'let one of them read another value',
      );
    }
    const seen = new Set<string>();
    for (const { reader, maker, value } of late) {
      const key = `${reader} ${value}`;
      if (group[reader] === group[maker] || seen.has(key)) continue;
      seen.add(key);
      this.#error(
        { ...where, node: label(reader) },
        `it stands before '${label(maker)}', whose '${value}' it reads`,
        'move it behind that node',
      );
    }
  }

  /** Reports functions that call themselves, directly or through others. */
  #checkRecursion(): void {
    const bodies = [...this.#functions];
    const index = new Map(bodies.map(([key], position) => [key, position]));
    const nodes = bodies.map(
      ([key, body]): NodeProto => ({
        name: functionLabel(body),
        input: [...calls(body.node ?? [], index)],
        output: [key],
      }),
    );
    for (const cycle of cyclesOf(nodes).cycles) {
      const names = [...cycle, cycle[0] ?? 0].reverse().map((position) => `'${nodes[position]?.name}'`);
      this.#error(
        { graph: names[0]?.slice(1, -1) },
        `the functions call each other without end: ${names.join(' -> ')}`,
        'remove one of the calls',
      );
    }
  }

  #checkListedInitializers(graph: GraphProto, where: Where): void {
    if (toBigInt(this.#model.proto.ir_version) > LAST_IR_WITH_LISTED_INITIALIZERS) return;
    const inputs = new Set((graph.input ?? []).map((input) => input.name));
    for (const tensor of graph.initializer ?? []) {
      if (inputs.has(tensor.name)) continue;
      this.#warn(
        { ...where, tensor: tensor.name },
        'it is not listed among the inputs, as ir_version 3 and below want it',
        'list it, or set ir_version to 4 or above',
      );
    }
  }

  #reportUnresolved(free: ReadonlyMap<string, Where>): void {
    for (const [value, where] of free) {
      this.#error(
        where,
        `it reads '${value}', which nothing makes`,
        'add its producer, or read another value',
      );
    }
  }

  #report(found: readonly (readonly [message: string, hint: string])[], where: Where): void {
    for (const [message, hint] of found) this.#error(where, message, hint);
  }

  #error(where: Where, message: string, hint: string): void {
    this.#problems.push({ severity: 'error', where, message, hint });
  }

  #warn(where: Where, message: string, hint: string): void {
    this.#problems.push({ severity: 'warning', where, message, hint });
  }
}

/** The functions of the model that nodes call, also from their subgraphs. */
function* calls(nodes: readonly NodeProto[], known: ReadonlyMap<string, number>): Generator<string> {
  for (const node of nodes) {
    const key = functionKey(node.domain, node.op_type, node.overload);
    if (known.has(key)) yield key;
    for (const attribute of node.attribute ?? []) {
      if (attribute.g) yield* calls(attribute.g.node ?? [], known);
      for (const graph of attribute.graphs ?? []) yield* calls(graph.node ?? [], known);
    }
  }
}

function functionKey(
  domain: string | undefined,
  name: string | undefined,
  overload: string | undefined,
): string {
  return JSON.stringify([normalDomain(domain), name ?? '', overload ?? '']);
}

function functionLabel(body: FunctionProto): string {
  return `${body.domain ? `${body.domain}.` : ''}${body.name ?? ''}${body.overload ? `:${body.overload}` : ''}`;
}

function labelOf(node: NodeProto): string {
  return node.name || node.output?.find(Boolean) || `(unnamed ${node.op_type})`;
}

function normalDomain(domain: string | undefined): string {
  return domain === undefined || domain === 'ai.onnx' ? '' : domain;
}

/** What occurs more than once, each once; '' does not count. */
function duplicates(names: readonly string[]): string[] {
  if (names.length < 2) return [];
  const seen = new Set<string>();
  const twice = new Set<string>();
  for (const name of names) {
    if (name !== '' && seen.has(name)) twice.add(name);
    seen.add(name);
  }
  return [...twice];
}
