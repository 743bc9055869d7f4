import { type Node, permutationOf } from '../../../graph/index.js';
import { at, inversePermutation, normalAxis, range } from '../shapes.js';
import type { Rule, RuleContext } from '../types.js';
import type { Value } from '../value.js';
import { required } from './arithmetic.js';

/** The elements stay in order: the gradient takes the shape of the input. */
const relabel: Rule = {
  backward: ({ build, inputs, gradients }) => [
    build.reshape(required(gradients, 0), required(inputs, 0).shape),
  ],
};

function transpose({ build, node, inputs, gradients }: RuleContext): Value[] {
  const rank = required(inputs, 0).shape.length;
  const permutation = permutationOf(node, rank);
  return [build.transpose(required(gradients, 0), inversePermutation(permutation))];
}

function concat(context: RuleContext): (Value | undefined)[] {
  const { build, node, inputs } = context;
  const dy = required(context.gradients, 0);
  const axis = normalAxis(node.attributes.int('axis', 0), dy.shape.length);
  let start = 0;
  return inputs.map((x, index) => {
    if (x === undefined) return undefined;
    const from = start;
    start += at(x.shape, axis);
    return context.needs(index) ? build.slice(dy, [axis], [from], [start]) : undefined;
  });
}

function split({ build, node, inputs, outputs, gradients }: RuleContext): Value[] {
  const x = required(inputs, 0);
  const axis = normalAxis(node.attributes.int('axis', 0), x.shape.length);
  const parts = outputs.map((y, index) => {
    const gradient = gradients[index];
    if (gradient !== undefined) return gradient;
    return build.filled(x.type, required([y], 0).shape);
  });
  return [build.concat(parts, axis)];
}

function slice(context: RuleContext): Value[] {
  const { build } = context;
  const [x, y] = [required(context.inputs, 0), required(context.outputs, 0)];
  const starts = context.numbers(1) ?? [];
  const axes = (context.numbers(3) ?? range(0, starts.length)).map((axis) =>
    normalAxis(axis, x.shape.length),
  );
  const steps = context.numbers(4) ?? starts.map(() => 1);
  let dy = required(context.gradients, 0);
  const begin = x.shape.map(() => 0);
  const end = x.shape.map(() => 0);
  for (const [i, axis] of axes.entries()) {
    const [size, count, step] = [at(x.shape, axis), at(y.shape, axis), at(steps, i)];
    // Bounds beyond the ends mean the ends, for starts the last element at the most when walking back.
    const raw = at(starts, i) < 0 ? at(starts, i) + size : at(starts, i);
    const start = Math.min(Math.max(raw, 0), step < 0 ? size - 1 : size);
    const stride = Math.abs(step);
    if (step < 0) {
      dy = build.op('Gather', [dy, build.ints(range(0, count).reverse())], dy.shape, { axis: { int: axis } });
    }
    const first = step < 0 ? start - (count - 1) * stride : start;
    if (stride > 1 && count > 1) dy = spread(context, dy, axis, stride);
    begin[axis] = first;
    end[axis] = size - first - (count === 0 ? 0 : (count - 1) * stride + 1);
  }
  return [build.pad(dy, begin, end)];
}

/** Zeros between the elements of an axis, stride - 1 each time. */
function spread({ build }: RuleContext, x: Value, axis: number, stride: number): Value {
  const count = at(x.shape, axis);
  const apart = build.reshape(x, [...x.shape.slice(0, axis + 1), 1, ...x.shape.slice(axis + 1)]);
  const zeros = apart.shape.map(() => 0);
  const padded = build.pad(apart, zeros, zeros.with(axis + 1, stride - 1));
  const shape = x.shape.with(axis, count * stride);
  return build.slice(build.reshape(padded, shape), [axis], [0], [(count - 1) * stride + 1]);
}

function expand({ build, inputs, outputs, gradients }: RuleContext): Value[] {
  const [x, y] = [required(inputs, 0), required(outputs, 0)];
  return [build.unbroadcast(required(gradients, 0), y.shape, x.shape)];
}

function tile({ build, inputs, outputs, gradients }: RuleContext): Value[] {
  const [x, y] = [required(inputs, 0), required(outputs, 0)];
  const repeats = y.shape.map((size, axis) => size / Math.max(1, at(x.shape, axis)));
  const repeated = repeats.flatMap((count, axis) => (count > 1 ? [axis] : []));
  // Each repeated axis as two: which copy, and where in it.
  const shape = y.shape.flatMap((size, axis) =>
    repeated.includes(axis) ? [at(repeats, axis), at(x.shape, axis)] : [size],
  );
  const axes = repeated.map((axis, index) => axis + index);
  return [build.reduce('ReduceSum', build.reshape(required(gradients, 0), shape), axes, true)];
}

function depthToSpace({ build, node, inputs, gradients }: RuleContext): Value[] {
  const [x, dy] = [required(inputs, 0), required(gradients, 0)];
  const size = node.attributes.int('blocksize', 1);
  if (node.attributes.string('mode', 'DCR') === 'DCR') {
    return [build.op('SpaceToDepth', [dy], x.shape, { blocksize: { int: size } })];
  }
  const [n, c, h, w] = [at(dy.shape, 0), at(dy.shape, 1), at(x.shape, 2), at(x.shape, 3)];
  const apart = build.reshape(dy, [n, c, h, size, w, size]);
  return [build.reshape(build.transpose(apart, [0, 1, 3, 5, 2, 4]), x.shape)];
}

function spaceToDepth({ build, node, inputs, gradients }: RuleContext): Value[] {
  const blocksize = { int: node.attributes.int('blocksize', 1) };
  return [build.op('DepthToSpace', [required(gradients, 0)], required(inputs, 0).shape, { blocksize })];
}

function cumSum({ build, node, inputs, gradients }: RuleContext): Value[] {
  const dy = required(gradients, 0);
  return [
    build.op('CumSum', [dy, required(inputs, 1)], dy.shape, {
      exclusive: { int: node.attributes.int('exclusive', 0) },
      reverse: { int: 1 - node.attributes.int('reverse', 0) },
    }),
  ];
}

function trilu({ build, node, inputs, gradients }: RuleContext): Value[] {
  const dy = required(gradients, 0);
  return [build.op('Trilu', [dy, inputs[1]], dy.shape, { upper: { int: node.attributes.int('upper', 1) } })];
}

const isFloat = (code: number): boolean => [1, 10, 11, 16].includes(code);

export const SHAPE = {
  Reshape: relabel,
  Flatten: relabel,
  Squeeze: relabel,
  Unsqueeze: relabel,
  Transpose: { backward: transpose },
  Concat: { through: 'all', backward: concat },
  Split: { backward: split },
  Slice: { structural: [1, 3, 4], backward: slice },
  Expand: { lazy: true, backward: expand },
  Tile: { backward: tile },
  DepthToSpace: { backward: depthToSpace },
  SpaceToDepth: { backward: spaceToDepth },
  CumSum: { backward: cumSum },
  Trilu: { backward: trilu },
  Cast: {
    lazy: true,
    stops: (node: Node) => !isFloat(node.attributes.int('to', 0)),
    backward: ({ build, inputs, gradients }) => [
      build.cast(required(gradients, 0), required(inputs, 0).type),
    ],
  },
  CastLike: {
    lazy: true,
    ignores: () => [1],
    backward: ({ build, inputs, gradients }) => [
      build.cast(required(gradients, 0), required(inputs, 0).type),
    ],
  },
} as const satisfies Record<string, Rule>;
