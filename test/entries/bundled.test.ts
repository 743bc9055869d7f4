import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Runs kernels on threads, the thread of a training, and a process that tries a provider. */
const PROGRAM = `
import { buildModel, collapse, diagnose, expand, rankReport, tensorDataset, train } from 'onnx-overparam';
import { Tensor } from 'onnx-overparam/graph';

async function main() {
  const weight = (name, shape) => {
    const values = Float32Array.from({ length: shape[0] * shape[1] }, (_, i) => Math.sin(i * i) / 10);
    return Tensor.of(name, 'float32', shape, values);
  };
  const model = buildModel({
    inputs: [['x', 'float32', ['batch', 80]]],
    outputs: [['y', 'float32', ['batch', 72]]],
    nodes: [
      { opType: 'MatMul', inputs: ['x', 'a'], outputs: ['h'] },
      { opType: 'Relu', inputs: ['h'], outputs: ['r'] },
      { opType: 'MatMul', inputs: ['r', 'b'], outputs: ['y'] },
    ],
    initializers: [weight('a', [80, 70]), weight('b', [70, 72])],
  });
  const [{ rewritten }] = await model.apply(expand({ depth: 3 }));
  const { rows } = await rankReport(model, { chains: 'product', concurrency: 2 });
  const x = { data: Float32Array.from({ length: 16 * 80 }, (_, i) => Math.cos(i)), shape: [16, 80], type: 'float32' };
  const target = { data: BigInt64Array.from({ length: 16 }, (_, i) => BigInt(i % 3)), shape: [16], type: 'int64' };
  await using data = tensorDataset({ x, y: target });
  const { history } = await train(model, data, { epochs: 2, batch: 8 }).result();
  const [folded] = await model.apply(collapse());
  const { providers } = await diagnose({ providers: ['cpu'] });
  console.log(JSON.stringify({
    expanded: rewritten.length,
    ranks: rows.map((row) => row.metrics.effectiveRank > 1),
    losses: history.flatMap((record) => record.training?.loss ?? []),
    folded: folded.rewritten.length,
    cpu: providers[0].loads,
  }));
}
main();
`;

let folder: string;
let away: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'program-'));
  away = mkdtempSync(join(tmpdir(), 'installed-'));
  for (const place of [folder, away]) mkdirSync(join(place, 'node_modules'));
  symlinkSync(ROOT, join(folder, 'node_modules/onnx-overparam'));
  symlinkSync(join(ROOT, 'node_modules/onnxruntime-node'), join(away, 'node_modules/onnxruntime-node'));
  writeFileSync(join(folder, 'program.mjs'), PROGRAM);
});
afterAll(() => {
  for (const place of [folder, away]) rmSync(place, { recursive: true, force: true });
});

it.each([
  'esm',
  'cjs',
] as const)('works in a program that is bundled to %s and lies where none of its files are', async (format) => {
  const file = join(away, format === 'esm' ? 'bundle.mjs' : 'bundle.cjs');
  await build({
    entryPoints: [join(folder, 'program.mjs')],
    outfile: file,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format,
    external: ['onnxruntime-node', 'sharp'],
    logLevel: 'error',
  });
  const { stdout } = await promisify(execFile)(process.execPath, [file], { cwd: tmpdir(), timeout: 50_000 });
  const { losses, ...rest } = JSON.parse(stdout);
  expect(rest).toEqual({ expanded: 2, ranks: [true, true], folded: 2, cpu: true });
  expect(losses).toHaveLength(2);
  expect(losses[1]).toBeLessThan(losses[0]);
});
