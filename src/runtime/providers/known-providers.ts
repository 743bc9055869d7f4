/** What a model can run on. Which of them load depends on the platform and on what is installed: see diagnose. */
export const EXECUTION_PROVIDERS = ['cpu', 'cuda', 'webgpu', 'tensorrt', 'coreml', 'directml'] as const;
/** Name of an execution provider: an element of EXECUTION_PROVIDERS. */
export type ExecutionProvider = (typeof EXECUTION_PROVIDERS)[number];

interface ProviderInfo {
  readonly title: string;
  /** As onnxruntime-node calls it. */
  readonly native: string;
  /** As the profile calls it. */
  readonly profiled: string;
  readonly takesDevice: boolean;
  /** Where onnxruntime-node has it. */
  readonly platforms: string;
  /** Whether it multiplies float64 matrices. */
  readonly hasFloat64: boolean;
}

export const PROVIDERS = {
  cpu: {
    title: 'CPU',
    native: 'cpu',
    profiled: 'CPUExecutionProvider',
    takesDevice: false,
    platforms: 'everywhere',
    hasFloat64: true,
  },
  cuda: {
    title: 'CUDA',
    native: 'cuda',
    profiled: 'CUDAExecutionProvider',
    takesDevice: true,
    platforms: 'Linux on x64',
    hasFloat64: true,
  },
  webgpu: {
    title: 'WebGPU',
    native: 'webgpu',
    profiled: 'WebGpuExecutionProvider',
    takesDevice: false,
    platforms: 'Linux on x64, Windows and macOS',
    hasFloat64: false,
  },
  tensorrt: {
    title: 'TensorRT',
    native: 'tensorrt',
    profiled: 'TensorrtExecutionProvider',
    takesDevice: true,
    platforms: 'Linux on x64',
    hasFloat64: false,
  },
  coreml: {
    title: 'Core ML',
    native: 'coreml',
    profiled: 'CoreMLExecutionProvider',
    takesDevice: false,
    platforms: 'macOS',
    hasFloat64: false,
  },
  directml: {
    title: 'DirectML',
    native: 'dml',
    profiled: 'DmlExecutionProvider',
    takesDevice: true,
    platforms: 'Windows',
    hasFloat64: false,
  },
} as const satisfies Record<ExecutionProvider, ProviderInfo>;
