import { describe, expect, test } from 'vitest';
import { type RankReport, rankReport } from '../../../src/analysis/report/rank-report.js';
import { type Model, readModel } from '../../../src/graph/index.js';
import { collapse } from '../../../src/passes/collapse/collapse.js';
import { rankReportWithRegions } from '../../../src/passes/collapse/region-rows.js';
import { expand } from '../../../src/passes/expand/expand.js';
import { buildModel, floats } from '../../support/build.js';

const SHAPES = 'fixtures/shapes.onnx';

/** The demo's model as chains, without what expand noted, as other frameworks write it. */
async function chained(depth = 2): Promise<Model> {
  const model = await readModel(SHAPES);
  await model.apply(expand({ depth }));
  for (const node of model.nodes()) {
    for (const { key = '' } of [...(node.proto.metadata_props ?? [])])
      model.graph.setMetadata(node, key, undefined);
  }
  return model;
}

const products = (report: RankReport) => report.rows.filter(({ chain }) => chain?.role === 'product');

describe('affine regions as a whole', () => {
  test('chains that do not say so: their products are the weights that they were made of', async () => {
    const report = await rankReportWithRegions(await chained());
    const original = new Map(
      (await rankReport(await readModel(SHAPES))).rows.map((row) => [row.weight, row]),
    );
    const found = products(report);
    expect(found).toHaveLength(original.size);
    for (const { weight, metrics } of found) {
      // What is added behind it is folded into this one.
      if (weight.startsWith('mix')) continue;
      expect(metrics?.effectiveRank, weight).toBeCloseTo(
        original.get(weight)?.metrics?.effectiveRank ?? 0,
        4,
      );
    }
    expect(report.rows.filter(({ chain }) => chain?.role === 'factor')).toHaveLength(18);
    // Each stands before its parts, and the total is that of the weights that the model has.
    expect(report.rows[0]).toMatchObject({ weight: 'conv.weight', chain: { role: 'product' } });
    expect(report.total).toEqual((await rankReport(await chained())).total);
  });

  test('they alone, and those of chosen weights', async () => {
    const options = { chains: 'product', only: ['hidden*'] } as const;
    const report = await rankReportWithRegions(await chained(3), options);
    expect(report.rows).toMatchObject([
      {
        weight: 'hidden.weight',
        chain: {
          role: 'product',
          // The bias in front of Flatten went into that of the product.
          from: ['Flatten', 'hidden.Gemm/overparam/0', 'hidden.Gemm/overparam/1', 'hidden.Gemm/overparam/2'],
        },
      },
    ]);
    expect(report.total.weights).toBe(1);
    const factors = await rankReportWithRegions(await chained(), { chains: 'factors' });
    expect(products(factors)).toEqual([]);
  });

  test('a residual branch and BatchNormalization are in it', async () => {
    const model = () =>
      buildModel({
        inputs: [['x', 'float32', [1, 4]]],
        outputs: [['y', 'float32', [1, 4]]],
        nodes: [
          { opType: 'MatMul', name: 'layer', inputs: ['x', 'w'], outputs: ['h'] },
          { opType: 'Add', name: 'skip', inputs: ['h', 'x'], outputs: ['y'] },
        ],
        initializers: [floats('w', [4, 4], (i) => (i % 5 === 0 ? 1 : 0))],
      });
    const report = await rankReportWithRegions(model());
    // I + I = 2 I.
    expect(products(report)).toMatchObject([{ chain: { from: ['layer', 'skip'] } }]);
    expect(products(report)[0]?.metrics?.spectralNorm).toBeCloseTo(2, 6);
    expect(report.rows.find(({ chain }) => chain?.role === 'factor')?.metrics?.spectralNorm).toBeCloseTo(
      1,
      6,
    );
  });

  test('of a model without any, the report is the same', async () => {
    const model = await readModel(SHAPES);
    await model.apply(collapse());
    expect(await rankReportWithRegions(model)).toEqual(await rankReport(model));
  });
});
