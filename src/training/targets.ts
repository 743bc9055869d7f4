import { type DataType, isFloatType, type Model, ModelError, widen } from '../graph/index.js';
import { ABSORBED, type Loss } from '../passes/gradient/losses.js';
import { lossOf, predictionOf } from '../passes/gradient/request.js';
import { convert, type RuntimeTensor } from '../runtime/index.js';
import type { TrainOptions } from './options.js';
import type { Dataset } from './types.js';

/** What the loss compares with the targets. */
export interface Prediction {
  /** The output's name. */
  readonly name: string;
  /** With the batch; undefined where the file leaves it open and it was not computed. */
  readonly shape: readonly number[] | undefined;
  readonly batch: number;
  /** Whether it is what a Sigmoid makes. */
  readonly isSigmoid: boolean;
}

/** How targets as the data has them become those that a loss reads, and what they must be. */
export interface TargetFit {
  readonly type: DataType;
  /** Of a sample; undefined: as the data has it. */
  readonly shape: readonly number[] | undefined;
  /** Whether elements are repeated to fill the shape. */
  readonly repeats: boolean;
  /** A label a sample becomes a 0 or 1 for each of so many outputs. */
  readonly oneHot: number | undefined;
  readonly range: Range | undefined;
}

type Range =
  | {
      readonly kind: 'labels';
      readonly classes: number;
      readonly isBinary: boolean;
      readonly ignored?: number | undefined;
    }
  /** `classes` numbers at a distance of `stride` sum to 1. */
  | { readonly kind: 'distributions'; readonly classes: number; readonly stride: number }
  | { readonly kind: 'probabilities' };

/** Probabilities that were rounded to two digits do not sum to 1 more closely. */
const SUM_TOLERANCE = 0.02;

const sizeOf = (shape: readonly number[]): number => shape.reduce((product, dim) => product * dim, 1);

export function predictionFor(
  model: Model,
  output: string | undefined,
  batch: number,
  computed: readonly number[] | undefined,
): Prediction {
  const name = output ?? model.graph.outputs[0]?.name ?? '';
  const declared = model.graph.outputs
    .find((value) => value.name === name)
    ?.shape?.map((dim, axis) => (axis === 0 ? batch : dim));
  const isKnown = declared?.every((dim) => typeof dim === 'number') === true;
  return {
    name,
    shape: computed ?? (isKnown ? (declared as number[]) : undefined),
    batch,
    isSigmoid: ABSORBED.bce.length > 0 && predictionOf(model, output, 'bce') !== name,
  };
}

/**
 * The loss that was asked for, or the one that the targets and the output call for.
 *
 * @throws OptionError for a loss that there is not; ModelError for one that has nothing to learn from the targets
 */
export function lossFor(dataset: Dataset, prediction: Prediction, wanted: TrainOptions['loss']): Loss {
  const { target } = dataset;
  if (wanted === undefined) {
    if (target === undefined)
      throw dataError(dataset, 'the data has no targets to train on; give it labels, or a loss of its own');
    if (isFloatType(target.type)) return { kind: prediction.isSigmoid ? 'bce' : 'mse' };
    const isOne = prediction.shape !== undefined && classesOf(prediction, { kind: 'bce' }) === 1;
    return prediction.isSigmoid || isOne
      ? { kind: 'bce', targets: 'labels' }
      : { kind: 'cross-entropy', ...axisOf(dataset) };
  }
  const given = lossOf(wanted);
  const loss: Loss = given.kind === 'cross-entropy' ? { ...axisOf(dataset), ...given } : given;
  if (loss.kind === 'sum') return loss;
  if (target === undefined)
    throw dataError(dataset, `the data has no targets, and the loss ${loss.kind} needs them`);
  if (loss.kind === 'cross-entropy' && loss.targets === undefined && isFloatType(target.type))
    return { ...loss, targets: 'probabilities' };
  if (loss.kind === 'bce' && loss.targets === undefined && !isFloatType(target.type))
    return { ...loss, targets: 'labels' };
  return loss;
}

/** The axis of the classes, where the data says it. */
function axisOf({ classAxis }: Dataset): { readonly axis?: number } {
  return classAxis === undefined ? {} : { axis: classAxis };
}

/** How many classes a loss tells apart; 1 of an output of one number a sample. */
export function classesOf({ shape = [] }: Prediction, loss: Loss): number {
  const axis = loss.kind === 'cross-entropy' ? (loss.axis ?? 1) : 1;
  if (shape.length < 2) return 1;
  return shape[axis < 0 ? axis + shape.length : axis] ?? 1;
}

/**
 * How the targets of a data set fit a prediction.
 *
 * @throws ModelError naming target and output where they do not
 */
export function fitTargets(dataset: Dataset, prediction: Prediction, loss: Loss): TargetFit | undefined {
  const { target } = dataset;
  if (target === undefined || loss.kind === 'sum') return undefined;
  const { shape, batch } = prediction;
  const type: DataType = readsLabels(loss) ? 'int64' : isFloatType(target.type) ? target.type : 'float32';
  const told = {
    given: named('target', target.name, [batch, ...target.shape], target.type),
    output: outputText(prediction),
  };
  if (readsLabels(loss) && isFloatType(target.type)) {
    throw dataError(
      dataset,
      `the ${told.given} is no whole number, but the loss ${loss.kind} reads labels here; take targets 'probabilities'`,
    );
  }
  if (shape === undefined)
    return { type, shape: undefined, repeats: false, oneHot: undefined, range: undefined };
  const axis = loss.kind === 'cross-entropy' ? (loss.axis ?? 1) : 1;
  const classes = classesOf(prediction, loss);
  if (loss.kind === 'cross-entropy' && classes === 1) {
    throw new ModelError(
      `the ${told.output} is one class, over which cross-entropy is always 0; for labels 0 and 1 use \`loss: 'bce'\`, for more classes \`head: 3\`, say: a fresh last layer`,
    );
  }
  const flat = shape.length > 2 && sizeOf(shape.slice(2)) === 1 ? shape.slice(0, 2) : shape;
  const place = axis < 0 ? axis + shape.length : axis;
  const expected =
    loss.kind !== 'cross-entropy'
      ? shape
      : loss.targets === 'probabilities'
        ? place === 1
          ? flat
          : shape
        : (place === 1 ? flat : shape).filter((_, index) => index !== place);
  const range = rangeOf(loss, expected, { classes, place });
  const given = [batch, ...target.shape];
  const own = expected[0] === batch ? expected.slice(1) : undefined;
  const isScalar = sizeOf(target.shape) === 1;
  if (loss.kind === 'bce' && loss.targets === 'labels' && isScalar && flat.length === 2 && classes > 1) {
    return {
      type,
      shape: own,
      repeats: false,
      oneHot: classes,
      range: { kind: 'labels', classes, isBinary: false },
    };
  }
  const isSame = squeezed(given).join() === squeezed(expected).join();
  if (isSame) return { type, shape: own, repeats: false, oneHot: undefined, range };
  const spreads = loss.kind !== 'cross-entropy' && loss.kind !== 'dot' && own !== undefined;
  if (
    spreads &&
    given.length === expected.length &&
    given.every((dim, index) => dim === 1 || dim === expected[index])
  ) {
    return { type, shape: own, repeats: true, oneHot: undefined, range };
  }
  if (readsLabels(loss) && target.shape.length > 0 && target.shape.length === expected.length) {
    throw dataError(
      dataset,
      `the target '${target.name}' is ${target.type}[${target.shape.join(', ')}] a sample, but a label is one number; read numbers for each class as quantities: \`targetType: 'value'\``,
    );
  }
  throw dataError(
    dataset,
    `the ${told.given} does not fit the ${told.output}${hint(dataset, prediction, loss, expected)}`,
  );
}

/** Whether the loss takes whole numbers. */
export function readsLabels(loss: Loss): boolean {
  if (loss.kind === 'bce') return loss.targets === 'labels';
  return loss.kind === 'cross-entropy' && loss.targets !== 'probabilities';
}

function hint({ target }: Dataset, prediction: Prediction, loss: Loss, expected: readonly number[]): string {
  const wants = `; the loss ${loss.kind} takes [${expected.join(', ')}]`;
  if (target === undefined || isFloatType(target.type)) return wants;
  if (!readsLabels(loss) && target.shape.length === 0 && classesOf(prediction, loss) > 1)
    return `: it holds class labels, which the loss cross-entropy (the default) takes, not ${loss.kind}`;
  return wants;
}

function rangeOf(
  loss: Loss,
  expected: readonly number[],
  { classes, place }: { readonly classes: number; readonly place: number },
): Range | undefined {
  if (loss.kind === 'bce')
    return loss.targets === 'labels'
      ? { kind: 'labels', classes: 2, isBinary: true }
      : { kind: 'probabilities' };
  if (loss.kind !== 'cross-entropy') return undefined;
  if (loss.targets !== 'probabilities')
    return { kind: 'labels', classes, isBinary: false, ignored: loss.ignoreIndex };
  return { kind: 'distributions', classes, stride: sizeOf(expected.slice(place + 1)) };
}

const squeezed = ([batch = 1, ...rest]: readonly number[]): readonly number[] => [
  batch,
  ...rest.filter((dim) => dim !== 1),
];

function named(what: string, name: string, shape: readonly number[], type: string): string {
  return `${what} '${name}' (${type}[${shape.join(', ')}])`;
}

function outputText({ name, shape }: Prediction): string {
  return `output '${name}' ([${(shape ?? []).join(', ')}])`;
}

/** An error about the data names the data, not the model. */
export function dataError({ path }: Pick<Dataset, 'path'>, what: string): ModelError {
  return new ModelError(what, { file: path });
}

/**
 * Targets as the loss takes them.
 *
 * @param tensor of samples side by side
 * @param numberOf the number that a sample has in the data, for errors
 * @throws ModelError naming the sample whose target no class has, or that is no probability
 */
export function fitted(
  tensor: RuntimeTensor,
  fit: TargetFit,
  dataset: Pick<Dataset, 'path'>,
  numberOf: (index: number) => number,
): RuntimeTensor {
  const count = tensor.shape[0] ?? 0;
  const made = checked(tensor, fit, dataset, numberOf);
  const shape = fit.shape === undefined ? made.shape : [count, ...fit.shape];
  if (fit.oneHot !== undefined) return { type: made.type, shape, data: oneHot(made, fit.oneHot) };
  if (fit.repeats) return { type: made.type, shape, data: repeated(made, shape) };
  return { ...made, shape };
}

function checked(
  tensor: RuntimeTensor,
  fit: TargetFit,
  dataset: Pick<Dataset, 'path'>,
  numberOf: (at: number) => number,
): RuntimeTensor {
  const count = tensor.shape[0] ?? 0;
  const made = convert(tensor, fit.type);
  const fail = (sample: number, what: string): ModelError =>
    dataError(dataset, `sample ${numberOf(sample)} has ${what}`);
  if (fit.range !== undefined && count > 0) check(made, fit, count, fail);
  return made;
}

/** Targets beyond this are looked at when they are used. */
const MOST_READ = 2 ** 24;
const READ_AT_ONCE = 4096;

/**
 * Looks at all targets of a data set that can be read without the inputs.
 *
 * @returns how many classes the labels are of, where they are labels
 * @throws ModelError naming the first sample whose target no class has, or that is no probability
 */
export async function readTargets(
  dataset: Dataset,
  prediction: Prediction,
  loss: Loss,
): Promise<number | undefined> {
  const { size, target, classes } = dataset;
  const fit = fitTargets(dataset, prediction, loss);
  if (target === undefined || fit?.range === undefined) return classes?.length;
  if (dataset.targets === undefined || size * sizeOf(target.shape) > MOST_READ) return classes?.length;
  let most = -1;
  const ignored = ignoredLabel(fit.range);
  for (let from = 0; from < size; from += READ_AT_ONCE) {
    const indices = Array.from({ length: Math.min(READ_AT_ONCE, size - from) }, (_, at) => from + at);
    const read = await dataset.targets(indices);
    if (read === undefined) return classes?.length;
    const labels = checked(read, fit, dataset, (at) => dataset.numberOf?.(from + at) ?? from + at);
    if (fit.type === 'int64')
      for (const label of labels.data as BigInt64Array)
        if (label !== ignored) most = Math.max(most, Number(label));
  }
  if (ignored !== undefined && most < 0)
    throw dataError(dataset, `every label is ${ignored}, which \`ignoreIndex: ${ignored}\` leaves out`);
  return fit.type === 'int64' ? (classes?.length ?? most + 1) : undefined;
}

function ignoredLabel(range: Range): bigint | undefined {
  return range.kind === 'labels' && range.ignored !== undefined ? BigInt(range.ignored) : undefined;
}

type Fail = (sample: number, what: string) => ModelError;

function check(tensor: RuntimeTensor, { range }: TargetFit, count: number, fail: Fail): void {
  const each = tensor.data.length / count;
  if (range?.kind === 'labels') {
    const labels = tensor.data as BigInt64Array;
    const { classes } = range;
    const ignored = ignoredLabel(range);
    // An int64 from 0 to below 2^32 has a high half of 0: no BigInt is made of millions of pixels.
    const halves = new Uint32Array(labels.buffer, labels.byteOffset, 2 * labels.length);
    for (let at = 0; at < labels.length; at += 1) {
      if (halves[2 * at + 1] === 0 && (halves[2 * at] as number) < classes) continue;
      const label = labels[at] as bigint;
      if (label === ignored) continue;
      const why = range.isBinary
        ? "the loss bce takes 0 and 1; for more classes use `head: 3`, say: a fresh last layer; for quantities `targetType: 'value'`"
        : `the model has ${classes} classes (0–${classes - 1}); \`ignoreIndex: ${label}\` leaves such labels out${label < 0n ? '' : `, \`head: ${label + 1n}\` makes a last layer with room for them`}`;
      throw fail(Math.floor(at / each), `the label ${label}, but ${why}`);
    }
    return;
  }
  const values = widen(tensor.type as 'float32', tensor.data as never) as ArrayLike<number>;
  if (range?.kind === 'probabilities') {
    for (let at = 0; at < values.length; at += 1) {
      const value = values[at] as number;
      // What is no number is reported with the data, not as a target out of range.
      if ((value >= 0 && value <= 1) || !Number.isFinite(value)) continue;
      throw fail(
        Math.floor(at / each),
        `the target ${value}, but the loss bce takes numbers from 0 to 1; use mse for quantities`,
      );
    }
    return;
  }
  if (range === undefined) return;
  const { classes, stride } = range;
  for (let start = 0; start < values.length; start += classes * stride) {
    for (let inner = 0; inner < stride; inner += 1) {
      let sum = 0;
      let least = 0;
      for (let index = 0; index < classes; index += 1) {
        const value = values[start + index * stride + inner] as number;
        sum += value;
        least = Math.min(least, value);
      }
      if (!Number.isFinite(sum) || (least >= 0 && Math.abs(sum - 1) <= SUM_TOLERANCE)) continue;
      const what = least < 0 ? `a target of ${least}` : `targets that sum to ${Number(sum.toPrecision(4))}`;
      throw fail(
        Math.floor(start / each),
        `${what}, but the loss cross-entropy takes probabilities that sum to 1; use mse for quantities`,
      );
    }
  }
}

function oneHot(tensor: RuntimeTensor, classes: number): BigInt64Array {
  const labels = tensor.data as BigInt64Array;
  const result = new BigInt64Array(labels.length * classes);
  for (const [at, label] of labels.entries()) result[at * classes + Number(label)] = 1n;
  return result;
}

type Numbers = Exclude<RuntimeTensor['data'], string[]>;

/** The elements of a tensor spread over a shape of its rank. */
function repeated(tensor: RuntimeTensor, shape: readonly number[]): Numbers {
  const data = tensor.data as Numbers;
  const result = new (data.constructor as new (length: number) => Numbers)(sizeOf(shape));
  const strides = tensor.shape.map((dim, axis) => (dim === 1 ? 0 : sizeOf(tensor.shape.slice(axis + 1))));
  const place = shape.map(() => 0);
  for (let at = 0, from = 0; at < result.length; at += 1) {
    result[at] = data[from] as never;
    for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
      from += strides[axis] as number;
      place[axis] = (place[axis] as number) + 1;
      if ((place[axis] as number) < (shape[axis] as number)) break;
      from -= (strides[axis] as number) * (shape[axis] as number);
      place[axis] = 0;
    }
  }
  return result;
}
