import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { RankPartModel } from '../../analysis/report/rank-part.js';
import type { RankPlan, RankReportOptions } from '../../analysis/report/rank-spectra.js';
import { ModelError } from '../../graph/errors.js';
import type { Model } from '../../graph/index.js';
import type { Assembled } from '../../parts/assemble.js';
import { namedShard, piecesOf, shardOf } from '../../parts/shard.js';
import type { Checkpoint } from '../../runtime/checkpoint/index.js';
import { onFile, UsageError } from '../shell/errors.js';
import { nameOf, type ReportTarget } from '../shell/files.js';
import { type Io, tell } from '../shell/io.js';
import { ProgressLine } from '../shell/progress.js';
import { productPlace, providersOf } from '../shell/provider-options.js';
import { version } from '../shell/version.js';
import { checkRankViews, presentRank, type RankArguments, settleRank } from './rank-output.js';
import { openRankSource } from './rank-source.js';

/** What of the command line shows in the result. */
const SHOWN = [
  'model',
  'others',
  'metrics',
  'only',
  'sort',
  'top',
  'rank',
  'randomized',
  'seed',
  'chains',
  'convView',
  'inputSize',
  'assert',
  'spectra',
  'heads',
  'series',
  'ep',
  'device',
] as const;

type PartArguments = RankArguments &
  ReportTarget &
  Parameters<typeof providersOf>[0] & {
    readonly shard?: string | undefined;
    readonly estimate?: string | undefined;
  };

/** A model of the report, and where its weights are read. */
interface Source {
  readonly model: RankPartModel;
  readonly plan: RankPlan;
  readonly sizes: readonly number[];
}

/**
 * Computes the pieces of a shard and writes each as soon as it is done. What is there already is not computed again.
 *
 * @returns the exit code
 * @throws UsageError for options that do not go with a shard; ModelError where the file of the part is of another result, and where
 *   the numbers of a piece that is there have changed
 */
export async function writeRankPart(args: PartArguments, io: Io): Promise<number> {
  const { output: folder, randomized, seed } = args;
  const shard = namedShard(args.shard ?? '', io.env);
  checkRankViews(args, false);
  const clash = (['data', 'regions', 'delta', 'estimate'] as const).find((key) => args[key]);
  if (clash !== undefined) throw new UsageError(`--shard does not go with --${clash}`);
  if (folder === undefined || folder === '-')
    throw new UsageError('a shard writes a part, to be put together with the others: pass -o <folder>');
  if (args.format !== undefined)
    throw new UsageError('--format does not go with --shard: merge writes the report');
  const files = [args.model, ...(args.others ?? [])];
  if (files.includes('-'))
    throw new UsageError('a shard cannot read standard input, which no other can read');
  if (statSync(folder, { throwIfNoEntry: false })?.isFile())
    throw new UsageError(`-o ${folder} is a file; a shard writes into a folder`);
  const [{ assertionsOf, chooseMetrics, metricsOf, metricsSortedBy, sortOf }, { rankPool }] =
    await Promise.all([import('./rank-options.js'), import('../../analysis/spectra/rank-pool.js')]);
  await using pool = rankPool();
  const products = await productPlace(providersOf(args), false);
  const also = [...metricsSortedBy(sortOf(args.sort)), ...metricsOf(assertionsOf(args.assert))];
  const choice = chooseMetrics(args.metrics, {
    randomized: randomized === true,
    rank: args.rank,
    format: 'json',
    also,
  });
  const { only, chains, convView, inputSize } = args;
  const options: RankReportOptions = {
    randomized: choice.randomized,
    seed,
    only,
    chains,
    convView,
    inputSize,
    products,
    pool,
  };
  const sources: Source[] = [];
  for (const file of files) sources.push(await onFile(nameOf(file), () => opened(file, args, options, io)));
  const [{ kernelIdentity }, { PartWriter, digestOf }, parts] = await Promise.all([
    import('../../analysis/spectra/kernel-identity.js'),
    import('../../parts/part-file.js'),
    import('../../analysis/report/rank-part.js'),
  ]);
  const { computeSpectra, elementsDigest } = await import('../../analysis/report/rank-spectra.js');
  const bases = sources.flatMap(({ model }) => model.weights);
  const orders = bases.map(({ rows, columns }) => Math.min(rows, columns));
  const input = sources.map(({ model }) => model);
  const path = join(folder, `part-${shard.replace('/', '-of-')}.jsonl`);
  const header = {
    format: 'onnx-overparam part',
    schema: 1,
    tool: version(),
    command: 'rank-report',
    options: Object.fromEntries(SHOWN.map((key) => [key, args[key as keyof PartArguments]])),
    kernels: await kernelIdentity(orders, products),
    input,
    digest: digestOf([input, sources.map(({ sizes }) => sizes)]),
    pieces: sources.flatMap(({ model }) =>
      model.weights.map(({ weight }) => (files.length > 1 ? `${model.file}: ${weight}` : weight)),
    ),
    shard,
  } as const;
  using writer = new PartWriter(path, header, args);
  const mine = piecesOf(bases.map(parts.pieceCost), shardOf(shard));
  const known = mine.filter((piece) => writer.done.has(piece));
  let first = 0;
  const progress = new ProgressLine(io, args);
  try {
    for (const { model, plan } of sources) {
      const [from, to] = [first, first + model.weights.length];
      first = to;
      const own = mine.filter((piece) => piece >= from && piece < to);
      for (const piece of own.filter((one) => writer.done.has(one))) {
        const weight = plan.weights[piece - from];
        if (weight === undefined || (await elementsDigest(weight)) === writer.done.get(piece)) continue;
        throw new ModelError(
          `has other numbers than when ${path} was begun; pass --overwrite to start over`,
          {
            file: model.file,
            tensor: weight.name,
          },
        );
      }
      const left = own.filter((piece) => !writer.done.has(piece)).map((piece) => piece - from);
      const sink = {
        digests: true,
        found: (index: number, spectra: Parameters<typeof parts.encodeSpectra>[0], digest = '') =>
          writer.add({ piece: from + index, digest, result: parts.encodeSpectra(spectra) }),
      };
      await onFile(nameOf(model.file), () =>
        computeSpectra(plan, { ...options, onProgress: progress.update }, sink, left),
      );
    }
  } finally {
    progress.clear();
  }
  if (!args.quiet) {
    const again = known.length > 0 ? `, ${known.length} of them there already` : '';
    await tell(io, `shard ${shard}: ${mine.length} of ${bases.length} weights${again}, written to ${path}`);
  }
  return 0;
}

async function opened(
  file: string,
  args: PartArguments,
  options: RankReportOptions,
  io: Io,
): Promise<Source> {
  const { rankPlan } = await import('../../analysis/report/rank-spectra.js');
  const { model, loaded, store } = await openRankSource(file, args, [], io);
  const plan = await rankPlan(store, options);
  return {
    model: { file, nodes: model?.graph.nodes.length, ...plan.input },
    plan,
    sizes: await sizesOf(loaded),
  };
}

/** Bytes of the files of this machine that it is read from. */
async function sizesOf(source: Model | Checkpoint): Promise<number[]> {
  const { dataFilesOf } = await import('../../graph/index.js');
  const files =
    'tensors' in source
      ? source.files
      : [...(source.path === undefined ? [] : [source.path]), ...dataFilesOf(source)];
  return files.map((file) => statSync(file, { throwIfNoEntry: false })?.size ?? 0);
}

/**
 * Writes the report of parts: the same bytes as of the command without shards.
 *
 * @returns the exit code
 */
export async function mergeRank(parts: Assembled, target: ReportTarget, io: Io): Promise<number> {
  const args = { ...(parts.header.options as unknown as RankArguments), ...target };
  const settled = await settleRank(args, io);
  const { reportOfPieces } = await import('../../analysis/report/rank-part.js');
  const models = parts.header.input as readonly RankPartModel[];
  const { rank, convView, inputSize } = args;
  const options = { spectra: settled.spectra, extras: settled.choice.extras, rank, convView, inputSize };
  const files = [args.model, ...(args.others ?? [])];
  return await presentRank(
    settled,
    async (file) => {
      const at = files.indexOf(file);
      const model = models[at];
      if (model === undefined) throw new ModelError('the header of the parts does not name it', { file });
      const first = models.slice(0, at).reduce((sum, { weights }) => sum + weights.length, 0);
      return { report: reportOfPieces(model, first, parts.find, options), nodes: model.nodes };
    },
    io,
  );
}
