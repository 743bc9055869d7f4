import type { Window } from '../../../graph/operators/window.js';
import type { Builder } from '../builder.js';
import { at, product, range } from '../shapes.js';
import type { Value } from '../value.js';
import { beginOf, taps } from './window.js';

/** With this many channels a group, one product over the whole batch keeps the threads busy. */
const WIDE = 32;

/**
 * The gradient of a convolution's weight, one product for each element of the kernel: what that element met at all
 * positions is the padded input, laid out as one long row, shifted by a constant. So each is a contiguous slice, and
 * the windows, K times the input, are never in memory at once; on the CPU provider it takes 0.6 to 0.75 of the time of
 * gathering them. Rows of dY are padded with zeros, which meet what a shift carries over from the next row. A stride
 * deals the input out to as many inputs of their own ("phases").
 *
 * @param x what the windows move over, [N, C, ...]
 * @param dy gradient at each position, [N, M, ...]
 * @returns [M, C/g, ...k]
 */
export function shiftedProducts(
  build: Builder,
  x: Value,
  dy: Value,
  window: Window,
  group: number,
  shape: readonly number[],
): Value {
  const [n, c, m] = [at(x.shape, 0), at(x.shape, 1), at(dy.shape, 1)];
  const [spatial, positions] = [x.shape.slice(2), dy.shape.slice(2)];
  const { strides, dilations, extents: kernel } = window;
  const begin = beginOf(window);
  const axes = range(0, kernel.length);
  const isWide = Math.min(c, m) / group >= WIDE;

  /** How far, in whole strides, the last element of the kernel is from the first. */
  const reach = axes.map((axis) =>
    Math.floor(((at(kernel, axis) - 1) * at(dilations, axis)) / at(strides, axis)),
  );
  const full = axes.map((axis) => at(positions, axis) + at(reach, axis));
  const sizes = axes.map((axis) =>
    isWide && at(strides, axis) === 1
      ? sharedRow(at(full, axis), at(begin, axis), at(spatial, axis))
      : at(full, axis),
  );
  const steps = axes.map((axis) => product(sizes.slice(axis + 1)));
  const farthest = axes.reduce((sum, axis) => sum + at(reach, axis) * at(steps, axis), 0);
  // Room for the longest shift: images behind the last one or, image by image, rows behind the last row.
  const images = isWide ? Math.ceil(farthest / product(sizes)) : 0;
  const rows = isWide ? sizes : sizes.with(0, at(positions, 0) + Math.ceil(farthest / at(steps, 0)));
  const heights = isWide ? sizes : sizes.with(0, at(positions, 0));

  const source = dealt(
    build,
    build.pad(
      x,
      [0, 0, ...begin],
      [
        images,
        0,
        ...axes.map((axis) => at(rows, axis) * at(strides, axis) - at(begin, axis) - at(spatial, axis)),
      ],
    ),
    rows,
    strides,
    isWide,
  );
  const padded = build.pad(
    dy,
    dy.shape.map(() => 0),
    [0, 0, ...axes.map((axis) => at(heights, axis) - at(positions, axis))],
  );
  const length = product(heights) * (isWide ? n : 1);
  const outer = isWide ? [] : [n];
  const target = build.reshape(isWide ? swapFirst(build, padded) : padded, [
    ...outer,
    group,
    m / group,
    length,
  ]);
  const phases = product(strides);
  const long = product(source.shape) / (phases * product(outer) * c);
  const flat = build.reshape(source, [phases, ...outer, group, c / group, long]);

  // The smaller matrix on the right, where it is put in order for the product.
  const isInputLeft = c >= m;
  const parts = taps(kernel).map((tap) => {
    const place = axes.map((axis) => at(tap, axis) * at(dilations, axis));
    const offset = axes.reduce(
      (sum, axis) => sum + Math.floor(at(place, axis) / at(strides, axis)) * at(steps, axis),
      0,
    );
    const phase = axes.reduce(
      (index, axis) => index * at(strides, axis) + (at(place, axis) % at(strides, axis)),
      0,
    );
    const last = flat.shape.length - 1;
    const cut = build.slice(flat, [0, last], [phase, offset], [phase + 1, offset + length]);
    const shifted = build.reshape(cut, [...outer, group, c / group, length]);
    const made = isInputLeft ? times(build, shifted, target) : times(build, target, shifted);
    return build.reshape(made, [...outer, 1, product(made.shape) / product(outer)]);
  });
  const stacked = build.concat(parts, outer.length);
  const summed = isWide ? stacked : build.reduce('ReduceSum', stacked, [0], true);
  const [a, b] = isInputLeft ? [c, m] : [m, c];
  const apart = build.reshape(summed, [parts.length, group, a / group, b / group]);
  return build.reshape(build.transpose(apart, isInputLeft ? [1, 3, 2, 0] : [1, 2, 3, 0]), shape);
}

/** The length of a padded row in a long one: padding at its end and at the begin of the next can be the same. */
export function sharedRow(full: number, begin: number, size: number): number {
  return full - Math.max(0, Math.min(begin, full - begin - size));
}

/** a b^T */
export function times(build: Builder, a: Value, b: Value): Value {
  const matrix = (x: Value): Value => build.reshape(x, x.shape.slice(-2));
  return product(a.shape.slice(0, -2)) === 1
    ? build.gemm(matrix(a), matrix(b), false, true)
    : build.matmul(a, build.transposeLast(b));
}

function swapFirst(build: Builder, x: Value): Value {
  return build.transpose(x, [1, 0, ...range(2, x.shape.length)]);
}

/** [N, C, rows * strides] -> [phases, N, C, rows], channels before images where one product takes all images. */
function dealt(
  build: Builder,
  x: Value,
  rows: readonly number[],
  strides: readonly number[],
  channelsFirst: boolean,
): Value {
  if (product(strides) === 1) return channelsFirst ? swapFirst(build, x) : x;
  const lead = x.shape.slice(0, 2);
  const apart = build.reshape(x, [...lead, ...rows.flatMap((size, axis) => [size, at(strides, axis)])]);
  const phases = rows.map((_, axis) => 3 + 2 * axis);
  const places = rows.map((_, axis) => 2 + 2 * axis);
  return build.transpose(apart, [...phases, ...(channelsFirst ? [1, 0] : [0, 1]), ...places]);
}
