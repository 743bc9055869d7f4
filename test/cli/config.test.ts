import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { configuredOptions } from '../../src/cli/shell/config.js';
import { runCli } from '../support/run-cli.js';
import { scratchDirectory } from '../support/scratch-directory.js';

const SHAPES = resolve('fixtures/shapes.onnx');
const directory = scratchDirectory('cli-config');
const file = join(directory, 'options.yaml');

async function cli(yaml: string, ...args: readonly string[]) {
  writeFileSync(file, yaml);
  return runCli([...args, '--config', file]);
}

describe('options from a file', () => {
  test('hold for their command, and the command line wins', async () => {
    const yaml = 'rank-report:\n  format: json\n  only: [conv.weight]\nverify:\n  samples: 1\n';
    const { code, out } = await cli(yaml, 'rank-report', SHAPES);
    expect([code, JSON.parse(out).weights.length]).toEqual([0, 1]);
    const csv = await cli(yaml, 'rank-report', SHAPES, '--format', 'csv');
    expect(csv.out.split('\n')[0]).toContain('weight,');
    expect((await cli(yaml, 'verify', SHAPES, SHAPES)).out).toContain('1 random input');
  });

  test('of flags too, by their flag or their key', async () => {
    for (const yaml of ['collapse:\n  dry-run: true\n', 'collapse:\n  dryRun: true\n'])
      expect((await cli(yaml, 'collapse', SHAPES)).code).toBe(0);
    expect((await cli('expand:\n  dry-run: true\n', 'collapse', SHAPES)).code).toBe(2);
  });

  test.each([
    ['rank-report:\n  output: x.json\n', "'output' is of the command line alone"],
    ['rank-report:\n  overwrite: true\n', "'overwrite' is of the command line alone"],
    ['rank-report:\n  formt: json\n', "rank-report has no option 'formt'; did you mean 'format'?"],
    ['rank-report:\n  format: yes\n', 'format must be one of'],
    ['rank-report: 3\n', 'must hold options by name'],
    ['- a\n', 'must hold options by command'],
    ['a: [\n', 'options.yaml: '],
  ])('%j is refused', async (yaml, said) => {
    const { code, out, err } = await cli(yaml, 'rank-report', SHAPES);
    expect([code, out, err]).toEqual([2, '', expect.stringContaining(said)]);
  });

  test('a file of the working directory is read, one that is named must be there', async () => {
    writeFileSync(join(directory, '.onnx-overparam.yaml'), 'verify:\n  samples: 7\n');
    const options = { samples: { kind: 'integer', min: 1, help: 'samples' } } as const;
    expect(await configuredOptions('verify', options, undefined, directory)).toEqual({ samples: 7 });
    expect(await configuredOptions('run', options, undefined, directory)).toEqual({});
    await expect(configuredOptions('verify', options, join(directory, 'none'))).rejects.toThrow(
      /no such file/,
    );
  });
});
