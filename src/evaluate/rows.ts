import { isFloatType, ModelError, type NodeSpec } from '../graph/index.js';
import { type RuntimeTensor, runGraph } from '../runtime/index.js';
import type { Task } from './task.js';

/** Vectors side by side: [rows, width], so many rows a sample. float32, or float64 of a model that computes so. */
export interface Rows {
  readonly tensor: RuntimeTensor & { readonly data: Float32Array | Float64Array };
  readonly perSample: number;
  readonly width: number;
}

/** Elements of a vector that is compared at a time: some ten arrays of so many numbers exist at once. */
const ELEMENTS = 2 ** 21;

/** What makes rows of an output in onnxruntime; none where its elements lie so already. */
export async function rowsOf(
  output: RuntimeTensor,
  task: Pick<Task, 'form' | 'isNextToken'>,
  isProbability: boolean,
): Promise<Rows> {
  const { shape, type } = output;
  if (!isFloatType(type))
    throw new ModelError(
      `the output is ${type}; logits, probabilities or numbers are measured: name another output by \`output\``,
    );
  const [samples = 0, ...rest] = shape;
  const { form } = task;
  const nodes: NodeSpec[] = [];
  const feeds: Record<string, RuntimeTensor> = { y: output };
  let last = 'y';
  const then = (
    opType: string,
    attributes: NodeSpec['attributes'] = {},
    more: readonly string[] = [],
  ): void => {
    const next = `${last}_`;
    nodes.push({ opType, inputs: [last, ...more], outputs: [next], attributes });
    last = next;
  };
  if (type !== 'float32' && type !== 'float64') then('Cast', { to: { int: 1 } });
  if (task.isNextToken) {
    feeds.from = ints([0]);
    feeds.to = ints([-1]);
    feeds.axes = ints([1]);
    then('Slice', {}, ['from', 'to', 'axes']);
  }
  if (isProbability) {
    // The smallest normal number of float32: a probability of 0 costs 87 nats, not infinitely many.
    feeds.least = {
      type: type === 'float64' ? type : 'float32',
      shape: [],
      data: type === 'float64' ? Float64Array.of(LEAST) : Float32Array.of(LEAST),
    };
    then('Max', {}, ['least']);
    then('Log');
  }
  const size = rest.reduce((product, dim) => product * dim, 1);
  let width = size;
  if (form.kind === 'classes') {
    const axis = form.axis;
    width = shape[axis] ?? 1;
    const isLast = shape.slice(axis + 1).every((dim) => dim === 1);
    if (!isLast) {
      const order = shape.map((_, at) => at).filter((at) => at !== axis);
      then('Transpose', { perm: { ints: [...order, axis] } });
    }
  } else if (form.kind === 'binary') {
    width = 2;
    // The logits 0 and x have the probabilities 1 - s(x) and s(x).
    feeds.flat = ints([-1, 1]);
    then('Reshape', {}, ['flat']);
    const column = last;
    then('Sub', {}, [column]);
    const zeros = last;
    last = column;
    nodes.push({
      opType: 'Concat',
      inputs: [zeros, column],
      outputs: ['pairs'],
      attributes: { axis: { int: 1 } },
    });
    last = 'pairs';
  }
  const made = nodes.length === 0 ? output : (await runGraph(nodes, feeds, [last]))[last];
  const data = made?.data as Float32Array | Float64Array;
  const rows = width === 0 ? 0 : data.length / width;
  return {
    tensor: { type: data instanceof Float64Array ? 'float64' : 'float32', shape: [rows, width], data },
    perSample: samples === 0 ? 0 : rows / samples,
    width,
  };
}

const LEAST = 2 ** -126;
/** Half precision sums a thousand probabilities no more closely. */
const SUM_TOLERANCE = 0.01;

export function ints(values: readonly number[]): RuntimeTensor {
  return { type: 'int64', shape: [values.length], data: BigInt64Array.from(values, BigInt) };
}

/** Parts of rows that are small enough for a graph with some temporary arrays. */
export function* partsOf(width: number, rows: number): Generator<readonly [from: number, to: number]> {
  const most = Math.max(1, Math.floor(ELEMENTS / Math.max(1, width)));
  for (let from = 0; from < rows; from += most) yield [from, Math.min(rows, from + most)];
}

/** Some rows, which lie in the memory of all. */
export function slice({ tensor, width }: Rows, from: number, to: number): RuntimeTensor {
  return { ...tensor, shape: [to - from, width], data: tensor.data.subarray(from * width, to * width) };
}

/** Whether each row is a distribution: what a Softmax makes that is not the model's last node. */
export async function areProbabilities(rows: Rows): Promise<boolean> {
  if (rows.width < 2) return false;
  const [part] = partsOf(rows.width, rows.tensor.shape[0] ?? 0);
  if (part === undefined) return false;
  const y = slice(rows, ...part);
  const { least, furthest } = await runGraph(
    [
      { opType: 'ReduceMin', inputs: ['y'], outputs: ['least'], attributes: { keepdims: { int: 0 } } },
      {
        opType: 'ReduceSum',
        inputs: ['y', 'axes'],
        outputs: ['sums'],
        attributes: { keepdims: { int: 0 } },
      },
      { opType: 'Sub', inputs: ['sums', 'one'], outputs: ['off'] },
      { opType: 'Abs', inputs: ['off'], outputs: ['distances'] },
      {
        opType: 'ReduceMax',
        inputs: ['distances'],
        outputs: ['furthest'],
        attributes: { keepdims: { int: 0 } },
      },
    ],
    {
      y,
      axes: ints([1]),
      one: { type: y.type, shape: [], data: (y.data as Float32Array).slice(0, 1).fill(1) },
    },
    ['least', 'furthest'],
  );
  return Number(least?.data[0]) >= 0 && Number(furthest?.data[0]) <= SUM_TOLERANCE;
}
