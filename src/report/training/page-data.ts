import { estimate } from '../../study/statistics.js';
import type { EpochRecord, RankFigures } from '../../training/events.js';
import type { Curve, CurveName, MetricData, RunData, WeightData, WeightRun } from '../html/types.js';
import { formatCount, formatNumber, printable } from '../text/text.js';
import type { TrainLog } from './log.js';

/** A training to draw, under a name. */
export interface NamedLog {
  readonly name: string;
  readonly log: TrainLog;
  /** The trainings whose mean it is: see groupSeeds. */
  readonly members?: readonly NamedLog[] | undefined;
}

/** Figures of a weight that are drawn over the epochs. */
export const RANK_METRICS = [
  {
    key: 'effectiveRankRatio',
    header: 'effective rank / max',
    format: 'percent',
    definition: 'exp(H) / min(m, n), H the spectral entropy of the singular values',
  },
  {
    key: 'effectiveRank',
    header: 'effective rank',
    format: 'fixed1',
    definition: 'exp(H), between 1 and min(m, n) (Roy & Vetterli 2007)',
  },
  {
    key: 'stableRank',
    header: 'stable rank',
    format: 'fixed2',
    definition: '‖W‖F² / ‖W‖2²: a rank that small singular values do not move',
  },
  {
    key: 'frobeniusNorm',
    header: 'Frobenius norm',
    format: 'significant3',
    definition: 'root of the sum of the squared singular values',
  },
  {
    key: 'spectralNorm',
    header: 'spectral norm',
    format: 'significant3',
    definition: 'the largest singular value',
  },
] as const satisfies readonly (MetricData & { key: keyof RankFigures })[];

const digits = (value: number): number => Number(value.toPrecision(5));

function curve(points: readonly (readonly [x: number, y: number | undefined])[]): Curve {
  const known = points.filter((point): point is readonly [number, number] => Number.isFinite(point[1]));
  return { xs: known.map(([x]) => digits(x)), ys: known.map(([, y]) => digits(y)) };
}

/** Mean of the effective ranks over their largest possible values, each weight counted by its elements; chains as wholes. */
export function meanRatio(ranks: readonly RankFigures[]): number | undefined {
  const counted = ranks.filter(({ role }) => role !== 'factor');
  const size = counted.reduce((sum, { rows, columns }) => sum + rows * columns, 0);
  const used = counted.reduce((sum, row) => sum + row.rows * row.columns * row.effectiveRankRatio, 0);
  return size === 0 ? undefined : used / size;
}

/** A curve of means with its band: what the members of a group have at the x of all of them. */
function banded(means: Curve, members: readonly Curve[]): Curve {
  if (members.length < 2) return means;
  const ends = means.xs.map((x) => {
    const values = members.map(({ xs, ys }) => ys[xs.indexOf(x)]).filter((value) => value !== undefined);
    return values.length < members.length ? undefined : estimate(values);
  });
  if (!ends.every((end) => end !== undefined)) return means;
  return {
    ...means,
    lows: ends.map(({ low }) => digits(low)),
    highs: ends.map(({ high }) => digits(high)),
  };
}

/** A training as it is drawn; of a group of seeds means with their intervals. */
export function runData(one: NamedLog): RunData {
  const made = curvesOf(one);
  const members = (one.members ?? []).map(curvesOf);
  const names = Object.keys(made.curves) as CurveName[];
  return {
    ...made,
    curves: Object.fromEntries(
      names.map((name) => [
        name,
        banded(
          made.curves[name],
          members.map(({ curves }) => curves[name]),
        ),
      ]),
    ) as unknown as RunData['curves'],
  };
}

function curvesOf({ name, log }: NamedLog): RunData {
  const { records, best, plan } = log;
  const of = (pick: (record: EpochRecord) => number | undefined): Curve =>
    curve(records.map((record) => [record.epoch, pick(record)]));
  const loss = records.flatMap(({ epoch, training }) => {
    const parts = training?.curve ?? [];
    return parts.map((value, index) => [epoch - 1 + (index + 0.5) / parts.length, value] as const);
  });
  return {
    name: printable(name),
    best,
    epochs: Math.max(plan.epochs, records.at(-1)?.epoch ?? 1),
    curves: {
      loss: curve(loss),
      validationLoss: of(({ validation }) => validation?.loss),
      accuracy: of(({ training }) => training?.accuracy),
      validationAccuracy: of(({ validation }) => validation?.accuracy),
      rate: of(({ learningRate, epoch }) => (epoch === 0 ? undefined : learningRate)),
      norm: of(({ gradientNorm }) => gradientNorm),
      mean: of(({ ranks }) => meanRatio(ranks)),
    },
  };
}

/** The weights of all runs: those of one name and role are one, in the order of the first run that has them. */
export function weightsOf(logs: readonly NamedLog[]): WeightData[] {
  const keyOf = ({ weight, role }: RankFigures): string =>
    `${role === 'factor' ? 'factor' : 'weight'} ${weight}`;
  const found = new Map<string, RankFigures>();
  for (const { log } of logs) {
    for (const { ranks } of log.records) {
      for (const row of ranks) if (!found.has(keyOf(row))) found.set(keyOf(row), row);
    }
  }
  // The factors of a chain behind what they multiply out to.
  const chains = [...found.values()].filter(({ role }) => role !== 'factor').map(({ weight }) => weight);
  const placeOf = ({ role, weight, chain = '' }: RankFigures): number => {
    const place = chains.indexOf(role === 'factor' ? chain : weight);
    return place < 0 ? chains.length : place;
  };
  const ordered = [...found].sort(([, a], [, b]) => placeOf(a) - placeOf(b));
  return ordered.map(([key, first]) => {
    const runs = logs.map(({ log, members = [] }): WeightRun | null => {
      const rows = log.records.flatMap(({ epoch, ranks }) => {
        const row = ranks.find((one) => keyOf(one) === key);
        return row === undefined ? [] : [{ epoch, row }];
      });
      const [one] = rows;
      if (one === undefined) return null;
      return {
        matrix: `${formatCount(one.row.rows)} × ${formatCount(one.row.columns)}`,
        xs: rows.map(({ epoch }) => epoch),
        ys: RANK_METRICS.map((metric) => rows.map(({ row }) => digits(row[metric.key]))),
        ...(members.length > 1 && { bands: bandsOf(rows, members, keyOf, key) }),
      };
    });
    const isChain = logs.some(({ log }) =>
      log.records.some(({ ranks }) => ranks.some((row) => keyOf(row) === key && row.role === 'product')),
    );
    const note =
      first.role === 'factor'
        ? `factor of ${printable(first.chain ?? '')}`
        : isChain
          ? 'a chain as a whole'
          : '';
    return { key, label: printable(first.weight), note, runs };
  });
}

/** The intervals of a weight's figures over seeds. */
function bandsOf(
  rows: readonly { readonly epoch: number }[],
  members: readonly NamedLog[],
  keyOf: (row: RankFigures) => string,
  key: string,
): WeightRun['bands'] & {} {
  const ends = RANK_METRICS.map((metric) =>
    rows.map(({ epoch }) =>
      estimate(
        members.flatMap(({ log }) => {
          const record = log.records.find((one) => one.epoch === epoch);
          const row = record?.ranks.find((one) => keyOf(one) === key);
          return row === undefined ? [] : [row[metric.key]];
        }),
      ),
    ),
  );
  return {
    lows: ends.map((of) => of.map(({ low, mean }) => digits(Number.isNaN(low) ? mean : low))),
    highs: ends.map((of) => of.map(({ high, mean }) => digits(Number.isNaN(high) ? mean : high))),
  };
}

export function figureText(value: number | undefined, metric: number): string {
  return formatNumber(value, RANK_METRICS[metric]?.format ?? 'significant3');
}
