import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { evaluateModels } from '../../src/evaluate/evaluate.js';
import { checkQuality } from '../../src/evaluate/limits.js';
import type { EvaluateOptions } from '../../src/evaluate/options.js';
import { type Model, Tensor } from '../../src/graph/index.js';
import { tensorDataset } from '../../src/training/data/index.js';
import type { Dataset } from '../../src/training/types.js';
import { buildModel } from '../support/build.js';
import { identity, labels, other, wave } from './waves.js';

interface Reference {
  readonly [figure: string]: number;
}

/** What test/reference/quality.py recorded of scikit-learn and NumPy. */
const reference = JSON.parse(
  readFileSync(new URL('../reference/quality.json', import.meta.url), 'utf8'),
) as Record<string, Record<string, never>> & {
  readonly classes: { readonly a: Reference; readonly b: Reference; readonly agreement: Reference };
};

const SAMPLES = 40;
const PLAIN: EvaluateOptions = { resamples: 0 };
const named = (...models: readonly Model[]) => models.map((model, index) => ({ name: 'abc'[index]!, model }));
const run = (data: Dataset, models: readonly Model[], options: EvaluateOptions = {}) =>
  evaluateModels(named(...models), data, { ...PLAIN, ...options });

/** The values of figures, without intervals. */
function valuesOf(figures: object): Record<string, number> {
  return Object.fromEntries(
    Object.entries(figures).map(([key, estimate]) => [key, (estimate as { value: number }).value]),
  );
}

/** Figures agree to rounding of float32. */
function expectClose(found: object, wanted: Readonly<Record<string, unknown>>): void {
  for (const [key, value] of Object.entries(valuesOf(found)))
    expect([key, value]).toEqual([key, expect.closeTo(wanted[key] as number, 5)]);
}

const classData = (): Dataset => tensorDataset({ x: wave(0, [SAMPLES, 7]), y: labels([SAMPLES], 7, 3) });

describe('figures are those of scikit-learn', () => {
  test('of classes, and of two models', async () => {
    const report = await run(classData(), [identity([7]), other([7])], { top: 3 });
    const [a, b] = report.models;
    const { classes: wanted } = reference;
    expect(Object.keys(a!.figures)).toEqual(['accuracy', 'topAccuracy', 'loss']);
    expectClose(a!.figures, wanted.a);
    expectClose(b!.figures, wanted.b);
    expect([a!.confusion, b!.confusion]).toEqual([wanted.a.confusion, wanted.b.confusion]);
    expect(a!.classes!.map(({ recall }) => recall)).toEqual(wanted.a.recall);
    expect(b!.classes!.map(({ precision }) => precision)).toEqual(wanted.b.precision);
    const [comparison] = report.comparisons;
    expect(Object.keys(comparison!.agreement)).toHaveLength(4);
    expectClose(comparison!.agreement, wanted.agreement);
    expect(comparison!.differences.loss!.value).toBeCloseTo(wanted.b.loss! - wanted.a.loss!, 5);
    // What is lost and gained is the difference of accuracy.
    expect((comparison!.gained - comparison!.lost) / SAMPLES).toBeCloseTo(
      wanted.b.accuracy! - wanted.a.accuracy!,
      12,
    );
    const changes = comparison!.classes.reduce((sum, { gained, lost }) => sum + gained - lost, 0);
    expect(changes).toBe(comparison!.gained - comparison!.lost);
  });

  test.each([['Softmax'], ['LogSoftmax'], ['Identity']])('the same behind a %s', async (end) => {
    const report = await run(classData(), [identity([7]), other([7], [end])], { top: 3 });
    expectClose(report.models[1]!.figures, reference.classes.b);
    expectClose(report.comparisons[0]!.agreement, reference.classes.agreement);
  });

  test('the same of probabilities that no Softmax makes in the end', async () => {
    const report = await run(classData(), [other([7]), other([7], ['Softmax', 'Abs'])], { top: 3 });
    expectClose(report.models[1]!.figures, reference.classes.b);
    expect(report.notes).toEqual([expect.stringContaining('the outputs of b are distributions')]);
  });

  test('the same of a model of a fixed batch, and of any batch size', async () => {
    for (const batch of [1, 7, 40])
      expectClose(
        (await run(classData(), [identity([7])], { batch, top: 3 })).models[0]!.figures,
        reference.classes.a,
      );
    expectClose(
      (await run(classData(), [identity([7], 6)], { top: 3 })).models[0]!.figures,
      reference.classes.a,
    );
  });

  test('of pixels, of which one label does not count', async () => {
    const data = tensorDataset({ x: wave(0.5, [6, 4, 5, 2]), y: labels([6, 5, 2], 4, 5) });
    const report = await run(data, [identity([4, 5, 2])], { ignoreIndex: 2, top: 3 });
    const [model] = report.models;
    expect(Object.keys(model!.figures)).toEqual(['accuracy', 'topAccuracy', 'meanIou', 'loss']);
    expectClose(model!.figures, reference.pixels!);
    expect([model!.confusion, report.counted]).toEqual([
      reference.pixels!.confusion,
      reference.pixels!.counted,
    ]);
  });

  test.each([
    ['beside the data', { y: labels([5, 6], 9, 4) }],
    ['the tokens that follow', {}],
  ])('of tokens: %s', async (_, target) => {
    // The model takes tokens and puts out a wave, whatever they are.
    const text = buildModel({
      inputs: [['x', 'int64', ['n', 6]]],
      outputs: [['y', 'float32', ['n', 6, 9]]],
      nodes: [
        { opType: 'Gather', inputs: ['table', 'i'], outputs: ['y'] },
        { opType: 'Shape', inputs: ['x'], outputs: ['shape'] },
        { opType: 'Gather', inputs: ['shape', 'first'], outputs: ['count'] },
        { opType: 'Range', inputs: ['first', 'count', 'step'], outputs: ['i'] },
      ].toReversed(),
      initializers: [
        Tensor.of('table', 'float32', [5, 6, 9], wave(1, [5, 6, 9]).data),
        Tensor.of('first', 'int64', [], BigInt64Array.of(0n)),
        Tensor.of('step', 'int64', [], BigInt64Array.of(1n)),
      ],
    });
    const data = tensorDataset({ x: labels([5, 6], 9, 4), ...target });
    const report = await run(data, [text], { batch: 5 });
    const { figures } = report.models[0]!;
    expect(report.isNextToken).toBe(!('y' in target));
    if (report.isNextToken)
      expectClose(figures, { ...reference.tokens!, topAccuracy: figures.topAccuracy!.value });
    else expect(report.counted).toBe(30);
    expect(figures.perplexity!.value).toBeCloseTo(Math.exp(figures.loss!.value), 10);
  });

  test('of two classes by one logit', async () => {
    const data = tensorDataset({ x: wave(2, [SAMPLES, 1]), y: labels([SAMPLES], 2, 1) });
    const report = await run(data, [identity([1])]);
    expect(report.loss).toBe('bce');
    expectClose(report.models[0]!.figures, reference.binary!);
    expect(report.models[0]!.confusion).toEqual(reference.binary!.confusion);
  });

  test('of probabilities as targets', async () => {
    const raw = wave(3, [SAMPLES, 7]).data;
    const y = Float32Array.from(raw, (value, at) => {
      const row = raw.subarray(at - (at % 7), at - (at % 7) + 7);
      return Math.exp(value) / row.reduce((sum, one) => sum + Math.exp(one), 0);
    });
    const target = { type: 'float32', shape: [SAMPLES, 7], data: y } as const;
    const report = await run(tensorDataset({ x: wave(0, [SAMPLES, 7]), y: target }), [identity([7])], {
      loss: 'cross-entropy',
      top: 7,
    });
    expectClose(report.models[0]!.figures, reference.soft!);
  });

  test('of numbers', async () => {
    const shift = (tensor: ReturnType<typeof wave>) => ({
      ...tensor,
      data: tensor.data.map((one) => one + 100),
    });
    const data = tensorDataset({ x: shift(wave(0, [SAMPLES, 3])), y: shift(wave(0.3, [SAMPLES, 3], 2)) });
    const report = await run(data, [identity([3])]);
    expect(Object.keys(report.models[0]!.figures)).toEqual(['mse', 'mae', 'r2']);
    expectClose(report.models[0]!.figures, reference.values!);
  });
});

describe('models on data without labels', () => {
  const x = wave(0, [SAMPLES, 7]);

  test('agree as scikit-learn says of those with', async () => {
    const report = await run(tensorDataset({ x }), [identity([7]), other([7])]);
    expect([report.task, report.models[0]!.figures]).toEqual(['agreement', {}]);
    expectClose(report.comparisons[0]!.agreement, reference.classes.agreement);
    const { samples, unequalSamples } = report.comparisons[0]!;
    expect(samples).toHaveLength(unequalSamples);
    expect(unequalSamples / SAMPLES).toBeCloseTo(1 - reference.classes.agreement.equalDecisions!, 12);
    expect(samples.every(({ first, other: second }) => first !== second)).toBe(true);
  });

  test('a model agrees with itself, all the way', async () => {
    const report = await run(tensorDataset({ x }), [identity([7]), identity([7])], { resamples: 50 });
    const { agreement } = report.comparisons[0]!;
    expect(valuesOf(agreement)).toEqual({
      equalDecisions: 1,
      divergence: 0,
      cosine: expect.closeTo(1, 12),
      relativeError: 0,
    });
    expect(agreement.equalDecisions!.interval).toEqual({ low: 1, high: 1 });
  });

  test('one alone has nothing to be held against', async () => {
    await expect(run(tensorDataset({ x }), [identity([7])])).rejects.toThrow(/no targets to hold one model/);
  });
});

describe('limits', () => {
  const report = (options: EvaluateOptions = {}) =>
    run(classData(), [identity([7]), other([7])], { top: 3, ...options });

  test('the point estimate decides', async () => {
    const made = await report();
    const drop = 100 * (reference.classes.a.accuracy! - reference.classes.b.accuracy!);
    const rise = reference.classes.b.loss! / reference.classes.a.loss! - 1;
    expect(rise).toBeGreaterThan(0);
    const [at, below] = [
      checkQuality(made, { maxDrop: Math.max(0, drop), maxRise: rise + 1e-4 }),
      checkQuality(made, { maxRise: rise - 1e-4 }),
    ];
    expect(at.map(({ passed, option }) => [option, passed])).toEqual([
      ['maxDrop', true],
      ['maxRise', true],
    ]);
    expect(at[0]!.value).toBeCloseTo(drop, 9);
    expect(below.map(({ passed }) => passed)).toEqual([false]);
  });

  test('without labels decisions are counted', async () => {
    const made = await run(tensorDataset({ x: wave(0, [SAMPLES, 7]) }), [identity([7]), other([7])]);
    const points = 100 * (1 - reference.classes.agreement.equalDecisions!);
    expect(checkQuality(made, { maxDrop: points - 0.01 })[0]).toMatchObject({
      figure: 'equalDecisions',
      passed: false,
      value: expect.closeTo(points, 9),
    });
    expect(() => checkQuality(made, { maxRise: 0.1 })).toThrow(/maxRise is of the loss/);
  });

  test('need a second model', async () => {
    const one = await run(classData(), [identity([7])]);
    expect(() => checkQuality(one, { maxDrop: 1 })).toThrow(/maxDrop needs a second model/);
  });
});

describe('what is wrong is said', () => {
  test('outputs that are not finite are wrong decisions', async () => {
    const x = wave(0, [SAMPLES, 7]);
    x.data[3] = Number.NaN;
    x.data[7 * 9] = Number.POSITIVE_INFINITY;
    const report = await run(tensorDataset({ x, y: labels([SAMPLES], 7, 3) }), [identity([7])]);
    const [model] = report.models;
    expect(model!.nonFinite).toBe(2);
    expect(model!.figures.loss!.value).toBeNaN();
    const placed = model!.confusion!.flat().reduce((sum, count) => sum + count, 0);
    expect(placed).toBe(SAMPLES - 2);
  });

  test.each([
    [
      'a label that no class has',
      { x: wave(0, [4, 3]), y: labels([4], 9, 3) },
      [identity([3])],
      {},
      /sample 1 has the label 3, but the model has 3 classes/,
    ],
    [
      'another output',
      { x: wave(0, [4, 3]), y: labels([4], 3, 1) },
      [
        identity([3]),
        buildModel({
          inputs: [['x', 'float32', ['n', 3]]],
          outputs: [['y', 'float32', ['n', 1]]],
          nodes: [
            { opType: 'ReduceMax', inputs: ['x'], outputs: ['y'], attributes: { axes: { ints: [1] } } },
          ],
          opset: 13,
        }),
      ],
      {},
      /makes \[4, 1\] where a makes \[4, 3\]/,
    ],
    [
      'an axis that there is not',
      { x: wave(0, [4, 3]), y: labels([4], 3, 1) },
      [identity([3])],
      { axis: 2 },
      /`axis: 2` is none of the output's/,
    ],
    [
      'an output that does not count the samples',
      { x: wave(0, [4, 3]), y: labels([4], 3, 1) },
      [
        buildModel({
          inputs: [['x', 'float32', ['n', 3]]],
          outputs: [['y', 'float32', [3, 'n']]],
          nodes: [{ opType: 'Transpose', inputs: ['x'], outputs: ['y'] }],
        }),
      ],
      {},
      /first dimension of an output must count the samples/,
    ],
    [
      'labels all of which are left out',
      { x: wave(0, [4, 3]), y: labels([4], 1, 1) },
      [identity([3])],
      { ignoreIndex: 0 },
      /no label of the data counts/,
    ],
  ] as const)('%s', async (_, tensors, models, options, message) => {
    await expect(run(tensorDataset(tensors), models, options)).rejects.toThrow(message);
  });

  test('a signal ends the work with its reason', async () => {
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(run(classData(), [identity([7])], { signal })).rejects.toThrow('enough');
  });
});
