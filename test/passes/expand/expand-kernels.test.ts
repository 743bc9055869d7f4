import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { AttributeValue, Model } from '../../../src/graph/index.js';
import type { ExpandOptions } from '../../../src/passes/expand/expand.js';
import { sufficientHidden } from '../../../src/passes/expand/kernel-split.js';
import { expanded, expectRestored, expectSameFunction } from '../laws.js';
import { oneLayer, weight } from '../models.js';

function conv(
  [outputs, inputs, ...kernel]: readonly [number, number, ...number[]],
  extent: number,
  attributes: Record<string, AttributeValue> = {},
  hasBias = true,
): Model {
  const groups = (attributes.group as { int: number } | undefined)?.int ?? 1;
  return oneLayer({
    opType: 'Conv',
    x: [2, inputs * groups, ...kernel.map(() => extent)],
    y: [2, outputs, ...kernel.map(() => undefined as unknown as number)],
    weight: weight('w', [outputs, inputs, ...kernel]),
    bias: hasBias ? weight('b', [outputs]) : undefined,
    attributes,
  });
}

/** Shapes of the kernels, and the attributes that are not the default, of each node. */
function kernelsOf(model: Model): unknown[] {
  return model.graph.nodes.map((node) => {
    const { attributes } = node;
    const rest = ['strides', 'pads', 'dilations'].flatMap((name) => {
      const values = attributes.ints(name);
      return values === undefined ? [] : [`${name} ${values.join()}`];
    });
    const shape = model.graph.initializers.get(node.inputs[1]!)!.shape;
    return [shape.slice(2).join('x'), ...rest].join('; ');
  });
}

describe('a chain of kernels computes what the kernel computes', () => {
  test('of any dimensions, groups, strides, dilations, pads and lists', async () => {
    const lists: Record<number, number[][]> = {
      2: [
        [2, 1],
        [1, 2],
      ],
      3: [
        [2, 2],
        [3, 1],
        [1, 3, 1],
        [2, 1, 2],
      ],
      4: [
        [2, 3],
        [3, 2],
        [2, 2, 2],
      ],
      5: [
        [3, 3],
        [2, 4],
        [3, 3, 1],
        [2, 2, 3],
        [2, 2, 2, 2],
      ],
    };
    const cases = fc.record({
      dimensions: fc.integer({ min: 1, max: 3 }),
      size: fc.integer({ min: 2, max: 5 }),
      list: fc.nat(10),
      isFlat: fc.boolean(),
      groups: fc.integer({ min: 1, max: 2 }),
      inputs: fc.integer({ min: 1, max: 3 }),
      outputs: fc.integer({ min: 1, max: 3 }),
      stride: fc.integer({ min: 1, max: 3 }),
      dilation: fc.integer({ min: 1, max: 2 }),
      pads: fc.oneof(
        fc.array(fc.nat(3), { minLength: 6, maxLength: 6 }),
        fc.constantFrom('SAME_UPPER', 'SAME_LOWER', 'VALID', undefined),
      ),
      hasBias: fc.boolean(),
      init: fc.constantFrom('balanced' as const, 'identity' as const, 'orthogonal' as const),
      more: fc.constantFrom(0, 1),
    });
    await fc.assert(
      fc.asyncProperty(cases, async (c) => {
        const d = c.size > 3 ? Math.min(c.dimensions, 2) : c.dimensions;
        const list = lists[c.size]![c.list % lists[c.size]!.length]!;
        const kernel = Array.from({ length: d }, (_, axis) => (c.isFlat && axis > 0 ? 1 : c.size));
        const isAutomatic = typeof c.pads === 'string';
        const dilation = isAutomatic ? 1 : c.dilation;
        const extent = 1 + dilation * (c.size - 1) + 2;
        const attributes: Record<string, AttributeValue> = {
          ...(c.groups > 1 && { group: { int: c.groups } }),
          ...(c.stride > 1 && { strides: { ints: kernel.map(() => c.stride) } }),
          ...(dilation > 1 && { dilations: { ints: kernel.map(() => dilation) } }),
          ...(isAutomatic && { auto_pad: { string: c.pads as string } }),
          ...(Array.isArray(c.pads) && {
            pads: { ints: [...c.pads.slice(0, d), ...c.pads.slice(3, 3 + d)] },
          }),
        };
        const model = conv([c.groups * c.outputs, c.inputs, ...kernel], extent, attributes, c.hasBias);
        const kernels = list.map((k) => kernel.map((e) => (e === 1 ? 1 : k)));
        const needed = Math.max(c.outputs, sufficientHidden(c.inputs, c.outputs, kernels)) + c.more;
        const options: ExpandOptions = { kernelSizes: [list], width: needed / c.outputs, init: c.init };
        const {
          expanded: { model: after, account },
        } = await expectRestored(model, options, 2e-6);
        expect(account.skipped).toEqual([]);
        expect(after.graph.nodes).toHaveLength(list.length);
        await expectSameFunction(model, after);
      }),
      { numRuns: 120, seed: 20260501 },
    );
  });

  test('padding stands on the first, the stride on the last that has a kernel, dilation on each', async () => {
    const model = conv([3, 2, 5, 5], 11, {
      pads: { ints: [2, 1, 3, 4] },
      strides: { ints: [2, 3] },
      dilations: { ints: [2, 1] },
    });
    const { model: after } = await expanded(model, { kernelSizes: [[3, 3, 1]], width: 4 });
    expect(kernelsOf(after)).toEqual([
      '3x3; pads 2,1,3,4; dilations 2,1',
      '3x3; strides 2,3; dilations 2,1',
      '1x1',
    ]);
    await expectSameFunction(model, after);
  });

  test('lists are for the kernels that they compose to, other sites are as without them', async () => {
    for (const [kernel, expected] of [
      [
        [5, 5],
        ['3x3', '3x3'],
      ],
      [
        [5, 1],
        ['3x1', '3x1'],
      ],
      [
        [1, 7],
        ['1x3', '1x3', '1x3'],
      ],
      [
        [3, 3],
        ['3x3', '1x1'],
      ],
      [
        [5, 7],
        ['5x7', '1x1'],
      ],
      [
        [1, 1],
        ['1x1', '1x1'],
      ],
    ] as const) {
      const model = conv([2, 2, ...kernel], 9);
      const { model: after } = await expanded(model, {
        kernelSizes: [
          [3, 3],
          [3, 3, 3],
        ],
        width: 9,
      });
      expect(kernelsOf(after)).toEqual(expected);
      await expectSameFunction(model, after);
    }
  });
});

test('a hidden width that is not enough is refused with one that is, or taken with fresh weights', async () => {
  const model = conv([8, 6, 5, 5], 9);
  for (const dryRun of [false, true]) {
    const { account, model: after } = await expanded(model, { kernelSizes: [[3, 3]], dryRun });
    expect(after.changed).toBe(false);
    expect(account.skipped[0]!.reason).toBe(
      "a kernel of 5x5 as 3x3, 3x3 needs 24 hidden units, more than the 8 hidden units of width 1; use `width: 3` or more, or `init: 'fresh:kaiming'`",
    );
  }
  const wide = await expanded(model, { kernelSizes: [[3, 3]], width: 3 });
  expect(wide.account.rewritten).toMatchObject([{ hidden: 24, rank: 24 }]);
  await expectSameFunction(model, wide.model);
  const fresh = await expanded(model, { kernelSizes: [[3, 3]], init: 'fresh:kaiming' });
  expect(kernelsOf(fresh.model)).toEqual(['3x3', '3x3']);
  expect(fresh.account.rewritten).toMatchObject([{ hidden: 8, isPreserved: false }]);
});

test('a kernel of low rank needs less', async () => {
  // One filter for all outputs: the rank of each cut is that of the filter's own places.
  const w = weight('w', [8, 1, 5, 5]);
  const values = w.floats() as Float32Array;
  for (let o = 1; o < 8; o += 1) values.copyWithin(o * 25, 0, 25);
  const model = oneLayer({ opType: 'Conv', x: [1, 1, 9, 9], y: [1, 8, 5, 5], weight: w });
  const { model: after, account } = await expanded(model, { kernelSizes: [[3, 3]], width: 0.5 });
  expect(account.rewritten).toMatchObject([{ hidden: 4, rank: 4 }]);
  await expectSameFunction(model, after);
});

test('SAME padding with a stride needs the size of the input', async () => {
  const attributes = { auto_pad: { string: 'SAME_UPPER' }, strides: { ints: [2, 2] } };
  const known = conv([2, 2, 5, 5], 8, attributes);
  await expectSameFunction(known, (await expanded(known, { kernelSizes: [[3, 3]], width: 4 })).model);
  const unknown = oneLayer({
    opType: 'Conv',
    x: [1, 2, 'h' as unknown as number, 'w' as unknown as number],
    y: [1, 2, undefined as unknown as number, undefined as unknown as number],
    weight: weight('w', [2, 2, 5, 5]),
    attributes,
  });
  const { account } = await expanded(unknown, { kernelSizes: [[3, 3]], width: 4 });
  expect(account.skipped[0]!.reason).toMatch(
    /SAME_UPPER with a stride and the size of its input is not known/,
  );
});

test.each([
  [3, 5, [[3], [3]], Math.min(3 * 2, 5 * 2)],
  [
    2,
    9,
    [
      [3, 3],
      [3, 3],
    ],
    2 * 4,
  ],
  [
    9,
    2,
    [
      [3, 3],
      [3, 3],
    ],
    2 * 4,
  ],
  [
    4,
    4,
    [
      [3, 3],
      [1, 1],
    ],
    4,
  ],
  [
    4,
    4,
    [
      [1, 1],
      [3, 3],
    ],
    4,
  ],
  [
    4,
    4,
    [
      [1, 1],
      [1, 1],
    ],
    4,
  ],
  [4, 4, [[5], [3]], Math.min(4 * 3, 4 * 2)],
])('hidden units that do: %i to %i channels through %j take %i', (inputs, outputs, kernels, expected) => {
  expect(sufficientHidden(inputs, outputs, kernels)).toBe(expected);
});
