import { sha256 } from '../graph/io/digest.js';
import { dataError } from '../training/targets.js';
import type { Batch, Dataset } from '../training/types.js';
import type { Evaluation } from './evaluate.js';
import { reportOf, type Tallied } from './quality-report.js';
import { type ComparisonPart, ComparisonTally, type ModelPart, ModelTally } from './tally.js';
import type { QualityReport } from './types.js';

/** What a report says beside the samples' figures: all that is needed to write it from parts. */
export interface EvaluationInput extends Omit<Tallied, 'dataset' | 'tallies' | 'comparisons' | 'options'> {
  readonly options: {
    readonly top: number;
    readonly resamples?: number | undefined;
    readonly seed?: number | undefined;
  };
  readonly data: Pick<Dataset, 'size' | 'classes' | 'path'>;
  /** Samples of each batch. */
  readonly counts: readonly number[];
}

/** What was added up of one batch. */
export interface EvaluationPiece {
  readonly models: readonly ModelPart[];
  readonly comparisons: readonly ComparisonPart[];
}

export async function evaluationInput(run: Evaluation, dataset: Dataset): Promise<EvaluationInput> {
  const { options, ...summary } = await run.summary();
  const { size, classes, path } = dataset;
  const { top, resamples, seed } = options;
  const counts = Array.from({ length: run.batches }, (_, batch) => run.rangeOf(batch).count);
  return { ...summary, options: { top, resamples, seed }, data: { size, classes, path }, counts };
}

/** Runs one batch by itself. */
export async function evaluatePiece(
  run: Evaluation,
  models: number,
  batch: number,
): Promise<{ readonly piece: EvaluationPiece; readonly digest: string }> {
  const { count } = run.rangeOf(batch);
  const tallies = Array.from({ length: models }, () => new ModelTally(count, run.classes));
  const comparisons = tallies.slice(1).map(() => new ComparisonTally(count, run.classes));
  const samples = await run.measure(batch, { at: 0, tallies, comparisons });
  return {
    piece: {
      models: tallies.map((tally) => tally.part()),
      comparisons: comparisons.map((comparison) => comparison.part()),
    },
    digest: samplesDigest(samples),
  };
}

/** SHA-256 of the samples of a batch. */
export function samplesDigest({ inputs, target }: Batch): string {
  const hash = sha256();
  for (const tensor of [...Object.values(inputs), ...(target === undefined ? [] : [target])]) {
    const { data } = tensor;
    if (Array.isArray(data)) hash.update(JSON.stringify(data));
    else {
      const { buffer, byteOffset, byteLength } = data as Uint8Array;
      hash.update(new Uint8Array(buffer, byteOffset, byteLength));
    }
  }
  return hash.digest('hex');
}

/**
 * The report from pieces that were computed elsewhere: the same as evaluateModels'. Samples of pieces that are missing do not count.
 *
 * @throws ModelError where there is no piece at all
 */
export function reportOfBatches(
  { counts, data, ...input }: EvaluationInput,
  find: (batch: number) => EvaluationPiece | undefined,
): QualityReport {
  const there = counts.flatMap((count, batch) => {
    const piece = find(batch);
    return piece === undefined ? [] : [{ count, piece }];
  });
  const size = there.reduce((sum, { count }) => sum + count, 0);
  if (size === 0) throw dataError(data, 'no part has a sample of it');
  const tallies = input.models.map(() => new ModelTally(size, input.classes));
  const comparisons = input.models.slice(1).map(() => new ComparisonTally(size, input.classes));
  let first = 0;
  for (const { count, piece } of there) {
    for (const [index, part] of piece.models.entries()) tallies[index]?.absorb(first, part);
    for (const [index, part] of piece.comparisons.entries()) comparisons[index]?.absorb(first, part);
    first += count;
  }
  return reportOf({ ...input, dataset: { ...data, size }, tallies, comparisons });
}
