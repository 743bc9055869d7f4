import {
  check,
  createModel,
  DATA_TYPES,
  type GraphProto,
  type Model,
  ModelError,
  makeNode,
  type Node,
  type NodeProto,
  Tensor,
  ValueInfo,
  valuesRead,
} from '../../graph/index.js';
import { glob, PatternError } from '../../graph/names/glob.js';
import { createMessage, fromBigInt } from '../../graph/proto/codec.js';
import type { TensorProto } from '../../graph/proto/schema.js';
import type { Skipped } from '../../graph/skipped.js';
import { openSession } from '../../runtime/index.js';
import { partOf } from '../../runtime/session/part.js';
import { inlined } from '../gradient/prepare/inline.js';
import { reasonForSingle, singleInputs } from './islands.js';
import { type Narrowed, narrowed } from './narrow-weight.js';
import type { ConvertOptions, ConvertType } from './options.js';

/** What a conversion did. */
export interface ConvertAccount {
  readonly type: ConvertType;
  readonly nodes: number;
  /** Weights in the new type. */
  readonly weights: number;
  readonly casts: number;
  /** Nodes that stay in float32 although they compute with floats, with the reasons. */
  readonly skipped: readonly Skipped[];
  /** Weights with elements that the type rounds to 0. */
  readonly vanished: readonly { readonly weight: string; readonly elements: number }[];
}

/** The least IR version in which initializers need not be inputs. */
const IR_VERSION = 4;

/** The main graph in half precision. See convertFloats. */
export async function toHalf(
  given: Model,
  type: 'float16' | 'bfloat16',
  options: ConvertOptions,
): Promise<{ readonly model: Model; readonly account: ConvertAccount }> {
  const model = given.functions.length > 0 ? inlined(given) : given;
  const { graph } = model;
  const { keepIo = false, exclude = [] } = options;
  const isSingle = await singleValues(model);
  const excluded = excludedNodes(graph.nodes, exclude, model);
  const touches = (node: Node): boolean =>
    [...valuesRead(node.proto), ...node.outputs].some((name) => isSingle.has(name));
  const weights = new Map<string, Narrowed>();
  for (const [name, tensor] of graph.initializers)
    if (tensor.dataType === 'float32') weights.set(name, await narrowed(tensor, type));
  const islands = new Map<Node, string>();
  const skipped: Skipped[] = [];
  for (const node of graph.nodes) {
    if (!touches(node)) continue;
    const over = node.inputs.find((name) => (weights.get(name)?.overflowed ?? 0) > 0);
    const sparse = node.inputs.find((name) => graph.sparseInitializers.has(name));
    const reason = excluded.has(node)
      ? 'excluded'
      : (reasonForSingle(node, type, model.opset()) ??
        (over === undefined
          ? sparse === undefined
            ? undefined
            : `'${sparse}' is sparse`
          : `${weights.get(over)?.overflowed} of ${graph.initializers.get(over)?.size} elements of '${over}' are beyond the range of ${type}`));
    if (reason === undefined) continue;
    islands.set(node, reason);
    skipped.push({ node: node.label, op: node.opType, reason });
  }
  const layout = layOut(model, { isSingle, islands, keepIo, type });
  const { halfName, produced, needs } = layout;
  const code = DATA_TYPES[type].code;
  let casts = 0;
  const castsOf = (name: string): NodeProto[] => {
    const made = produced.get(name);
    const other = made === 'half' ? 'single' : 'half';
    if (!isSingle.has(name) || needs.get(name)?.has(other) !== true) return [];
    casts += 1;
    const [from, to] = made === 'half' ? [halfName(name), name] : [name, halfName(name)];
    return [
      makeNode({
        opType: 'Cast',
        name: model.freshName(`${to}/cast`),
        inputs: [from],
        outputs: [to],
        attributes: { to: { int: other === 'half' ? code : DATA_TYPES.float32.code } },
      }),
    ];
  };
  const initializers: TensorProto[] = [];
  let count = 0;
  for (const [name, tensor] of graph.initializers) {
    const own = weights.get(name);
    const wanted = needs.get(name);
    if (own === undefined || wanted === undefined) {
      initializers.push(tensor.proto);
      continue;
    }
    if (wanted.has('single')) initializers.push(tensor.renamed(name).proto);
    if (wanted.has('half')) {
      count += 1;
      initializers.push(own.tensor.renamed(halfName(name)).proto);
    }
  }
  const nodes: NodeProto[] = graph.inputs.flatMap(({ name }) =>
    graph.initializers.has(name) ? [] : castsOf(name),
  );
  let changed = 0;
  for (const node of graph.nodes) {
    const isIsland = islands.has(node);
    if (isIsland || !touches(node)) nodes.push(node.proto);
    else {
      changed += 1;
      const single = singleInputs(node);
      const input = node.inputs.map((name, index) =>
        isSingle.has(name) ? (single.includes(index) ? name : halfName(name)) : name,
      );
      const output = node.outputs.map((name) => (isSingle.has(name) ? halfName(name) : name));
      nodes.push(await inHalf(createMessage('NodeProto', { ...node.proto, input, output }), type));
    }
    for (const name of node.outputs) nodes.push(...castsOf(name));
  }
  const typed = (value: ValueInfo): ValueInfo =>
    value.dataType === 'float32' && produced.get(value.name) === 'half' && halfName(value.name) === value.name
      ? ValueInfo.tensor(value.name, type, value.shape)
      : value;
  const proto = graph.proto as GraphProto;
  const result = createModel(
    createMessage('ModelProto', {
      ...model.proto,
      ir_version: fromBigInt(Math.max(model.irVersion, IR_VERSION)),
      training_info: [],
      graph: createMessage('GraphProto', {
        ...proto,
        node: nodes,
        initializer: initializers,
        input: graph.inputs
          .filter(({ name }) => !weights.has(name))
          .map((value) => (keepIo ? value : typed(value)).proto),
        output: graph.outputs.map(
          (value) => (needs.get(value.name)?.has('single') ? value : typed(value)).proto,
        ),
        value_info: graph.valueInfo.map((value) => typed(value).proto),
      }),
    }),
  ).clone();
  const [problem] = check(result).filter(({ severity }) => severity === 'error');
  if (problem !== undefined)
    throw new ModelError(`${problem.message}; ${problem.hint}`, { file: model.path, ...problem.where });
  return {
    model: result,
    account: {
      type,
      nodes: changed,
      weights: count,
      casts,
      skipped,
      vanished: [...weights].flatMap(([weight, { vanished }]) =>
        vanished > 0 && needs.get(weight)?.has('half') ? [{ weight, elements: vanished }] : [],
      ),
    },
  };
}

type Width = 'single' | 'half';

interface Layout {
  readonly produced: ReadonlyMap<string, Width>;
  readonly needs: ReadonlyMap<string, ReadonlySet<Width>>;
  /** What a value is called in half precision: another name where it is needed in float32, which keeps its own. */
  halfName(name: string): string;
}

/** In which type each float32 value of the model is made, and in which it is read. */
function layOut(
  model: Model,
  given: {
    readonly isSingle: ReadonlySet<string>;
    readonly islands: ReadonlyMap<Node, string>;
    readonly keepIo: boolean;
    readonly type: ConvertType;
  },
): Layout {
  const { graph } = model;
  const { isSingle, islands, keepIo, type } = given;
  const produced = new Map<string, Width>();
  const needs = new Map<string, Set<Width>>();
  const need = (name: string, width: Width): void => {
    if (!isSingle.has(name)) return;
    const known = needs.get(name) ?? new Set();
    needs.set(name, known.add(width));
  };
  for (const node of graph.nodes) {
    const width: Width = islands.has(node) ? 'single' : 'half';
    for (const name of node.outputs) produced.set(name, width);
    const single = singleInputs(node);
    for (const [index, name] of node.inputs.entries()) need(name, single.includes(index) ? 'single' : width);
    // What a body captures goes by its name.
    for (const name of valuesRead(node.proto)) if (!node.inputs.includes(name)) need(name, 'single');
  }
  for (const { name } of graph.inputs) {
    const isKept = keepIo || needs.get(name)?.has('single') === true;
    produced.set(name, isKept ? 'single' : 'half');
  }
  // One that a node in float32 makes, or reads, stays in it.
  for (const { name } of graph.outputs) {
    const isKept = keepIo || produced.get(name) === 'single' || needs.get(name)?.has('single') === true;
    need(name, isKept ? 'single' : 'half');
  }
  const halves = new Map<string, string>();
  const hasBoth = (name: string): boolean =>
    (needs.get(name)?.has('single') === true &&
      (needs.get(name)?.has('half') === true || produced.get(name) === 'half')) ||
    (produced.get(name) === 'single' &&
      needs.get(name)?.has('half') === true &&
      !graph.initializers.has(name));
  return {
    produced,
    needs,
    halfName: (name) => (hasBoth(name) ? fresh(`${name}_${type}`) : name),
  };
  function fresh(base: string): string {
    const known = halves.get(base) ?? model.freshName(base);
    halves.set(base, known);
    return known;
  }
}

/** Which values of the main graph are float32: what the file says of inputs and weights, and onnxruntime of the rest. */
async function singleValues(model: Model): Promise<ReadonlySet<string>> {
  const { graph } = model;
  const found = new Set<string>();
  for (const [name, tensor] of graph.initializers) if (tensor.dataType === 'float32') found.add(name);
  for (const { name, dataType } of graph.inputs) if (dataType === 'float32') found.add(name);
  const made = graph.nodes.flatMap((node) => node.outputs.filter((name) => name !== ''));
  if (made.length === 0) return found;
  await using session = await openSession(partOf(model, made));
  for (const { name, type } of session.outputs) if (type === 'float32') found.add(name);
  return found;
}

function excludedNodes(nodes: readonly Node[], patterns: readonly string[], model: Model): ReadonlySet<Node> {
  const excluded = new Set<Node>();
  for (const pattern of patterns) {
    const matches = glob(pattern);
    const hit = nodes.filter((node) => matches(node.opType) || matches(node.label));
    if (hit.length === 0) {
      const names = [...new Set(nodes.flatMap(({ opType, label }) => [opType, label]))];
      throw new PatternError('exclude', pattern, 'operator or node', names, model.path);
    }
    for (const node of hit) excluded.add(node);
  }
  return excluded;
}

/** A node whose float32 tensors and target types are of half precision. */
async function inHalf(node: NodeProto, type: ConvertType): Promise<NodeProto> {
  const attribute = [];
  for (const one of node.attribute ?? []) {
    if (one.name === 'to' && node.op_type === 'Cast' && Number(one.i) === DATA_TYPES.float32.code)
      attribute.push({ ...one, i: fromBigInt(DATA_TYPES[type].code) });
    else if (one.t?.data_type === DATA_TYPES.float32.code)
      attribute.push({ ...one, t: (await narrowed(new Tensor(one.t), type)).tensor.proto });
    else attribute.push(one);
  }
  return { ...node, attribute } as NodeProto;
}
