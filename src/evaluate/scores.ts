import type { NodeSpec } from '../graph/index.js';
import { type RuntimeTensor, runGraph } from '../runtime/index.js';
import { ints, partsOf, type Rows, slice } from './rows.js';

type Floats = Float32Array | Float64Array;

/** Of each row: what its vector says of the class that is right. */
export interface ClassScores {
  /** -ln p of the right class; of a distribution as target, the cross-entropy. NaN where the outputs are not finite. */
  readonly loss: Floats;
  /** How many classes have a larger output, or an equal one and come before: 0 where the decision is right. */
  readonly ahead: Int32Array;
  /** The class of the largest output, the first of several. */
  readonly decision: Int32Array;
}

const keep = { keepdims: { int: 0 } } as const;
const last = { axis: { int: 1 } } as const;

const SCORES: readonly NodeSpec[] = [
  { opType: 'LogSoftmax', inputs: ['y'], outputs: ['log'], attributes: last },
  { opType: 'Unsqueeze', inputs: ['labels', 'one'], outputs: ['at'] },
  { opType: 'GatherElements', inputs: ['y', 'at'], outputs: ['own'], attributes: last },
  { opType: 'Greater', inputs: ['y', 'own'], outputs: ['above'] },
  { opType: 'Equal', inputs: ['y', 'own'], outputs: ['same'] },
  { opType: 'Less', inputs: ['range', 'at'], outputs: ['before'] },
  { opType: 'And', inputs: ['same', 'before'], outputs: ['tied'] },
  { opType: 'Or', inputs: ['above', 'tied'], outputs: ['first'] },
  { opType: 'Cast', inputs: ['first'], outputs: ['counts'], attributes: { to: { int: 6 } } },
  { opType: 'ReduceSum', inputs: ['counts', 'one'], outputs: ['ahead'], attributes: keep },
  { opType: 'ArgMax', inputs: ['y'], outputs: ['found'], attributes: { ...last, ...keep } },
  { opType: 'Cast', inputs: ['found'], outputs: ['decision'], attributes: { to: { int: 6 } } },
];

const HARD: readonly NodeSpec[] = [
  { opType: 'GatherElements', inputs: ['log', 'at'], outputs: ['picked'], attributes: last },
  { opType: 'Squeeze', inputs: ['picked', 'one'], outputs: ['likelihood'] },
  { opType: 'Neg', inputs: ['likelihood'], outputs: ['loss'] },
];

/** What has no probability costs nothing, however unlikely the model holds it. */
const SOFT: readonly NodeSpec[] = [
  { opType: 'Equal', inputs: ['target', 'zero'], outputs: ['none'] },
  { opType: 'Mul', inputs: ['target', 'log'], outputs: ['product'] },
  { opType: 'Where', inputs: ['none', 'zero', 'product'], outputs: ['terms'] },
  { opType: 'ReduceSum', inputs: ['terms', 'one'], outputs: ['likelihood'], attributes: keep },
  { opType: 'Neg', inputs: ['likelihood'], outputs: ['loss'] },
];

/**
 * Scores of rows of logits.
 *
 * @param labels one a row, each a class
 * @param target distributions, one a row, in the place of the labels for the loss
 */
export async function classScores(rows: Rows, labels: Int32Array, target?: Rows): Promise<ClassScores> {
  const count = labels.length;
  const loss = rows.tensor.data instanceof Float64Array ? new Float64Array(count) : new Float32Array(count);
  const [ahead, decision] = [new Int32Array(count), new Int32Array(count)];
  const range = {
    type: 'int32',
    shape: [1, rows.width],
    data: Int32Array.from({ length: rows.width }, (_, at) => at),
  } as const;
  for (const [from, to] of partsOf(rows.width, count)) {
    const y = slice(rows, from, to);
    const found = await runGraph(
      [...SCORES, ...(target === undefined ? HARD : SOFT)],
      {
        y,
        labels: { type: 'int32', shape: [to - from], data: labels.subarray(from, to) },
        one: ints([1]),
        range,
        ...(target !== undefined && { target: slice(target, from, to), zero: zeroOf(y) }),
      },
      ['loss', 'ahead', 'decision'],
    );
    loss.set(found.loss?.data as never, from);
    ahead.set(found.ahead?.data as never, from);
    decision.set(found.decision?.data as never, from);
  }
  return { loss, ahead, decision };
}

/** The class of the largest number of each row. */
export async function decisionsOf(rows: Rows): Promise<Int32Array> {
  const count = rows.tensor.shape[0] ?? 0;
  const decision = new Int32Array(count);
  for (const [from, to] of partsOf(rows.width, count)) {
    const found = await runGraph(
      [
        { opType: 'ArgMax', inputs: ['y'], outputs: ['found'], attributes: { ...last, ...keep } },
        { opType: 'Cast', inputs: ['found'], outputs: ['decision'], attributes: { to: { int: 6 } } },
      ],
      { y: slice(rows, from, to) },
      ['decision'],
    );
    decision.set(found.decision?.data as never, from);
  }
  return decision;
}

/** Of each row: how two vectors agree. */
export interface AgreementScores {
  /** Cosine of the angle between them; of two zero vectors 1, of one 0. */
  readonly cosine: Float64Array;
  /** KL(a ‖ b) of their Softmax, in nats. */
  readonly divergence: Float64Array;
  readonly squaredDifference: Float64Array;
  readonly squaredReference: Float64Array;
}

const sum = (from: string, to: string): NodeSpec => ({
  opType: 'ReduceSum',
  inputs: [from, 'one'],
  outputs: [to],
  attributes: keep,
});
const node = (opType: string, inputs: readonly string[], output: string): NodeSpec => ({
  opType,
  inputs: [...inputs],
  outputs: [output],
});

const AGREEMENT: readonly NodeSpec[] = [
  node('Mul', ['a', 'a'], 'aa'),
  node('Mul', ['b', 'b'], 'bb'),
  node('Mul', ['a', 'b'], 'ab'),
  node('Sub', ['b', 'a'], 'd'),
  node('Mul', ['d', 'd'], 'dd'),
  sum('aa', 'squaredReference'),
  sum('bb', 'squaredOther'),
  sum('ab', 'dot'),
  sum('dd', 'squaredDifference'),
  node('Sqrt', ['squaredReference'], 'normA'),
  node('Sqrt', ['squaredOther'], 'normB'),
  node('Mul', ['normA', 'normB'], 'norms'),
  node('Add', ['normA', 'normB'], 'either'),
  node('Equal', ['either', 'nothing'], 'bothZero'),
  node('Equal', ['norms', 'nothing'], 'oneZero'),
  node('Div', ['dot', 'norms'], 'quotient'),
  node('Where', ['oneZero', 'nothing', 'quotient'], 'angle'),
  node('Where', ['bothZero', 'unit', 'angle'], 'cosine'),
  { opType: 'LogSoftmax', inputs: ['a'], outputs: ['logA'], attributes: last },
  { opType: 'LogSoftmax', inputs: ['b'], outputs: ['logB'], attributes: last },
  node('Exp', ['logA'], 'p'),
  node('Sub', ['logA', 'logB'], 'ratio'),
  node('Mul', ['p', 'ratio'], 'product'),
  node('Equal', ['p', 'nothing'], 'none'),
  node('Where', ['none', 'nothing', 'product'], 'terms'),
  sum('terms', 'divergence'),
];

/** How the rows of two models agree; in float64, since a small divergence is a difference of large terms. */
export async function agreementScores(a: Rows, b: Rows): Promise<AgreementScores> {
  const count = a.tensor.shape[0] ?? 0;
  const result = {
    cosine: new Float64Array(count),
    divergence: new Float64Array(count),
    squaredDifference: new Float64Array(count),
    squaredReference: new Float64Array(count),
  };
  const double = (from: string, to: string): NodeSpec => ({
    opType: 'Cast',
    inputs: [from],
    outputs: [to],
    attributes: { to: { int: 11 } },
  });
  for (const [from, to] of partsOf(a.width, count)) {
    const found = await runGraph(
      [double('first', 'a'), double('other', 'b'), ...AGREEMENT],
      {
        first: slice(a, from, to),
        other: slice(b, from, to),
        one: ints([1]),
        nothing: { type: 'float64', shape: [], data: new Float64Array(1) },
        unit: { type: 'float64', shape: [], data: Float64Array.of(1) },
      },
      ['cosine', 'divergence', 'squaredDifference', 'squaredReference'],
    );
    for (const [key, array] of Object.entries(result)) array.set(found[key]?.data as never, from);
  }
  return result;
}

/** Of each row of numbers: its errors. */
export interface ValueScores {
  readonly squared: Float64Array;
  readonly absolute: Float64Array;
  /** Squared distance of the targets from `mean`. */
  readonly spread: Float64Array;
}

/**
 * Errors of rows of numbers, in float64.
 *
 * @param mean of the targets, one a column
 */
export async function valueScores(rows: Rows, target: Rows, mean: Float64Array): Promise<ValueScores> {
  const count = rows.tensor.shape[0] ?? 0;
  const result = {
    squared: new Float64Array(count),
    absolute: new Float64Array(count),
    spread: new Float64Array(count),
  };
  const double = { to: { int: 11 } } as const;
  for (const [from, to] of partsOf(rows.width, count)) {
    const found = await runGraph(
      [
        { opType: 'Cast', inputs: ['y'], outputs: ['a'], attributes: double },
        { opType: 'Cast', inputs: ['t'], outputs: ['b'], attributes: double },
        node('Sub', ['a', 'b'], 'd'),
        node('Mul', ['d', 'd'], 'dd'),
        sum('dd', 'squared'),
        node('Abs', ['d'], 'size'),
        sum('size', 'absolute'),
        node('Sub', ['b', 'mean'], 'off'),
        node('Mul', ['off', 'off'], 'offs'),
        sum('offs', 'spread'),
      ],
      {
        y: slice(rows, from, to),
        t: slice(target, from, to),
        one: ints([1]),
        mean: { type: 'float64', shape: [1, rows.width], data: mean },
      },
      ['squared', 'absolute', 'spread'],
    );
    for (const [key, array] of Object.entries(result)) array.set(found[key]?.data as never, from);
  }
  return result;
}

function zeroOf({ type }: RuntimeTensor): RuntimeTensor {
  return { type, shape: [], data: type === 'float64' ? new Float64Array(1) : new Float32Array(1) };
}
