import { expect, test } from 'vitest';
import { rankReport } from '../../src/analysis/report/rank-report.js';
import { modelsDocument } from '../../src/report/rank/rank-models.js';
import { render } from '../../src/report/text/render.js';
import { newNetwork } from '../../src/study/networks.js';
import { estimate } from '../../src/study/statistics.js';

async function report(seed: number, depth = 3) {
  const model = await newNetwork('mlp', { inputs: [12], width: 12, depth, seed });
  return { name: `seed ${seed}`, report: await rankReport(model, {}) };
}

test('three models and more: means with intervals, in all forms', async () => {
  const models = [await report(0), await report(1), await report(2), await report(3, 2)];
  const ranks = models
    .slice(0, 3)
    .map(
      ({ report: one }) => one.rows.find(({ weight }) => weight === 'layers.2.weight')!.metrics!.stableRank,
    );
  const { mean, low, high } = estimate(ranks);
  const json = JSON.parse(render(modelsDocument(models), { format: 'json' }));
  expect(json.models.map(({ model }: { model: string }) => model)).toEqual(models.map(({ name }) => name));
  const row = json.weights.find(({ weight }: { weight: string }) => weight === 'layers.2.weight');
  expect([row.mean.stableRank, row.low.stableRank, row.high.stableRank, row.n.stableRank]).toEqual([
    mean,
    low,
    high,
    3,
  ]);
  expect(row.models[3]).toBeNull();
  const table = render(modelsDocument(models));
  expect(table).toContain(`${mean.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}]`);
  expect(table).toContain('Not in all 4 models: layers.2.weight');
  const csv = render(modelsDocument(models, {}, 'csv'), { format: 'csv' })
    .trim()
    .split('\r\n');
  expect(csv[0]).toMatch(/^model,weight,/);
  // A line for each weight of each model.
  expect(csv).toHaveLength(1 + 3 * 3 + 2);
});
