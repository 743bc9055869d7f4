import { expect, test } from 'vitest';
import { runStudy } from '../../src/study/sweep/run-study.js';

// The values of SCIENCE's independent NumPy computation are those of the check; of random numbers of our own, so to their interval.
const NUMPY = { linear: [2.15, 2.0, 1.82, 1.6, 1.39], relu: [2.15, 2.07, 1.87, 1.66, 1.45] } as const;
const GRAM = { linear: [2.87, 2.56, 2.11, 1.64, 0.99], relu: [2.86, 2.32, 1.4, 0.73, 0.22] } as const;

test('observation 1 holds, and both kernels are those of NumPy', async () => {
  const { report } = await runStudy('init');
  expect(report.checks.filter(({ holds }) => holds !== true)).toEqual([]);
  expect(report.verdict).toBe('holds');
  expect(report.failed).toEqual([]);
  for (const activation of ['linear', 'relu'] as const) {
    for (const [metric, values, tolerance] of [
      ['cosineEntropy', NUMPY[activation], 0.05],
      ['gramEntropy', GRAM[activation], 0.12],
    ] as const) {
      for (const [i, depth] of [1, 2, 4, 8, 16].entries()) {
        const row = report.rows.find(
          (one) =>
            one.metric === metric &&
            one.settings.activation === activation &&
            one.settings.initialization === 'normal' &&
            one.settings.depth === depth,
        );
        expect(row?.n).toBe(32);
        expect(Math.abs((row?.mean ?? 0) - values[i]!)).toBeLessThan(tolerance);
      }
    }
  }
});
