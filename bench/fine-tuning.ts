/**
 * Fine-tunes files on one batch of random data, to see that any of them trains, and compares the gradient of ResNet-18
 * with PyTorch's: `npx tsx bench/fine-tuning.ts <file or directory>... [--gradient resnet18 --steps 6 --batch 2]`.
 *
 * Each row: how many weights are trained, the loss of the first step and of the last, milliseconds a step. The gradient
 * needs python3-torch and python3-torchvision.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type Model, readModel } from '../src/graph/index.js';
import { gradient } from '../src/passes/gradient/index.js';
import {
  blockSize,
  evaluate,
  fedInputs,
  Random,
  type RuntimeTensor,
  randomInputs,
  readNpz,
} from '../src/runtime/index.js';
import { openEngine } from '../src/training/engine.js';
import { optimizer } from '../src/training/optimizers/index.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SCRIPT = join(ROOT, 'bench/python/torch_gradient.py');
const WORK = join(ROOT, '.bench/training');

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      steps: { type: 'string', default: '6' },
      batch: { type: 'string', default: '2' },
      rate: { type: 'string', default: '0.0001' },
      gradient: { type: 'string' },
      seed: { type: 'string', default: '3' },
    },
  });
  if (values.gradient !== undefined) await compareGradient(values.gradient, values.batch, values.seed);
  const files = positionals.flatMap((path) =>
    statSync(path).isDirectory()
      ? readdirSync(path)
          .filter((name) => name.endsWith('.onnx'))
          .map((name) => join(path, name))
      : [path],
  );
  if (files.length === 0) return;
  console.log('| model | batch | weights | loss before | after | ms a step |');
  console.log('| --- | --- | --- | --- | --- | --- |');
  for (const file of files) {
    try {
      console.log(await fineTune(file, Number(values.steps), Number(values.batch), Number(values.rate)));
    } catch (error) {
      console.log(`| ${basename(file, '.onnx')} | – | ${(error as Error).message} | | | |`);
    }
  }
}

async function fineTune(file: string, steps: number, wanted: number, rate: number): Promise<string> {
  const model = await readModel(file);
  const batch = batchOf(model) ?? wanted;
  await using engine = await openEngine(model, {
    loss: 'cross-entropy',
    batch,
    optimizer: optimizer('adam'),
  });
  const classes = await classesOf(model);
  const data: Record<string, RuntimeTensor> = {};
  for (const { name, shape } of fedInputs(model.graph)) {
    const sizes = [batch, ...(shape ?? []).slice(1).map(Number)];
    const size = sizes.reduce((product, dim) => product * dim, 1);
    data[name] = {
      type: 'float32',
      shape: sizes,
      data: new Random(1, name).fillNormal(new Float32Array(size)),
    };
  }
  const random = new Random(0, 'labels');
  const labels = BigInt64Array.from({ length: batch }, () => BigInt(random.integer(classes)));
  const repeated = (tensor: RuntimeTensor): RuntimeTensor => ({ ...tensor, shape: [1, ...tensor.shape] });
  const chunk = {
    steps: 1,
    inputs: Object.fromEntries(Object.entries(data).map(([name, tensor]) => [name, repeated(tensor)])),
    target: repeated({ type: 'int64', shape: [batch], data: labels }),
    learningRates: Float32Array.of(rate),
  };
  const losses: number[] = [];
  const begin = performance.now();
  for (let step = 0; step < steps; step += 1) losses.push(...(await engine.run(chunk)).losses);
  const ms = (performance.now() - begin) / steps;
  const cells = [
    basename(file, '.onnx'),
    batch,
    engine.trained.length,
    losses[0]?.toFixed(4),
    losses[steps - 1]?.toFixed(4),
    ms.toFixed(0),
  ];
  return `| ${cells.join(' | ')} |`;
}

/** The batch that a model insists on; undefined where another can be had. */
function batchOf(model: Model): number | undefined {
  const first = fedInputs(model.graph)[0]?.shape?.[0];
  return typeof first === 'number' && first > 1 ? first : undefined;
}

async function classesOf(model: Model): Promise<number> {
  const results = await evaluate(model, randomInputs(model, { batch: 1 }));
  return results[model.graph.outputs[0]?.name ?? '']?.shape[1] ?? 1;
}

async function compareGradient(name: string, batch: string, seed: string): Promise<void> {
  mkdirSync(WORK, { recursive: true });
  const made = spawnSync('/usr/bin/python3', ['-W', 'ignore', SCRIPT, name, WORK, batch, seed], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const file = join(WORK, `${name}-bn.onnx`);
  if (made.status !== 0 || !existsSync(file)) throw new Error('PyTorch did not make the gradient');
  const reference = readNpz(await readFile(join(WORK, `${name}-gradient.npz`)));
  for (const mode of ['training', 'inference'] as const)
    await compareMode(name, file, Number(batch), mode, reference);
}

async function compareMode(
  name: string,
  file: string,
  batch: number,
  mode: 'training' | 'inference',
  reference: Record<string, RuntimeTensor>,
): Promise<void> {
  const step = await gradient(await readModel(file), {
    loss: 'cross-entropy',
    batch,
    weights: 'constants',
    batchNorm: mode,
    block: await blockSize(),
  });
  const results = await evaluate(step.model, {
    input: reference.input as RuntimeTensor,
    [step.target ?? '']: reference.labels as RuntimeTensor,
  });
  const numbers = (tensor: RuntimeTensor | undefined): Float64Array =>
    Float64Array.from((tensor?.data ?? []) as Float32Array);
  const total = { ours: 0, theirs: 0, norm: 0 };
  let worst = { name: '', ours: 0, theirs: 0 };
  for (const [weight, output] of step.gradients) {
    const exact = numbers(reference[`${mode}/float64/gradient/${weight}`]);
    const [own, other] = [numbers(results[output]), numbers(reference[`${mode}/float32/gradient/${weight}`])];
    if (exact.length !== own.length) throw new Error(`PyTorch has no gradient of '${weight}'`);
    const [ours, theirs, norm] = [distance(own, exact), distance(other, exact), distance(exact, undefined)];
    total.ours += ours ** 2;
    total.theirs += theirs ** 2;
    total.norm += norm ** 2;
    if (ours / norm > worst.ours) worst = { name: weight, ours: ours / norm, theirs: theirs / norm };
  }
  let state = 0;
  for (const [key, output] of step.state) {
    const exact = numbers(reference[`${mode}/float64/state/${key}`]);
    state = Math.max(state, distance(numbers(results[output]), exact) / distance(exact, undefined));
  }
  const exactLoss = numbers(reference[`${mode}/float64/loss`])[0] ?? 0;
  const loss = Math.abs(Number(results[step.loss]?.data[0]) - exactLoss) / exactLoss;
  const relative = (square: number): string => Math.sqrt(square / total.norm).toExponential(1);
  console.log(
    `${name}, batch ${batch}, BatchNormalization in ${mode} form, ${step.gradients.size} gradients, against PyTorch in float64:`,
  );
  const statistics = step.state.size > 0 ? `, running statistics at most ${state.toExponential(1)}` : '';
  console.log(`  loss ${loss.toExponential(1)}${statistics}`);
  console.log(`  all gradients: ours ${relative(total.ours)}, PyTorch in float32 ${relative(total.theirs)}`);
  console.log(
    `  worst weight ${worst.name}: ours ${worst.ours.toExponential(1)}, PyTorch in float32 ${worst.theirs.toExponential(1)}`,
  );
}

function distance(a: Float64Array, b: Float64Array | undefined): number {
  return Math.sqrt(a.reduce((sum, number, i) => sum + (number - (b?.[i] ?? 0)) ** 2, 0));
}

await main();
