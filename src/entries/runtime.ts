/**
 * Tensors, images and arrays for models to run on, and the execution providers of onnxruntime. openSession, runModel,
 * benchModels and diagnose are in `onnx-overparam`.
 *
 * @example
 * import { openSession, readModel } from 'onnx-overparam';
 * import { randomInputs } from 'onnx-overparam/runtime';
 *
 * const model = await readModel('model.onnx');
 * await using session = await openSession(model);
 * const outputs = await session.run(randomInputs(model));
 *
 * @module onnx-overparam/runtime
 */
export type { Config, OpenOptions, StoredTensor } from '../runtime/checkpoint/index.js';
export {
  type BenchOptions,
  type BenchReport,
  type Diagnosis,
  EXECUTION_PROVIDERS,
  type ExecutionProvider,
  evaluateConstant,
  type Image,
  type ImageFit,
  type ImageInputOptions,
  imageTensor,
  installCuda,
  type ModelRun,
  NORMALIZATIONS,
  type Normalization,
  type Placement,
  ProviderError,
  type RandomInputOptions,
  type ReadImageOptions,
  type RunModelOptions,
  type RunOptions,
  type RuntimeTensor,
  randomInputs,
  readImage,
  readNpy,
  readNpz,
  readTensorFile,
  type Session,
  type SessionOptions,
  type SessionValue,
  summarize,
  topK,
  writeNpy,
  writeNpz,
  writeTensorFile,
} from '../runtime/index.js';
export type { OpenDims } from '../runtime/inputs/open-dims.js';
export type { TensorFile } from '../runtime/io/files.js';
export type { ImageInput } from '../runtime/io/image-input.js';
export type { PixelLayout } from '../runtime/io/image-options.js';
export type { DiagnoseOptions, ProviderDiagnosis } from '../runtime/providers/doctor.js';
export type { Gpu } from '../runtime/providers/nvidia-smi.js';
export type { Proof } from '../runtime/providers/proof.js';
export type { ProviderFailure } from '../runtime/providers/provider-failure.js';
export type { ProviderChoice } from '../runtime/providers/providers.js';
export type { BenchRow } from '../runtime/session/bench.js';
export type { PlacedNode, ProviderUse } from '../runtime/session/placement.js';
export type { TensorSummary, TopEntry } from '../runtime/session/summary.js';
export type { BoundRun } from '../runtime/types.js';
