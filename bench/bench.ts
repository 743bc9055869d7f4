/**
 * Times expand and collapse as whole processes beside NumPy scripts that do the same products and read and write the
 * same bytes: `npm run bench [-- --runs 3 --models <dir> --only alexnet]`.
 *
 * The two take turns, so that a drifting machine weighs on both; the ratio is the median of the ratios of each turn.
 * Models come from PyTorch through bench/python/export_zoo.py; Debian has all that is needed in python3-torch,
 * python3-torchvision and python3-onnx. Without them, give a directory of models, and our own figures are printed alone.
 */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { readModel, Tensor, tensorProtos } from '../src/graph/index.js';
import { CLI, exportModels, findPython, median, type Run, run, SCRIPTS, WORK } from './process.js';

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      runs: { type: 'string', default: '3' },
      models: { type: 'string', default: join(WORK, 'models') },
      only: { type: 'string', default: 'alexnet,vit_b_16' },
    },
  });
  const python = findPython();
  if (python === undefined) console.error('no Python with NumPy and onnx here: our figures alone');
  const wanted = values.only.split(',');
  exportModels(python, values.models, wanted);
  console.log(
    '| model | step | ours s | NumPy s | ratio | ours MB | NumPy MB | 2.5 x largest tensor + 250 MB |',
  );
  console.log('| --- | --- | --- | --- | --- | --- | --- | --- |');
  const files = existsSync(values.models)
    ? readdirSync(values.models).filter((name) => name.endsWith('.onnx'))
    : [];
  for (const file of files.filter((name) => wanted.includes(basename(name, '.onnx')))) {
    await benchModel(join(values.models, file), python, Number(values.runs));
  }
}

async function benchModel(model: string, python: string | undefined, runs: number): Promise<void> {
  const expanded = join(WORK, 'expanded.onnx');
  const out = join(WORK, 'out.onnx');
  const limit = 2.5 * (await largestTensor(model)) + 250;
  for (const step of ['expand', 'collapse'] as const) {
    const input = step === 'expand' ? model : expanded;
    const output = step === 'expand' ? expanded : out;
    const ours: Run[] = [];
    const theirs: Run[] = [];
    for (let i = 0; i < runs; i += 1) {
      ours.push(await run(process.execPath, [CLI, step, input, '-o', output, '--overwrite', '--quiet']));
      if (python === undefined) continue;
      const theirOutput = join(WORK, 'numpy.onnx');
      theirs.push(await run(python, [join(SCRIPTS, `numpy_${step}.py`), input, theirOutput]));
      rmSync(theirOutput, { force: true });
    }
    const ratios = theirs.map((other, i) => (ours[i] as Run).seconds / other.seconds);
    const cells = [
      basename(model, '.onnx'),
      step,
      median(ours.map((r) => r.seconds)).toFixed(2),
      theirs.length ? median(theirs.map((r) => r.seconds)).toFixed(2) : '–',
      ratios.length ? median(ratios).toFixed(2) : '–',
      median(ours.map((r) => r.megabytes)).toFixed(0),
      theirs.length ? median(theirs.map((r) => r.megabytes)).toFixed(0) : '–',
      limit.toFixed(0),
    ];
    console.log(`| ${cells.join(' | ')} |`);
  }
  rmSync(expanded, { force: true });
  rmSync(out, { force: true });
}

async function largestTensor(path: string): Promise<number> {
  const model = await readModel(path);
  return Math.max(...[...tensorProtos(model.proto)].map((proto) => new Tensor(proto).byteLength)) / 1e6;
}

await main();
