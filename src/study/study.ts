/** What a study is: its runs, what they show, and when its claim holds. One file a study, in studies/. */
import type { Estimate, Trend } from './statistics.js';

/** A setting of a run, under its name: `depth`, `activation`, `optimizer`. */
export type SettingValue = string | number | boolean;
/** The settings of one run of a study, by name. */
export type Settings = Readonly<Record<string, SettingValue>>;

/** What a run is given beside its settings. */
export interface RunContext {
  /** Of everything that is random in the run. Runs of one seed are pairs: they have the same data. */
  readonly seed: number;
  /** Paths of data that the user points at. */
  readonly data: readonly string[];
  /** Smaller runs, for `quick`. */
  readonly quick: boolean;
  /** Record what pictures are drawn of. */
  readonly isPictured: boolean;
}

/** A symmetric matrix of numbers in [0, top] as a picture. */
export interface Picture {
  readonly size: number;
  /** What the lightest grey stands for. */
  readonly top: number;
  /** size x size bytes, row-major, in base64. */
  readonly bytes: string;
}

/** What the pages draw of a single run. */
export interface RunPictures {
  /** Singular values or eigenvalues, descending, by name. */
  readonly spectra?: Readonly<Record<string, readonly number[]>> | undefined;
  readonly kernels?: Readonly<Record<string, Picture>> | undefined;
}

/** What came of a run. */
export interface Outcome {
  /** By key; the keys of metrics that are described elsewhere are those: `cosineEntropy`. */
  readonly metrics: Readonly<Record<string, number>>;
  /** Why the run does not count; it is listed, not averaged. */
  readonly problem?: string | undefined;
  readonly pictures?: RunPictures | undefined;
  /** Times that were taken, in seconds: for the file of times, since they differ from run to run. */
  readonly times?: Readonly<Record<string, number>> | undefined;
}

/** A run that is done: a line of the file of runs. */
export interface RunRecord extends Outcome {
  readonly study: string;
  readonly settings: Settings;
  readonly seed: number;
}

/** A metric of one setting, over the seeds. */
export interface StudyRow extends Estimate {
  readonly settings: Settings;
  readonly metric: string;
}

/** A test, of a family whose p values are corrected together. */
export interface StudyTest {
  readonly text: string;
  /** Spearman's rank correlation, where it is that of a trend. */
  readonly trend?: Trend | undefined;
  readonly p: number;
  readonly pHolm: number;
  readonly isSignificant: boolean;
}

export const VERDICTS = ['holds', 'does not hold', 'not run', 'no claim'] as const;
/** What a study says of its statement: an element of VERDICTS. */
export type Verdict = (typeof VERDICTS)[number];

/** One thing that must be so for the claim to hold, with its figures. */
export interface Check {
  readonly text: string;
  /** Undefined where the runs do not tell. */
  readonly holds: boolean | undefined;
}

/** A curve with its band. */
export interface PlotSeries {
  readonly name: string;
  readonly xs: readonly number[];
  readonly ys: readonly number[];
  /** Ends of the intervals. */
  readonly lows?: readonly number[] | undefined;
  readonly highs?: readonly number[] | undefined;
  /** Series of one group have one colour; default each its own. */
  readonly group?: string | undefined;
  /** Dashed, with open marks. */
  readonly isPublished?: boolean | undefined;
}

/** An axis of a plot. */
export interface PlotAxis {
  readonly label: string;
  readonly log?: boolean | undefined;
  /** The only marks; default round numbers. */
  readonly marks?: readonly number[] | undefined;
}

/** Curves over one axis. */
export interface LinePlot {
  readonly kind: 'lines';
  /** Unique in the study; in the names of files. */
  readonly name: string;
  readonly title: string;
  readonly x: PlotAxis;
  readonly y: PlotAxis;
  readonly series: readonly PlotSeries[];
}

/** Matrices side by side. */
export interface PicturePlot {
  readonly kind: 'pictures';
  readonly name: string;
  readonly title: string;
  readonly pictures: readonly { readonly label: string; readonly picture: Picture }[];
}

/** A plot of a study. */
export type Plot = LinePlot | PicturePlot;

/** The runs of a study, with what is asked of them. */
export interface Evidence {
  /** Those that count. */
  readonly runs: readonly RunRecord[];
  readonly quick: boolean;
  /** The values of a metric by seed, of the runs that have all these settings. */
  values(metric: string, settings: Settings): ReadonlyMap<number, number>;
  estimate(metric: string, settings: Settings): Estimate;
  /** The different values of a setting, in the order of the runs. */
  settingsOf<Value extends SettingValue>(name: string): readonly Value[];
}

/** What a study found. */
export interface Findings {
  readonly checks: readonly Check[];
  /** One family: their p values are corrected together. */
  readonly tests?:
    | readonly { readonly text: string; readonly trend?: Trend | undefined; readonly p: number }[]
    | undefined;
  /** What a reader must know beside it. */
  readonly notes?: readonly string[] | undefined;
}

/** What the plan of a study depends on. */
export interface PlanOptions {
  readonly quick: boolean;
  readonly data: readonly string[];
}

/** A study: one entry of STUDIES. */
export interface Study {
  readonly name: string;
  readonly title: string;
  /** What is asked, in a sentence. */
  readonly question: string;
  readonly source: string;
  /** When the claim holds, in a sentence. */
  readonly criterion: string;
  /** What was done otherwise than in the source, or is not known of it. */
  readonly deviations?: readonly string[] | undefined;
  readonly seeds: { readonly full: number; readonly quick: number };
  /** What is measured, by key. */
  readonly metrics: Readonly<Record<string, string>>;
  /** The settings of its runs, each of which is run with every seed. */
  settings(options: PlanOptions): readonly Settings[];
  /** About how long a run takes on a core, in seconds. */
  seconds(settings: Settings, options: PlanOptions): number;
  run(settings: Settings, context: RunContext): Promise<Outcome>;
  find(evidence: Evidence): Findings;
  plots(evidence: Evidence): readonly Plot[];
}

/** All combinations of settings: the last one varies fastest. */
export function product(axes: Readonly<Record<string, readonly SettingValue[]>>): readonly Settings[] {
  return Object.entries(axes).reduce<readonly Settings[]>(
    (made, [name, values]) => made.flatMap((one) => values.map((value) => ({ ...one, [name]: value }))),
    [{}],
  );
}
