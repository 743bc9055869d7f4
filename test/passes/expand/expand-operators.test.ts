import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { AttributeValue } from '../../../src/graph/index.js';
import type { ExpandOptions } from '../../../src/passes/expand/expand.js';
import { expanded, expectRestored, expectSameFunction, TOLERANCE } from '../laws.js';
import { opsOf, stack, weight } from '../models.js';

const options: fc.Arbitrary<ExpandOptions> = fc.record({
  depth: fc.integer({ min: 2, max: 4 }),
  width: fc.constantFrom(1, 1.5, 3),
  init: fc.constantFrom('balanced', 'identity', 'orthogonal'),
  seed: fc.nat(5),
});

describe('an expanded model computes what the model computes', () => {
  test('ConvTranspose of 1 to 3 dimensions, any groups, strides, dilations, pads and output padding', async () => {
    const three = (max: number) => fc.array(fc.integer({ min: 1, max }), { minLength: 3, maxLength: 3 });
    const cases = fc.record({
      dimensions: fc.integer({ min: 1, max: 3 }),
      groups: fc.integer({ min: 1, max: 3 }),
      inputs: fc.integer({ min: 1, max: 4 }),
      outputs: fc.integer({ min: 1, max: 3 }),
      kernel: three(3),
      strides: fc.option(three(3), { nil: undefined }),
      dilations: fc.option(three(2), { nil: undefined }),
      hasPads: fc.boolean(),
      hasOutputPadding: fc.boolean(),
      hasBias: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(cases, options, async (c, settings) => {
        const d = c.dimensions;
        const { groups, inputs, outputs } = c;
        const strides = c.strides?.slice(0, d);
        const dilations = c.dilations?.slice(0, d);
        const kernel = c.kernel.slice(0, d);
        const attributes: Record<string, AttributeValue> = {
          ...(groups > 1 && { group: { int: groups } }),
          ...(strides && { strides: { ints: strides } }),
          ...(dilations && { dilations: { ints: dilations } }),
          ...(c.hasPads && { pads: { ints: kernel.concat(kernel).map((extent) => (extent > 1 ? 1 : 0)) } }),
          // Less than the stride, as onnxruntime wants it.
          ...(c.hasOutputPadding &&
            strides && { output_padding: { ints: strides.map((stride) => stride - 1) } }),
        };
        const model = stack(
          [2, groups * inputs, ...Array.from({ length: d }, () => 4)],
          [
            {
              opType: 'ConvTranspose',
              name: 'up',
              inputs: ['x', 'w', ...(c.hasBias ? ['b'] : [])],
              outputs: ['y'],
              attributes,
            },
          ],
          [
            weight('w', [groups * inputs, outputs, ...kernel]),
            ...(c.hasBias ? [weight('b', [groups * outputs])] : []),
          ],
        );
        const {
          expanded: { model: after, account },
        } = await expectRestored(model, settings);
        expect(opsOf(after)).toEqual(Array(settings.depth).fill('ConvTranspose'));
        const { parametersAfter } = account.rewritten[0]!;
        const sizes = [...after.graph.initializers.values()].filter(({ name }) => name !== 'b');
        expect(sizes.reduce((sum, { size }) => sum + size, 0)).toBe(parametersAfter);
        await expectSameFunction(model, after);
      }),
      { numRuns: 60, seed: 20260401 },
    );
  });

  test('MatMul with a batch of constant matrices on either side', async () => {
    const cases = fc.record({
      batch: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 2 }),
      ofData: fc.constantFrom('same', 'none', 'ones', 'more'),
      m: fc.integer({ min: 1, max: 4 }),
      k: fc.integer({ min: 1, max: 6 }),
      n: fc.integer({ min: 1, max: 6 }),
      isWeightLeft: fc.boolean(),
      type: fc.constantFrom('float32' as const, 'float64' as const),
    });
    await fc.assert(
      fc.asyncProperty(cases, options, async ({ batch, ofData, m, k, n, isWeightLeft, type }, settings) => {
        const outer = { same: batch, none: [], ones: batch.map(() => 1), more: [2, ...batch] }[ofData];
        const x = [...outer, ...(isWeightLeft ? [k, m] : [m, k])];
        const model = stack(
          [],
          [
            {
              opType: 'MatMul',
              name: 'mix',
              inputs: isWeightLeft ? ['w', 'x'] : ['x', 'w'],
              outputs: ['y'],
            },
          ],
          [weight('w', [...batch, ...(isWeightLeft ? [n, k] : [k, n])], type)],
          { inputs: [['x', type, x]], outputs: [['y', type]] },
        );
        const {
          expanded: { model: after, account },
        } = await expectRestored(model, settings, type === 'float32' ? 1e-6 : 1e-13);
        expect(opsOf(after)).toEqual(Array(settings.depth).fill('MatMul'));
        expect(account.rewritten[0]!.rank).toBeLessThanOrEqual(Math.max(k, n));
        await expectSameFunction(model, after, TOLERANCE[type]);
      }),
      { numRuns: 50, seed: 20260402 },
    );
  });
});

test('a batch of matrices is left alone where its data may be a vector', async () => {
  const nodes = (data: string) => [
    { opType: 'Relu', name: 'r', inputs: ['x'], outputs: ['h'] },
    { opType: 'MatMul', name: 'mix', inputs: [data, 'w'], outputs: ['y'] },
  ];
  // It drops the axes of size 1, and the size of the first is open.
  const squeezed = [
    { opType: 'Squeeze', name: 's', inputs: ['x'], outputs: ['h'] },
    { opType: 'MatMul', name: 'mix', inputs: ['h', 'w'], outputs: ['y'] },
  ];
  const w = weight('w', [2, 3, 4]);
  for (const [model, reason] of [
    [stack([3], nodes('x'), [w]), /its data 'x' is a vector/],
    [stack([3], nodes('h'), [w]), /its data 'h' is a vector/],
    [stack(['n', 3], squeezed, [w]), /the rank of its data 'h' is not known/],
  ] as const) {
    const { account } = await expanded(model);
    expect(account.rewritten).toEqual([]);
    expect(account.skipped[0]!.reason).toMatch(reason);
  }
  // The rank of the output tells it as well.
  const told = stack([2, 5, 3], nodes('h'), [w], { outputs: [['y', 'float32', [2, 5, 4]]] });
  const { model: after, account } = await expanded(told);
  expect(account.rewritten).toHaveLength(1);
  await expectSameFunction(told, after);
});

test('an Add that is the bias of a MatMul stays, and behind it nothing changes', async () => {
  const model = stack(
    [2, 5],
    [
      { opType: 'MatMul', name: 'm', inputs: ['x', 'w'], outputs: ['h'] },
      { opType: 'Add', name: 'a', inputs: ['h', 'b'], outputs: ['y'] },
    ],
    [weight('w', [5, 4]), weight('b', [4])],
  );
  const { model: after } = await expanded(model);
  expect(opsOf(after)).toEqual(['MatMul', 'MatMul', 'Add']);
  expect(after.graph.nodes[2]!.inputs).toEqual(['h', 'b']);
  await expectSameFunction(model, after);
});
