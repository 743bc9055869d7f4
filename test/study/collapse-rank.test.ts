import { expect, test } from 'vitest';
import { reportOf } from '../../src/study/evidence.js';
import { collapseRankStudy } from '../../src/study/studies/collapse-rank.js';
import type { RunRecord } from '../../src/study/study.js';

const CONTEXT = { seed: 0, data: [], quick: true, isPictured: false };

test('the distance of a weight to rank K stays within both bounds, and falls with weight decay', async () => {
  const runs: RunRecord[] = [];
  for (const weightDecay of [1e-3, 3e-2]) {
    const outcome = await collapseRankStudy.run({ weightDecay }, CONTEXT);
    runs.push({ study: 'collapse-rank', settings: { weightDecay }, seed: 0, ...outcome });
  }
  const [weak, strong] = runs.map(({ metrics }) => metrics);
  for (const layer of [1, 2]) {
    for (const metrics of [weak!, strong!]) {
      expect(metrics[`distance${layer}`]).toBeLessThan(metrics[`bound${layer}`]!);
      expect(metrics[`bound${layer}`]).toBeLessThan(metrics[`looseBound${layer}`]!);
      expect(metrics[`residual${layer}`]).toBeLessThan(0.3);
    }
    expect(strong![`distance${layer}`]).toBeLessThan(weak![`distance${layer}`]!);
  }
  // The samples do not change.
  expect(strong!.tcv1).toBe(weak!.tcv1);
  const bounds = reportOf(collapseRankStudy, runs, { quick: true }).checks.filter(({ text }) =>
    text.includes('bounds'),
  );
  expect(bounds.map(({ holds }) => holds)).toEqual([true, true]);
});
