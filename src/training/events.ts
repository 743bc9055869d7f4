import type { Model } from '../graph/index.js';
import type { ExecutionProvider } from '../runtime/index.js';
import type { Evaluation, PrunedWeight } from './types.js';

/** A weight that is trained. */
export interface TrainedWeight {
  readonly name: string;
  readonly shape: readonly number[];
  /** Whether weight decay acts on it. */
  readonly decays: boolean;
}

/** A weight that several layers share. */
export interface TiedWeight {
  readonly name: string;
  /** Elements that the layers would have besides, each with its own. */
  readonly saved: number;
  /** Labels of the nodes that read it. */
  readonly nodes: readonly string[];
}

/** What is going to be trained, and with what. */
export interface TrainPlan {
  readonly weights: readonly TrainedWeight[];
  /** Elements of the trained weights. */
  readonly parameters: number;
  /** Weights of the model that stay as they are. */
  readonly frozen: readonly string[];
  /** True where the model has adapters, so that they alone are trained. */
  readonly adapters?: boolean | undefined;
  /** True where the loss is a cross-entropy over tokens, so that exp(loss) is a perplexity. */
  readonly perplexity?: boolean | undefined;
  /** True where the model has bfloat16, which is computed in float32; the file that is written has it again. */
  readonly widened?: boolean | undefined;
  /** Copies of vectors that several layers shared because they were equal in the file (all ones, all zeros). */
  readonly untied: readonly string[];
  /** Calls of the model's own functions that give way to their nodes, so that layers behind them have weights of their own. */
  readonly calls?: readonly string[] | undefined;
  /** Weights that several layers share, which train as one: on purpose, or merged by an exporter because they began equal. */
  readonly tied?: readonly TiedWeight[] | undefined;
  /** Weights that were chosen, and that no gradient reaches: the node that stops it has a derivative of zero. */
  readonly unreached?:
    | readonly { readonly name: string; readonly node: string; readonly op: string }[]
    | undefined;
  /** Quantized matrices, which stay as they are. */
  readonly quantized?: readonly string[] | undefined;
  /** Classes that the output tells apart, or numbers that it has; undefined where its shape is not known. */
  readonly outputs?: number | undefined;
  /** Classes that the labels of the data are of; undefined where they are not labels, or were not read. */
  readonly labels?: number | undefined;
  /** Matrices whose elements are all equal, as in files without weights: they barely train. */
  readonly filled: readonly string[];
  /** Chains of linear layers among the trained layers. */
  readonly chains: number;
  /** Samples to train on, and to validate on. */
  readonly samples: number;
  readonly validationSamples: number;
  readonly batch: number;
  readonly stepsPerEpoch: number;
  readonly epochs: number;
  readonly loss: string;
  readonly optimizer: string;
  readonly learningRate: number;
  readonly schedule: string;
  readonly seed: number;
  readonly providers: readonly ExecutionProvider[];
  /** What else was asked for, by the names of the options. */
  readonly settings: Readonly<Record<string, unknown>>;
}

/** How much of its rank a weight uses. Spectral quantities are of the matrix out x (in / group * kernel). */
export interface RankFigures {
  /** Name of the weight; of a chain, of the weight that it stands for. */
  readonly weight: string;
  /** 'product' is what the factors of a chain multiply out to. */
  readonly role: 'weight' | 'factor' | 'product';
  /** Of a factor, the weight that its chain stands for. */
  readonly chain?: string | undefined;
  readonly rows: number;
  readonly columns: number;
  /** exp of the spectral entropy, from 1 to min(rows, columns); see METRICS. */
  readonly effectiveRank: number;
  /** effectiveRank / min(rows, columns). */
  readonly effectiveRankRatio: number;
  /** Squared Frobenius norm over squared spectral norm. */
  readonly stableRank: number;
  readonly frobeniusNorm: number;
  readonly spectralNorm: number;
}

/** Figures of one epoch; of epoch 0, of the model before training. */
export interface EpochRecord {
  readonly epoch: number;
  /** Steps done since the beginning. */
  readonly step: number;
  /** Mean over the steps of the epoch, with the weights as they were; undefined of epoch 0. */
  readonly training: TrainingFigures | undefined;
  readonly validation: Evaluation | undefined;
  /** Of the last step. */
  readonly learningRate: number;
  /** Mean Euclidean norm of all gradients, before clipping; undefined of epoch 0. */
  readonly gradientNorm: number | undefined;
  /** In the order of the model; empty where they were not asked for. */
  readonly ranks: readonly RankFigures[];
  /** Seconds of the epoch: training, validation, ranks. */
  readonly seconds: number;
}

/** Figures of an epoch over the training samples. */
export interface TrainingFigures {
  readonly loss: number;
  readonly accuracy: number | undefined;
  /** Mean losses of up to 20 equal parts of the epoch. */
  readonly curve: readonly number[];
}

/** What a training came to. */
export interface TrainSummary {
  /** Why it ended: all epochs done, no improvement for `patience` epochs, or asked to stop. */
  readonly reason: StopReason;
  readonly epochs: number;
  readonly steps: number;
  readonly seconds: number;
  /** The epoch whose weights the model has now. */
  readonly best: EpochRecord | undefined;
  readonly last: EpochRecord | undefined;
  /** Of the test samples, where there are some. */
  readonly test: Evaluation | undefined;
  /** The ranks of the weights that the model has now, where ranks were pruned. */
  readonly pruned?: readonly PrunedWeight[] | undefined;
}

/** Why a training ended; see TrainSummary. */
export type StopReason = 'epochs' | 'patience' | 'aborted';

/** Where a training goes on, and what it did before. */
export interface Resumed {
  readonly epoch: number;
  readonly step: number;
  readonly history: readonly EpochRecord[];
}

/** What happens in a training, in order. */
export type TrainEvent =
  | {
      readonly kind: 'start';
      readonly plan: TrainPlan;
      readonly resumed: Resumed | undefined;
    }
  | {
      /** After each chunk of steps. */
      readonly kind: 'progress';
      readonly epoch: number;
      /** Steps of the epoch that are done, of all. */
      readonly step: number;
      readonly steps: number;
      /** Means of the epoch so far. */
      readonly loss: number;
      readonly accuracy: number | undefined;
      readonly learningRate: number;
      readonly gradientNorm: number;
      readonly samplesPerSecond: number;
      /** Of the whole training, as fast as so far. */
      readonly secondsLeft: number;
    }
  | { readonly kind: 'epoch'; readonly record: EpochRecord }
  /** The best epoch so far. */
  | { readonly kind: 'improved'; readonly epoch: number; readonly monitor: Monitor; readonly value: number }
  | { readonly kind: 'checkpoint'; readonly directory: string; readonly epoch: number; readonly step: number }
  | {
      readonly kind: 'stopped';
      readonly reason: Exclude<StopReason, 'epochs'>;
      readonly epoch: number;
      readonly step: number;
    }
  | { readonly kind: 'done'; readonly summary: TrainSummary };

/** What of the validation samples tells the best epoch. */
export type Monitor = 'accuracy' | 'loss';

/** What a training made. */
export interface TrainResult extends TrainSummary {
  /** The model that was given, with new weights and otherwise as it was. */
  readonly model: Model;
  /** The record of each epoch; the first is that of the model before training. */
  readonly history: readonly EpochRecord[];
}
