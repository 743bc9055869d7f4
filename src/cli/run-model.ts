import { basename } from 'node:path';
import type { Model } from '../graph/index.js';
import type { OptionDescriptors } from '../graph/option-descriptors.js';
import { CHAIN_STEPS, type ChainSteps } from '../passes/gradient/options.js';
import { BENCH_OPTIONS, RANDOM_INPUT_OPTIONS, SESSION_OPTIONS } from '../runtime/session/options.js';
import type { ModelRun } from '../runtime/session/run-model.js';
import type { RuntimeTensor } from '../runtime/types.js';
import { RUN_DATA_KEYS, RUN_DATA_OPTIONS, runOnData } from './run-data.js';
import {
  IMAGE_ARGUMENTS,
  IMAGE_KEYS,
  INPUT_OPTION,
  imageOptionsOf,
  namedFile,
  readInputs,
} from './run-inputs.js';
import type { Command } from './shell/command.js';
import { type Given, refuse } from './shell/described.js';
import { UsageError } from './shell/errors.js';
import { formatOf, loadModel, MODEL, nameOf, print, summarize, writeDocument } from './shell/files.js';
import { type Io, write } from './shell/io.js';
import { COMMON_OPTIONS, FILE_OPTIONS } from './shell/options.js';
import { keepApart, outputsOf } from './shell/outputs.js';
import { ProgressLine } from './shell/progress.js';
import {
  onModel,
  PROVIDER_OPTIONS,
  preference,
  providersOf,
  STRICT_OPTION,
} from './shell/provider-options.js';

const OPTIONS = {
  ...INPUT_OPTION,
  ...RUN_DATA_OPTIONS,
  random: { kind: 'flag', default: false, help: 'random inputs instead' },
  ...RANDOM_INPUT_OPTIONS,
  batches: BENCH_OPTIONS.batches,
  ...IMAGE_ARGUMENTS,
  ...FILE_OPTIONS,
  output: {
    ...FILE_OPTIONS.output,
    help: 'file for the outputs: .npz, .npy or .json, - for JSON on standard output',
  },
  top: {
    kind: 'integer',
    min: 1,
    defaultHelp: '5 with --labels',
    help: 'show the N largest elements of each row',
  },
  labels: {
    kind: 'text',
    defaultHelp: 'those that train kept in the model',
    help: 'file with the names of the classes, one per line or a JSON list',
  },
  ...PROVIDER_OPTIONS,
  ...STRICT_OPTION,
  ...SESSION_OPTIONS,
  chainSteps: {
    kind: 'choice',
    choices: CHAIN_STEPS,
    defaultHelp: 'auto; with --bench factors, as other programs run the file',
    help: 'factors of a chain that expand wrote: multiplied out first (product), one after the other, or whichever takes fewer operations',
  },
  bench: { kind: 'flag', default: false, help: 'measure the speed of each model on each --ep, side by side' },
  bind: { kind: 'flag', default: false, help: '--bench on webgpu: leave inputs and outputs on the device' },
  runs: BENCH_OPTIONS.runs,
  warmup: BENCH_OPTIONS.warmup,
  ...COMMON_OPTIONS,
} as const satisfies OptionDescriptors;

type Arguments = Given<typeof OPTIONS> & { readonly model: readonly string[] };

export const runModelCommand: Command<Arguments> = {
  options: OPTIONS,
  builder: (parser) =>
    parser
      .positional('model', MODEL)
      .example('$0 run model.onnx --random --ep auto', 'does it run, and on what')
      .example('$0 run model.onnx -i x.npy -o y.npz --ep cuda', 'inference on the GPU')
      .example(
        '$0 run resnet.onnx -i cat.jpg --normalize imagenet --labels names.txt',
        'what is in the picture',
      )
      .example(
        '$0 run resnet.onnx --data photos --normalize imagenet --top 3 -o predictions.csv',
        'what is in each picture of a folder',
      )
      .example(
        '$0 run expanded.onnx collapsed.onnx --bench --batch 1,8',
        'how much faster is the collapsed one',
      ),
  handler: async (args, io) => {
    if (args.model.filter((path) => path === '-').length > 1) {
      throw new UsageError('only one of the models can come from standard input');
    }
    return args.bench ? await bench(args, io) : await runOnce(args, io);
  },
};

async function runOnce(args: Arguments, io: Io): Promise<number> {
  refuse(OPTIONS, args, ['runs', 'warmup', 'bind'], 'goes with --bench');
  const { seed, dims, batches, threads, output, strictEp: strict, labels: labelFile } = args;
  const [path = '', ...others] = args.model;
  if (others.length > 0)
    throw new UsageError('run takes one model, with --bench several; put inputs behind -i, one each');
  if (batches !== undefined && batches.length > 1)
    throw new UsageError('several --batch sizes go with --bench');
  if (args.data !== undefined)
    refuse(OPTIONS, args, ['input', 'seed', 'dims', 'chainSteps'], 'does not go with --data');
  else refuse(OPTIONS, args, RUN_DATA_KEYS, 'goes with --data');
  const { list, device } = providersOf(args);
  const providers = preference(list);
  if (strict && (providers === 'cpu' || list?.includes('cpu'))) {
    throw new UsageError('--strict-ep goes with a provider other than the CPU: --ep cuda, say');
  }
  const { input: inputs = [] } = args;
  const images = imageOptionsOf(args);
  if (args.data !== undefined) {
    if (args.random) throw new UsageError('--data or --random, not both');
    if (strict) throw new UsageError('--strict-ep does not go with --data');
    const labels = labelFile === undefined ? undefined : await readLabels(labelFile);
    const run = { providers, device, threads, batch: batches?.[0] };
    return await runOnData({ ...args, data: args.data, model: path, labels, images, run }, io);
  }
  if (images !== undefined && inputs.length === 0) {
    throw new UsageError('--normalize, --mean, --std, --scale, --layout and --fit go with --input <image>');
  }
  if (args.random && inputs.length > 0) throw new UsageError('--input or --random, not both');
  if (!args.random && inputs.length > 0)
    refuse(OPTIONS, args, ['seed', 'dims', 'batches'], 'goes with --random');
  const top = args.top ?? (labelFile === undefined ? undefined : 5);
  const { assertWritable, ModelError } = await import('../graph/index.js');
  const files = await import('../runtime/io/files.js');
  // Without --overwrite no file that exists is written.
  const outputs = args.overwrite ? outputsOf({ '--output': output }) : [];
  keepApart(
    outputs,
    [path, labelFile, ...(await Promise.all(inputs.map(namedFile))).map(({ file }) => file)],
    io,
  );
  if (output !== undefined && output !== '-') {
    if (files.tensorFormatOf(output) === undefined) {
      throw new UsageError(`--output must end in .npz, .npy or .json, not '${output}'`);
    }
    await assertWritable(output, { overwrite: args.overwrite });
  }
  const listed = labelFile === undefined ? undefined : await readLabels(labelFile);
  const { classNames } = await import('../graph/names/class-names.js');
  const { fedInputs, onOpenDims } = await import('../runtime/inputs/input-sizes.js');
  const { randomInputs } = await import('../runtime/inputs/random-inputs.js');
  const { runModel } = await import('../runtime/session/run-model.js');
  const { ranksClasses, runDocument } = await import('../report/inference.js');
  const model = await loadModel(path, io, { ...args, outputs });
  if (!args.random && inputs.length === 0 && fedInputs(model.graph).length > 0) {
    const wanted = fedInputs(model.graph).map((input) => `${input.name}: ${input.toString()}`);
    throw new UsageError(`no inputs: pass --input or --random; the model takes ${wanted.join('; ')}`);
  }
  const taken = fedInputs(model.graph).map(({ name, dataType: type, shape = [] }) => ({ name, type, shape }));
  const { given, notes: read } = await readInputs(inputs, taken, images);
  const notes = [...read];
  const sizes = { dims, batch: batches?.[0] };
  const random = inputs.length === 0 ? randomInputs(model, { seed, ...sizes }) : undefined;
  const shapes = random ?? fedShapes(() => files.fitFeeds(given, taken).feeds);
  const { chainSteps = 'auto' } = args;
  const composed = shapes === undefined ? model : await withChains(model, shapes, chainSteps);
  const work = (): Promise<ModelRun> =>
    runModel(
      composed,
      (session) => {
        if (random !== undefined) return random;
        const fitted = files.fitFeeds(given, session.inputs);
        notes.push(...fitted.notes);
        return fitted.feeds;
      },
      { providers, device, threads, strict },
    );
  const run = await onModel(nameOf(path), () =>
    random === undefined ? work() : onOpenDims(model, sizes, work),
  );
  if (run.providers.includes('webgpu')) notes.push(...(await mendedNotes(model)));
  const isRanked = (names: readonly string[]): boolean =>
    Object.values(run.outputs).some((tensor) => ranksClasses(tensor, names));
  // Those that a training kept in the model.
  const own = listed === undefined ? classNames(model) : undefined;
  const labels = listed ?? (own !== undefined && isRanked(own) ? own : undefined);
  if (labels !== undefined && !isRanked(labels)) {
    const shapes = Object.entries(run.outputs).map(([name, { shape }]) => `${name} [${shape.join(', ')}]`);
    throw new ModelError(
      `has ${labels.length} labels, but no output has as many along its last axis: ${shapes.join(', ')}`,
      { file: labelFile },
    );
  }
  if (output === '-') await write(io, files.tensorBytes(run.outputs, 'json'));
  else if (output !== undefined)
    await files.writeTensorFile(output, run.outputs, { overwrite: args.overwrite });
  const document = runDocument(run, {
    model: nameOf(path),
    top: top ?? (labels === undefined ? undefined : 5),
    labels,
    output,
    notes,
    verbose: args.verbose,
  });
  await summarize(document, { ...args, output }, io);
  return 0;
}

type Feeds = Readonly<Record<string, RuntimeTensor>>;

/** Undefined where they do not fit, which the session will say. */
function fedShapes(fitted: () => Feeds): Feeds | undefined {
  try {
    return fitted();
  } catch (error) {
    if (error instanceof Error) return undefined;
    throw error;
  }
}

/** The model with chains multiplied out before they meet inputs of these sizes, where `--chain-steps` says so. */
async function withChains(model: Model, feeds: Feeds, steps: ChainSteps): Promise<Model> {
  if (steps === 'factors') return model;
  const [{ withComposedChains }, { ValueInfo }] = await Promise.all([
    import('../passes/gradient/prepare/compose-chains.js'),
    import('../graph/index.js'),
  ]);
  const inputs = Object.entries(feeds).map(([name, { type, shape }]) => ValueInfo.tensor(name, type, shape));
  return await withComposedChains(model, inputs, steps);
}

/** Which convolutions run in another form on WebGPU. */
async function mendedNotes(model: Model): Promise<string[]> {
  const { wrongOnWebGpu } = await import('../runtime/providers/webgpu-defects.js');
  const wrong = wrongOnWebGpu(model).map((node) => node.label);
  if (wrong.length === 0) return [];
  const more = wrong.length > 3 ? ` and ${wrong.length - 3} more` : '';
  return [
    `onnxruntime's WebGPU provider computes some convolutions wrong; ${wrong.slice(0, 3).join(', ')}${more} ran in another form, with channels of zeros added or group by group`,
  ];
}

async function readLabels(file: string): Promise<string[]> {
  const { ModelError, readText } = await import('../graph/index.js');
  const text = await readText(file);
  if (!text.trimStart().startsWith('[')) return text.replace(/\r?\n$/, '').split(/\r?\n/);
  try {
    return (JSON.parse(text) as unknown[]).map(String);
  } catch (error) {
    throw new ModelError('begins as a JSON list, but is none', { file }, { cause: error });
  }
}

async function bench(args: Arguments, io: Io): Promise<number> {
  const others = ['input', ...IMAGE_KEYS, 'top', 'labels'] as const;
  refuse(OPTIONS, args, others, 'does not go with --bench, which makes its own inputs');
  const { seed, dims, batches, threads, output, runs, warmup, strictEp: strict } = args;
  const { list = ['cpu'], device } = providersOf(args);
  if (strict && list.includes('cpu')) {
    throw new UsageError('--strict-ep goes with providers other than the CPU: --ep cuda, say');
  }
  if (args.bind && !list.includes('webgpu')) {
    throw new UsageError('--bind goes with --ep webgpu, the memory of which onnxruntime-node can bind alone');
  }
  const path = output === '-' ? undefined : output;
  // Without --overwrite no file that exists is written.
  const outputs = args.overwrite ? outputsOf({ '--output': output }) : [];
  keepApart(outputs, args.model, io);
  if (path !== undefined) {
    const { assertWritable } = await import('../graph/index.js');
    await assertWritable(path, { overwrite: args.overwrite });
  }
  const { benchModels } = await import('../runtime/session/bench.js');
  const { randomInputs } = await import('../runtime/inputs/random-inputs.js');
  const { benchDocument } = await import('../report/inference.js');
  const models = [];
  const short = args.model.map((file) => basename(nameOf(file)));
  const names = new Set(short).size === short.length ? short : args.model.map(nameOf);
  for (const [index, file] of args.model.entries()) {
    const model = await loadModel(file, io, { ...args, outputs });
    const { chainSteps = 'factors' } = args;
    const feeds = chainSteps === 'factors' ? {} : randomInputs(model, { seed, dims, batch: batches?.[0] });
    models.push({ name: names[index] ?? file, model: await withChains(model, feeds, chainSteps) });
  }
  const progress = new ProgressLine(io, args);
  try {
    const report = await benchModels(models, {
      providers: [...new Set(list)],
      device,
      strict,
      bound: args.bind,
      threads,
      batches,
      runs,
      warmup,
      seed,
      dims,
      onProgress: progress.update,
    });
    progress.clear();
    const notes: string[] = [];
    for (const { name, model } of models) {
      if (!report.rows.some((row) => row.model === name && row.provider === 'webgpu')) continue;
      notes.push(...(await mendedNotes(model)).map((note) => `${name}: ${note}`));
    }
    const document = benchDocument(report, notes);
    const format = formatOf(args.format, path);
    if (path === undefined) await print(document, { ...args, format }, io);
    else await writeDocument(document, path, { ...args, format }, io);
  } finally {
    progress.clear();
  }
  return 0;
}
