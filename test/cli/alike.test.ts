import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { beforeAll, describe, expect, test } from 'vitest';
import { COMMANDS } from '../../src/cli/commands.js';
import { run } from '../../src/cli/run.js';
import { saveModel } from '../../src/graph/index.js';
import { tensorBytes } from '../../src/runtime/io/files.js';
import { buildModel, floats } from '../support/build.js';
import { runCli } from '../support/run-cli.js';
import { scratchDirectory } from '../support/scratch-directory.js';

// What holds for all commands.

const directory = scratchDirectory('cli-alike');
const at = (name: string): string => join(directory, name);
const SHAPES = resolve('fixtures/shapes.onnx');

const cli = (...args: readonly string[]) => runCli(args);

beforeAll(async () => {
  const model = buildModel({
    inputs: [['x', 'float32', ['n', 3]]],
    outputs: [['y', 'float32', ['n', 4]]],
    nodes: [{ opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'], name: 'fc' }],
    initializers: [floats('w', [3, 4], (index) => Math.sin(index + 1))],
  });
  await saveModel(model, at('m.onnx'));
  const x = {
    type: 'float32',
    shape: [24, 3],
    data: Float32Array.from({ length: 72 }, (_, i) => Math.cos(i)),
  } as const;
  const y = {
    type: 'int64',
    shape: [24],
    data: BigInt64Array.from({ length: 24 }, (_, i) => BigInt(i % 4)),
  } as const;
  writeFileSync(at('data.npz'), tensorBytes({ x, y }, 'npz'));
  const trained = await cli(
    'train',
    at('m.onnx'),
    '--data',
    at('data.npz'),
    '--epochs',
    '1',
    '-o',
    at('t.onnx'),
    '--log',
    at('log.jsonl'),
  );
  expect([trained.code, trained.err]).toEqual([0, expect.stringContaining('epoch')]);
  const part = await cli('rank-report', at('m.onnx'), '--shard', '1/1', '-o', at('parts'));
  expect([part.code, part.err]).toEqual([0, expect.stringContaining('shard 1/1: 1 of 1')]);
});

/** Every command, at work that says something. */
const WORK: Readonly<Record<string, () => readonly string[]>> = {
  expand: () => [at('m.onnx'), '-o', at('expanded.onnx'), '--overwrite'],
  collapse: () => [at('m.onnx'), '--dry-run'],
  diff: () => [at('m.onnx'), at('t.onnx')],
  print: () => [at('m.onnx')],
  check: () => [at('m.onnx')],
  extract: () => [at('m.onnx'), '--to', 'y', '-o', at('x.onnx'), '--overwrite'],
  infer: () => [at('m.onnx'), '-o', at('t.onnx'), '--overwrite'],
  convert: () => [at('m.onnx'), '--type', 'float16', '-o', at('h.onnx'), '--overwrite'],
  evaluate: () => [at('m.onnx'), at('m.onnx'), '--data', at('data.npz'), '--resamples', '20'],
  new: () => ['mlp', '--inputs', '3', '--depth', '2', '--width', '4', '-o', at('n.onnx'), '--overwrite'],
  gradient: () => [at('m.onnx'), '--batch', '4', '-o', at('g.onnx'), '--overwrite'],
  'rank-report': () => [at('m.onnx')],
  merge: () => [at('parts')],
  'extract-lora': () => [at('m.onnx'), at('t.onnx'), '--rank', '1', '--dry-run'],
  verify: () => [at('m.onnx'), at('m.onnx')],
  train: () => [at('m.onnx'), '--data', at('data.npz'), '--epochs', '1', '-o', at('t.onnx'), '--overwrite'],
  compress: () => [at('m.onnx'), '--data', at('data.npz'), '--dry-run'],
  'train-log': () => [at('log.jsonl')],
  run: () => [at('m.onnx'), '--random', '--dim', 'n=2'],
  study: () => ['init', '--seeds', '1'],
  doctor: () => [],
};

/** The names that JSON has, in their order: numbers may be times. */
const keysOf = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(keysOf)
    : typeof value === 'object' && value !== null
      ? Object.entries(value).map(([key, one]) => [key, keysOf(one)])
      : typeof value;

describe('-q keeps the data that --format asks for, and silences the talk', () => {
  test('of every command', () => {
    expect(Object.keys(WORK).toSorted()).toEqual(COMMANDS.map(({ usage }) => usage.split(' ')[0]).toSorted());
  });

  test.each(Object.keys(WORK))('%s', async (command) => {
    const work = [command, ...WORK[command]!(), '--format', 'json'];
    const [loud, quiet] = [await cli(...work), await cli(...work, '-q')];
    expect([quiet.code, quiet.err]).toEqual([loud.code, '']);
    expect(keysOf(JSON.parse(quiet.out))).toEqual(keysOf(JSON.parse(loud.out)));
    expect(quiet.out.length).toBeGreaterThan(100);
  });

  test('an error is still said', async () => {
    for (const command of Object.keys(WORK).filter((name) => name !== 'doctor')) {
      const { code, out, err } = await cli(command, at('missing'), at('missing'), '-q');
      expect(code, command).toBeGreaterThan(0);
      expect([out, err], command).toEqual(['', expect.stringMatching(/^error: /)]);
    }
  });
});

describe('a pattern that matches nothing is a wrong command line, and so is one of several', () => {
  test.each([
    [['expand', '--dry-run', '--only', 'fc'], '--only', 'linear layer; there are: fc'],
    [['expand', '--dry-run'], '--exclude', 'linear layer; there are: fc'],
    [
      ['gradient', '--dry-run', '--batch', '2', '--wrt', 'w'],
      '--wrt',
      'initializer or float input; there are: w, x',
    ],
    [['gradient', '--dry-run', '--batch', '2'], '--freeze', 'weight to differentiate by; there are: w'],
    [
      ['train', '--data', 'data.npz', '--dry-run', '--train', 'w'],
      '--train',
      'trainable weight; there are: w',
    ],
    [['train', '--data', 'data.npz', '--dry-run'], '--freeze', 'trainable weight; there are: w'],
    [['train', '--data', 'data.npz', '--dry-run'], '--untie', 'weight that layers share; there is none'],
    [['rank-report', '--only', 'w'], '--only', 'weight or node; there are: w'],
    [
      ['rank-report', '--random-data', '--at', 'fc'],
      '--at',
      'value or node of the main graph; there are: fc',
    ],
  ])('%j %s', async ([command = '', ...rest], option, said) => {
    const args = rest.map((word) => (word === 'data.npz' ? at(word) : word));
    const { code, out, err } = await cli(command, at('m.onnx'), ...args, option, 'zz*');
    expect(err).toBe(`error: ${option} 'zz*' matches no ${said}\n  See onnx-overparam ${command} --help\n`);
    expect([code, out]).toEqual([2, '']);
  });

  test('of a model from standard input, too', async () => {
    const stdin = Object.assign(Readable.from([readFileSync(SHAPES)]), { isTTY: false });
    let err = '';
    const stderr = new Writable({
      write: (chunk: Buffer, _, done) => {
        err += chunk.toString();
        done();
      },
    });
    const words = ['gradient', '-', '--dry-run', '--batch', '2', '--wrt', 'zz*'];
    const code = await run(words, { stdin, stdout: stderr, stderr, env: {} });
    expect([code, err]).toEqual([
      2,
      expect.stringContaining("--wrt 'zz*' matches no initializer or float input"),
    ]);
  });
});
