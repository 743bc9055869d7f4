import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readModel } from '../../src/graph/index.js';
import { scratchDirectory } from '../support/scratch-directory.js';

const MAIN = resolve('dist/bin/onnx-overparam.js');
const directory = scratchDirectory('cli-new');

function cli(...args: readonly string[]) {
  return spawnSync(process.execPath, [MAIN, 'new', ...args], { encoding: 'utf8', cwd: directory });
}

describe('new', () => {
  test('writes a network, and says what it has', async () => {
    const { status, stdout } = cli(
      'mlp',
      '--inputs',
      '784',
      '--depth',
      '2',
      '--width',
      '5',
      '-o',
      'net.onnx',
    );
    expect(status).toBe(0);
    expect(stdout).toContain('Written to net.onnx');
    const model = await readModel(join(directory, 'net.onnx'));
    expect([...model.graph.initializers.values()].map(({ shape }) => shape)).toEqual([
      [5, 784],
      [5],
      [10, 5],
      [10],
    ]);
  });

  test('does not replace a file unless asked', () => {
    cli('cnn', '-o', 'twice.onnx');
    const { status, stderr } = cli('cnn', '-o', 'twice.onnx');
    expect([status, stderr]).toEqual([1, expect.stringContaining('--overwrite')]);
    expect(cli('cnn', '-o', 'twice.onnx', '--overwrite').status).toBe(0);
  });

  test('JSON of a dry run, and no file', () => {
    const { status, stdout } = cli('cnn', '--inputs', '3,32,32', '--dry-run', '--format', 'json');
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ kind: 'new', output: null, parameters: 19_722 });
    expect(existsSync(join(directory, 'net2.onnx'))).toBe(false);
  });

  test.each([
    [['lstm', '-o', 'x.onnx']],
    [['mlp', '--inputs', '3,4', '-o', 'x.onnx']],
    [['mlp', '--depth', '1e9', '-o', 'x.onnx']],
  ])('%j is refused in one line', (args) => {
    const { status, stderr } = cli(...args);
    expect(status).toBe(2);
    expect(stderr.trim().split('\n').length).toBeLessThan(4);
    expect(existsSync(join(directory, 'x.onnx'))).toBe(false);
  });
});
