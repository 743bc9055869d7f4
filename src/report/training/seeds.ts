import { estimate } from '../../study/statistics.js';
import type { EpochRecord, RankFigures } from '../../training/events.js';
import type { Evaluation } from '../../training/types.js';
import type { NamedLog } from './page-data.js';

/** Trainings that differ in their seed alone, as one: records are means over the seeds. */
export interface SeedGroup extends NamedLog {
  /** The trainings; one of them alone where there is no other seed. */
  readonly members: readonly NamedLog[];
}

/**
 * Logs by what was trained: those whose plans differ in the seed alone are one group, whose records are means over the epochs
 * that all of them have.
 *
 * @example
 * const groups = groupSeeds([{ name: 'seed-0.jsonl', log: a }, { name: 'seed-1.jsonl', log: b }]);
 */
export function groupSeeds(logs: readonly NamedLog[]): readonly SeedGroup[] {
  const groups = new Map<string, NamedLog[]>();
  for (const one of logs) {
    const { seed: _, ...plan } = one.log.plan;
    const key = JSON.stringify([plan, one.log.context.data]);
    groups.set(key, [...(groups.get(key) ?? []), one]);
  }
  return [...groups.values()].map((members) => {
    const [first] = members as [NamedLog];
    if (members.length === 1) return { ...first, members };
    const records = first.log.records.flatMap(({ epoch }) => {
      const all = members.map(({ log }) => log.records.find((record) => record.epoch === epoch));
      const known = all.filter((record) => record !== undefined);
      return known.length === members.length ? [meanRecord(known)] : [];
    });
    const log = { ...first.log, records, best: undefined };
    return { name: `${first.name} and ${members.length - 1} more seeds`, log, members };
  });
}

/** The mean of values that all are there. */
function mean(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value): value is number => Number.isFinite(value));
  return known.length < values.length || known.length === 0 ? undefined : estimate(known).mean;
}

function meanRecord(records: readonly EpochRecord[]): EpochRecord {
  const [first] = records as [EpochRecord];
  const of = (pick: (record: EpochRecord) => number | undefined): number | undefined =>
    mean(records.map(pick));
  const losses = first.training?.curve.map((_, i) => of(({ training }) => training?.curve[i]) ?? Number.NaN);
  return {
    ...first,
    training: first.training && {
      loss: of(({ training }) => training?.loss) ?? Number.NaN,
      accuracy: of(({ training }) => training?.accuracy),
      curve: losses ?? [],
    },
    validation: meanEvaluation(records.map(({ validation }) => validation)),
    learningRate: of(({ learningRate }) => learningRate) ?? first.learningRate,
    gradientNorm: of(({ gradientNorm }) => gradientNorm),
    ranks: first.ranks.map((row, i) =>
      meanRanks(
        row,
        records.map(({ ranks }) => ranks[i]),
      ),
    ),
    seconds: of(({ seconds }) => seconds) ?? first.seconds,
  };
}

function meanEvaluation(all: readonly (Evaluation | undefined)[]): Evaluation | undefined {
  const [first] = all;
  const loss = mean(all.map((one) => one?.loss));
  if (first === undefined || loss === undefined) return undefined;
  return { ...first, loss, accuracy: mean(all.map((one) => one?.accuracy)) };
}

function meanRanks(first: RankFigures, all: readonly (RankFigures | undefined)[]): RankFigures {
  const figures = Object.entries(first).map(([key, value]) => {
    if (typeof value !== 'number' || key === 'rows' || key === 'columns') return [key, value];
    return [key, mean(all.map((row) => row?.[key as keyof RankFigures] as number | undefined)) ?? Number.NaN];
  });
  return Object.fromEntries(figures) as RankFigures;
}
