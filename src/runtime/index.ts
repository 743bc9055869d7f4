export { constantTensor, evaluateConstant } from './constants/constant.js';
export { fedInputs, inputSizes, onOpenDims } from './inputs/input-sizes.js';
export { checkDims, dimKey, isOpen, type OpenDims, sizeIn } from './inputs/open-dims.js';
export { type RandomInputOptions, randomInputs } from './inputs/random-inputs.js';
export { readTensorFile, type TensorFile, writeTensorFile } from './io/files.js';
export {
  IMAGE_FITS,
  type Image,
  type ImageFit,
  isImageName,
  type ReadImageOptions,
  readImage,
  resizePixels,
} from './io/image.js';
export { type ImageInput, type ImageInputOptions, imageTensor } from './io/image-input.js';
export { readJsonTensors, writeJsonTensors } from './io/json.js';
export { isNpy, type NpyHead, readNpy, readNpyHead, swapBytes, writeNpy } from './io/npy.js';
export { readNpz, writeNpz } from './io/npz.js';
export {
  type ChannelScaling,
  channelScaling,
  type FittedPixels,
  fitPixels,
  NORMALIZATIONS,
  type Normalization,
  type NormalizationName,
  PIXEL_LAYOUTS,
  type PixelArray,
  type PixelGeometry,
  type PixelLayout,
  type PixelWindow,
  placePixels,
} from './io/pixels.js';
export { readSafetensors, type Safetensors, safetensors } from './io/safetensors.js';
export { convert } from './io/values.js';
export { listZip, readZipMember, type ZipMember } from './io/zip.js';
export { BLOCKED_DOMAIN, blockSize } from './providers/blocked-layout.js';
export {
  type DiagnoseOptions,
  type Diagnosis,
  diagnose,
  type ProviderDiagnosis,
} from './providers/doctor.js';
export { installCuda } from './providers/install.js';
export type { Gpu } from './providers/nvidia-smi.js';
export { type Proof, proveWork } from './providers/proof.js';
export { ProviderError, type ProviderFailure } from './providers/provider-failure.js';
export {
  EXECUTION_PROVIDERS,
  type ExecutionProvider,
  float64Providers,
  type ProviderChoice,
} from './providers/providers.js';
export { isWrongConv, wrongOnWebGpu } from './providers/webgpu-defects.js';
export { Random } from './random.js';
export { type BenchOptions, type BenchReport, type BenchRow, benchModels } from './session/bench.js';
export type { PlacedNode, Placement, ProviderUse } from './session/placement.js';
export { fetchTensor, releaseTensor } from './session/resident.js';
export { disposeKernels, evaluate, runGraph } from './session/run-graph.js';
export { type ModelRun, type RunModelOptions, runModel } from './session/run-model.js';
export { openSession } from './session/session.js';
export { summarize, type TensorSummary, type TopEntry, topK } from './session/summary.js';
export {
  RUNTIME_TYPES,
  type RunOptions,
  type RuntimeTensor,
  type Session,
  type SessionOptions,
  type SessionValue,
} from './types.js';
