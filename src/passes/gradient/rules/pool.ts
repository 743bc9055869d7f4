import type { Node } from '../../../graph/index.js';
import { reach, type Window } from '../../../graph/operators/window.js';
import type { Builder } from '../builder.js';
import {
  beginOf,
  columns,
  fittingEnd,
  foldColumns,
  isPadded,
  settledWindow,
  transposedConv,
} from '../layout/window.js';
import { at, product, range } from '../shapes.js';
import type { Rule, RuleContext } from '../types.js';
import type { Value } from '../value.js';
import { required } from './arithmetic.js';

/** Lower than any activation, and finite, since the windows are gathered by a product with zeros. */
const LOWEST = -3e38;

function windowOfPool(node: Node, x: Value, y: Value): Window {
  return settledWindow(node, node.attributes.ints('kernel_shape') ?? [], x.shape.slice(2), y.shape.slice(2));
}

/** Do the windows lie side by side, each element in at most one? */
function tiles(window: Window): boolean {
  return (
    window.extents.every(
      (size, axis) => size === at(window.strides, axis) && at(window.dilations, axis) === 1,
    ) && !isPadded(window)
  );
}

/** Each element repeated over its window: [N, C, ...] -> [N, C, ...k]. */
function enlarge(build: Builder, x: Value, kernel: readonly number[]): Value {
  const shape = x.shape.map((dim, axis) => (axis < 2 ? dim : dim * at(kernel, axis - 2)));
  const scales = build.constant('float32', [x.shape.length], [1, 1, ...kernel]);
  return build.op('Resize', [x, undefined, scales], shape, {
    mode: { string: 'nearest' },
    coordinate_transformation_mode: { string: 'asymmetric' },
    nearest_mode: { string: 'floor' },
  });
}

/** The part of x that whole windows cover, and how to put its gradient back in place. */
function covered(build: Builder, x: Value, window: Window, positions: readonly number[]) {
  const missing = positions.map(
    (_, axis) => reach(window, at(positions, axis), axis) - at(x.shape, axis + 2),
  );
  const zeros = x.shape.map(() => 0);
  return {
    fits: missing.every((count) => count <= 0),
    crop: (value: Value): Value => build.pad(value, zeros, [0, 0, ...missing]),
    restore: (value: Value): Value => build.pad(value, zeros, [0, 0, ...missing.map((count) => -count)]),
  };
}

/** The largest elements of a window share its gradient evenly. */
function maxPool(context: RuleContext): (Value | undefined)[] {
  const { build, node } = context;
  const [x, y, dy] = [
    required(context.inputs, 0),
    required(context.outputs, 0),
    required(context.gradients, 0),
  ];
  const window = windowOfPool(node, x, y);
  const positions = y.shape.slice(2);
  const cover = covered(build, x, window, positions);
  if (tiles(window) && cover.fits && x.type === 'float32') {
    const mask = build.indicator('Equal', cover.crop(x), enlarge(build, y, window.extents));
    const mean = build.op('AveragePool', [mask], y.shape, {
      kernel_shape: { ints: window.extents },
      strides: { ints: window.strides },
    });
    const share = build.div(dy, build.scale(mean, product(window.extents)));
    return [cover.restore(build.mul(mask, enlarge(build, share, window.extents)))];
  }
  // With a border that no window finds the largest, sized so that the windows just fit.
  const before = [0, 0, ...beginOf(window)];
  const after = [0, 0, ...fittingEnd(window, x.shape.slice(2), positions)];
  const padded = build.pad(x, before, after, LOWEST);
  const bare = { ...window, pads: window.pads.map(() => 0) };
  const cols = columns(build, padded, bare, positions);
  const [n, c, , l] = cols.shape;
  const row = [n ?? 1, c ?? 1, 1, l ?? 1];
  const mask = build.indicator('Equal', cols, build.reshape(y, row));
  const share = build.div(build.reshape(dy, row), build.reduce('ReduceSum', mask, [2]));
  const folded = foldColumns(build, build.mul(mask, share), bare, positions, padded.shape.slice(2));
  const negated = (counts: readonly number[]): number[] => counts.map((count) => -count);
  return [build.pad(folded, negated(before), negated(after))];
}

function averagePool(context: RuleContext): (Value | undefined)[] {
  const { build, node } = context;
  const [x, y, dy] = [
    required(context.inputs, 0),
    required(context.outputs, 0),
    required(context.gradients, 0),
  ];
  const window = windowOfPool(node, x, y);
  const positions = y.shape.slice(2);
  const counts = windowCounts(node, window, x.shape.slice(2), positions);
  const first = at(counts, 0);
  const share = counts.every((count) => count === first)
    ? build.scale(dy, 1 / first)
    : build.mul(
        dy,
        build.constant(
          dy.type,
          [1, 1, ...positions],
          counts.map((count) => 1 / count),
        ),
      );
  const cover = covered(build, x, window, positions);
  if (tiles(window) && cover.fits) return [cover.restore(enlarge(build, share, window.extents))];
  const [n, c, ...spatial] = x.shape;
  const planes = (n ?? 1) * (c ?? 1);
  const ones = build.filled(dy.type, [1, 1, ...window.extents], 1);
  const spread = transposedConv(
    build,
    build.reshape(share, [planes, 1, ...positions]),
    ones,
    window,
    1,
    1,
    spatial,
  );
  return [build.reshape(spread, x.shape)];
}

/** By how many elements each window divides, in row-major order of the positions. */
function windowCounts(
  node: Node,
  window: Window,
  spatial: readonly number[],
  positions: readonly number[],
): number[] {
  const includesPads = node.attributes.int('count_include_pad', 0) !== 0;
  const perAxis = positions.map((count, axis) => {
    const [low, high] = includesPads
      ? [-at(window.pads, axis), at(spatial, axis) + at(window.pads, axis + spatial.length)]
      : [0, at(spatial, axis)];
    return range(0, count).map((position) => {
      const start = position * at(window.strides, axis) - at(window.pads, axis);
      const seen = range(0, at(window.extents, axis)).map((tap) => start + tap * at(window.dilations, axis));
      return seen.filter((place) => place >= low && place < high).length;
    });
  });
  return perAxis.reduce((all, counts) => all.flatMap((one) => counts.map((count) => one * count)), [1]);
}

const spatialAxes = (x: Value): number[] => range(2, x.shape.length);

export const POOL = {
  MaxPool: { inert: [1], backward: maxPool },
  AveragePool: { backward: averagePool },
  GlobalAveragePool: {
    lazy: true,
    backward: ({ build, inputs, gradients }) => [
      build.scale(required(gradients, 0), 1 / product(required(inputs, 0).shape.slice(2))),
    ],
  },
  GlobalMaxPool: {
    lazy: true,
    backward: ({ build, inputs, outputs, gradients }) => {
      const x = required(inputs, 0);
      const mask = build.indicator('Equal', x, required(outputs, 0));
      const ties = build.reduce('ReduceSum', mask, spatialAxes(x));
      return [build.mul(mask, build.div(required(gradients, 0), ties))];
    },
  },
} as const satisfies Record<string, Rule>;
