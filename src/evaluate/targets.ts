import { ModelError } from '../graph/index.js';
import { type RuntimeTensor, runGraph } from '../runtime/index.js';
import { dataError, fitted, type TargetFit } from '../training/targets.js';
import type { Batch, Dataset } from '../training/types.js';
import { type Rows, rowsOf } from './rows.js';
import { decisionsOf } from './scores.js';
import type { Task } from './task.js';

/** A label that does not count. */
export const IGNORED = -1;

/** What rows of outputs are held against. */
export interface RowTargets {
  /** One class a row, IGNORED where none counts; undefined of numbers. */
  readonly labels: Int32Array | undefined;
  /** Distributions or numbers. */
  readonly rows: Rows | undefined;
}

const SAMPLE = { kind: 'whole' } as const;

/** The targets of samples in the form of the rows that `rowsOf` makes of outputs. */
export async function rowTargets(
  batch: Batch,
  given: {
    readonly dataset: Dataset;
    readonly task: Task;
    readonly fit: TargetFit | undefined;
    readonly ignoreIndex: number | undefined;
    readonly numberOf: (at: number) => number;
  },
): Promise<RowTargets | undefined> {
  const { dataset, task, fit, ignoreIndex, numberOf } = given;
  if (batch.target === undefined || fit === undefined) return undefined;
  const target = fitted(batch.target, fit, dataset, numberOf);
  if (task.kind === 'values')
    return { labels: undefined, rows: await rowsOf(target, { form: SAMPLE, isNextToken: false }, false) };
  if (!task.isSoft) return { labels: labelsOf(target, ignoreIndex), rows: undefined };
  const rows = await (task.form.kind === 'binary' ? pairs(target) : rowsOf(target, task, false));
  return { labels: await decisionsOf(rows), rows };
}

/** Of int64 labels. A low half is the label itself, from -2^31 on: no BigInt is made of millions of pixels. */
function labelsOf({ data }: RuntimeTensor, ignoreIndex: number | undefined): Int32Array {
  const { buffer, byteOffset, length } = data as BigInt64Array;
  const halves = new Int32Array(buffer, byteOffset, 2 * length);
  const labels = new Int32Array(length);
  for (let at = 0; at < length; at += 1) {
    const label = halves[2 * at] as number;
    labels[at] = label === ignoreIndex ? IGNORED : label;
  }
  return labels;
}

/** Probabilities t of the second of two classes as rows 1 - t, t. */
async function pairs(target: RuntimeTensor): Promise<Rows> {
  const size = target.data.length;
  const t = { ...target, shape: [size, 1] };
  const one = { type: target.type, shape: [], data: (target.data as Float32Array).slice(0, 1).fill(1) };
  const { both } = await runGraph(
    [
      { opType: 'Sub', inputs: ['one', 't'], outputs: ['rest'] },
      { opType: 'Concat', inputs: ['rest', 't'], outputs: ['both'], attributes: { axis: { int: 1 } } },
    ],
    { t, one },
    ['both'],
  );
  if (both === undefined) throw new ModelError('the targets made no rows');
  return { tensor: both as Rows['tensor'], perSample: size / (target.shape[0] ?? 1), width: 2 };
}

/**
 * The token that follows each, of texts that are their own targets; where the data has an attention_mask, only of tokens
 * that it shows.
 *
 * @param classes of the output: tokens beyond are refused
 */
export function nextTokens(
  tokens: RuntimeTensor,
  mask: RuntimeTensor | undefined,
  classes: number,
  dataset: Dataset,
  numberOf: (at: number) => number,
): Int32Array {
  const [samples = 0, length = 0] = tokens.shape;
  const labels = new Int32Array(samples * (length - 1));
  for (let at = 0; at < labels.length; at += 1) {
    const sample = Math.floor(at / (length - 1));
    const place = at + sample + 1;
    const token = Number(tokens.data[place]);
    if (mask !== undefined && Number(mask.data[place]) === 0) labels[at] = IGNORED;
    else if (token >= 0 && token < classes) labels[at] = token;
    else
      throw dataError(
        dataset,
        `sample ${numberOf(sample)} has the token ${token}, but the model has ${classes} (0–${classes - 1})`,
      );
  }
  return labels;
}
