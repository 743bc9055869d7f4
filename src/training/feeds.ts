import { type Model, ModelError } from '../graph/index.js';
import { fedInputs } from '../runtime/index.js';
import type { Dataset } from './types.js';

/**
 * Which input of a data set goes into which of a model, from the model's name to that of the data: by name or, where the names do not
 * match, by position.
 *
 * @param role what the model is called where the data has too few inputs
 */
export function feedsOf(
  model: Model,
  dataset: Dataset,
  role: 'model' | 'teacher' = 'model',
): ReadonlyMap<string, string> {
  const wanted = fedInputs(model.graph).map(({ name }) => name);
  const given = dataset.inputs.map(({ name }) => name);
  if (given.length < wanted.length) {
    throw new ModelError(
      `the ${role} takes ${wanted.length} inputs (${wanted.join(', ')}), but the data has ${given.length} (${given.join(', ')})`,
      { file: model.path },
    );
  }
  const isNamed = wanted.every((name) => given.includes(name));
  return new Map(wanted.map((name, index) => [name, isNamed ? name : (given[index] ?? name)]));
}
