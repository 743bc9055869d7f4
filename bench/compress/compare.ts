/**
 * compress beside the Python baselines: the increase of the test loss at shares of the parameters, on one model.
 *
 *     npx tsx bench/compress/networks.ts <folder>                      # the untrained networks; train them with `train`
 *     npx tsx bench/compress/compare.ts <model.onnx> <IDX folder> --python <python with torch and onnx>
 *
 * Both are calibrated on the same samples, which are written to a file for the baselines. `--baselines <file>` reads lines that
 * baselines.py printed before, in place of running it. `--finetune <epochs>` adds a column with distillation.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { compress } from '../../src/compress/compress.js';
import { evaluateModels } from '../../src/evaluate/evaluate.js';
import { readModel } from '../../src/graph/index.js';
import { shuffledOrder } from '../../src/training/data/batches.js';
import { inputSpecs, openDataset } from '../../src/training/data/index.js';
import type { Dataset } from '../../src/training/types.js';

interface Line {
  readonly method: string;
  readonly share: number;
  readonly loss: number;
  readonly accuracy: number;
  readonly increase?: number;
  readonly seconds?: number;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    python: { type: 'string', default: 'python3' },
    baselines: { type: 'string' },
    shares: { type: 'string', default: '0.75,0.5,0.25' },
    samples: { type: 'string', default: '1024' },
    finetune: { type: 'string', default: '0' },
  },
});
const [file = '', folder = ''] = positionals;
const shares = values.shares.split(',').map(Number);
const original = await readModel(file);
const inputs = inputSpecs(original);
await using all = await openDataset(folder, { inputs, split: 'train' });
await using test = await openDataset(folder, { inputs, split: 'test' });
const indices = Array.from(shuffledOrder(all.size, 0, 0).subarray(0, Number(values.samples)));
const calibration: Dataset = {
  ...all,
  size: indices.length,
  batch: (wanted, options) =>
    all.batch(
      Array.from(wanted, (i) => indices[i] ?? 0),
      options,
    ),
  targets: undefined as never,
  numberOf: (i) => indices[i] ?? i,
};

const lines = baselines();
const rows: string[] = [];
for (const share of shares) {
  const own = lines.filter((line) => line.share === share);
  const best = own.reduce((a, b) => ((b.increase ?? 0) < (a.increase ?? 0) ? b : a));
  const model = original.clone();
  const start = process.cpuUsage();
  const [account] = await model.apply(
    compress({ data: calibration, params: share, samples: indices.length }),
  );
  const used = process.cpuUsage(start);
  const tuned = Number(values.finetune) > 0 ? original.clone() : undefined;
  if (tuned !== undefined)
    await tuned.apply(
      compress({ data: all, params: share, finetune: Number(values.finetune), plan: undefined }),
    );
  const models = [
    { name: 'original', model: original },
    { name: 'compressed', model },
    ...(tuned === undefined ? [] : [{ name: 'fine-tuned', model: tuned }]),
  ];
  const report = await evaluateModels(models, test);
  const change = report.comparisons[0]?.differences.loss;
  const accuracy = (index: number): string =>
    (100 * (report.models[index]?.figures.accuracy?.value ?? Number.NaN)).toFixed(2);
  const interval =
    change?.interval && `[${change.interval.low.toFixed(4)}, ${change.interval.high.toFixed(4)}]`;
  const increase = change?.value ?? Number.NaN;
  console.error(
    JSON.stringify({
      share,
      increase,
      interval,
      plan: account.plan,
      predicted: account.predicted,
      measured: account.measured,
    }),
  );
  rows.push(
    [
      '',
      share,
      `${best.method} ${(best.increase ?? 0).toFixed(4)}`,
      `${increase.toFixed(4)} ${interval}`,
      (increase / (best.increase ?? Number.NaN)).toFixed(2),
      `${(100 * (own.find((line) => line === best)?.accuracy ?? 0)).toFixed(2)}`,
      accuracy(1),
      ...(tuned === undefined ? [] : [accuracy(2)]),
      `${account.predicted.toPrecision(3)} / ${account.measured?.toPrecision(3)}`,
      `${((used.user + used.system) / 1e6).toFixed(1)}`,
      '',
    ].join(' | '),
  );
}
const [first] = lines;
console.log(
  `original: loss ${first?.loss.toFixed(4)}, accuracy ${(100 * (first?.accuracy ?? 0)).toFixed(2)}\n`,
);
const headings = [
  'share',
  'best baseline',
  'compress',
  'ratio',
  'its accuracy',
  'ours',
  ...(Number(values.finetune) > 0 ? ['fine-tuned'] : []),
  'predicted / measured',
  'processor s',
];
console.log(`| ${headings.join(' | ')} |\n|${headings.map(() => ' --- |').join('')}`);
for (const row of rows) console.log(row.trim());

function baselines(): readonly Line[] {
  let text: string;
  if (values.baselines !== undefined) text = readFileSync(values.baselines, 'utf8');
  else {
    const list = join(mkdtempSync(join(tmpdir(), 'compare-')), 'indices.json');
    writeFileSync(list, JSON.stringify(indices));
    const script = fileURLToPath(new URL('baselines.py', import.meta.url));
    const args = [script, file, folder, '--indices', list, '--shares', ...shares.map(String)];
    text = spawnSync(values.python, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).stdout;
  }
  return text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Line);
}
