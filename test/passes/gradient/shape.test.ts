import fc from 'fast-check';
import { describe, test } from 'vitest';
import { Tensor } from '../../../src/graph/index.js';
import { checkOp, ints, type OpCase, singles, size } from './check-gradient.js';
import { axesOf, axisOf, checkCases, flags, integers, permutationOf, shapes } from './draw.js';

const attributesOf = (numbers: Readonly<Record<string, number>>): OpCase['attributes'] =>
  Object.fromEntries(Object.entries(numbers).map(([name, int]) => [name, { int }]));

describe('operators that give elements another shape', () => {
  test('Reshape: axes merged, 1s put in, 0 and -1', async () => {
    const cases = shapes(1, 4).chain((shape) =>
      fc
        .tuple(flags(shape.length), flags(shape.length), fc.nat(5), fc.boolean())
        .map(([merged, spread, open, kept]): OpCase => {
          const target: number[] = [];
          for (const [axis, dim] of shape.entries()) {
            if (merged[axis] && target.length > 0) target.push(target.pop()! * dim);
            else target.push(...(spread[axis] ? [1, dim] : [dim]));
          }
          if (kept && target[0] === shape[0]) target[0] = 0;
          if (open < target.length) target[open] = -1;
          return { op: 'Reshape', shapes: [shape], constants: [ints('s', target)] };
        }),
    );
    await checkCases(cases, 10);
  });

  test('Flatten, Transpose', async () => {
    await checkCases(
      shapes(1, 4).chain((shape) =>
        fc
          .integer({ min: -shape.length, max: shape.length })
          .map((axis): OpCase => ({ op: 'Flatten', shapes: [shape], attributes: attributesOf({ axis }) })),
      ),
    );
    await checkCases(
      shapes(1, 4).chain((shape) =>
        fc.option(permutationOf(shape.length)).map(
          (perm): OpCase => ({
            op: 'Transpose',
            shapes: [shape],
            ...(perm && { attributes: { perm: { ints: perm } } }),
          }),
        ),
      ),
      8,
    );
  });

  test('Squeeze, Unsqueeze', async () => {
    await checkCases(
      shapes(1, 4).chain((shape) =>
        fc.option(axesOf(shape, 1)).map((axes): OpCase => {
          const chosen = new Set(axes?.map((axis) => (axis + shape.length) % shape.length));
          const given = shape.map((dim, axis) => (chosen.has(axis) ? 1 : dim));
          return { op: 'Squeeze', shapes: [given], constants: axes === null ? [] : [ints('s', axes)] };
        }),
      ),
    );
    await checkCases(
      shapes(1, 5).chain((whole) =>
        axesOf(whole, 1).map((axes): OpCase => {
          const added = new Set(axes.map((axis) => (axis + whole.length) % whole.length));
          const shape = whole.filter((_, axis) => !added.has(axis));
          return { op: 'Unsqueeze', shapes: [shape], constants: [ints('s', axes)] };
        }),
      ),
    );
  });

  test('Expand: dimensions of 1, dimensions put in front, and a target that asks for less', async () => {
    await checkCases(
      fc.tuple(shapes(1, 4), flags(4), flags(4), fc.nat(2)).map(([full, ones, less, skip]): OpCase => {
        const shape = full.slice(Math.min(skip, full.length)).map((dim, axis) => (ones[axis] ? 1 : dim));
        const front = full.length - shape.length;
        const target = full.map((dim, axis) => (axis >= front && less[axis] ? 1 : dim));
        return { op: 'Expand', shapes: [shape], constants: [ints('s', target)] };
      }),
      8,
    );
  });

  test('Tile', async () => {
    await checkCases(
      shapes(1, 3).chain((shape) =>
        integers(shape.length, 1, 3).map(
          (repeats): OpCase => ({ op: 'Tile', shapes: [shape], constants: [ints('s', repeats)] }),
        ),
      ),
    );
  });

  test('DepthToSpace, SpaceToDepth', async () => {
    const drawn = fc.tuple(
      fc.constantFrom('DepthToSpace', 'SpaceToDepth'),
      fc.constantFrom('DCR', 'CRD'),
      fc.integer({ min: 1, max: 3 }),
      shapes(4, 4, 2),
    );
    await checkCases(
      drawn.map(([op, mode, block, [n = 1, c = 1, h = 1, w = 1]]): OpCase => {
        const blocksize = { int: block };
        return op === 'DepthToSpace'
          ? { op, shapes: [[n, c * block * block, h, w]], attributes: { blocksize, mode: { string: mode } } }
          : { op, shapes: [[n, c, h * block, w * block]], attributes: { blocksize } };
      }),
    );
  });

  test('Cast', async () => {
    await checkCases(
      shapes(0, 3).map(
        (shape): OpCase => ({ op: 'Cast', shapes: [shape], attributes: attributesOf({ to: 11 }) }),
      ),
      3,
    );
  });
});

describe('operators that put together and take apart', () => {
  test('Concat, of up to four, and of one with itself', async () => {
    await checkCases(
      shapes(1, 4).chain((shape) =>
        fc
          .tuple(
            axisOf(shape),
            fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 4 }),
            fc.boolean(),
          )
          .map(
            ([axis, sizes, twice]): OpCase => ({
              op: 'Concat',
              shapes: sizes.map((count) => shape.with(axis, count)),
              attributes: attributesOf({ axis }),
              ...(twice && { order: [...sizes.keys(), 0] }),
            }),
          ),
      ),
    );
  });

  test('Split: given sizes, equal parts, a last part that is smaller; any output', async () => {
    await checkCases(
      shapes(1, 3).chain((shape) =>
        fc
          .tuple(axisOf(shape), integers(3, 1, 3), fc.integer({ min: 2, max: 3 }), fc.boolean(), fc.nat(2))
          .map(([axis, sizes, outputs, isGiven, output]): OpCase => {
            const parts = sizes.slice(0, outputs);
            const total = isGiven
              ? parts.reduce((a, b) => a + b)
              : outputs * sizes[0]! - Math.min(sizes[0]! - 1, sizes[1]! - 1);
            return {
              op: 'Split',
              shapes: [shape.with(axis, total)],
              constants: isGiven ? [ints('s', parts)] : [],
              attributes: attributesOf({ axis, ...(!isGiven && { num_outputs: outputs }) }),
              outputs,
              output: output % outputs,
            };
          }),
      ),
    );
  });

  test('Slice: bounds beyond the ends, steps, backwards', async () => {
    const bound = fc.integer({ min: -8, max: 8 });
    const step = fc.constantFrom(1, 1, 2, 3, -1, -2);
    // Python's rule tells what is empty.
    const count = (dim: number, start: number, end: number, by: number): number => {
      const clamp = (x: number): number =>
        by > 0
          ? Math.min(Math.max(x < 0 ? x + dim : x, 0), dim)
          : Math.min(Math.max(x < 0 ? x + dim : x, -1), dim - 1);
      return Math.ceil((clamp(end) - clamp(start)) / by);
    };
    await checkCases(
      shapes(1, 3, 6).chain((shape) =>
        fc
          .tuple(
            axesOf(shape, 1),
            fc.array(fc.tuple(bound, bound, step), { minLength: 3, maxLength: 3 }),
            fc.boolean(),
          )
          .map(([axes, bounds, isPlain]) => {
            const parts = axes.map((axis, i) => {
              const [start, end, by] = bounds[i]!;
              return { axis, start, end, by: isPlain ? 1 : by, dim: shape.at(axis)! };
            });
            return { shape, parts, isPlain };
          })
          .filter(({ parts }) => parts.every(({ dim, start, end, by }) => count(dim, start, end, by) > 0))
          .map(({ shape, parts, isPlain }): OpCase => {
            const list = (name: string, key: 'start' | 'end' | 'axis' | 'by'): Tensor =>
              ints(
                name,
                parts.map((part) => part[key]),
              );
            return {
              op: 'Slice',
              shapes: [shape],
              constants: [
                list('starts', 'start'),
                list('ends', 'end'),
                list('axes', 'axis'),
                ...(isPlain ? [] : [list('steps', 'by')]),
              ],
            };
          }),
      ),
      20,
    );
  });

  test('Pad: zeros, negative, reflected, edge, wrapped; some of the axes', async () => {
    await checkCases(
      shapes(1, 3).chain((shape) =>
        fc
          .tuple(
            fc.constantFrom('constant', 'reflect', 'edge', 'wrap'),
            axesOf(shape, 1),
            integers(6, -1, 2),
            fc.boolean(),
          )
          .map(([mode, some, drawn, isAll]): OpCase => {
            const axes = isAll ? [...shape.keys()] : some;
            const pads = [0, 1].flatMap((end) =>
              axes.map((axis, i) => {
                const dim = shape.at(axis)!;
                const pad = drawn[2 * i + end]!;
                // A reflection does not reach beyond the other end; what is cut off leaves something.
                if (mode === 'reflect') return Math.min(Math.max(0, pad), dim - 1);
                // onnxruntime reads past its memory where it would have to wrap twice.
                if (mode === 'wrap') return Math.min(Math.max(0, pad), dim);
                return mode === 'constant' && dim > 2 ? pad : Math.max(0, pad);
              }),
            );
            return {
              op: 'Pad',
              shapes: [shape],
              constants: [ints('p', pads), ...(isAll ? [] : (['', ints('axes', axes)] as const))],
              attributes: { mode: { string: mode } },
              opset: 19,
            };
          }),
      ),
      16,
    );
  });

  test('Where, its condition broadcast too', async () => {
    await checkCases(
      fc.tuple(shapes(1, 3), flags(9), integers(64, 0, 1)).map(([full, ones, numbers]): OpCase => {
        const of = (which: number): number[] => full.map((dim, axis) => (ones[3 * which + axis] ? 1 : dim));
        const shape = of(2);
        const condition = Tensor.of('z', 'bool', shape, Uint8Array.from(numbers.slice(0, size(shape))));
        return { op: 'Where', shapes: [of(0), of(1)], constants: [condition], order: [2, 0, 1] };
      }),
      8,
    );
  });
});

describe('operators that take elements by their places', () => {
  /** So many indices into an axis, from the front or the end; places repeat. */
  const places = (count: number, dim: number): fc.Arbitrary<number[]> => integers(count, -dim, dim - 1);

  test('Gather along any axis, by no, one or two dimensions of indices', async () => {
    await checkCases(
      fc.tuple(shapes(1, 4), shapes(0, 2, 3)).chain(([shape, of]) =>
        axisOf(shape).chain((axis) =>
          places(size(of), shape.at(axis)!).map(
            (indices): OpCase => ({
              op: 'Gather',
              shapes: [shape],
              constants: [ints('i', indices, of)],
              attributes: attributesOf({ axis }),
            }),
          ),
        ),
      ),
      10,
    );
  });

  test('GatherElements, and ScatterElements that adds', async () => {
    await checkCases(
      fc.tuple(shapes(1, 3), shapes(3, 3), fc.boolean()).chain(([shape, drawn, isGather]) =>
        axisOf(shape).chain((axis) => {
          const of = shape.map((dim, place) =>
            place === axis || place === axis + shape.length ? drawn[place]! : Math.min(dim, drawn[place]!),
          );
          return places(size(of), shape.at(axis)!).map((indices): OpCase => {
            const constants = [ints('i', indices, of)];
            if (isGather)
              return { op: 'GatherElements', shapes: [shape], constants, attributes: attributesOf({ axis }) };
            return {
              op: 'ScatterElements',
              shapes: [shape, of],
              constants,
              order: [0, 2, 1],
              attributes: { ...attributesOf({ axis }), reduction: { string: 'add' } },
            };
          });
        }),
      ),
      10,
    );
  });

  test('GatherND with batches, and ScatterND that adds', async () => {
    const drawn = shapes(1, 4, 3).chain((shape) =>
      fc.tuple(fc.constant(shape), fc.nat(Math.min(2, shape.length - 1)), shapes(0, 2, 3), fc.boolean()),
    );
    await checkCases(
      drawn.chain(([shape, batch, outer, isGather]) => {
        const skipped = isGather ? batch : 0;
        return fc.integer({ min: 1, max: shape.length - skipped }).chain((depth) => {
          const lead = [...shape.slice(0, skipped), ...outer];
          const ranges = shape.slice(skipped, skipped + depth);
          const rows = fc.array(fc.tuple(...ranges.map((dim) => fc.integer({ min: -dim, max: dim - 1 }))), {
            minLength: size(lead),
            maxLength: size(lead),
          });
          return rows.map((indices): OpCase => {
            const constants = [ints('i', indices.flat(), [...lead, depth])];
            if (isGather)
              return {
                op: 'GatherND',
                shapes: [shape],
                constants,
                attributes: attributesOf({ batch_dims: batch }),
              };
            return {
              op: 'ScatterND',
              shapes: [shape, [...lead, ...shape.slice(depth)]],
              constants,
              order: [0, 2, 1],
              attributes: { reduction: { string: 'add' } },
            };
          });
        });
      }),
      14,
    );
  });
});

describe('operators along an axis', () => {
  test('CumSum, Trilu', async () => {
    await checkCases(
      shapes(1, 3).chain((shape) =>
        fc.tuple(axisOf(shape), fc.nat(1), fc.nat(1)).map(
          ([axis, exclusive, reverse]): OpCase => ({
            op: 'CumSum',
            shapes: [shape],
            constants: [ints('axis', [axis], [])],
            attributes: attributesOf({ exclusive, reverse }),
          }),
        ),
      ),
      8,
    );
    await checkCases(
      fc.tuple(shapes(2, 4), fc.integer({ min: -4, max: 4 }), fc.nat(1), fc.boolean()).map(
        ([shape, k, upper, isGiven]): OpCase => ({
          op: 'Trilu',
          shapes: [shape],
          constants: isGiven ? [ints('k', [k], [])] : [],
          attributes: attributesOf({ upper }),
        }),
      ),
      8,
    );
  });

  test('Resize: nearest, linear and cubic, up and down, by scales and by sizes, in every coordinate mode', async () => {
    const linear = { type: 'float32', step: 0.5, tolerance: 3e-5 } as const;
    const drawn = fc.tuple(
      fc.constantFrom('nearest', 'linear', 'cubic'),
      fc.constantFrom('asymmetric', 'half_pixel', 'align_corners', 'pytorch_half_pixel'),
      fc.constantFrom('round_prefer_floor', 'round_prefer_ceil', 'floor', 'ceil'),
      shapes(2, 2),
      fc.array(fc.constantFrom(0.5, 0.7, 1, 1.5, 2, 3), { minLength: 2, maxLength: 2 }),
      fc.boolean(),
    );
    await checkCases(
      drawn.map(([mode, coordinates, nearest, inner, factors, isBySize]): OpCase => {
        const shape = [1, 2, ...inner.map((dim) => dim + 1)];
        const sizes = shape.map((dim, axis) =>
          axis < 2 ? dim : Math.max(1, Math.floor(dim * factors[axis - 2]!)),
        );
        return {
          op: 'Resize',
          ...linear,
          shapes: [shape],
          constants: isBySize ? ['', '', ints('s', sizes)] : ['', singles('s', [1, 1, ...factors])],
          attributes: {
            mode: { string: mode },
            coordinate_transformation_mode: { string: coordinates },
            ...(mode === 'nearest' && { nearest_mode: { string: nearest } }),
          },
        };
      }),
      24,
    );
    await checkOp({
      op: 'Resize',
      ...linear,
      shapes: [[1, 2, 3, 4]],
      constants: ['', singles('s', [2, 0.5])],
      attributes: { mode: { string: 'linear' }, axes: { ints: [3, 2] } },
    });
  });
});
