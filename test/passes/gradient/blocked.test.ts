import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { assertValid } from '../../../src/graph/index.js';
import { gradient } from '../../../src/passes/gradient/index.js';
import {
  BLOCKED_DOMAIN,
  blockSize,
  evaluate,
  Random,
  type RuntimeTensor,
} from '../../../src/runtime/index.js';
import { relativeError } from '../models.js';
import { opModel, size } from './check-gradient.js';

const block = await blockSize();

/** Channels in and out, and groups: blocks in full and in part, few channels, depthwise. */
const channels = fc.constantFrom(
  [16, 32, 1],
  [20, 36, 1],
  [16, 28, 1],
  [28, 16, 1],
  [3, 16, 1],
  [5, 48, 1],
  [32, 32, 32],
  [64, 64, 64],
  [64, 16, 1],
);

describe.skipIf(block === undefined)('convolutions in the blocked layout', () => {
  test('compute what standard ones do, forward and backward', async () => {
    let count = 0;
    let byImages = 0;
    await fc.assert(
      fc.asyncProperty(
        channels,
        // Blocks of images: none, full ones, some in part.
        fc.constantFrom(2, 16, 28, 32),
        fc.constantFrom([1, 1], [3, 3], [2, 3]),
        fc.constantFrom([1, 1], [2, 2], [1, 3], [2, 1]),
        fc.constantFrom(1, 1, 2),
        fc.constantFrom(0, 1),
        fc.boolean(),
        async ([inputs, outputs, group], batch, kernel, strides, dilation, pad, hasBias) => {
          const shapes = [
            [batch, inputs!, 6, 7],
            [outputs!, inputs! / group!, ...kernel!],
            ...(hasBias ? [[outputs!]] : []),
          ];
          const model = opModel({
            op: 'Conv',
            type: 'float32',
            shapes,
            attributes: {
              group: { int: group! },
              strides: { ints: strides },
              dilations: { ints: [dilation, dilation] },
              pads: { ints: [pad, pad, pad, 0] },
            },
          });
          const wrt = ['a', 'b', ...(hasBias ? ['c'] : [])];
          const [standard, blocked] = [
            await gradient(model, { loss: 'dot', wrt }),
            await gradient(model, { loss: 'dot', wrt, block }),
          ];
          assertValid(blocked.model);
          const ours = blocked.model.graph.nodes.filter(({ domain }) => domain === BLOCKED_DOMAIN);
          const convolutions = ours.filter(({ opType }) => opType === 'Conv');
          count += convolutions.length;
          // Those have dY for a kernel.
          const sizes = convolutions.map(({ attributes }) => `${attributes.ints('kernel_shape')}`);
          byImages += group === 1 ? sizes.filter((own) => own !== `${kernel}` && own !== '1,1').length : 0;
          expect(standard.model.graph.nodes.every(({ domain }) => domain === '')).toBe(true);
          const feeds: Record<string, RuntimeTensor> = {};
          for (const { name, shape } of standard.model.graph.inputs) {
            const data = new Random(1, name).fillNormal(new Float32Array(size(shape as number[])));
            feeds[name] = { type: 'float32', shape: shape as number[], data };
          }
          const [expected, found] = [
            await evaluate(standard.model, feeds),
            await evaluate(blocked.model, feeds),
          ];
          for (const [name, tensor] of Object.entries(expected)) {
            // A sum of numbers that cancel.
            if (name === standard.loss) continue;
            const [a, b] = [tensor.data as Float32Array, found[name]!.data as Float32Array];
            expect(relativeError(a, b), name).toBeLessThan(2e-6);
          }
        },
      ),
      { numRuns: 90, seed: 2 },
    );
    expect(count).toBeGreaterThan(40);
    expect(byImages).toBeGreaterThan(6);
  });
});
