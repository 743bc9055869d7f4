import type { DataType } from '../graph/index.js';
import type { RuntimeTensor } from '../runtime/index.js';

/** One tensor of a sample: its shape is without the batch. */
export interface Field {
  readonly name: string;
  readonly type: DataType;
  readonly shape: readonly number[];
}

/** Samples side by side: each tensor has the batch as its first dimension. */
export interface Batch {
  /** By the names of `Dataset.inputs`. */
  readonly inputs: Readonly<Record<string, RuntimeTensor>>;
  /** Class labels are int64 [batch]. Undefined of data without labels. */
  readonly target: RuntimeTensor | undefined;
}

/** Options of Dataset.batch. */
export interface BatchOptions {
  /** Draw augmentations (crop, flip, shift) anew; default false: the sample as it is. */
  readonly augment?: boolean | undefined;
  /** Seeds the augmentations, together with `epoch` and the sample's index, whatever batch it is in. Default 0. */
  readonly seed?: number | undefined;
  /** Default 0. */
  readonly epoch?: number | undefined;
}

/** Samples by index. Holds in memory what is asked for, not the whole of a large file. */
export interface Dataset extends AsyncDisposable {
  /** What a model is fed. Matched to its inputs by name or, where the names do not match, by position. */
  readonly inputs: readonly Field[];
  /** Undefined of data without labels. A class label is int64 of shape []. */
  readonly target: Field | undefined;
  /** The file or folder, for errors. */
  readonly path?: string | undefined;
  /** Number of samples. */
  readonly size: number;
  /** Names of the classes, where the files say them. */
  readonly classes?: readonly string[] | undefined;
  /** Of targets that are labels at several places of a sample: the axis of the classes in what is predicted (-1 of tokens). Default 1. */
  readonly classAxis?: number | undefined;
  /** What is done to the samples besides, that a user should know: images brought to another size. */
  readonly notes?: readonly string[] | undefined;
  /** The number, from 0, that a sample has in its file or folder; default its index. */
  numberOf?(index: number): number;
  /** What a sample is called in its file or folder: the path of an image in it. Default: nothing. */
  nameOf?(index: number): string | undefined;
  /** The targets alone of the samples at these indices, where they can be read without the inputs. */
  targets?(indices: ArrayLike<number>): Promise<RuntimeTensor | undefined>;
  /** The samples at these indices, in their order. */
  batch(indices: ArrayLike<number>, options?: BatchOptions): Promise<Batch>;
}

/** Some steps' worth of data: each tensor has the steps as its first dimension, the batch as its second. */
export interface Chunk {
  readonly steps: number;
  readonly inputs: Readonly<Record<string, RuntimeTensor>>;
  readonly target: RuntimeTensor | undefined;
  /** One a step. */
  readonly learningRates: Float32Array;
}

/** Figures of each step of a chunk. */
export interface ChunkResult {
  /** The loss before the step's update. */
  readonly losses: Float32Array;
  /** How many samples of the batch were classified right; undefined where the loss has no classes. */
  readonly correct: Float32Array | undefined;
  /** Euclidean norm of all gradients, before clipping. */
  readonly gradientNorms: Float32Array;
  /** The same of each weight in `Engine.trained`, [steps, trained] in row-major order: tells which layer diverged first. */
  readonly weightGradientNorms: Float32Array;
  /** Of the first step whose loss or gradients are not finite, where there is one: what that came from. */
  readonly origin?: DivergenceOrigin | undefined;
}

/** The first value of a step that is not finite. */
export interface DivergenceOrigin {
  /**
   * What it is: samples that were fed, targets that were, a weight or running statistic that an earlier step left so, an output of
   * the model's nodes, a part of the loss, or a gradient; or no value, but the norm of a weight's gradient.
   */
  readonly kind: 'data' | 'target' | 'weight' | 'forward' | 'loss' | 'backward' | 'norm';
  /** Its name, in the model or in the graph of the step. */
  readonly tensor: string;
  /** The model's node that computes it, or whose gradient it is a part of; undefined where there is none. */
  readonly node?: string | undefined;
  readonly opType?: string | undefined;
}

/** Everything that a run needs to go on to the same bits. */
export interface TrainingState {
  /** Steps done. */
  readonly step: number;
  /**
   * Trained weights and running statistics, by the names of the model's initializers. Trained weights of half precision are
   * float32 here, and rounded for the model alone.
   */
  readonly weights: ReadonlyMap<string, RuntimeTensor>;
  /** State of the optimizer, by `<slot>/<weight>`, moving averages of weights (`ema/<weight>`) among it. */
  readonly slots: ReadonlyMap<string, RuntimeTensor>;
}

/** Loss and accuracy over samples. */
export interface Evaluation {
  readonly samples: number;
  /** Mean over the samples; over the labels that count, where a loss leaves some out. */
  readonly loss: number;
  /** Share of samples (or labels) that were classified right; undefined where the loss has no classes. */
  readonly accuracy: number | undefined;
  /** exp(loss) of a cross-entropy over tokens: as if each were drawn evenly from so many. */
  readonly perplexity?: number | undefined;
}

/** A training step, compiled for one model, loss, optimizer and batch size: onnxruntime sessions and the state they carry. */
export interface Engine extends AsyncDisposable {
  /** Samples a step. */
  readonly batch: number;
  /** Weights that the loss depends on, by the names of their initializers. */
  readonly trained: readonly string[];
  run(chunk: Chunk): Promise<ChunkResult>;
  /** The loss of samples with the weights as they are (or their moving average), in inference mode. Any number of samples. */
  evaluate(batches: AsyncIterable<Batch>, weights?: 'current' | 'ema'): Promise<Evaluation>;
  /** A copy. */
  state(): Promise<TrainingState>;
  restore(state: TrainingState): Promise<void>;
}

/** What a pruning did to one weight. */
export interface PrunedWeight {
  readonly weight: string;
  /** Singular values that are left (the largest of the groups). */
  readonly rank: number;
  /** The most that there can be: the smaller side of the matrix. */
  readonly of: number;
  /** The sum of the singular values that are left, of all groups. */
  readonly nuclearNorm: number;
  /** The share of the sum of squares that was dropped. */
  readonly dropped: number;
}
