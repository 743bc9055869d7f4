/**
 * Compares gradients with those of PyTorch in float64: `npx tsx bench/gradient-agreement.ts <network>... [--batch 2
 * --seed 3]`, where a network is mlp-256, cnn, vit, resnet, lstm (of bench/python/torch_training.py) or one of torchvision's
 * (resnet18, mobilenet_v2, vit_b_16).
 *
 * Each row: the distance of all gradients from PyTorch's float64, relative to their norm; of the weight that is worst by
 * itself (weights whose gradient is nothing but rounding left out); of the running statistics. Once of the graph as onnxruntime runs it, in float32, with what PyTorch's own float32
 * has beside it; and once of the same graph in float64, run by the ONNX reference implementation, which tells rounding
 * from mistakes. Float32 may be far off where an activation is so near to 0 that rounding moves it to the other side.
 *
 * Needs python3-torch and python3-torchvision, and for float64 a Python with onnx >= 1.16: `--onnx <python>`.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readModel, saveModel } from '../src/graph/index.js';
import { type Gradient, gradient } from '../src/passes/gradient/index.js';
import { blockSize, evaluate, type RuntimeTensor, readNpz, writeNpz } from '../src/runtime/index.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const WORK = join(ROOT, '.bench/training');

type Tensors = Readonly<Record<string, RuntimeTensor>>;
type Mode = 'training' | 'inference';

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      batch: { type: 'string', default: '2' },
      seed: { type: 'string', default: '3' },
      onnx: { type: 'string' },
    },
  });
  mkdirSync(WORK, { recursive: true });
  console.log(
    '| network | BatchNormalization | computed by | gradients | worst weight | loss | statistics |',
  );
  console.log('| --- | --- | --- | --- | --- | --- | --- |');
  for (const name of positionals) {
    python('/usr/bin/python3', 'torch_gradient.py', name, WORK, values.batch, values.seed);
    const reference = readNpz(await readFile(join(WORK, `${name}-gradient.npz`)));
    for (const mode of ['training', 'inference'] as const) {
      if (reference[`${mode}/float64/loss`] !== undefined)
        await compare(name, mode, reference, Number(values.batch), values.onnx);
    }
  }
}

async function compare(
  name: string,
  mode: Mode,
  reference: Tensors,
  batch: number,
  onnx: string | undefined,
): Promise<void> {
  const made = async (block?: number): Promise<Gradient> =>
    gradient(await readModel(join(WORK, `${name}-gradient.onnx`)), {
      loss: 'cross-entropy',
      batch,
      weights: 'constants',
      batchNorm: mode,
      block,
    });
  const feeds = (step: Gradient): Tensors => ({
    input: reference.input as RuntimeTensor,
    [step.target ?? '']: reference.labels as RuntimeTensor,
  });
  const step = await made(await blockSize());
  const row = (by: string, found: Found): void => {
    const has = [...step.gradients.keys()].some((key) => key.includes('bn') || step.state.size > 0);
    console.log(
      `| ${name} | ${has || mode === 'inference' ? mode : '–'} | ${by} | ${describe(found, mode, reference)} |`,
    );
  };
  row('onnxruntime, float32', ours(step, await evaluate(step.model, feeds(step))));
  row('PyTorch, float32', (kind, key) => reference[`${mode}/float32/${kind}${key}`]);
  if (onnx === undefined) return;
  const plain = await made();
  const [path, given, taken] = ['step.onnx', 'feeds.npz', 'results.npz'].map((file) => join(WORK, file)) as [
    string,
    string,
    string,
  ];
  await saveModel(plain.model, path, { overwrite: true });
  writeFileSync(given, writeNpz(feeds(plain)));
  python(onnx, 'float64_gradient.py', path, given, taken);
  row('ONNX reference, float64', ours(plain, readNpz(await readFile(taken))));
}

/** What was found for the loss ('loss', ''), a gradient ('gradient/', weight) or a running statistic ('state/', name). */
type Found = (kind: string, key: string) => RuntimeTensor | undefined;

function ours(step: Gradient, results: Tensors): Found {
  return (kind, key) => {
    if (kind === 'loss') return results[step.loss];
    return results[(kind === 'gradient/' ? step.gradients : step.state).get(key) ?? ''];
  };
}

function describe(found: Found, mode: Mode, reference: Tensors): string {
  const prefix = `${mode}/float64/`;
  const of = (kind: string): { key: string; error: number; norm: number }[] =>
    Object.entries(reference).flatMap(([path, exact]) => {
      const key = path.slice(prefix.length + kind.length);
      if (!path.startsWith(prefix + kind) || (kind === 'loss' && key !== '')) return [];
      const own = found(kind, key);
      // Statistics that stay as they are, are not put out.
      if (own === undefined && kind === 'state/') return [];
      return [{ key, error: distance(own, exact), norm: distance(undefined, exact) }];
    });
  const gradients = of('gradient/');
  const sum = (numbers: number[]): number => Math.hypot(...numbers);
  const total = sum(gradients.map(({ norm }) => norm));
  const all = sum(gradients.map(({ error }) => error)) / total;
  const largest = (list: ReturnType<typeof of>) =>
    list.toSorted((a, b) => b.error / b.norm - a.error / a.norm)[0];
  const shown = (one: ReturnType<typeof largest>): string =>
    one === undefined ? '–' : (one.error / one.norm).toExponential(1);
  // A bias in front of a BatchNormalization has the gradient 0.
  const worst = largest(gradients.filter(({ norm }) => norm > 1e-9 * total));
  return [
    all.toExponential(1),
    `${shown(worst)} \`${worst?.key}\``,
    shown(of('loss')[0]),
    mode === 'training' ? shown(largest(of('state/'))) : '–',
  ].join(' | ');
}

function distance(a: RuntimeTensor | undefined, b: RuntimeTensor): number {
  const [own, exact] = [a?.data, b.data] as [Float64Array | undefined, Float64Array];
  if (own !== undefined && own.length !== exact.length) throw new Error('gradients of another size');
  return Math.sqrt(exact.reduce((total, number, i) => total + (number - (own?.[i] ?? 0)) ** 2, 0));
}

function python(command: string, script: string, ...args: string[]): void {
  const { status } = spawnSync(command, ['-W', 'ignore', join(ROOT, 'bench/python', script), ...args], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (status !== 0) throw new Error(`${script} ended with ${status}`);
}

await main();
