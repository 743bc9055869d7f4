import { appendFileSync, copyFileSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { saveModel } from '../../src/graph/index.js';
import { tensorBytes } from '../../src/runtime/io/files.js';
import { buildModel, floats } from '../support/build.js';
import { runCli } from '../support/run-cli.js';
import { scratchDirectory } from '../support/scratch-directory.js';

const directory = scratchDirectory('merge');
const at = (name: string): string => join(directory, name);
const ENV = { SOURCE_DATE_EPOCH: '0' };
const cli = (...args: readonly string[]) => runCli(args, ENV);

const SIZES = [
  [40, 30],
  [7, 90],
  [1, 5],
  [64, 64],
  [70, 80],
  [3, 3],
] as const;

async function save(name: string, seed: number, columns = 30): Promise<void> {
  const sizes = SIZES.map(([m, n], index) => (index === 0 ? [m, columns] : [m, n]) as [number, number]);
  const model = buildModel({
    inputs: sizes.map(([m], index) => [`x${index}`, 'float32', ['n', m]]),
    outputs: sizes.map(([, n], index) => [`y${index}`, 'float32', ['n', n]]),
    nodes: sizes.map((_, index) => ({
      opType: 'MatMul',
      inputs: [`x${index}`, `w${index}`],
      outputs: [`y${index}`],
      name: `fc${index}`,
    })),
    initializers: sizes.map(([m, n], index) =>
      floats(`w${index}`, [m, n], (i) => (index === 5 && i === 4 ? Number.NaN : Math.sin(seed + i * i))),
    ),
  });
  await saveModel(model, at(name), { overwrite: true });
}

beforeAll(async () => {
  await save('a.onnx', 1);
  await save('b.onnx', 2);
});

const shard = async (which: string, folder: string, ...words: readonly string[]) => {
  const made = await cli('rank-report', ...words, '--shard', which, '-o', at(folder), '-q');
  expect([made.code, made.out, made.err]).toEqual([0, '', '']);
  return at(join(folder, `part-${which.replace('/', '-of-')}.jsonl`));
};

/** The bytes of a command that writes a file. */
async function written(name: string, ...words: readonly string[]): Promise<Buffer> {
  const { code, err } = await cli(...words, '-o', at(name), '--overwrite', '-q');
  expect([code, err]).toEqual([0, '']);
  return readFileSync(at(name));
}

describe('the law of shards: any number, in any order, killed in between, give the bytes of the whole', () => {
  const COMMANDS = [
    { words: ['a.onnx', '--randomized', '--seed', '3'], formats: ['json', 'html', 'csv', 'md', 'txt'] },
    {
      words: ['a.onnx', '--metrics', 'all', '--sort', 'effectiveRank', '--top', '3'],
      formats: ['csv', 'txt'],
    },
    { words: ['a.onnx', 'b.onnx', '--only', 'fc[0-4]'], formats: ['json', 'html'] },
    { words: ['a.onnx', 'b.onnx', '--series'], formats: ['csv', 'json'] },
  ] as const;

  test('rank-report', { timeout: 60_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 7 }),
        fc.constantFrom(...COMMANDS),
        fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true })),
        async (of, { words, formats }, chance) => {
          const draw = (): number => chance.next().value as number;
          rmSync(at('parts'), { recursive: true, force: true });
          const files = words.map((word) => (word.endsWith('.onnx') ? at(word) : word));
          const order = Array.from({ length: of }, (_, index) => ({ index, key: draw() }));
          order.sort((a, b) => a.key - b.key);
          for (const { index } of order) {
            const which = `${index + 1}/${of}`;
            const part = await shard(which, 'parts', ...files);
            const whole = readFileSync(part);
            // A process that was killed leaves any number of bytes; the same command goes on from there.
            truncateSync(part, Math.floor(draw() * whole.length));
            await shard(which, 'parts', ...files);
            const lines = (bytes: Buffer): string[] => bytes.toString().split('\n').toSorted();
            expect(lines(readFileSync(part))).toEqual(lines(whole));
          }
          const format = formats[Math.floor(draw() * formats.length)]!;
          const alone = await written(`alone.${format}`, 'rank-report', ...files);
          expect(await written(`merged.${format}`, 'merge', at('parts'))).toEqual(alone);
        },
      ),
      { numRuns: 6 },
    );
  });

  test('a piece that is there is not computed again', async () => {
    const part = await shard('1/1', 'once', at('a.onnx'));
    const before = readFileSync(part);
    const again = await cli('rank-report', at('a.onnx'), '--shard', '1/1', '-o', at('once'));
    expect(again.err).toContain('6 of 6 weights, 6 of them there already');
    expect(readFileSync(part)).toEqual(before);
  });
});

describe('the law of shards of samples', () => {
  const DATA = 'data.npz';
  beforeAll(() => {
    const x = Float32Array.from({ length: 70 * 40 }, (_, i) => Math.cos(i * i));
    const y = BigInt64Array.from({ length: 70 }, (_, i) => BigInt((i * 7) % 30));
    const values = {
      x: { type: 'float32', shape: [70, 40], data: x },
      y: { type: 'int64', shape: [70], data: y },
    } as const;
    writeFileSync(at(DATA), tensorBytes(values, 'npz'));
  });

  test.each([
    [['m.onnx', '--batch', '8'], 3, 'json'],
    [['m.onnx', 'n.onnx', '--batch', '16', '--max-drop', '100'], 4, 'html'],
    [['m.onnx', 'n.onnx', '--unlabeled', '--batch', '11'], 9, 'json'],
    [['m.onnx', 'n.onnx', '--values', '--batch', '30'], 2, 'csv'],
  ] as const)('evaluate %j in %d parts', { timeout: 60_000 }, async (words, of, format) => {
    for (const [name, seed] of [
      ['m.onnx', 1],
      ['n.onnx', 2],
    ] as const) {
      const outputs = words.includes('--values' as never) ? 1 : 30;
      const model = buildModel({
        inputs: [['x', 'float32', ['n', 40]]],
        outputs: [['y', 'float32', ['n', outputs]]],
        nodes: [{ opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }],
        initializers: [floats('w', [40, outputs], (i) => Math.sin(seed + i * i))],
      });
      await saveModel(model, at(name), { overwrite: true });
    }
    const files = words.map((word) => (word.endsWith('.onnx') ? at(word) : word));
    const asked = ['evaluate', ...files, '--data', at(DATA)];
    const folder = `${of}-${format}`;
    for (let part = of; part >= 1; part -= 1) {
      const once = [...asked, '--shard', `${part}/${of}`, '-o', at(folder), '-q'];
      expect(await cli(...once)).toEqual({ code: 0, out: '', err: '' });
      const path = at(join(folder, `part-${part}-of-${of}.jsonl`));
      const whole = readFileSync(path);
      truncateSync(path, Math.floor(0.7 * whole.length));
      expect(await cli(...once)).toEqual({ code: 0, out: '', err: '' });
      expect(readFileSync(path)).toEqual(whole);
    }
    const alone = await written(`alone-${folder}.${format}`, ...asked);
    expect(await written(`merged-${folder}.${format}`, 'merge', at(folder))).toEqual(alone);
    rmSync(at(join(folder, `part-1-of-${of}.jsonl`)));
    expect((await cli('merge', at(folder))).err).toMatch(/pieces are missing: samples \d+ to \d+/);
    expect((await cli('merge', at(folder), '--allow-missing', '-q')).code).toBe(0);
  });
});

describe('what does not belong is named', () => {
  const merge = (...words: readonly string[]) => cli('merge', ...words);

  test('what is missing, and what there is with --allow-missing', async () => {
    await shard('1/3', 'some', at('a.onnx'));
    await shard('3/3', 'some', at('a.onnx'));
    const failed = await merge(at('some'));
    expect([failed.code, failed.out]).toEqual([1, '']);
    expect(failed.err).toMatch(/^error: \d of 6 pieces are missing: w\d.*of shard 2\/3 there is no part/);
    const { code, out, err } = await merge(at('some'), '--allow-missing', '--format', 'json');
    expect([code, err]).toEqual([0, expect.stringMatching(/^warning: \d of 6 pieces are missing/)]);
    const problems = JSON.parse(out).weights.map(({ problem }: { problem?: string }) => problem);
    expect(problems.filter((problem: unknown) => problem === 'no part has it').length).toBeGreaterThan(0);
  });

  test('another input, other options, another number, other kernels, another version', async () => {
    const kept = await shard('1/2', 'kept', at('a.onnx'));
    const other = await shard('2/2', 'kept', at('a.onnx'));
    const whole = readFileSync(other, 'utf8');
    const refused = async (text: string): Promise<string> => {
      writeFileSync(other, text);
      const { code, err } = await merge(at('kept'));
      expect(code).toBe(1);
      return err;
    };
    await save('c.onnx', 1, 31);
    copyFileSync(at('a.onnx'), at('a.old'));
    copyFileSync(at('c.onnx'), at('a.onnx'));
    rmSync(other);
    await shard('2/2', 'kept', at('a.onnx'));
    expect(await refused(readFileSync(other, 'utf8'))).toContain('another input: its header or size differs');
    copyFileSync(at('a.old'), at('a.onnx'));
    rmSync(other);
    await shard('2/2', 'kept', at('a.onnx'), '--rank', '3');
    expect(await refused(readFileSync(other, 'utf8'))).toContain('other options: rank is 3, not not set');
    expect(await refused(whole.replace(/"kernels":"/, '"kernels":"0'))).toContain('other kernels');
    expect(await refused(whole.replace(/"tool":"/, '"tool":"0'))).toContain('another version');
    expect(await refused(whole.replace('"schema":1', '"schema":2'))).toContain('schema 2');
    expect(await refused('{}\n')).toContain('is no part of a result');
    expect(await refused(whole.replace(/\n\{"piece":\d+/, '\n{"piece":77'))).toContain('line 2');
    writeFileSync(other, whole);
    // The same piece of two parts, of which one read other numbers.
    appendFileSync(kept, `${whole.split('\n')[1]!.replace(/"digest":"\w{4}/, '"digest":"0000')}\n`);
    expect((await merge(at('kept'))).err).toContain('the input changed in between');
  });

  test('numbers that changed since a shard was begun', async () => {
    await save('d.onnx', 1);
    await shard('1/1', 'changed', at('d.onnx'));
    await save('d.onnx', 2);
    const { code, err } = await cli('rank-report', at('d.onnx'), '--shard', '1/1', '-o', at('changed'));
    expect([code, err]).toEqual([1, expect.stringContaining('has other numbers than when')]);
  });

  test('what a shard cannot do', async () => {
    const refused = async (...words: readonly string[]): Promise<string> => {
      const { code, err } = await cli('rank-report', at('a.onnx'), ...words);
      expect(code).toBe(2);
      return err;
    };
    expect(await refused('--shard', '1/2')).toContain('pass -o <folder>');
    expect(await refused('--shard', 'auto', '-o', at('x'))).toContain('SLURM_ARRAY_TASK_ID');
    expect(await refused('--shard', '1/2', '-o', at('x'), '--regions')).toContain('--regions');
    expect(await refused('--shard', '1/2', '-o', at('a.onnx'))).toContain('is a file');
    expect((await cli('merge', directory)).err).toContain('has no parts');
  });
});
