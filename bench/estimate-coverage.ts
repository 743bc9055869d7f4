/**
 * How often the intervals of `rank-report --estimate` hold the exact figures: 200 matrices, 50 of each of four kinds of spectra.
 *
 *     npx tsx bench/estimate-coverage.ts <MNIST folder> [--tolerance 0.01] [--each 50] [--kind 'power law']
 *
 * random: normal elements. power law: singular values i^-a, a from 0.3 to 1.2. low rank: a product of rank min(m, n) / 20, and noise.
 * trained: layers of MLPs after an epoch on the images of the folder. Sides are drawn from 300 to 600.
 */
import { parseArgs } from 'node:util';
import { DENSITY_AT, DENSITY_WIDTH, ESTIMATED, estimateSpectrum } from '../src/analysis/estimate/estimate.js';
import { rankPlan } from '../src/analysis/report/rank-spectra.js';
import { spectrumMetrics } from '../src/analysis/spectra/metrics.js';
import { elementsOf } from '../src/analysis/weights/weights.js';
import { inputSpecs } from '../src/entries/training.js';
import { type Matrix, matmul } from '../src/linalg/index.js';
import { singularValues } from '../src/linalg/kernels/index.js';
import { semiOrthogonal } from '../src/linalg/orthogonal.js';
import { Random } from '../src/runtime/random.js';
import { newNetwork } from '../src/study/networks.js';
import { openDataset } from '../src/training/data/index.js';
import { train } from '../src/training/train.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tolerance: { type: 'string', default: '0.01' },
    each: { type: 'string', default: '50' },
    kind: { type: 'string' },
  },
});
const [folder] = positionals;
const tolerance = Number(values.tolerance);
const each = Number(values.each);

const side = (random: Random): number => 300 + random.integer(301);
const normal = (rows: number, columns: number, random: Random, deviation = 1): Matrix => ({
  rows,
  columns,
  data: random.fillNormal(new Float32Array(rows * columns), deviation),
});

/** U diag(s) V, U and V of orthonormal columns and rows. */
async function withValues(rows: number, columns: number, of: (i: number) => number, random: Random) {
  const rank = Math.min(rows, columns);
  const left = await semiOrthogonal(rows, rank, true, random);
  const right = await semiOrthogonal(rank, columns, true, random);
  const scaled = right.data.map((value, at) => value * of(Math.floor(at / columns)));
  return await matmul(left, { rows: rank, columns, data: scaled }, { out: 'float32' });
}

type Draw = (seed: number) => Promise<Matrix>;

const trained: Matrix[] = [];
async function trainedMatrix(index: number): Promise<Matrix> {
  for (let seed = 0; trained.length <= index; seed += 1) {
    const widths = [320, 400, 500, 560];
    const model = await newNetwork('mlp', {
      inputs: [784],
      outputs: 10,
      depth: 6,
      width: widths[trained.length % widths.length],
      seed: trained.length,
    });
    await using data = await openDataset(folder ?? '', { split: 'train', inputs: inputSpecs(model) });
    await train(model, data, { epochs: 1, batch: 32, optimizer: 'adam', learningRate: 1e-3, seed }).result();
    const { weights } = await rankPlan(model, {});
    for (const weight of weights.slice(0, -1)) {
      const { m, n, read } = elementsOf(weight);
      trained.push({ rows: m, columns: n, data: (await read()).data.slice() });
    }
  }
  return trained[index] as Matrix;
}

const KINDS: Readonly<Record<string, Draw>> = {
  random: async (seed) => {
    const random = new Random(seed, 'random');
    return normal(side(random), side(random), random);
  },
  'power law': async (seed) => {
    const random = new Random(seed, 'power law');
    const power = 0.3 + 0.9 * random.uniform();
    return await withValues(side(random), side(random), (i) => (i + 1) ** -power, random);
  },
  'low rank + noise': async (seed) => {
    const random = new Random(seed, 'low rank');
    const [rows, columns] = [side(random), side(random)];
    const rank = Math.ceil(Math.min(rows, columns) / 20);
    const product = await matmul(normal(rows, rank, random, 3), normal(rank, columns, random), {
      out: 'float64',
    });
    const noise = normal(rows, columns, random, Math.sqrt(rank));
    return {
      rows,
      columns,
      data: Float32Array.from(product.data, (value, at) => value + (noise.data[at] as number)),
    };
  },
  ...(folder !== undefined && { trained: trainedMatrix }),
};

const keys = [...ESTIMATED, 'leading', ...DENSITY_AT.map((at) => `density ${at}`)];
const totals = new Map(keys.map((key) => [key, { covered: 0, of: 0, widest: 0 }]));
let narrow = 0;
for (const [kind, draw] of Object.entries(KINDS)) {
  if (values.kind !== undefined && values.kind !== kind) continue;
  const covered = new Map(keys.map((key) => [key, 0]));
  const widest = new Map(keys.map((key) => [key, 0]));
  let [probes, steps, reached] = [0, 0, 0];
  for (let seed = 0; seed < each; seed += 1) {
    const matrix = await draw(seed);
    const found = await estimateSpectrum(matrix, { tolerance, seed, key: kind });
    const exact = singularValues(matrix.data, matrix.rows, matrix.columns);
    const metrics = spectrumMetrics(exact, matrix);
    const note = (key: string, true_: number, low: number, high: number, size: number): void => {
      if (low <= true_ && true_ <= high) covered.set(key, (covered.get(key) ?? 0) + 1);
      widest.set(key, Math.max(widest.get(key) ?? 0, (high - low) / 2 / size));
    };
    for (const key of ESTIMATED) {
      const { low, high, value } = found.figures[key];
      note(key, metrics[key], low, high, value);
    }
    const [top] = found.leading;
    if (top !== undefined) note('leading', exact[0] as number, top.low, top.high, top.value);
    for (const { at, low, high } of found.density)
      note(`density ${at}`, smoothedShare(exact, at), low, high, 1);
    probes += found.probes / each;
    steps += found.steps / each;
    reached += Number(found.reached);
  }
  narrow += reached;
  console.log(
    `\n${kind}: ${each} matrices, ${probes.toFixed(0)} vectors and ${steps.toFixed(0)} steps on average, ${reached} as narrow as asked for`,
  );
  console.log('| figure | covered | widest half |\n| --- | --- | --- |');
  for (const key of keys) {
    const total = totals.get(key);
    if (total === undefined) continue;
    total.covered += covered.get(key) ?? 0;
    total.of += each;
    total.widest = Math.max(total.widest, widest.get(key) ?? 0);
    console.log(`| ${key} | ${covered.get(key)} | ${(100 * (widest.get(key) ?? 0)).toFixed(2)} % |`);
  }
}
console.log(
  `\nall: ${narrow} as narrow as asked for\n| figure | covered | of | widest half |\n| --- | --- | --- | --- |`,
);
for (const [key, { covered, of, widest }] of totals)
  console.log(`| ${key} | ${covered} | ${of} | ${(100 * widest).toFixed(2)} % |`);
process.exit(0);

/** The share of singular values below a threshold, each step smoothed as in the estimate. */
function smoothedShare(exact: Float64Array, at: number): number {
  const largest = exact[0] as number;
  const share = (z: number): number => {
    // By Simpson's rule, as truth for the approximation of the estimate.
    const steps = 400;
    const [from, to] = [-8, Math.max(-8, Math.min(8, z))];
    const width = (to - from) / steps;
    let sum = 0;
    for (let i = 0; i <= steps; i += 1) {
      const x = from + i * width;
      sum += (i === 0 || i === steps ? 1 : i % 2 === 1 ? 4 : 2) * Math.exp((-x * x) / 2);
    }
    return (sum * width) / 3 / Math.sqrt(2 * Math.PI);
  };
  return exact.reduce((sum, s) => sum + share((at - s / largest) / DENSITY_WIDTH), 0) / exact.length;
}
