import { hasChains } from '../../affine/note.js';
import type { Model } from '../../graph/index.js';
import type { Checkpoint } from '../../runtime/checkpoint/index.js';
import type { WeightOptions } from './find-weights.js';
import type { StoredUse, WeightUser } from './types.js';
import { type Overlooked, type WeightMatrix, weightsInSight, withWeightsInSight } from './weights.js';

/** What is found in a model, a checkpoint or several of them, in one form. */
export interface StoreWeights {
  readonly weights: readonly WeightMatrix<StoredUse>[];
  readonly others: readonly Overlooked<WeightUser>[];
}

/** Weights that were found already, or that others are made of: differences, products. */
export interface WeightList extends StoreWeights {
  readonly path: string | undefined;
}

/** Where weights are read from: a model; a checkpoint, which has no graph; or a list. */
export type WeightStore = Model | Checkpoint | WeightList;

export function isCheckpoint(source: WeightStore): source is Checkpoint {
  return 'tensors' in source;
}

/**
 * The weight matrices of a model, as findWeights has them, or of a checkpoint. Reads no weights.
 *
 * @throws ModelError for functions that stand for more nodes than fit the memory limit, and for damaged descriptions of quantized tensors
 * @example
 * const source = await openCheckpoint('model.safetensors');
 * if ('tensors' in source) {
 *   for (const { name, rows, columns } of (await weightsOfStore(source)).weights) console.log(name, rows, columns);
 * }
 */
export async function weightsOfStore(
  source: WeightStore,
  options: WeightOptions = {},
): Promise<StoreWeights> {
  if ('weights' in source) return source;
  if (!isCheckpoint(source)) {
    if (!hasChains(source)) return weightsInSight(withWeightsInSight(source));
    const { findWeights } = await import('./find-weights.js');
    return findWeights(source, options);
  }
  const { checkpointWeights } = await import('./checkpoint/checkpoint-weights.js');
  return checkpointWeights(source);
}
