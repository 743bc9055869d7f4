import { Bootstrap } from './bootstrap.js';
import {
  AGREEMENT_FIGURES,
  AGREEMENT_SUMS,
  type AgreementKey,
  MODEL_SUMS,
  QUALITY_FIGURES,
  type QualityKey,
} from './figures.js';
import type { AgreementScores, ClassScores, ValueScores } from './scores.js';
import { IGNORED } from './targets.js';
import type { ClassDifference, ClassQuality, Estimate, SampleDifference } from './types.js';

/** A matrix of more classes is neither read nor drawn. */
export const MOST_CLASSES = 1000;
const MOST_SAMPLES = 100;

type SumName = (typeof MODEL_SUMS)[number];
const column = (name: SumName): number => MODEL_SUMS.indexOf(name);
const [COUNT, LOSS, CORRECT, TOP, SQUARED, ABSOLUTE, SPREAD] = MODEL_SUMS.map(column) as [
  number,
  number,
  number,
  number,
  number,
  number,
  number,
];

/** Floating-point numbers as text that rounds none, in base64. */
function bytesOf(values: Float64Array): string {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString('base64');
}

function floatsOf(text: string): Float64Array {
  const { buffer } = new Uint8Array(Buffer.from(text, 'base64'));
  return new Float64Array(buffer);
}

/** Counts that are not zero, with their places. */
function cellsOf(counts: Float64Array): (readonly [number, number])[] {
  return [...counts.entries()].filter(([, count]) => count !== 0);
}

/** What a ModelTally added up of some samples, as JSON has it. */
export interface ModelPart {
  readonly sums: string;
  readonly confusion: readonly (readonly [cell: number, count: number])[] | undefined;
  readonly nonFinite: number;
}

/** What a ComparisonTally added up of some samples, as JSON has it. */
export interface ComparisonPart {
  readonly sums: string;
  readonly lost: readonly (readonly [number, number])[];
  readonly gained: readonly (readonly [number, number])[];
  /** Numbers that are none are texts. */
  readonly samples: readonly (Omit<SampleDifference, 'divergence'> & {
    readonly divergence: number | string;
  })[];
  readonly unequal: number;
  readonly unequalSamples: number;
}

/** What one model reaches, sample by sample. */
export class ModelTally {
  /** [samples, MODEL_SUMS]. */
  readonly sums: Float64Array;
  readonly confusion: Float64Array | undefined;
  readonly #classes: number;
  #nonFinite = 0;

  constructor(samples: number, classes: number | undefined) {
    this.sums = new Float64Array(samples * MODEL_SUMS.length);
    this.#classes = classes ?? 0;
    if (classes !== undefined && classes <= MOST_CLASSES) this.confusion = new Float64Array(classes ** 2);
  }

  /** Samples with outputs that are not finite. */
  get nonFinite(): number {
    return this.#nonFinite;
  }

  /** What was added up, to be taken over by absorb. */
  part(): ModelPart {
    return {
      sums: bytesOf(this.sums),
      confusion: this.confusion && cellsOf(this.confusion),
      nonFinite: this.#nonFinite,
    };
  }

  /** Takes over what another added up of samples from `first` on. */
  absorb(first: number, { sums, confusion = [], nonFinite }: ModelPart): void {
    this.sums.set(floatsOf(sums), first * MODEL_SUMS.length);
    for (const [cell, count] of confusion)
      if (this.confusion !== undefined) this.confusion[cell] = (this.confusion[cell] ?? 0) + count;
    this.#nonFinite += nonFinite;
  }

  /** @param first the first sample of the batch; each has the same number of rows */
  addClasses(first: number, perSample: number, labels: Int32Array, scores: ClassScores, top: number): void {
    const { loss, ahead, decision } = scores;
    for (let from = 0, sample = first; from < labels.length; from += perSample, sample += 1) {
      const at = sample * MODEL_SUMS.length;
      let isBroken = false;
      let [count, sum, correct, topCorrect] = [0, 0, 0, 0];
      for (let row = from; row < from + perSample; row += 1) {
        const label = labels[row] as number;
        if (label === IGNORED) continue;
        const cost = loss[row] as number;
        count += 1;
        sum += cost;
        if (Number.isNaN(cost)) {
          isBroken = true;
          continue;
        }
        if (ahead[row] === 0) correct += 1;
        if ((ahead[row] as number) < top) topCorrect += 1;
        if (this.confusion !== undefined) {
          const cell = label * this.#classes + (decision[row] as number);
          this.confusion[cell] = (this.confusion[cell] as number) + 1;
        }
      }
      this.sums[at + COUNT] = count;
      this.sums[at + LOSS] = sum;
      this.sums[at + CORRECT] = correct;
      this.sums[at + TOP] = topCorrect;
      if (isBroken) this.#nonFinite += 1;
    }
  }

  /** @param width numbers a sample */
  addValues(first: number, width: number, { squared, absolute, spread }: ValueScores): void {
    for (const [row, error] of squared.entries()) {
      const at = (first + row) * MODEL_SUMS.length;
      this.sums[at + COUNT] = width;
      this.sums[at + SQUARED] = error;
      this.sums[at + ABSOLUTE] = absolute[row] as number;
      this.sums[at + SPREAD] = spread[row] as number;
      if (!Number.isFinite(error)) this.#nonFinite += 1;
    }
  }
}

/** What a model does otherwise than the first, sample by sample. */
export class ComparisonTally {
  /** [samples, AGREEMENT_SUMS]. */
  readonly sums: Float64Array;
  /** By class: right in the first alone, in the other alone. */
  readonly lost: Float64Array;
  readonly gained: Float64Array;
  readonly #samples: SampleDifference[] = [];
  unequal = 0;
  unequalSamples = 0;

  constructor(samples: number, classes: number | undefined) {
    this.sums = new Float64Array(samples * AGREEMENT_SUMS.length);
    this.lost = new Float64Array(classes ?? 0);
    this.gained = new Float64Array(classes ?? 0);
  }

  add(
    first: number,
    perSample: number,
    given: {
      readonly scores: AgreementScores;
      readonly labels: Int32Array | undefined;
      readonly decisions: readonly [Int32Array, Int32Array] | undefined;
      readonly numberOf: (sample: number) => number;
    },
  ): void {
    const { scores, labels, decisions, numberOf } = given;
    const rows = scores.cosine.length;
    for (let from = 0, sample = first; from < rows; from += perSample, sample += 1) {
      const at = sample * AGREEMENT_SUMS.length;
      let [count, cosine, divergence, equal, difference, reference] = [0, 0, 0, 0, 0, 0];
      for (let row = from; row < from + perSample; row += 1) {
        const label = labels?.[row];
        if (label === IGNORED) continue;
        count += 1;
        cosine += scores.cosine[row] as number;
        divergence += scores.divergence[row] as number;
        difference += scores.squaredDifference[row] as number;
        reference += scores.squaredReference[row] as number;
        const [one, other] = [decisions?.[0][row], decisions?.[1][row]];
        if (one === other) equal += 1;
        if (label === undefined || one === other) continue;
        if (one === label) this.lost[label] = (this.lost[label] as number) + 1;
        if (other === label) this.gained[label] = (this.gained[label] as number) + 1;
      }
      this.sums.set([count, cosine, divergence, equal, difference, reference], at);
      if (equal === count || decisions === undefined) continue;
      this.unequal += count - equal;
      this.unequalSamples += 1;
      const isOne = perSample === 1;
      this.#samples.push({
        sample: numberOf(sample - first),
        unequal: count - equal,
        positions: count,
        label: isOne ? labels?.[from] : undefined,
        first: isOne ? decisions[0][from] : undefined,
        other: isOne ? decisions[1][from] : undefined,
        divergence: divergence / count,
      });
      if (this.#samples.length >= 2 * MOST_SAMPLES) this.#samples.splice(0, Infinity, ...this.samples);
    }
  }

  /** What was added up, to be taken over by absorb. */
  part(): ComparisonPart {
    return {
      sums: bytesOf(this.sums),
      lost: cellsOf(this.lost),
      gained: cellsOf(this.gained),
      samples: this.samples.map(({ divergence, ...rest }) => ({
        ...rest,
        divergence: Number.isFinite(divergence) ? divergence : String(divergence),
      })),
      unequal: this.unequal,
      unequalSamples: this.unequalSamples,
    };
  }

  /** Takes over what another added up of samples from `first` on. */
  absorb(first: number, part: ComparisonPart): void {
    this.sums.set(floatsOf(part.sums), first * AGREEMENT_SUMS.length);
    for (const [label, count] of part.lost) this.lost[label] = (this.lost[label] ?? 0) + count;
    for (const [label, count] of part.gained) this.gained[label] = (this.gained[label] ?? 0) + count;
    this.#samples.push(...part.samples.map((one) => ({ ...one, divergence: Number(one.divergence) })));
    this.unequal += part.unequal;
    this.unequalSamples += part.unequalSamples;
  }

  /** Those of the largest divergence. */
  get samples(): readonly SampleDifference[] {
    return this.#samples
      .toSorted((a, b) => b.divergence - a.divergence || a.sample - b.sample)
      .slice(0, MOST_SAMPLES);
  }
}

/** Shares of each class, of a confusion matrix. */
export function classQualities(
  confusion: Float64Array,
  classes: number,
  names: readonly string[] | undefined,
): ClassQuality[] {
  const decided = new Float64Array(classes);
  for (const [cell, count] of confusion.entries())
    decided[cell % classes] = (decided[cell % classes] as number) + count;
  return Array.from({ length: classes }, (_, label) => {
    const row = confusion.subarray(label * classes, (label + 1) * classes);
    const labels = row.reduce((sum, count) => sum + count, 0);
    const [found, calls] = [row[label] as number, decided[label] as number];
    return {
      class: label,
      name: names?.[label],
      labels,
      recall: found / labels,
      precision: found / calls,
      iou: found / (labels + calls - found),
    };
  });
}

/** How each class of the first model fares in the other; those without a difference are left out. */
export function classDifferences(
  tally: ComparisonTally,
  labels: readonly number[],
  names: readonly string[] | undefined,
): ClassDifference[] {
  return labels
    .map((count, label): ClassDifference => {
      const [lost, gained] = [tally.lost[label] as number, tally.gained[label] as number];
      return {
        class: label,
        name: names?.[label],
        labels: count,
        lost,
        gained,
        recall: (gained - lost) / count,
      };
    })
    .filter(({ lost, gained }) => lost > 0 || gained > 0)
    .sort((a, b) => b.lost - b.gained - (a.lost - a.gained) || a.class - b.class);
}

/** Estimates of all figures of models, and of the others beside the first, from one bootstrap. */
export function estimates(
  models: readonly ModelTally[],
  comparisons: readonly ComparisonTally[],
  options: { readonly resamples: number; readonly seed: number },
): {
  /** Labels that count, or numbers that are predicted. */
  readonly counted: number;
  readonly figures: (model: number, key: QualityKey) => Estimate;
  readonly difference: (model: number, key: QualityKey) => Estimate;
  readonly agreement: (comparison: number, key: AgreementKey) => Estimate;
} {
  const parts = [
    ...models.map(({ sums }) => [sums, MODEL_SUMS.length] as const),
    ...comparisons.map(({ sums }) => [sums, AGREEMENT_SUMS.length] as const),
  ];
  const width = parts.reduce((sum, [, columns]) => sum + columns, 0);
  const samples = (parts[0]?.[0].length ?? 0) / MODEL_SUMS.length;
  const rows = new Float64Array(samples * width);
  for (let sample = 0; sample < samples; sample += 1) {
    let at = sample * width;
    for (const [sums, columns] of parts) {
      rows.set(sums.subarray(sample * columns, (sample + 1) * columns), at);
      at += columns;
    }
  }
  const bootstrap = new Bootstrap({ width, rows }, options);
  const named = <Name extends string>(
    sums: Float64Array,
    names: readonly Name[],
    from: number,
  ): Record<Name, number> =>
    Object.fromEntries(names.map((name, index) => [name, sums[from + index] ?? 0])) as Record<Name, number>;
  const quality = (model: number, key: QualityKey) => {
    const of = QUALITY_FIGURES.find((figure) => figure.key === key)?.of;
    return (sums: Float64Array): number =>
      of?.(named(sums, MODEL_SUMS, model * MODEL_SUMS.length)) ?? Number.NaN;
  };
  return {
    counted: bootstrap.estimate((sums) => sums[COUNT] ?? 0).value,
    figures: (model, key) => bootstrap.estimate(quality(model, key)),
    difference: (model, key) => {
      const [first, other] = [quality(0, key), quality(model, key)];
      return bootstrap.estimate((sums) => other(sums) - first(sums));
    },
    agreement: (comparison, key) => {
      const of = AGREEMENT_FIGURES.find((figure) => figure.key === key)?.of;
      const from = models.length * MODEL_SUMS.length + comparison * AGREEMENT_SUMS.length;
      return bootstrap.estimate((sums) => of?.(named(sums, AGREEMENT_SUMS, from)) ?? Number.NaN);
    },
  };
}
