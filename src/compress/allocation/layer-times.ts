import {
  buildModel,
  type FloatType,
  isFloatType,
  type Model,
  ModelError,
  narrow,
  Tensor,
} from '../../graph/index.js';
import { openSession, type RuntimeTensor } from '../../runtime/index.js';
import { Random } from '../../runtime/random.js';
import { quantile } from '../../runtime/session/bench.js';
import type { Session } from '../../runtime/types.js';
import type { Samples, Shapes } from '../calibration/samples.js';
import { type Cut, factorSizes, parametersOf } from '../factors/forms.js';
import { findLayers, type Layer } from '../layers/layers.js';
import { rewriteLayer } from '../layers/rewrite.js';

/** Turns in which all contenders run once, at least and at most, and the time that they may take. */
const TURNS = { least: 15, most: 60, milliseconds: 500 } as const;
const WARM_UP = 3;
/** The quantile of the times that counts: what else the machine does makes runs longer, never shorter. */
const QUIET = 0.1;

const cutKey = (cut: Cut | undefined): string => (cut === undefined ? '' : `${cut.form} ${cut.ranks}`);

/**
 * How long layers take in onnxruntime on this machine, as they are and factorized: each as a model of its own nodes, in turns with the
 * layer as it is, so that what else the machine does falls on both alike. What it takes to call a session is measured by a model that
 * does nothing, and left out. Layers of one shape are measured once.
 */
export class LayerTimes {
  readonly #model: Model;
  readonly #shapes: Shapes;
  readonly #session: Samples['session'];
  readonly #known = new Map<string, Map<string, number>>();

  /** @param shapes of one sample */
  constructor(model: Model, shapes: Shapes, { feeder, session }: Samples) {
    this.#model = model;
    const batch = feeder.batch ?? 1;
    this.#shapes = new Map(
      [...shapes].map(([name, shape]) => [name, shape.map((dim, axis) => (axis === 0 ? dim * batch : dim))]),
    );
    this.#session = session;
  }

  /**
   * @returns microseconds of one sample, or of the batch that the model fixes, in each: as it is, then with each cut; undefined where the layer does not run by itself
   */
  async of(layer: Layer, cuts: readonly Cut[]): Promise<readonly number[] | undefined> {
    const key = this.#keyOf(layer);
    const known = this.#known.get(key) ?? new Map<string, number>();
    this.#known.set(key, known);
    const missing = cuts.filter((cut) => !known.has(cutKey(cut)));
    if (missing.length > 0 || !known.has('')) {
      try {
        await this.#measure(layer, missing, known);
      } catch (error) {
        if (!(error instanceof ModelError)) throw error;
        return undefined;
      }
    }
    return [undefined, ...cuts].map((cut) => layer.sites.length * (known.get(cutKey(cut)) as number));
  }

  #keyOf({ site }: Layer): string {
    const { node, op, weight, data, weightInput } = site;
    const attributes = (node.proto.attribute ?? []).map(({ name, i, f, s, ints }) => [
      name,
      String(i ?? f ?? s ?? ''),
      (ints ?? []).map(String),
    ]);
    const shape = this.#shapes.get(data);
    return JSON.stringify([
      op,
      weight.shape,
      weight.dataType,
      weightInput,
      shape,
      node.inputs.length,
      attributes,
    ]);
  }

  async #measure(layer: Layer, cuts: readonly Cut[], known: Map<string, number>): Promise<void> {
    const models = [idle(layer, this.#shapes), alone(layer, this.#model, this.#shapes)];
    for (const cut of cuts) models.push(await factorized(layer, this.#model, this.#shapes, cut));
    const input = inputOf(layer, this.#shapes);
    const feeds = { x: randomTensor(input.type, input.shape) };
    const times = await inTurns(models, feeds, this.#session);
    const [none = 0, whole = 0, ...rest] = times.map((all) => quantile(all, QUIET));
    // What was measured before stays: later cuts are set against the same layer.
    const own = known.get('') ?? Math.max(0.1, 1000 * (whole - none));
    known.set('', own);
    // Those of one round are set against each other.
    const base = Math.max(1e-4, whole - none);
    for (const [i, time] of rest.entries())
      known.set(cutKey(cuts[i]), (own * Math.max(1e-4, time - none)) / base);
  }
}

/** Sorted milliseconds of each model, which run one after the other again and again. */
async function inTurns(
  models: readonly Model[],
  feeds: Readonly<Record<string, RuntimeTensor>>,
  options: Samples['session'],
): Promise<number[][]> {
  const sessions: Session[] = [];
  try {
    for (const model of models) sessions.push(await openSession(model, { ...options, yielding: true }));
    const times = sessions.map((): number[] => []);
    let begin = performance.now();
    for (let turn = -WARM_UP; turn < TURNS.most; turn += 1) {
      if (turn === 0) begin = performance.now();
      for (let i = 0; i < sessions.length; i += 1) {
        // Another one first each time.
        const at = (i + turn + WARM_UP) % sessions.length;
        const start = performance.now();
        await sessions[at]?.run(feeds);
        if (turn >= 0) times[at]?.push(performance.now() - start);
      }
      if (turn >= TURNS.least && performance.now() - begin > TURNS.milliseconds * sessions.length ** 0.5)
        break;
    }
    return times.map((all) => all.sort((a, b) => a - b));
  } finally {
    for (const session of sessions) await session[Symbol.asyncDispose]();
  }
}

/** The time of one model over that of another with the same inputs, both of quiet turns. */
export async function latencyRatio(
  original: Model,
  model: Model,
  { feeder, indices, session }: Samples,
): Promise<number> {
  const { feeds } = await feeder.feeds(indices.slice(0, feeder.batch ?? 1));
  const [before, after] = (await inTurns([original, model], feeds, session)).map((all) =>
    quantile(all, QUIET),
  );
  return (after ?? 0) / Math.max(1e-6, before ?? 0);
}

/** Microseconds that a model takes for the least batch. */
export async function latencyOf(model: Model, { feeder, indices, session }: Samples): Promise<number> {
  const { feeds } = await feeder.feeds(indices.slice(0, feeder.batch ?? 1));
  const [times = []] = await inTurns([model], feeds, session);
  return 1000 * quantile(times, QUIET);
}

function inputOf(
  { site }: Layer,
  shapes: Shapes,
): { readonly type: FloatType; readonly shape: readonly number[] } {
  const { dataType } = site.weight;
  const shape = shapes.get(site.data);
  if (shape === undefined || !isFloatType(dataType))
    throw new ModelError('the shape that it reads is not known', { node: site.node.label });
  return { type: dataType, shape };
}

function randomTensor(type: FloatType, shape: readonly number[]): RuntimeTensor {
  const size = shape.reduce((product, dim) => product * dim, 1);
  const values = new Random(0, 'timing').fillNormal(new Float64Array(size));
  return { type, shape, data: narrow(type, values) } as RuntimeTensor;
}

/** A model that copies its input to an output of the layer's size: what a call of onnxruntime takes by itself. */
function idle({ site, ...rest }: Layer, shapes: Shapes): Model {
  const { type, shape } = inputOf({ site, ...rest }, shapes);
  const output = shapes.get(site.node.outputs[0] ?? '') ?? [];
  return buildModel({
    inputs: [['x', type, shape]],
    outputs: [['y', type]],
    nodes: [{ opType: 'Identity', inputs: ['c'], outputs: ['y'] }],
    initializers: [tensorOf('c', type, output)],
    opset: 17,
  });
}

function tensorOf(name: string, type: FloatType, shape: readonly number[]): Tensor {
  return Tensor.of(name, type, shape, randomTensor(type, shape).data as never);
}

/** A layer's first node as a model, with random weights. */
function alone({ site, outputs }: Layer, model: Model, shapes: Shapes): Model {
  const { node, weight, weightInput } = site;
  const { type, shape } = inputOf({ site } as Layer, shapes);
  const inputs = [...node.inputs];
  inputs[1 - weightInput] = 'x';
  inputs[weightInput] = 'w';
  const hasBias = (inputs[2] ?? '') !== '';
  if (hasBias) inputs[2] = 'b';
  return buildModel({
    inputs: [['x', type, shape]],
    outputs: [['y', type]],
    nodes: [
      {
        opType: node.opType,
        name: 'layer',
        inputs,
        outputs: ['y'],
        attributeProtos: node.proto.attribute ?? [],
      },
    ],
    initializers: [tensorOf('w', type, weight.shape), ...(hasBias ? [tensorOf('b', type, [outputs])] : [])],
    opset: model.opset(),
  });
}

async function factorized(layer: Layer, model: Model, shapes: Shapes, cut: Cut): Promise<Model> {
  const own = alone(layer, model, shapes);
  const [only] = findLayers(own, {}).layers;
  if (only === undefined) throw new ModelError('does not stand by itself', { node: layer.name });
  const factors = factorSizes(layer, cut).map((size) => {
    const columns = parametersOf({ ...size, outputs: 1 }, undefined);
    const data = randomTensor('float64', [size.outputs, columns]).data as Float64Array;
    return { rows: size.outputs, columns, data };
  });
  await rewriteLayer(own, { layer: only, cut, factors });
  return own;
}
