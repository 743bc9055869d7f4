/**
 * Trains an MLP and a CNN, as they are and expanded to depth 3, here and in PyTorch from the same weights in the same
 * order of batches, and compares the accuracy on the test set: `npx tsx bench/training-agreement.ts <MNIST folder>
 * [--epochs 5 --seeds 5]`. Needs python3-torch and python3-onnx.
 *
 * Trainings that differ by rounding alone end in other weights, so PyTorch trains a second time, from weights that are
 * 1e-7 beside the first: how far it is from itself is what no two programs agree better than.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readModel, saveModel } from '../src/graph/index.js';
import { expand } from '../src/passes/expand/expand.js';
import { Random, type RuntimeTensor, writeNpz } from '../src/runtime/index.js';
import { openDataset } from '../src/training/data/index.js';
import { openEngine } from '../src/training/engine/engine.js';
import { optimizer } from '../src/training/optimizers/index.js';
import type { Batch, Dataset } from '../src/training/types.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const WORK = join(ROOT, '.bench/training');
const PYTHON = '/usr/bin/python3';
const BATCH = 64;
const RATE = 0.02;

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { epochs: { type: 'string', default: '5' }, seeds: { type: 'string', default: '5' } },
  });
  const [directory] = positionals;
  if (directory === undefined) throw new Error('which folder has the MNIST files?');
  const epochs = Number(values.epochs);
  mkdirSync(WORK, { recursive: true });
  run('torch_training.py', 'export', WORK);
  const inputs = [{ name: 'image', shape: [1, 28, 28] }];
  await using train = await openDataset(directory, { split: 'train', inputs });
  await using test = await openDataset(directory, { split: 'test', inputs });
  console.log('| network | depth | order | ours | PyTorch | points apart | PyTorch from PyTorch |');
  console.log('| --- | --- | --- | --- | --- | --- | --- |');
  for (const network of ['mlp-256', 'cnn']) {
    const plain = join(WORK, `${network}.onnx`);
    const expanded = join(WORK, `${network}-expanded.onnx`);
    const model = await readModel(plain);
    await model.apply(expand({ depth: 3 }));
    await saveModel(model, expanded, { overwrite: true });
    for (const file of [plain, expanded]) {
      const depth = file === plain ? 1 : 3;
      const apart: number[] = [];
      const noise: number[] = [];
      for (let seed = 0; seed < Number(values.seeds); seed += 1) {
        const order = orderOf(train.size, epochs, seed);
        await writeData(train, test, order);
        const ours = await trainOurs(file, train, test, order);
        const script = [
          'torch_agreement.py',
          WORK,
          network,
          String(epochs),
          ...(depth === 1 ? [] : [file]),
        ] as const;
        const theirs = (nudge: string): number =>
          (
            JSON.parse(
              runWith({ NUDGE: nudge }, ...script)
                .trim()
                .split('\n')
                .at(-1) ?? '',
            ) as { accuracy: number }
          ).accuracy;
        const [accuracy, again] = [theirs('0'), theirs('1e-7')];
        apart.push(100 * (ours - accuracy));
        noise.push(100 * (again - accuracy));
        const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;
        console.log(
          `| ${network} | ${depth} | ${seed} | ${percent(ours)} | ${percent(accuracy)} | ${apart.at(-1)?.toFixed(2)} | ${noise.at(-1)?.toFixed(2)} |`,
        );
      }
      console.log(`| ${network} | ${depth} | mean ± deviation | | | ${spread(apart)} | ${spread(noise)} |`);
    }
  }
}

/** Mean and standard deviation. */
function spread(numbers: readonly number[]): string {
  const mean = numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
  const deviation = Math.sqrt(numbers.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (numbers.length - 1));
  return `${mean.toFixed(2)} ± ${deviation.toFixed(2)}`;
}

/** Indices of the samples, [epochs][steps][batch]; a last short batch is left out. */
function orderOf(size: number, epochs: number, seed: number): number[][][] {
  const random = new Random(seed, 'order');
  return Array.from({ length: epochs }, () => {
    const indices = Array.from({ length: size }, (_, i) => i);
    for (let i = size - 1; i > 0; i -= 1) {
      const j = random.integer(i + 1);
      [indices[i], indices[j]] = [indices[j]!, indices[i]!];
    }
    return Array.from({ length: Math.floor(size / BATCH) }, (_, step) =>
      indices.slice(step * BATCH, (step + 1) * BATCH),
    );
  });
}

async function writeData(train: Dataset, test: Dataset, order: number[][][]): Promise<void> {
  const whole = async (dataset: Dataset): Promise<Batch> =>
    dataset.batch(Array.from({ length: dataset.size }, (_, i) => i));
  const [training, testing] = [await whole(train), await whole(test)];
  const flat = order.flat(2);
  const arrays: Record<string, RuntimeTensor> = {
    images: training.inputs.image!,
    labels: training.target!,
    test_images: testing.inputs.image!,
    test_labels: testing.target!,
    order: {
      type: 'int64',
      shape: [order.length, order[0]!.length, BATCH],
      data: BigInt64Array.from(flat, BigInt),
    },
  };
  writeFileSync(join(WORK, 'mnist.npz'), writeNpz(arrays));
}

async function trainOurs(file: string, train: Dataset, test: Dataset, order: number[][][]): Promise<number> {
  await using engine = await openEngine(await readModel(file), {
    loss: 'cross-entropy',
    batch: BATCH,
    optimizer: optimizer('sgd', { momentum: 0.9 }),
  });
  for (const epoch of order) {
    for (let start = 0; start < epoch.length; start += 50) {
      const part = epoch.slice(start, start + 50);
      const { inputs, target } = await train.batch(part.flat());
      const stacked = (tensor: RuntimeTensor): RuntimeTensor => ({
        ...tensor,
        shape: [part.length, BATCH, ...tensor.shape.slice(1)],
      });
      await engine.run({
        steps: part.length,
        inputs: { image: stacked(inputs.image!) },
        target: stacked(target!),
        learningRates: new Float32Array(part.length).fill(RATE),
      });
    }
  }
  async function* batches(): AsyncGenerator<Batch> {
    for (let start = 0; start < test.size; start += 500) {
      yield await test.batch(Array.from({ length: Math.min(500, test.size - start) }, (_, i) => start + i));
    }
  }
  const { accuracy } = await engine.evaluate(batches());
  return accuracy ?? Number.NaN;
}

function run(script: string, ...args: string[]): string {
  return runWith({}, script, ...args);
}

function runWith(env: Record<string, string>, script: string, ...args: string[]): string {
  const result = spawnSync(PYTHON, ['-W', 'ignore', join(ROOT, 'bench/python', script), ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
    env: { ...process.env, RATE: String(RATE), ...env },
  });
  if (result.status !== 0) throw new Error(`${script} ended with ${result.status}`);
  return result.stdout;
}

await main();
