import type { SamplePrediction } from '../../evaluate/predict.js';
import { csvRecord } from '../text/csv.js';

/** What the lines of predictions have in common. */
export interface PredictionColumns {
  /** How many classes a line has; undefined: all values. */
  readonly top: number | undefined;
  /** Names of the model's classes. */
  readonly labels?: readonly string[] | undefined;
  /** Names of the data's classes, and whether there is a column for what the data says. */
  readonly classes?: readonly string[] | undefined;
  readonly hasTarget: boolean;
}

/** The first line of a CSV file of predictions, before the first sample `first` is written. */
export function predictionHeader(first: SamplePrediction, { hasTarget, top }: PredictionColumns): string {
  const numbered = (count: number, names: readonly string[]): string[] =>
    Array.from({ length: count }, (_, at) => names.map((name) => `${name}${at + 1}`)).flat();
  const columns =
    top === undefined
      ? numbered(first.values.length, ['value'])
      : numbered(first.classes.length, ['class', 'value', 'probability']);
  return csvRecord(['sample', ...(hasTarget ? ['target'] : []), ...columns]);
}

/** The line of a sample: its name or number, what the data has for it, and what the model makes of it. */
export function predictionLine(prediction: SamplePrediction, columns: PredictionColumns): string {
  const { sample, name, target, classes, values } = prediction;
  const { labels, hasTarget } = columns;
  const truth = target === undefined ? undefined : (columns.classes?.[target] ?? target);
  return csvRecord([
    name ?? sample,
    ...(hasTarget ? [truth] : []),
    ...classes.flatMap((one) => [labels?.[one.class] ?? one.class, one.value, one.probability]),
    ...values,
  ]);
}
