import type { Model } from '../../graph/index.js';
import { fedInputs } from '../../runtime/inputs/input-sizes.js';
import type { InputSpec } from './options.js';

/**
 * What a model takes of one sample, for data to be brought to it: the inputs that must be fed, without the batch.
 *
 * @example
 * const model = await readModel('model.onnx');
 * await using data = await openDataset('mnist', { inputs: inputSpecs(model) });
 */
export function inputSpecs(model: Model): InputSpec[] {
  return fedInputs(model.graph).map(({ name, dataType, shape }) => ({
    name,
    type: dataType,
    shape: shape?.slice(1).map((dim) => (typeof dim === 'number' ? dim : undefined)),
  }));
}
