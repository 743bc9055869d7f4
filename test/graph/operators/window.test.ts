import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type NodeSpec, ValueInfo } from '../../../src/graph/index.js';
import { windowOf } from '../../../src/graph/operators/window.js';
import { openSession, randomInputs } from '../../../src/runtime/index.js';
import { buildModel, floats } from '../../support/build.js';

const AXIS = fc.record({
  extent: fc.integer({ min: 1, max: 5 }),
  stride: fc.integer({ min: 1, max: 4 }),
  size: fc.integer({ min: 1, max: 11 }),
});

function convolution(
  sizes: readonly number[],
  extents: readonly number[],
  attributes: NonNullable<NodeSpec['attributes']>,
) {
  return buildModel({
    nodes: [{ opType: 'Conv', inputs: ['x', 'w'], outputs: ['y'], attributes }],
    inputs: [ValueInfo.tensor('x', 'float32', [1, 1, ...sizes])],
    outputs: [ValueInfo.tensor('y', 'float32')],
    initializers: [floats('w', [1, 1, ...extents], (i) => i + 1)],
  });
}

test('pads of SAME in numbers give what onnxruntime makes of auto_pad', { timeout: 60_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(AXIS, { minLength: 1, maxLength: 2 }),
      fc.constantFrom('SAME_UPPER', 'SAME_LOWER'),
      async (axes, mode) => {
        const [sizes, extents] = [axes.map(({ size }) => size), axes.map(({ extent }) => extent)];
        const strides = { ints: axes.map(({ stride }) => stride) };
        const automatic = convolution(sizes, extents, { strides, auto_pad: { string: mode } });
        const window = windowOf(automatic.graph.nodes[0]!, extents, sizes);
        // What no pads say: too many elements behind the last window.
        const left = axes.map(
          ({ size, extent, stride }) => (Math.ceil(size / stride) - 1) * stride + extent - size,
        );
        expect(window.auto !== undefined).toBe(left.some((total) => total < -2));
        if (window.auto !== undefined) return;
        const explicit = convolution(sizes, extents, { strides, pads: { ints: window.pads } });
        await using a = await openSession(automatic);
        await using b = await openSession(explicit);
        const inputs = randomInputs(automatic);
        expect((await a.run(inputs)).y).toEqual((await b.run(inputs)).y);
      },
    ),
    { numRuns: 60 },
  );
});

test('pads of SAME that depend on sizes are open without them', () => {
  const { graph } = convolution([7, 7], [3, 1], {
    strides: { ints: [2, 2] },
    auto_pad: { string: 'SAME_UPPER' },
  });
  const [node] = graph.nodes;
  expect(windowOf(node!, [3, 1]).auto).toBe('SAME_UPPER');
  expect(windowOf(node!, [3, 1], [7]).pads).toEqual([1, 0, 1, 0]);
  expect(windowOf(node!, [1, 1])).toMatchObject({ pads: [0, 0, 0, 0] });
});
