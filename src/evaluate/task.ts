import { isFloatType, ModelError } from '../graph/index.js';
import type { Loss } from '../passes/gradient/index.js';
import { dataError, fitTargets, lossFor, type Prediction, type TargetFit } from '../training/targets.js';
import type { Dataset } from '../training/types.js';
import type { EvaluateOptions } from './options.js';
import type { TaskKind } from './types.js';

/** What is measured, and by what; of the first model's output. */
export interface Task {
  readonly kind: TaskKind;
  readonly loss: Loss | undefined;
  /** How the outputs become rows: vectors that are compared with a target, or with each other. */
  readonly form: RowForm;
  readonly isNextToken: boolean;
  /** Whether the targets are a probability for each class. */
  readonly isSoft: boolean;
}

/** Where the vectors lie in an output. */
export type RowForm =
  /** Along an axis, one logit a class. */
  | { readonly kind: 'classes'; readonly axis: number }
  /** Each element is the logit of the second of two classes. */
  | { readonly kind: 'binary' }
  /** All of a sample. */
  | { readonly kind: 'whole' };

/**
 * What the targets and the output call for.
 *
 * @param prediction of the first model, with the shape of its output on one or more samples
 * @param feed name of the data's input that is the model's only input of whole numbers with the rank of a text; undefined where there is none
 * @throws ModelError where targets and output do not go together
 */
export function taskFor(
  dataset: Dataset,
  prediction: Prediction & { readonly shape: readonly number[] },
  options: EvaluateOptions,
  text: { readonly length: number } | undefined,
): Task {
  const { shape } = prediction;
  const { target } = dataset;
  const axis = classAxis(dataset, shape, options);
  if (target === undefined) {
    const isNextToken =
      shape.length === 3 && text !== undefined && text.length === shape[1] && text.length > 1;
    if (isNextToken && options.loss !== 'mse' && options.loss !== 'bce') {
      return {
        kind: 'classes',
        loss: { kind: 'cross-entropy', axis: 2 },
        form: { kind: 'classes', axis: 2 },
        isNextToken,
        isSoft: false,
      };
    }
    if (options.loss !== undefined)
      throw dataError(dataset, `the data has no targets, and the loss ${options.loss} needs them`);
    const form: RowForm = shape.length < 2 ? { kind: 'whole' } : { kind: 'classes', axis };
    return { kind: 'agreement', loss: undefined, form, isNextToken: false, isSoft: false };
  }
  const wanted: Loss | undefined =
    options.loss === 'cross-entropy'
      ? { kind: 'cross-entropy', axis }
      : options.loss && { kind: options.loss };
  const found = lossFor(dataset, prediction, wanted);
  const loss: Loss =
    found.kind === 'cross-entropy' ? { ...found, axis, ignoreIndex: options.ignoreIndex } : found;
  if (loss.kind === 'cross-entropy') {
    const isSoft = loss.targets === 'probabilities';
    return { kind: 'classes', loss, form: { kind: 'classes', axis }, isNextToken: false, isSoft };
  }
  if (loss.kind === 'bce') {
    const isSoft = isFloatType(target.type);
    return { kind: 'classes', loss, form: { kind: 'binary' }, isNextToken: false, isSoft };
  }
  return { kind: 'values', loss, form: { kind: 'whole' }, isNextToken: false, isSoft: false };
}

/** How targets become those of the rows; undefined where there are none, or the inputs are the targets. */
export function fitFor(dataset: Dataset, prediction: Prediction, task: Task): TargetFit | undefined {
  return task.loss === undefined || dataset.target === undefined
    ? undefined
    : fitTargets(dataset, prediction, task.loss);
}

/** The axis of the classes that was asked for, or that the targets leave over. */
function classAxis({ target }: Dataset, shape: readonly number[], { axis: wanted }: EvaluateOptions): number {
  const rank = shape.length;
  if (wanted !== undefined) {
    const axis = wanted < 0 ? wanted + rank : wanted;
    if (axis < 1 || axis >= rank)
      throw new ModelError(
        `\`axis: ${wanted}\` is none of the output's behind the batch: [${shape.join(', ')}]`,
      );
    return axis;
  }
  if (rank !== 3) return 1;
  // Of a text an output is [batch, tokens, classes]; of a signal [batch, classes, places].
  if (target === undefined) return 2;
  const isAt = (axis: number): boolean =>
    target.shape.join() === shape.filter((_, at) => at !== 0 && at !== axis).join();
  return !isAt(1) && isAt(2) ? 2 : 1;
}
