/**
 * Fine-tunes files on real images, the digits of MNIST, brought to the size and channels of each model's input:
 * `npx tsx bench/fine-tuning.ts <MNIST folder> <file or directory>... [--steps 24 --batch 4 --rate 0.0001]`.
 *
 * Adam goes through as many digits as two thirds of the steps take, one and a half times. Each row: how many weights are
 * trained; the mean loss of the first and of the last third of the steps, which see the same digits; milliseconds a step.
 */
import { readdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Model, readModel } from '../src/graph/index.js';
import { fedInputs, type RuntimeTensor } from '../src/runtime/index.js';
import { openDataset } from '../src/training/data/index.js';
import { openEngine } from '../src/training/engine/engine.js';
import { optimizer } from '../src/training/optimizers/index.js';

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      steps: { type: 'string', default: '24' },
      batch: { type: 'string', default: '4' },
      rate: { type: 'string', default: '0.0001' },
    },
  });
  const [digits, ...paths] = positionals;
  if (digits === undefined || paths.length === 0)
    throw new Error('which folder has the MNIST files, which models?');
  const files = paths.flatMap((path) =>
    statSync(path).isDirectory()
      ? readdirSync(path)
          .filter((name) => name.endsWith('.onnx'))
          .map((name) => join(path, name))
      : [path],
  );
  console.log('| model | batch | weights | loss, first third | last third | ms a step |');
  console.log('| --- | --- | --- | --- | --- | --- |');
  for (const file of files) {
    const [steps, batch, rate] = [values.steps, values.batch, values.rate].map(Number) as [
      number,
      number,
      number,
    ];
    try {
      console.log(await fineTune(file, digits, { steps, batch, rate }));
    } catch (error) {
      console.log(`| ${basename(file, '.onnx')} | – | ${(error as Error).message} | | | |`);
    }
  }
}

async function fineTune(
  file: string,
  digits: string,
  { steps, batch: wanted, rate }: { readonly steps: number; readonly batch: number; readonly rate: number },
): Promise<string> {
  const model = await readModel(file);
  const batch = batchOf(model) ?? wanted;
  const third = Math.ceil(steps / 3);
  const inputs = fedInputs(model.graph).map(({ name, dataType, shape }) => ({
    name,
    type: dataType,
    shape: shape?.slice(1).map((dim) => (typeof dim === 'number' ? dim : undefined)),
  }));
  await using data = await openDataset(digits, { split: 'train', inputs, limit: 2 * third * batch });
  await using engine = await openEngine(model, {
    loss: 'cross-entropy',
    batch,
    optimizer: optimizer('adam'),
  });
  const losses: number[] = [];
  let ms = 0;
  const stepped = (tensor: RuntimeTensor): RuntimeTensor => ({ ...tensor, shape: [1, ...tensor.shape] });
  for (let step = 0; step < 3 * third; step += 1) {
    const first = (step % (2 * third)) * batch;
    const samples = await data.batch(Array.from({ length: batch }, (_, index) => first + index));
    const chunk = {
      steps: 1,
      inputs: Object.fromEntries(Object.entries(samples.inputs).map(([name, x]) => [name, stepped(x)])),
      target: samples.target && stepped(samples.target),
      learningRates: Float32Array.of(rate),
    };
    const begin = performance.now();
    losses.push(...(await engine.run(chunk)).losses);
    ms += performance.now() - begin;
  }
  const mean = (list: number[]): string => (list.reduce((sum, loss) => sum + loss, 0) / third).toFixed(4);
  const cells = [
    basename(file, '.onnx'),
    batch,
    engine.trained.length,
    mean(losses.slice(0, third)),
    mean(losses.slice(2 * third)),
    (ms / losses.length).toFixed(0),
  ];
  return `| ${cells.join(' | ')} |`;
}

/** The batch that a model insists on; undefined where another can be had. */
function batchOf(model: Model): number | undefined {
  const first = fedInputs(model.graph)[0]?.shape?.[0];
  return typeof first === 'number' && first > 1 ? first : undefined;
}

await main();
