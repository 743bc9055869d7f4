/**
 * Training steps a second of a run of `study train` beside the same training in PyTorch, each on one thread, in turns:
 * `npx tsx bench/study.ts [--turns 7]`. A sweep makes as many of these runs at a time as there are cores, on both sides, so that
 * the ratio of one run is that of the sweep. PYTHON names a Python that has torch.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { trainOn } from '../src/study/fit.js';
import { newNetwork } from '../src/study/networks.js';
import { plantedRegression } from '../src/study/planted.js';

const SCRIPT = fileURLToPath(new URL('python/torch_study.py', import.meta.url));
const DEPTHS = [2, 4, 8, 16];
const STEPS = 500;
const { values } = parseArgs({ options: { turns: { type: 'string', default: '5' } } });

const python = spawn(process.env.PYTHON ?? 'python3', [SCRIPT], { stdio: ['pipe', 'pipe', 'inherit'] });
const lines = createInterface({ input: python.stdout })[Symbol.asyncIterator]();

async function theirs(depth: number): Promise<number> {
  python.stdin.write(`${depth} ${STEPS}\n`);
  return Number((await lines.next()).value);
}

/** With opening the sessions, which every run of a sweep does. */
async function ours(depth: number): Promise<number> {
  const { train } = await plantedRegression({ width: 32, rank: 8, samples: 128, tests: 1, seed: 0 });
  const model = await newNetwork('mlp', {
    inputs: [32],
    outputs: 32,
    width: 32,
    depth,
    activation: 'relu',
    noBias: true,
  });
  const start = performance.now();
  await trainOn(model, train, {
    loss: { kind: 'mse' },
    optimizer: 'adam',
    learningRate: 0.001,
    steps: STEPS,
    seed: 0,
  });
  return (1000 * STEPS) / (performance.now() - start);
}

function median(list: readonly number[]): number {
  return list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)] ?? Number.NaN;
}

console.log('depth  ours, steps/s  PyTorch, steps/s  median ratio of turns');
for (const depth of DEPTHS) {
  const turns: { ours: number; theirs: number }[] = [];
  for (let turn = 0; turn < Number(values.turns); turn += 1)
    turns.push({ theirs: await theirs(depth), ours: await ours(depth) });
  const ratio = median(turns.map((turn) => turn.ours / turn.theirs));
  const best = (side: 'ours' | 'theirs'): string => Math.max(...turns.map((turn) => turn[side])).toFixed(0);
  console.log(
    `${String(depth).padStart(5)}  ${best('ours').padStart(13)}  ${best('theirs').padStart(16)}  ${ratio.toFixed(2)}`,
  );
}
python.stdin.end();
