import { type ChainView, checkRankOptions, RANK_OPTIONS } from '../analysis/report/options.js';
import type { RankReport } from '../analysis/report/rank-report.js';
import { ALL_METRICS } from '../analysis/spectra/descriptors.js';
import type { WeightStore } from '../analysis/weights/weight-store.js';
import { ModelError } from '../graph/errors.js';
import { PatternError } from '../graph/glob.js';
import type { Model } from '../graph/index.js';
import type { OptionDescriptors } from '../graph/option-descriptors.js';
import type { HtmlReportModel } from '../report/html/index.js';
import type { CheckedAssertion, RankDocumentOptions } from '../report/rank.js';
import type { Document } from '../report/text/document.js';
import { type Format, PAGE_FORMATS } from '../report/text/render.js';
import type { Checkpoint } from '../runtime/checkpoint/index.js';
import { EMBEDDING_ARGUMENTS, embeddingRequest } from './embedding-options.js';
import { checkViews, deltaView, inNaturalOrder, RANK_VIEWS, seriesView } from './rank-views.js';
import type { Command } from './shell/command.js';
import type { Given } from './shell/described.js';
import { onFile, UsageError } from './shell/errors.js';
import { formatOf, nameOf, print, writeDocument } from './shell/files.js';
import { type Io, tell } from './shell/io.js';
import { COMMON_OPTIONS, FILE_OPTIONS } from './shell/options.js';
import { keepApart, outputsOf } from './shell/outputs.js';
import { ProgressLine } from './shell/progress.js';
import { PROVIDER_OPTIONS, productPlace, providersOf } from './shell/provider-options.js';
import { loadSource } from './shell/source.js';
import { nearest } from './shell/suggest.js';
import { dateOf, version } from './shell/version.js';

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
    help: 'execution provider of the model with --data, and of the Gram matrices of large weights where it has float64 (cuda)',
  },
  ...FILE_OPTIONS,
  output: { ...FILE_OPTIONS.output, help: 'file to write; .json, .csv, .md and .html set the format' },
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
      .example('$0 rank-report model.onnx --spectra -o spectra.json', 'all singular values'),
  handler: async (args, io) => {
    const {
      model,
      others = [],
      overwrite,
      output,
      only = [],
      rank,
      top,
      seed,
      convView,
      inputSize,
      chains,
    } = args;
    const [model2] = others;
    checkRankOptions(args);
    const path = output === '-' ? undefined : output;
    const format = formatOf(args.format, path, PAGE_FORMATS);
    const isPage = format === 'html';
    checkViews(args, {
      models: 1 + others.length,
      isPage,
      others: (['data', 'regions', 'assert', 'randomized', 'rank'] as const).flatMap((key) =>
        args[key] === undefined || args[key] === false ? [] : [`--${key}`],
      ),
    });
    const isMany = others.length > 1 && !args.series;
    if (isMany && (args.sort !== undefined || args.top !== undefined || args.assert !== undefined))
      throw new UsageError('--sort, --top and --assert go with one model or two');
    if (isPage && path === undefined && output === undefined && io.stdout.isTTY)
      throw new UsageError('a page is for a browser: pass -o report.html, or redirect standard output');
    if (isPage && (args.sort !== undefined || args.top !== undefined))
      throw new UsageError('--sort and --top do not go with --format html: the page sorts and filters');
    if ([model, ...others].filter((file) => file === '-').length > 1)
      throw new UsageError('only one of the models can come from standard input');
    if (args.spectra && format !== 'json') {
      throw new UsageError(
        '--spectra goes with --format json: the other formats have no room for all singular values',
      );
    }
    // The threads start while this one loads what it is made of, and reads the model.
    const { rankPool } = await import('../analysis/spectra/rank-pool.js');
    await using pool = rankPool();
    const [choices, { rankReport }] = await Promise.all([
      import('./rank-options.js'),
      import('../analysis/report/rank-report.js'),
    ]);
    const { assertionsOf, checkAssertions, chooseMetrics, glyphStyle, metricsOf, metricsSortedBy, sortOf } =
      choices;
    const sort = sortOf(args.sort);
    const data = embeddingRequest(args);
    const products = await productPlace(providersOf(args), data !== undefined);
    const asserted = assertionsOf(args.assert);
    const also = [...metricsSortedBy(sort), ...metricsOf(asserted)];
    const choice = chooseMetrics(args.metrics, { randomized: args.randomized === true, rank, format, also });
    const outputs = outputsOf({ '--output': output });
    keepApart(outputs, [model, ...others], io);
    if (args.data !== undefined && outputs.length > 0) {
      const { dataSources } = await import('../training/data/index.js');
      keepApart(outputs, dataSources(args.data), io);
    }
    if (path !== undefined) {
      const { assertWritable } = await import('../graph/index.js');
      await assertWritable(path, { overwrite });
    }
    // The table draws the spectra.
    const isDrawn = model2 === undefined && (format === 'table' || format === 'md');
    const pages: HtmlReportModel[] = [];
    const { isCheckpoint } = await import('../analysis/weights/weight-store.js');
    const options = {
      spectra: args.spectra || isDrawn || isPage,
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
    const open = async (file: string): Promise<Model | Checkpoint> =>
      loadSource(file, io, { ...args, fixInputs: true, outputs });
    const report = async (file: string): Promise<RankReport> => {
      const work = async <T>(what: (onProgress: ProgressLine['update']) => Promise<T>): Promise<T> => {
        const progress = new ProgressLine(io, args);
        try {
          return await onFile(nameOf(file), () => what(progress.update));
        } finally {
          progress.clear();
        }
      };
      const loaded = await open(file);
      const model = isCheckpoint(loaded) ? undefined : loaded;
      if (model === undefined && (data !== undefined || args.regions === true))
        throw new UsageError(
          `${nameOf(file)} has no graph, which --data and --regions need: name an ONNX model`,
        );
      const store = args.heads ? await headsOf(loaded) : loaded;
      await checkNames(store, only, chains);
      const embeddings = model && data && (await work((onProgress) => data.look(model, onProgress)));
      const regions = args.regions === true && (await import('../passes/collapse/region-rows.js'));
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
      const [weights] = await Promise.all([looking, import('../report/rank.js')]);
      const found = embeddings === undefined ? weights : { ...weights, embeddings };
      if (isPage) pages.push({ name: nameOf(file), report: found, nodes: model?.graph.nodes.length });
      return found;
    };
    const shown: RankDocumentOptions = {
      verbose: args.verbose,
      metrics: choice.columns,
      glyph: format === 'table' || format === 'md' ? glyphStyle(io) : undefined,
      sort,
      top,
      heads: args.heads,
    };
    if (args.delta || args.series) {
      const view = args.series
        ? await seriesView(inNaturalOrder([model, ...others]), report, { ...shown, tidy: format === 'csv' })
        : await deltaView(
            [await open(model), await open(model2 ?? model)],
            { ...options, spectra: true },
            shown,
          );
      if (path === undefined) await print(view, { ...args, format }, io);
      else await writeDocument(view, path, { ...args, format }, io);
      return 0;
    }
    const first = await report(model);
    const second = model2 === undefined ? undefined : await report(model2);
    const more: RankReport[] = [];
    for (const other of others.slice(1)) more.push(await report(other));
    // While the rest is worked out and printed.
    const closed = pool.close();
    const assertions = checkAssertions(asserted, second ?? first, second && first);
    const view: RankDocumentOptions = { ...shown, assertions, ...(!isDrawn && { glyph: undefined }) };
    const result =
      isMany && second !== undefined
        ? await manyOf([first, second, ...more], [model, ...others], view, format)
        : await documentOf(first, second, view);
    const document = isPage ? await withPage(result, pages, io) : result;
    if (path === undefined) await print(document, { ...args, format }, io);
    else await writeDocument(document, path, { ...args, format }, io);
    await closed;
    const isTold = path === undefined && (format === 'table' || format === 'md');
    if (!isTold && !args.quiet) await writeAssertions(assertions, io);
    return assertions.every(({ passed }) => passed) ? 0 : 1;
  },
};

/** The products of the attention heads; ModelError where there are none. */
async function headsOf(source: Model | Checkpoint): Promise<WeightStore> {
  const { headProducts } = await import('../analysis/weights/heads/head-products.js');
  const list = await headProducts(source);
  if (list.weights.length > 0) return list;
  const [first] = list.others;
  throw new ModelError(
    `no attention heads were found: ${first?.reason ?? 'it needs a config.json beside the checkpoint, or fused attention operators'}`,
    { file: source.path, node: first?.node.label },
  );
}

async function documentOf(
  first: RankReport,
  second: RankReport | undefined,
  view: RankDocumentOptions,
): Promise<Document> {
  if (second === undefined) return (await import('../report/rank.js')).rankDocument(first, view);
  const { compareRankReports } = await import('../analysis/report/compare-reports.js');
  const { comparisonDocument } = await import('../report/rank-comparison.js');
  return comparisonDocument(compareRankReports(first, second), view);
}

/** Of three and more: means over the models. */
async function manyOf(
  reports: readonly RankReport[],
  files: readonly string[],
  view: RankDocumentOptions,
  format: Format,
): Promise<Document> {
  const { modelsDocument } = await import('../report/rank-models.js');
  const models = reports.map((report, index) => ({ name: nameOf(files[index] ?? ''), report }));
  return modelsDocument(models, view, format === 'csv' ? format : undefined);
}

/** With the HTML of all models. */
async function withPage(document: Document, models: readonly HtmlReportModel[], io: Io): Promise<Document> {
  const { renderHtmlReport } = await import('../report/html/index.js');
  return { ...document, html: () => renderHtmlReport(models, { date: dateOf(io), version: version() }) };
}

/** What does not hold, for a reader of stderr: CSV and files have no place for it, and nobody looks into JSON. */
async function writeAssertions(assertions: readonly CheckedAssertion[], io: Io): Promise<void> {
  const failed = assertions.filter(({ passed }) => !passed);
  if (failed.length === 0) return;
  const { assertionNotes } = await import('../report/rank.js');
  for (const { text } of assertionNotes({ assertions: failed })) await tell(io, text);
}

/** UsageError where `--only` names nothing, with what was probably meant. */
async function checkNames(
  source: WeightStore,
  only: readonly string[],
  chains: ChainView | undefined,
): Promise<void> {
  if (only.length === 0) return;
  const [{ weightsOfStore }, { chosenBy, nodesOf }] = await Promise.all([
    import('../analysis/weights/weight-store.js'),
    import('../analysis/weights/weights.js'),
  ]);
  const { weights } = await weightsOfStore(source, { chains });
  const pattern = only.find((one) => !weights.some(chosenBy([one])));
  if (pattern === undefined) return;
  const meant = nearest(
    pattern,
    weights.flatMap((weight) => [weight.name, ...nodesOf(weight)]),
  );
  if (meant !== undefined)
    throw new UsageError(`--only '${pattern}' matches no weight or node; did you mean '${meant}'?`);
  const names = weights.map(({ name }) => name);
  throw new PatternError('only', pattern, 'weight or node', names, source.path);
}
