import type { Model } from '../graph/index.js';
import { distilled } from '../training/distill.js';
import { train } from '../training/train.js';
import type { Dataset } from '../training/types.js';
import type { Divergence } from './calibration/divergence.js';
import type { CompressOptions } from './options.js';

/**
 * Trains a factorized model to give what the original gives, on all of the data and without its labels (Hinton et al. 2015).
 * Normalizations keep their statistics.
 *
 * @throws GradientError for a model that cannot be trained; as `train` does
 */
export async function finetune(
  model: Model,
  original: Model,
  data: Dataset,
  { loss, output, axis }: Divergence,
  options: Pick<CompressOptions, 'finetune' | 'learningRate' | 'seed' | 'threads' | 'onProgress'>,
): Promise<void> {
  const { finetune: epochs = 1, learningRate, seed, threads, onProgress } = options;
  await using taught = await distilled(data, original, { output, loss: loss.kind, axis, threads });
  const training = train(model, taught, {
    loss,
    output,
    epochs,
    learningRate,
    seed,
    threads,
    batchNorm: 'inference',
    ranks: false,
  });
  for await (const event of training)
    if (event.kind === 'progress') {
      const what = `fine-tuning, epoch ${event.epoch} of ${epochs}`;
      onProgress?.({ what, done: event.step, total: event.steps });
    }
  await training.result();
}
