import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { scratchDirectory } from '../support/scratch-directory.js';

const MAIN = resolve('dist/bin/onnx-overparam.js');
const SHAPES = resolve('fixtures/shapes.onnx');

/** What a command leaves in a home of its own. */
function left(name: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): string[] {
  const home = scratchDirectory(name);
  const { status, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    // Nothing else: where CI is set, for one, onnxruntime keeps none anyway.
    env: { PATH: process.env.PATH, HOME: home, ...env },
    encoding: 'utf8',
  });
  expect([status, stderr]).toEqual([0, '']);
  return readdirSync(home);
}

test('onnxruntime keeps no book of its use, unless it is told to', ({ skip }) => {
  const run = ['run', SHAPES, '--random', '--quiet'];
  const told = left('reports', run, { ORT_DISABLE_TELEMETRY: '0' });
  skip(told.length === 0, 'this onnxruntime keeps none here');
  expect(told).toEqual(['.cache']);
  expect(left('no-reports', run)).toEqual([]);
  expect(left('no-reports-verify', ['verify', SHAPES, SHAPES, '--quiet'])).toEqual([]);
});
