import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ALL_METRICS } from '../../src/analysis/spectra/descriptors.js';
import { readModel, saveModel } from '../../src/graph/index.js';
import { expand } from '../../src/passes/expand/expand.js';
import { widthOf } from '../../src/report/text/text.js';
import { writeTensorFile } from '../../src/runtime/io/files.js';
import { Random } from '../../src/runtime/random.js';
import { runCli } from '../support/run-cli.js';

const SHAPES = 'fixtures/shapes.onnx';

interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function cli(args: readonly string[], env: Record<string, string> = {}): Promise<Result> {
  const { code, out, err } = await runCli(['rank-report', ...args], env);
  return { code, stdout: out, stderr: err };
}

interface Json {
  readonly metrics: readonly { readonly key: string }[];
  readonly weights: readonly {
    readonly weight: string;
    readonly metrics: Readonly<Record<string, number | null>>;
    readonly reasons?: Readonly<Record<string, string>>;
  }[];
  readonly total: { readonly weights: number };
}

async function json(...args: string[]): Promise<Json> {
  const { stdout } = await cli([...args, '--format', 'json']);
  return JSON.parse(stdout) as Json;
}

describe('metrics', () => {
  test('the columns that are named, and no others', async () => {
    const { stdout } = await cli([SHAPES, '--metrics', 'alpha,MPSPIKES,eff.rank', '--format', 'csv']);
    expect(stdout.split('\r\n')[0]).toBe(
      'weight,nodes,op,shape,rows,columns,dataType,parameters,alpha,mpSpikes,effectiveRank,problem',
    );
  });

  test('JSON has all, null where there is none, and reasons on demand', async () => {
    const report = await json(SHAPES);
    expect(report.metrics.map(({ key }) => key)).toEqual(ALL_METRICS.map(({ key }) => key));
    for (const { metrics } of report.weights) {
      for (const { key } of ALL_METRICS) expect(metrics).toHaveProperty(key);
      expect(metrics.randDistance).toBeNull();
    }
    expect(report.weights[0]!.reasons).toBeUndefined();
    const verbose = await json(SHAPES, '--verbose', '--only', 'conv.weight');
    expect(verbose.weights[0]!.reasons).toMatchObject({ randDistance: 'asked for by --randomized' });
  });

  test('--rank and --randomized add their columns', async () => {
    const { stdout } = await cli([SHAPES, '--rank', '3', '--randomized', '--only', 'mix*']);
    expect(stdout).toMatch(/cond\..*rand\.dist\..*rank dist\./);
    const report = await json(SHAPES, '--rank', '9', '--only', 'mix*');
    expect(report.weights[0]!.metrics.rankDistance).toBe(0);
  });

  test('why a figure is missing: with --verbose', async () => {
    const args = [SHAPES, '--only', 'mix*', '--metrics', 'all', '--randomized', '--metrics', 'alpha'];
    expect((await cli(args)).stdout).not.toContain('–');
  });
});

describe('which rows', () => {
  const weights = (report: Json) => report.weights.map(({ weight }) => weight);

  test('--sort and --top; the total stays that of all', async () => {
    const all = await json(SHAPES);
    const sorted = await json(SHAPES, '--sort', 'alpha');
    const alphas = sorted.weights.map(({ metrics }) => metrics.alpha!);
    expect(alphas).toEqual([...alphas].sort((a, b) => b - a));
    expect(weights(sorted).sort()).toEqual(weights(all).sort());
    const least = await json(SHAPES, '--sort', 'parameters:asc', '--top', '2');
    expect(weights(least)).toEqual(['mix.weight', 'conv.weight']);
    expect(least.total).toEqual(all.total);
    const { stdout } = await cli([SHAPES, '--sort', 'cond.', '--top', '3']);
    expect(stdout).toContain('3 of 9 weights by cond., most first; the total is of all.');
  });

  test('a metric to sort by has its column', async () => {
    expect((await cli([SHAPES, '--sort', 'mpSpikes'])).stdout).toContain('spikes');
  });

  test('--only: globs of weights and nodes', async () => {
    expect(weights(await json(SHAPES, '--only', '*wise.*', '--only', 'm?x.weight'))).toEqual([
      'depthwise.weight',
      'pointwise.weight',
      'mix.weight',
    ]);
  });

  test('a comparison is sorted by the change', async () => {
    const { code, stdout } = await cli([SHAPES, SHAPES, '--sort', 'stableRank', '--top', '2']);
    expect(code).toBe(0);
    expect(stdout).toContain('2 of 9 weights by stable rank');
  });
});

describe('--assert', () => {
  test('exit 0 where it holds, 1 where not, with the weights that fail', async () => {
    const good = await cli([SHAPES, '--assert', 'effectiveRank(*) <= min and alpha(hidden.*) > 1']);
    expect(good.stdout).toContain('Holds: effectiveRank(*) <= min and alpha(hidden.*) > 1 (10 weights)');
    expect([good.code, good.stderr]).toEqual([0, '']);
    const bad = await cli([
      SHAPES,
      '--assert',
      'effectiveRank(*) > 5',
      '--assert',
      'rows == numericalRank(hidden.*)',
    ]);
    expect(bad.stdout).toContain('Does not hold: effectiveRank(*) > 5 (1 of 9)');
    expect(bad.stdout).toContain('  conv.weight: 3.6203 > 5 is false');
    expect(bad.stdout).toContain('Holds: rows == numericalRank(hidden.*)');
    expect(bad.code).toBe(1);
  });

  test('in JSON, and on stderr where the format has no notes', async () => {
    const args = [SHAPES, '--assert', 'stableRank(conv.weight) > 3'];
    const csv = await cli([...args, '--format', 'csv']);
    expect([csv.code, csv.stdout.startsWith('weight,')]).toEqual([1, true]);
    expect(csv.stderr).toContain('Does not hold: stableRank(conv.weight) > 3');
    const report = JSON.parse((await cli([...args, '--format', 'json'])).stdout) as { assertions: unknown };
    expect(report.assertions).toMatchObject([
      { passed: false, checked: 1, failures: [{ weights: ['conv.weight'] }] },
    ]);
  });

  test('of two models, the second', async () => {
    expect((await cli([SHAPES, SHAPES, '--assert', 'alpha(mix.weight) > 1'])).code).toBe(0);
  });
});

describe('the table', () => {
  test.each([60, 80, 140])('fits %i columns, with a glyph a row', async (width) => {
    const { stdout } = await cli([SHAPES, '--metrics', 'all'], { COLUMNS: String(width) });
    for (const line of stdout.split('\n')) expect(widthOf(line)).toBeLessThanOrEqual(width);
    expect(stdout).toContain('█▇▆▄▂▁▁▁');
  });

  test('ASCII where the locale is not UTF-8', async () => {
    expect((await cli([SHAPES], { LANG: 'en_US.ISO-8859-1' })).stdout).toContain('@#*=:...');
    expect((await cli([SHAPES], { LC_ALL: 'C', LANG: 'de_DE.UTF-8' })).stdout).toContain('@#*=:...');
    expect((await cli([SHAPES], { LANG: 'de_DE.utf8' })).stdout).toContain('█▇▆▄▂▁▁▁');
  });
});

test('an expanded model, held against the original: the products pair, and nothing changed', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'onnx-overparam-rank-'));
  try {
    const model = await readModel(SHAPES);
    await model.apply(expand({ depth: 2 }));
    const path = join(directory, 'expanded.onnx');
    await saveModel(model, path);
    const { code, stdout } = await cli([SHAPES, path, '--format', 'md']);
    expect(code).toBe(0);
    expect(stdout).not.toMatch(/[+-]\d+\.?\d*e-|Only in/);
    const single = await cli([path, '--only', 'hidden*', '--format', 'csv']);
    expect(single.stdout.split('\r\n').map((line) => line.split(',')[2])).toEqual([
      'chain',
      'product',
      'factor',
      'factor',
      undefined,
    ]);
    expect(
      (await cli([path, '--chains', 'product', '--assert', 'effectiveRank(hidden.weight) < min'])).code,
    ).toBe(0);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test('slices and operators of convolutions', async () => {
  const slices = await cli([SHAPES, '--conv-view', 'slices', '--only', 'strided*']);
  expect(slices.stdout).toContain('9 of 32 × 16');
  const operator = await cli([SHAPES, '--conv-view', 'operator', '--input-size', '4', '--only', 'strided*']);
  expect(operator.stdout).toContain('128 × 256');
});

describe('wrong command lines', () => {
  test.each([
    [['--metrics', 'alhpa'], "--metrics: no metric 'alhpa'; did you mean alpha?"],
    [['--metrics', 'rankDistance'], 'pass --rank <r> with it'],
    [['--sort', 'effectiverank:up'], '--sort is a metric'],
    [['--sort', 'stablrank'], "no metric 'stablrank'; did you mean stableRank?"],
    [
      ['--assert', 'alhpa(x) > 1'],
      "no metric 'alhpa'; did you mean alpha? (at character 1 of 'alhpa(x) > 1')",
    ],
    [['--assert', 'alpha(conv.wieght) > 1'], "no weight matches 'conv.wieght'; did you mean 'conv.weight'?"],
    [['--assert', 'alpha(x) = 1'], 'expected a comparison'],
    [['--conv-view', 'operator'], '--conv-view operator needs the size of its inputs'],
    [['--input-size', '8'], '--input-size goes with --conv-view operator'],
    [['--conv-view', 'slice'], '--conv-view must be one of matricized, slices, operator'],
    [['--chains', 'all'], '--chains must be one of product, factors, both'],
    [['--top', '0'], '--top must be an integer ≥ 1, is 0'],
    [['--rank', '-1'], '--rank must be an integer ≥ 0, is -1'],
    [
      ['--only', 'conv.wieght'],
      "--only 'conv.wieght' matches no weight or node; did you mean 'conv.weight'?",
    ],
  ])('%j', async (args, message) => {
    const { code, stdout, stderr } = await cli([SHAPES, ...args]);
    expect(stderr).toContain(message);
    expect([code, stdout]).toEqual([2, '']);
  });
});

describe('embeddings', () => {
  test('of random inputs: a table, the same for a seed', async () => {
    const args = [SHAPES, '--random-data', '--samples', '8'];
    const { code, stdout } = await cli(args);
    expect(code).toBe(0);
    expect(stdout).toContain('Embeddings: outputs of the layers, 8 samples of random inputs');
    expect((await cli(args)).stdout).toBe(stdout);
    expect((await cli([...args, '--seed', '1'])).stdout).not.toBe(stdout);
    expect((await cli([...args, '--only', 'hidden*'])).stdout.match(/^hidden.Gemm/gm)).toHaveLength(1);
    const page = await cli([...args, '--format', 'html', '--embeddings', 'inputs']);
    expect(page.stdout).toContain('inputs of the layers, 8 samples');
  });

  test.each([
    [['--samples', '8'], '--samples goes with --data or --random-data'],
    [['--at', 'x'], '--at goes with --data or --random-data'],
    [['--split', 'test', '--random-data'], '--split goes with --data'],
    [['--dim', 'n=2', '--data', 'x'], '--dim goes with --random-data'],
    [['--data', 'x', '--random-data'], '--data or --random-data, not both'],
    [['--random-data', '--at', 'x', '--embeddings', 'inputs'], '--at or --embeddings, not both'],
    [['--random-data', '--samples', '1'], '--samples must be an integer ≥ 2 and ≤ 1000000, is 1'],
  ])('%j', async (args, message) => {
    const { code, stderr } = await cli([SHAPES, ...args]);
    expect(code).toBe(2);
    expect(stderr).toContain(message);
  });

  test('of data with labels: the collapse of the classes, beside the distance of weights to their rank', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'rank-report-data-'));
    try {
      const path = join(directory, 'data.npz');
      const x = {
        type: 'float32',
        shape: [12, 1, 28, 28],
        data: new Random(0).fillNormal(new Float32Array(12 * 784)),
      } as const;
      const y = {
        type: 'int64',
        shape: [12],
        data: BigInt64Array.from({ length: 12 }, (_, i) => BigInt(i % 3)),
      } as const;
      await writeTensorFile(path, { x, y });
      const { code, stdout, stderr } = await cli([SHAPES, '--data', path, '--format', 'json']);
      expect(stderr).toBe('');
      expect(code).toBe(0);
      const report = JSON.parse(stdout) as {
        rank: number;
        embeddings: { classes: number; values: { metrics: { nc1: number } }[] };
      };
      expect(report).toMatchObject({
        rank: 3,
        embeddings: { classes: 3, samples: 12, fewest: 4, isRandom: false },
      });
      expect(report.embeddings.values).toHaveLength(9);
      for (const { metrics } of report.embeddings.values) expect(metrics.nc1).toBeGreaterThan(0);
      expect((await cli([SHAPES, '--data', path, '--rank', '2'])).stdout).toContain('‖W-W₂‖/‖W‖');
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test('a value that is not there is an error of the command line', async () => {
    const { code, stderr } = await cli([SHAPES, '--random-data', '--at', 'nothing*']);
    expect(code).toBe(2);
    expect(stderr).toContain("--at 'nothing*' matches no value or node of the main graph");
  });
});

describe('checkpoints and other views', () => {
  const FILES = 'test/reference/checkpoints';

  test('a checkpoint is reported, compared and refused where a graph is needed', async () => {
    const { weights } = await json(`${FILES}/llama`, '--only', '*.q_proj.*');
    expect(weights.map(({ weight }) => weight)).toEqual([
      'model.layers.0.self_attn.q_proj.weight',
      'model.layers.1.self_attn.q_proj.weight',
    ]);
    const compared = await cli([`${FILES}/llama`, `${FILES}/llama`, '--format', 'csv']);
    expect([compared.code, compared.stdout.trim().split('\n').length]).toEqual([0, 17]);
    expect(await cli([`${FILES}/llama`, '--regions'])).toMatchObject({ code: 2 });
    expect(await cli([`${FILES}/evil.pt`])).toMatchObject({ code: 1 });
    expect((await cli([`${FILES}/none.safetensors`])).stderr).toMatch(/no such file/);
  });

  test('--heads, --delta and --series', async () => {
    const heads = await cli([`${FILES}/llama`, '--heads']);
    expect(heads.stdout).toMatch(/by layer and head/);
    expect(heads.code).toBe(0);
    const delta = JSON.parse(
      (await cli(['--delta', `${FILES}/llama`, `${FILES}/adapter`, '-q', '--format', 'json'])).stdout,
    );
    expect(delta.weights.map(({ metrics }: { metrics: { rank99: number } }) => metrics.rank99)).toEqual([
      4, 4, 4, 4,
    ]);
    const series = await cli(['--series', SHAPES, SHAPES, SHAPES, '--format', 'csv', '-q']);
    expect(series.stdout.trim().split('\n')).toHaveLength(1 + 3 * 9);
    for (const args of [
      ['--delta', SHAPES],
      ['--series', SHAPES],
      ['--heads', '--delta', SHAPES, SHAPES],
    ])
      expect(await cli(args)).toMatchObject({ code: 2 });
    expect((await cli(['--heads', SHAPES])).stderr).toMatch(/no attention heads/);
  });
});
