import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { parse } from 'yaml';
import { buildModel, modelToBytes } from '../../src/index.js';
import { ROOT } from '../entries/surface.js';
import { floats } from '../support/build.js';
import { scratchDirectory } from '../support/scratch-directory.js';

const directory = scratchDirectory('rank-check');
const at = (...names: string[]): string => join(directory, ...names);
const run = (command: string, args: readonly string[], env: Record<string, string> = {}) =>
  spawnSync(command, args, {
    cwd: at('repository'),
    encoding: 'utf8',
    env: { ...process.env, ...env, PATH: `${at('bin')}:${process.env.PATH}` },
  });
const git = (...args: string[]): string => {
  const { status, stdout, stderr } = run('git', ['-c', 'user.name=t', '-c', 'user.email=t@t', ...args]);
  expect(status, stderr).toBe(0);
  return stdout.trim();
};
const model = (value: (i: number) => number): Uint8Array =>
  modelToBytes(
    buildModel({
      inputs: [['x', 'float32', ['n', 4]]],
      outputs: [['y', 'float32', ['n', 4]]],
      nodes: [{ opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }],
      initializers: [floats('w', [4, 4], value)],
    }),
  );

let base = '';
beforeAll(() => {
  mkdirSync(at('repository'));
  mkdirSync(at('bin'));
  writeFileSync(
    at('bin/onnx-overparam'),
    `#!/bin/sh\nexec "${process.execPath}" "${join(ROOT, 'dist/bin/onnx-overparam.js')}" "$@"\n`,
  );
  chmodSync(at('bin/onnx-overparam'), 0o755);
  git('init', '-q');
  writeFileSync(
    at('repository/a model.onnx'),
    model((i) => (i % 5 === 0 ? 1 : 0)),
  );
  writeFileSync(at('repository/same.onnx'), model(Math.sin));
  git('add', '-A');
  git('commit', '-qm', 'one');
  base = git('rev-parse', 'HEAD');
  // Of rank 1 now.
  writeFileSync(
    at('repository/a model.onnx'),
    model(() => 1),
  );
  writeFileSync(at('repository/new.onnx'), model(Math.cos));
  git('add', '-A');
  git('commit', '-qm', 'two');
});

function check(ASSERT: string, BASE = base): { code: number | null; out: string; summary: string } {
  rmSync(at('summary.md'), { force: true });
  const script = join(ROOT, 'scripts/rank-check.sh');
  const { status, stdout, stderr } = run('bash', [script], {
    ASSERT,
    BASE,
    GITHUB_STEP_SUMMARY: at('summary.md'),
  });
  return { code: status, out: stdout + stderr, summary: readFileSync(at('summary.md'), 'utf8') };
}

test.skipIf(process.platform === 'win32')(
  'the models that changed are reported beside what they were',
  () => {
    const { code, out, summary } = check('effectiveRank(*) > 0.5');
    expect(code, out).toBe(0);
    expect(summary).toMatch(/### a model\.onnx\n\n# before\.onnx → a model\.onnx/);
    expect(summary).toContain('### new.onnx');
    expect(summary).not.toContain('same.onnx');
    expect(summary).not.toContain('/tmp');
  },
);

test.skipIf(process.platform === 'win32')(
  'a check that does not hold fails, and is not asked of new models',
  () => {
    const { code, out, summary } = check('effectiveRank(*) > 0.9*before');
    expect(code).toBe(1);
    expect(out).toContain('::error file=a model.onnx::');
    expect(out).not.toContain('new.onnx::');
    expect(summary).toContain('Does not hold');
    expect(check('', 'HEAD').summary).toBe('No model changed.\n');
  },
);

test('the action and the hooks name what is there', () => {
  const action = parse(readFileSync(join(ROOT, 'action.yml'), 'utf8'));
  const steps: { run: string; env: Record<string, string> }[] = action.runs.steps;
  expect(steps.at(-1)?.run).toContain('/scripts/rank-check.sh');
  const used = Object.values(steps.flatMap(({ env }) => Object.values(env))).map(
    (text) => /inputs\.(\w+)/.exec(text)?.[1],
  );
  expect(used.sort()).toEqual(Object.keys(action.inputs).sort());
  const hooks: { id: string; entry: string; files: string }[] = parse(
    readFileSync(join(ROOT, '.pre-commit-hooks.yaml'), 'utf8'),
  );
  const [hook] = hooks;
  const command = `${hook?.entry} 'a model.onnx' same.onnx`;
  expect(run('bash', ['-c', command]).status).toBe(0);
  copyFileSync(join(ROOT, 'README.md'), at('repository/broken.onnx'));
  expect(run('bash', ['-c', `${command} broken.onnx`]).status).toBe(1);
});
