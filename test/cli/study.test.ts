import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { scratchDirectory } from '../support/scratch-directory.js';

const MAIN = resolve('dist/bin/onnx-overparam.js');
const directory = scratchDirectory('cli-study');

function cli(...args: readonly string[]) {
  return spawnSync(process.execPath, [MAIN, 'study', ...args], {
    encoding: 'utf8',
    cwd: directory,
    env: { ...process.env, SOURCE_DATE_EPOCH: '1700000000', NO_COLOR: '1' },
  });
}

describe('study', () => {
  test('JSON has rows with settings by name, and the verdict; quiet says nothing else', () => {
    const { status, stdout, stderr } = cli('init', '--seeds', '2', '-q', '--format', 'json');
    expect([status, stderr]).toEqual([0, '']);
    const { kind, verdict, rows } = JSON.parse(stdout);
    expect([kind, verdict]).toEqual(['study', { init: 'does not hold' }]);
    expect(rows).toContainEqual({
      study: 'init',
      activation: 'relu',
      initialization: 'normal',
      depth: 8,
      width: 32,
      metric: 'cosineEntropy',
      mean: expect.any(Number),
      low: expect.any(Number),
      high: expect.any(Number),
      n: 2,
    });
  });

  test('a folder has runs, times, figures, a page and plots, and the report draws the same again', () => {
    const { status, stderr } = cli('init', '--seeds', '2', '--out', 'o');
    expect([status, stderr]).toEqual([0, expect.stringContaining('written to o')]);
    expect(readdirSync(join(directory, 'o')).sort()).toEqual(
      ['plots', 'report.html', 'report.json', 'runs.csv', 'runs.jsonl', 'times.jsonl'].sort(),
    );
    const plots = readdirSync(join(directory, 'o/plots'));
    expect(plots.filter((name) => name.endsWith('.svg'))).toHaveLength(6);
    expect(plots.filter((name) => name.endsWith('.png'))).toHaveLength(6);
    const lines = readFileSync(join(directory, 'o/runs.jsonl'), 'utf8').split('\n');
    expect(JSON.parse(lines[0]!)).toMatchObject({
      study: 'init',
      command: expect.stringContaining('study init'),
    });
    expect(lines).toHaveLength(42);
    const csv = readFileSync(join(directory, 'o/runs.csv'), 'utf8').trim().split('\r\n');
    expect(csv[0]).toBe(
      'study,activation,initialization,depth,width,seed,converged,problem,cosineEntropy,gramEntropy',
    );
    expect(csv).toHaveLength(41);
    for (const [format, name] of [
      ['json', 'report.json'],
      ['html', 'report.html'],
      ['csv', 'runs.csv'],
    ] as const) {
      const again = cli('report', 'o/runs.jsonl', '--format', format);
      expect(again.status).toBe(0);
      expect(again.stdout).toBe(readFileSync(join(directory, 'o', name), 'utf8'));
    }
  });

  test('the same command goes on from what is there; --overwrite begins anew', () => {
    const before = readFileSync(join(directory, 'o/runs.jsonl'), 'utf8');
    expect(cli('init', '--seeds', '2', '--out', 'o', '-q').status).toBe(0);
    expect(readFileSync(join(directory, 'o/runs.jsonl'), 'utf8')).toBe(before);
    expect(cli('init', '--seeds', '1', '--out', 'o', '-q', '--overwrite').status).toBe(0);
    expect(readFileSync(join(directory, 'o/runs.jsonl'), 'utf8').split('\n')).toHaveLength(22);
  });

  test('--only runs a part; what no settings have is refused', () => {
    const only = ['--only', 'depth=1', '--only', 'activation=relu', '--format', 'json', '-q'];
    const { stdout, status } = cli('init', '--seeds', '1', ...only);
    expect(status).toBe(0);
    const rows: { depth: number; activation: string }[] = JSON.parse(stdout).rows;
    expect(rows.length).toBeGreaterThan(0);
    expect(rows.every(({ depth, activation }) => depth === 1 && activation === 'relu')).toBe(true);
    expect(cli('init', '--only', 'depth=3')).toMatchObject({
      status: 2,
      stderr: expect.stringContaining("--only has no runs of depth '3'; there are 1, 2, 4, 8, 16"),
    });
  });

  test('the list has all studies, in all forms', () => {
    expect(cli('--list').stdout).toContain('init');
    expect(JSON.parse(cli('--list', '--format', 'json').stdout).studies[0]).toMatchObject({
      study: 'init',
      seeds: 32,
      runs: 640,
    });
    expect(cli('--list', '--format', 'csv').stdout.split('\r\n')[0]).toContain('study,question,runs');
  });

  test("somebody else's files stay", () => {
    writeFileSync(join(directory, 'report.html'), 'mine');
    const { status, stderr } = cli('init', '--seeds', '1', '--out', '.');
    expect([status, stderr]).toEqual([2, expect.stringContaining('--overwrite')]);
    expect(existsSync(join(directory, 'runs.jsonl'))).toBe(false);
  });

  test.each([
    [[], 'which study'],
    [['inti'], 'did you mean init'],
    [['init', 'more'], 'one argument too many'],
    [['init', '--all'], '--all'],
    [['--all'], '--out'],
    [['init', '--shard', '5/4', '--out', 's'], '--shard'],
    [['init', '--shard', '1/2'], '--out'],
    [['init', '--seeds', '0'], '--seeds'],
    [['report'], 'files of runs'],
    [['report', 'o/runs.jsonl', '--seeds', '3'], '--seeds'],
    [['custom'], 'plan.yaml'],
    [['--list', '--format', 'html'], 'no page'],
  ])('%j is refused', (args, message) => {
    const { status, stderr } = cli(...args);
    expect([status, stderr]).toEqual([2, expect.stringContaining(message)]);
  });

  test.each([['missing.jsonl'], ['report.html']])('report of %s says what is wrong with it', (file) => {
    const { status, stderr } = cli('report', file);
    expect([status, stderr]).toEqual([1, expect.stringContaining(file)]);
  });
});
