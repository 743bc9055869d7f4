import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ModelError } from '../../src/graph/index.js';
import { initStudy } from '../../src/study/studies/init.js';
import type { RunRecord } from '../../src/study/study.js';
import { planOf, sharded } from '../../src/study/sweep/plan.js';
import { reportRuns, runStudy } from '../../src/study/sweep/run-study.js';
import { parseRuns, runLine } from '../../src/study/sweep/runs-file.js';
import { scratchDirectory } from '../support/scratch-directory.js';

const directory = scratchDirectory('sweep');
let count = 0;
const fresh = (): string => {
  count += 1;
  return join(directory, `runs-${count}.jsonl`);
};

/** The lines of the runs, in an order that does not depend on which was done first. */
function lines(file: string): string[] {
  return readFileSync(file, 'utf8').split('\n').slice(1, -1).sort();
}

describe('the file of a sweep', () => {
  test('the same bytes for each run, however many run beside it, of however many seeds', async () => {
    const [one, two] = [fresh(), fresh()];
    await runStudy('init', { seeds: 1, threads: 1, runs: one });
    await runStudy('init', { seeds: 3, threads: 3, runs: two });
    expect(lines(one)).toHaveLength(20);
    expect(lines(two)).toHaveLength(60);
    expect(lines(two)).toEqual(expect.arrayContaining(lines(one)));
  });

  test('what a kill left goes on to the same runs: half a line is made anew, whole ones stay', async () => {
    const file = fresh();
    const made: number[] = [];
    await runStudy('init', { seeds: 2, runs: file });
    const whole = readFileSync(file, 'utf8');
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: whole.length }), async (cut) => {
        writeFileSync(file, whole.slice(0, cut));
        const { report } = await runStudy('init', {
          seeds: 2,
          runs: file,
          onProgress: ({ done }) => made.push(done),
        });
        expect(report.missing).toBe(0);
        expect(lines(file)).toEqual(whole.split('\n').slice(1, -1).sort());
      }),
      { numRuns: 6 },
    );
    expect(Math.max(...made)).toBe(40);
  });

  test('shards are all of the plan, each run in one', () => {
    const plan = planOf(initStudy, { quick: false, data: [], seeds: 3 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 70 }), (of) => {
        const parts = Array.from({ length: of }, (_, i) => sharded(plan, { part: i + 1, of }));
        expect(parts.flat()).toHaveLength(plan.length);
        expect(new Set(parts.flat())).toEqual(new Set(plan));
      }),
    );
  });

  test('shards together are the study; a part alone says that runs are missing', async () => {
    const files = [fresh(), fresh()];
    for (const [i, runs] of files.entries()) {
      const { report } = await runStudy('init', { seeds: 2, shard: `${i + 1}/2`, runs });
      expect([report.verdict, report.missing]).toEqual(['not run', 20]);
    }
    const parsed = files.map((file) => ({ file, ...parseRuns(readFileSync(file, 'utf8'), file) }));
    const [{ report }] = reportRuns(parsed) as [ReturnType<typeof reportRuns>[number]];
    const { report: whole } = await runStudy('init', { seeds: 2 });
    expect(report.missing).toBe(0);
    expect(report.rows).toEqual(whole.rows);
  });

  test('only the settings asked for are run, and the report says so', async () => {
    const only = ['depth=1', 'depth=2', 'activation=relu'];
    const { header, report } = await runStudy('init', { seeds: 2, only });
    expect(header.only).toEqual(only);
    expect(new Set(report.runs.map(({ settings }) => settings.depth))).toEqual(new Set([1, 2]));
    expect(report.runs.every(({ settings }) => settings.activation === 'relu')).toBe(true);
    expect(report.missing).toBe(0);
    expect(report.notes[0]).toBe('Only a part of the study: depth=1, depth=2, activation=relu.');
    const study = (text: string) => runStudy('init', { seeds: 1, only: [text] });
    await expect(study('depth=3')).rejects.toThrow("only has no runs of depth '3'; there are 1, 2, 4, 8, 16");
    await expect(study('deep')).rejects.toThrow(/^only must be name=value with one of /);
  });

  test('a file that goes on with more seeds or other settings says so, and is reported whole', async () => {
    const runs = fresh();
    const of = () => ({ file: runs, ...parseRuns(readFileSync(runs, 'utf8'), runs) });
    await runStudy('init', { seeds: 1, only: ['depth=1'], runs });
    await runStudy('init', { seeds: 2, only: ['depth=2'], runs });
    const file = of();
    expect(file.header).toMatchObject({ seeds: 2, only: ['depth=1', 'depth=2'] });
    const [both] = reportRuns([file]);
    // The second seed of depth 1 was not run.
    expect(both?.report).toMatchObject({ missing: file.header.planned - file.runs.length });
    expect(both?.report.missing).toBeGreaterThan(0);
    const whole = await runStudy('init', { seeds: 2, runs });
    expect(whole.report.missing).toBe(0);
    expect(of().header.only).toBeUndefined();
    // Fewer seeds leave the file and its report whole.
    const again = await runStudy('init', { seeds: 1, runs });
    expect(again.report.runs).toHaveLength(whole.report.runs.length);
  });

  test('runs of another kind are not mixed in', async () => {
    const file = fresh();
    await runStudy('init', { seeds: 1, runs: file });
    await expect(runStudy('init', { seeds: 1, runs: file, quick: true })).rejects.toThrow(
      /quick is false in it/,
    );
  });

  test.each([
    ['', 'is no file of runs'],
    ['{"study":"init"}\n', 'is no file of runs'],
    ['[1]\n', 'line 1'],
  ])('%j is refused', (text, message) => {
    expect(() => parseRuns(text, 'x.jsonl')).toThrow(message);
    expect(() => parseRuns(text, 'x.jsonl')).toThrow(ModelError);
  });

  test('a damaged line is named', async () => {
    const file = fresh();
    await runStudy('init', { seeds: 1, runs: file });
    appendFileSync(file, '{"study":"init","settings":{},"seed":0,"metrics":{"a":"?"}}\n');
    expect(() => parseRuns(readFileSync(file, 'utf8'), file)).toThrow(/line 22 .*'a' is no number/);
  });

  test('a run is read as it was written, figures that JSON has not too', () => {
    const run: RunRecord = {
      study: 'init',
      settings: { depth: 4, activation: 'relu', bias: false },
      seed: 7,
      problem: 'diverged',
      metrics: { a: 0.1, b: Number.NaN, c: Number.POSITIVE_INFINITY },
    };
    const header = '{"format":"onnx-overparam runs","study":"init"}\n';
    expect(parseRuns(header + runLine(run), 'x').runs).toEqual([run]);
  });
});
