import { checkRankOptions, RANK_OPTIONS } from '../../analysis/report/options.js';
import { ALL_METRICS } from '../../analysis/spectra/descriptors.js';
import type { WeightStore } from '../../analysis/weights/weight-store.js';
import type { OptionDescriptors } from '../../graph/option-descriptors.js';
import { PAGE_FORMATS } from '../../report/text/render.js';
import { EMBEDDING_ARGUMENTS, embeddingRequest } from '../embedding-options.js';
import type { Command } from '../shell/command.js';
import type { Given } from '../shell/described.js';
import { onFile, UsageError } from '../shell/errors.js';
import { nameOf } from '../shell/files.js';
import { COMMON_OPTIONS, FILE_OPTIONS } from '../shell/options.js';
import { keepApart, outputsOf } from '../shell/outputs.js';
import { ProgressLine } from '../shell/progress.js';
import { PROVIDER_OPTIONS, productPlace, providersOf } from '../shell/provider-options.js';
import { loadSource } from '../shell/source.js';
import { checkEstimate, estimateView, toleranceOf } from './rank-estimate.js';
import { presentRank, type ReportedModel, settleRank, writeRank } from './rank-output.js';
import { openRankSource } from './rank-source.js';
import { deltaView, RANK_VIEWS } from './rank-views.js';

const METRIC_LIST = ALL_METRICS.map(({ key }) => key).join(', ');

const OPTIONS = {
  metrics: {
    kind: 'texts',
    defaultHelp: 'basic; JSON has all',
    help: `columns: basic, all, or a comma-separated list of ${METRIC_LIST}`,
  },
  only: { kind: 'patterns', help: "only weights whose name or node matches: 'layer4.*'" },
  sort: {
    kind: 'text',
    help: 'sort by a metric, parameters, rows or columns, largest first; metric:asc for smallest first',
  },
  top: { kind: 'integer', min: 1, help: 'show only the first N rows' },
  ...RANK_OPTIONS,
  ...RANK_VIEWS,
  regions: {
    kind: 'flag',
    help: 'also report what affine regions fold to, as collapse folds them: chains without metadata, BatchNormalization, linear branches',
  },
  assert: {
    kind: 'texts',
    help: "exit 1 unless it holds for every weight: 'stableRank(*.fc?.*) < 0.5*min and alpha(*) > 2' (metric(weight), numbers, min, max, rows, columns; with two models, it is about the second, and before is the figure of the first)",
  },
  spectra: { kind: 'flag', default: false, help: 'include all singular values (JSON)' },
  ...EMBEDDING_ARGUMENTS,
  ...PROVIDER_OPTIONS,
  ep: {
    ...PROVIDER_OPTIONS.ep,
    help: 'execution provider of the model with --data, of the products of --estimate, and of the Gram matrices of large weights where it has float64 (cuda)',
  },
  estimate: {
    kind: 'text',
    help: 'estimate the figures of large weights, with intervals of 95 % of this half width: 1%',
  },
  shard: {
    kind: 'text',
    help: 'compute only a part, 2/8, into the folder of -o, for merge; auto: of a Slurm array, auto/64: of an Indexed Job',
  },
  ...FILE_OPTIONS,
  output: {
    ...FILE_OPTIONS.output,
    help: 'file to write; .json, .csv, .md and .html set the format; with --shard a folder',
  },
  ...COMMON_OPTIONS,
  format: { ...COMMON_OPTIONS.format, choices: PAGE_FORMATS },
} as const satisfies OptionDescriptors;

type Arguments = Given<typeof OPTIONS> & {
  readonly model: string;
  readonly others?: readonly string[] | undefined;
};

export const rankReportCommand: Command<Arguments> = {
  options: OPTIONS,
  builder: (parser) =>
    parser
      .positional('model', {
        type: 'string',
        demandOption: true,
        describe:
          'ONNX file (- for standard input) or checkpoint: .safetensors, its index, a Hugging Face folder, .pt, https://, hf://',
      })
      .positional('others', {
        type: 'string',
        array: true,
        describe: 'a second one to compare with the first; more for their means, and for --series',
      })
      .example('$0 rank-report model.onnx', 'a table; --verbose explains its columns')
      .example(
        '$0 rank-report model.onnx --sort effectiveRankRatio:asc --top 5',
        'the five layers that use the least of theirs',
      )
      .example("$0 rank-report model.onnx --only '*.fc*' --metrics all", 'all metrics of some layers')
      .example("$0 rank-report trained.onnx --assert 'effectiveRank(conv1*) < 0.5*min'", 'a check for CI')
      .example('$0 rank-report before.onnx after.onnx', 'what training changed')
      .example(
        "$0 rank-report before.onnx after.onnx --assert 'effectiveRank(*) > 0.9*before'",
        'exit 1 if a rank fell by more than a tenth',
      )
      .example('$0 rank-report seed0.onnx seed1.onnx seed2.onnx', 'means over seeds, with intervals')
      .example('$0 rank-report before.onnx after.onnx -o report.html', 'a page with all plots')
      .example('$0 rank-report --delta base/ tuned/', 'spectrum, rank and directions of what training added')
      .example('$0 rank-report --series step*.onnx -o steps.csv', 'every weight over a training')
      .example('$0 rank-report --heads path/to/model/', 'attention, head by head')
      .example('$0 rank-report hf://org/name@main', 'a checkpoint by range requests, without a download')
      .example('$0 rank-report model.onnx --spectra -o spectra.json', 'all singular values')
      .example(
        '$0 rank-report model.safetensors --shard auto -o parts/',
        'the share of one task of a Slurm array',
      ),
  handler: async (args, io) => {
    const { model, others = [], overwrite, output, only, rank, seed, convView, inputSize, chains } = args;
    checkRankOptions(args);
    if (args.shard !== undefined) {
      const { writeRankPart } = await import('./rank-part.js');
      return await writeRankPart(args, io);
    }
    const tolerance = args.estimate === undefined ? undefined : toleranceOf(args.estimate);
    const settled = await settleRank(args, io);
    if (tolerance !== undefined) checkEstimate(args, settled.format === 'html');
    const { choice, path } = settled;
    // The threads start while this one loads what it is made of, and reads the model.
    const { rankPool } = await import('../../analysis/spectra/rank-pool.js');
    await using pool = rankPool();
    const { rankReport } = await import('../../analysis/report/rank-report.js');
    const data = embeddingRequest(args);
    const products = await productPlace(providersOf(args), data !== undefined);
    const outputs = outputsOf({ '--output': output });
    keepApart(outputs, [model, ...others], io);
    if (args.data !== undefined && outputs.length > 0) {
      const { dataSources } = await import('../../training/data/index.js');
      keepApart(outputs, dataSources(args.data), io);
    }
    if (path !== undefined) {
      const { assertWritable } = await import('../../graph/index.js');
      await assertWritable(path, { overwrite });
    }
    if (tolerance !== undefined)
      return await estimateView(settled, tolerance, outputs, { products, pool }, io);
    const options = {
      spectra: settled.spectra,
      extras: choice.extras,
      randomized: choice.randomized,
      seed,
      only,
      chains,
      convView,
      inputSize,
      products,
      pool,
    };
    const report = async (file: string): Promise<ReportedModel> => {
      const work = async <T>(what: (onProgress: ProgressLine['update']) => Promise<T>): Promise<T> => {
        const progress = new ProgressLine(io, args);
        try {
          return await onFile(nameOf(file), () => what(progress.update));
        } finally {
          progress.clear();
        }
      };
      const { model, store } = await openRankSource(file, args, outputs, io);
      if (model === undefined && (data !== undefined || args.regions === true))
        throw new UsageError(
          `${nameOf(file)} has no graph, which --data and --regions need: name an ONNX model`,
        );
      const embeddings = model && data && (await work((onProgress) => data.look(model, onProgress)));
      const regions = args.regions === true && (await import('../../passes/collapse/region-rows.js'));
      const looking = work((onProgress) =>
        regions && model
          ? regions.rankReportWithRegions(model, {
              ...options,
              rank: rank ?? embeddings?.classes,
              onProgress,
            })
          : rankReport(store, { ...options, rank: rank ?? embeddings?.classes, onProgress }),
      );
      // What is needed next is loaded while the threads work.
      const [weights] = await Promise.all([looking, import('../../report/rank/rank.js')]);
      const found = embeddings === undefined ? weights : { ...weights, embeddings };
      return { report: found, nodes: model?.graph.nodes.length };
    };
    if (args.delta) {
      const open = async (file: string): Promise<WeightStore> =>
        loadSource(file, io, { ...args, fixInputs: true, outputs });
      const stores = [await open(model), await open(others[0] ?? model)] as const;
      return await writeRank(
        await deltaView(stores, { ...options, spectra: true }, settled.view),
        settled,
        io,
      );
    }
    return await presentRank(settled, report, io, () => pool.close());
  },
};
