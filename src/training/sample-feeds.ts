import type { Model } from '../graph/index.js';
import { fedInputs, type RuntimeTensor } from '../runtime/index.js';
import { feedsOf } from './feed.js';
import type { Dataset } from './types.js';

/**
 * Samples of a data set as inputs of a model, for `verifyModels`: picked at equal distances, each a batch of one or, of a model for a
 * certain number, of so many.
 *
 * @param count batches, at most; fewer where the data has fewer samples
 * @throws ModelError for inputs that the data does not have
 * @example
 * await using data = await openDataset('mnist', { split: 'test' });
 * const { passed } = await verifyModels(a, b, { inputs: await sampleFeeds(a, data, 10) });
 */
export async function sampleFeeds(
  model: Model,
  dataset: Dataset,
  count: number,
): Promise<readonly Readonly<Record<string, RuntimeTensor>>[]> {
  const feeds = feedsOf(model, dataset);
  const fixed = fedInputs(model.graph).map(({ shape }) => shape?.[0]);
  const batch = fixed.find((size): size is number => typeof size === 'number' && size > 1) ?? 1;
  const batches = Math.max(1, Math.min(count, Math.floor(dataset.size / batch)));
  const made: Record<string, RuntimeTensor>[] = [];
  for (let index = 0; index < batches; index += 1) {
    const first = index * batch;
    // Of data that does not fill one batch, samples come again.
    const places = Uint32Array.from(
      { length: batch },
      (_, at) => Math.floor(((first + at) * dataset.size) / (batches * batch)) % dataset.size,
    );
    const { inputs } = await dataset.batch(places);
    made.push(
      Object.fromEntries(
        [...feeds].flatMap(([name, from]) => {
          const tensor = inputs[from];
          return tensor === undefined ? [] : [[name, tensor] as const];
        }),
      ),
    );
  }
  return made;
}
