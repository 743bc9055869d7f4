import { spawnSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  cpSync,
  existsSync,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { run } from '../../src/cli/run.js';
import type { Io } from '../../src/cli/shell/io.js';
import { readModel, saveModel } from '../../src/graph/index.js';
import { buildModel, floats } from '../support/build.js';
import { directoryForEach, scratchDirectory } from '../support/scratch-directory.js';

const MAIN = resolve('dist/bin/onnx-overparam.js');
const SHAPES = resolve('fixtures/shapes.onnx');
const FULL = '/dev/full';

const root = scratchDirectory('cli-outputs');
let directory = root;
directoryForEach(root, (made) => {
  directory = made;
});
/** What inputs() made first. */
const prepared = join(root, 'prepared');
const path = (name: string): string => join(directory, name);

interface Result {
  readonly code: number | null;
  readonly stderr: string;
}

/** Runs a command in this process with standard output, or stderr, going to a file; names in the directory are meant by '@'. */
async function cli(args: readonly string[], stdout?: number, stderr?: number): Promise<Result> {
  const talk: string[] = [];
  const sink = (descriptor: number | undefined, text?: string[]): Io['stdout'] =>
    Object.assign(
      new Writable({
        write: (chunk: Buffer, _, done) => {
          text?.push(chunk.toString());
          done(descriptor === undefined || text === undefined ? undefined : new Error('no space'));
        },
      }).on('error', () => undefined),
      descriptor === undefined ? {} : { fd: descriptor },
    );
  const stdin = Object.assign(Readable.from([]), { isTTY: false });
  const io: Io = { stdin, stdout: sink(stdout), stderr: sink(stderr, talk), env: {} };
  const code = await run(
    args.map((word) => word.replace('@', `${directory}/`)),
    io,
  );
  return { code, stderr: talk.join('') };
}

/** A model with its weights in `weights.bin`, and other inputs of commands. */
async function inputs(): Promise<void> {
  if (existsSync(prepared)) return cpSync(prepared, directory, { recursive: true });
  await saveModel(await readModel(SHAPES), path('m.onnx'), { external: 'always' });
  copyFileSync(SHAPES, path('plain.onnx'));
  writeFileSync(path('data.csv'), 'a,b,y\n1,2,0\n3,4,1\n5,6,0\n');
  writeFileSync(path('recipe.json'), '[]');
  writeFileSync(path('x.npz'), '');
  writeFileSync(path('log.jsonl'), '{}\n');
  cpSync(directory, prepared, { recursive: true });
}

describe('an output that is an input is refused, and the input stays', () => {
  test.each([
    [['expand', '@m.onnx', '-o', '@m.onnx.data'], 'm.onnx.data'],
    [['collapse', '@m.onnx', '-o', '@m.onnx.data'], 'm.onnx.data'],
    [['gradient', '@m.onnx', '--loss', 'sum', '-o', '@m.onnx.data'], 'm.onnx.data'],
    [['expand', '@plain.onnx', '--recipe', '@recipe.json', '-o', '@recipe.json'], 'recipe.json'],
    [['rank-report', '@m.onnx', '-o', '@m.onnx', '--format', 'csv'], 'm.onnx'],
    [['rank-report', '@m.onnx', '-o', '@m.onnx.data', '--format', 'json'], 'm.onnx.data'],
    [['rank-report', '@plain.onnx', '@m.onnx', '-o', '@m.onnx', '--format', 'md'], 'm.onnx'],
    [['rank-report', '@plain.onnx', '--data', '@data.csv', '-o', '@data.csv'], 'data.csv'],
    [
      ['evaluate', '@plain.onnx', '@m.onnx', '--data', '@data.csv', '-o', '@m.onnx', '--format', 'md'],
      'm.onnx',
    ],
    [['evaluate', '@m.onnx', '--data', '@data.csv', '-o', '@m.onnx.data', '--format', 'csv'], 'm.onnx.data'],
    [['evaluate', '@plain.onnx', '--data', '@data.csv', '-o', '@data.csv'], 'data.csv'],
    [['diff', '@plain.onnx', '@m.onnx', '-o', '@m.onnx.data', '--format', 'csv'], 'm.onnx.data'],
    [['diff', '@plain.onnx', '@m.onnx', '-o', '@plain.onnx', '--format', 'csv'], 'plain.onnx'],
    [['extract', '@m.onnx', '-o', '@m.onnx.data'], 'm.onnx.data'],
    [['infer', '@m.onnx', '-o', '@m.onnx.data'], 'm.onnx.data'],
    [['convert', '@m.onnx', '--type', 'float16', '-o', '@m.onnx.data'], 'm.onnx.data'],
    [['run', '@plain.onnx', '-i', 'x=@x.npz', '-o', '@x.npz'], 'x.npz'],
    [['run', '@m.onnx', '--bench', '-o', '@m.onnx', '--format', 'json'], 'm.onnx'],
    [['run', '@m.onnx', '--bench', '-o', '@m.onnx.data', '--format', 'json'], 'm.onnx.data'],
    [['train', '@m.onnx', '--data', '@data.csv', '-o', '@m.onnx.data'], 'm.onnx.data'],
    [['train', '@plain.onnx', '--data', '@data.csv', '-o', '@data.csv'], 'data.csv'],
    [['train', '@plain.onnx', '--data', '@data.csv', '-o', '@t.onnx', '--log', '@data.csv'], 'data.csv'],
    [['train', '@plain.onnx', '--data', '@data.csv', '-o', '@t.onnx', '--html', '@plain.onnx'], 'plain.onnx'],
    [['train', '@plain.onnx', '--data', '@data.csv', '--teacher', '@m.onnx', '-o', '@m.onnx'], 'm.onnx'],
    [['train-log', '@log.jsonl', '-o', '@log.jsonl'], 'log.jsonl'],
  ])('%j', async (args, file) => {
    await inputs();
    const before = new Map(readdirSync(directory).map((name) => [name, readFileSync(path(name))]));
    const { code, stderr } = await cli([...args, '--overwrite']);
    expect(stderr).toContain('would destroy the input ');
    expect(stderr).toContain(file);
    expect(code).toBe(2);
    expect(new Map(readdirSync(directory).map((name) => [name, readFileSync(path(name))]))).toEqual(before);
  });

  test('under another name of the file, and as what standard output goes to', async () => {
    await inputs();
    linkSync(path('m.onnx.data'), path('hard'));
    symlinkSync('plain.onnx', path('soft.csv'));
    const before = readFileSync(path('plain.onnx'));
    for (const args of [
      ['expand', '@m.onnx', '-o', '@hard', '--overwrite'],
      ['rank-report', '@plain.onnx', '-o', '@soft.csv', '--overwrite'],
    ])
      expect(await cli(args)).toMatchObject({ code: 2, stderr: expect.stringContaining('would destroy') });
    const descriptor = openSync(path('plain.onnx'), 'a');
    for (const args of [
      ['rank-report', '@plain.onnx'],
      ['expand', '@plain.onnx', '-o', '-'],
      ['verify', '@plain.onnx', SHAPES],
    ])
      expect(await cli(args, descriptor)).toMatchObject({
        code: 2,
        stderr: expect.stringContaining('standard output would destroy the input '),
      });
    closeSync(descriptor);
    expect(readFileSync(path('plain.onnx'))).toEqual(before);
  });

  test('two outputs that are one file', async () => {
    await inputs();
    const args = ['train', '@plain.onnx', '--data', '@data.csv', '-o', '@t.onnx', '--html', '@new', '--log'];
    const { code, stderr } = await cli([...args, '@./new']);
    expect(stderr).toContain('--log and --html name one file');
    expect([code, existsSync(path('new'))]).toEqual([2, false]);
  });

  test('but a model may replace itself, whole', async () => {
    await inputs();
    expect(await cli(['expand', '@m.onnx', '-o', '@m.onnx', '--overwrite'])).toEqual({ code: 0, stderr: '' });
    expect((await cli(['verify', '@m.onnx', '@plain.onnx'])).code).toBe(0);
  });
});

test('a data file that another model reads is kept and told', async () => {
  await inputs();
  copyFileSync(path('m.onnx'), path('other.onnx'));
  const { code, stderr } = await cli(['expand', '@plain.onnx', '-o', '@m.onnx', '--overwrite']);
  expect([code, stderr]).toEqual([
    0,
    `note: ${path('m.onnx.data')} stays, which the replaced model read: another model may read it too\n`,
  ]);
  expect((await cli(['verify', '@other.onnx', '@plain.onnx'])).code).toBe(0);
});

describe.skipIf(!existsSync(FULL))('standard output that takes nothing', () => {
  test.each([
    ['--help'],
    ['expand', '--help'],
    ['--version'],
    ['completion'],
    ['rank-report', SHAPES],
    ['rank-report', SHAPES, '--format', 'json'],
    ['rank-report', SHAPES, '--format', 'csv'],
    ['rank-report', SHAPES, '--format', 'md'],
    ['rank-report', SHAPES, '--format', 'html'],
    ['expand', SHAPES, '-o', '-'],
    ['expand', SHAPES, '--dry-run'],
    ['collapse', SHAPES, '-o', '-'],
    ['verify', SHAPES, SHAPES],
    ['run', SHAPES, '--random', '-o', '-'],
    ['doctor', '--ep', 'cpu'],
  ])('%s %s %s %s: one line and exit 1', async (...args) => {
    const full = openSync(FULL, 'w');
    expect(await cli(args, full)).toEqual({
      code: 1,
      stderr: 'error: standard output: cannot be written: no space left; the output is not complete\n',
    });
    closeSync(full);
  });

  test('also of the process itself', () => {
    const full = openSync(FULL, 'w');
    const { status, stderr } = spawnSync(process.execPath, [MAIN, 'rank-report', SHAPES], {
      stdio: ['ignore', full, 'pipe'],
      encoding: 'utf8',
    });
    expect(stderr.trim().split('\n')).toEqual([
      'error: standard output: cannot be written: no space left; the output is not complete',
    ]);
    expect(status).toBe(1);
    closeSync(full);
  });

  test('but stderr that takes nothing does not end the work', async () => {
    const full = openSync(FULL, 'w');
    const args = ['expand', SHAPES, '-o', '@out.onnx'];
    expect((await cli(args, undefined, full)).code).toBe(0);
    expect(statSync(path('out.onnx')).size).toBeGreaterThan(0);
    expect((await cli(['expand', SHAPES], undefined, full)).code).toBe(2);
    closeSync(full);
  });
});

test.skipIf(process.platform === 'win32')('output that is cut short is an error', () => {
  // The shell lets files grow to some kilobytes, so that a write takes a part of what it is given.
  const script = `ulimit -f 8; exec "${process.execPath}" "${MAIN}" expand "${SHAPES}" -o - > out.onnx`;
  const { status, stderr } = spawnSync('sh', ['-c', script], { cwd: directory, encoding: 'utf8' });
  expect(stderr).toMatch(/^error: standard output: cannot be written: .*\n$/);
  expect(status).toBe(1);
  expect(statSync(path('out.onnx')).size).toBeGreaterThan(0);
});

test('what a check found does not change because nobody reads it', async () => {
  const script = (args: string): string => `"${process.execPath}" "${MAIN}" ${args}; echo $? >&2`;
  for (const [args, code] of [
    [`rank-report "${SHAPES}" --assert 'stableRank(*) < 0'`, 1],
    [`rank-report "${SHAPES}"`, 0],
  ] as const) {
    const { stderr } = spawnSync('sh', ['-c', `(${script(args)}) | true`], { encoding: 'utf8' });
    expect(stderr.trim().split('\n').at(-1)).toBe(String(code));
  }
});

describe('what would change nothing is not written', () => {
  test.each([
    [['expand', SHAPES, '--only', 'nosuch*'], 2, "--only 'nosuch*' matches no linear layer; there are: "],
    [['expand', SHAPES, '--only', 'nosuch*', '--dry-run'], 2, "--only 'nosuch*' matches no linear layer"],
    [
      ['rank-report', SHAPES, '--only', 'nosuch*', '--format', 'csv'],
      2,
      "--only 'nosuch*' matches no weight or node",
    ],
    [['rank-report', SHAPES, '--format', 'csv', '--assert', 'stableRank(nosuch*) > 0'], 2, 'nosuch*'],
    [['rank-report', SHAPES], 2, 'no format of a report ends in .pdf'],
  ])('%j', async (args, code, message) => {
    const told = await cli([...args, '-o', code === 2 && args.length === 2 ? '@r.pdf' : '@out.onnx']);
    expect(told.stderr).toContain(message);
    expect([told.code, readdirSync(directory)]).toEqual([code, []]);
  });
});

test.each([
  '__proto__',
  'constructor',
  'toString',
])('a model whose values are named %s runs', async (name) => {
  const model = buildModel({
    inputs: [[name, 'float32', [2, 2]]],
    outputs: [['y', 'float32', [2, 2]]],
    nodes: [{ opType: 'MatMul', inputs: [name, 'w'], outputs: ['y'] }],
    initializers: [floats('w', [2, 2])],
  });
  await saveModel(model, path('n.onnx'));
  for (const args of [
    ['run', '@n.onnx', '--random'],
    ['verify', '@n.onnx', '@n.onnx'],
  ])
    expect(await cli(args)).toMatchObject({ code: 0, stderr: '' });
});
