import type { AgreementKey, QualityKey } from './figures.js';

/** Ends of a two-sided 95 % interval: the 2.5 and 97.5 percentiles of the bootstrap. */
export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** A figure of the data, and how far another sample of the same size would move it. */
export interface Estimate {
  readonly value: number;
  /** Undefined without resamples, of a single sample, and of what no resample can tell. */
  readonly interval: Interval | undefined;
}

/** What was measured. */
export type TaskKind =
  /** Classes: labels of samples, of pixels or of tokens. */
  | 'classes'
  /** Numbers. */
  | 'values'
  /** There are no targets: models are compared with each other alone. */
  | 'agreement';

/** Of one class; shares are NaN where there is nothing to share. */
export interface ClassQuality {
  readonly class: number;
  readonly name: string | undefined;
  /** Labels of this class. */
  readonly labels: number;
  /** Share of them that is found. */
  readonly recall: number;
  /** Share of the decisions for it that are right. */
  readonly precision: number;
  /** Found, of all that are labelled or decided so: intersection over union. */
  readonly iou: number;
}

/** What one model reaches. */
export interface ModelQuality {
  readonly name: string;
  readonly figures: Readonly<Partial<Record<QualityKey, Estimate>>>;
  /** Rows are labels, columns decisions. Undefined without labels and of more than 1000 classes. */
  readonly confusion: readonly (readonly number[])[] | undefined;
  readonly classes: readonly ClassQuality[] | undefined;
  /** Samples with NaN or infinite outputs: decided wrong, and a loss that is no number. */
  readonly nonFinite: number;
}

/** One class in two models. */
export interface ClassDifference {
  readonly class: number;
  readonly name: string | undefined;
  readonly labels: number;
  /** Right in the first model alone, and in the other alone. */
  readonly lost: number;
  readonly gained: number;
  /** Difference of the recall, other less first. */
  readonly recall: number;
}

/** A sample that two models decide otherwise. */
export interface SampleDifference {
  /** The number of the sample in its file or folder, from 0. */
  readonly sample: number;
  /** Positions (pixels, tokens) that are decided otherwise; 1 of what has one label a sample. */
  readonly unequal: number;
  readonly positions: number;
  /** Of a sample with one decision. */
  readonly label: number | undefined;
  readonly first: number | undefined;
  readonly other: number | undefined;
  /** Mean over the positions, in nats. */
  readonly divergence: number;
}

/** A model beside the first, on the same samples. */
export interface QualityComparison {
  readonly name: string;
  /** The other's figure less the first's, with the interval of paired resamples. */
  readonly differences: Readonly<Partial<Record<QualityKey, Estimate>>>;
  readonly agreement: Readonly<Partial<Record<AgreementKey, Estimate>>>;
  /** Decisions that are right in the first alone, right in the other alone, and unequal at all. */
  readonly lost: number;
  readonly gained: number;
  readonly unequal: number;
  /** Those that differ, the largest loss first. */
  readonly classes: readonly ClassDifference[];
  /** At most 100, those of the largest divergence. */
  readonly samples: readonly SampleDifference[];
  /** How many samples have an unequal decision. */
  readonly unequalSamples: number;
}

/** What models reach on the samples of a data set. */
export interface QualityReport {
  readonly task: TaskKind;
  /** The loss of the figures; undefined where there are no targets. */
  readonly loss: string | undefined;
  readonly samples: number;
  /** Labels that count (one a sample, pixel or token), or numbers that are predicted. */
  readonly counted: number;
  /** The targets are the tokens that follow: there were none beside the data. */
  readonly isNextToken: boolean;
  readonly classes: number | undefined;
  readonly classNames: readonly string[] | undefined;
  /** k of top-k accuracy. */
  readonly top: number;
  readonly resamples: number;
  readonly seed: number;
  readonly models: readonly ModelQuality[];
  /** Of each model but the first. */
  readonly comparisons: readonly QualityComparison[];
  /** What was assumed that a user should know. */
  readonly notes: readonly string[];
}
