import type { Argv } from 'yargs';
import type { RankReport, RankReportOptions } from '../analysis/report/rank-report.js';
import { ALL_METRICS } from '../analysis/spectra/descriptors.js';
import type { ConvView } from '../analysis/spectra/weight-spectrum.js';
import type { ChainView } from '../analysis/weights/weights.js';
import type { Model } from '../graph/index.js';
import type { HtmlReportModel } from '../report/html/index.js';
import type { CheckedAssertion, RankDocumentOptions } from '../report/rank.js';
import type { Document } from '../report/text/document.js';
import { PAGE_FORMATS } from '../report/text/render.js';
import { type EmbeddingArguments, embeddingOptions, embeddingRequest } from './embedding-options.js';
import type { ListArgument } from './rank-options.js';
import type { Command } from './shell/command.js';
import { onFile, UsageError } from './shell/errors.js';
import { formatOf, loadModel, nameOf, print, writeDocument } from './shell/files.js';
import { type Io, tell } from './shell/io.js';
import { type CommonArguments, commonOptions, number, once } from './shell/options.js';
import { keepApart, outputsOf } from './shell/outputs.js';
import { ProgressLine } from './shell/progress.js';
import { productPlace, providerOptions, providersOf } from './shell/provider-options.js';
import { nearest } from './shell/suggest.js';
import { version } from './shell/version.js';

interface Arguments extends CommonArguments, EmbeddingArguments {
  readonly model: string;
  readonly others: readonly string[] | undefined;
  readonly spectra: boolean;
  readonly output: string | undefined;
  readonly overwrite: boolean;
  readonly metrics: ListArgument;
  readonly randomized: boolean | undefined;
  readonly rank: number | undefined;
  readonly sort: string | undefined;
  readonly top: number | undefined;
  readonly assert: ListArgument;
  readonly chains: ChainView | undefined;
  readonly regions: boolean | undefined;
  readonly convView: ConvView | undefined;
  readonly inputSize: number | undefined;
}

const CHAIN_VIEWS = ['product', 'factors', 'both'] as const satisfies readonly ChainView[];
const CONV_VIEWS = ['matricized', 'slices', 'operator'] as const satisfies readonly ConvView[];
const METRIC_LIST = ALL_METRICS.map(({ key }) => key).join(', ');

export const rankReportCommand: Command<Arguments> = {
  builder: (parser) =>
    commonOptions(
      embeddingOptions(
        providerOptions(
          parser
            .positional('model', {
              type: 'string',
              demandOption: true,
              describe: 'ONNX file, - for standard input',
            })
            .positional('others', {
              type: 'string',
              array: true,
              describe: 'a second one, to compare with the first; more for HTML',
            })
            .option('metrics', {
              type: 'string',
              requiresArg: true,
              describe: `columns: basic, all, or a list with commas of ${METRIC_LIST} (default: basic; JSON has all)`,
            })
            .option('rank', {
              type: 'number',
              requiresArg: true,
              describe: 'a column with the distance to the nearest matrix of this rank',
            })
            .option('randomized', {
              type: 'boolean',
              describe: 'compare with the weights in random order (twice the time)',
            })
            .option('seed', {
              type: 'number',
              requiresArg: true,
              describe: 'of that order, and of samples (default: 0)',
            })
            .option('only', {
              type: 'string',
              requiresArg: true,
              describe: "weights whose name or node matches, like 'layer4.*'; may repeat",
            })
            .option('sort', {
              type: 'string',
              requiresArg: true,
              describe: 'by a metric, parameters, rows or columns, largest first; metric:asc for smallest',
            })
            .option('top', { type: 'number', requiresArg: true, describe: 'only the first so many' })
            .option('chains', {
              choices: CHAIN_VIEWS,
              requiresArg: true,
              describe:
                'of chains that expand wrote: what they multiply out to, the factors, or both (default: both)',
            })
            .option('regions', {
              type: 'boolean',
              describe:
                'also what affine regions fold to, as collapse folds them: chains without metadata, BatchNormalization, linear branches',
            })
            .option('conv-view', {
              choices: CONV_VIEWS,
              requiresArg: true,
              describe:
                'convolutions as out x (in*kernel), as the slices of the kernel, or as operators on inputs of --input-size (default: matricized)',
            })
            .option('input-size', {
              type: 'number',
              requiresArg: true,
              describe: 'height and width of the inputs of every convolution, for --conv-view operator',
            })
            .option('assert', {
              type: 'string',
              requiresArg: true,
              describe:
                "exit 1 unless it holds for every weight, like 'stableRank(*.fc?.*) < 0.5*min and alpha(*) > 2' (metric(weight), numbers, min, max, rows, columns; of two models, the second); may repeat",
            })
            .option('spectra', { type: 'boolean', describe: 'all singular values too (JSON)' })
            .option('output', {
              alias: 'o',
              type: 'string',
              requiresArg: true,
              describe: 'file to write; .json, .csv, .md and .html set the format',
            })
            .option('overwrite', {
              type: 'boolean',
              describe: 'replace the output file if it exists',
            }),
          'of the model with --data, and of the Gram matrices of large weights where it has float64 (cuda); default: cpu',
        ),
      ),
      PAGE_FORMATS,
    )
      .example('$0 rank-report model.onnx', 'a table; --verbose explains its columns')
      .example('$0 rank-report model.onnx --sort effectiveRankRatio:asc --top 5', 'the five that use least')
      .example("$0 rank-report model.onnx --only '*.fc*' --metrics all", 'everything about some')
      .example("$0 rank-report trained.onnx --assert 'effectiveRank(conv1*) < 0.5*min'", 'a check for CI')
      .example('$0 rank-report before.onnx after.onnx', 'what training changed')
      .example('$0 rank-report before.onnx after.onnx -o report.html', 'a page with all plots')
      .example(
        '$0 rank-report model.onnx --spectra -o spectra.json',
        'all singular values',
      ) as unknown as Argv<Arguments>,
  handler: async (args, io) => {
    const { model, others = [], overwrite } = args;
    const [model2] = others;
    const output = once(args.output, '--output');
    const path = output === '-' ? undefined : output;
    const format = formatOf(args.format, path, PAGE_FORMATS);
    const isPage = format === 'html';
    if (others.length > 1 && !isPage)
      throw new UsageError('more than two models go with --format html: the other formats compare two');
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
    const sort = sortOf(once(args.sort, '--sort'));
    const rank = number(args.rank, '--rank', { min: 0, whole: true });
    const top = number(args.top, '--top', { min: 1, whole: true });
    const seed = number(args.seed, '--seed', { min: 0, whole: true });
    const convView = once(args.convView, '--conv-view');
    const inputSize = number(args.inputSize, '--input-size', { min: 1, whole: true });
    if (convView === 'operator' && inputSize === undefined)
      throw new UsageError('--conv-view operator needs the size of its inputs: --input-size 32');
    if (convView !== 'operator' && inputSize !== undefined)
      throw new UsageError('--input-size goes with --conv-view operator');
    const data = embeddingRequest(args);
    const products = await productPlace(providersOf(args), data !== undefined);
    const asserted = assertionsOf(args.assert);
    const also = [...metricsSortedBy(sort), ...metricsOf(asserted)];
    const choice = chooseMetrics(args.metrics, { randomized: args.randomized === true, rank, format, also });
    const outputs = outputsOf({ '--output': output });
    keepApart(outputs, [model, ...others], io);
    if (args.data !== undefined && outputs.length > 0) {
      const { dataSources } = await import('../training/data/index.js');
      keepApart(outputs, dataSources(once(args.data, '--data') ?? ''), io);
    }
    if (path !== undefined) {
      const { assertWritable } = await import('../graph/index.js');
      await assertWritable(path, { overwrite });
    }
    const chains = once(args.chains, '--chains');
    const only = [args.only ?? []].flat();
    // The table draws the spectra.
    const isDrawn = model2 === undefined && (format === 'table' || format === 'md');
    const pages: HtmlReportModel[] = [];
    const report = async (file: string): Promise<RankReport> => {
      const work = async <T>(what: (onProgress: ProgressLine['update']) => Promise<T>): Promise<T> => {
        const progress = new ProgressLine(io, args);
        try {
          return await onFile(nameOf(file), () => what(progress.update));
        } finally {
          progress.clear();
        }
      };
      const loaded = await loadModel(file, io, { ...args, fixInputs: true, outputs });
      await checkNames(loaded, only, chains);
      const embeddings = data && (await work((onProgress) => data.look(loaded, onProgress)));
      const options = {
        spectra: args.spectra || isDrawn || isPage,
        extras: choice.extras,
        randomized: choice.randomized,
        seed,
        rank: rank ?? embeddings?.classes,
        only,
        chains,
        convView,
        inputSize,
        products,
        pool,
      };
      const looking = work((onProgress) =>
        args.regions === true
          ? reportWithRegions(loaded, { ...options, onProgress })
          : rankReport(loaded, { ...options, onProgress }),
      );
      // What is needed next is loaded while the threads work.
      const [weights] = await Promise.all([looking, import('../report/rank.js')]);
      const found = embeddings === undefined ? weights : { ...weights, embeddings };
      if (isPage) pages.push({ name: nameOf(file), report: found, nodes: loaded.graph.nodes.length });
      return found;
    };
    const first = await report(model);
    const second = model2 === undefined ? undefined : await report(model2);
    for (const other of others.slice(1)) await report(other);
    // While the rest is worked out and printed.
    const closed = pool.close();
    const assertions = checkAssertions(asserted, second ?? first);
    const view: RankDocumentOptions = {
      assertions,
      verbose: args.verbose,
      metrics: choice.columns,
      glyph: isDrawn ? glyphStyle(io) : undefined,
      sort,
      top,
    };
    const result = await documentOf(first, second, view);
    const document = isPage ? await withPage(result, pages, io) : result;
    if (path === undefined) await print(document, { ...args, format }, io);
    else await writeDocument(document, path, { ...args, format });
    await closed;
    const isTold = path === undefined && (format === 'table' || format === 'md');
    if (!isTold && !args.quiet) await writeAssertions(assertions, io);
    return assertions.every(({ passed }) => passed) ? 0 : 1;
  },
};

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

/** The model is read once more, to be folded. */
async function reportWithRegions(model: Model, options: RankReportOptions): Promise<RankReport> {
  const { modelToBytes, readModel } = await import('../graph/index.js');
  const { rankReportWithRegions } = await import('../passes/collapse/region-rows.js');
  const copy = await readModel(model.path ?? modelToBytes(model), { directory: process.cwd() });
  return rankReportWithRegions(model, copy, options);
}

/** With the HTML of all models. SOURCE_DATE_EPOCH sets its date, for bytes that can be made again. */
async function withPage(document: Document, models: readonly HtmlReportModel[], io: Io): Promise<Document> {
  const { renderHtmlReport } = await import('../report/html/index.js');
  const epoch = Number(io.env.SOURCE_DATE_EPOCH || Number.NaN);
  const date = new Date(Number.isFinite(epoch) ? 1000 * epoch : Date.now()).toISOString().slice(0, 10);
  return { ...document, html: () => renderHtmlReport(models, { date, version: version() }) };
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
  model: Model,
  only: readonly string[],
  chains: ChainView | undefined,
): Promise<void> {
  if (only.length === 0) return;
  const { chosenBy, findWeights, nodesOf } = await import('../analysis/weights/weights.js');
  const { weights } = findWeights(model, { chains });
  if (weights.length === 0 || weights.some(chosenBy(only))) return;
  const names = weights.flatMap((weight) => [weight.name, ...nodesOf(weight)]);
  const meant = nearest(only[0] ?? '', names);
  const hint =
    meant === undefined ? `the first of ${weights.length} is '${names[0]}'` : `did you mean '${meant}'?`;
  throw new UsageError(`--only: no weight or node matches '${only.join("', '")}'; ${hint}`);
}
