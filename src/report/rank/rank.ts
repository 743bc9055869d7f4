import type { AssertionResult, FailedComparison } from '../../analysis/report/assertion-check.js';
import type { RankReport, RankRow } from '../../analysis/report/rank-report.js';
import {
  ALL_METRICS,
  descriptorOf,
  type Figured,
  figureOf,
  reasonOf,
} from '../../analysis/spectra/descriptors.js';
import { METRICS, type MetricDescriptor, type MetricKey } from '../../analysis/spectra/metrics.js';
import type { Skipped } from '../../graph/skipped.js';
import { embeddingDataColumns, embeddingGrid, embeddingNotes, embeddingsJson } from '../embeddings.js';
import { leftNotes } from '../skipped.js';
import { type Column, type Document, grid, type Note } from '../text/document.js';
import { counted, formatCount, formatNumber } from '../text/text.js';
import { headsGrid } from './heads.js';
import { glyphColumn, metricColumns, weightColumns } from './rank-columns.js';
import { orderNotes, orderRows, type RankOrder } from './rank-order.js';

/** Options of rankDocument and comparisonDocument. */
export interface RankDocumentOptions extends RankOrder {
  /** List every node that was not looked at by itself, and why a figure is missing. */
  readonly verbose?: boolean | undefined;
  /** The columns of tables and CSV, in their order; METRICS unless given. JSON has all that the rows have. */
  readonly metrics?: readonly MetricDescriptor[] | undefined;
  /** Draw the spectra of rows that have their singular values; not unless given. */
  readonly glyph?: 'unicode' | 'ascii' | undefined;
  /** Draw attention heads by layer: the rows are those of headProducts. */
  readonly heads?: boolean | undefined;
  /** What was asserted of the report, and whether it holds. */
  readonly assertions?: readonly CheckedAssertion[] | undefined;
}

/** An assertion with what checkAssertion found. */
export interface CheckedAssertion extends AssertionResult {
  /** As it was written. */
  readonly text: string;
}

/**
 * A rank report in all forms.
 *
 * @example
 * const report = await rankReport(model);
 * console.log(render(rankDocument(report), { format: 'csv' }));
 */
export function rankDocument(report: RankReport, options: RankDocumentOptions = {}): Document {
  const { metrics = METRICS, glyph } = options;
  const rows = orderRows(report.rows, options);
  const columns: Column<RankRow>[] = [
    ...weightColumns(rows),
    ...(glyph === undefined ? [] : [glyphColumn(glyph)]),
    ...metricColumns(metrics),
    { key: 'problem', header: 'problem', only: 'data', value: (row) => row.problem },
    ...embeddingDataColumns(report),
  ];
  const { total } = report;
  const totalName = counted(total.weights, 'weight');
  return {
    kind: 'rank-report',
    title: `Rank report of ${report.model ?? 'the model'}`,
    data: {
      model: report.model ?? null,
      metrics: metricsJson(report.rows),
      ...reportJson({ ...report, rows }, options),
      ...assertionsJson(options),
    },
    grids: [
      grid(columns, rows, {
        total: {
          [columns[0]?.key ?? '']: totalName,
          parameters: formatCount(total.parameters),
          effectiveRank: formatNumber(total.effectiveRank, 'fixed1'),
          effectiveRankRatio: formatNumber(total.effectiveRankRatio, 'percent'),
          numericalRank: formatCount(total.numericalRank),
        },
      }),
      ...[embeddingGrid(report) ?? []].flat(),
      ...(options.heads && glyph !== undefined && rows.length > 0
        ? [headsGrid(report, descriptorOf('effectiveRank'), glyph)]
        : []),
    ],
    notes: [
      ...emptyNotes(report),
      ...orderNotes(report.rows.length, options, metrics),
      ...problemNotes(rows),
      ...missingNotes(rows, metrics, options),
      ...embeddingNotes(report, options),
      ...notLookedAtNotes(report, options),
      ...assertionNotes(options),
    ],
  };
}

/** Failures of one assertion that are told one by one. */
const MOST_FAILURES = 10;

export function assertionNotes({ assertions = [], verbose }: RankDocumentOptions): Note[] {
  return assertions.flatMap(({ text, passed, checked, failures }): Note[] => {
    if (passed) return [{ text: `Holds: ${text} (${counted(checked, 'weight')})`, tone: 'good' }];
    const shown = verbose === true ? failures : failures.slice(0, MOST_FAILURES);
    const more = failures.length - shown.length;
    return [
      {
        text: `Does not hold: ${text} (${formatCount(failures.length)} of ${formatCount(checked)})`,
        tone: 'bad',
      },
      ...shown.map((failure): Note => ({ text: `  ${failureText(failure)}`, tone: 'bad' })),
      ...(more > 0
        ? [{ text: `  and ${formatCount(more)} more; \`verbose: true\` lists them`, tone: 'bad' as const }]
        : []),
    ];
  });
}

function failureText({ weights, a, b, op, reason }: FailedComparison): string {
  const names = weights.join(', ');
  if (reason !== undefined) return `${names}: ${reason}`;
  const figure = (value: number | undefined): string => {
    if (value === undefined || !Number.isFinite(value)) return formatNumber(value, 'significant3');
    return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(5)));
  };
  return `${names}: ${figure(a)} ${op} ${figure(b)} is false`;
}

export function assertionsJson({ assertions }: RankDocumentOptions): Record<string, unknown> {
  if (assertions === undefined || assertions.length === 0) return {};
  return {
    assertions: assertions.map(({ text, passed, checked, failures }) => ({
      text,
      passed,
      checked,
      failures: failures.map(({ weights, a, b, op, reason }) => {
        return { weights, a: a ?? null, op, b: b ?? null, reason: reason ?? null };
      }),
    })),
  };
}

/** What the metrics of the rows mean. */
export function metricsJson(rows: readonly RankRow[]): readonly Record<string, unknown>[] {
  const metrics = rows.some((row) => row.extras !== undefined) ? ALL_METRICS : METRICS;
  return metrics.map(({ key, header, unit, definition, source }) => ({
    key,
    header,
    unit,
    definition,
    source,
  }));
}

export function reportJson(report: RankReport, options: RankDocumentOptions): Record<string, unknown> {
  return {
    weights: report.rows.map((row) => rowJson(row, options)),
    notLookedAt: report.notLookedAt,
    total: report.total,
    ...(report.rank !== undefined && { rank: report.rank }),
    ...(report.convView !== undefined && { convView: report.convView }),
    ...(report.inputSize !== undefined && { inputSize: report.inputSize }),
    ...embeddingsJson(report),
  };
}

function rowJson(row: RankRow, { verbose }: RankDocumentOptions): Record<string, unknown> {
  const { extras, singularValues, ...rest } = row;
  return {
    ...rest,
    metrics: figuresJson(row),
    problem: row.problem ?? null,
    ...(verbose === true && extras && { reasons: extras.reasons }),
    ...(singularValues && { singularValues }),
  };
}

/** All figures of a row; null where the weight has no spectrum, and for a figure that does not exist. */
export function figuresJson({ metrics, extras }: Figured): Record<string, unknown> | null {
  if (metrics === undefined) return null;
  const further = Object.entries(extras?.figures ?? {}).map(([key, value]) => [key, value ?? null]);
  return { ...metrics, ...Object.fromEntries(further) };
}

function emptyNotes(report: RankReport): Note[] {
  if (report.rows.length > 0) return [];
  return [{ text: 'No weight to report on: no node has a constant weight.' }];
}

export function problemNotes(rows: readonly RankRow[]): Note[] {
  return rows.flatMap((row) =>
    row.problem === undefined
      ? []
      : [{ text: `${row.weight}: no spectrum, ${row.problem}`, tone: 'bad' as const }],
  );
}

/** Why cells of the table are empty. */
function missingNotes(
  rows: readonly RankRow[],
  metrics: readonly MetricDescriptor[],
  { verbose }: RankDocumentOptions,
): Note[] {
  const lines: string[] = [];
  for (const row of rows) {
    if (row.metrics === undefined) continue;
    const byReason = new Map<string, string[]>();
    for (const { key, header } of metrics) {
      if (figureOf(row, key as MetricKey) !== undefined) continue;
      const reason = reasonOf(row, key) ?? '';
      byReason.set(reason, [...(byReason.get(reason) ?? []), header]);
    }
    for (const [reason, headers] of byReason)
      lines.push(`${row.weight}: no ${headers.join(', ')}: ${reason}`);
  }
  if (lines.length === 0) return [];
  if (verbose === true) return lines.map((text) => ({ text, tone: 'aside' as const }));
  return [{ text: '– is a figure that does not exist; `verbose: true` says why.', tone: 'aside' }];
}

export function notLookedAtNotes(
  report: { readonly notLookedAt: readonly Skipped[] },
  options: RankDocumentOptions,
): Note[] {
  return leftNotes(report.notLookedAt, { verb: 'skipped', each: options.verbose === true });
}
