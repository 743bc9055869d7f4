import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runCli } from '../support/run-cli.js';
import { scratchDirectory } from '../support/scratch-directory.js';

const SHAPES = 'fixtures/shapes.onnx';
const directory = scratchDirectory('rank-report-html');

async function cli(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, out, err } = await runCli(['rank-report', ...args], { SOURCE_DATE_EPOCH: '1000000000' });
  return { code, stdout: out, stderr: err };
}

test('the name of the output sets the format, and the same models give the same bytes', async () => {
  const path = join(directory, 'report.html');
  expect(await cli(SHAPES, '-o', path)).toMatchObject({ code: 0, stdout: '' });
  const page = readFileSync(path, 'utf8');
  expect(page).toMatch(/^<!doctype html>/);
  expect(page).toContain('2001-09-09');
  expect(page).toContain('>hidden.<wbr>weight</a>');
  expect((await cli(SHAPES, '--format', 'html')).stdout).toBe(page);
});

test('compares any number of models', async () => {
  const { code, stdout } = await cli(SHAPES, SHAPES, SHAPES, '--format', 'html');
  expect(code).toBe(0);
  expect(stdout.match(/name="model"/g)).toHaveLength(3);
});

test.each([
  [[SHAPES, SHAPES, SHAPES, '--top', '3'], '--sort, --top and --assert go with one model or two'],
  [[SHAPES, '--format', 'html', '--top', '3'], '--sort and --top do not go with --format html'],
  [['-', SHAPES, '-', '--format', 'html'], 'only one of the models can come from standard input'],
])('%j', async (args, message) => {
  const { code, stderr } = await cli(...args);
  expect(code).toBe(2);
  expect(stderr).toContain(`error: ${message}`);
});
