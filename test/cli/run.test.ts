import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { nearest } from '../../src/cli/shell/suggest.js';

const MAIN = resolve('dist/bin/onnx-overparam.js');
const SHAPES = resolve('fixtures/shapes.onnx');

let directory = '';
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'onnx-overparam-cli-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

interface Result {
  readonly code: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

function start(args: readonly string[], env: Record<string, string> = {}): ChildProcess {
  return spawn(process.execPath, [MAIN, ...args], { cwd: directory, env: { ...process.env, ...env } });
}

function cli(
  args: readonly string[],
  options: { input?: Uint8Array; env?: Record<string, string> } = {},
): Promise<Result> {
  return new Promise((done) => {
    const child = start(args, options.env);
    const out: Buffer[] = [];
    let stderr = '';
    child.stdout!.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr!.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    child.on('close', (code) => done({ code, stdout: Buffer.concat(out), stderr }));
    child.stdin!.on('error', () => undefined).end(options.input);
  });
}

const path = (name: string): string => join(directory, name);

describe('help', () => {
  test.each(['', 'expand', 'collapse', 'rank-report', 'verify'])('%s --help', async (command) => {
    const begin = performance.now();
    const { code, stdout, stderr } = await cli([...(command ? [command] : []), '--help']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.toString()).toContain('Examples:');
    expect(stdout.toString()).toContain(`onnx-overparam ${command}`);
    // Some 0.2 s; the bound is for a machine that does other things as well.
    expect(performance.now() - begin).toBeLessThan(3000);
  });

  test('the version is the one of the package', async () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    const { code, stdout } = await cli(['--version']);
    expect([code, stdout.toString().trim()]).toEqual([0, version]);
  });

  test('completion: a script, and the words it asks for', async () => {
    expect((await cli(['completion'])).stdout.toString()).toContain('onnx-overparam');
    const words = await cli(['--get-yargs-completions', 'onnx-overparam', '']);
    expect(words.stdout.toString().split('\n')).toEqual(
      expect.arrayContaining(['expand', 'collapse', 'rank-report', 'verify']),
    );
  });
});

describe('wrong command lines: exit 2 and one line that says what to do', () => {
  test.each([
    [[], 'no command'],
    [['expand'], 'a model file is missing'],
    [['verify', 'a.onnx'], 'a model file is missing'],
    [['expnd', SHAPES], "unknown command 'expnd'; did you mean expand?"],
    [['expand', SHAPES, '--depht', '3'], 'unknown option --depht; did you mean --depth?'],
    [['expand', SHAPES, 'other.onnx', '-o', 'x'], "'other.onnx' is one argument too many"],
    [['expand', SHAPES], 'no output: pass -o <file>'],
    [['expand', SHAPES, '-o'], '-o needs a value'],
    [['expand', SHAPES, '-o', 'x', '--depth', '0'], '--depth must be an integer ≥ 1 and ≤ 1000, is 0'],
    [['expand', SHAPES, '-o', 'x', '--depth', 'two'], '--depth must be an integer ≥ 1 and ≤ 1000, is NaN'],
    [['expand', SHAPES, '-o', 'x', '--depth', '1.5'], '--depth must be an integer ≥ 1 and ≤ 1000, is 1.5'],
    [['expand', SHAPES, '-o', 'x', '--width', '0'], '--width must be a number > 0, is 0'],
    [['expand', SHAPES, '-o', 'x', '--seed', '-1'], '--seed must be an integer ≥ 0, is -1'],
    [
      ['expand', SHAPES, '-o', 'x', '--init', 'zero'],
      '--init must be one of balanced, identity, orthogonal, fresh:kaiming',
    ],
    [['expand', SHAPES, '-o', 'x', '-o', 'y'], '--output is given more than once'],
    [
      ['rank-report', SHAPES, '--format', 'xml'],
      '--format must be one of table, json, csv, md, html, not "xml"',
    ],
    [['rank-report', SHAPES, '--spectra'], '--spectra goes with --format json'],
    [['rank-report', '-', '-'], 'only one of the models can come from standard input'],
    [['verify', SHAPES, SHAPES, '--samples', '0'], '--samples must be an integer ≥ 1 and ≤ 1000000, is 0'],
    [['verify', SHAPES, SHAPES, '--tolerance', '-1'], '--tolerance must be a number ≥ 0, is -1'],
    [['verify', SHAPES, SHAPES, '--dim', 'batch'], "--dim must be name=size with a size ≥ 0, is 'batch'"],
  ])('%j', async (args, message) => {
    const { code, stdout, stderr } = await cli(args);
    expect(stderr).toContain(`error: ${message}`);
    expect(stderr.trimEnd().split('\n')).toHaveLength(2);
    expect([code, stdout.length]).toEqual([2, 0]);
  });
});

describe('bad input: exit 1, one line, no file', () => {
  test('not a model, empty, truncated, missing, a directory, a directory that is not there', async () => {
    writeFileSync(path('text.onnx'), 'this is no model\n');
    writeFileSync(path('empty.onnx'), '');
    writeFileSync(path('short.onnx'), readFileSync(SHAPES).subarray(0, 1000));
    const cases: [string[], string][] = [
      [['expand', 'text.onnx', '-o', 'out.onnx'], 'text.onnx: '],
      [['expand', 'empty.onnx', '-o', 'out.onnx'], 'empty.onnx: '],
      [['collapse', 'short.onnx', '-o', 'out.onnx'], 'short.onnx: '],
      [['rank-report', 'nosuch.onnx'], 'nosuch.onnx: no such file'],
      [['rank-report', '.'], '.: is a folder with none of model.safetensors'],
      [['collapse', '.', '-o', 'out.onnx'], '.: is a directory'],
      [['verify', SHAPES, 'nosuch.onnx'], 'nosuch.onnx: no such file'],
      [['expand', SHAPES, '-o', 'no/such/out.onnx'], 'its directory does not exist'],
      [['verify', SHAPES, SHAPES, '--dim', 'nosuch=3'], 'nosuch'],
    ];
    const before = readdirSync(directory).sort();
    for (const [args, message] of cases) {
      const { code, stdout, stderr } = await cli(args);
      expect(stderr).toMatch(/^error: /);
      expect(stderr).toContain(message);
      expect(stderr.trimEnd().split('\n').length, stderr).toBeLessThanOrEqual(2);
      expect(stderr).not.toMatch(/^\s+at /m);
      expect([code, stdout.length]).toEqual([1, 0]);
    }
    expect(readdirSync(directory).sort()).toEqual(before);
    expect((await cli(['rank-report', 'text.onnx', '--verbose'])).stderr).toMatch(/^\s+at /m);
  });

  test('an output that exists is kept without --overwrite, and so is an input named as output', async () => {
    writeFileSync(path('kept.onnx'), 'old');
    const kept = await cli(['expand', SHAPES, '-o', 'kept.onnx']);
    expect([kept.code, readFileSync(path('kept.onnx'), 'utf8')]).toEqual([1, 'old']);
    expect(kept.stderr).toBe('error: kept.onnx: exists already; pass --overwrite to replace it\n');
    copyFileSync(SHAPES, path('same.onnx'));
    expect((await cli(['expand', 'same.onnx', '-o', 'same.onnx'])).code).toBe(1);
    expect(readFileSync(path('same.onnx')).equals(readFileSync(SHAPES))).toBe(true);
    expect((await cli(['expand', 'same.onnx', '-o', 'same.onnx', '--overwrite'])).code).toBe(0);
    expect(readFileSync(path('same.onnx')).equals(readFileSync(SHAPES))).toBe(false);
    writeFileSync(path('kept.json'), 'old');
    expect((await cli(['rank-report', SHAPES, '-o', 'kept.json'])).code).toBe(1);
    expect(readFileSync(path('kept.json'), 'utf8')).toBe('old');
  });
});

describe('the commands', () => {
  test('expand, verify, collapse, verify, compare', async () => {
    const expanded = await cli(['expand', SHAPES, '-o', 'expanded.onnx', '--depth', '3']);
    expect([expanded.code, expanded.stderr]).toEqual([0, '']);
    expect(expanded.stdout.toString()).toContain('9 layers became 27');
    expect((await cli(['verify', SHAPES, 'expanded.onnx'])).code).toBe(0);
    const collapsed = await cli(['collapse', 'expanded.onnx', '-o', 'collapsed.onnx', '--format', 'json']);
    expect(JSON.parse(collapsed.stdout.toString())).toMatchObject({
      kind: 'collapse',
      output: 'collapsed.onnx',
    });
    const verified = await cli(['verify', SHAPES, 'collapsed.onnx', '--quiet']);
    expect([verified.code, verified.stdout.length, verified.stderr]).toEqual([0, 0, '']);
    const compared = await cli(['rank-report', SHAPES, 'collapsed.onnx']);
    expect(compared.stdout.toString()).not.toContain('Only in');
    const strict = await cli(['verify', SHAPES, 'expanded.onnx', '--tolerance', '1e-12']);
    expect([strict.code, strict.stderr]).toEqual([1, '']);
    expect(strict.stdout.toString()).toContain('DIFFERS');
  });

  test('a dry run writes nothing', async () => {
    const before = readdirSync(directory).sort();
    const { code, stdout } = await cli(['expand', SHAPES, '-o', 'dry.onnx', '--dry-run']);
    expect(code).toBe(0);
    expect(stdout.toString()).toContain('Dry run: nothing was written.');
    expect(readdirSync(directory).sort()).toEqual(before);
  });

  test('from standard input to standard output, the account on stderr; the same seed, the same bytes', async () => {
    const input = readFileSync(SHAPES);
    const piped = await cli(['expand', '-', '-o', '-', '--width', '2'], { input });
    expect(piped.code).toBe(0);
    expect(piped.stderr).toContain('Written to standard output.');
    await cli(['expand', SHAPES, '-o', 'seeded.onnx', '--width', '2', '--quiet']);
    expect(piped.stdout.equals(readFileSync(path('seeded.onnx')))).toBe(true);
    expect((await cli(['verify', SHAPES, '-'], { input: piped.stdout })).code).toBe(0);
    const bad = await cli(['rank-report', '-'], { input: Buffer.from('no model') });
    expect([bad.code, bad.stderr.startsWith('error: ')]).toEqual([1, true]);
  });

  test('a report goes to a file whose name tells the format', async () => {
    const { code, stdout } = await cli(['rank-report', SHAPES, '--spectra', '-o', 'report.json']);
    expect([code, stdout.length]).toEqual([0, 0]);
    const report = JSON.parse(readFileSync(path('report.json'), 'utf8')) as {
      weights: { singularValues: number[] }[];
    };
    expect(report.weights[0]!.singularValues).toHaveLength(9);
    await cli(['rank-report', SHAPES, '-o', 'report.csv']);
    expect(readFileSync(path('report.csv'), 'utf8')).toMatch(/^weight,nodes,op,.*\r\n/);
  });
});

describe('the terminal', () => {
  test('COLUMNS sets the width, and output that is no terminal has no colour', async () => {
    const { stdout } = await cli(['rank-report', SHAPES], { env: { COLUMNS: '80' } });
    for (const line of stdout.toString().split('\n')) expect([...line].length).toBeLessThanOrEqual(80);
    expect(stdout.toString()).not.toContain('\u001b');
  });

  test('a reader that goes away is no error', async () => {
    const child = start(['rank-report', SHAPES, '--format', 'json']);
    child.stdout!.destroy();
    let stderr = '';
    child.stderr!.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const code = await new Promise((done) => child.on('close', done));
    expect([code, stderr]).toEqual([0, '']);
  });
});

test('the nearest word', () => {
  const words = ['depth', 'width', 'dry-run', 'overwrite', 'output', 'init'];
  expect(nearest('detph', words)).toBe('depth');
  expect(nearest('dryrun', words)).toBe('dry-run');
  expect(nearest('over', words)).toBe('overwrite');
  expect(nearest('banana', words)).toBeUndefined();
});
