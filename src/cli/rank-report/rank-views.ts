import type { RankReport, RankReportOptions } from '../../analysis/report/rank-report.js';
import type { WeightStore } from '../../analysis/weights/weight-store.js';
import type { RankDocumentOptions } from '../../report/rank/rank.js';
import type { Document } from '../../report/text/document.js';
import { UsageError } from '../shell/errors.js';

/** Other ways to look at the models of a rank report than one after the other. */
export const RANK_VIEWS = {
  heads: {
    kind: 'flag',
    help: 'attention heads instead of weights: W_Q W_K and W_V W_O of each, of checkpoints with a config.json and of models',
  },
  delta: { kind: 'flag', help: 'of two models, what the second is more than the first: spectrum of W1 - W0' },
  series: { kind: 'flag', help: 'the models are steps of a training, in the natural order of their names' },
} as const;

export interface RankViewArguments {
  readonly heads?: boolean | undefined;
  readonly delta?: boolean | undefined;
  readonly series?: boolean | undefined;
}

/** @throws UsageError for views that do not go together or with the rest of the command line */
export function checkViews(
  { heads, delta, series }: RankViewArguments,
  {
    models,
    isPage,
    others,
  }: { readonly models: number; readonly isPage: boolean; readonly others: readonly string[] },
): void {
  const chosen = [heads && '--heads', delta && '--delta', series && '--series'].filter(Boolean);
  if (chosen.length > 1 && !(chosen.length === 2 && heads && series))
    throw new UsageError(`${chosen.join(' and ')} do not go together`);
  if (delta && models !== 2) throw new UsageError('--delta takes two models: before and after');
  if (series && models < 2) throw new UsageError("--series takes several models: 'step*.onnx'");
  const [first] = chosen;
  if ((delta || series) && isPage)
    throw new UsageError(`${first} has no page: use --format table, json, csv or md`);
  if (first !== undefined && others.length > 0)
    throw new UsageError(`${first} does not go with ${others.join(', ')}`);
}

/** Files in the order of the numbers in their names: step2 before step10. */
export function inNaturalOrder(files: readonly string[]): string[] {
  const { compare } = new Intl.Collator('en', { numeric: true });
  return [...files].sort(compare);
}

/** The number of a step: the last one in the name of its file, or its place. */
function stepOf(file: string, index: number): number {
  const name = file.replace(/\/+$/, '').split('/').at(-1) ?? '';
  const [last] = [...name.replace(/\.\w+$/, '').matchAll(/\d+/g)].reverse();
  return last === undefined ? index : Number(last[0]);
}

export async function deltaView(
  [base, tuned]: readonly [WeightStore, WeightStore],
  options: RankReportOptions,
  view: RankDocumentOptions,
): Promise<Document> {
  const [{ deltaReport }, { deltaDocument }] = await Promise.all([
    import('../../analysis/report/delta-report.js'),
    import('../../report/rank/delta.js'),
  ]);
  return deltaDocument(await deltaReport(base, tuned, options), view);
}

export async function seriesView(
  files: readonly string[],
  reportOf: (file: string) => Promise<RankReport>,
  view: RankDocumentOptions & { readonly tidy: boolean },
): Promise<Document> {
  const { seriesDocument } = await import('../../report/rank/series.js');
  const steps = [];
  for (const [index, file] of files.entries())
    steps.push({ step: stepOf(file, index), file, report: await reportOf(file) });
  return seriesDocument(steps, view);
}
