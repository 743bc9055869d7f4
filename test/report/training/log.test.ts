import { describe, expect, test } from 'vitest';
import { ModelError } from '../../../src/graph/index.js';
import { failureLine, logLine, readTrainLog } from '../../../src/report/training/log.js';
import type { TrainEvent } from '../../../src/training/events.js';
import { CONTEXT, eventsOf, planOf, rankOf, recordOf } from './logs.js';

const linesOf = (events: readonly TrainEvent[]): string[] =>
  events.flatMap((event) => logLine(event, CONTEXT) ?? []);
const events = eventsOf((epoch) => [rankOf('w', 1 - epoch / 10)]);

test('what is written reads back', () => {
  const log = readTrainLog(linesOf(events).join(''));
  expect(log.context).toEqual(CONTEXT);
  expect(log.plan).toMatchObject(planOf());
  expect(log.records).toEqual([0, 1, 2, 3].map((epoch) => recordOf(epoch, [rankOf('w', 1 - epoch / 10)])));
  expect(log.best).toBe(3);
  expect(log.end).toMatchObject({ reason: 'epochs', epochs: 3, steps: 30 });
});

test('each line is one JSON object that says its event; progress is not written', () => {
  const progress: TrainEvent = {
    kind: 'progress',
    epoch: 1,
    step: 1,
    steps: 2,
    loss: 1,
    accuracy: 1,
    learningRate: 1,
    gradientNorm: 1,
    samplesPerSecond: 1,
    secondsLeft: 1,
  };
  expect(logLine(progress, CONTEXT)).toBeUndefined();
  const lines = linesOf(events);
  for (const line of lines) expect(line).toMatch(/^\{"event":"[a-z]+",[^\n]*\}\n$/);
  expect(lines.map((line) => (JSON.parse(line) as { event: string }).event)).toEqual([
    'start',
    'epoch',
    'epoch',
    'improved',
    'epoch',
    'improved',
    'epoch',
    'improved',
    'done',
  ]);
  expect(JSON.parse(lines[0]!)).toMatchObject({ version: 1, model: 'models/net.onnx', optimizer: 'adam' });
});

test('a training that was gone on with is one: of an epoch the last record counts', () => {
  const again = { ...recordOf(2, []), step: 99 };
  const lines = linesOf([
    ...events.slice(0, 6),
    { kind: 'stopped', reason: 'aborted', epoch: 2, step: 24 },
    { kind: 'start', plan: planOf(), resumed: { epoch: 2, step: 24, history: [] } },
    { kind: 'epoch', record: again },
  ]);
  const log = readTrainLog(lines.join(''));
  expect(log.records.map(({ epoch, step }) => [epoch, step])).toEqual([
    [0, 0],
    [1, 10],
    [2, 99],
  ]);
  expect(log.end).toBeUndefined();
});

test('a log that another training was written behind is the second; one that failed says why', () => {
  const text = [...linesOf(events), ...linesOf(events.slice(0, 3)), failureLine('training diverged')].join(
    '',
  );
  const log = readTrainLog(text);
  expect(log.records).toHaveLength(2);
  expect(log.end).toEqual({ reason: 'failed', message: 'training diverged' });
});

test('a last line that was cut short is passed over', () => {
  const text = linesOf(events).join('');
  for (const cut of [1, 2, 40]) {
    const log = readTrainLog(text.slice(0, -cut));
    expect(log.records).toHaveLength(4);
  }
});

describe('what is no log is refused, with the line', () => {
  test.each([
    ['', 'is not the log of a training: it is empty'],
    ['{"event":"epoch","epoch":1,"ranks":[]}\n', 'it does not begin with its start'],
    [`${linesOf(events)[0]}nonsense\n`, 'line 2 is not an event of a training'],
    [`${linesOf(events)[0]}{"event":"epoch"}\n`, 'line 2 is damaged'],
    ['{"event":"start","version":7}\n', 'line 1: logs of version 7 are not known here'],
    ['[1]\n', 'line 1 is not an event'],
  ])('%j', (text, message) => {
    expect(() => readTrainLog(text)).toThrow(ModelError);
    expect(() => readTrainLog(text)).toThrow(message);
  });
});
