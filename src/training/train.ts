import { type Model, ModelError } from '../graph/index.js';
import { occupy } from '../graph/occupied.js';
import type { TrainEvent, TrainResult } from './events.js';
import type { TrainOptions } from './options.js';
import type { Dataset } from './types.js';

export type { TrainResult } from './events.js';

/**
 * A training that is under way. It goes on as its events are taken, or its result is waited for; a loop that is left early
 * ends it.
 */
export interface Training extends AsyncIterable<TrainEvent> {
  /** Trains to the end, over whatever events are not taken yet. */
  result(): Promise<TrainResult>;
}

/**
 * Trains a model on the stock onnxruntime. Its graph stays as it is, and so do names and the notes of chains; the weights
 * change when the training is over, and only then. Layers get weights of their own as `TrainPlan.untied` says,
 * functions that hold or share weights give way to their nodes as `TrainPlan.calls` says, and a fresh last layer comes where `head`
 * asks for one.
 *
 * Work is done in a thread of its own. The same model, data, options and machine give the same bits, whether the training
 * ran through or was stopped and resumed.
 *
 * @throws (from the iteration or `result`) OptionError for options out of range; PatternError for patterns that match nothing; ModelError for data that does not fit;
 *   GradientError naming the nodes that no gradient passes through; ProviderError for a provider that does not load;
 *   DivergenceError with the step and the weight; BusyError where another call is editing the model
 * @example
 * const model = await readModel('model.onnx');
 * await using dataset = await openDataset('mnist', { inputs: inputSpecs(model) });
 * const training = train(model, dataset, { epochs: 5, optimizer: 'adam' });
 * for await (const event of training) {
 *   if (event.kind === 'epoch') console.log(event.record.epoch, event.record.training?.loss);
 * }
 * await saveModel((await training.result()).model, 'trained.onnx');
 */
export function train(model: Model, dataset: Dataset, options: TrainOptions = {}): Training {
  let outcome: TrainResult | undefined;
  let failure: unknown = new ModelError('the training was left before its end');
  async function* follow(): AsyncGenerator<TrainEvent, void> {
    try {
      using _held = occupy(model, 'a training');
      const { events } = await import('./run.js');
      outcome = yield* events(model, dataset, options);
    } catch (error) {
      failure = error;
      throw error;
    }
  }
  const all = follow();
  return {
    [Symbol.asyncIterator]: () => all,
    result: async () => {
      for await (const _event of all);
      if (outcome === undefined) throw failure;
      return outcome;
    },
  };
}
