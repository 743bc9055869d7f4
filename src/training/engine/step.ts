import {
  DATA_TYPES,
  type DataType,
  type Model,
  ModelError,
  type NativeArray,
  Tensor,
} from '../../graph/index.js';
import { checkOptions } from '../../graph/option-descriptors.js';
import { Builder } from '../../passes/gradient/builder.js';
import {
  type Gradient,
  type GradientOptions,
  gradient,
  type Loss,
  ZeroGradientError,
} from '../../passes/gradient/index.js';
import { countOf, isCounted } from '../../passes/gradient/losses.js';
import { normalAxis, product } from '../../passes/gradient/shapes.js';
import type { MatrixProduct } from '../../passes/gradient/types.js';
import type { Value } from '../../passes/gradient/value.js';
import { convert } from '../../runtime/index.js';
import { clipped, gradientNorms, isLargeProduct, jointNorm, movingAverage } from '../optimizers/index.js';
import { type Masks, sliceMasks } from '../optimizers/masks.js';
import type { OptimizerRule, Update, UpdateContext } from '../optimizers/optimizer-rule.js';
import { inputsFirst } from '../optimizers/weight-decay.js';
import { TRAIN_OPTIONS } from '../options.js';

/** What one training step does to the weights. */
export interface StepOptions
  extends Pick<
    GradientOptions,
    | 'loss'
    | 'output'
    | 'dims'
    | 'wrt'
    | 'batchNorm'
    | 'dropout'
    | 'columnBytes'
    | 'block'
    | 'elementary'
    | 'masks'
    | 'checkpointing'
  > {
  /** Samples a step. */
  readonly batch: number;
  readonly optimizer: OptimizerRule;
  /** Weight decay of each weight, by name; default 0 for all. */
  readonly weightDecayOf?: ((name: string) => number) | undefined;
  /** Seeds what Dropout drops, together with the number of the step; default 0. */
  readonly seed?: number | undefined;
  /** Gradients are scaled down so that their joint norm is at most this; default: not. */
  readonly clipNorm?: number | undefined;
  /** Keep moving averages of the weights, with this decay; default: none. */
  readonly emaDecay?: number | undefined;
  /**
   * Weights of half precision are carried as they are, rounded after each update; default false: they are carried in float32, and
   * rounded for the model alone (Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.1), so that small updates
   * add up. Updates and the optimizer's state are float32 in both cases.
   */
  readonly roundWeights?: boolean | undefined;
  /**
   * Terms that a penalty adds to the gradient of a weight, before norms are taken. Called once a weight while the
   * graph is built.
   */
  readonly penalty?: ((context: PenaltyContext) => Value) | undefined;
}

/** What a penalty of a weight is built from. */
export interface PenaltyContext {
  readonly build: Builder;
  readonly name: string;
  readonly parameter: Value;
  readonly gradient: Value;
  /**
   * A value of the weight's type and shape that steps read and leave as it is, at first zeros: the state has it as the slot
   * `<key>/<name>`, and whoever restores a state may change it.
   */
  held(key: string): Value;
}

/** A value that a step changes: a weight, a running statistic, a slot of the optimizer. */
export interface Carried {
  /** As TrainingState names it. */
  readonly key: string;
  readonly kind: 'weight' | 'slot';
  readonly type: DataType;
  readonly shape: readonly number[];
  /** The value before the step and after it. */
  readonly from: string;
  readonly to: string;
  /** What it is before the first step. */
  start(): Tensor | undefined;
}

/** A value that a step reads and does not change. */
export type Held = Pick<Carried, 'key' | 'type' | 'shape'> & { readonly name: string };

/** One training step as nodes and constants (`model` holds the gradient's part), and what goes in and comes out. */
export interface Step {
  readonly gradient: Gradient;
  /** The part before the gradient: masks of Dropout. */
  readonly before: Builder;
  readonly masks: Masks | undefined;
  /** The part behind the gradient: updates and figures. */
  readonly build: Builder;
  readonly carried: readonly Carried[];
  readonly held: readonly Held[];
  /** Scalar float32 inputs. */
  readonly learningRate: string;
  readonly number: string;
  readonly loss: Value;
  /** How many samples are right, float32; undefined where the loss has no classes. */
  readonly correct: Value | undefined;
  /** Norm of the gradient of each trained weight, [trained]. */
  readonly norms: Value;
  /** Weights that have a gradient, in the order of `norms`. */
  readonly trained: readonly string[];
}

/**
 * The graph of one training step: loss, gradients, penalty, clipping, the optimizer's update, moving averages.
 *
 * @throws OptionError for options out of range, and as `gradient` does
 */
export async function buildStep(model: Model, options: StepOptions): Promise<Step> {
  checkStepOptions(model, options);
  const made = await gradient(model, { ...options, weights: 'inputs', masks: options.masks ?? 'inputs' });
  const { model: base } = made;
  const fresh = (name: string): string => base.freshName(name);
  const before = new Builder(fresh);
  const masks = sliceMasks(before, made.masks, fresh, options.seed ?? 0);
  const build = new Builder(fresh);
  build.scope = 'step';
  const initial = (name: string): Tensor | undefined =>
    made.weights.get(name) ?? model.graph.initializers.get(name);
  const known = (name: string, output = name): Value => {
    const tensor = initial(name);
    if (tensor === undefined)
      throw new ModelError(`'${name}' is no initializer, so it cannot be trained`, { file: model.path });
    return { name: output, type: tensor.dataType, shape: tensor.shape };
  };
  const learningRate: Value = { name: base.freshName('learning_rate'), type: 'float32', shape: [] };
  const number: Value = { name: base.freshName('step'), type: 'float32', shape: [] };
  const trained = [...made.gradients.keys()];
  if (trained.length === 0) throw new ZeroGradientError([], model.path);

  const parameters = new Map(
    trained.map((name) => {
      const weight = known(name);
      if (!isHalf(weight.type)) return [name, weight] as const;
      if (options.roundWeights) return [name, build.cast(weight, 'float32')] as const;
      const master: Value = { ...weight, name: base.freshName(`master/${name}`), type: 'float32' };
      const { type, shape } = weight;
      before.multi('Cast', [master], [{ name, type, shape }], { to: { int: DATA_TYPES[type].code } });
      return [name, master] as const;
    }),
  );
  const parameterOf = (name: string): Value => parameters.get(name) ?? known(name);
  const held: Held[] = [];
  let gradients = trained.map((name) => {
    const parameter = parameterOf(name);
    const given = build.cast(known(name, made.gradients.get(name)), parameter.type);
    const hold = (key: string): Value => {
      const value = { ...parameter, name: base.freshName(`${key}/${name}`) };
      held.push({ ...value, key: `${key}/${name}` });
      return value;
    };
    return options.penalty?.({ build, name, parameter, gradient: given, held: hold }) ?? given;
  });
  // What is clipped, or has a penalty, is needed as it is.
  const products =
    options.clipNorm === undefined && options.penalty === undefined
      ? made.products
      : new Map<string, never>();
  const updateOf = (context: UpdateContext, product: MatrixProduct | undefined): Updated => {
    const fused =
      product && isLargeProduct(product)
        ? options.optimizer.updateByProduct?.({ ...context, product })
        : undefined;
    return fused === undefined
      ? { ...options.optimizer.update(context), source: context.gradient }
      : { ...fused, source: product ?? context.gradient };
  };
  const clipNorms = options.clipNorm === undefined ? undefined : gradientNorms(build, gradients);
  if (clipNorms !== undefined && options.clipNorm !== undefined)
    gradients = clipped(build, gradients, jointNorm(build, clipNorms), options.clipNorm);

  const inputFirst = inputsFirst(model.graph, trained);
  const sources: (Value | MatrixProduct)[] = [];
  const carried: Carried[] = [];
  const carry = (kind: Carried['kind'], key: string, from: Value, to: Value, start: Carried['start']) =>
    carried.push({ kind, key, from: from.name, to: to.name, type: from.type, shape: from.shape, start });
  const slot = (name: string, parameter: Value): Value => ({ ...parameter, name: base.freshName(name) });
  for (const [index, name] of trained.entries()) {
    build.scope = `step/${name}`;
    const parameter = parameterOf(name);
    const start = (): Tensor | undefined => inType(initial(name), parameter.type);
    const slots = Object.fromEntries(
      (options.optimizer.slotsOf?.(parameter.shape) ?? options.optimizer.slots).map((key) => [
        key,
        slot(`${key}/${name}`, parameter),
      ]),
    );
    const context = {
      build,
      parameter,
      gradient: gradients[index] as Value,
      slots,
      learningRate,
      step: number,
      weightDecay: options.weightDecayOf?.(name) ?? 0,
      inputsFirst: inputFirst.has(name),
    };
    const update = updateOf(context, products.get(name));
    sources.push(update.source);
    if (options.roundWeights)
      carry('weight', name, known(name), build.cast(update.parameter, known(name).type), () => initial(name));
    else carry('weight', name, parameter, update.parameter, start);
    for (const [key, from] of Object.entries(slots)) {
      carry('slot', `${key}/${name}`, from, update.slots[key] ?? from, () => undefined);
    }
    if (options.emaDecay !== undefined) {
      const average = slot(`ema/${name}`, parameter);
      const next = movingAverage(build, average, update.parameter, number, options.emaDecay);
      carry('slot', `ema/${name}`, average, next, start);
    }
  }
  for (const [name, next] of made.state) {
    carry('weight', name, known(name), known(name, next), () => initial(name));
  }
  build.scope = 'step';
  const type = base.graph.outputs.find((output) => output.name === made.loss)?.dataType ?? 'float32';
  return {
    gradient: made,
    before,
    masks,
    build,
    carried,
    held,
    learningRate: learningRate.name,
    number: number.name,
    loss: build.cast({ name: made.loss, type, shape: [] }, 'float32'),
    correct: countCorrect(build, made, options),
    norms: clipNorms ?? gradientNorms(build, sources),
    trained,
  };
}

function isHalf(type: DataType): boolean {
  return type === 'float16' || type === 'bfloat16';
}

function inType(tensor: Tensor | undefined, type: DataType): Tensor | undefined {
  if (tensor === undefined || tensor.dataType === type) return tensor;
  const { name, dataType, shape } = tensor;
  return Tensor.of(
    name,
    type,
    shape,
    convert({ type: dataType, shape, data: tensor.array() }, type).data as NativeArray,
  );
}

/** An update, and what the norm of the gradient is taken of. */
interface Updated extends Update {
  readonly source: Value | MatrixProduct;
}

export function checkStepOptions(
  model: Model,
  { batch, clipNorm, emaDecay, wrt }: Partial<StepOptions>,
): void {
  checkOptions(TRAIN_OPTIONS, { batch, clipNorm, emaDecay });
  const fed = wrt?.find((name) => !model.graph.initializers.has(name));
  if (fed !== undefined)
    throw new ModelError(`'${fed}' is no initializer, so it cannot be trained`, { file: model.path });
}

/** The samples whose largest logit is the target's; of several positions a sample (segmentation), the share of them. */
function countCorrect(build: Builder, made: Gradient, { loss, batch }: StepOptions): Value | undefined {
  return countsOf(build, made, loss, batch)?.correct;
}

export interface Counts {
  /** How many samples of a batch are classified right, float32 []; of several positions a sample, the share of them. */
  readonly correct: Value;
  /** How many labels count, float32 []; undefined where all do. */
  readonly counted: Value | undefined;
}

/** What a batch's figures are of; undefined where the loss has no classes. */
export function countsOf(
  build: Builder,
  made: Pick<Gradient, 'model' | 'prediction' | 'target'>,
  wanted: StepOptions['loss'],
  batch: number,
): Counts | undefined {
  const loss: Loss = typeof wanted === 'string' ? { kind: wanted } : wanted;
  const isBinary = loss.kind === 'bce' && loss.targets === 'labels';
  if ((loss.kind !== 'cross-entropy' && !isBinary) || made.target === undefined) return undefined;
  const { inputs, outputs } = made.model.graph;
  const shaped = (name: string): Value | undefined => {
    const info = [...inputs, ...outputs].find((value) => value.name === name);
    return info && { name, type: info.dataType ?? 'float32', shape: (info.shape ?? []).map(Number) };
  };
  const [prediction, target] = [shaped(made.prediction), shaped(made.target)];
  if (prediction === undefined || target === undefined) return undefined;
  if (loss.kind !== 'cross-entropy') {
    // A logit above 0 is a probability above 0.5.
    const zero = build.scalar(prediction.type, 0);
    const found = build.op('Greater', [prediction, zero], prediction.shape, {}, 'bool');
    const same = build.op('Equal', [build.cast(found, 'int64'), target], prediction.shape, {}, 'bool');
    const hits = build.reshape(build.cast(same, 'float32'), [product(prediction.shape)]);
    const all = product(prediction.shape);
    const correct = build.scale(build.reduce('ReduceSum', hits, [0], true), batch / all);
    return { correct, counted: undefined };
  }
  const rank = prediction.shape.length;
  const axis = normalAxis(rank === 1 ? 0 : (loss.axis ?? 1), rank);
  const largest = (x: Value, at: number): Value => {
    const shape = x.shape.filter((_, index) => index !== at);
    const made = build.op('ArgMax', [x], shape, { axis: { int: at }, keepdims: { int: 0 } }, 'int64');
    return build.reshape(made, [product(shape)]);
  };
  const found = largest(prediction, axis);
  const count = product(found.shape);
  const right =
    loss.targets === 'probabilities'
      ? largest(target, normalAxis(target.shape.length === 1 ? 0 : (loss.axis ?? 1), target.shape.length))
      : build.reshape(target, [count]);
  const hits = build.cast(build.op('Equal', [found, right], [count], {}, 'bool'), 'float32');
  const sum = (of: Value): Value => build.reduce('ReduceSum', of, [0], true);
  if (loss.ignoreIndex === undefined)
    return { correct: build.scale(sum(hits), batch / count), counted: undefined };
  const counted = build.cast(isCounted(build, right, loss.ignoreIndex), 'float32');
  const share = build.div(sum(build.mul(hits, counted)), countOf(build, counted));
  return { correct: build.scale(share, batch), counted: sum(counted) };
}
