import {
  constantTensor,
  type FloatType,
  type Model,
  ModelError,
  type Node,
  type NodeSpec,
} from '../../graph/index.js';
import { openSession, type RuntimeTensor } from '../../runtime/index.js';
import { runGraph } from '../../runtime/session/run-graph.js';
import { batchesOf, tapped } from '../calibration/calibration.js';
import type { Samples } from '../calibration/samples.js';
import { setConstant } from '../layers/shift.js';

/** Passes over the data, at most: normalizations are done in so many groups, in the order of execution. */
const MOST_STAGES = 6;
/** A variance changes by this factor at most, and a channel that was as good as constant keeps its own. */
const MOST_CHANGE = 4;
const CONSTANT = 1e-6;

/** The statistics of a BatchNormalization. */
export interface Statistics {
  readonly mean: Float64Array;
  readonly variance: Float64Array;
}

/** The normalizations in inference form whose statistics are constants, in the order of execution. */
function normalizationsOf(model: Model): Node[] {
  return model.graph.nodes.filter(
    (node) =>
      node.is('BatchNormalization') &&
      node.attributes.int('training_mode', 0) === 0 &&
      [3, 4].every((input) => constantTensor(node.graph, node.inputs[input] ?? '')?.shape.length === 1),
  );
}

/**
 * Estimates the statistics of normalizations anew: each is to give, from what it reads now, the mean and variance by channel that it gave
 * from what it read in the original. With μ, σ² of what it reads, before and now (′), the stored variance v becomes
 * (v + ε) σ′² / σ² − ε, and the stored mean m becomes μ′ − (μ − m) σ′ / σ. Later ones read what the earlier ones then give.
 *
 * @param model a copy of the original with other layers in it, which gets the statistics
 * @returns what was set, by the labels of the nodes; nothing where there are no such normalizations
 */
export async function renormalize(
  model: Model,
  original: Model,
  samples: Samples,
  perSample: number,
): Promise<ReadonlyMap<string, Statistics>> {
  const labels = normalizationsOf(original).map(({ label }) => label);
  const found = new Map<string, Statistics>();
  const perStage = Math.ceil(labels.length / MOST_STAGES);
  for (let start = 0; start < labels.length; start += perStage) {
    const stage = labels.slice(start, start + perStage);
    const [before, now] = [
      await channelMoments(original, stage, samples, perSample),
      await channelMoments(model, stage, samples, perSample),
    ];
    const own = new Map<string, Statistics>();
    for (const node of normalizationsOf(model)) {
      const [was, is] = [before.get(node.label), now.get(node.label)];
      if (was !== undefined && is !== undefined) own.set(node.label, fitted(node, was, is));
    }
    putStatistics(model, own);
    for (const [label, statistics] of own) found.set(label, statistics);
  }
  return found;
}

function fitted(node: Node, was: Statistics, is: Statistics): Statistics {
  const epsilon = node.attributes.float('epsilon', 1e-5);
  const [mean, variance] = [3, 4].map((input) => storedOf(node, input)) as [Float64Array, Float64Array];
  const ratios = variance.map((value, i) => {
    const [before, now] = [was.variance[i] as number, is.variance[i] as number];
    if (before <= CONSTANT * (value + epsilon) || now <= CONSTANT * (value + epsilon)) return 1;
    return Math.min(MOST_CHANGE, Math.max(1 / MOST_CHANGE, now / before));
  });
  return {
    variance: variance.map((value, i) => Math.max(0, (value + epsilon) * (ratios[i] as number) - epsilon)),
    mean: mean.map(
      (value, i) =>
        (is.mean[i] as number) - ((was.mean[i] as number) - value) * Math.sqrt(ratios[i] as number),
    ),
  };
}

function storedOf(node: Node, input: number): Float64Array {
  return Float64Array.from(constantTensor(node.graph, node.inputs[input] ?? '')?.floats() ?? []);
}

/** Sets the statistics of normalizations, by their labels. */
export function putStatistics(model: Model, all: ReadonlyMap<string, Statistics>): void {
  for (const node of normalizationsOf(model)) {
    const own = all.get(node.label);
    if (own === undefined) continue;
    for (const [input, values] of [
      [3, own.mean],
      [4, own.variance],
    ] as const) {
      const type = constantTensor(node.graph, node.inputs[input] ?? '')?.dataType as FloatType;
      setConstant(model, node, input, { type, shape: [values.length], values });
    }
  }
}

const reduced = (from: string, to: string): NodeSpec => ({
  opType: 'ReduceSum',
  inputs: [from, 'axes'],
  outputs: [to],
  attributes: { keepdims: { int: 0 } },
});

/** Sums and sums of squares over all but axis 1, in float64. */
const SUMS: readonly NodeSpec[] = [
  { opType: 'Cast', inputs: ['x'], outputs: ['d'], attributes: { to: { int: 11 } } },
  { opType: 'Mul', inputs: ['d', 'd'], outputs: ['d2'] },
  reduced('d', 'sum'),
  reduced('d2', 'squares'),
];

/** Mean and variance, by channel, of what normalizations read. */
async function channelMoments(
  model: Model,
  labels: readonly string[],
  samples: Samples,
  perSample: number,
): Promise<ReadonlyMap<string, Statistics>> {
  const nodes = normalizationsOf(model).filter(({ label }) => labels.includes(label));
  const part = tapped(model, [...new Set(nodes.map((node) => node.inputs[0] ?? ''))]);
  await using session = await openSession(part.model, samples.session);
  const sums = new Map<string, { sum: Float64Array; squares: Float64Array; count: number }>();
  for (const indices of batchesOf(samples, perSample)) {
    const { feeds } = await samples.feeder.feeds(indices);
    const outputs = part.named(await session.run(feeds));
    for (const { label, inputs } of nodes) {
      const x = outputs[inputs[0] ?? ''];
      if (x === undefined) throw new ModelError(`'${inputs[0]}' did not come out of the run`);
      const { sum, squares, count } = await sumsOf(x);
      const own = sums.get(label);
      sums.set(label, {
        sum: own?.sum.map((value, i) => value + (sum[i] as number)) ?? sum,
        squares: own?.squares.map((value, i) => value + (squares[i] as number)) ?? squares,
        count: (own?.count ?? 0) + count,
      });
    }
    await new Promise(setImmediate);
  }
  return new Map(
    [...sums].map(([label, { sum, squares, count }]) => {
      const mean = sum.map((value) => value / Math.max(1, count));
      const variance = squares.map((value, i) =>
        Math.max(0, value / Math.max(1, count) - (mean[i] as number) ** 2),
      );
      return [label, { mean, variance }];
    }),
  );
}

async function sumsOf(
  x: RuntimeTensor,
): Promise<{ readonly sum: Float64Array; readonly squares: Float64Array; readonly count: number }> {
  const axes = x.shape.map((_, axis) => axis).filter((axis) => axis !== 1);
  const given: RuntimeTensor = {
    type: 'int64',
    shape: [axes.length],
    data: BigInt64Array.from(axes, BigInt),
  };
  const { sum, squares } = await runGraph(SUMS, { x, axes: given }, ['sum', 'squares']);
  const count = axes.reduce((product, axis) => product * (x.shape[axis] as number), 1);
  return { sum: sum?.data as Float64Array, squares: squares?.data as Float64Array, count };
}
