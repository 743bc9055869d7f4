import { assertValid } from './check/check.js';
import { createModel } from './model.js';
import { makeNode } from './node.js';
import { createMessage, fromBigInt } from './proto/codec.js';
import type { FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto } from './proto/schema.js';
import type { DataType } from './tensor/data-type.js';
import type { Tensor } from './tensor/tensor.js';
import type { Model, NodeSpec } from './types.js';
import { type Dimension, ValueInfo } from './value-info.js';

/** A function of the model's own, which nodes of its domain and name call. */
export interface FunctionSpec {
  readonly domain: string;
  readonly name: string;
  readonly overload?: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Names of the attributes that callers give. */
  readonly attributes?: readonly string[];
  readonly nodes: readonly NodeSpec[];
  /** As ModelSpec has it. */
  readonly opset?: number | Readonly<Record<string, number>>;
}

/** A value as [name, type, shape], or a ValueInfo. A dimension is a size or a name; no shape, and it is unknown. */
export type ValueSpec = ValueInfo | readonly [name: string, type: DataType, shape?: readonly Dimension[]];

/** What a graph is made of. */
export interface GraphSpec {
  readonly name?: string;
  readonly inputs?: readonly ValueSpec[];
  readonly outputs?: readonly ValueSpec[];
  /** Types of inner values. */
  readonly values?: readonly ValueSpec[];
  /** In topological order. */
  readonly nodes: readonly NodeSpec[];
  readonly initializers?: readonly Tensor[];
}

/** What a model is made of. */
export interface ModelSpec extends GraphSpec {
  /** Version of the standard operator set, 17 unless given; or of several domains, the standard one as ''. */
  readonly opset?: number | Readonly<Record<string, number>>;
  /** IR version, 8 unless given. Below 4, initializers are listed as inputs too. */
  readonly ir?: number;
  readonly functions?: readonly FunctionSpec[];
  /** The metadata_props. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/**
 * Makes a model by hand.
 *
 * @throws ModelError where it is no valid model, as assertValid does
 * @example
 * const model = buildModel({
 *   inputs: [['x', 'float32', ['batch', 4]]],
 *   outputs: [['y', 'float32', ['batch', 2]]],
 *   nodes: [
 *     { opType: 'Gemm', inputs: ['x', 'w'], outputs: ['h'], attributes: { transB: { int: 1 } } },
 *     { opType: 'Relu', inputs: ['h'], outputs: ['y'] },
 *   ],
 *   initializers: [Tensor.of('w', 'float32', [2, 4], new Float32Array(8))],
 * });
 */
export function buildModel(spec: ModelSpec): Model {
  const model = createModel(modelProto(spec));
  assertValid(model);
  return model;
}

/** The message of a model; nothing is checked. */
export function modelProto(spec: ModelSpec): ModelProto {
  const { ir = 8, initializers = [], metadata = {}, functions = [], opset = 17 } = spec;
  const graph = buildGraph({ name: 'main', ...spec });
  if (ir < 4) {
    const listed = initializers.map(
      (tensor) => ValueInfo.tensor(tensor.name, tensor.dataType, tensor.shape).proto,
    );
    graph.input = [...(graph.input ?? []), ...listed];
  }
  return createMessage('ModelProto', {
    ir_version: ir,
    opset_import: opsets(opset),
    graph,
    metadata_props: Object.entries(metadata).map(([key, value]) =>
      createMessage('StringStringEntryProto', { key, value }),
    ),
    functions: functions.map(functionProto),
  });
}

/**
 * Makes a graph for an attribute of If, Loop or Scan.
 *
 * @example
 * const branch = buildGraph({ outputs: [['y', 'float32']], nodes: [{ opType: 'Relu', inputs: ['x'], outputs: ['y'] }] });
 * graph.insert({ opType: 'If', inputs: ['cond'], outputs: ['z'], attributes: { then_branch: { graph: branch } } });
 */
export function buildGraph(spec: GraphSpec): GraphProto {
  return createMessage('GraphProto', {
    name: spec.name ?? 'body',
    node: spec.nodes.map(makeNode),
    input: (spec.inputs ?? []).map(info),
    output: (spec.outputs ?? []).map(info),
    value_info: (spec.values ?? []).map(info),
    initializer: (spec.initializers ?? []).map((tensor) => tensor.proto),
  });
}

function functionProto(spec: FunctionSpec): FunctionProto {
  return createMessage('FunctionProto', {
    domain: spec.domain,
    name: spec.name,
    ...(spec.overload !== undefined && { overload: spec.overload }),
    input: [...spec.inputs],
    output: [...spec.outputs],
    attribute: [...(spec.attributes ?? [])],
    node: spec.nodes.map(makeNode),
    opset_import: opsets(spec.opset ?? 17),
  });
}

function opsets(versions: number | Readonly<Record<string, number>>): OperatorSetIdProto[] {
  return Object.entries(typeof versions === 'number' ? { '': versions } : versions).map(([domain, version]) =>
    createMessage('OperatorSetIdProto', { domain, version: fromBigInt(version) }),
  );
}

function info(value: ValueSpec) {
  return value instanceof ValueInfo ? value.proto : ValueInfo.tensor(value[0], value[1], value[2]).proto;
}

/**
 * A model with other nodes in its main graph, and constants besides its own. The given one stays as it is; the two share their
 * parts.
 *
 * @param rest fields of the graph that are to be others, too
 */
export function withNodes(
  model: Model,
  nodes: readonly NodeProto[],
  constants: readonly Tensor[],
  rest: Partial<GraphProto> = {},
): Model {
  const graph = model.graph.proto as GraphProto;
  return withGraph(model, {
    ...graph,
    node: [...nodes],
    initializer: [...(graph.initializer ?? []), ...constants.map((tensor) => tensor.proto)],
    ...rest,
  });
}

/**
 * A model with another main graph. The given one stays as it is; the two share their parts.
 *
 * @param rest fields of the model that are to be others, too
 */
export function withGraph(model: Model, graph: GraphProto, rest: Partial<ModelProto> = {}): Model {
  return createModel(
    createMessage('ModelProto', { ...model.proto, graph: createMessage('GraphProto', graph), ...rest }),
  );
}
