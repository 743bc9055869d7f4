import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { OptionError } from '../../src/graph/option-descriptors.js';
import { namedShard, piecesOf } from '../../src/parts/shard.js';

describe('the split of pieces', () => {
  const costs = fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { maxLength: 60 });

  test('gives each piece to one shard, whatever their number', () => {
    fc.assert(
      fc.property(costs, fc.integer({ min: 1, max: 20 }), (given, of) => {
        const all = Array.from({ length: of }, (_, at) => piecesOf(given, { part: at + 1, of })).flat();
        expect(all.toSorted((a, b) => a - b)).toEqual(given.map((_, piece) => piece));
      }),
    );
  });

  test('is balanced: no shard has more than the mean and one piece', () => {
    fc.assert(
      fc.property(costs, fc.integer({ min: 1, max: 20 }), (given, of) => {
        const sum = (list: readonly number[]): number => list.reduce((total, one) => total + one, 0);
        const most = Math.max(0, ...given);
        for (let part = 1; part <= of; part += 1) {
          const load = sum(piecesOf(given, { part, of }).map((piece) => given[piece]!));
          expect(load).toBeLessThanOrEqual((sum(given) / of + most) * (1 + 1e-12));
        }
      }),
    );
  });
});

describe('a shard by its name', () => {
  const slurm = (id: number, min: number, step: number, count: number) => ({
    SLURM_ARRAY_TASK_ID: `${id}`,
    SLURM_ARRAY_TASK_MIN: `${min}`,
    SLURM_ARRAY_TASK_STEP: `${step}`,
    SLURM_ARRAY_TASK_COUNT: `${count}`,
  });

  test('is itself; auto: the task of an array, from whatever number on; auto/n: the pod of an Indexed Job', () => {
    expect(namedShard('2/8', slurm(5, 1, 1, 8))).toBe('2/8');
    expect(namedShard('auto', slurm(5, 1, 1, 8))).toBe('5/8');
    expect(namedShard('auto', slurm(0, 0, 1, 8))).toBe('1/8');
    expect(namedShard('auto', slurm(14, 10, 2, 4))).toBe('3/4');
    expect(namedShard('auto/8', slurm(5, 1, 1, 8))).toBe('5/8');
    expect(namedShard('auto/64', { JOB_COMPLETION_INDEX: '0' })).toBe('1/64');
    expect(namedShard('auto/64', { JOB_COMPLETION_INDEX: '63' })).toBe('64/64');
  });

  const REFUSED: readonly (readonly [string, Readonly<Record<string, string>>, string])[] = [
    ['auto', {}, 'neither'],
    ['auto', { JOB_COMPLETION_INDEX: '3' }, 'no count'],
    ['auto/64', { JOB_COMPLETION_INDEX: '64' }, 'past the last'],
    ['auto/64', { JOB_COMPLETION_INDEX: '' }, 'no number'],
    ['auto', slurm(7, 1, 1, 3), 'an array with gaps'],
    ['auto/64', slurm(5, 1, 1, 8), 'another count'],
    ['auto', { SLURM_ARRAY_TASK_ID: '1' }, 'half an array'],
    ['auto/x', {}, 'no count'],
    ['0/4', {}, 'from 1 on'],
    ['5/4', {}, 'past the last'],
    ['1/4x', {}, 'no shard'],
  ];
  test.each(REFUSED)('%s %j: %s', (text, env) => {
    expect(() => namedShard(text, env)).toThrow(OptionError);
  });
});
