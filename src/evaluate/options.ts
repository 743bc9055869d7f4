import { checkOptions, type OptionDescriptors } from '../graph/option-descriptors.js';
import { LOSS_FIELDS } from '../passes/gradient/options.js';
import type { SessionOptions } from '../runtime/index.js';
import { DEVICE_OPTION, SESSION_OPTIONS } from '../runtime/session/options.js';

/** Losses that a model is measured by. */
export const QUALITY_LOSSES = ['cross-entropy', 'bce', 'mse'] as const;
/** What outputs are measured by: an element of QUALITY_LOSSES. */
export type QualityLoss = (typeof QUALITY_LOSSES)[number];

/** Options of evaluateModels. */
export interface EvaluateOptions extends Pick<SessionOptions, 'providers' | 'device' | 'threads'> {
  /** What the outputs are measured by. Default: what `train` would take for the targets and the output of the first model. */
  readonly loss?: QualityLoss | undefined;
  /** The output to measure, of every model; default the first. A Softmax or Sigmoid at its end is taken up. */
  readonly output?: string | undefined;
  /**
   * The axis of the classes. Default: 1, or the last one of an output [batch, positions, classes] whose targets are
   * [batch, positions].
   */
  readonly axis?: number | undefined;
  /** A label that marks what does not count: 255 in segmentation, -100 in PyTorch. */
  readonly ignoreIndex?: number | undefined;
  /** Top-k accuracy is of this k; default 5. */
  readonly top?: number | undefined;
  /** Resamples of the bootstrap; 0 for no intervals. Default 1000. */
  readonly resamples?: number | undefined;
  /** Of the bootstrap; default 0. */
  readonly seed?: number | undefined;
  /** Samples a run, where the model takes any number; default by their size, at most 256. The figures do not depend on it beyond rounding. */
  readonly batch?: number | undefined;
  /** Called after each batch. */
  readonly onProgress?: ((state: { readonly done: number; readonly total: number }) => void) | undefined;
  /** Ends the work between two batches, with its reason. */
  readonly signal?: AbortSignal | undefined;
}

const MEASURE = { group: 'Measure' } as const;

/** The options of `evaluateModels` that one value describes. */
export const EVALUATE_OPTIONS = {
  loss: {
    kind: 'choice',
    choices: QUALITY_LOSSES,
    ...MEASURE,
    defaultHelp: 'cross-entropy for classes, bce after a Sigmoid or for one output, mse for other numbers',
    help: 'the loss',
  },
  axis: {
    kind: 'integer',
    ...MEASURE,
    defaultHelp: '1, or the last where the targets say so',
    help: 'axis of the classes',
  },
  ignoreIndex: { ...LOSS_FIELDS.ignoreIndex, ...MEASURE, help: 'label to ignore, such as 255' },
  top: { kind: 'integer', min: 2, default: 5, ...MEASURE, help: 'k of top-k accuracy' },
  resamples: {
    kind: 'integer',
    min: 0,
    max: 100_000,
    default: 1000,
    ...MEASURE,
    help: 'bootstrap resamples for the intervals; 0 for none',
  },
  seed: { kind: 'integer', min: 0, default: 0, ...MEASURE, help: 'seed of the bootstrap' },
  batch: {
    kind: 'integer',
    min: 1,
    ...MEASURE,
    defaultHelp: 'by the size of a sample, at most 256',
    help: 'samples per run',
  },
} as const satisfies OptionDescriptors;

/** @throws OptionError for options of `evaluateModels` that are out of range */
export function checkEvaluateOptions(options: EvaluateOptions): void {
  checkOptions({ ...EVALUATE_OPTIONS, ...SESSION_OPTIONS, ...DEVICE_OPTION }, options);
}
