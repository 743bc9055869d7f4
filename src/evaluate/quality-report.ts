import { dataError } from '../training/targets.js';
import type { Dataset } from '../training/types.js';
import { AGREEMENT_FIGURES, type AgreementKey, QUALITY_FIGURES, type QualityKey } from './figures.js';
import { EVALUATE_OPTIONS, type EvaluateOptions } from './options.js';
import {
  type ComparisonTally,
  classDifferences,
  classQualities,
  estimates,
  type ModelTally,
} from './tally.js';
import type { Task } from './task.js';
import type { Estimate, ModelQuality, QualityComparison, QualityReport } from './types.js';

/** What was added up over all samples. */
export interface Tallied {
  /** Names of the models. */
  readonly models: readonly string[];
  readonly dataset: Pick<Dataset, 'size' | 'classes' | 'path'>;
  readonly task: Task;
  /** Of the first model's output of one sample. */
  readonly shape: readonly number[];
  readonly options: EvaluateOptions & { readonly top: number };
  readonly tallies: readonly ModelTally[];
  readonly comparisons: readonly ComparisonTally[];
  readonly classes: number | undefined;
  readonly asProbabilities: readonly boolean[];
}

/** The report of what was added up, with its intervals. */
export function reportOf(made: Tallied): QualityReport {
  const { models, dataset, task, shape, options, tallies, comparisons, classes, asProbabilities } = made;
  const { resamples = EVALUATE_OPTIONS.resamples.default, seed = EVALUATE_OPTIONS.seed.default } = options;
  const names = dataset.classes?.length === classes ? dataset.classes : undefined;
  const estimated = estimates(tallies, comparisons, { resamples, seed });
  const keys = qualityKeys(task, classes, options.top, shape);
  const counted = estimated.counted;
  if (task.kind === 'classes' && counted === 0)
    throw dataError(dataset, 'no label of the data counts: all are the one that is left out');
  const qualities = models.map((name, index): ModelQuality => {
    const tally = tallies[index];
    const confusion = tally?.confusion;
    const each = confusion && classes && classQualities(confusion, classes, names);
    const figures = Object.fromEntries(keys.map((key) => [key, estimated.figures(index, key)]));
    const isDense = each && isPositions(task, shape);
    return {
      name,
      figures: isDense && !isText(task, shape) ? withIou(figures, each) : figures,
      confusion: confusion && classes ? matrix(confusion, classes) : undefined,
      classes: each || undefined,
      nonFinite: tally?.nonFinite ?? 0,
    };
  });
  const hasDecisions = task.form.kind !== 'whole';
  const agreementKeys = AGREEMENT_FIGURES.map(({ key }) => key).filter(
    (key) => hasDecisions || (key !== 'equalDecisions' && key !== 'divergence'),
  );
  const labels = qualities[0]?.classes?.map(({ labels: count }) => count) ?? [];
  return {
    task: task.kind,
    loss: task.loss?.kind,
    samples: dataset.size,
    counted,
    isNextToken: task.isNextToken,
    classes,
    classNames: names,
    top: options.top,
    resamples,
    seed,
    models: qualities,
    comparisons: comparisons.map((comparison, index): QualityComparison => {
      const sum = (list: Float64Array): number => list.reduce((total, value) => total + value, 0);
      const differences = Object.fromEntries(keys.map((key) => [key, estimated.difference(index + 1, key)]));
      const [first, other] = [qualities[0], qualities[index + 1]];
      return {
        name: models[index + 1] ?? '',
        differences: withIouDifference(differences, first, other),
        agreement: Object.fromEntries(
          agreementKeys.map((key) => [key, estimated.agreement(index, key)]),
        ) as Partial<Record<AgreementKey, Estimate>>,
        lost: sum(comparison.lost),
        gained: sum(comparison.gained),
        unequal: comparison.unequal,
        classes: classDifferences(comparison, labels, names),
        samples: comparison.samples,
        unequalSamples: comparison.unequalSamples,
      };
    }),
    notes: notesOf(task, models, asProbabilities),
  };
}

type Figures = Partial<Record<QualityKey, Estimate>>;

function withIou(figures: Figures, classes: readonly { readonly iou: number }[]): Figures {
  const shares = classes.map(({ iou }) => iou).filter((iou) => !Number.isNaN(iou));
  const value = shares.reduce((sum, iou) => sum + iou, 0) / shares.length;
  return ordered({ ...figures, meanIou: { value, interval: undefined } });
}

function withIouDifference(differences: Figures, first?: ModelQuality, other?: ModelQuality): Figures {
  const [a, b] = [first?.figures.meanIou, other?.figures.meanIou];
  if (a === undefined || b === undefined) return differences;
  return ordered({ ...differences, meanIou: { value: b.value - a.value, interval: undefined } });
}

function ordered(figures: Figures): Figures {
  return Object.fromEntries(
    QUALITY_FIGURES.flatMap(({ key }) => (figures[key] === undefined ? [] : [[key, figures[key]]])),
  );
}

function qualityKeys(
  task: Task,
  classes: number | undefined,
  top: number,
  shape: readonly number[],
): QualityKey[] {
  if (task.kind === 'agreement') return [];
  if (task.kind === 'values') return ['mse', 'mae', 'r2'];
  const hasTop = classes !== undefined && classes > top;
  return [
    'accuracy',
    ...(hasTop ? (['topAccuracy'] as const) : []),
    'loss',
    ...(isText(task, shape) ? (['perplexity'] as const) : []),
  ];
}

/** Whether a sample has several labels. */
function isPositions({ form }: Task, shape: readonly number[]): boolean {
  return form.kind === 'classes' && shape.some((dim, axis) => axis > 0 && axis !== form.axis && dim > 1);
}

/** Classes of each token: an output [batch, tokens, classes]. */
function isText({ form }: Task, shape: readonly number[]): boolean {
  return form.kind === 'classes' && shape.length === 3 && form.axis === 2;
}

function matrix(confusion: Float64Array, classes: number): number[][] {
  return Array.from({ length: classes }, (_, label) => [
    ...confusion.subarray(label * classes, (label + 1) * classes),
  ]);
}

function notesOf(task: Task, models: readonly string[], asProbabilities: readonly boolean[]): string[] {
  const notes: string[] = [];
  if (task.isNextToken)
    notes.push('the data has no targets: each token is held against the one that follows');
  if (task.kind === 'agreement' && task.form.kind !== 'whole')
    notes.push('KL and equal decisions take the outputs for logits of classes');
  const named = models.filter((_, index) => asProbabilities[index]);
  if (named.length > 0)
    notes.push(`the outputs of ${named.join(', ')} are distributions, and their logarithms are measured`);
  return notes;
}
