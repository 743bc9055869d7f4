import { type DataType, ModelError } from '../../graph/index.js';
import type { Builder } from './builder.js';
import { at, normalAxis, product, range } from './shapes.js';
import type { Value } from './value.js';

/** What training makes small. Means are over everything but the classes, as PyTorch's `reduction='mean'`. */
export type Loss =
  | {
      readonly kind: 'cross-entropy';
      /** 'labels': int64 class numbers; 'probabilities': one number a class. Default 'labels'. */
      readonly targets?: 'labels' | 'probabilities';
      /** Share of the probability that is spread over all classes (Szegedy et al. 2016, section 7); default 0. */
      readonly smoothing?: number | undefined;
      /**
       * Logits are divided by it and the loss is multiplied by its square, so that gradients keep their size (Hinton et
       * al. 2015, for targets that a teacher made at the same temperature); default 1.
       */
      readonly temperature?: number | undefined;
      /** The axis of the classes; default 1. */
      readonly axis?: number | undefined;
      /**
       * A label that marks what is not to be learned (255 in segmentation, -100 in PyTorch): the loss is the mean over the other
       * labels, 0 where there is none. Default: every label counts.
       */
      readonly ignoreIndex?: number | undefined;
    }
  | { readonly kind: 'mse' }
  | { readonly kind: 'l1' }
  /** 0.5 d^2 up to |d| = delta (default 1), delta (|d| - 0.5 delta) beyond. */
  | { readonly kind: 'huber'; readonly delta?: number }
  | {
      /** Binary cross-entropy of logits. */
      readonly kind: 'bce';
      /** 'labels': int64, 0 or 1; 'probabilities': numbers from 0 to 1. Default 'probabilities'. */
      readonly targets?: 'labels' | 'probabilities';
    }
  /** The sum of the output times a given tensor of its shape: a vector-Jacobian product. */
  | { readonly kind: 'dot' }
  /** The sum of the output's elements: for an output that is a loss by itself. */
  | { readonly kind: 'sum' };

/** Name of a loss: an element of LOSS_KINDS. */
export type LossKind = Loss['kind'];

export { LOSS_KINDS } from './options.js';

/** The operator at a model's end that the loss takes up: its input is what the loss reads. */
export const ABSORBED: Readonly<Record<LossKind, readonly string[]>> = {
  'cross-entropy': ['Softmax', 'LogSoftmax'],
  bce: ['Sigmoid'],
  mse: [],
  l1: [],
  huber: [],
  dot: [],
  sum: [],
};

export interface Target {
  readonly name: string;
  readonly type: DataType;
  readonly shape: readonly number[];
}

export interface LossPiece {
  /** The scalar. */
  readonly loss: Value;
  /** The input that holds what the prediction should be; undefined for 'sum'. */
  readonly target: Target | undefined;
}

/**
 * Appends the loss to a graph.
 *
 * @param output logits for cross-entropy and bce, otherwise the output itself
 * @returns the scalar and the target; both are float32 where the output has half precision
 * @throws ModelError for an axis that the logits do not have
 */
export function appendLoss(build: Builder, output: Value, loss: Loss, targetName: string): LossPiece {
  // Sums over a batch leave the range of half precision.
  const isHalf = output.type === 'float16' || output.type === 'bfloat16';
  const prediction = isHalf ? build.cast(output, 'float32') : output;
  const same: Target = { name: targetName, type: prediction.type, shape: prediction.shape };
  const mean = (errors: Value): Value => reduceAll(build, 'ReduceMean', errors);
  const difference = (): Value => build.sub(prediction, same);
  switch (loss.kind) {
    case 'sum':
      return { loss: reduceAll(build, 'ReduceSum', prediction), target: undefined };
    case 'dot':
      return { loss: reduceAll(build, 'ReduceSum', build.mul(prediction, same)), target: same };
    case 'mse':
      return { loss: mean(build.square(difference())), target: same };
    case 'l1':
      return { loss: mean(build.unary('Abs', difference())), target: same };
    case 'huber': {
      const delta = loss.delta ?? 1;
      // With c = min(|d|, delta): c (|d| - c / 2) is both branches in one.
      const size = build.unary('Abs', difference());
      const clipped = build.binary('Min', size, build.scalar(size.type, delta));
      return { loss: mean(build.mul(clipped, build.sub(size, build.scale(clipped, 0.5)))), target: same };
    }
    case 'bce': {
      const target: Target = loss.targets === 'labels' ? { ...same, type: 'int64' } : same;
      const wanted = build.cast(target, prediction.type);
      // softplus(x) - x t: finite for logits of any size.
      return { loss: mean(build.sub(softplus(build, prediction), build.mul(prediction, wanted))), target };
    }
    case 'cross-entropy':
      return crossEntropy(build, prediction, loss, targetName);
  }
}

function crossEntropy(
  build: Builder,
  prediction: Value,
  loss: Extract<Loss, { kind: 'cross-entropy' }>,
  name: string,
): LossPiece {
  const { targets = 'labels', smoothing = 0, temperature = 1, axis = 1, ignoreIndex } = loss;
  const rank = prediction.shape.length;
  const place = normalAxis(rank === 1 ? 0 : axis, rank);
  if (place >= rank || place < 0) {
    throw new ModelError(
      `cross-entropy over axis ${axis} needs logits with that axis, but they are [${prediction.shape.join(', ')}]`,
    );
  }
  // [N, C, 1, 1], what a network without a last Flatten makes, is read as [N, C].
  const isFlat = rank > 2 && place === 1 && product(prediction.shape.slice(2)) === 1;
  const flat = isFlat ? build.reshape(prediction, prediction.shape.slice(0, 2)) : prediction;
  const logits = build.scale(flat, 1 / temperature);
  const classes = at(logits.shape, place);
  const count = product(logits.shape) / classes;
  const logProbabilities = build.op('LogSoftmax', [logits], logits.shape, { axis: { int: place } });
  const [off, on] = [smoothing / classes, 1 - smoothing + smoothing / classes];
  let target: Target;
  let wanted: Value;
  let counted: Value | undefined;
  if (targets === 'labels') {
    target = { name, type: 'int64', shape: logits.shape.filter((_, index) => index !== place) };
    // OneHot has float32 kernels, not float64.
    const values = build.constant('float32', [2], [off, on]);
    const hot = build.op(
      'OneHot',
      [target, build.scalar('int64', classes), values],
      logits.shape,
      { axis: { int: place } },
      'float32',
    );
    wanted = build.cast(hot, logits.type);
    if (ignoreIndex !== undefined) {
      counted = build.cast(isCounted(build, target, ignoreIndex), logits.type);
      const spread = logits.shape.map((dim, index) => (index === place ? 1 : dim));
      wanted = build.mul(wanted, build.reshape(counted, spread));
    }
  } else {
    target = { name, type: logits.type, shape: logits.shape };
    wanted = build.shift(build.scale(target, 1 - smoothing), off);
  }
  const total = reduceAll(build, 'ReduceSum', build.mul(logProbabilities, wanted));
  const scale = -(temperature ** 2);
  if (counted === undefined) return { loss: build.scale(total, scale / count), target };
  return { loss: build.div(build.scale(total, scale), countOf(build, counted)), target };
}

/** Which labels count, bool. */
export function isCounted(build: Builder, labels: Value, ignoreIndex: number): Value {
  const same = build.op('Equal', [labels, build.scalar('int64', ignoreIndex)], labels.shape, {}, 'bool');
  return build.op('Not', [same], labels.shape, {}, 'bool');
}

/** How many there are among counted labels (1 and 0), at least 1: where all are left out, a mean is 0. */
export function countOf(build: Builder, counted: Value): Value {
  return build.binary('Max', reduceAll(build, 'ReduceSum', counted), build.scalar(counted.type, 1));
}

function softplus(build: Builder, x: Value): Value {
  if (x.type === 'float32') return build.unary('Softplus', x);
  return build.neg(build.unary('Log', build.unary('Sigmoid', build.neg(x))));
}

function reduceAll(build: Builder, opType: string, x: Value): Value {
  return build.op(opType, [x, build.ints(range(0, x.shape.length))], [], { keepdims: { int: 0 } });
}
