import { expect, test } from 'vitest';
import { trainDocument } from '../../../src/report/training/summary.js';
import type { EpochRecord } from '../../../src/training/events.js';
import type { TrainResult } from '../../../src/training/train.js';
import { MLP } from '../../passes/gradient/networks.js';

function record(epoch: number, loss: number, accuracy: number | undefined): EpochRecord {
  return {
    epoch,
    step: 10 * epoch,
    training: epoch === 0 ? undefined : { loss, accuracy, curve: [loss] },
    validation: { samples: 50, loss, accuracy },
    learningRate: 0.1,
    gradientNorm: 1,
    ranks: [],
    seconds: 1,
  };
}

test.each([
  ['accuracy fell', [0.5, 0.9], [0.4, 0.8], true],
  ['accuracy rose, though the loss did too', [0.5, 0.8], [0.6, 0.9], false],
  ['the loss rose', [0.5, undefined], [0.6, undefined], true],
  ['the loss is no number', [0.5, undefined], [Number.NaN, undefined], true],
  ['all is as it was', [0.5, 0.9], [0.5, 0.9], false],
] as const)('a summary warns where the model was better before: %s', (_, before, after, warns) => {
  const history = [record(0, before[0], before[1]), record(1, after[0], after[1])];
  const [, last] = history;
  const result: TrainResult = {
    model: MLP('float32'),
    history,
    reason: 'epochs',
    epochs: 1,
    steps: 10,
    seconds: 2,
    best: last,
    last,
    test: undefined,
    pruned: undefined,
  };
  const { notes } = trainDocument(result);
  expect(
    notes.some(({ text, tone }) => text.startsWith('the model was better before') && tone === 'warning'),
  ).toBe(warns);
});
