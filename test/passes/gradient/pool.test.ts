import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { gradient } from '../../../src/passes/gradient/index.js';
import { openSession } from '../../../src/runtime/index.js';
import { checkOp, type OpCase, opModel } from './check-gradient.js';
import { checkCases, shapes } from './draw.js';

const three = (min: number, max: number) =>
  fc.array(fc.integer({ min, max }), { minLength: 3, maxLength: 3 });

const pooling = fc
  .record({
    rank: fc.integer({ min: 1, max: 3 }),
    kernel: three(1, 3),
    strides: three(1, 3),
    dilations: three(1, 2),
    begin: three(0, 2),
    end: three(0, 2),
    extra: three(0, 4),
    ceil: fc.boolean(),
    auto: fc.constantFrom('NOTSET', 'NOTSET', 'SAME_UPPER', 'SAME_LOWER'),
    tiled: fc.boolean(),
    seed: fc.nat(100),
  })
  .map((c) => {
    const cut = (list: readonly number[]) => list.slice(0, c.rank);
    const kernel = cut(c.kernel);
    const strides = c.tiled ? kernel : cut(c.strides);
    const pad = (list: readonly number[]) =>
      c.tiled ? kernel.map(() => 0) : cut(list).map((count, i) => Math.min(count, kernel[i]! - 1));
    const isAuto = c.auto !== 'NOTSET' && !c.tiled;
    return {
      ...c,
      kernel,
      // onnxruntime refuses windows that leave gaps with auto_pad.
      strides: isAuto ? strides.map((stride, i) => Math.min(stride, kernel[i]!)) : strides,
      dilations: cut(c.dilations),
      spatial: kernel.map((k, i) => 2 * (k - 1) + 1 + c.extra[i]!),
      pads: [...pad(c.begin), ...pad(c.end)],
      auto: c.tiled ? 'NOTSET' : c.auto,
    };
  });

/** A last window that begins behind the input: frameworks drop it, onnxruntime's shape inference does not. */
function hasStrayWindow(
  c: { spatial: number[]; kernel: number[]; strides: number[]; pads: number[]; ceil: boolean },
  dilations: readonly number[],
): boolean {
  return (
    c.ceil &&
    c.spatial.some((size, i) => {
      const room =
        size + c.pads[i]! + c.pads[i + c.kernel.length]! - ((c.kernel[i]! - 1) * dilations[i]! + 1);
      return Math.ceil(room / c.strides[i]!) * c.strides[i]! >= size + c.pads[i]!;
    })
  );
}

/** Well apart, so that a step changes no maximum. */
const apart = (_: number, index: number): number => ((index * 37) % 101) / 10 - 5;

describe('poolings', () => {
  test('MaxPool: overlap, strides, dilations, pads, ceil_mode', async () => {
    await fc.assert(
      fc.asyncProperty(pooling, async (c) => {
        fc.pre(!hasStrayWindow(c, c.dilations) && !hasStrayWindow(c, [1, 1, 1]));
        const isPlain = c.auto !== 'NOTSET' || c.tiled;
        await checkOp({
          op: 'MaxPool',
          type: 'float32',
          step: 0.02,
          tolerance: 1e-4,
          shapes: [[1, 2, ...c.spatial]],
          map: apart,
          attributes: {
            kernel_shape: { ints: c.kernel },
            strides: { ints: c.strides },
            ...(isPlain ? {} : { dilations: { ints: c.dilations } }),
            ...(c.auto === 'NOTSET' ? { pads: { ints: c.pads } } : { auto_pad: { string: c.auto } }),
            ceil_mode: { int: c.auto === 'NOTSET' && c.ceil ? 1 : 0 },
          },
        });
      }),
      { numRuns: 40, seed: 2 },
    );
  });

  test('AveragePool: overlap, strides, pads, ceil_mode, count_include_pad', async () => {
    await fc.assert(
      fc.asyncProperty(pooling, fc.boolean(), async (c, includePad) => {
        fc.pre(!hasStrayWindow(c, [1, 1, 1]));
        await checkOp({
          op: 'AveragePool',
          type: 'float32',
          step: 0.5,
          tolerance: 3e-5,
          shapes: [[1, 2, ...c.spatial]],
          attributes: {
            kernel_shape: { ints: c.kernel },
            strides: { ints: c.strides },
            ...(c.auto === 'NOTSET' ? { pads: { ints: c.pads } } : { auto_pad: { string: c.auto } }),
            ceil_mode: { int: c.auto === 'NOTSET' && c.ceil ? 1 : 0 },
            count_include_pad: { int: includePad ? 1 : 0 },
          },
        });
      }),
      { numRuns: 40, seed: 2 },
    );
  });

  test('global poolings', async () => {
    await checkCases(
      shapes(3, 5).map(
        (shape): OpCase => ({
          op: 'GlobalAveragePool',
          type: 'float32',
          step: 0.5,
          tolerance: 1e-5,
          shapes: [shape],
        }),
      ),
    );
    await checkCases(
      shapes(3, 4).map(
        (shape): OpCase => ({
          op: 'GlobalMaxPool',
          type: 'float32',
          step: 0.02,
          tolerance: 1e-4,
          shapes: [shape],
          map: apart,
        }),
      ),
    );
  });

  test('the gradient of ties is shared: it adds up to what the window got', async () => {
    for (const [kernel, stride] of [
      [2, 2],
      [3, 1],
    ] as const) {
      const attributes = { kernel_shape: { ints: [kernel, kernel] }, strides: { ints: [stride, stride] } };
      const model = opModel({ op: 'MaxPool', shapes: [[1, 1, 4, 4]], type: 'float32', attributes });
      const made = await gradient(model, { loss: 'sum', wrt: ['a'] });
      await using session = await openSession(made.model);
      const results = await session.run({
        a: { type: 'float32', shape: [1, 1, 4, 4], data: new Float32Array(16) },
      });
      const found = results[made.gradients.get('a')!]!.data as Float32Array;
      expect(found.reduce((a, b) => a + b, 0)).toBeCloseTo(4, 5);
      expect(Math.max(...found)).toBeLessThan(1);
    }
  });
});
