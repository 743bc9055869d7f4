import {
  createModel,
  type DataType,
  type Model,
  type ModelProto,
  makeNode,
  type NodeSpec,
  Tensor,
  ValueInfo,
} from '../../src/graph/index.js';
import { createMessage, fromBigInt } from '../../src/graph/proto/codec.js';
import type { FunctionProto, GraphProto } from '../../src/graph/proto/schema.js';
import type { Dimension } from '../../src/graph/value-info.js';

export interface FunctionSpec {
  readonly domain: string;
  readonly name: string;
  readonly overload?: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: readonly string[];
  readonly nodes: readonly NodeSpec[];
  readonly opset?: Readonly<Record<string, number>>;
}

/** A value as [name, type, shape], or a ValueInfo. */
export type ValueSpec = ValueInfo | readonly [name: string, type: DataType, shape?: readonly Dimension[]];

export interface GraphSpec {
  readonly name?: string;
  readonly inputs?: readonly ValueSpec[];
  readonly outputs?: readonly ValueSpec[];
  readonly values?: readonly ValueSpec[];
  readonly nodes: readonly NodeSpec[];
  readonly initializers?: readonly Tensor[];
}

export interface ModelSpec extends GraphSpec {
  /** Version of the standard operator set (default 17), or of several domains. */
  readonly opset?: number | Readonly<Record<string, number>>;
  /** Default 8. Below 4, initializers are listed as inputs too. */
  readonly ir?: number;
  readonly functions?: readonly FunctionSpec[];
  readonly metadata?: Readonly<Record<string, string>>;
}

/** A model in memory: `buildModel({ inputs: [['x', 'float32', [1, 3]]], outputs: …, nodes: [{ opType: 'Relu', … }] })`. */
export function buildModel(spec: ModelSpec): Model {
  const ir = spec.ir ?? 8;
  const graph = buildGraph({ name: 'main', ...spec });
  if (ir < 4) {
    const listed = (spec.initializers ?? []).map(
      (tensor) => ValueInfo.tensor(tensor.name, tensor.dataType, tensor.shape).proto,
    );
    graph.input = [...(graph.input ?? []), ...listed];
  }
  const proto: ModelProto = createMessage('ModelProto', {
    ir_version: ir,
    opset_import: opsets(spec.opset ?? 17),
    graph,
    metadata_props: Object.entries(spec.metadata ?? {}).map(([key, value]) =>
      createMessage('StringStringEntryProto', { key, value }),
    ),
    functions: (spec.functions ?? []).map(buildFunction),
  });
  return createModel(proto);
}

/** A graph, for the attribute of an If, Loop or Scan. */
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

function buildFunction(spec: FunctionSpec): FunctionProto {
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

function opsets(versions: number | Readonly<Record<string, number>>) {
  return Object.entries(typeof versions === 'number' ? { '': versions } : versions).map(([domain, version]) =>
    createMessage('OperatorSetIdProto', { domain, version: fromBigInt(version) }),
  );
}

function info(value: ValueSpec) {
  return value instanceof ValueInfo ? value.proto : ValueInfo.tensor(value[0], value[1], value[2]).proto;
}

/** A float32 tensor of the numbers `f(0), f(1), …`. */
export function floats(
  name: string,
  shape: readonly number[],
  f: (index: number) => number = (i) => i,
): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  return Tensor.of(
    name,
    'float32',
    shape,
    Float32Array.from({ length: size }, (_, index) => f(index)),
  );
}

export function ints(name: string, values: readonly (number | bigint)[]): Tensor {
  return Tensor.of(name, 'int64', [values.length], BigInt64Array.from(values, BigInt));
}
