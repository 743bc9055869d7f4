import type { ChainView, ConvView } from '../../analysis/report/options.js';
import type { RankReport } from '../../analysis/report/rank-report.js';
import type { HtmlReportModel } from '../../report/html/index.js';
import type { CheckedAssertion, RankDocumentOptions } from '../../report/rank/rank.js';
import type { Document } from '../../report/text/document.js';
import { type Format, PAGE_FORMATS } from '../../report/text/render.js';
import { UsageError } from '../shell/errors.js';
import {
  formatOf,
  nameOf,
  print,
  type ReportTarget,
  refusePageOnTerminal,
  writeDocument,
} from '../shell/files.js';
import { type Io, tell } from '../shell/io.js';
import { dateOf, version } from '../shell/version.js';
import type { GivenAssertion, ListArgument, MetricChoice } from './rank-options.js';
import { checkViews, inNaturalOrder, type RankViewArguments, seriesView } from './rank-views.js';

/** What of a command line shows in the result, beside the numbers. */
export interface RankArguments extends RankViewArguments {
  readonly model: string;
  readonly others?: readonly string[] | undefined;
  readonly metrics?: ListArgument;
  readonly only?: readonly string[] | undefined;
  readonly sort?: string | undefined;
  readonly top?: number | undefined;
  readonly rank?: number | undefined;
  readonly randomized?: boolean | undefined;
  readonly seed?: number | undefined;
  readonly estimate?: unknown;
  readonly randomData?: boolean | undefined;
  readonly chains?: ChainView | undefined;
  readonly convView?: ConvView | undefined;
  readonly inputSize?: number | undefined;
  readonly regions?: boolean | undefined;
  readonly assert?: ListArgument;
  readonly spectra?: boolean | undefined;
  readonly data?: unknown;
}

/** A command line, checked, with what follows from it. */
export interface SettledRank {
  readonly args: RankArguments & ReportTarget;
  readonly path: string | undefined;
  readonly format: Format;
  readonly choice: MetricChoice;
  readonly asserted: readonly GivenAssertion[];
  readonly view: RankDocumentOptions;
  /** Whether rows are to keep their singular values. */
  readonly spectra: boolean;
}

/** A model that was looked at. */
export interface ReportedModel {
  readonly report: RankReport;
  /** Of its graph. */
  readonly nodes: number | undefined;
}

/** @throws UsageError for arguments that do not go together */
export async function settleRank(args: RankArguments & ReportTarget, io: Io): Promise<SettledRank> {
  const { model, others = [], output, rank, top } = args;
  const path = output === '-' ? undefined : output;
  const format = formatOf(args.format, path, PAGE_FORMATS);
  const isPage = format === 'html';
  checkRankViews(args, isPage);
  const isMany = others.length > 1 && !args.series;
  if (isMany && (args.sort !== undefined || top !== undefined || args.assert !== undefined))
    throw new UsageError('--sort, --top and --assert go with one model or two');
  refusePageOnTerminal(format, output, io, 'report.html');
  if (isPage && (args.sort !== undefined || top !== undefined))
    throw new UsageError('--sort and --top do not go with --format html: the page sorts and filters');
  if ([model, ...others].filter((file) => file === '-').length > 1)
    throw new UsageError('only one of the models can come from standard input');
  if (args.spectra && format !== 'json') {
    throw new UsageError(
      '--spectra goes with --format json: the other formats have no room for all singular values',
    );
  }
  const { assertionsOf, chooseMetrics, glyphStyle, metricsOf, metricsSortedBy, sortOf } = await import(
    './rank-options.js'
  );
  const sort = sortOf(args.sort);
  const asserted = assertionsOf(args.assert);
  const also = [...metricsSortedBy(sort), ...metricsOf(asserted)];
  const choice = chooseMetrics(args.metrics, { randomized: args.randomized === true, rank, format, also });
  if (
    args.seed !== undefined &&
    !choice.randomized &&
    args.estimate === undefined &&
    args.data === undefined &&
    args.randomData !== true
  )
    throw new UsageError(
      '--seed goes with --randomized, --estimate, --data and --random-data: nothing else is drawn',
    );
  // The table draws the spectra.
  const isDrawn = others.length === 0 && (format === 'table' || format === 'md');
  const view: RankDocumentOptions = {
    verbose: args.verbose,
    metrics: choice.columns,
    glyph: format === 'table' || format === 'md' ? glyphStyle(io) : undefined,
    sort,
    top,
    heads: args.heads,
  };
  return { args, path, format, choice, asserted, view, spectra: args.spectra || isDrawn || isPage };
}

/** @throws UsageError for views that do not go together or with the rest of the command line */
export function checkRankViews(args: RankArguments, isPage: boolean): void {
  checkViews(args, {
    models: 1 + (args.others ?? []).length,
    isPage,
    others: (['data', 'regions', 'assert', 'randomized', 'rank'] as const).flatMap((key) =>
      args[key] === undefined || args[key] === false ? [] : [`--${key}`],
    ),
  });
}

/**
 * Reports of all models as one document, which is written.
 *
 * @param reportOf the report of one model; asked for one after the other
 * @param onReports called when all are there, while the rest is worked out and printed
 * @returns the exit code
 */
export async function presentRank(
  settled: SettledRank,
  reportOf: (file: string) => Promise<ReportedModel>,
  io: Io,
  onReports: () => Promise<void> = async () => undefined,
): Promise<number> {
  const { args, format, asserted, view: shown, path } = settled;
  const { model, others = [] } = args;
  const isPage = format === 'html';
  const pages: HtmlReportModel[] = [];
  const report = async (file: string): Promise<RankReport> => {
    const found = await reportOf(file);
    if (isPage) pages.push({ name: nameOf(file), ...found });
    return found.report;
  };
  if (args.series) {
    const files = inNaturalOrder([model, ...others]);
    return await writeRank(
      await seriesView(files, report, { ...shown, tidy: format === 'csv' }),
      settled,
      io,
    );
  }
  const [model2, ...rest] = others;
  const first = await report(model);
  const second = model2 === undefined ? undefined : await report(model2);
  const more: RankReport[] = [];
  for (const other of rest) more.push(await report(other));
  const closed = onReports();
  const { checkAssertions } = await import('./rank-options.js');
  const assertions = checkAssertions(asserted, second ?? first, second && first);
  const isDrawn = second === undefined && (format === 'table' || format === 'md');
  const view: RankDocumentOptions = { ...shown, assertions, ...(!isDrawn && { glyph: undefined }) };
  const isMany = others.length > 1;
  const result =
    isMany && second !== undefined
      ? await manyOf([first, second, ...more], [model, ...others], view, format)
      : await documentOf(first, second, view);
  await writeRank(isPage ? await withPage(result, pages, io) : result, settled, io);
  await closed;
  const isTold = path === undefined && (format === 'table' || format === 'md');
  if (!isTold && !args.quiet) await writeAssertions(assertions, io);
  return assertions.every(({ passed }) => passed) ? 0 : 1;
}

/** @returns the exit code */
export async function writeRank(
  document: Document,
  { args, format, path }: SettledRank,
  io: Io,
): Promise<number> {
  if (path === undefined) await print(document, { ...args, format }, io);
  else await writeDocument(document, path, { ...args, format }, io);
  return 0;
}

async function documentOf(
  first: RankReport,
  second: RankReport | undefined,
  view: RankDocumentOptions,
): Promise<Document> {
  if (second === undefined) return (await import('../../report/rank/rank.js')).rankDocument(first, view);
  const { compareRankReports } = await import('../../analysis/report/compare-reports.js');
  const { comparisonDocument } = await import('../../report/rank/rank-comparison.js');
  return comparisonDocument(compareRankReports(first, second), view);
}

/** Of three and more: means over the models. */
async function manyOf(
  reports: readonly RankReport[],
  files: readonly string[],
  view: RankDocumentOptions,
  format: Format,
): Promise<Document> {
  const { modelsDocument } = await import('../../report/rank/rank-models.js');
  const models = reports.map((report, index) => ({ name: nameOf(files[index] ?? ''), report }));
  return modelsDocument(models, view, format === 'csv' ? format : undefined);
}

/** With the HTML of all models. */
async function withPage(document: Document, models: readonly HtmlReportModel[], io: Io): Promise<Document> {
  const { renderHtmlReport } = await import('../../report/html/index.js');
  return { ...document, html: () => renderHtmlReport(models, { date: dateOf(io), version: version() }) };
}

/** What does not hold, for a reader of stderr: CSV and files have no place for it, and nobody looks into JSON. */
async function writeAssertions(assertions: readonly CheckedAssertion[], io: Io): Promise<void> {
  const failed = assertions.filter(({ passed }) => !passed);
  if (failed.length === 0) return;
  const { assertionNotes } = await import('../../report/rank/rank.js');
  for (const { text } of assertionNotes({ assertions: failed })) await tell(io, text);
}
