import type { Model } from '../../graph/index.js';
import type { InputSpec } from '../../training/data/index.js';

/** What a model takes of one sample, for data to be brought to it. */
export async function dataInputs(model: Model): Promise<InputSpec[]> {
  const { fedInputs } = await import('../../runtime/session/random-inputs.js');
  return fedInputs(model.graph).map(({ name, dataType, shape }) => ({
    name,
    type: dataType,
    shape: shape?.slice(1).map((dim) => (typeof dim === 'number' ? dim : undefined)),
  }));
}
