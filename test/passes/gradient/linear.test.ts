import fc from 'fast-check';
import { describe, test } from 'vitest';
import { checkOp, ints, type OpCase } from './check-gradient.js';
import { checkCases, flags, integers, permutationOf, shapes } from './draw.js';

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
    const drawn = fc.tuple(shapes(0, 2, 3), flags(4), fc.nat(2), fc.nat(2), integers(3, 1, 4), flags(2));
    await checkCases(
      drawn.map(([batch, ones, skipA, skipB, [m = 1, k = 1, n = 1], [isVectorA, isVectorB]]): OpCase => {
        const lead = (skip: number, from: number): number[] =>
          batch.map((size, axis) => (ones[from + axis] ? 1 : size)).slice(Math.min(skip, batch.length));
        return {
          op: 'MatMul',
          shapes: [isVectorA ? [k] : [...lead(skipA, 0), m, k], isVectorB ? [k] : [...lead(skipB, 2), k, n]],
        };
      }),
      24,
    );
  });

  test('Einsum: any letters of one to three operands, twice in one, of size 1; any result, or the one implied', async () => {
    const sizes: Readonly<Record<string, number>> = { a: 2, b: 3, c: 4, d: 2 };
    const letters = fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { minLength: 1, maxLength: 3 });
    const drawn = fc.tuple(
      fc.array(letters, { minLength: 1, maxLength: 3 }),
      flags(3),
      permutationOf(4),
      flags(5),
    );
    await checkCases(
      drawn.map(([operands, small, order, [isImplied, ...wanted]]): OpCase => {
        const used = [...new Set(operands.flat())];
        const result = order
          .flatMap((place) => (wanted[place] ? ['abcd'[place]!] : []))
          .filter((x) => (used as string[]).includes(x));
        const equation = operands.map((labels) => labels.join('')).join(',');
        return {
          op: 'Einsum',
          // A dimension of 1 is broadcast, where another operand has the letter in full.
          shapes: operands.map((labels, index) =>
            labels.map((letter) => {
              const isFullElsewhere = operands.some(
                (other, at) => at < index && other.includes(letter) && !small[at],
              );
              const isOnce = labels.filter((other) => other === letter).length === 1;
              return small[index] && isFullElsewhere && isOnce ? 1 : sizes[letter]!;
            }),
          ),
          attributes: { equation: { string: isImplied ? equation : `${equation}->${result.join('')}` } },
          tolerance: 1e-6,
        };
      }),
      30,
    );
    for (const [equation, ...of] of [
      ['...ij,...jk->...ik', [2, 2, 3], [2, 3, 2]],
      ['...i,i', [2, 3], [3]],
      ['b...,...b->...', [2, 3], [3, 2]],
    ] as const) {
      await checkOp({ op: 'Einsum', shapes: of, attributes: { equation: { string: equation } } });
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

  test('Conv with more channels and no strides: the weight by one product of shifted copies, and without copies', async () => {
    const channels = fc.constantFrom([4, 2], [2, 5], [5, 6], [12, 7]);
    const limit = fc.constantFrom(undefined, undefined, 0);
    await fc.assert(
      fc.asyncProperty(convolution, channels, limit, async (c, [perGroupIn, perGroupOut], columnBytes) => {
        await checkOp({
          op: 'Conv',
          ...bilinear,
          options: { columnBytes },
          shapes: [
            [2 * c.batch, c.group * perGroupIn!, ...c.spatial],
            [c.group * perGroupOut!, perGroupIn!, ...c.kernel],
          ],
          attributes: {
            group: { int: c.group },
            dilations: { ints: c.dilations },
            pads: { ints: c.pads },
          },
        });
      }),
      { numRuns: 30, seed: 6 },
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
    const drawn = fc.tuple(
      fc.constantFrom('NOTSET', 'SAME_UPPER', 'SAME_LOWER'),
      shapes(1, 2, 3),
      integers(4, 1, 3),
    );
    await checkCases(
      drawn.map(([auto, spatial, [k = 1, stride = 1, more = 1]]): OpCase => {
        const kernel = spatial.map(() => Math.max(k, stride));
        return {
          op: 'ConvTranspose',
          ...bilinear,
          shapes: [
            [1, 2, ...spatial],
            [2, 1, ...kernel],
          ],
          attributes: {
            strides: { ints: spatial.map(() => stride) },
            output_shape: {
              ints: spatial.map((size) => Math.max(1, stride * size - Math.min(more, stride) + 1)),
            },
            auto_pad: { string: auto },
          },
        };
      }),
    );
  });

  test('Col2Im', async () => {
    const drawn = fc.tuple(
      shapes(2, 2, 2),
      shapes(2, 2, 3),
      integers(2, 0, 2),
      integers(4, 1, 2),
      integers(4, 0, 1),
    );
    await checkCases(
      drawn.map(([[n = 1, c = 1], block, extra, [stride = 1, dilation = 1], pads]): OpCase => {
        const reach = block.map((size) => (size - 1) * dilation + 1);
        const image = reach.map((size, i) => size + extra[i]!);
        const count = image.map(
          (size, i) => Math.floor((size + pads[i]! + pads[i + 2]! - reach[i]!) / stride) + 1,
        );
        return {
          op: 'Col2Im',
          ...bilinear,
          shapes: [[n, c * block[0]! * block[1]!, count[0]! * count[1]!]],
          constants: [ints('image', image), ints('block', block)],
          attributes: {
            strides: { ints: [stride, stride] },
            dilations: { ints: [dilation, dilation] },
            pads: { ints: pads },
          },
        };
      }),
    );
  });
});
