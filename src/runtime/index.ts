export { type BenchOptions, type BenchReport, type BenchRow, benchModels } from './bench.js';
export { BLOCKED_DOMAIN, blockSize } from './blocked-layout.js';
export { constantTensor, evaluateConstant } from './constant.js';
export { type DiagnoseOptions, type Diagnosis, diagnose, type ProviderDiagnosis } from './doctor.js';
export { type GramOptions, gram } from './gram.js';
export { installCuda } from './install.js';
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
export { batchedMatmul, type MatmulOptions, type MatrixBatch, matmul } from './matmul.js';
export { type Matrix, type ProductPlace, withProducts } from './matrix.js';
export type { Gpu } from './nvidia-smi.js';
export { checkDims, dimKey, isOpen, type OpenDims, onOpenDims, sizeIn } from './open-dims.js';
export type { PlacedNode, Placement, ProviderUse } from './placement.js';
export { type Proof, proveWork } from './proof.js';
export { ProviderError, type ProviderFailure } from './provider-failure.js';
export {
  EXECUTION_PROVIDERS,
  type ExecutionProvider,
  float64Providers,
  type ProviderChoice,
} from './providers.js';
export { Random } from './random.js';
export { fedInputs, type RandomInputOptions, randomInputs } from './random-inputs.js';
export { fetchTensor, releaseTensor } from './resident.js';
export { disposeKernels, evaluate, runGraph } from './run-graph.js';
export { type ModelRun, type RunModelOptions, runModel } from './run-model.js';
export {
  openSession,
  RUNTIME_TYPES,
  type RunOptions,
  type RuntimeTensor,
  type Session,
  type SessionOptions,
  type SessionValue,
} from './session.js';
export { summarize, type TensorSummary, type TopEntry, topK } from './summary.js';
export { isWrongConv, wrongOnWebGpu } from './webgpu-defects.js';
