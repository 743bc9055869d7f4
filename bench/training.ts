/**
 * Milliseconds a training step beside PyTorch: `npm run bench:training [-- --only mlp-256,vit --turns 7 --threads 2]`.
 *
 * Small networks, batch 64, from the same weights on the same data; each also with every layer expanded to depth 3, in
 * PyTorch too. Each network has a process of ours and one of PyTorch's, which take short turns. Figures are those of each
 * side's best turn, which a busy machine disturbs least; the medians of the turns' ratios, of time and of CPU time, stand
 * beside (with one thread, the latter says most on a busy machine). Before that both take the gradient of the first batch, and the errors are printed: ours and
 * PyTorch's float32 against PyTorch's float64. Ours counts right answers and takes the norm of every weight's gradient on
 * the way. Needs python3-torch and python3-onnx.
 *
 * With several threads PyTorch is measured under the settings of its thread pools that are fastest for the network: each is
 * tried first, and the table says which it was. (OpenBLAS's threads spin while OpenMP's work, and the other way round;
 * which setting keeps them apart best differs from network to network.) `--expanded` measures the expanded networks alone,
 * `--plain` the others.
 *
 * `--chains` measures ours alone: a step of the expanded network, its chains multiplied out where that takes fewer operations (as
 * `train` does) and one factor after the other, as multiples of a step of the plain one.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readModel, saveModel } from '../src/graph/index.js';
import { expand } from '../src/passes/expand/expand.js';
import { gradient } from '../src/passes/gradient/index.js';
import type { ChainSteps } from '../src/passes/gradient/options.js';
import { blockSize, evaluate, type RuntimeTensor, readNpz } from '../src/runtime/index.js';
import { openEngine } from '../src/training/engine/engine.js';
import { optimizer } from '../src/training/optimizers/index.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SCRIPT = join(ROOT, 'bench/python/torch_training.py');
const SELF = fileURLToPath(import.meta.url);
const WORK = join(ROOT, '.bench/training');
/** A Python that has torch and onnx. */
const PYTHON = process.env.PYTHON ?? '/usr/bin/python3';

const NETWORKS = ['mlp-256', 'mlp-1024', 'cnn', 'vit', 'resnet', 'lstm'];
const DEPTH = 3;
const BATCH = 64;
/** Steps of a turn, and of one run of the engine. */
const STEPS = 20;

type Setting = Readonly<Record<string, string>>;

/** How long the threads of one side go on spinning, at most, after a turn: OpenBLAS's for 2^26 cycles. */
const REST_MS = 150;

/** Settings that PyTorch's thread pools know. */
const SETTINGS: readonly Setting[] = [
  {},
  { OPENBLAS_NUM_THREADS: '1' },
  { OMP_WAIT_POLICY: 'PASSIVE' },
  { GOMP_SPINCOUNT: '1000' },
];
const TRIAL_TURNS = 3;

interface Turn {
  readonly ms: number;
  /** Of all threads. */
  readonly cpuMs: number;
  readonly megabytes: number;
  readonly loss: number;
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      only: { type: 'string', default: NETWORKS.join() },
      turns: { type: 'string', default: '30' },
      threads: { type: 'string', default: '2' },
      plain: { type: 'boolean', default: false },
      expanded: { type: 'boolean', default: false },
      chains: { type: 'boolean', default: false },
      chainSteps: { type: 'string', default: 'auto' },
    },
  });
  if (positionals[0] === 'serve')
    return await serve(positionals[1] ?? '', Number(values.threads), values.chainSteps as ChainSteps);
  mkdirSync(WORK, { recursive: true });
  const exported = spawnSync(PYTHON, ['-W', 'ignore', SCRIPT, 'export', WORK], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (exported.status !== 0) throw new Error('PyTorch could not export the networks');
  const networks = NETWORKS.filter((network) => values.only.split(',').includes(network));
  if (values.chains) return await benchChains(networks, Number(values.turns), values.threads);
  console.log(
    '| network | depth | ours ms | PyTorch ms | ratio | median ratio | CPU ratio | ours MB | PyTorch MB | gradient error | PyTorch float32 | PyTorch with |',
  );
  console.log('| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |');
  for (const name of networks) {
    for (const isExpanded of [...(values.expanded ? [] : [false]), ...(values.plain ? [] : [true])]) {
      await benchNetwork(name, isExpanded, Number(values.turns), values.threads);
    }
  }
}

async function benchNetwork(
  name: string,
  isExpanded: boolean,
  turns: number,
  threads: string,
): Promise<void> {
  const plain = join(WORK, `${name}.onnx`);
  const key = isExpanded ? `${name}-expanded` : name;
  const file = join(WORK, `${key}.onnx`);
  if (isExpanded) await writeExpanded(plain, file);
  const { torch, first, setting } = await fastestTorch(
    (setting) =>
      new Peer(
        spawn(PYTHON, ['-W', 'ignore', SCRIPT, 'serve', WORK, name, ...(isExpanded ? [file] : [])], {
          stdio: ['pipe', 'pipe', 'inherit'],
          env: { ...process.env, THREADS: threads, OMP_NUM_THREADS: threads, ...setting },
        }),
      ),
    threads === '1' ? SETTINGS.slice(0, 1) : SETTINGS,
  );
  const errors = await compareGradients(file, key, first.loss64);
  const ours = ownPeer(file, threads);
  await ours.answer();
  const results: { readonly ours: Turn; readonly torch: Turn }[] = [];
  for (let turn = 0; turn <= turns; turn += 1) {
    const pair = { ours: await ours.turn(STEPS), torch: await torch.turn(STEPS) };
    // The first warms up.
    if (turn > 0) results.push(pair);
  }
  ours.close();
  torch.close();
  const last = results[results.length - 1];
  const best = {
    ours: Math.min(...results.map((pair) => pair.ours.ms)),
    torch: Math.min(...results.map((pair) => pair.torch.ms)),
  };
  const cells = [
    name,
    isExpanded ? DEPTH : 1,
    best.ours.toFixed(2),
    best.torch.toFixed(2),
    (best.ours / best.torch).toFixed(2),
    median(results.map((pair) => pair.ours.ms / pair.torch.ms)).toFixed(2),
    median(results.map((pair) => pair.ours.cpuMs / pair.torch.cpuMs)).toFixed(2),
    last?.ours.megabytes.toFixed(0),
    last?.torch.megabytes.toFixed(0),
    errors.ours.toExponential(1),
    errors.torch.toExponential(1),
    Object.entries(setting)
      .map((pair) => pair.join('='))
      .join() || 'defaults',
  ];
  console.log(`| ${cells.join(' | ')} |`);
  const apart = Math.abs((last?.ours.loss ?? 0) - (last?.torch.loss ?? 0)) / (last?.torch.loss ?? 1);
  console.error(
    `${key}: loss ${first.loss64}, ours off by ${errors.loss.toExponential(1)}; after ${STEPS * (turns + 1)} steps ${last?.ours.loss} and ${last?.torch.loss}, ${apart.toExponential(1)} apart`,
  );
}

async function writeExpanded(plain: string, file: string): Promise<void> {
  const model = await readModel(plain);
  await model.apply(expand({ depth: DEPTH }));
  await saveModel(model, file, { overwrite: true });
}

function ownPeer(file: string, threads: string, chainSteps: ChainSteps = 'auto'): Peer {
  const argv = ['--import', 'tsx', SELF, 'serve', file, '--threads', threads, '--chainSteps', chainSteps];
  return new Peer(spawn(process.execPath, argv, { stdio: ['pipe', 'pipe', 'inherit'], cwd: ROOT }));
}

/** Steps of expanded networks as multiples of the plain ones', in turns. */
async function benchChains(networks: readonly string[], turns: number, threads: string): Promise<void> {
  console.log('| network | plain ms | chains ms | ratio | one factor after the other ms | ratio |');
  console.log('| --- | --- | --- | --- | --- | --- |');
  for (const name of networks) {
    const plain = join(WORK, `${name}.onnx`);
    const file = join(WORK, `${name}-expanded.onnx`);
    await writeExpanded(plain, file);
    const peers = [ownPeer(plain, threads), ownPeer(file, threads), ownPeer(file, threads, 'factors')];
    for (const peer of peers) await peer.answer();
    const results: number[][] = [];
    for (let turn = 0; turn <= turns; turn += 1) {
      const times: number[] = [];
      for (const peer of peers) times.push((await peer.turn(STEPS)).ms);
      // The first warms up.
      if (turn > 0) results.push(times);
    }
    for (const peer of peers) peer.close();
    const time = (side: number): string => median(results.map((times) => times[side] ?? 0)).toFixed(2);
    const ratio = (side: number): string =>
      median(results.map((times) => (times[side] ?? 0) / (times[0] ?? 1))).toFixed(2);
    console.log(`| ${[name, time(0), time(1), ratio(1), time(2), ratio(2)].join(' | ')} |`);
  }
}

interface FirstGradient {
  readonly loss32: number;
  readonly loss64: number;
}

/** PyTorch's process under the setting that it is fastest with. */
async function fastestTorch(
  start: (setting: Setting) => Peer,
  settings: readonly Setting[],
): Promise<{ readonly torch: Peer; readonly first: FirstGradient; readonly setting: Setting }> {
  let best: { readonly setting: Setting; readonly ms: number } | undefined;
  for (const setting of settings.length > 1 ? settings : []) {
    const torch = start(setting);
    await torch.answer();
    let ms = Number.POSITIVE_INFINITY;
    for (let turn = 0; turn < TRIAL_TURNS; turn += 1) ms = Math.min(ms, (await torch.turn(STEPS)).ms);
    torch.close();
    if (best === undefined || ms < best.ms) best = { setting, ms };
  }
  const setting = best?.setting ?? {};
  const torch = start(setting);
  return { torch, first: await torch.answer(), setting };
}

/** Errors of the first gradient relative to its norm, against float64. */
async function compareGradients(
  file: string,
  key: string,
  loss64: number,
): Promise<{ readonly ours: number; readonly torch: number; readonly loss: number }> {
  const reference = readNpz(await readFile(join(WORK, `${key}.npz`)));
  const data = readNpz(await readFile(join(WORK, 'data.npz')));
  const made = await gradient(await readModel(file), {
    loss: 'cross-entropy',
    batch: BATCH,
    weights: 'constants',
    // As the engine has it.
    block: await blockSize(),
  });
  const results = await evaluate(made.model, {
    image: batchAt(data.images, 0),
    [made.target ?? '']: batchAt(data.labels, 0),
  });
  const sums = { ours: 0, torch: 0, norm: 0 };
  for (const [name, output] of made.gradients) {
    const exact = reference[`float64/${name}`]?.data as Float64Array;
    const single = reference[`float32/${name}`]?.data as Float32Array;
    const own = results[output]?.data as Float32Array;
    for (const [i, number] of exact.entries()) {
      sums.ours += (own[i]! - number) ** 2;
      sums.torch += (single[i]! - number) ** 2;
      sums.norm += number ** 2;
    }
  }
  const references = Object.keys(reference).filter((name) => name.startsWith('float64/')).length;
  if (references !== made.gradients.size)
    throw new Error(`${key}: ${made.gradients.size} gradients, but PyTorch has ${references}`);
  return {
    ours: Math.sqrt(sums.ours / sums.norm),
    torch: Math.sqrt(sums.torch / sums.norm),
    loss: Math.abs(Number(results[made.loss]?.data[0]) - loss64) / loss64,
  };
}

function batchAt(tensor: RuntimeTensor | undefined, index: number): RuntimeTensor {
  if (tensor === undefined) throw new Error('the data lack an array');
  const shape = tensor.shape.slice(1);
  const size = shape.reduce((product, dim) => product * dim, 1);
  return {
    type: tensor.type,
    shape,
    data: tensor.data.slice(index * size, (index + 1) * size) as Float32Array,
  };
}

/** A process of ours that trains when told to. */
async function serve(file: string, threads: number, chainSteps: ChainSteps): Promise<void> {
  const model = await readModel(file);
  const data = readNpz(await readFile(join(WORK, 'data.npz')));
  const isAdam = ['vit', 'lstm'].some((name) => file.includes(name));
  await using engine = await openEngine(model, {
    loss: 'cross-entropy',
    batch: BATCH,
    optimizer: isAdam ? optimizer('adam') : optimizer('sgd', { momentum: 0.9 }),
    threads,
    chainSteps,
  });
  console.log('{}');
  for await (const line of createInterface({ input: process.stdin })) {
    const steps = Number(line);
    const before = process.cpuUsage();
    const begin = performance.now();
    const { losses } = await engine.run({
      steps,
      inputs: { image: data.images! },
      target: data.labels!,
      learningRates: new Float32Array(steps).fill(isAdam ? 1e-3 : 0.01),
    });
    const ms = (performance.now() - begin) / steps;
    const used = process.cpuUsage(before);
    const cpuMs = (used.user + used.system) / 1000 / steps;
    const megabytes = Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1000;
    console.log(JSON.stringify({ ms, cpuMs, megabytes, loss: losses[steps - 1] }));
  }
}

/** A process that answers lines with lines of JSON. */
class Peer {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(child: ChildProcess) {
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  }

  async answer<T>(): Promise<T> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('a process ended early');
    return JSON.parse(value) as T;
  }

  async turn(steps: number): Promise<Turn> {
    this.#child.stdin?.write(`${steps}\n`);
    const turn = await this.answer<Turn>();
    await setTimeout(REST_MS);
    return turn;
  }

  close(): void {
    this.#child.stdin?.end();
  }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

await main();
