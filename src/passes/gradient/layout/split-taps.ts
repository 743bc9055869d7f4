import type { Window } from '../../../graph/operators/window.js';
import type { Builder } from '../builder.js';
import { at, product, range } from '../shapes.js';
import type { Value } from '../value.js';
import { sharedRow, times } from './shifts.js';
import { beginOf } from './window.js';

/**
 * The gradient of the weight of a convolution without strides, in one product. Element (i, j) of the kernel met what the
 * padded input, laid out as one long row, holds i rows and j columns further on. Each shift is given to one side: copies
 * of dY are shifted by rows, copies of the input by columns, and the product of all with all holds each element once.
 * For a kernel of 3 x 3 that makes 6 copies, where `shiftedProducts` makes 9 and as many products; it takes 0.8 to 0.97
 * of the time.
 *
 * @param x what the windows move over, [N, C, ...]
 * @param dy gradient at each position, [N, M, ...]
 * @returns of the shape given, [M, C/g, ...k]; undefined for strides, kernels of one element, and copies past
 *   `columnBytes`
 */
export function splitProduct(
  build: Builder,
  x: Value,
  dy: Value,
  window: Window,
  group: number,
  shape: readonly number[],
): Value | undefined {
  const { extents: kernel, strides, dilations } = window;
  const begin = beginOf(window);
  if (product(strides) !== 1 || product(kernel) === 1) return undefined;
  const [n, c, m] = [at(x.shape, 0), at(x.shape, 1), at(dy.shape, 1)];
  const [spatial, positions] = [x.shape.slice(2), dy.shape.slice(2)];
  const axes = range(0, kernel.length);

  const sizes = axes.map((axis) => {
    const full = at(positions, axis) + (at(kernel, axis) - 1) * at(dilations, axis);
    return sharedRow(full, at(begin, axis), at(spatial, axis));
  });
  const shifts = axes.map((axis) => at(dilations, axis) * product(sizes.slice(axis + 1)));
  const copies = axes
    .concat(kernel.length)
    .map((first) => m * product(kernel.slice(0, first)) + c * product(kernel.slice(first)));
  const first = copies.indexOf(Math.min(...copies));
  if (4 * n * product(sizes) * at(copies, first) > build.columnBytes) return undefined;

  const [rows, columns] = [axes.slice(0, first), axes.slice(first)];
  const laid = (value: Value, before: readonly number[]): Value => {
    const after = sizes.map((size, axis) => size - at(before, axis) - at(value.shape, axis + 2));
    return inRows(build, build.pad(value, [0, 0, ...before], [0, 0, ...after]));
  };
  const reach = (which: readonly number[], least: number): number =>
    which.reduce((sum, axis) => sum + at(shifts, axis) * Math.max(least, at(kernel, axis) - 1), 0);
  let [ahead, behind] = [
    laid(x, begin),
    laid(
      dy,
      begin.map(() => 0),
    ),
  ];
  const length = at(ahead.shape, 1) + Math.max(reach(columns, 1), reach(rows, 0));
  for (const axis of columns.toReversed()) {
    const isLast = axis === first;
    const long = isLast ? length : at(ahead.shape, 1) + at(shifts, axis);
    ahead = spread(build, ahead, at(kernel, axis), at(shifts, axis), long);
  }
  for (const axis of rows.toReversed()) {
    const isLast = axis === 0;
    const long = isLast ? length : at(behind.shape, 1) + reach([axis], 0);
    behind = spread(build, behind, at(kernel, axis), -at(shifts, axis), long);
  }
  if (columns.length === 0) ahead = spread(build, ahead, 1, 0, length);
  if (rows.length === 0) behind = spread(build, behind, 1, 0, length);

  const matrix = (value: Value): Value => build.reshape(value, [group, at(value.shape, 0) / group, length]);
  const [left, right] = [matrix(ahead), matrix(behind)];
  // The smaller matrix on the right, where it is put in order for the product.
  const isInputLeft = at(left.shape, 1) >= at(right.shape, 1);
  const made = isInputLeft ? times(build, left, right) : times(build, right, left);
  const ofInput = [c / group, ...columns.toReversed().map((axis) => at(kernel, axis))];
  const ofOutput = [m / group, ...rows.toReversed().map((axis) => at(kernel, axis))];
  const apart = build.reshape(made, [
    group,
    ...(isInputLeft ? [...ofInput, ...ofOutput] : [...ofOutput, ...ofInput]),
  ]);
  const [input, output] = isInputLeft ? [1, 1 + ofInput.length] : [1 + ofOutput.length, 1];
  const places = axes.map((axis) => (axis >= first ? input + kernel.length - axis : output + first - axis));
  return build.reshape(build.transpose(apart, [0, output, input, ...places]), shape);
}

/** [N, C, ...] -> [C, N * ...], the images one after another. */
function inRows(build: Builder, x: Value): Value {
  const [n, c, long] = [at(x.shape, 0), at(x.shape, 1), product(x.shape.slice(2))];
  return build.reshape(build.transpose(build.reshape(x, [n, c, long]), [1, 0, 2]), [c, n * long]);
}

/**
 * Copies of each row, copy i beginning i * `by` further on (further back for a negative number), zeros where the row has
 * nothing: [R, L] -> [R * count, length]. One node copies: rows of another length than what stands in line move by
 * the difference from one to the next.
 *
 * @param by in number at most length - L; behind the end of a row, numbers of its begin may follow
 */
function spread(build: Builder, x: Value, count: number, by: number, length: number): Value {
  const [rows, long] = [at(x.shape, 0), at(x.shape, 1)];
  const gap = length - by - long;
  const rest = count * length - (count - 1) * (long + gap) - long;
  const zeros = (width: number): Value[] => (width === 0 ? [] : [build.filled(x.type, [rows, width])]);
  const line = range(0, count).flatMap((index) => [x, ...zeros(index < count - 1 ? gap : rest)]);
  return build.reshape(build.concat(line, 1), [rows * count, length]);
}
