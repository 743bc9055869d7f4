import { DATA_TYPES, specOf, Tensor, ValueInfo } from '../../../graph/index.js';
import { evaluate } from '../../../runtime/index.js';
import { buildModel } from '../../../runtime/session/small-model.js';
import type { Builder } from '../builder.js';
import { at, normalAxis, product, range } from '../shapes.js';
import type { ForwardContext, Rewritten, Rule, RuleContext } from '../types.js';
import type { Value } from '../value.js';
import { required } from './arithmetic.js';

/**
 * Applies the transpose of a linear map along one axis: x [.., out, ..] -> [.., in, ..].
 *
 * @param matrix out x in, row-major
 */
function transposedMap(
  build: Builder,
  x: Value,
  axis: number,
  size: number,
  matrix: ArrayLike<number>,
): Value {
  const count = at(x.shape, axis);
  const [outer, inner] = [product(x.shape.slice(0, axis)), product(x.shape.slice(axis + 1))];
  const shape = x.shape.with(axis, size);
  if (inner === 1) {
    const right = build.constant(x.type, [count, size], matrix);
    return build.reshape(build.matmul(build.reshape(x, [outer, count]), right), shape);
  }
  const turned = Float64Array.from({ length: size * count }, (_, i) =>
    at(matrix as number[], (i % count) * size + Math.floor(i / count)),
  );
  const left = build.constant(x.type, [size, count], turned);
  return build.reshape(build.matmul(left, build.reshape(x, [outer, count, inner])), shape);
}

/**
 * Interpolation is a linear map along each axis by itself. Its matrix is read off the operator: what the node makes
 * of the rows of a unit matrix, so that every coordinate mode is as onnxruntime has it.
 */
async function resize(context: RuleContext): Promise<Value[]> {
  const { build, node } = context;
  const [x, y] = [required(context.inputs, 0), required(context.outputs, 0)];
  const rank = x.shape.length;
  const given = node.attributes.ints('axes')?.map((axis) => normalAxis(axis, rank)) ?? range(0, rank);
  const scales = context.numbers(2) ?? [];
  let dy = required(context.gradients, 0);
  for (const axis of range(0, rank).reverse()) {
    const [size, count] = [at(x.shape, axis), at(y.shape, axis)];
    const scale = scales.length > 0 ? (scales[given.indexOf(axis)] ?? 1) : undefined;
    if (size === count && (scale === undefined || scale === 1)) continue;
    const spec = specOf(node.proto);
    // Two axes, the first left alone. A scale says more than a size does: coordinates are divided by it.
    const attributeProtos = (spec.attributeProtos ?? []).filter(
      ({ name }) => name !== 'axes' && name !== 'keep_aspect_ratio_policy',
    );
    const inputs = scale === undefined ? ['x', '', '', 'sizes'] : ['x', '', 'scales'];
    const identity = new Float32Array(size * size);
    for (let i = 0; i < size; i += 1) identity[i * size + i] = 1;
    const target =
      scale === undefined
        ? Tensor.of('sizes', 'int64', [2], BigInt64Array.of(BigInt(size), BigInt(count)))
        : Tensor.of('scales', 'float32', [2], Float32Array.of(1, scale));
    const { y: made } = await evaluate(
      buildModel({
        nodes: [{ opType: 'Resize', inputs, outputs: ['y'], attributeProtos }],
        inputs: [ValueInfo.tensor('x', 'float32', [size, size])],
        outputs: ['y'],
        initializers: [target],
        opset: node.graph.model.opset(),
      }),
      { x: { type: 'float32', shape: [size, size], data: identity } },
    );
    const columns = made?.data as Float32Array;
    const matrix = Float64Array.from({ length: size * count }, (_, i) =>
      at(columns as unknown as number[], (i % size) * count + Math.floor(i / size)),
    );
    dy = transposedMap(build, dy, axis, size, matrix);
  }
  return [dy];
}

/** Where each element of a padded axis comes from; -1 for the constant. */
function padSources(mode: string, size: number, begin: number, end: number): number[] {
  const last = size - 1;
  return range(-begin, size + end).map((place) => {
    if (place >= 0 && place < size) return place;
    if (mode === 'edge') return Math.min(Math.max(place, 0), last);
    if (mode === 'wrap') return ((place % size) + size) % size;
    if (mode === 'reflect') {
      const period = Math.max(1, 2 * last);
      const folded = ((place % period) + period) % period;
      return Math.min(folded, period - folded);
    }
    return -1;
  });
}

function pad(context: RuleContext): (Value | undefined)[] {
  const { build, node } = context;
  const x = required(context.inputs, 0);
  let dy = required(context.gradients, 0);
  const rank = x.shape.length;
  const pads = context.numbers(1) ?? [];
  const axes = (context.numbers(3) ?? range(0, rank)).map((axis) => normalAxis(axis, rank));
  const mode = node.attributes.string('mode', 'constant');
  const begin = x.shape.map(() => 0);
  const end = x.shape.map(() => 0);
  for (const [i, axis] of axes.entries()) {
    begin[axis] = at(pads, i);
    end[axis] = at(pads, i + axes.length);
  }
  if (mode === 'constant') {
    return [
      build.pad(
        dy,
        begin.map((count) => -count),
        end.map((count) => -count),
      ),
    ];
  }
  for (const [axis, size] of x.shape.entries()) {
    if (at(begin, axis) === 0 && at(end, axis) === 0) continue;
    const sources = padSources(mode, size, at(begin, axis), at(end, axis));
    const matrix = new Float64Array(sources.length * size);
    for (const [place, source] of sources.entries()) matrix[place * size + source] = 1;
    dy = transposedMap(build, dy, axis, size, matrix);
  }
  return [dy];
}

// ---- Dropout ------------------------------------------------------------------------------------------------------

const DEFAULT_RATIO = 0.5;

/** Gives the operator's mask output, where something reads it, from factors that are not zero. */
function keptAs(build: Builder, output: Value | undefined, factors: Value): void {
  if (output === undefined) return;
  const kept = [{ shape: factors.shape, name: output.name, type: 'bool' as const }];
  build.multi('Cast', [factors], kept, { to: { int: DATA_TYPES.bool.code } });
}

function dropoutForward(context: ForwardContext): Rewritten | undefined {
  const { build, node, inputs, outputs, mode } = context;
  const [x, y] = [required(inputs, 0), required(outputs, 0)];
  if (mode.dropout === 'inference') {
    build.multi('Identity', [x], [{ shape: y.shape, name: y.name, type: y.type }]);
    keptAs(build, outputs[1], build.filled('float32', y.shape, 1));
    return { saved: [] };
  }
  if (build.masks !== undefined) {
    const mask = build.mask(build.masks, context.numbers(1)?.[0] ?? DEFAULT_RATIO, x);
    build.multi('Mul', [x, mask], [{ shape: y.shape, name: y.name, type: y.type }]);
    keptAs(build, outputs[1], mask);
    return { saved: [mask] };
  }
  const seed = node.attributes.has('seed') ? { seed: { int: node.attributes.int('seed', 0) } } : {};
  const ratio = inputs[1] ?? build.scalar('float32', DEFAULT_RATIO);
  const isTraining = build.constant('bool', [], [1]);
  const [, mask] = build.multi(
    'Dropout',
    [x, ratio, isTraining],
    [
      { shape: y.shape, name: y.name, type: y.type },
      { shape: y.shape, name: outputs[1]?.name, type: 'bool' },
    ],
    seed,
  );
  return mask === undefined ? undefined : { saved: [mask] };
}

function dropout(context: RuleContext): Value[] {
  const { build, saved } = context;
  const dy = required(context.gradients, 0);
  const [mask] = saved;
  if (mask === undefined) return [dy];
  if (mask.type !== 'bool') return [build.mul(dy, mask)];
  const ratio = context.numbers(1)?.[0] ?? DEFAULT_RATIO;
  return [build.scale(build.mul(dy, build.cast(mask, dy.type)), ratio < 1 ? 1 / (1 - ratio) : 0)];
}

export const RESAMPLE = {
  Resize: {
    structural: [2],
    refuses: (node) =>
      node.attributes.string('coordinate_transformation_mode', 'half_pixel') === 'tf_crop_and_resize'
        ? 'not with tf_crop_and_resize'
        : undefined,
    backward: resize,
  },
  Pad: { structural: [1, 3], backward: pad },
  Dropout: { structural: [1], inert: [1], forward: dropoutForward, backward: dropout },
} as const satisfies Record<string, Rule>;
