export { constantTensor, evaluateConstant } from './constant.js';
export { type GramOptions, gram } from './gram.js';
export { batchedMatmul, type MatmulOptions, type MatrixBatch, matmul } from './matmul.js';
export type { Matrix } from './matrix.js';
export { Random } from './random.js';
export { fedInputs, type RandomInputOptions, randomInputs } from './random-inputs.js';
export { disposeKernels, evaluate, runGraph } from './run-graph.js';
export {
  EXECUTION_PROVIDERS,
  type ExecutionProvider,
  openSession,
  RUNTIME_TYPES,
  type RunOptions,
  type RuntimeTensor,
  type Session,
  type SessionOptions,
  type SessionValue,
} from './session.js';
