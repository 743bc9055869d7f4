import type { Model } from '../../graph/index.js';
import type { Checkpoint } from '../../runtime/checkpoint/index.js';
import { checkpointWeights } from './checkpoint/checkpoint-weights.js';
import type { StoredUse, WeightUser } from './types.js';
import { findWeights, type Overlooked, type WeightMatrix, type WeightOptions } from './weights.js';

/** Where weights are read from: a model or, without a graph, a checkpoint. */
export type WeightStore = Model | Checkpoint;

/** What is found in either, in one form. */
export interface StoreWeights {
  readonly weights: readonly WeightMatrix<StoredUse>[];
  readonly others: readonly Overlooked<WeightUser>[];
}

export function isCheckpoint(source: WeightStore): source is Checkpoint {
  return 'tensors' in source;
}

/**
 * The weight matrices of a model, as findWeights has them, or of a checkpoint. Reads no weights.
 *
 * @throws ModelError as findWeights; for damaged descriptions of quantized tensors
 */
export async function weightsOfStore(
  source: WeightStore,
  options: WeightOptions = {},
): Promise<StoreWeights> {
  return isCheckpoint(source) ? checkpointWeights(source) : findWeights(source, options);
}
