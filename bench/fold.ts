/**
 * What collapse is worth, in three tables: `npm run bench:fold [-- --parts batchnorm,time,latency --only alexnet
 * --models <dir> --runs 3]`.
 *
 * - batchnorm: ResNets that PyTorch exported with their BatchNormalization, in evaluation and in training mode, folded
 *   here, beside the export that folded them itself: nodes left, difference, speed in onnxruntime.
 * - time: collapse of a file beside a PyTorch script that makes the same chains of nn.Linear and nn.Conv2d, multiplies
 *   them out and writes the same file (bench/python/torch_fold.py); whole processes, and the folding alone.
 * - latency: the expanded and the collapsed model beside the original in onnxruntime.
 *
 * Whoever is compared takes turns, so that a drifting machine weighs on all; ratios are medians of the ratios of turns.
 * Models come from PyTorch through bench/python/export_zoo.py.
 */
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { verifyModels } from '../src/analysis/verify/verify.js';
import { type Model, readModel } from '../src/graph/index.js';
import { collapse } from '../src/passes/collapse/collapse.js';
import { openSession, randomInputs } from '../src/runtime/index.js';
import { CLI, exportModels, findPython, median, type Run, run, SCRIPTS, WORK } from './process.js';

const MODES = { '-bn': '--keep-batchnorm', '-train': '--train' } as const;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      parts: { type: 'string', default: 'batchnorm,time,latency' },
      only: { type: 'string' },
      models: { type: 'string', default: join(WORK, 'models') },
      runs: { type: 'string', default: '3' },
      'latency-runs': { type: 'string', default: '40' },
    },
  });
  const python = findPython('torch, onnx');
  if (python === undefined)
    console.error('no Python with PyTorch and onnx here: models and peers must be there');
  const turns = Number(values['latency-runs']);
  const chosen = values.only?.split(',');
  const of = (...names: string[]): string[] => names.filter((name) => chosen?.includes(name) ?? true);
  const bench = { directory: values.models, python };
  const parts: Readonly<Record<string, () => Promise<void>>> = {
    batchnorm: () => batchnorm(of('resnet18', 'resnet50'), bench, turns),
    time: () => time(of('alexnet', 'resnet50'), bench, Number(values.runs)),
    latency: () => latency(of('alexnet', 'resnet50', 'vit_b_16'), bench, turns),
  };
  for (const part of values.parts.split(',')) await parts[part]?.();
}

interface Lap {
  /** Milliseconds by the clock: the median of the turns. */
  readonly wall: number;
  /** Over that of the first model: the median of the turns' ratios. */
  readonly wallRatio: number;
  /** The same of processor time, which other programs' work hardly touches. */
  readonly cpuRatio: number;
}

/** Runs models by turns, on one thread each, on the same input. */
async function race(models: readonly Model[], runs: number): Promise<Lap[]> {
  const [first] = models;
  if (first === undefined) return [];
  const feeds = randomInputs(first);
  const sessions = await Promise.all(models.map((model) => openSession(model, { threads: 1 })));
  const turns = models.map((): { wall: number[]; cpu: number[] } => ({ wall: [], cpu: [] }));
  for (let turn = -3; turn < runs; turn += 1) {
    // Who begins changes, for what ran before leaves its data in the caches.
    const order = sessions.map((_, i) => (i + Math.abs(turn)) % sessions.length);
    for (const at of order) {
      const [cpu, started] = [process.cpuUsage(), performance.now()];
      await sessions[at]?.run(feeds);
      const wall = performance.now() - started;
      const { user, system } = process.cpuUsage(cpu);
      if (turn < 0) continue;
      turns[at]?.wall.push(wall);
      turns[at]?.cpu.push((user + system) / 1000);
    }
  }
  for (const session of sessions) await session[Symbol.asyncDispose]();
  const ratio = (values: readonly number[], key: 'wall' | 'cpu'): number =>
    median(values.map((value, i) => value / (turns[0]?.[key][i] ?? value)));
  return turns.map(({ wall, cpu }) => ({
    wall: median(wall),
    wallRatio: ratio(wall, 'wall'),
    cpuRatio: ratio(cpu, 'cpu'),
  }));
}

interface Bench {
  /** Where the models are. */
  readonly directory: string;
  /** A Python with PyTorch. */
  readonly python: string | undefined;
}

function row(cells: readonly (string | number)[]): void {
  console.log(`| ${cells.join(' | ')} |`);
}

function head(title: string, cells: readonly string[]): void {
  console.log(`\n${title}\n`);
  row(cells);
  row(cells.map(() => '---'));
}

const countOf = (model: Model, op: string): number => model.graph.nodes.filter((node) => node.is(op)).length;

async function batchnorm(
  names: readonly string[],
  { directory, python }: Bench,
  runs: number,
): Promise<void> {
  exportModels(python, directory, names);
  head("BatchNormalization folded here, beside the exporter's own folding", [
    'model',
    'exported',
    'BatchNormalization',
    'after',
    'nodes',
    "exporter's",
    'max Δ',
    'ms',
    "exporter's ms",
    'ratio',
    'ratio of CPU time',
  ]);
  for (const name of names) {
    const path = join(directory, `${name}.onnx`);
    if (!existsSync(path)) continue;
    const peer = await readModel(path);
    for (const [suffix, flag] of Object.entries(MODES)) {
      exportModels(python, directory, [name], { suffix, flags: [flag] });
      const model = await readModel(join(directory, `${name}${suffix}.onnx`));
      const before = countOf(model, 'BatchNormalization');
      await model.apply(collapse());
      const { outputs } = await verifyModels(peer, model, { samples: 1 });
      const delta = Math.max(...outputs.map((output) => output.relativeDifference));
      const [theirs, ours] = await race([peer, model], runs);
      row([
        name,
        suffix === '-bn' ? 'in evaluation' : 'in training mode',
        before,
        countOf(model, 'BatchNormalization'),
        model.graph.nodes.length,
        peer.graph.nodes.length,
        delta.toExponential(1),
        ours?.wall.toFixed(1) ?? '',
        theirs?.wall.toFixed(1) ?? '',
        ours?.wallRatio.toFixed(3) ?? '',
        ours?.cpuRatio.toFixed(3) ?? '',
      ]);
    }
  }
}

/** The chains of a model at depth 2, as a file. */
async function expandedFile(directory: string, name: string): Promise<string> {
  const file = join(WORK, `${name}-expanded.onnx`);
  const model = join(directory, `${name}.onnx`);
  await run(process.execPath, [CLI, 'expand', model, '-o', file, '--depth', '2', '--overwrite', '--quiet']);
  return file;
}

async function time(names: readonly string[], { directory, python }: Bench, runs: number): Promise<void> {
  exportModels(python, directory, names);
  head('collapse of chains of depth 2, beside PyTorch', [
    'model',
    'chains',
    'ours s',
    'PyTorch s',
    'ratio',
    'folding s',
    'PyTorch',
    'ratio',
    'ours MB',
    'PyTorch MB',
    'max Δ',
  ]);
  for (const name of names) {
    if (!existsSync(join(directory, `${name}.onnx`))) continue;
    const input = await expandedFile(directory, name);
    const [ourFile, theirFile] = [join(WORK, 'ours.onnx'), join(WORK, 'torch.onnx')];
    const ours: (Run & { readonly fold: number })[] = [];
    const theirs: (Run & { readonly fold: number })[] = [];
    let chains = 0;
    for (let i = 0; i < runs; i += 1) {
      const args = ['collapse', input, '-o', ourFile, '--chains-only', '--overwrite', '--quiet'];
      const whole = await run(process.execPath, [CLI, ...args]);
      ours.push({ ...whole, fold: await foldingSeconds(input) });
      if (python === undefined) continue;
      const peer = await run(python, [join(SCRIPTS, 'torch_fold.py'), input, theirFile]);
      const figures = JSON.parse(peer.stdout) as { compute: number; build: number; collapsed: number };
      chains = figures.collapsed;
      theirs.push({ ...peer, fold: figures.build + figures.compute });
    }
    const delta = python === undefined ? undefined : await difference(ourFile, theirFile);
    const middle = (list: typeof ours, key: 'seconds' | 'fold' | 'megabytes', digits: number): string =>
      list.length === 0 ? '–' : median(list.map((one) => one[key])).toFixed(digits);
    const ratio = (key: 'seconds' | 'fold'): string => {
      const ratios = theirs.map((other, i) => (ours[i] as (typeof ours)[number])[key] / other[key]);
      return ratios.length === 0 ? '–' : median(ratios).toFixed(2);
    };
    row([
      name,
      chains || '–',
      middle(ours, 'seconds', 2),
      middle(theirs, 'seconds', 2),
      ratio('seconds'),
      middle(ours, 'fold', 2),
      middle(theirs, 'fold', 2),
      ratio('fold'),
      middle(ours, 'megabytes', 0),
      middle(theirs, 'megabytes', 0),
      delta?.toExponential(1) ?? '–',
    ]);
    for (const file of [input, ourFile, theirFile]) rmSync(file, { force: true });
  }
}

/** Reading factors, multiplying out and writing products to the scratch file, within this process. */
async function foldingSeconds(file: string): Promise<number> {
  const model = await readModel(file);
  const started = performance.now();
  await model.apply(collapse({ chainsOnly: true }));
  return (performance.now() - started) / 1000;
}

async function difference(a: string, b: string): Promise<number> {
  const { outputs } = await verifyModels(await readModel(a), await readModel(b), { samples: 1 });
  return Math.max(...outputs.map((output) => output.relativeDifference));
}

async function latency(names: readonly string[], { directory, python }: Bench, runs: number): Promise<void> {
  exportModels(python, directory, names);
  head('a run beside the original, in onnxruntime on one thread of the CPU', [
    'model',
    'original ms',
    'collapsed',
    'ratio',
    'ratio of CPU time',
    'expanded',
    'ratio',
    'ratio of CPU time',
  ]);
  for (const name of names) {
    const path = join(directory, `${name}.onnx`);
    if (!existsSync(path)) continue;
    const expanded = await expandedFile(directory, name);
    const file = join(WORK, 'collapsed.onnx');
    await run(process.execPath, [CLI, 'collapse', expanded, '-o', file, '--overwrite', '--quiet']);
    const models = await Promise.all([path, file, expanded].map((each) => readModel(each)));
    const [first, ...others] = await race(models, runs);
    const figures = others.flatMap(({ wall, wallRatio, cpuRatio }) => [
      wall.toFixed(1),
      wallRatio.toFixed(3),
      cpuRatio.toFixed(3),
    ]);
    row([name, first?.wall.toFixed(1) ?? '', ...figures]);
    for (const made of [expanded, file]) rmSync(made, { force: true });
  }
}

await main();
