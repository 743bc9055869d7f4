import type { RankReport, RankRow } from '../../analysis/report/rank-report.js';
import { figureOf } from '../../analysis/spectra/descriptors.js';
import { METRICS, type MetricDescriptor } from '../../analysis/spectra/metrics.js';
import { type Estimate, estimate } from '../../study/statistics.js';
import { type Column, type Document, grid, type Note } from '../text/document.js';
import { counted, formatNumber, printable } from '../text/text.js';
import { figuresJson, metricsJson, type RankDocumentOptions, reportJson } from './rank.js';
import { matrixText, weightColumns } from './rank-columns.js';

/** A weight in all models that have it. */
interface ModelsRow {
  readonly weight: string;
  /** One a model, in their order. */
  readonly rows: readonly (RankRow | undefined)[];
}

/** A weight in one model, for CSV. */
interface TidyRow {
  readonly model: string;
  readonly row: RankRow;
}

/** Metrics for people, the most telling first; CSV and JSON have all. */
const SHOWN: readonly string[] = ['effectiveRank', 'effectiveRankRatio', 'stableRank', 'spectralNorm'];

/**
 * Rank reports of several models, the seeds of one training say: of each weight the mean over the models with its interval of
 * 95 % by Student's t. The CSV is tidy, a row for each weight of each model.
 *
 * @param form 'csv' for the tidy rows; the rest has a row a weight
 * @throws RangeError where there is no report
 * @example
 * const document = modelsDocument([{ name: 'model.onnx', report: await rankReport(model) }]);
 * console.log(render(document, { format: 'json' }));
 */
export function modelsDocument(
  models: readonly { readonly name: string; readonly report: RankReport }[],
  options: RankDocumentOptions = {},
  form?: 'csv' | undefined,
): Document {
  const [first] = models;
  if (first === undefined) throw new RangeError('there is no report');
  const { metrics = METRICS } = options;
  const shown = metrics.filter(({ key }) => options.metrics !== undefined || SHOWN.includes(key));
  const rows = matched(models.map(({ report }) => report));
  const all = models.flatMap(({ report }) => report.rows);
  return {
    kind: 'rank-models',
    title: `Ranks of ${counted(models.length, 'model')}`,
    data: {
      models: models.map(({ name, report }) => ({ model: name, ...reportJson(report, options) })),
      metrics: metricsJson(all),
      weights: rows.map((row) => ({
        weight: row.weight,
        models: row.rows.map((one) => (one === undefined ? null : figuresJson(one))),
        ...Object.fromEntries(
          (['mean', 'low', 'high', 'n'] as const).map((part) => [
            part,
            Object.fromEntries(METRICS.map(({ key }) => [key, finite(over(row, key)[part])])),
          ]),
        ),
      })),
    },
    grids: form === 'csv' ? [tidyGrid(models, metrics)] : [grid(columnsOf(shown, models.length), rows)],
    notes: notesOf(rows, models.length),
  };
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

/** Weights of one name, those of one model in their order. */
function matched(reports: readonly RankReport[]): readonly ModelsRow[] {
  const found = new Map<string, (RankRow | undefined)[]>();
  for (const [index, { rows }] of reports.entries()) {
    const seen = new Map<string, number>();
    for (const row of rows) {
      const count = seen.get(row.weight) ?? 0;
      seen.set(row.weight, count + 1);
      const key = `${count} ${row.weight}`;
      const made = found.get(key) ?? reports.map(() => undefined);
      made[index] = row;
      found.set(key, made);
    }
  }
  return [...found].map(([key, rows]) => ({ weight: key.slice(key.indexOf(' ') + 1), rows }));
}

function over({ rows }: ModelsRow, key: MetricDescriptor['key']): Estimate {
  return estimate(
    rows.flatMap((row) => {
      const value = row && figureOf(row, key);
      return value !== undefined && Number.isFinite(value) ? [value] : [];
    }),
  );
}

function columnsOf(metrics: readonly MetricDescriptor[], models: number): readonly Column<ModelsRow>[] {
  return [
    { key: 'weight', header: 'weight', shrink: 20, value: ({ weight }) => weight },
    {
      key: 'matrix',
      header: 'matrix',
      value: ({ rows }) => [...new Set(rows.flatMap((row) => (row ? matrixText(row) : [])))].join(' and '),
    },
    {
      key: 'models',
      header: 'models',
      align: 'right',
      value: ({ rows }) => rows.filter((row) => row !== undefined).length,
      text: ({ rows }) => `${rows.filter((row) => row !== undefined).length} of ${models}`,
    },
    ...metrics.map(
      (metric, priority): Column<ModelsRow> => ({
        key: metric.key,
        header: metric.header,
        definition: `${metric.definition}; mean over the models, with its interval of 95 % by Student's t`,
        unit: metric.unit,
        align: 'right',
        priority,
        value: (row) => over(row, metric.key).mean,
        text: (row) => estimateText(over(row, metric.key), metric),
      }),
    ),
  ];
}

function estimateText({ mean, low, high, n }: Estimate, { format }: MetricDescriptor): string {
  if (n === 0) return '–';
  const text = (value: number): string => formatNumber(value, format === 'count' ? 'fixed1' : format);
  return n < 2 ? text(mean) : `${text(mean)} [${text(low)}, ${text(high)}]`;
}

function tidyGrid(
  models: readonly { readonly name: string; readonly report: RankReport }[],
  metrics: readonly MetricDescriptor[],
) {
  const rows = models.flatMap(({ name, report }) =>
    report.rows.map((row): TidyRow => ({ model: name, row })),
  );
  const weights = weightColumns(rows.map(({ row }) => row));
  return grid<TidyRow>(
    [
      { key: 'model', header: 'model', value: ({ model }) => model },
      ...weights.map(({ value, text: _, ...column }) => ({
        ...column,
        value: ({ row }: TidyRow) => value(row),
      })),
      ...metrics.map(({ key, header }) => ({
        key,
        header,
        value: ({ row }: TidyRow) => figureOf(row, key),
      })),
    ],
    rows,
  );
}

function notesOf(rows: readonly ModelsRow[], models: number): readonly Note[] {
  const some = rows.filter((row) => row.rows.some((one) => one === undefined));
  if (some.length === 0) return [];
  const names = some.slice(0, 6).map(({ weight }) => printable(weight));
  const more = some.length > names.length ? `, and ${some.length - names.length} more` : '';
  return [{ text: `Not in all ${models} models: ${names.join(', ')}${more}`, tone: 'warning' }];
}
