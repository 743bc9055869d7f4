import { basename } from 'node:path';
import type { EvaluatedModel } from '../../evaluate/evaluate.js';
import { EVALUATE_OPTIONS, type EvaluateOptions } from '../../evaluate/options.js';
import type { QualityReport } from '../../evaluate/types.js';
import { described } from '../../graph/option-descriptors.js';
import type { Document } from '../../report/text/document.js';
import { type Format, PAGE_FORMATS } from '../../report/text/render.js';
import type { Given } from '../shell/described.js';
import { UsageError } from '../shell/errors.js';
import {
  formatOf,
  loadModel,
  nameOf,
  print,
  type ReportTarget,
  refusePageOnTerminal,
  writeDocument,
} from '../shell/files.js';
import { type Io, tell } from '../shell/io.js';
import type { outputsOf } from '../shell/outputs.js';
import { preference, providersOf } from '../shell/provider-options.js';
import { dateOf, version } from '../shell/version.js';

/** What of a command line shows in the report. */
export interface QualityArguments {
  readonly model: string;
  readonly others?: readonly string[] | undefined;
  readonly maxDrop?: number | undefined;
  readonly maxRise?: string | undefined;
}

/** What the data is called, and what is said of it. */
export interface SampleNotes {
  readonly name: string;
  readonly notes: readonly string[];
}

/** @throws UsageError for limits that compare with nothing */
export function checkLimits({ maxDrop, maxRise, others = [] }: QualityArguments): void {
  for (const [limit, flag] of [
    [maxDrop, '--max-drop'],
    [shareOf(maxRise), '--max-rise'],
  ] as const)
    if (limit !== undefined && others.length === 0)
      throw new UsageError(`${flag} needs a second model, to compare with the first`);
}

/** @throws UsageError for a format that standard output has no place for */
export function settleQuality(
  args: ReportTarget,
  io: Io,
): { readonly target: string | undefined; readonly format: Format } {
  const target = args.output === '-' ? undefined : args.output;
  const format = formatOf(args.format, target, PAGE_FORMATS);
  refusePageOnTerminal(format, args.output, io, 'report.html');
  return { target, format };
}

/** What the library is asked for. */
export function evaluateOptions(
  args: Given<typeof EVALUATE_OPTIONS> &
    Parameters<typeof providersOf>[0] & {
      readonly prediction?: string | undefined;
      readonly threads?: number | undefined;
    },
): EvaluateOptions {
  const { list, device } = providersOf(args);
  return {
    ...described(EVALUATE_OPTIONS, args),
    output: args.prediction,
    providers: list && preference(list),
    device,
    threads: args.threads,
  };
}

/** @returns the exit code */
export async function presentQuality(
  report: QualityReport,
  { name, notes }: SampleNotes,
  args: QualityArguments & ReportTarget,
  io: Io,
): Promise<number> {
  const { target, format } = settleQuality(args, io);
  const [{ checkQuality }, { limitNote, qualityDocument }] = await Promise.all([
    import('../../evaluate/limits.js'),
    import('../../report/quality/document.js'),
  ]);
  const limits = checkQuality(report, { maxDrop: args.maxDrop, maxRise: shareOf(args.maxRise) });
  const document = qualityDocument(report, { data: name, notes, limits, verbose: args.verbose });
  const page = format === 'html' ? await withPage(document, report, name, io) : document;
  if (target !== undefined) await writeDocument(page, target, { ...args, format }, io);
  else if (!args.quiet || args.format !== undefined) await print(page, { ...args, format }, io);
  const failed = limits.filter(({ passed }) => !passed);
  const isTold = target === undefined && (format === 'table' || format === 'md');
  if (failed.length > 0 && !isTold && !args.quiet)
    for (const limit of failed) await tell(io, limitNote(limit, report.models[0]?.name ?? '').text);
  return failed.length === 0 ? 0 : 1;
}

/** With its page. SOURCE_DATE_EPOCH sets its date, for bytes that can be made again. */
async function withPage(document: Document, report: QualityReport, data: string, io: Io): Promise<Document> {
  const { renderQualityPage } = await import('../../report/quality/page.js');
  return {
    ...document,
    html: () => renderQualityPage(report, { data, date: dateOf(io), version: version() }),
  };
}

/** '2%' as 0.02. */
function shareOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const [, digits = ''] = /^\s*(\d+(?:\.\d+)?|\.\d+)\s*%\s*$/.exec(text) ?? [];
  if (digits === '') throw new UsageError(`--max-rise must be a percentage such as 2%, is '${text}'`);
  return Number(digits) / 100;
}

/** Called by the last parts of their paths, where these differ. */
export async function evaluatedModels(
  files: readonly string[],
  args: { readonly quiet: boolean; readonly verbose: boolean },
  outputs: ReturnType<typeof outputsOf>,
  io: Io,
): Promise<EvaluatedModel[]> {
  const short = files.map((file) => basename(nameOf(file)));
  const names = new Set(short).size === short.length ? short : files.map(nameOf);
  const models: EvaluatedModel[] = [];
  for (const [index, file] of files.entries())
    models.push({ name: names[index] ?? file, model: await loadModel(file, io, { ...args, outputs }) });
  return models;
}
