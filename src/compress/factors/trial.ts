import type { LinearSite } from '../../affine/linear-site.js';
import { type FloatType, type Model, ModelError, type NodeSpec, narrow, Tensor } from '../../graph/index.js';
import type { Matrix } from '../../linalg/matmul.js';
import { predictionOf } from '../../passes/gradient/request.js';
import { evaluateConstant } from '../../runtime/constants/constant.js';
import { openSession, type RuntimeTensor } from '../../runtime/index.js';
import { partOf } from '../../runtime/session/part.js';
import { runGraph } from '../../runtime/session/run-graph.js';
import { targetsOf } from '../../training/distill.js';
import { Evaluator } from '../../training/engine/evaluator.js';
import type { Batch } from '../../training/types.js';
import { batchesOf } from '../calibration/calibration.js';
import type { Divergence } from '../calibration/divergence.js';
import type { Samples } from '../calibration/samples.js';
import type { Layer } from '../layers/layers.js';
import { takesBias } from '../layers/rewrite.js';

/** What is tried in the place of a layer's weight and biases. */
export interface Replacement {
  /** outputs x (inputs * taps). */
  readonly weight: Matrix;
  /** What is added at the outputs; for each node. */
  readonly shift?: Float64Array | undefined;
}

interface Slot {
  readonly site: LinearSite;
  readonly weight: string;
  readonly bias: string | undefined;
  /** Of the bias as it is. */
  readonly values: Float64Array;
}

/** Batches with their targets up to so many bytes stay in memory. */
const KEPT_BYTES = 64 << 20;

/**
 * Measures how far a model with other weights is from itself, on samples: one session takes all weights as inputs, so that a trial costs
 * a run and nothing is rewritten.
 */
export class Trials implements AsyncDisposable {
  readonly #evaluator: Evaluator;
  readonly #slots: ReadonlyMap<Layer, readonly Slot[]>;
  readonly #weights: Readonly<Record<string, RuntimeTensor>>;
  readonly #batches: () => AsyncIterable<Batch>;
  #base = Number.NaN;

  private constructor(
    evaluator: Evaluator,
    slots: ReadonlyMap<Layer, readonly Slot[]>,
    weights: Readonly<Record<string, RuntimeTensor>>,
    batches: () => AsyncIterable<Batch>,
  ) {
    this.#evaluator = evaluator;
    this.#slots = slots;
    this.#weights = weights;
    this.#batches = batches;
  }

  /**
   * @param samples those that are measured on
   * @throws ModelError where the model cannot be taken apart
   */
  static async open(
    model: Model,
    layers: readonly Layer[],
    samples: Samples,
    divergence: Divergence,
    perSample: number,
  ): Promise<Trials> {
    const { copy, slots, tensors } = await withOwnWeights(model, layers);
    const options = { loss: divergence.loss, output: divergence.output, dims: divergence.dims };
    const evaluator = new Evaluator(copy, options, Object.keys(tensors), { ...samples.session });
    const trials = new Trials(
      evaluator,
      slots,
      tensors,
      await targeted(model, samples, divergence, perSample),
    );
    try {
      trials.#base = await trials.#loss(tensors);
      return trials;
    } catch (error) {
      await evaluator[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The divergence with some layers replaced. */
  async measure(replaced: ReadonlyMap<Layer, Replacement>): Promise<number> {
    const weights = { ...this.#weights };
    for (const [layer, { weight, shift }] of replaced) {
      const slots = this.#slots.get(layer) ?? [];
      for (const { site, weight: name, bias, values } of slots) {
        weights[name] = weightTensor(site, weight);
        if (bias !== undefined && shift !== undefined)
          weights[bias] = tensorOf(
            site,
            [values.length],
            values.map((value, i) => value + (shift[i] as number)),
          );
      }
    }
    return Math.max(0, (await this.#loss(weights)) - this.#base);
  }

  async #loss(weights: Readonly<Record<string, RuntimeTensor>>): Promise<number> {
    return (await this.#evaluator.evaluate(this.#batches(), weights)).loss;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#evaluator[Symbol.asyncDispose]();
  }
}

function tensorOf({ weight }: LinearSite, shape: readonly number[], values: Float64Array): RuntimeTensor {
  const type = weight.dataType as FloatType;
  return { type, shape, data: narrow(type, values) };
}

function weightTensor(site: LinearSite, weight: Matrix): RuntimeTensor {
  const { inputs, outputs, kernel } = site;
  const { shape, data } = site.factorOfOutIn(weight.data, { inputs, outputs, kernel });
  return tensorOf(site, shape, Float64Array.from(data));
}

/** A copy whose layers have weights of their own, as initializers, and biases where they can. */
async function withOwnWeights(
  model: Model,
  layers: readonly Layer[],
): Promise<{
  readonly copy: Model;
  readonly slots: ReadonlyMap<Layer, readonly Slot[]>;
  readonly tensors: Readonly<Record<string, RuntimeTensor>>;
}> {
  const copy = model.clone();
  const slots = new Map<Layer, Slot[]>();
  const tensors: Record<string, RuntimeTensor> = {};
  const places = new Map(model.graph.nodes.map((node, index) => [node, index]));
  const nodes = [...copy.graph.nodes];
  for (const layer of layers) {
    for (const site of layer.sites) {
      const { node, weightInput, weight } = site;
      const own = nodes[places.get(node) ?? -1];
      if (own === undefined) throw new ModelError('is not in the main graph', { node: node.label });
      const stored = await evaluateConstant(weight.graph, weight.value);
      const name = copy.freshName(`${node.label}/trial`);
      const bias = takesBias(site) ? copy.freshName(`${node.label}/trial/bias`) : undefined;
      const values = await biasValues(site);
      const inputs = [...own.inputs];
      inputs[weightInput] = name;
      if (bias !== undefined) inputs[2] = bias;
      const type = weight.dataType as FloatType;
      copy.graph.edit({
        removeNodes: [own],
        insertNodes: [
          {
            template: own.proto,
            opType: own.opType,
            name: own.name,
            inputs,
            outputs: own.outputs,
            attributeProtos: (own.proto.attribute ?? []).filter(
              (one) => bias === undefined || one.name !== 'beta',
            ),
          },
        ],
        setInitializers: [
          stored.renamed(name),
          ...(bias === undefined ? [] : [Tensor.of(bias, type, [values.length], narrow(type, values))]),
        ],
      });
      tensors[name] = { type, shape: stored.shape, data: narrow(type, stored.floats()) };
      if (bias !== undefined) tensors[bias] = tensorOf(site, [values.length], values);
      slots.set(layer, [...(slots.get(layer) ?? []), { site, weight: name, bias, values }]);
    }
  }
  return { copy, slots, tensors };
}

/** The bias of a node as one number an output; zeros where it has none. */
export async function biasValues(site: LinearSite): Promise<Float64Array> {
  const { biasVector, linearBias } = await import('../../affine/linear-bias.js');
  const { constant } = linearBias(site.node);
  return (await biasVector(site.node, constant, site.outputs)) ?? new Float64Array(site.outputs);
}

/** What the original says of the samples, once where it fits into memory. */
async function targeted(
  model: Model,
  samples: Samples,
  { output, kind, axis }: Divergence,
  perSample: number,
): Promise<() => AsyncIterable<Batch>> {
  const name = predictionOf(model, output, kind);
  const make = async function* (): AsyncGenerator<Batch> {
    await using session = await openSession(partOf(model, [name]), samples.session);
    for (const indices of batchesOf(samples, perSample)) {
      const { feeds } = await samples.feeder.feeds(indices);
      const said = (await session.run(feeds))[name];
      if (said === undefined) throw new ModelError(`'${name}' did not come out of the run`);
      yield { inputs: feeds, target: await targetsOf(said, kind, 1, axis) };
    }
  };
  const kept: Batch[] = [];
  let bytes = 0;
  for await (const batch of make()) {
    for (const { data } of [...Object.values(batch.inputs), ...(batch.target ? [batch.target] : [])])
      bytes += ArrayBuffer.isView(data) ? data.byteLength : 0;
    if (bytes > KEPT_BYTES) return make;
    kept.push(batch);
  }
  return async function* () {
    yield* kept;
  };
}

/** How far a model is from another with the same inputs, on samples. */
export async function divergenceBetween(
  original: Model,
  model: Model,
  samples: Samples,
  divergence: Divergence,
  perSample: number,
): Promise<number> {
  const batches = await targeted(original, samples, divergence, perSample);
  const { loss, output, dims } = divergence;
  const lossOf = async (one: Model): Promise<number> => {
    await using evaluator = new Evaluator(one, { loss, output, dims }, [], { ...samples.session });
    return (await evaluator.evaluate(batches(), {})).loss;
  };
  return Math.max(0, (await lossOf(model)) - (await lossOf(original)));
}

/**
 * What a model loses against another: of classifiers the accuracy on samples that have labels, else the share of decisions that differ; of
 * others the relative error of the outputs.
 */
export async function dropBetween(
  original: Model,
  model: Model,
  samples: Samples,
  { output, kind, axis }: Divergence,
  perSample: number,
): Promise<number> {
  const name = predictionOf(original, output, kind);
  await using first = await openSession(partOf(original, [name]), samples.session);
  await using second = await openSession(partOf(model, [name]), samples.session);
  let [missed, all] = [0, 0];
  for (const indices of batchesOf(samples, perSample)) {
    const { feeds, labels } = await samples.feeder.feeds(indices);
    const [a, b] = [(await first.run(feeds))[name], (await second.run(feeds))[name]];
    if (a === undefined || b === undefined) throw new ModelError(`'${name}' did not come out of the run`);
    const sums = await runGraph(kind === 'mse' ? SQUARES : decisions(axis), { a, b }, [
      'different',
      'whole',
      ...(kind === 'mse' ? [] : ['p', 'q']),
    ]);
    all += Number(sums.whole?.data[0] ?? 0);
    const [p, q] = [sums.p?.data ?? [], sums.q?.data ?? []];
    if (labels === undefined || p.length !== labels.length) missed += Number(sums.different?.data[0] ?? 0);
    else
      for (const [i, label] of labels.entries())
        missed += Number(Number(p[i]) === label) - Number(Number(q[i]) === label);
  }
  const share = all > 0 ? missed / all : 0;
  return kind === 'mse' ? Math.sqrt(share) : share;
}

const summed = (from: string, to: string): NodeSpec => ({
  opType: 'ReduceSum',
  inputs: [from],
  outputs: [to],
  attributes: { keepdims: { int: 0 } },
});
const single = (from: string, to: string): NodeSpec => ({
  opType: 'Cast',
  inputs: [from],
  outputs: [to],
  attributes: { to: { int: 1 } },
});
const largestOf = (from: string, to: string, axis: number): NodeSpec => ({
  opType: 'ArgMax',
  inputs: [from],
  outputs: [to],
  attributes: { axis: { int: axis } },
});

/** How many decisions differ, of how many. */
const decisions = (axis: number): readonly NodeSpec[] => [
  largestOf('a', 'p', axis),
  largestOf('b', 'q', axis),
  { opType: 'Equal', inputs: ['p', 'q'], outputs: ['same'] },
  { opType: 'Not', inputs: ['same'], outputs: ['other'] },
  single('other', 'others'),
  summed('others', 'different'),
  { opType: 'Size', inputs: ['p'], outputs: ['whole'] },
];

/** The square of the difference, and of the first. */
const SQUARES: readonly NodeSpec[] = [
  single('a', 'x'),
  single('b', 'z'),
  { opType: 'Sub', inputs: ['x', 'z'], outputs: ['d'] },
  { opType: 'Mul', inputs: ['d', 'd'], outputs: ['d2'] },
  summed('d2', 'different'),
  { opType: 'Mul', inputs: ['x', 'x'], outputs: ['x2'] },
  summed('x2', 'whole'),
];
