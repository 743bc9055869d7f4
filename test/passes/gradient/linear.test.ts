import fc from 'fast-check';
import { describe, test } from 'vitest';
import { checkOp, ints } from './check-gradient.js';

const dim = fc.integer({ min: 1, max: 4 });
const flag = fc.boolean().map(Number);

describe('products', () => {
  test('Gemm', async () => {
    await fc.assert(
      fc.asyncProperty(dim, dim, dim, flag, flag, fc.nat(3), async (m, k, n, transA, transB, bias) => {
        const c = [[m, n], [n], [m, 1], []][bias]!;
        await checkOp({
          op: 'Gemm',
          shapes: [transA ? [k, m] : [m, k], transB ? [n, k] : [k, n], c],
          attributes: {
            transA: { int: transA },
            transB: { int: transB },
            alpha: { float: 0.5 },
            beta: { float: 2 },
          },
        });
      }),
      { numRuns: 8, seed: 1 },
    );
  });

  test('MatMul: matrices, vectors, batches, broadcast', async () => {
    const cases = [
      [
        [2, 3],
        [3, 4],
      ],
      [[3], [3, 4]],
      [[2, 3], [3]],
      [[3], [3]],
      [
        [2, 5, 3],
        [3, 4],
      ],
      [
        [2, 1, 5, 3],
        [4, 3, 2],
      ],
      [
        [5, 3],
        [2, 3, 2],
      ],
      [
        [4, 1, 2, 3],
        [1, 3, 3, 2],
      ],
      [[2, 4, 3], [3]],
      [[3], [2, 3, 2]],
      [
        [1, 2, 3],
        [3, 2],
      ],
    ] as const;
    for (const shapes of cases) await checkOp({ op: 'MatMul', shapes });
  });

  test('Einsum', async () => {
    const cases = [
      [
        'ij,jk->ik',
        [
          [2, 3],
          [3, 4],
        ],
      ],
      [
        'bhid,bhjd->bhij',
        [
          [2, 2, 3, 2],
          [2, 2, 4, 2],
        ],
      ],
      ['ij->ji', [[2, 3]]],
      ['ij->i', [[2, 3]]],
      [
        'ij,ij',
        [
          [2, 3],
          [2, 3],
        ],
      ],
      [
        '...ij,...jk->...ik',
        [
          [2, 2, 3],
          [2, 3, 2],
        ],
      ],
      ['i,j->ij', [[2], [3]]],
      [
        'bij,kj->bik',
        [
          [2, 3, 2],
          [4, 2],
        ],
      ],
    ] as const;
    for (const [equation, shapes] of cases) {
      await checkOp({ op: 'Einsum', shapes, attributes: { equation: { string: equation } } });
    }
  });
});

/** A convolution in one, two or three dimensions with everything that can vary. */
const convolution = fc
  .record({
    rank: fc.integer({ min: 1, max: 3 }),
    group: fc.integer({ min: 1, max: 3 }),
    perGroupIn: fc.integer({ min: 1, max: 2 }),
    perGroupOut: fc.integer({ min: 1, max: 2 }),
    kernel: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 3, maxLength: 3 }),
    strides: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 3, maxLength: 3 }),
    dilations: fc.array(fc.integer({ min: 1, max: 2 }), { minLength: 3, maxLength: 3 }),
    pads: fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 6, maxLength: 6 }),
    extra: fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 3, maxLength: 3 }),
    auto: fc.constantFrom('NOTSET', 'NOTSET', 'NOTSET', 'SAME_UPPER', 'SAME_LOWER', 'VALID'),
    batch: fc.integer({ min: 1, max: 2 }),
    bias: fc.boolean(),
  })
  .map((c) => {
    const cut = (list: readonly number[]) => list.slice(0, c.rank);
    const kernel = cut(c.kernel);
    const dilations = c.auto === 'NOTSET' ? cut(c.dilations) : kernel.map(() => 1);
    // As large as the window, and some more that strides need not divide.
    const spatial = kernel.map((k, i) => (k - 1) * dilations[i]! + 1 + c.extra[i]!);
    const pads = [...cut(c.pads), ...c.pads.slice(3, 3 + c.rank)];
    return { ...c, kernel, strides: cut(c.strides), dilations, spatial, pads };
  });

const bilinear = { type: 'float32', step: 0.5, tolerance: 3e-5 } as const;

describe('convolutions', () => {
  test('Conv in 1, 2 and 3 dimensions: groups, strides, dilations, pads, auto_pad', async () => {
    await fc.assert(
      fc.asyncProperty(convolution, async (c) => {
        const m = c.group * c.perGroupOut;
        await checkOp({
          op: 'Conv',
          ...bilinear,
          shapes: [
            [c.batch, c.group * c.perGroupIn, ...c.spatial],
            [m, c.perGroupIn, ...c.kernel],
            ...(c.bias ? [[m]] : []),
          ],
          attributes: {
            group: { int: c.group },
            strides: { ints: c.strides },
            dilations: { ints: c.dilations },
            ...(c.auto === 'NOTSET' ? { pads: { ints: c.pads } } : { auto_pad: { string: c.auto } }),
          },
        });
      }),
      { numRuns: 40, seed: 3 },
    );
  });

  test('Conv with more channels: the weight by shifts of the input, image by image and all at once', async () => {
    const channels = fc.constantFrom([4, 2], [5, 6], [32, 33]);
    await fc.assert(
      fc.asyncProperty(convolution, channels, async (c, [perGroupIn, perGroupOut]) => {
        await checkOp({
          op: 'Conv',
          ...bilinear,
          shapes: [
            [c.batch, c.group * perGroupIn!, ...c.spatial],
            [c.group * perGroupOut!, perGroupIn!, ...c.kernel],
          ],
          attributes: {
            group: { int: c.group },
            strides: { ints: c.strides },
            dilations: { ints: c.dilations },
            pads: { ints: c.pads },
          },
        });
      }),
      { numRuns: 25, seed: 5 },
    );
  });

  test('Conv by slices, for providers with a Conv in part', async () => {
    await fc.assert(
      fc.asyncProperty(convolution, async (c) => {
        await checkOp({
          op: 'Conv',
          ...bilinear,
          options: { elementary: true },
          shapes: [
            [c.batch, c.group * c.perGroupIn, ...c.spatial],
            [c.group * c.perGroupOut, c.perGroupIn, ...c.kernel],
          ],
          attributes: {
            group: { int: c.group },
            strides: { ints: c.strides },
            dilations: { ints: c.dilations },
            pads: { ints: c.pads },
          },
        });
      }),
      { numRuns: 15, seed: 6 },
    );
  });

  test('Conv without gathering windows', async () => {
    await fc.assert(
      fc.asyncProperty(convolution, async (c) => {
        await checkOp({
          op: 'Conv',
          ...bilinear,
          options: { columnBytes: 0 },
          shapes: [
            [c.batch, c.group * c.perGroupIn, ...c.spatial],
            [c.group * c.perGroupOut, c.perGroupIn, ...c.kernel],
          ],
          attributes: {
            group: { int: c.group },
            strides: { ints: c.strides },
            dilations: { ints: c.dilations },
            pads: { ints: c.pads },
          },
        });
      }),
      { numRuns: 15, seed: 1 },
    );
  });

  test('ConvTranspose in 1, 2 and 3 dimensions', async () => {
    await fc.assert(
      fc.asyncProperty(convolution, fc.boolean(), async (c, padded) => {
        const spatial = c.extra.slice(0, c.rank).map((size) => size + 1);
        const outputPadding = c.strides.map((stride) => (padded ? stride - 1 : 0));
        // What is cut off must leave something.
        const pads = c.pads.map((pad, i) =>
          Math.min(pad, Math.floor(((c.kernel[i % c.rank]! - 1) * c.dilations[i % c.rank]!) / 2)),
        );
        await checkOp({
          op: 'ConvTranspose',
          ...bilinear,
          shapes: [
            [c.batch, c.group * c.perGroupIn, ...spatial],
            [c.group * c.perGroupIn, c.perGroupOut, ...c.kernel],
            ...(c.bias ? [[c.group * c.perGroupOut]] : []),
          ],
          attributes: {
            group: { int: c.group },
            strides: { ints: c.strides },
            dilations: { ints: c.dilations },
            pads: { ints: pads },
            output_padding: { ints: outputPadding },
          },
        });
      }),
      { numRuns: 25, seed: 1 },
    );
  });

  test('ConvTranspose with output_shape', async () => {
    for (const auto of ['NOTSET', 'SAME_UPPER', 'SAME_LOWER']) {
      await checkOp({
        op: 'ConvTranspose',
        ...bilinear,
        shapes: [
          [1, 2, 3, 3],
          [2, 1, 3, 3],
        ],
        attributes: { strides: { ints: [2, 2] }, output_shape: { ints: [6, 6] }, auto_pad: { string: auto } },
      });
    }
  });

  test('Col2Im', async () => {
    await checkOp({
      op: 'Col2Im',
      ...bilinear,
      shapes: [[2, 2 * 4, 6]],
      constants: [ints('image', [3, 4]), ints('block', [2, 2])],
    });
  });
});
