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
 * @module
 */
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
