/**
 * The ONNX protobuf schema, as data: message -> field -> [number, type, label].
 *
 * Written from the field numbers of the ONNX specification (onnx/onnx, file onnx/onnx.proto, release 1.23,
 * IR version 13). The npm package onnx-proto is frozen at the ONNX of 2021, so it cannot serve here; the
 * tests use it as a second decoder that has to agree on everything it knows.
 *
 * Two deliberate deviations, both invisible on the wire:
 * - enums are int32, so that a value from a newer ONNX is kept and not dropped;
 * - `oneof`s are plain optional fields, so that what a file holds is what is written back.
 */
export type FieldSpec = readonly [number: number, type: string, label?: 'repeated' | 'packed'];

export const SCHEMA = {
  ModelProto: {
    ir_version: [1, 'int64'],
    opset_import: [8, 'OperatorSetIdProto', 'repeated'],
    producer_name: [2, 'string'],
    producer_version: [3, 'string'],
    domain: [4, 'string'],
    model_version: [5, 'int64'],
    doc_string: [6, 'string'],
    graph: [7, 'GraphProto'],
    metadata_props: [14, 'StringStringEntryProto', 'repeated'],
    training_info: [20, 'TrainingInfoProto', 'repeated'],
    functions: [25, 'FunctionProto', 'repeated'],
    configuration: [26, 'DeviceConfigurationProto', 'repeated'],
  },
  GraphProto: {
    node: [1, 'NodeProto', 'repeated'],
    name: [2, 'string'],
    initializer: [5, 'TensorProto', 'repeated'],
    sparse_initializer: [15, 'SparseTensorProto', 'repeated'],
    doc_string: [10, 'string'],
    input: [11, 'ValueInfoProto', 'repeated'],
    output: [12, 'ValueInfoProto', 'repeated'],
    value_info: [13, 'ValueInfoProto', 'repeated'],
    quantization_annotation: [14, 'TensorAnnotation', 'repeated'],
    metadata_props: [16, 'StringStringEntryProto', 'repeated'],
  },
  NodeProto: {
    input: [1, 'string', 'repeated'],
    output: [2, 'string', 'repeated'],
    name: [3, 'string'],
    op_type: [4, 'string'],
    domain: [7, 'string'],
    overload: [8, 'string'],
    attribute: [5, 'AttributeProto', 'repeated'],
    doc_string: [6, 'string'],
    metadata_props: [9, 'StringStringEntryProto', 'repeated'],
    device_configurations: [10, 'NodeDeviceConfigurationProto', 'repeated'],
  },
  AttributeProto: {
    name: [1, 'string'],
    ref_attr_name: [21, 'string'],
    doc_string: [13, 'string'],
    type: [20, 'int32'],
    f: [2, 'float'],
    i: [3, 'int64'],
    s: [4, 'bytes'],
    t: [5, 'TensorProto'],
    g: [6, 'GraphProto'],
    sparse_tensor: [22, 'SparseTensorProto'],
    tp: [14, 'TypeProto'],
    floats: [7, 'float', 'repeated'],
    ints: [8, 'int64', 'repeated'],
    strings: [9, 'bytes', 'repeated'],
    tensors: [10, 'TensorProto', 'repeated'],
    graphs: [11, 'GraphProto', 'repeated'],
    sparse_tensors: [23, 'SparseTensorProto', 'repeated'],
    type_protos: [15, 'TypeProto', 'repeated'],
  },
  ValueInfoProto: {
    name: [1, 'string'],
    type: [2, 'TypeProto'],
    doc_string: [3, 'string'],
    metadata_props: [4, 'StringStringEntryProto', 'repeated'],
  },
  TensorProto: {
    dims: [1, 'int64', 'repeated'],
    data_type: [2, 'int32'],
    segment: [3, 'TensorSegment'],
    string_data: [6, 'bytes', 'repeated'],
    name: [8, 'string'],
    doc_string: [12, 'string'],
    external_data: [13, 'StringStringEntryProto', 'repeated'],
    data_location: [14, 'int32'],
    metadata_props: [16, 'StringStringEntryProto', 'repeated'],
    // The numeric data fields (see PAYLOAD_FIELDS) never pass through protobufjs: the scanner replaces
    // each by the id of a payload, and the writer puts the payload back at its own place.
    payload_ids: [536870911, 'uint32', 'repeated'],
  },
  TensorSegment: { begin: [1, 'int64'], end: [2, 'int64'] },
  SparseTensorProto: {
    values: [1, 'TensorProto'],
    indices: [2, 'TensorProto'],
    dims: [3, 'int64', 'repeated'],
  },
  TypeProto: {
    tensor_type: [1, 'TensorTypeProto'],
    sequence_type: [4, 'SequenceTypeProto'],
    map_type: [5, 'MapTypeProto'],
    opaque_type: [7, 'OpaqueTypeProto'],
    sparse_tensor_type: [8, 'TensorTypeProto'],
    optional_type: [9, 'SequenceTypeProto'],
    denotation: [6, 'string'],
  },
  TensorTypeProto: { elem_type: [1, 'int32'], shape: [2, 'TensorShapeProto'] },
  SequenceTypeProto: { elem_type: [1, 'TypeProto'] },
  MapTypeProto: { key_type: [1, 'int32'], value_type: [2, 'TypeProto'] },
  OpaqueTypeProto: { domain: [1, 'string'], name: [2, 'string'] },
  TensorShapeProto: { dim: [1, 'DimensionProto', 'repeated'] },
  DimensionProto: { dim_value: [1, 'int64'], dim_param: [2, 'string'], denotation: [3, 'string'] },
  OperatorSetIdProto: { domain: [1, 'string'], version: [2, 'int64'] },
  StringStringEntryProto: { key: [1, 'string'], value: [2, 'string'] },
  TensorAnnotation: {
    tensor_name: [1, 'string'],
    quant_parameter_tensor_names: [2, 'StringStringEntryProto', 'repeated'],
  },
  TrainingInfoProto: {
    initialization: [1, 'GraphProto'],
    algorithm: [2, 'GraphProto'],
    initialization_binding: [3, 'StringStringEntryProto', 'repeated'],
    update_binding: [4, 'StringStringEntryProto', 'repeated'],
  },
  FunctionProto: {
    name: [1, 'string'],
    input: [4, 'string', 'repeated'],
    output: [5, 'string', 'repeated'],
    attribute: [6, 'string', 'repeated'],
    attribute_proto: [11, 'AttributeProto', 'repeated'],
    node: [7, 'NodeProto', 'repeated'],
    doc_string: [8, 'string'],
    opset_import: [9, 'OperatorSetIdProto', 'repeated'],
    domain: [10, 'string'],
    overload: [13, 'string'],
    value_info: [12, 'ValueInfoProto', 'repeated'],
    metadata_props: [14, 'StringStringEntryProto', 'repeated'],
  },
  DeviceConfigurationProto: {
    name: [1, 'string'],
    num_devices: [2, 'int32'],
    device: [3, 'string', 'repeated'],
  },
  NodeDeviceConfigurationProto: {
    configuration_id: [1, 'string'],
    sharding_spec: [2, 'ShardingSpecProto', 'repeated'],
    pipeline_stage: [3, 'int32'],
  },
  ShardingSpecProto: {
    tensor_name: [1, 'string'],
    device: [2, 'int64', 'repeated'],
    index_to_device_group_map: [3, 'IntIntListEntryProto', 'repeated'],
    sharded_dim: [4, 'ShardedDimProto', 'repeated'],
  },
  IntIntListEntryProto: { key: [1, 'int64'], value: [2, 'int64', 'repeated'] },
  ShardedDimProto: { axis: [1, 'int64'], simple_sharding: [2, 'SimpleShardedDimProto', 'repeated'] },
  SimpleShardedDimProto: { dim_value: [1, 'int64'], dim_param: [2, 'string'], num_shards: [3, 'int64'] },
} as const satisfies Record<string, Record<string, FieldSpec>>;

/** Name of a message of the ONNX schema: ModelProto, GraphProto and so on. */
export type MessageName = keyof typeof SCHEMA;

/** A signed 64-bit integer as protobufjs holds it: exact beyond 2^53. */
export interface Long {
  readonly low: number;
  readonly high: number;
  readonly unsigned: boolean;
  toNumber(): number;
  toBigInt(): bigint;
  toString(): string;
}
/** An int64 of the schema: a number where it is exact, a Long elsewhere. */
export type Int64 = number | Long;

/** TypeScript types of the scalar types of protobuf. */
export interface Scalars {
  int64: Int64;
  int32: number;
  uint32: number;
  float: number;
  string: string;
  bytes: Uint8Array;
}

/** TypeScript type of a field of the schema. */
export type FieldType<S extends FieldSpec> = S[1] extends MessageName
  ? Message<S[1]>
  : S[1] extends keyof Scalars
    ? Scalars[S[1]]
    : never;

/** The decoded form of a message: repeated fields are arrays, absent optional fields are undefined. */
export type Message<M extends MessageName> = {
  -readonly [F in keyof (typeof SCHEMA)[M]]?: (typeof SCHEMA)[M][F] extends FieldSpec
    ? (typeof SCHEMA)[M][F] extends readonly [number, string, 'repeated' | 'packed']
      ? FieldType<(typeof SCHEMA)[M][F]>[]
      : FieldType<(typeof SCHEMA)[M][F]>
    : never;
};

/** ModelProto of the ONNX schema (onnx.proto). */
export type ModelProto = Message<'ModelProto'>;
/** GraphProto of the ONNX schema (onnx.proto). */
export type GraphProto = Message<'GraphProto'>;
/** NodeProto of the ONNX schema (onnx.proto). */
export type NodeProto = Message<'NodeProto'>;
/** AttributeProto of the ONNX schema (onnx.proto). */
export type AttributeProto = Message<'AttributeProto'>;
/** ValueInfoProto of the ONNX schema (onnx.proto). */
export type ValueInfoProto = Message<'ValueInfoProto'>;
/** TensorProto of the ONNX schema (onnx.proto). */
export type TensorProto = Message<'TensorProto'>;
export type SparseTensorProto = Message<'SparseTensorProto'>;
export type TypeProto = Message<'TypeProto'>;
/** FunctionProto of the ONNX schema (onnx.proto). */
export type FunctionProto = Message<'FunctionProto'>;
export type OperatorSetIdProto = Message<'OperatorSetIdProto'>;
export type StringStringEntryProto = Message<'StringStringEntryProto'>;

/** The numeric data fields of TensorProto, by field number; all are read lazily. */
export const PAYLOAD_FIELDS = {
  4: 'float_data',
  5: 'int32_data',
  7: 'int64_data',
  9: 'raw_data',
  10: 'double_data',
  11: 'uint64_data',
} as const;
export type PayloadField = (typeof PAYLOAD_FIELDS)[keyof typeof PAYLOAD_FIELDS];
export const PAYLOAD_FIELD_NUMBERS = Object.fromEntries(
  Object.entries(PAYLOAD_FIELDS).map(([number, name]) => [name, Number(number)]),
) as Record<PayloadField, number>;
export const PAYLOAD_ID_FIELD: number = SCHEMA.TensorProto.payload_ids[0];

/** Field number -> [name, type, label] of each message, for walking the wire format. */
export const FIELDS_BY_NUMBER: Readonly<Record<MessageName, ReadonlyMap<number, readonly [string, string]>>> =
  Object.fromEntries(
    Object.entries(SCHEMA).map(([message, fields]) => [
      message,
      new Map(Object.entries(fields).map(([name, [number, type]]) => [number, [name, type]] as const)),
    ]),
  ) as unknown as Record<MessageName, ReadonlyMap<number, readonly [string, string]>>;

/** Messages that hold a TensorProto at any depth: the only ones the scanner has to descend into. */
export const HOLDS_TENSOR: ReadonlySet<string> = (() => {
  const holders = new Set<string>(['TensorProto']);
  for (let grown = true; grown; ) {
    grown = false;
    for (const [message, fields] of Object.entries(SCHEMA)) {
      if (!holders.has(message) && Object.values(fields).some((field) => holders.has(field[1]))) {
        holders.add(message);
        grown = true;
      }
    }
  }
  return holders;
})();

export function isMessageName(type: string): type is MessageName {
  return Object.hasOwn(SCHEMA, type);
}
