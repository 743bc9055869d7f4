/**
 * The graph library for browsers and other places without Node's files: models from bytes to bytes. Everything of `onnx-overparam/graph`
 * is here, and the verbs that run no model. In Node take `onnx-overparam` and `onnx-overparam/graph`.
 *
 * @example
 * import { check, modelToBytes, printModel, readModel } from 'onnx-overparam/browser';
 *
 * const model = await readModel(new Uint8Array(await (await fetch('model.onnx')).arrayBuffer()));
 * console.log(printModel(model), check(model));
 * model.graph.renameInput('x', 'image');
 * const blob = new Blob([modelToBytes(model) as BlobPart]);
 *
 * @module onnx-overparam/browser
 */

export * from '../entries/graph.js';
export { check } from '../graph/check/check.js';
export { diffModels } from '../graph/diff/diff.js';
export {
  buildModel,
  ModelError,
  type ModelSpec,
  modelToBytes,
  OptionError,
  readModel,
  setMemoryLimit,
} from '../graph/index.js';
export { findMatches, type Match, matchNode, type Pattern } from '../graph/match.js';
export { printModel } from '../graph/print.js';
