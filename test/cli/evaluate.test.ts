import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { saveModel } from '../../src/graph/index.js';
import { tensorBytes } from '../../src/runtime/io/files.js';
import { identity, labels, other, wave } from '../evaluate/waves.js';
import { runCli } from '../support/run-cli.js';
import { scratchDirectory } from '../support/scratch-directory.js';

const directory = scratchDirectory('cli-evaluate');
const at = (name: string): string => join(directory, name);
const SAMPLES = 60;

const cli = (...args: readonly string[]) =>
  runCli(['evaluate', ...args.map((word) => word.replace('@', `${directory}/`))], { SOURCE_DATE_EPOCH: '0' });

beforeAll(async () => {
  await saveModel(identity([7]), at('a.onnx'));
  await saveModel(other([7]), at('b.onnx'));
  const x = wave(0, [SAMPLES, 7]);
  const y = labels([SAMPLES], 7, 3);
  const part = (size: number) => ({
    x: { ...x, shape: [size, 7], data: x.data.slice(0, size * 7) },
    y: { ...y, shape: [size], data: (y.data as BigInt64Array).slice(0, size) },
  });
  writeFileSync(at('data.npz'), tensorBytes({ x, y }, 'npz'));
  writeFileSync(at('bare.npz'), tensorBytes({ x }, 'npz'));
  const [train, rest] = [part(50), part(10)];
  writeFileSync(
    at('parts.npz'),
    tensorBytes({ x_train: train.x, y_train: train.y, x_test: rest.x, y_test: rest.y }, 'npz'),
  );
});

describe('one model', () => {
  test('figures, classes, and which samples', async () => {
    const { code, out, err } = await cli('@a.onnx', '--data', '@data.npz', '--resamples', '50');
    expect([code, err]).toEqual([0, '']);
    expect(out).toMatch(/a\.onnx +accuracy +\d+\.\d\d% +\d+\.\d\d to \d+\.\d\d%/);
    expect(out).toContain('60 samples of');
    expect(out).toContain('data.npz (all of it: it is in one piece); 95 % intervals by 50 resamples, seed 0');
    expect(out).toMatch(/class +labels +recall +precision +IoU/);
  });

  test('the test part is taken, unless another is named', async () => {
    const said = await cli('@a.onnx', '--data', '@parts.npz', '--resamples', '0');
    expect(said.out).toMatch(/10 samples of .*parts\.npz, test part; no intervals/);
    const named = await cli('@a.onnx', '--data', '@parts.npz', '--split', 'train', '--resamples', '0');
    expect(named.out).toMatch(/50 samples of .*parts\.npz, train part/);
    const missing = await cli('@a.onnx', '--data', '@parts.npz', '--split', 'validation');
    expect([missing.code, missing.err]).toEqual([1, expect.stringContaining('has no validation part')]);
  });

  test('JSON holds every figure; the same seed gives the same bytes', async () => {
    const args = ['@a.onnx', '@b.onnx', '--data', '@data.npz', '--format', 'json'];
    const [one, two] = [await cli(...args), await cli(...args)];
    expect(one.out).toBe(two.out);
    const { models, comparisons, kind } = JSON.parse(one.out);
    expect([kind, models.length, comparisons.length]).toEqual(['evaluate', 2, 1]);
    const { value, interval } = models[0].figures.accuracy;
    expect(interval.low).toBeLessThan(value);
    expect(interval.high).toBeGreaterThan(value);
    const moved = await cli(...args, '--seed', '1');
    expect(JSON.parse(moved.out).models[0].figures.accuracy.value).toBe(value);
    expect(moved.out).not.toBe(one.out);
  });

  test('the page has a matrix of all labels, no script, and nothing of a name as markup', async () => {
    const { code, out } = await cli('@a.onnx', '--data', '@data.npz', '--format', 'html');
    expect(code).toBe(0);
    const [, body = ''] = /<table class="matrix">.*?<tbody>(.*?)<\/tbody>/s.exec(out) ?? [];
    const cells = [...body.matchAll(/<td class="[^"]*">([\d,]*)<\/td>/g)].map(([, text]) => Number(text));
    expect([cells.length, cells.reduce((sum, count) => sum + count, 0)]).toEqual([49, SAMPLES]);
    expect(out).not.toContain('<script');
    expect(out).toContain('default-src &#39;none&#39;; style-src');
  });
});

describe('limits decide the exit code', () => {
  test.each([
    [['--max-drop', '100', '--max-rise', '500%'], 0, 'holds: b.onnx: accuracy'],
    [['--max-rise', '0%'], 1, 'FAILS: b.onnx: loss'],
    [['--unlabeled', '--max-drop', '0'], 1, 'points of the decisions differ from those of a.onnx'],
    [['--unlabeled', '--max-drop', '99'], 0, 'holds'],
  ] as const)('%j: %i', async (args, code, said) => {
    const result = await cli('@a.onnx', '@b.onnx', '--data', '@data.npz', '--resamples', '0', ...args);
    expect([result.code, result.err]).toEqual([code, '']);
    expect(result.out).toContain(said);
  });

  test('in a file or in JSON they are told on stderr', async () => {
    const args = ['@a.onnx', '@b.onnx', '--data', '@data.npz', '--resamples', '0', '--max-rise', '0%'];
    const { code, out, err } = await cli(...args, '-o', '@r.json');
    expect([code, out, err]).toEqual([1, '', expect.stringContaining('FAILS: b.onnx: loss')]);
    expect(JSON.parse(readFileSync(at('r.json'), 'utf8')).limits[0].passed).toBe(false);
  });
});

describe('a wrong command line ends with 2', () => {
  test.each([
    [['@a.onnx'], 'no data: pass --data'],
    [['@a.onnx', '--data', '@data.npz', '--max-drop', '1'], '--max-drop needs a second model'],
    [['@a.onnx', '@b.onnx', '--data', '@data.npz', '--max-rise', '2'], 'must be a percentage such as 2%'],
    [['@a.onnx', '--data', '@data.npz', '--top', '1'], '--top must be an integer ≥ 2'],
    [
      ['@a.onnx', '--data', '@data.npz', '--ignore-index', '3', '--loss', 'mse', '--values'],
      '--ignore-index goes with labels',
    ],
    [['@a.onnx', '@b.onnx', '--data', '@bare.npz', '--max-rise', '2%'], '--max-rise is of the loss'],
  ] as const)('%j', async (args, said) => {
    const { code, err } = await cli(...args);
    expect([code, err]).toEqual([2, expect.stringContaining(said)]);
  });
});
