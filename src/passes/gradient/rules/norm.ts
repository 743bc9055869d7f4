import type { Builder } from '../builder.js';
import { blockedNorm, blockedNormGradient } from '../layout/blocked-norm.js';
import { at, normalAxis, product, range } from '../shapes.js';
import type { ForwardContext, Rewritten, Rule, RuleContext } from '../types.js';
import type { Value } from '../value.js';
import { required } from './arithmetic.js';

/** A vector with one number a channel, beside [N, C, ...]. */
function perChannel(build: Builder, v: Value, like: Value): Value {
  return build.reshape(v, [at(v.shape, 0), ...new Array<number>(Math.max(0, like.shape.length - 2)).fill(1)]);
}

function otherThanChannels(x: Value): number[] {
  return range(0, x.shape.length).filter((axis) => axis !== 1);
}

/**
 * The gradient through x -> (x - mean) * inv, mean and inv taken over `axes` of x itself:
 * inv * (g - mean(g) - xhat * mean(g * xhat)).
 *
 * @param g gradient with respect to xhat
 */
function throughStatistics(
  build: Builder,
  g: Value,
  xhat: Value,
  inv: Value,
  axes: readonly number[],
): Value {
  const mean = build.reduce('ReduceMean', g, axes);
  const slope = build.reduce('ReduceMean', build.mul(g, xhat), axes);
  return build.mul(build.sub(build.sub(g, mean), build.mul(xhat, slope)), inv);
}

// ---- BatchNormalization -----------------------------------------------------------------------------------------

/**
 * In training: normalizes by the batch, and updates the running statistics as frameworks do, with the variance
 * that divides by M - 1, where ONNX divides by M.
 *
 * The node is given momentum 0, so that what it returns as running statistics are those of the batch, which the
 * gradient needs as well. Its statistics inputs then count for nothing, but onnxruntime writes the outputs over
 * them in place, even over initializers: they have to be temporaries of their own.
 */
function batchNormForward(context: ForwardContext): Rewritten | undefined {
  const { build, node, mode } = context;
  const { attributes } = node;
  const x = required(context.inputs, 0);
  const y = required(context.outputs, 0);
  const [scale, bias] = [required(context.inputs, 1), required(context.inputs, 2)];
  const [oldMean, oldVar] = [required(context.inputs, 3), required(context.inputs, 4)];
  if (attributes.int('training_mode', 0) !== 0 || mode.batchNorm === 'inference') return undefined;
  const channels = at(x.shape, 1);
  const axes = otherThanChannels(x);
  const momentum = attributes.float('momentum', 0.9);
  const epsilon = attributes.float('epsilon', 1e-5);
  const count = product(axes.map((axis) => at(x.shape, axis)));
  const update = (old: Value, batch: Value, factor: number): Value =>
    build.add(build.scale(old, momentum), build.scale(batch, (1 - momentum) * factor));
  const rewritten = (mean: Value, variance: Value): Rewritten => ({
    saved: [mean, variance],
    state: [
      [oldMean.name, update(oldMean, mean, 1)],
      [oldVar.name, update(oldVar, variance, count > 1 ? count / (count - 1) : 1)],
    ],
  });
  if (build.elementary) {
    const mean = build.reduce('ReduceMean', x, axes);
    const centered = build.sub(x, mean);
    const variance = build.reduce('ReduceMean', build.square(centered), axes);
    const inv = build.unary('Reciprocal', build.unary('Sqrt', build.shift(variance, epsilon)));
    const scaled = build.mul(centered, build.mul(inv, perChannel(build, scale, x)));
    build.multi(
      'Add',
      [scaled, perChannel(build, bias, x)],
      [{ shape: y.shape, name: y.name, type: y.type }],
    );
    return rewritten(build.reshape(mean, [channels]), build.reshape(variance, [channels]));
  }
  const inBlocks = blockedNorm(build, x, { scale, bias, epsilon }, y);
  if (inBlocks !== undefined) {
    const { mean, variance, inv, centered } = inBlocks;
    return { ...rewritten(mean, variance), saved: [mean, variance, inv, centered] };
  }
  const corner = build.slice(
    x,
    axes,
    axes.map(() => 0),
    axes.map(() => 1),
  );
  const temporary = build.reshape(corner, [channels]);
  const statistics = { shape: [channels] };
  const [, mean, variance] = build.multi(
    'BatchNormalization',
    [x, scale, bias, temporary, build.neg(temporary)],
    [{ shape: y.shape, name: y.name, type: y.type }, statistics, statistics],
    {
      training_mode: { int: 1 },
      momentum: { float: 0 },
      epsilon: { float: epsilon },
    },
  );
  if (mean === undefined || variance === undefined) throw new Error('unreachable');
  return rewritten(mean, variance);
}

function batchNorm(context: RuleContext): (Value | undefined)[] {
  const { build, node, saved } = context;
  const { attributes } = node;
  const [x, scale] = [required(context.inputs, 0), required(context.inputs, 1)];
  const [, , savedInv, centeredBlocks] = saved;
  if (savedInv !== undefined && centeredBlocks !== undefined) {
    const blocks = { inv: savedInv, centered: centeredBlocks };
    const { dx, dScale, dBias } = blockedNormGradient(build, required(context.gradients, 0), scale, blocks);
    return [
      context.needs(0) ? dx() : undefined,
      context.needs(1) ? dScale : undefined,
      context.needs(2) ? dBias : undefined,
    ];
  }
  const isTraining = saved.length > 0 || attributes.int('training_mode', 0) !== 0;
  // A node that was in training form already: its outputs are those of the batch where its momentum is 0.
  const weight = saved.length > 0 ? 1 : 1 - attributes.float('momentum', 0.9);
  const axes = otherThanChannels(x);
  const count = product(axes.map((axis) => at(x.shape, axis)));
  const [mean, variance] = isTraining
    ? batchStatistics(context, axes)
    : [context.inputs[3], context.inputs[4]];
  const wide = (v: Value | undefined): Value => perChannel(build, required([v], 0), x);
  const epsilon = attributes.float('epsilon', 1e-5);
  const inv = build.unary('Reciprocal', build.unary('Sqrt', build.shift(required([variance], 0), epsilon)));
  const dy = context.gradients[0];
  const sum = (v: Value): Value => build.reduce('ReduceSum', v, axes, true);
  const dxs: Value[] = [];
  let [dScale, dBias]: (Value | undefined)[] = [];
  if (dy !== undefined) {
    dBias = sum(dy);
    // sum(dy * xhat) = inv * (sum(dy * x) - mean * sum(dy)) would save a pass, but cancels in float32.
    const centered = build.sub(x, wide(mean));
    dScale = build.mul(channelDots(build, dy, centered), inv);
    if (context.needs(0)) {
      const gain = build.mul(inv, scale);
      if (isTraining) {
        const slope = build.mul(build.scale(dScale, -1 / count), inv);
        const inner = build.sub(build.mul(centered, wide(slope)), wide(build.scale(dBias, 1 / count)));
        dxs.push(build.mul(build.add(dy, inner), wide(gain)));
      } else dxs.push(build.mul(dy, wide(gain)));
    }
  }
  // The second derivative comes through the statistics as well.
  const [, dMean, dVariance] = context.gradients;
  if (dMean !== undefined)
    dxs.push(build.expand(keepRank(build, build.scale(dMean, weight / count), x), x.shape));
  if (dVariance !== undefined) {
    dxs.push(build.mul(build.sub(x, wide(mean)), wide(build.scale(dVariance, (2 * weight) / count))));
  }
  return [
    context.needs(0) && dxs.length > 0 ? build.sum(dxs) : undefined,
    context.needs(1) ? dScale : undefined,
    context.needs(2) ? dBias : undefined,
  ];
}

/** Of shorter vectors, many products cost more than a pass over all of them. */
const SHORT = 512;

/** Sums of a * b over all but the channels, [C]: as dot products, which spares writing and reading a * b. */
function channelDots(build: Builder, a: Value, b: Value): Value {
  const [n, c, length] = [at(a.shape, 0), at(a.shape, 1), product(a.shape.slice(2))];
  if (build.elementary || length < SHORT)
    return build.reduce('ReduceSum', build.mul(a, b), otherThanChannels(a), true);
  const dots = build.matmul(
    build.reshape(a, [n, c, 1, length]),
    build.transposeLast(build.reshape(b, [n, c, 1, length])),
  );
  return build.reduce('ReduceSum', build.reshape(dots, [n, c]), [0], true);
}

function keepRank(build: Builder, v: Value, x: Value): Value {
  return build.reshape(
    v,
    x.shape.map((dim, axis) => (axis === 1 ? dim : 1)),
  );
}

function batchStatistics(context: RuleContext, axes: readonly number[]): readonly (Value | undefined)[] {
  const { build, node, outputs, saved } = context;
  if (saved.length > 0) return saved;
  const isOfBatch = node.attributes.float('momentum', 0.9) === 0;
  if (isOfBatch && outputs[1] !== undefined && outputs[2] !== undefined) return [outputs[1], outputs[2]];
  const x = required(context.inputs, 0);
  const mean = build.reduce('ReduceMean', x, axes);
  const variance = build.reduce('ReduceMean', build.square(build.sub(x, mean)), axes, true);
  return [build.reshape(mean, variance.shape), variance];
}

// ---- LayerNormalization -----------------------------------------------------------------------------------------

/** onnxruntime's operator gives mean and inverse deviation besides, which the gradient needs. */
function layerNormForward(context: ForwardContext): Rewritten | undefined {
  const { build, node, inputs } = context;
  const [x, y] = [required(inputs, 0), required(context.outputs, 0)];
  const axis = normalAxis(node.attributes.int('axis', -1), x.shape.length);
  if (context.outputs[1] !== undefined && context.outputs[2] !== undefined) return undefined;
  // They are float32 whatever x is.
  if (x.type !== 'float32') return undefined;
  const kept = x.shape.map((dim, index) => (index < axis ? dim : 1));
  const [, mean, inv] = build.multi(
    'LayerNormalization',
    inputs,
    [{ shape: y.shape, name: y.name }, { shape: kept }, { shape: kept }],
    { axis: { int: axis }, epsilon: { float: node.attributes.float('epsilon', 1e-5) } },
  );
  return mean === undefined || inv === undefined ? undefined : { saved: [mean, inv] };
}

function layerNorm(context: RuleContext): (Value | undefined)[] {
  const { build, node } = context;
  const [x, scale, bias] = [required(context.inputs, 0), required(context.inputs, 1), context.inputs[2]];
  const axes = range(normalAxis(node.attributes.int('axis', -1), x.shape.length), x.shape.length);
  const [mean, inv] = layerStatistics(context, x, axes);
  const centered = build.sub(x, mean);
  const xhat = build.mul(centered, inv);
  const [dy, dMean, dInv] = context.gradients;
  const dxs: Value[] = [];
  if (dy !== undefined && context.needs(0))
    dxs.push(throughStatistics(build, build.mul(dy, scale), xhat, inv, axes));
  const size = product(axes.map((axis) => at(x.shape, axis)));
  if (dMean !== undefined) dxs.push(build.expand(build.scale(dMean, 1 / size), x.shape));
  if (dInv !== undefined) {
    // inv = (var + eps)^-1/2, so d inv / dx = -inv^3 (x - mean) / D
    const slope = build.scale(build.mul(dInv, build.mul(inv, build.square(inv))), -1 / size);
    dxs.push(build.mul(centered, slope));
  }
  return [
    dxs.length > 0 ? build.sum(dxs) : undefined,
    dy && context.needs(1) ? build.unbroadcast(build.mul(dy, xhat), x.shape, scale.shape) : undefined,
    dy && bias && context.needs(2) ? build.unbroadcast(dy, x.shape, bias.shape) : undefined,
  ];
}

function layerStatistics(context: RuleContext, x: Value, axes: readonly number[]): readonly [Value, Value] {
  const { build, node, saved, outputs } = context;
  const [mean, inv] = saved.length > 0 ? saved : [outputs[1], outputs[2]];
  if (mean !== undefined && inv !== undefined) return [mean, inv];
  return statistics(build, x, axes, node.attributes.float('epsilon', 1e-5));
}

/** Mean and inverse deviation over some axes. */
function statistics(
  build: Builder,
  x: Value,
  axes: readonly number[],
  epsilon: number,
): readonly [Value, Value] {
  const mean = build.reduce('ReduceMean', x, axes);
  const variance = build.reduce('ReduceMean', build.square(build.sub(x, mean)), axes);
  return [mean, build.unary('Reciprocal', build.unary('Sqrt', build.shift(variance, epsilon)))];
}

// ---- InstanceNormalization, GroupNormalization --------------------------------------------------------------------

function groupNorm(context: RuleContext, groups: number): (Value | undefined)[] {
  const { build, node } = context;
  const [x, scale] = [required(context.inputs, 0), required(context.inputs, 1)];
  const dy = required(context.gradients, 0);
  const [batch, channels] = [at(x.shape, 0), at(x.shape, 1)];
  const spatial = product(x.shape.slice(2));
  const shape = [batch, groups, channels / groups, spatial];
  const [x4, dy4] = [build.reshape(x, shape), build.reshape(dy, shape)];
  const [mean, inv] = statistics(build, x4, [2, 3], node.attributes.float('epsilon', 1e-5));
  const xhat = build.mul(build.sub(x4, mean), inv);
  // Before operator set 21 there is one scale for each group, since then one for each channel.
  const isPerGroup = at(scale.shape, 0) !== channels;
  const wide = build.reshape(scale, isPerGroup ? [groups, 1, 1] : [groups, channels / groups, 1]);
  const sum = (v: Value): Value =>
    build.reshape(build.reduce('ReduceSum', v, isPerGroup ? [0, 2, 3] : [0, 3], true), scale.shape);
  const dx = (): Value =>
    build.reshape(throughStatistics(build, build.mul(dy4, wide), xhat, inv, [2, 3]), x.shape);
  return [
    context.needs(0) ? dx() : undefined,
    context.needs(1) ? sum(build.mul(dy4, xhat)) : undefined,
    context.needs(2) ? sum(dy4) : undefined,
  ];
}

// ---- LRN ----------------------------------------------------------------------------------------------------------

/** y = x (k + a/n sum x^2)^-b over a window of n channels (Krizhevsky et al. 2012, section 3.3). */
function lrn(context: RuleContext): (Value | undefined)[] {
  const { build, node } = context;
  const [x, y, dy] = [
    required(context.inputs, 0),
    required(context.outputs, 0),
    required(context.gradients, 0),
  ];
  const size = node.attributes.int('size', 1);
  const [alpha, beta] = [node.attributes.float('alpha', 1e-4), node.attributes.float('beta', 0.75)];
  const shape = [at(x.shape, 0), 1, at(x.shape, 1), product(x.shape.slice(2))];
  const before = Math.floor((size - 1) / 2);
  const windowMean = (v: Value, lead: number): Value =>
    build.op('AveragePool', [v], shape, {
      kernel_shape: { ints: [size, 1] },
      pads: { ints: [lead, 0, size - 1 - lead, 0] },
      count_include_pad: { int: 1 },
    });
  const [x4, y4, dy4] = [build.reshape(x, shape), build.reshape(y, shape), build.reshape(dy, shape)];
  const base = build.shift(
    build.scale(windowMean(build.square(x4), before), alpha),
    node.attributes.float('bias', 1),
  );
  const direct = build.mul(dy4, build.binary('Pow', base, build.scalar(x.type, -beta)));
  // Whom a channel's square reaches: the window turned round.
  const spread = windowMean(build.div(build.mul(dy4, y4), base), size - 1 - before);
  const indirect = build.mul(x4, build.scale(spread, 2 * alpha * beta));
  return [build.reshape(build.sub(direct, indirect), x.shape)];
}

export const NORM = {
  BatchNormalization: {
    through: [0, 1, 2],
    // With momentum 0 the running statistics are overwritten unread.
    ignores: ({ attributes }) =>
      attributes.int('training_mode', 0) !== 0 && attributes.float('momentum', 0.9) === 0 ? [3, 4] : [],
    forward: batchNormForward,
    backward: batchNorm,
  },
  LayerNormalization: { through: [0, 1, 2], forward: layerNormForward, backward: layerNorm },
  InstanceNormalization: {
    through: [0, 1, 2],
    backward: (context) => groupNorm(context, at(required(context.inputs, 0).shape, 1)),
  },
  GroupNormalization: {
    through: [0, 1, 2],
    backward: (context) => groupNorm(context, context.node.attributes.int('num_groups', 1)),
  },
  LRN: { backward: lrn },
} as const satisfies Record<string, Rule>;
