/**
 * Models in memory: read, made by hand, looked at, edited, checked, compared and written. Nothing here runs a model or loads
 * onnxruntime. readModel, saveModel, buildModel and the other verbs are in `onnx-overparam`.
 *
 * @example
 * import { buildModel } from 'onnx-overparam';
 * import { assertValid, Tensor } from 'onnx-overparam/graph';
 *
 * const model = buildModel({
 *   inputs: [['x', 'float32', ['batch', 4]]],
 *   outputs: [['y', 'float32', ['batch', 2]]],
 *   nodes: [{ opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }],
 *   initializers: [Tensor.of('w', 'float32', [4, 2], new Float32Array(8))],
 * });
 * model.graph.renameInput('x', 'features');
 * assertValid(model);
 *
 * @module onnx-overparam/graph
 */

export type { FunctionSpec, GraphSpec, ValueSpec } from '../graph/build.js';
export { assertValid, type Problem } from '../graph/check/check.js';
export { alignNames, type Renamed } from '../graph/diff/align.js';
export { type Difference, type DiffOptions, formatDifferences } from '../graph/diff/diff.js';
export {
  type Attributes,
  type AttributeValue,
  assertWritable,
  atomicWrite,
  type ByteSource,
  type ConstantResult,
  type ConstantValue,
  createModel,
  type DataType,
  type Dimension,
  FileSource,
  type FloatType,
  findConstant,
  type Graph,
  type GraphEdit,
  isConstant,
  isFloatType,
  MemorySource,
  type Model,
  type NativeArray,
  type NativeArrays,
  type Node,
  type NodeSpec,
  narrow,
  type Origin,
  type Pass,
  type ReadOptions,
  type SaveOptions,
  Scratch,
  Tensor,
  type Use,
  ValueInfo,
  type Where,
  type WriteOptions,
  widen,
} from '../graph/index.js';
export type { FileIdentity } from '../graph/io/atomic.js';
export type { FileRange } from '../graph/io/source.js';
export type { Saved } from '../graph/io/write.js';
export { classNames } from '../graph/names/class-names.js';
export { glob, PatternError } from '../graph/names/glob.js';
export { BusyError } from '../graph/occupied.js';
export type { PrintOptions } from '../graph/print.js';
export type {
  AttributeProto,
  FieldSpec,
  FieldType,
  FunctionProto,
  GraphProto,
  Int64,
  Long,
  Message,
  MessageName,
  ModelProto,
  NodeProto,
  Scalars,
  TensorProto,
  ValueInfoProto,
} from '../graph/proto/schema.js';
export type { Skipped } from '../graph/skipped.js';
export type { GraphIndex } from '../graph/types.js';
