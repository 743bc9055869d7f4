export {
  ATTRIBUTE_FIELDS,
  type AttributeProtos,
  Attributes,
  type AttributeValue,
  makeAttribute,
} from './attribute.js';
export {
  buildGraph,
  buildModel,
  type FunctionSpec,
  type GraphSpec,
  type ModelSpec,
  type ValueSpec,
  withGraph,
  withNodes,
} from './build.js';
export { assertValid, check, type Problem } from './check/check.js';
export {
  type ComputedConstant,
  type ConstantResult,
  type ConstantValue,
  constantNodeTensor,
  constantTensor,
  findConstant,
  isConstant,
  quantizedStorage,
} from './constants/constants.js';
export { KnownConstants } from './constants/known-constants.js';
export { type Difference, type DiffOptions, diffModels, formatDifferences } from './diff/diff.js';
export { isOutOfMemory, ModelError, messageOf, type Where } from './errors.js';
export { assertWritable, atomicWrite, type WriteOptions } from './io/atomic.js';
export { dataFilesOf } from './io/external.js';
export { makeFolder } from './io/folder.js';
export { decodeFragment, encodeFragment } from './io/fragment.js';
export { OpenFiles } from './io/open-files.js';
export { readText, readWhole } from './io/pipe.js';
export { type ReadOptions, readModel } from './io/read.js';
export { Scratch } from './io/scratch.js';
export { type ByteSource, type FileRange, FileSource, MemorySource, RangeSource } from './io/source.js';
export { assertDataFile, modelToBytes, type Saved, type SaveOptions, saveModel } from './io/write.js';
export { assertConstantsFit } from './limits/constant-budget.js';
export { assertFunctionsFit } from './limits/function-size.js';
export { assertFits, DEFAULT_MEMORY_LIMIT, setMemoryLimit } from './limits/memory-limit.js';
export { createModel, isModel, tensorProtos } from './model.js';
export { createNode, makeNode, specOf } from './node.js';
export {
  axisOf,
  isView,
  keepsMeaning,
  OPERATORS,
  type OperatorTraits,
  operatorsWith,
  permutationOf,
  type StandardOperator,
  traitsOf,
} from './operators/index.js';
export { OptionError } from './option-descriptors.js';
export { type PrintOptions, printModel } from './print.js';
export { copyUnknownFields } from './proto/codec.js';
export type { GraphProto, ModelProto, NodeProto } from './proto/schema.js';
export { ancestors, subgraphsOf, valuesRead } from './subgraphs.js';
export {
  byteLengthOf,
  DATA_TYPES,
  type DataType,
  dataTypeOf,
  EPSILON,
  FLOAT_TYPES,
  type FloatType,
  isFloatType,
  SMALLEST,
} from './tensor/data-type.js';
export { asArray, type NativeArray, type NativeArrays, narrow, Tensor, widen } from './tensor/tensor.js';
export type { Graph, GraphEdit, Model, Node, NodeSpec, Origin, Pass, Use } from './types.js';
export { type Dimension, ValueInfo } from './value-info.js';
