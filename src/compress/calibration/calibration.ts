import { type Model, ModelError, type NodeSpec, ValueInfo } from '../../graph/index.js';
import { gradient } from '../../passes/gradient/index.js';
import { openSession, type RuntimeTensor } from '../../runtime/index.js';
import { Random } from '../../runtime/random.js';
import { partOf } from '../../runtime/session/part.js';
import type { Layer } from '../layers/layers.js';
import type { Divergence } from './divergence.js';
import type { Moments } from './metric.js';
import {
  chosenColumns,
  enoughVectors,
  MomentSum,
  makingOf,
  type Reading,
  readingKey,
  readingOf,
  vectorCount,
  vectorsOf,
} from './moments.js';
import type { Samples, Shapes } from './samples.js';

/** Gram matrices that are summed up at a time take at most about so much; of a larger layer, its own. */
const GROUP_BYTES = 192 << 20;
/** What comes out of a run takes at most about so much. */
const RUN_BYTES = 64 << 20;
const MOST_PER_RUN = 64;

/** The shapes of values for one batch of the data. */
export async function shapesFor(model: Model, values: readonly string[], samples: Samples): Promise<Shapes> {
  const { feeder, indices } = samples;
  const outputs = await runPart(model, [...new Set(values)], samples, indices.slice(0, feeder.batch ?? 1));
  const batch = feeder.batch ?? 1;
  return new Map(
    Object.entries(outputs).map(([name, { shape }]) => [
      name,
      shape.map((dim, axis) => (axis === 0 && batch > 1 ? dim / batch : dim)),
    ]),
  );
}

/** How many axes an output has; default the first output. */
export async function rankOf(model: Model, output: string | undefined, samples: Samples): Promise<number> {
  const name = output ?? model.graph.outputs[0]?.name ?? '';
  const known = model.graph.outputs.find((one) => one.name === name)?.shape?.length;
  return known ?? (await shapesFor(model, [name], samples)).get(name)?.length ?? 2;
}

async function runPart(
  model: Model,
  values: readonly string[],
  { feeder, session: options }: Samples,
  indices: readonly number[],
): Promise<Record<string, RuntimeTensor>> {
  const part = tapped(model, values);
  await using session = await openSession(part.model, { ...options, arena: false });
  const { feeds } = await feeder.feeds(indices);
  return part.named(await session.run(feeds));
}

/** The part of a model that makes some values. An output must be made by a node, which an input of the model is not. */
export function tapped(
  model: Model,
  values: readonly string[],
): {
  readonly model: Model;
  readonly named: (outputs: Record<string, RuntimeTensor>) => Record<string, RuntimeTensor>;
} {
  const aliases = new Map<string, string>(
    values.filter((value) => model.graph.isInput(value)).map((value) => [`${value}/copy`, value]),
  );
  const append = [...aliases].map(
    ([alias, value]): NodeSpec => ({ opType: 'Identity', inputs: [value], outputs: [alias] }),
  );
  const made = [...values.filter((value) => !model.graph.isInput(value)), ...aliases.keys()];
  return {
    model: partOf(model, made, { append }),
    named: (outputs) =>
      Object.fromEntries(
        Object.entries(outputs).map(([name, tensor]) => [aliases.get(name) ?? name, tensor]),
      ),
  };
}

const elements = (shape: readonly number[] = []): number => shape.reduce((product, dim) => product * dim, 1);

/** Batches of the samples, as large as memory and the model allow. */
export function* batchesOf({ feeder, indices }: Samples, perSample: number): Generator<readonly number[]> {
  const size =
    feeder.batch ?? Math.max(1, Math.min(MOST_PER_RUN, Math.floor(RUN_BYTES / (4 * Math.max(1, perSample)))));
  for (let start = 0; start + (feeder.batch ?? 1) <= indices.length; start += size)
    yield indices.slice(start, start + size);
}

/**
 * The moments of what layers read, streamed: the data passes through the model once for as many layers as fit into memory, and
 * only their Gram matrices are kept.
 *
 * @throws ModelError where the model does not run, or makes what is not finite
 */
export async function* inputMoments(
  model: Model,
  layers: readonly Layer[],
  shapes: Shapes,
  samples: Samples,
  onBatch?: (layer: string) => void,
): AsyncGenerator<{ readonly layer: Layer; readonly moments: Moments }> {
  for (const group of groupsOf(layers)) {
    const readings = new Map<string, Reading>();
    for (const { sites } of group)
      for (const site of sites) readings.set(readingKey(readingOf(site)), readingOf(site));
    const sums = new Map([...readings].map(([key, { size }]) => [key, new MomentSum(size)]));
    await eachBatch(model, [...readings.values()], shapes, samples, async (reading, { data, count }) => {
      await sums.get(readingKey(reading))?.add(data, count);
      onBatch?.(group[0]?.name ?? '');
    });
    for (const layer of group) {
      const own = layer.sites.map((site) => {
        const key = readingKey(readingOf(site));
        return (sums.get(key) as MomentSum).moments(`what '${site.node.label}' reads`);
      });
      yield { layer, moments: averaged(own) };
    }
  }
}

/** Of layers that share a weight, all that it sees. */
function averaged(all: readonly Moments[]): Moments {
  const [first] = all;
  if (first === undefined) throw new RangeError('a layer without nodes');
  if (all.length === 1) return first;
  const gram = new Float64Array(first.gram.length);
  const mean = new Float64Array(first.size);
  for (const one of all) {
    for (let i = 0; i < gram.length; i += 1)
      gram[i] = (gram[i] as number) + (one.gram[i] as number) / all.length;
    for (let i = 0; i < mean.length; i += 1)
      mean[i] = (mean[i] as number) + (one.mean[i] as number) / all.length;
  }
  return { size: first.size, gram, mean, count: all.reduce((sum, { count }) => sum + count, 0) };
}

function* groupsOf(layers: readonly Layer[]): Generator<Layer[]> {
  let group: Layer[] = [];
  let bytes = 0;
  for (const layer of layers) {
    const own = 8 * layer.columns ** 2 * layer.sites.length;
    if (group.length > 0 && bytes + own > GROUP_BYTES) {
      yield group;
      [group, bytes] = [[], 0];
    }
    group.push(layer);
    bytes += own;
  }
  if (group.length > 0) yield group;
}

/** Runs the model batch by batch, and gives the vectors of each reading. */
export async function eachBatch(
  model: Model,
  readings: readonly Reading[],
  shapes: Shapes,
  samples: Samples,
  take: (reading: Reading, vectors: { readonly data: Float64Array; readonly count: number }) => Promise<void>,
): Promise<void> {
  const values = [...new Set(readings.map(({ value }) => value))];
  const perSample = perSampleOf(readings, shapes);
  const part = tapped(model, values);
  await using session = await openSession(part.model, samples.session);
  const randoms = new Map(
    readings.map((reading) => [readingKey(reading), new Random(samples.seed, readingKey(reading))]),
  );
  for (const indices of batchesOf(samples, perSample)) {
    const { feeds } = await samples.feeder.feeds(indices);
    const outputs = part.named(await session.run(feeds));
    for (const reading of readings) {
      const tensor = outputs[reading.value];
      if (tensor === undefined) throw new ModelError(`'${reading.value}' did not come out of the run`);
      const count = vectorCount(reading, tensor.shape);
      const share = shareOf(reading, count, indices.length, samples);
      const chosen = chosenColumns(count, share, randoms.get(readingKey(reading)) as Random);
      await take(reading, await vectorsOf(reading, tensor, chosen));
    }
    // The thread is blocked while the model runs: let signals and timers through.
    await new Promise(setImmediate);
  }
}

/** Numbers that readings make of one sample. */
export function perSampleOf(readings: readonly Reading[], shapes: Shapes): number {
  return readings.reduce(
    (sum, { value, window }) =>
      sum + elements(shapes.get(value)) * (window === undefined ? 1 : elements(window.kernel)),
    0,
  );
}

/** The share of the vectors of a batch that is looked at. */
export function shareOf({ size }: Reading, count: number, batch: number, { indices }: Samples): number {
  return (enoughVectors(size) * batch) / indices.length / count;
}

/**
 * E[g gᵀ] at the outputs of layers, times the places of a sample: g is the gradient, by the output, of the model's output times a random
 * vector whose covariance is the curvature of the loss there. One backward pass a batch, by the `gradient` pass.
 *
 * @throws GradientError for a model that has no gradient
 */
export async function outputMoments(
  model: Model,
  layers: readonly Layer[],
  shapes: Shapes,
  samples: Samples,
  divergence: Divergence,
  onBatch?: (layer: string) => void,
): Promise<ReadonlyMap<Layer, Moments>> {
  const { feeder, indices } = samples;
  const readings = layers.flatMap((layer) => layer.sites.map((site) => ({ layer, reading: makingOf(site) })));
  const perSample = readings.reduce((sum, { reading }) => sum + elements(shapes.get(reading.value)), 0);
  const most = Math.max(1, Math.min(16, Math.floor(RUN_BYTES / (16 * Math.max(1, perSample)))));
  const batch = feeder.batch ?? Math.min(most, indices.length);
  const { copy, zeros } = withZeros(
    model,
    readings.map(({ reading }) => reading),
    shapes,
    batch,
  );
  const made = await gradient(copy, {
    loss: 'dot',
    output: divergence.output,
    wrt: [...zeros.values()].map(({ name }) => name),
    batch,
    batchNorm: 'inference',
    dropout: 'inference',
    dims: divergence.dims,
  });
  const sums = new Map(layers.map((layer) => [layer, new MomentSum(layer.outputs)]));
  const random = new Random(samples.seed, 'curvature');
  await using teacher = await openSession(partOf(model, [made.prediction]), samples.session);
  await using session = await openSession(made.model, samples.session);
  const empty = new Map([...zeros].map(([value, { name, shape }]) => [value, { name, shape }]));
  const known = new Set(session.inputs.map(({ name }) => name));
  for (let start = 0; start + batch <= indices.length; start += batch) {
    const { feeds } = await feeder.feeds(indices.slice(start, start + batch));
    const output = (await teacher.run(feeds))[made.prediction];
    if (output === undefined) throw new ModelError(`'${made.prediction}' did not come out of the run`);
    const target = divergence.probe(output, random);
    const nothing = Object.fromEntries(
      [...empty.values()].map(({ name, shape }) => [
        name,
        { type: 'float32', shape, data: new Float32Array(elements(shape)) } as const,
      ]),
    );
    const all = { ...feeds, ...nothing, [made.target ?? '']: target };
    const given = Object.fromEntries(Object.entries(all).filter(([name]) => known.has(name)));
    const results = await session.run(given);
    for (const { layer, reading } of readings) {
      const zero = zeros.get(reading.value);
      const g = results[made.gradients.get(zero?.name ?? '') ?? ''];
      if (g === undefined) continue;
      const count = vectorCount(reading, g.shape);
      const { data } = await vectorsOf(reading, g, undefined);
      // The mean over vectors, times the places of a sample.
      await sums.get(layer)?.add(data, count, count / batch);
    }
    onBatch?.(layers[0]?.name ?? '');
    await new Promise(setImmediate);
  }
  return new Map([...sums].map(([layer, sum]) => [layer, sum.moments(`the gradient at '${layer.name}'`)]));
}

/** A copy in which zeros are added to values: the gradients by these are those by the values. */
function withZeros(
  model: Model,
  readings: readonly Reading[],
  shapes: Shapes,
  batch: number,
): {
  readonly copy: Model;
  readonly zeros: ReadonlyMap<string, { readonly name: string; readonly shape: readonly number[] }>;
} {
  const copy = model.clone();
  const { graph } = copy;
  const zeros = new Map<string, { readonly name: string; readonly shape: readonly number[] }>();
  for (const { value } of readings) {
    if (zeros.has(value)) continue;
    const node = graph.producer(value);
    const one = shapes.get(value);
    if (node === undefined || one === undefined) throw new ModelError(`'${value}' is made by no node`);
    const shape = one.map((dim, axis) => (axis === 0 ? dim * batch : dim));
    const name = copy.freshName(`${value}/zero`);
    const inner = copy.freshName(`${value}/before`);
    graph.addInput(ValueInfo.tensor(name, 'float32', shape));
    const { opType, domain, inputs, outputs } = node;
    graph.edit({
      removeNodes: [node],
      insertNodes: [
        {
          template: node.proto,
          opType,
          domain,
          name: node.name,
          inputs,
          outputs: outputs.map((output) => (output === value ? inner : output)),
          attributeProtos: node.proto.attribute ?? [],
        },
        {
          opType: 'Add',
          name: copy.freshName(`${node.label}/probe`),
          inputs: [inner, name],
          outputs: [value],
        },
      ],
    });
    zeros.set(value, { name, shape });
  }
  return { copy, zeros };
}
