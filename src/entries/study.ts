/**
 * Networks to study: MLPs and small CNNs of a given depth, width, activation and initialization.
 *
 * @example
 * import { saveModel } from 'onnx-overparam';
 * import { newNetwork } from 'onnx-overparam/study';
 *
 * const model = await newNetwork('cnn', { inputs: [3, 32, 32], depth: 4, width: 16 });
 * await saveModel(model, 'net.onnx');
 *
 * @module
 */

export { newNetwork } from '../study/networks.js';
export {
  ACTIVATIONS,
  type Activation,
  INITIALIZATIONS,
  type Initialization,
  NETWORK_KINDS,
  type NetworkKind,
  type NetworkOptions,
} from '../study/options.js';
