/**
 * The data of the pages, as they stand in the page in JSON: the server writes them and the client reads them. Names are
 * short where they are written once a weight. What is missing in a list is null, for JSON has no undefined.
 */
import type { NumberFormat } from '../../analysis/spectra/metric-text.js';

/** A normalized histogram. Its bins have equal widths, in the value or in its decimal logarithm. */
export interface Histogram {
  readonly from: number;
  readonly width: number;
  /** Share of the values in each bin, divided by the bin's width in the value. */
  readonly density: readonly number[];
  /** How many values lie beyond the last bin. */
  readonly beyond: number;
}

/** Points in order; all lists have one length. */
export interface Curve {
  readonly xs: readonly number[];
  readonly ys: readonly number[];
  /** Ends of the intervals, where ys are means. */
  readonly lows?: readonly number[];
  readonly highs?: readonly number[];
}

export interface FitData {
  readonly curve: Curve;
  readonly text: string;
}

/** One weight of one model. */
export interface RowData {
  readonly op: string;
  readonly dims: readonly [rows: number, columns: number];
  readonly params: number;
  readonly problem?: string;
  /** Values of the metrics, in their order; null where there is none, 'inf' where it is infinite. */
  readonly v: readonly (number | 'inf' | null)[];
  /** Their texts. */
  readonly t: readonly string[];
  /** How many singular values there are. */
  readonly n?: number;
  readonly s?: readonly number[];
  /** Of a thinned spectrum: the index of each value, and the share of the energy up to it. */
  readonly i?: readonly number[];
  readonly e?: readonly number[];
  readonly lin?: Histogram;
  readonly log?: Histogram;
  readonly mp?: FitData;
  readonly pl?: FitData;
  /** Why a fit is missing. */
  readonly mpNone?: string;
  readonly plNone?: string;
}

/** What a person knows a weight by. */
export interface LayerName {
  readonly label: string;
  /** A second name, where the first is not the weight's own. */
  readonly subtitle: string;
  /** Unique in the page; stands in the address. */
  readonly key: string;
}

/** One weight in each of the models; null where a model has no such weight. */
export interface LayerData extends LayerName {
  readonly rows: readonly (RowData | null)[];
}

/** Neighbours that belong together, by their names. */
export interface Block {
  readonly label: string;
  /** Its number, where there is no room for more and blocks of that name are numbered; else empty. */
  readonly short: string;
  /** Index of its first layer. */
  readonly from: number;
  readonly count: number;
}

export interface MetricData {
  readonly key: string;
  readonly header: string;
  readonly format: NumberFormat;
  readonly definition: string;
}

/** Which of the two plots of the embeddings. */
export type EmbeddingPlot = 'rank' | 'collapse';

export interface EmbeddingMetricData extends Omit<MetricData, 'definition'> {
  readonly plot: EmbeddingPlot;
}

/** A value of the network in each of the models. */
export interface EmbeddingData {
  readonly label: string;
  readonly about: string;
  /** Values of the metrics, and their texts. */
  readonly rows: readonly ({
    readonly v: readonly (number | null)[];
    readonly t: readonly string[];
  } | null)[];
}

export interface EmbeddingsData {
  readonly metrics: readonly EmbeddingMetricData[];
  readonly values: readonly EmbeddingData[];
}

export type DensityScale = 'linear' | 'log';

/** The page of a rank report. */
export interface RankPageData {
  readonly models: readonly { readonly name: string; readonly ratio: number }[];
  readonly metrics: readonly MetricData[];
  readonly layers: readonly LayerData[];
  readonly blocks: readonly Block[];
  /** The scale on which the densities of most weights can be read. */
  readonly density: DensityScale;
  readonly embeddings?: EmbeddingsData;
  /** Beginning of the names of saved plots. */
  readonly file: string;
}

export type CurveName =
  | 'loss'
  | 'validationLoss'
  | 'accuracy'
  | 'validationAccuracy'
  | 'rate'
  | 'norm'
  | 'mean';

/** A training over its epochs. */
export interface RunData {
  readonly name: string;
  readonly curves: Readonly<Record<CurveName, Curve>>;
  readonly best?: number | undefined;
  readonly epochs: number;
}

/** A weight over the epochs of one run: figures in the order of the page's metrics. */
export interface WeightRun {
  readonly matrix: string;
  readonly xs: readonly number[];
  readonly ys: readonly (readonly number[])[];
  /** Ends of the intervals, where ys are means over seeds. */
  readonly bands?: {
    readonly lows: readonly (readonly number[])[];
    readonly highs: readonly (readonly number[])[];
  };
}

export interface WeightData {
  readonly key: string;
  readonly label: string;
  /** What it is: a factor, a product. */
  readonly note: string;
  /** One a run; null where it has no such weight. */
  readonly runs: readonly (WeightRun | null)[];
}

/** The page of trainings. */
export interface TrainPageData {
  readonly runs: readonly RunData[];
  readonly metrics: readonly MetricData[];
  readonly weights: readonly WeightData[];
  readonly file: string;
}
