import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { readModel, saveModel } from '../../src/graph/index.js';
import { tensorBytes } from '../../src/runtime/io/files.js';
import { removeCheckpoint } from '../../src/training/checkpoint.js';
import { buildModel, floats } from '../support/build.js';
import { runCli } from '../support/run-cli.js';
import { scratchDirectory } from '../support/scratch-directory.js';

const root = scratchDirectory('cli-train-files');
let directory = root;
let count = 0;
const at = (name: string): string => join(directory, name);

const model = buildModel({
  inputs: [['x', 'float32', ['n', 300]]],
  outputs: [['y', 'float32', ['n', 4]]],
  nodes: [{ opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'], name: 'fc' }],
  initializers: [floats('w', [300, 4], (index) => Math.sin(index + 1))],
});

beforeEach(async () => {
  count += 1;
  directory = join(root, String(count));
  mkdirSync(directory);
  await saveModel(model, at('m.onnx'));
  const x = {
    type: 'float32',
    shape: [24, 300],
    data: Float32Array.from({ length: 7200 }, (_, i) => Math.cos(i)),
  } as const;
  const y = {
    type: 'int64',
    shape: [24],
    data: BigInt64Array.from({ length: 24 }, (_, i) => BigInt(i % 4)),
  } as const;
  writeFileSync(at('data.npz'), tensorBytes({ x, y }, 'npz'));
});

/** '@' stands for the directory. */
async function cli(...words: readonly string[]): Promise<{ readonly code: number; readonly err: string }> {
  const { code, err } = await runCli(words.map((word) => word.replace('@', `${directory}/`)));
  return { code, err };
}

const TRAIN = ['train', '@m.onnx', '--data', '@data.npz', '--epochs', '1', '-q'];

test('a checkpoint is removed without what else lies in its folder', async () => {
  mkdirSync(at('ck'));
  for (const name of [
    'checkpoint.json',
    'state-3.safetensors',
    'best-1.safetensors',
    'notes.txt',
    'state-x.safetensors',
  ])
    writeFileSync(at(`ck/${name}`), name);
  await removeCheckpoint(at('ck'));
  expect(readdirSync(at('ck')).toSorted()).toEqual(['notes.txt', 'state-x.safetensors']);
  mkdirSync(at('own'));
  writeFileSync(at('own/checkpoint.json'), '{}');
  await removeCheckpoint(at('own'));
  expect(existsSync(at('own'))).toBe(false);
  await removeCheckpoint(at('nothing'));
});

describe('files of a training are apart', () => {
  test.each([
    [['-o', '@t.onnx', '--log', '@t.onnx'], '--output and --log name one file'],
    [['-o', '@t.onnx', '--log', '@ck', '--checkpoint', '@ck'], '--log and --checkpoint name one file'],
    [['-o', '@t.onnx', '--log', '@w.bin', '--data-file', 'w.bin'], '--log and --data-file name one file'],
    [['-o', '@ck/checkpoint.json', '--checkpoint', '@ck'], 'is a file of the checkpoint'],
    [
      ['-o', '@t.onnx', '--log', '@ck/state-1.safetensors', '--checkpoint', '@ck'],
      'is a file of the checkpoint',
    ],
    [['-o', '@data.npz', '--overwrite'], 'would destroy the input'],
    [['-o', '@t.onnx', '--log', '@hard', '--overwrite'], 'would destroy the input'],
    [['-o', '@t.onnx', '--html', '@soft', '--overwrite'], 'would destroy the input'],
    [['-o', '@t.onnx', '--log', '@m.onnx', '--overwrite'], 'would destroy the input'],
  ])('%j', async (words, said) => {
    mkdirSync(at('ck'));
    linkSync(at('data.npz'), at('hard'));
    symlinkSync(at('data.npz'), at('soft'));
    const files = readdirSync(directory).map((name) => [
      name,
      name === 'ck' ? '' : readFileSync(at(name), 'base64'),
    ]);
    const { code, err } = await cli(...TRAIN, ...words);
    expect([code, err]).toEqual([2, expect.stringContaining(said)]);
    expect(
      readdirSync(directory).map((name) => [name, name === 'ck' ? '' : readFileSync(at(name), 'base64')]),
    ).toEqual(files);
  });

  test('a log that is there stays without --overwrite, and takes the place of a link with it', async () => {
    writeFileSync(at('other'), 'kept');
    linkSync(at('other'), at('log'));
    const refused = await cli(...TRAIN, '-o', '@t.onnx', '--log', '@log');
    expect([refused.code, refused.err]).toEqual([1, expect.stringContaining('exists already')]);
    expect(await cli(...TRAIN, '-o', '@t.onnx', '--log', '@log', '--overwrite')).toEqual({
      code: 0,
      err: '',
    });
    expect(readFileSync(at('other'), 'utf8')).toBe('kept');
    expect(readFileSync(at('log'), 'utf8')).toContain('"event":"done"');
  });
});

describe('--data-file', () => {
  test('puts the weights into a file of that name, and no other', async () => {
    expect((await cli(...TRAIN, '-o', '@t.onnx', '--data-file', 'w.bin')).code).toBe(0);
    expect(readdirSync(directory).toSorted()).toEqual(['data.npz', 'm.onnx', 't.onnx', 'w.bin']);
    const written = await readModel(at('t.onnx'));
    expect(written.graph.initializers.get('w')!.shape).toEqual([300, 4]);
    expect(written.graph.initializers.get('w')!.floats().every(Number.isFinite)).toBe(true);
  });

  test.each([
    ['../w.bin', 2, 'must be the name of another file beside the model, without a folder'],
    ['sub/w.bin', 2, 'without a folder'],
    ['..', 2, 'without a folder'],
    ['', 2, 'without a folder'],
    ['t.onnx', 2, 'must be the name of another file'],
    ['data.npz', 1, 'exists already; name another data file'],
  ])('%s is refused before the work', async (name, code, said) => {
    const before = readdirSync(directory);
    for (const command of [TRAIN, ['expand', '@m.onnx']]) {
      const told = await cli(...command, '-o', '@t.onnx', '--overwrite', '--data-file', name);
      expect([told.code, told.err]).toEqual([code, expect.stringContaining(said)]);
    }
    expect(readdirSync(directory)).toEqual(before);
  });
});
