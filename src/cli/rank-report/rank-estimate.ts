import type { EstimateReport } from '../../analysis/estimate/estimate-report.js';
import type { ProductPlace } from '../../linalg/index.js';
import type { KernelPool } from '../../linalg/kernels/index.js';
import { onFile, UsageError } from '../shell/errors.js';
import { nameOf, type ReportTarget } from '../shell/files.js';
import type { Io } from '../shell/io.js';
import type { Output } from '../shell/outputs.js';
import { ProgressLine } from '../shell/progress.js';
import type { RankArguments, SettledRank } from './rank-output.js';
import { writeRank } from './rank-output.js';
import { openRankSource } from './rank-source.js';

/** '1%' as 0.01. */
export function toleranceOf(text: string): number {
  const [, digits = ''] = /^\s*(\d+(?:\.\d+)?|\.\d+)\s*%\s*$/.exec(text) ?? [];
  const share = Number(digits) / 100;
  if (digits === '' || !(share >= 1e-4 && share <= 0.5))
    throw new UsageError(`--estimate must be a percentage from 0.01% to 50%, as 1%, is '${text}'`);
  return share;
}

/** @throws UsageError for what an estimate has no place for */
export function checkEstimate(args: RankArguments & ReportTarget, isPage: boolean): void {
  if ((args.others ?? []).length > 0) throw new UsageError('--estimate takes one model');
  if (isPage) throw new UsageError('--estimate has no page: use --format table, json, csv or md');
  const clash = (
    ['data', 'regions', 'randomized', 'rank', 'assert', 'sort', 'top', 'spectra', 'heads', 'series'] as const
  ).find((key) => args[key] !== undefined && args[key] !== false);
  if (clash !== undefined) throw new UsageError(`--estimate does not go with --${clash}`);
}

/** @returns the exit code */
export async function estimateView(
  settled: SettledRank,
  tolerance: number,
  outputs: readonly Output[],
  place: { readonly products: ProductPlace | undefined; readonly pool: KernelPool },
  io: Io,
): Promise<number> {
  const { args } = settled;
  const { store } = await openRankSource(args.model, args, outputs, io);
  const [{ estimateReport }, { estimateDocument }] = await Promise.all([
    import('../../analysis/estimate/estimate-report.js'),
    import('../../report/rank/estimate.js'),
  ]);
  const progress = new ProgressLine(io, args);
  const { only, chains, convView, inputSize, seed } = args;
  let report: EstimateReport;
  try {
    report = await onFile(nameOf(args.model), () =>
      estimateReport(store, {
        tolerance,
        only,
        chains,
        convView,
        inputSize,
        seed,
        ...place,
        onProgress: progress.update,
      }),
    );
  } finally {
    progress.clear();
  }
  const metrics = args.metrics === undefined ? undefined : settled.choice.columns;
  return await writeRank(estimateDocument(report, { verbose: args.verbose, metrics }), settled, io);
}
