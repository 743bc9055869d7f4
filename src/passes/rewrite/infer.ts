import {
  type DataType,
  type Dimension,
  type Graph,
  type Model,
  type Pass,
  ValueInfo,
} from '../../graph/index.js';
import type { GraphProto, ValueInfoProto } from '../../graph/proto/schema.js';
import { operatorName } from '../../graph/registry.js';
import { shapesOf } from '../../graph/shapes/shapes.js';
import { elementTypes } from '../../graph/shapes/types.js';

/** A value whose type or shape the operators do not tell. */
export interface Untold {
  readonly value: string;
  /** The node that makes it. */
  readonly node: string;
  readonly op: string;
  /** 'sizes': type and rank are told, some sizes are not. */
  readonly lacks: 'type' | 'shape' | 'sizes';
}

/** A value of which the file said something else than its operators make. */
export interface Corrected {
  readonly value: string;
  /** As the file had it: `float32[1, 7]`. */
  readonly noted: string;
  readonly made: string;
}

/** What infer did. */
export interface InferAccount {
  /** Values that nodes make, in all graphs. */
  readonly values: number;
  /** Of these, how many have a type, and a shape whose every size is a number or a name. */
  readonly complete: number;
  /** Notes that are new, or say more than before. */
  readonly added: number;
  readonly corrected: readonly Corrected[];
  /** Outputs of the model that say something else than their nodes make: they stay as they are. */
  readonly conflicts: readonly Corrected[];
  readonly untold: readonly Untold[];
}

/**
 * Types and shapes of all values, as the operators of the standard make them, written into `value_info` and where outputs leave
 * sizes open. Nothing is run. What a file notes of inner values and the nodes make otherwise is corrected; what no rule tells
 * (operators of other domains, sizes that data decides) stays as the file notes it. Sizes that an input names stay names.
 *
 * The rules are those of the ONNX operator specification, in the operator set of the model.
 *
 * @example
 * const [{ complete, values, untold }] = await model.apply(infer());
 * console.log(`${complete} of ${values}`, untold.map(({ value, op }) => `${value} of ${op}`));
 */
export function infer(): Pass<InferAccount> {
  return { name: 'infer', inPlace: true, run: async (model) => inferred(model) };
}

interface Tally {
  values: number;
  complete: number;
  added: number;
  readonly corrected: Corrected[];
  readonly conflicts: Corrected[];
  readonly untold: Untold[];
}

function inferred(model: Model): InferAccount {
  const tally: Tally = { values: 0, complete: 0, added: 0, corrected: [], conflicts: [], untold: [] };
  // All is found before anything changes: an edit forgets what was found.
  const changes = [...model.graph.walk()].map((graph) => ({ graph, ...notesOf(graph, tally) }));
  for (const { graph, info, outputs } of changes) {
    const proto = graph.proto as GraphProto;
    if (info === undefined && outputs === undefined) continue;
    if (info !== undefined) proto.value_info = info;
    if (outputs !== undefined) proto.output = outputs;
    graph.touch();
  }
  return tally;
}

/** Types of a graph's values, and of those of the graphs around that it reads. */
function typesOf(graph: Graph): ReadonlyMap<string, DataType> {
  const { parent } = graph;
  return elementTypes(graph, (value) => (parent === undefined ? undefined : typesOf(parent).get(value)));
}

function notesOf(
  graph: Graph,
  tally: Tally,
): { readonly info: ValueInfoProto[] | undefined; readonly outputs: ValueInfoProto[] | undefined } {
  const types = typesOf(graph);
  const shapes = shapesOf(graph);
  // Sizes that inputs leave open without a name have one within.
  const open = new Set(
    graph.inputs.flatMap(({ name, shape = [] }) =>
      shape.flatMap((dim, axis) => (dim === undefined ? [`${name}/${axis}`] : [])),
    ),
  );
  const madeOf = (value: string): ValueInfo | undefined => {
    const [type, shape] = [types.get(value), shapes.of(value)];
    const named = shape?.map(
      (dim): Dimension => (typeof dim === 'string' && open.has(dim) ? undefined : dim),
    );
    return type === undefined ? undefined : ValueInfo.tensor(value, type, named);
  };
  const before = new Map(graph.valueInfo.map((value) => [value.name, value]));
  const after = new Map(before);
  for (const node of graph.nodes) {
    for (const value of node.outputs) {
      if (value === '') continue;
      tally.values += 1;
      const noted = before.get(value);
      const made = madeOf(value);
      const lacks = lackOf(made, shapes.of(value));
      if (lacks === undefined) tally.complete += 1;
      else tally.untold.push({ value, node: node.label, op: operatorName(node), lacks });
      if (made === undefined || graph.isOutput(value)) continue;
      if (noted !== undefined && noted.kind !== 'tensor') continue;
      const text = made.toString();
      if (noted?.toString() === text) continue;
      if (noted !== undefined && contradicts(noted, made))
        tally.corrected.push({ value, noted: noted.toString(), made: text });
      else tally.added += 1;
      after.set(value, made);
    }
  }
  let isChanged = false;
  const outputs = graph.outputs.map((output) => {
    const made = graph.producer(output.name) === undefined ? undefined : madeOf(output.name);
    if (made === undefined || output.toString() === made.toString()) return output.proto;
    if (output.kind === 'unknown' || (output.kind === 'tensor' && !contradicts(output, made))) {
      const more = fuller(output, made);
      if (more.toString() === output.toString()) return output.proto;
      isChanged = true;
      tally.added += 1;
      return more.proto;
    }
    if (output.kind === 'tensor')
      tally.conflicts.push({ value: output.name, noted: output.toString(), made: made.toString() });
    return output.proto;
  });
  const isSame =
    after.size === before.size && [...after].every(([name, value]) => before.get(name) === value);
  return {
    info: isSame ? undefined : [...after.values()].map(({ proto }) => proto),
    outputs: isChanged ? outputs : undefined,
  };
}

/** An output's own names of sizes stay. */
function fuller(output: ValueInfo, made: ValueInfo): ValueInfo {
  const type = output.dataType ?? made.dataType;
  if (type === undefined) return output;
  const shape = output.shape?.map((dim, axis) => dim ?? made.shape?.[axis]) ?? made.shape;
  const sizes = shape?.map((dim, axis) => {
    const size = made.shape?.[axis];
    return typeof size === 'number' ? size : dim;
  });
  return ValueInfo.tensor(output.name, type, sizes);
}

function contradicts(noted: ValueInfo, made: ValueInfo): boolean {
  const [a, b] = [noted.shape, made.shape];
  if (noted.dataType !== undefined && noted.dataType !== made.dataType) return true;
  if (a === undefined || b === undefined) return false;
  if (a.length !== b.length) return true;
  return a.some((dim, axis) => {
    const other = b[axis];
    return typeof dim === 'number' && typeof other === 'number' && dim !== other;
  });
}

function lackOf(
  made: ValueInfo | undefined,
  shape: readonly Dimension[] | undefined,
): Untold['lacks'] | undefined {
  if (made === undefined) return 'type';
  if (shape === undefined) return 'shape';
  return shape.some((dim) => dim === undefined) ? 'sizes' : undefined;
}
