import { describe, expect, test } from 'vitest';
import { figureOf, findMetric } from '../../src/analysis/spectra/descriptors.js';
import {
  type BareRule,
  type Definition,
  defineAffine,
  defineFormat,
  defineGradient,
  defineMetric,
  defineOptimizer,
  findMatches,
  matchNode,
} from '../../src/entries/extend.js';
import {
  buildModel,
  collapse,
  gradient,
  OptionError,
  openDataset,
  rankReport,
  tensorDataset,
  train,
} from '../../src/index.js';
import { renderHtmlReport } from '../../src/report/html/index.js';
import { rankDocument } from '../../src/report/rank/rank.js';
import { render } from '../../src/report/text/render.js';
import { openSession } from '../../src/runtime/index.js';
import { floats } from '../support/build.js';

const text = {
  header: 'own',
  unit: '',
  format: 'fixed2',
  definition: 'own',
  source: 'own',
  priority: 5,
} as const;
const rule: BareRule = { slots: [], update: ({ parameter }) => ({ parameter, slots: {} }) };
const format = { recognizes: () => false, open: () => ({ size: 0, inputs: [], target: undefined }) };

const HOOKS: Readonly<Record<string, { taken: string; define(name: string): Definition }>> = {
  gradient: {
    taken: 'Relu',
    define: (name) => defineGradient(name, { backward: ({ gradients }) => gradients }),
  },
  affine: { taken: 'Gemm', define: (name) => defineAffine(name, () => undefined) },
  metric: { taken: 'stableRank', define: (name) => defineMetric(name, { ...text, of: ([first]) => first }) },
  optimizer: { taken: 'cma-es', define: (name) => defineOptimizer(name, { rule, learningRate: 1 }) },
  format: { taken: 'csv', define: (name) => defineFormat(name, format) },
};

describe.each(Object.entries(HOOKS))('a definition of a %s', (_, { taken, define }) => {
  test('is refused where the name is taken, and free when it is disposed of', () => {
    for (const name of [taken, '', 'two words']) expect(() => define(name)).toThrow(OptionError);
    {
      using _first = define('own.Name');
      expect(() => define('own.Name')).toThrow(/was defined before/);
    }
    using _again = define('own.Name');
  });

  test('that is disposed of late leaves a newer one', () => {
    const first = define('own.Name');
    first[Symbol.dispose]();
    using _second = define('own.Name');
    first[Symbol.dispose]();
    expect(() => define('own.Name')).toThrow(OptionError);
  });
});

const rounding = () =>
  buildModel({
    inputs: [['x', 'float32', ['n', 3]]],
    outputs: [['y', 'float32', ['n', 3]]],
    nodes: [
      { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['h'] },
      { opType: 'Round', inputs: ['h'], outputs: ['y'] },
    ],
    initializers: [floats('w', [3, 3], Math.sin)],
  });

test('a straight-through rule gives the gradient that the model has without the node', async () => {
  await expect(gradient(rounding(), { loss: 'mse', batch: 2 })).rejects.toThrow(
    /no gradient flows through Round/,
  );
  using _rule = defineGradient('Round', { backward: ({ gradients }) => gradients });
  const { model, gradients, target = '', weights } = await gradient(rounding(), { loss: 'mse', batch: 2 });
  await using session = await openSession(model);
  const x = Float32Array.of(0.5, -1, 2, 1, 0.25, -3);
  const tensor = (data: Float32Array) => ({ type: 'float32', shape: [2, 3], data }) as const;
  const w = weights.get('w')?.floats() ?? [];
  const results = await session.run({
    x: tensor(x),
    [target]: tensor(new Float32Array(6)),
    w: { type: 'float32', shape: [3, 3], data: Float32Array.from(w) },
  });
  const found = results[gradients.get('w') ?? '']?.data as Float32Array;
  const round = (value: number): number => {
    const even = 2 * Math.round(value / 2);
    return Math.abs(value - even) === 0.5 ? even : Math.round(value);
  };
  // d/dw of mean((round(x w))^2), the rounding taken for the identity: 2/6 xᵀ round(x w)
  for (let i = 0; i < 3; i += 1) {
    for (let j = 0; j < 3; j += 1) {
      let sum = 0;
      for (let n = 0; n < 2; n += 1) {
        let h = 0;
        for (let k = 0; k < 3; k += 1) h += (x[3 * n + k] ?? 0) * (w[3 * k + j] ?? 0);
        sum += (x[3 * n + i] ?? 0) * round(h);
      }
      expect(found[3 * i + j]).toBeCloseTo(sum / 3, 5);
    }
  }
});

test('training with a rule of its own stops when it is told to', async () => {
  using _rule = defineGradient('Round', { backward: ({ gradients }) => gradients });
  const x = {
    type: 'float32',
    shape: [64, 3],
    data: Float32Array.from({ length: 192 }, (_, i) => Math.sin(i)),
  } as const;
  await using data = tensorDataset({ x, y: x });
  const controller = new AbortController();
  const training = train(rounding(), data, {
    loss: 'mse',
    epochs: 100_000,
    batch: 8,
    signal: controller.signal,
    ranks: false,
  });
  setTimeout(() => controller.abort(), 200);
  const { reason } = await training.result();
  expect(reason).toBe('aborted');
});

test('options of an optimizer of the library are not taken for those of another', async () => {
  using own = defineOptimizer('own', { rule, learningRate: 1 });
  const x = { type: 'float32', shape: [8, 3], data: new Float32Array(24) } as const;
  await using data = tensorDataset({ x, y: x });
  const options = { loss: 'mse', optimizer: own.name, optimizerOptions: { momentum: 0.9 } } as const;
  await expect(train(rounding(), data, options as never).result()).rejects.toThrow(/optimizerOptions/);
});

test('a metric is in every form of a report, and gone when it is disposed of', async () => {
  const model = rounding();
  {
    using metric = defineMetric('ownGap', { ...text, header: 'own gap', of: ([a = 0, b = 1]) => a / b });
    using _none = defineMetric('ownNone', { ...text, header: 'own none', of: () => Number.NaN });
    const report = await rankReport(model, { extras: true, spectra: true });
    const [a = 0, b = 1] = report.rows[0]?.singularValues ?? [];
    expect(figureOf(report.rows[0] as never, metric.name)).toBeCloseTo(a / b, 10);
    expect(report.rows[0]?.extras?.reasons).toMatchObject({ ownNone: expect.stringContaining('formula') });
    const found = findMetric('OWNGAP');
    expect(found?.header).toBe('own gap');
    const document = rankDocument(report, { metrics: found ? [found] : [] });
    for (const form of ['table', 'csv', 'md'] as const)
      expect(render(document, { format: form })).toMatch(/own ?gap/i);
    expect(JSON.parse(render(document, { format: 'json' })).weights[0].metrics).toHaveProperty('ownGap');
    expect(renderHtmlReport([{ name: 'a', report }])).toContain('own gap');
  }
  expect(findMetric('ownGap')).toBeUndefined();
  const { rows } = await rankReport(model, { extras: true });
  expect(rows[0]?.extras?.figures).not.toHaveProperty('ownGap');
});

test('an affine rule that names what is not affine, or what the node does not read, says so', async () => {
  const model = buildModel({
    inputs: [['x', 'float32', ['n', 3]]],
    outputs: [['y', 'float32', ['n', 3]]],
    nodes: [
      { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['h'] },
      { opType: 'Round', inputs: ['h'], outputs: ['y'], name: 'round' },
    ],
    initializers: [floats('w', [3, 3], Math.sin)],
  });
  {
    using _rule = defineAffine('Round', ({ inputs }) => ({ opType: 'Relu', inputs }));
    await expect(model.clone().apply(collapse())).rejects.toThrow(/round.*Relu, which is not affine/);
  }
  using _rule = defineAffine('Round', () => ({ opType: 'Neg', inputs: ['x'] }));
  await expect(model.clone().apply(collapse())).rejects.toThrow(/reads 'x'/);
});

test('what a format throws names the file', async () => {
  using _format = defineFormat('own', {
    recognizes: (path) => path.endsWith('extend.test.ts'),
    open: () => {
      throw new OptionError('target', 'is not there');
    },
  });
  await expect(openDataset(import.meta.filename)).rejects.toThrow('target is not there');
});

describe('matchers', () => {
  const model = buildModel({
    inputs: [['x', 'float32', [2, 2]]],
    outputs: [
      ['y', 'float32', [2, 2]],
      ['z', 'float32', [2, 2]],
    ],
    nodes: [
      { opType: 'Sigmoid', inputs: ['x'], outputs: ['s'] },
      { opType: 'Mul', inputs: ['s', 'x'], outputs: ['y'] },
      { opType: 'Neg', inputs: ['s'], outputs: ['n'] },
      { opType: 'Mul', inputs: ['n', 'c'], outputs: ['z'] },
    ],
    initializers: [floats('c', [2, 2], () => 2)],
  });

  test('find patterns, in either order where it does not matter, and say what else reads the values', () => {
    const gate = { op: 'Sigmoid', as: 'gate' };
    expect(findMatches(model.graph, { op: 'Mul', inputs: [undefined, gate] })).toEqual([]);
    const [found, ...others] = findMatches(model.graph, {
      op: 'Mul',
      commutes: true,
      inputs: [undefined, gate],
    });
    expect(others).toEqual([]);
    expect(found?.nodes.gate?.label).toBe('s');
    expect(found?.all.map(({ opType }) => opType)).toEqual(['Sigmoid', 'Mul']);
    expect(found?.isClosed).toBe(false);
  });

  test('tell constants, and nodes by a condition', () => {
    const constant = { op: ['Mul', 'Div'], commutes: true, inputs: ['constant', { op: 'Neg' }] } as const;
    const found = findMatches(model.graph, constant);
    expect(found.map(({ root, isClosed }) => [root.label, isClosed])).toEqual([['z', true]]);
    const last = model.graph.nodes.at(-1);
    expect(last && matchNode(last, { op: 'Mul', where: () => false })).toBeUndefined();
  });
});
