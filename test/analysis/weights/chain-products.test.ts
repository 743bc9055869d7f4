import { describe, expect, test } from 'vitest';
import { compareRankReports } from '../../../src/analysis/report/compare-reports.js';
import { rankReport } from '../../../src/analysis/report/rank-report.js';
import { findWeights } from '../../../src/analysis/weights/find-weights.js';
import { elementsOf } from '../../../src/analysis/weights/weights.js';
import { type Model, type NodeSpec, readModel } from '../../../src/graph/index.js';
import { type ExpandOptions, expand } from '../../../src/passes/expand/expand.js';
import { buildModel, floats } from '../../support/build.js';

const SHAPES = 'fixtures/shapes.onnx';

async function expanded(depth: number, options: ExpandOptions = {}): Promise<Model> {
  const model = await readModel(SHAPES);
  await model.apply(expand({ depth, ...options }));
  return model;
}

const PLAIN: ExpandOptions = {};
const WITH_CONNECTIONS: ExpandOptions = { residual: true, residualIntervals: [1, 2], residualMode: 'learn' };

describe('what expand wrote', () => {
  test.each([
    [2, 'plain', PLAIN],
    [3, 'plain', PLAIN],
    [3, 'with connections', WITH_CONNECTIONS],
    [2, 'with BatchNormalization', { batchNorm: true }],
    [3, 'with both', { ...WITH_CONNECTIONS, batchNorm: true }],
  ])('the products of chains of %i, %s, are the weights that were', async (depth, _, options) => {
    const [before, after] = [
      await rankReport(await readModel(SHAPES), { spectra: true }),
      await rankReport(await expanded(depth, options), { spectra: true, chains: 'product' }),
    ];
    const { rows, onlyInA, onlyInB } = compareRankReports(before, after);
    expect([onlyInA, onlyInB]).toEqual([[], []]);
    expect(rows).toHaveLength(9);
    for (const { a, b } of rows) {
      expect(b).toMatchObject({
        shape: a.shape,
        rows: a.rows,
        columns: a.columns,
        nodes: a.nodes,
        ops: a.ops,
      });
      expect(b.chain).toEqual({ role: 'product', weight: a.weight });
      for (const [index, value] of b.singularValues!.entries()) {
        expect(Math.abs(value - a.singularValues![index]!)).toBeLessThan(1e-5 * a.metrics!.spectralNorm);
      }
    }
    expect(after.total.parameters).toBe(before.total.parameters);
  });

  test('both: each product before its factors, and the total is of the factors', async () => {
    const model = await expanded(3);
    const [both, factors] = [await rankReport(model), await rankReport(model, { chains: 'factors' })];
    expect(both.rows).toHaveLength(36);
    expect(both.rows.slice(0, 4).map((row) => row.chain)).toEqual(
      ['product', 'factor', 'factor', 'factor'].map((role) => ({ role, weight: 'conv.weight' })),
    );
    expect(factors.rows).toEqual(both.rows.filter((row) => row.chain?.role === 'factor'));
    expect(both.total).toEqual(factors.total);
  });

  test('a comparison of the original and its expanded form pairs the products', async () => {
    const [a, b] = [await rankReport(await readModel(SHAPES)), await rankReport(await expanded(2))];
    const { rows, onlyInA, onlyInB } = compareRankReports(a, b);
    expect(rows.every((row) => row.b.chain?.role === 'product')).toBe(true);
    expect([rows.length, onlyInA.length, onlyInB.length]).toEqual([9, 0, 18]);
  });

  test('the totals of a comparison count what its rows do', async () => {
    const [plain, two, three] = [
      await rankReport(await readModel(SHAPES)),
      await rankReport(await expanded(2)),
      await rankReport(await expanded(3)),
    ];
    for (const other of [two, three]) {
      const { totals } = compareRankReports(plain, other);
      expect(totals.a).toEqual(plain.total);
      expect(totals.b).toMatchObject({ weights: 9, parameters: plain.total.parameters });
      expect(totals.b.effectiveRank).toBeCloseTo(plain.total.effectiveRank, 3);
      expect(totals.b.effectiveRankRatio).toBeCloseTo(plain.total.effectiveRankRatio, 5);
      expect(compareRankReports(other, plain).totals).toEqual({ a: totals.b, b: totals.a });
    }
    // Chains of other depths are compared by their products, those of the same by their factors.
    expect(compareRankReports(two, three).totals.b.weights).toBe(9);
    expect(compareRankReports(two, two).totals).toEqual({ a: two.total, b: two.total });
  });

  test('chosen by the name of the weight and by that of the node', async () => {
    const model = await expanded(2);
    for (const only of ['hidden.weight', 'hidden.Gemm']) {
      const { rows } = await rankReport(model, { only: [only] });
      expect(rows.map(({ weight }) => weight)).toEqual(['hidden.weight']);
    }
  });
});

/** A chain of kernels has the attributes of the one convolution; an empty text is none. */
const note = (factor: number, of: number, weight = 'w'): Record<string, string> => ({
  'onnx-overparam': JSON.stringify({ site: 'site', weight, factor, of, attributes: '' }),
});

function chain(nodes: readonly NodeSpec[], shapes: Record<string, readonly number[]>): Model {
  return buildModel({
    inputs: [['x', 'float32']],
    outputs: [],
    nodes,
    initializers: Object.entries(shapes).map(([name, shape]) =>
      floats(name, shape, (i) => Math.cos(i * i + name.length)),
    ),
  });
}

const link = (
  opType: string,
  index: number,
  of: number,
  attributes: NodeSpec['attributes'] = {},
  weight = `w${index}`,
): NodeSpec => ({
  opType,
  name: `n${index}`,
  inputs: [index === 0 ? 'x' : `h${index}`, weight],
  outputs: [`h${index + 1}`],
  attributes,
  metadata: note(index, of),
});

describe('products', () => {
  test('of kernels: the convolution of the kernels, in groups', async () => {
    const model = chain(
      [link('Conv', 0, 2, { group: { int: 2 } }), link('Conv', 1, 2, { group: { int: 2 } })],
      { w0: [4, 3, 2, 1], w1: [6, 2, 3, 2] },
    );
    const [product] = findWeights(model, { chains: 'product' }).weights;
    expect(product).toMatchObject({ name: 'w', shape: [6, 3, 4, 2], rows: 6, columns: 24 });
    const { data } = await elementsOf(product!).read();
    const [b, a] = ['w0', 'w1'].map((name) => model.graph.initializers.get(name)!.floats());
    for (let o = 0; o < 6; o += 1) {
      for (let i = 0; i < 3; i += 1) {
        const expected = new Float64Array(8);
        for (let h = 0; h < 2; h += 1) {
          for (let s = 0; s < 6; s += 1) {
            for (let t = 0; t < 2; t += 1) {
              const group = Math.floor(o / 3);
              const at = (Math.floor(s / 2) + t) * 2 + (s % 2);
              expected[at]! += a![(o * 2 + h) * 6 + s]! * b![((group * 2 + h) * 3 + i) * 2 + t]!;
            }
          }
        }
        for (let k = 0; k < 8; k += 1) expect(data[(o * 3 + i) * 8 + k]).toBeCloseTo(expected[k]!, 6);
      }
    }
  });

  test('of Gemm nodes of both orientations, with alpha, in the orientation of the last', async () => {
    const model = chain(
      [
        link('Gemm', 0, 2, { transB: { int: 1 }, alpha: { float: 2 } }),
        link('Gemm', 1, 2, { alpha: { float: 3 } }),
      ],
      { w0: [4, 3], w1: [4, 2] },
    );
    const [product] = findWeights(model, { chains: 'product' }).weights;
    expect(product).toMatchObject({ rows: 3, columns: 2 });
    const { data } = await elementsOf(product!).read();
    const [b, a] = ['w0', 'w1'].map((name) => model.graph.initializers.get(name)!.floats());
    for (let i = 0; i < 3; i += 1) {
      for (let o = 0; o < 2; o += 1) {
        let sum = 0;
        for (let h = 0; h < 4; h += 1) sum += 2 * b![h * 3 + i]! * a![h * 2 + o]!;
        expect(data[i * 2 + o]).toBeCloseTo(sum, 5);
      }
    }
  });

  test.each<[string, NodeSpec[], Record<string, readonly number[]>, string]>([
    [
      'sizes',
      [link('Gemm', 0, 2), link('Gemm', 1, 2)],
      { w0: [3, 4], w1: [5, 2] },
      '4 outputs meet 5 inputs',
    ],
    [
      'length',
      [link('Gemm', 0, 3), link('Gemm', 1, 3)],
      { w0: [3, 4], w1: [4, 2] },
      "nothing reads 'h2', behind which a factor would follow",
    ],
    [
      'strides',
      [link('Conv', 0, 2, { strides: { ints: [2] } }), link('Conv', 1, 2)],
      { w0: [3, 2, 3], w1: [3, 3, 3] },
      'a kernel before its last has a stride',
    ],
    [
      'dilations',
      [link('Conv', 0, 2, { dilations: { ints: [2] } }), link('Conv', 1, 2)],
      { w0: [3, 2, 3], w1: [3, 3, 3] },
      'different dilations',
    ],
    [
      'weights',
      [link('Gemm', 0, 2), link('Gemm', 1, 2, {}, 'x')],
      { w0: [3, 4] },
      'is no linear node with a constant weight',
    ],
  ])('a chain that does not fit (%s) is told, and its factors are rows', async (_, nodes, shapes, reason) => {
    const { rows, notLookedAt } = await rankReport(chain(nodes, shapes));
    expect(notLookedAt.map((item) => item.reason)).toContainEqual(expect.stringContaining(reason));
    expect(rows.map((row) => row.weight)).toEqual(Object.keys(shapes));
  });

  test('what is no note is none', async () => {
    for (const text of ['', 'null', '[]', '{"site":1}', '{"site":"a","weight":"w","factor":0,"of":1}']) {
      const model = chain([{ ...link('Gemm', 0, 2), metadata: { 'onnx-overparam': text } }], { w0: [3, 4] });
      expect((await rankReport(model)).notLookedAt).toEqual([]);
    }
  });
});
