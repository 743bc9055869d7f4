import type { LogContext } from '../../../src/report/training/log.js';
import type { NamedLog } from '../../../src/report/training/page-data.js';
import type { EpochRecord, RankFigures, TrainEvent, TrainPlan } from '../../../src/training/events.js';

export const CONTEXT: LogContext = {
  tool: '1.2.3',
  time: '2025-01-02T03:04:05.000Z',
  model: 'models/net.onnx',
  data: 'digits',
};

export function planOf(fields: Partial<TrainPlan> = {}): TrainPlan {
  return {
    weights: [{ name: 'w', shape: [4, 6], decays: true }],
    parameters: 24,
    frozen: ['b'],
    untied: [],
    filled: [],
    chains: 0,
    samples: 640,
    validationSamples: 64,
    batch: 64,
    stepsPerEpoch: 10,
    epochs: 3,
    loss: 'cross-entropy',
    optimizer: 'adam',
    learningRate: 0.001,
    schedule: 'cosine',
    seed: 0,
    providers: ['cpu'],
    settings: { patience: 2 },
    ...fields,
  };
}

export function rankOf(weight: string, share: number, fields: Partial<RankFigures> = {}): RankFigures {
  return {
    weight,
    role: 'weight',
    rows: 4,
    columns: 6,
    effectiveRank: 4 * share,
    effectiveRankRatio: share,
    stableRank: 2 * share,
    frobeniusNorm: 3,
    spectralNorm: 2,
    ...fields,
  };
}

export function recordOf(epoch: number, ranks: readonly RankFigures[]): EpochRecord {
  return {
    epoch,
    step: 10 * epoch,
    training:
      epoch === 0 ? undefined : { loss: 2 / epoch, accuracy: 1 - 0.5 / epoch, curve: [2 / epoch, 1 / epoch] },
    validation: { samples: 64, loss: 2.2 / (1 + epoch), accuracy: 1 - 0.6 / (1 + epoch) },
    learningRate: 0.001 / (1 + epoch),
    gradientNorm: epoch === 0 ? undefined : 1.5,
    ranks,
    seconds: 1.25,
  };
}

/** What a training of three epochs says. */
export function eventsOf(ranks: (epoch: number) => readonly RankFigures[]): TrainEvent[] {
  const records = [0, 1, 2, 3].map((epoch) => recordOf(epoch, ranks(epoch)));
  return [
    { kind: 'start', plan: planOf(), resumed: undefined },
    { kind: 'epoch', record: records[0]! },
    ...[1, 2, 3].flatMap((epoch): TrainEvent[] => [
      { kind: 'epoch', record: records[epoch]! },
      { kind: 'improved', epoch, monitor: 'accuracy', value: records[epoch]!.validation!.accuracy! },
    ]),
    {
      kind: 'done',
      summary: {
        reason: 'epochs',
        epochs: 3,
        steps: 30,
        seconds: 5,
        best: records[3],
        last: records[3],
        test: undefined,
      },
    },
  ];
}

export type { NamedLog };
