import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Argv } from 'yargs';
import type { Model } from '../graph/index.js';
import { type ImageArguments, imageOptions, imageOptionsOf, namedFile, readInputs } from './run-inputs.js';
import type { Command } from './shell/command.js';
import { UsageError } from './shell/errors.js';
import { formatOf, loadModel, nameOf, print, writeDocument } from './shell/files.js';
import { type Io, write } from './shell/io.js';
import { type CommonArguments, commonOptions, dimensions, number, once } from './shell/options.js';
import { keepApart, outputsOf } from './shell/outputs.js';
import { ProgressLine } from './shell/progress.js';
import {
  onModel,
  type ProviderArguments,
  preference,
  providerOptions,
  providersOf,
} from './shell/provider-options.js';

interface Arguments extends CommonArguments, ProviderArguments, ImageArguments {
  readonly model: readonly string[];
  readonly input: string | readonly string[] | undefined;
  readonly random: boolean | undefined;
  readonly seed: number | undefined;
  readonly dim: string | readonly string[] | undefined;
  readonly batch: string | readonly string[] | undefined;
  readonly output: string | undefined;
  readonly overwrite: boolean;
  readonly top: number | undefined;
  readonly labels: string | undefined;
  readonly strictEp: boolean | undefined;
  readonly threads: number | undefined;
  readonly bench: boolean | undefined;
  readonly bind: boolean | undefined;
  readonly runs: number | undefined;
  readonly warmup: number | undefined;
}

export const runModelCommand: Command<Arguments> = {
  builder: (parser) =>
    commonOptions(
      providerOptions(
        imageOptions(
          parser
            .positional('model', {
              type: 'string',
              demandOption: true,
              describe: 'ONNX file, - for standard input',
            })
            .option('input', {
              alias: 'i',
              type: 'string',
              requiresArg: true,
              describe: 'inputs: file.npz, file.json, name=file.npy, name=image.jpg; may repeat',
            }),
        )
          .option('random', { type: 'boolean', describe: 'random inputs instead' })
          .option('seed', { type: 'number', requiresArg: true, describe: 'of random inputs (default: 0)' })
          .option('dim', {
            type: 'string',
            requiresArg: true,
            describe: 'size of an open dimension of random inputs, name=4 or x[1]=4 (default: 1); may repeat',
          })
          .option('batch', {
            type: 'string',
            requiresArg: true,
            describe: 'first dimension of random inputs; several for --bench: 1,8,32',
          })
          .option('output', {
            alias: 'o',
            type: 'string',
            requiresArg: true,
            describe: 'file for the outputs: .npz, .npy or .json, - for JSON on standard output',
          })
          .option('overwrite', { type: 'boolean', describe: 'replace the output file if it exists' })
          .option('top', {
            type: 'number',
            requiresArg: true,
            describe: 'list the largest elements of each row (default with --labels: 5)',
          })
          .option('labels', {
            type: 'string',
            requiresArg: true,
            describe: 'file with the names of the classes, one a line or a JSON list',
          })
          .option('strict-ep', { type: 'boolean', describe: 'fail if any node falls to the CPU' })
          .option('threads', {
            type: 'number',
            requiresArg: true,
            describe: 'of the CPU (default: one a core)',
          })
          .option('bench', {
            type: 'boolean',
            describe: 'measure; of several models, and of each --ep, side by side',
          })
          .option('bind', {
            type: 'boolean',
            describe: '--bench on webgpu: leave inputs and outputs on the device',
          })
          .option('runs', {
            type: 'number',
            requiresArg: true,
            describe: 'timed runs of --bench (default: 30)',
          })
          .option('warmup', {
            type: 'number',
            requiresArg: true,
            describe: 'runs before them, after the first (default: 3)',
          }),
      ),
    )
      .example('$0 run model.onnx --random --ep auto', 'does it run, and on what')
      .example('$0 run model.onnx -i x.npy -o y.npz --ep cuda', 'inference on the GPU')
      .example(
        '$0 run resnet.onnx -i cat.jpg --normalize imagenet --labels names.txt',
        'what is in the picture',
      )
      .example(
        '$0 run expanded.onnx collapsed.onnx --bench --batch 1,8',
        'how much faster is the collapsed one',
      ) as unknown as Argv<Arguments>,
  handler: async (args, io) => {
    const shared = {
      seed: number(args.seed, '--seed', { min: 0, whole: true }),
      dims: dimensions(args.dim),
      batches: batchesOf(args.batch),
      threads: number(args.threads, '--threads', { min: 1, whole: true }),
      output: once(args.output, '--output'),
    };
    if (args.model.filter((path) => path === '-').length > 1) {
      throw new UsageError('only one of the models can come from standard input');
    }
    return args.bench === true ? await bench(args, shared, io) : await runOnce(args, shared, io);
  },
};

const IMAGE_OPTIONS = ['normalize', 'mean', 'std', 'scale', 'layout', 'fit'] as const;

interface Shared {
  readonly seed: number | undefined;
  readonly dims: Record<string, number>;
  readonly batches: readonly number[] | undefined;
  readonly threads: number | undefined;
  readonly output: string | undefined;
}

function batchesOf(value: Arguments['batch']): number[] | undefined {
  if (value === undefined) return undefined;
  return [value]
    .flat()
    .flatMap((text) => text.split(','))
    .map((text) => {
      const size = Number(text);
      if (text.trim() !== '' && Number.isSafeInteger(size) && size >= 1) return size;
      throw new UsageError(`--batch must be whole numbers of at least 1 (1,8,32), not '${text}'`);
    });
}

/** What only one of the two ways to run takes. */
function refuse(args: Arguments, names: readonly (keyof Arguments & string)[], why: string): void {
  for (const name of names) {
    const value = args[name];
    if (value === undefined || value === false) continue;
    throw new UsageError(`--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)} ${why}`);
  }
}

async function runOnce(args: Arguments, shared: Shared, io: Io): Promise<number> {
  refuse(args, ['runs', 'warmup', 'bind'], 'goes with --bench');
  const { seed, dims, batches, threads, output } = shared;
  const [path = '', ...others] = args.model;
  if (others.length > 0) throw new UsageError('several models go with --bench; run takes one');
  if (batches !== undefined && batches.length > 1)
    throw new UsageError('several --batch sizes go with --bench');
  const { list, device } = providersOf(args);
  const providers = preference(list);
  const strict = args.strictEp === true;
  if (strict && (providers === 'cpu' || list?.includes('cpu'))) {
    throw new UsageError('--strict-ep goes with a provider other than the CPU: --ep cuda, say');
  }
  const inputs = [args.input ?? []].flat();
  const images = imageOptionsOf(args);
  if (images !== undefined && inputs.length === 0) {
    throw new UsageError('--normalize, --mean, --std, --scale, --layout and --fit go with --input <image>');
  }
  if (args.random && inputs.length > 0) throw new UsageError('--input or --random, not both');
  if (!args.random && inputs.length > 0) refuse(args, ['seed', 'dim', 'batch'], 'goes with --random');
  const labelFile = once(args.labels, '--labels');
  const top = number(args.top, '--top', { min: 1, whole: true }) ?? (labelFile === undefined ? undefined : 5);
  const { assertWritable, ModelError } = await import('../graph/index.js');
  const files = await import('../runtime/io/files.js');
  const outputs = outputsOf({ '--output': output });
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
  const labels = labelFile === undefined ? undefined : await readLabels(labelFile);
  const { onOpenDims } = await import('../runtime/session/open-dims.js');
  const { fedInputs, randomInputs } = await import('../runtime/session/random-inputs.js');
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
  const run = await onModel(nameOf(path), () =>
    onOpenDims(random === undefined ? [] : fedInputs(model.graph), sizes, () =>
      runModel(
        model,
        (session) => {
          if (random !== undefined) return random;
          const fitted = files.fitFeeds(given, session.inputs);
          notes.push(...fitted.notes);
          return fitted.feeds;
        },
        { providers, device, threads, strict },
      ),
    ),
  );
  if (run.providers.includes('webgpu')) notes.push(...(await mendedNotes(model)));
  if (labels !== undefined && !Object.values(run.outputs).some((tensor) => ranksClasses(tensor, labels))) {
    const shapes = Object.entries(run.outputs).map(([name, { shape }]) => `${name} [${shape.join(', ')}]`);
    throw new ModelError(
      `has ${labels.length} labels, but no output has as many along its last axis: ${shapes.join(', ')}`,
      { file: labelFile },
    );
  }
  if (output === '-') await write(io, files.tensorBytes(run.outputs, 'json'));
  else if (output !== undefined)
    await files.writeTensorFile(output, run.outputs, { overwrite: args.overwrite });
  if (!args.quiet) {
    const document = runDocument(run, {
      model: nameOf(path),
      top,
      labels,
      output,
      notes,
      verbose: args.verbose,
    });
    await print(document, { ...args, output }, io);
  }
  return 0;
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
  const { ModelError } = await import('../graph/index.js');
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw new ModelError(isMissing ? 'no such file' : 'can not be read', { file }, { cause: error });
  }
  if (!text.trimStart().startsWith('[')) return text.replace(/\r?\n$/, '').split(/\r?\n/);
  try {
    return (JSON.parse(text) as unknown[]).map(String);
  } catch (error) {
    throw new ModelError('begins as a JSON list, but is none', { file }, { cause: error });
  }
}

async function bench(args: Arguments, shared: Shared, io: Io): Promise<number> {
  refuse(
    args,
    ['input', ...IMAGE_OPTIONS, 'top', 'labels'],
    'does not go with --bench, which makes its own inputs',
  );
  const { seed, dims, batches, threads, output } = shared;
  const runs = number(args.runs, '--runs', { min: 1, whole: true });
  const warmup = number(args.warmup, '--warmup', { min: 0, whole: true });
  const { list = ['cpu'], device } = providersOf(args);
  const strict = args.strictEp === true;
  if (strict && list.includes('cpu')) {
    throw new UsageError('--strict-ep goes with providers other than the CPU: --ep cuda, say');
  }
  if (args.bind && !list.includes('webgpu')) {
    throw new UsageError('--bind goes with --ep webgpu, the memory of which onnxruntime-node can bind alone');
  }
  const path = output === '-' ? undefined : output;
  const outputs = outputsOf({ '--output': output });
  keepApart(outputs, args.model, io);
  if (path !== undefined) {
    const { assertWritable } = await import('../graph/index.js');
    await assertWritable(path, { overwrite: args.overwrite });
  }
  const { benchModels } = await import('../runtime/session/bench.js');
  const { benchDocument } = await import('../report/inference.js');
  const models = [];
  const short = args.model.map((file) => basename(nameOf(file)));
  const names = new Set(short).size === short.length ? short : args.model.map(nameOf);
  for (const [index, file] of args.model.entries()) {
    models.push({ name: names[index] ?? file, model: await loadModel(file, io, { ...args, outputs }) });
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
    else await writeDocument(document, path, { ...args, format });
  } finally {
    progress.clear();
  }
  return 0;
}
