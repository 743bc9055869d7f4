import { expect, test } from 'vitest';
import { render } from '../../../src/report/text/render.js';
import { epochsDocument } from '../../../src/report/training/epochs.js';
import { logLine, readTrainLog } from '../../../src/report/training/log.js';
import { runData, weightsOf } from '../../../src/report/training/page-data.js';
import { groupSeeds } from '../../../src/report/training/seeds.js';
import { estimate } from '../../../src/study/statistics.js';
import type { TrainEvent } from '../../../src/training/events.js';
import { CONTEXT, eventsOf, type NamedLog, rankOf } from './logs.js';

/** A training whose weight uses `share` of its rank, under a seed. */
function seeded(name: string, seed: number, share: number, optimizer = 'adam'): NamedLog {
  const events = eventsOf((epoch) => [rankOf('w', share - 0.01 * epoch)]).map(
    (event): TrainEvent =>
      event.kind === 'start'
        ? { ...event, plan: { ...event.plan, seed, optimizer: optimizer as never } }
        : event,
  );
  return { name, log: readTrainLog(events.map((event) => logLine(event, CONTEXT) ?? '').join('')) };
}

const LOGS = [seeded('a', 0, 0.5), seeded('b', 1, 0.6), seeded('c', 2, 0.9), seeded('d', 0, 0.4, 'sgd')];

test('seeds of one plan are a group: means, with the intervals of t', () => {
  const groups = groupSeeds(LOGS);
  expect(groups.map(({ name, members }) => [name, members.length])).toEqual([
    ['a and 2 more seeds', 3],
    ['d', 1],
  ]);
  const { mean } = runData(groups[0]!).curves;
  const first = LOGS.slice(0, 3).map((log) => runData(log).curves.mean.ys[0]!);
  const wanted = estimate(first);
  expect(mean.ys[0]).toBeCloseTo(wanted.mean, 4);
  expect(mean.lows?.[0]).toBeCloseTo(wanted.low, 4);
  expect(mean.highs?.[0]).toBeCloseTo(wanted.high, 4);
  expect(runData(groups[1]!).curves.mean).toEqual(runData(LOGS[3]!).curves.mean);
  const [weight] = weightsOf(groups);
  expect(weight?.runs[0]?.bands?.lows[0]?.[0]).toBeCloseTo(wanted.low, 3);
  expect(weight?.runs[1]?.bands).toBeUndefined();
});

test('CSV: a row for each epoch of each log, and its group', () => {
  const lines = render(epochsDocument(LOGS), { format: 'csv' }).trim().split('\r\n');
  expect(lines[0]).toMatch(/^log,group,model,optimizer,seed,epoch,step,trainLoss/);
  expect(lines).toHaveLength(1 + LOGS.reduce((sum, { log }) => sum + log.records.length, 0));
  expect(lines.filter((line) => /^[abc],a,/.test(line))).toHaveLength(3 * LOGS[0]!.log.records.length);
});
