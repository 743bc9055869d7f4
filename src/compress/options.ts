import type { DescriptorsFor } from '../graph/option-descriptors.js';
import type { ProviderChoice } from '../runtime/index.js';
import type { Dataset } from '../training/types.js';
import type { DivergenceKind } from './calibration/divergence.js';
import { FORMS, type Form } from './factors/forms.js';

/** What is to become of one layer. */
export interface PlannedLayer {
  /** The label of its node; of a shared weight, of the first. */
  readonly layer: string;
  readonly form: Form | 'keep';
  /** [R], of `tucker` [R1, R2]; of `keep` none. */
  readonly ranks: readonly number[];
}

/** Options of compress. At least one budget, or a plan, is needed but in a dry run. */
export interface CompressOptions {
  /**
   * Calibration data: samples as the model will see them; labels are read for `maxDrop` alone. Without it the spectra of the weights alone decide,
   * and each layer's relative error counts alike.
   */
  readonly data?: Dataset | undefined;
  /** Samples of the data that are used, drawn at random; default 1024. */
  readonly samples?: number | undefined;
  /** Share of the parameters of the file that is kept, in (0, 1]. */
  readonly params?: number | undefined;
  /** Share of the multiply-adds of the linear layers that is kept. */
  readonly macs?: number | undefined;
  /** Share of the bytes of the file that is kept. */
  readonly size?: number | undefined;
  /**
   * Share of the time in onnxruntime on this machine that is kept, of one sample (or the batch that the model fixes). Layers are measured
   * as they are and factorized; those that would get no faster stay. Measured times differ from run to run, and with them the result.
   */
  readonly latency?: number | undefined;
  /** Measure layers before and after in onnxruntime, and the whole model; `latency` always does. Default false. */
  readonly timing?: boolean | undefined;
  /**
   * In the place of a share: the smallest model whose accuracy on the samples held back is at most so many points below the original's;
   * of data without labels, that decides otherwise on at most so many percent of them; with `divergence: 'mse'`, whose relative error (the root of the mean square of the difference over that of the
   * outputs) is at most so many percent. Needs data.
   */
  readonly maxDrop?: number | undefined;
  /** Epochs of distillation from the original on the data when all is factorized; default 0, none. */
  readonly finetune?: number | undefined;
  /** The highest learning rate of that, by Adam; default 3e-4. */
  readonly learningRate?: number | undefined;
  /** Globs of the linear nodes that may be factorized; default all. */
  readonly only?: readonly string[] | undefined;
  /** Globs of those that may not. */
  readonly exclude?: readonly string[] | undefined;
  /**
   * The type that the result will be converted to, by `convertFloats`: `size` counts its bytes in that type. Nothing is converted here.
   */
  readonly type?: 'float16' | 'bfloat16' | undefined;
  /**
   * In the place of a budget: weights of matrix products in so many bits, 4 or 8, rounded to the nearest (com.microsoft's MatMulNBits,
   * which stock onnxruntime runs), with a branch of low rank beside each.
   */
  readonly bits?: number | undefined;
  /** With `bits`: the rank of the branch that carries what rounding loses; 0 for none. Default 32. */
  readonly branch?: number | undefined;
  /** With `bits`: weights in a row that share a scale, a power of 2; default 32. */
  readonly block?: number | undefined;
  /** Forms that convolutions may take; default all, the best for each. */
  readonly forms?: readonly Form[] | undefined;
  /** Ranks are multiples of this, for kernels that run fastest so; default 1. */
  readonly multiple?: number | undefined;
  /** What becomes of each layer, in the place of a budget: the `plan` of an account, edited or not. */
  readonly plan?: readonly PlannedLayer[] | undefined;
  /** What differences of outputs are measured by; default cross-entropy of a model that ends in Softmax or whose data has labels, else mse. */
  readonly divergence?: DivergenceKind | undefined;
  /**
   * The axis of the classes of that output; default that of the Softmax at its end, else the last of three axes ([batch, tokens, classes])
   * and the second of others.
   */
  readonly axis?: number | undefined;
  /** The output that is compared; default the first. */
  readonly prediction?: string | undefined;
  /**
   * Do not fit later layers to what the factorized ones before them make. Default false: that is tried, and taken where it is better on
   * samples held back.
   */
  readonly independent?: boolean | undefined;
  /** Say what would be done, change nothing. */
  readonly dryRun?: boolean | undefined;
  /** Of the choice of samples and of the random vectors. Default 0. */
  readonly seed?: number | undefined;
  readonly providers?: ProviderChoice | undefined;
  readonly device?: number | undefined;
  readonly threads?: number | undefined;
  /** Between two layers, or steps of the search, it ends the call with its reason. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?:
    | ((progress: { readonly done: number; readonly total: number; readonly what: string }) => void)
    | undefined;
}

const BUDGET = { group: 'Budget' } as const;

/** The options of `compress` that one value describes. */
export const COMPRESS_OPTIONS = {
  params: {
    kind: 'number',
    above: 0,
    max: 1,
    ...BUDGET,
    help: 'share of the parameters to keep, as counted in the file: 0.5',
  },
  macs: { kind: 'number', above: 0, max: 1, ...BUDGET, help: 'share of the multiply-adds to keep' },
  size: { kind: 'number', above: 0, max: 1, ...BUDGET, help: "share of the file's bytes to keep" },
  latency: {
    kind: 'number',
    above: 0,
    max: 1,
    ...BUDGET,
    help: 'share of the time in onnxruntime on this machine to keep; layers that get no faster stay',
  },
  maxDrop: {
    kind: 'number',
    above: 0,
    max: 100,
    ...BUDGET,
    help: 'the smallest model that loses at most this many points of accuracy on held back samples; without labels, that decides otherwise on so many percent',
  },
  finetune: {
    kind: 'integer',
    min: 0,
    default: 0,
    group: 'Fine-tuning',
    help: 'epochs of distillation from the original, labels not needed',
  },
  learningRate: {
    kind: 'number',
    above: 0,
    flag: 'lr',
    default: 3e-4,
    group: 'Fine-tuning',
    help: 'its highest learning rate, by Adam',
  },
  only: { kind: 'patterns', help: "factorize only layers whose node matches: 'layer4.*'" },
  exclude: { kind: 'patterns', help: 'but none whose node matches' },
  forms: {
    kind: 'choices',
    choices: FORMS,
    defaultHelp: 'all, the best for each layer',
    help: 'what convolutions may become: channel, spatial, tucker',
  },
  type: {
    kind: 'choice',
    choices: ['float16', 'bfloat16'],
    defaultHelp: 'as the weights are',
    help: 'type that the result is written in; a budget of `size` counts its bytes',
  },
  bits: {
    kind: 'integer',
    min: 4,
    max: 8,
    group: 'Few bits',
    help: 'write weights of matrix products in 4 or 8 bits, in the place of a budget',
  },
  branch: {
    kind: 'integer',
    min: 0,
    default: 32,
    group: 'Few bits',
    help: 'rank of the branch that carries what rounding loses; 0 for none',
  },
  block: {
    kind: 'integer',
    min: 16,
    max: 256,
    default: 32,
    group: 'Few bits',
    help: 'weights that share a scale: 16, 32, 64, 128 or 256',
  },
  timing: {
    kind: 'flag',
    default: false,
    help: 'measure each layer in onnxruntime, before and after; a budget of `latency` always does',
  },
  multiple: {
    kind: 'integer',
    min: 1,
    default: 1,
    help: 'ranks are multiples of this: 8 or 16 run fastest on many processors',
  },
  samples: { kind: 'integer', min: 2, default: 1024, group: 'Data', help: 'samples to calibrate on' },
  divergence: {
    kind: 'choice',
    choices: ['cross-entropy', 'mse'],
    group: 'Data',
    defaultHelp: 'cross-entropy of classifiers, mse of others',
    help: 'how outputs are compared with those of the original',
  },
  prediction: {
    kind: 'text',
    group: 'Data',
    defaultHelp: 'the first',
    help: 'output that is compared',
  },
  axis: {
    kind: 'integer',
    min: 1,
    group: 'Data',
    defaultHelp: 'of the Softmax at the end, else the last of three, the second of others',
    help: 'axis of the classes of that output',
  },
  independent: {
    kind: 'flag',
    default: false,
    group: 'Data',
    help: 'do not fit layers to what the factorized ones before them make',
  },
  seed: { kind: 'integer', min: 0, default: 0, help: 'seed of the choice of samples and of random vectors' },
} as const satisfies DescriptorsFor<
  Omit<
    CompressOptions,
    'data' | 'plan' | 'dryRun' | 'providers' | 'device' | 'threads' | 'onProgress' | 'signal'
  >
>;
