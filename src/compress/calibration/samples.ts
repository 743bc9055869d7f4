import { type Feeder, randomFeeder, sampleFeeder } from '../../analysis/embeddings/embedding-source.js';
import { type Model, ModelError } from '../../graph/index.js';
import { isOpen, type SessionOptions } from '../../runtime/index.js';
import { Random } from '../../runtime/random.js';
import type { Dataset } from '../../training/types.js';

/** The samples that a model is calibrated on. */
export interface Samples {
  readonly feeder: Feeder;
  /** Their indices. */
  readonly indices: readonly number[];
  readonly seed: number;
  readonly session: Pick<SessionOptions, 'providers' | 'device' | 'threads'>;
}

/** How large values are for one sample. */
export type Shapes = ReadonlyMap<string, readonly number[]>;

/** Samples that are held back, at most. */
const MOST_CHECKED = 512;

/** Samples of the data, drawn at random; without data one batch of random numbers, which shapes follow from. */
export async function samplesOf(
  model: Model,
  data: Dataset | undefined,
  {
    samples,
    seed,
    providers,
    device,
    threads,
  }: Samples['session'] & { readonly samples: number; readonly seed: number },
): Promise<Samples> {
  const session = { providers, device, threads };
  if (data === undefined) {
    const feeder = await randomFeeder(model, { seed });
    return { feeder, indices: Array.from({ length: feeder.batch ?? 1 }, (_, i) => i), seed, session };
  }
  const feeder = await sampleFeeder(model, data);
  return { feeder, indices: chosen(feeder, samples, seed, model.path), seed, session };
}

/** The sizes that samples give the open dimensions of inputs, but the first: a gradient has fixed sizes. */
export async function dimsOf(
  { graph }: Model,
  { feeder, indices }: Samples,
): Promise<Readonly<Record<string, number>>> {
  const { feeds } = await feeder.feeds(indices.slice(0, feeder.batch ?? 1));
  const dims: Record<string, number> = {};
  for (const { name, shape = [] } of graph.inputs)
    for (const [axis, dim] of shape.entries()) {
      const size = feeds[name]?.shape[axis];
      if (axis > 0 && isOpen(dim) && size !== undefined) dims[`${name}[${axis}]`] = size;
    }
  return dims;
}

export interface Divided {
  /** What factors are fitted to. */
  readonly fitting: Samples;
  /** What they are tried on. */
  readonly checking: Samples;
}

/** Holds back a fifth of the samples, at most so many, for trials; none where there are few. */
export function divided(samples: Samples, hasData: boolean): Divided {
  const { indices, feeder } = samples;
  const batch = feeder.batch ?? 1;
  const fifth = Math.min(MOST_CHECKED, Math.floor(indices.length / 5));
  const count = fifth - (fifth % batch);
  if (!hasData || count < Math.max(8, batch)) return { fitting: samples, checking: samples };
  return {
    fitting: { ...samples, indices: indices.slice(count) },
    checking: { ...samples, indices: indices.slice(0, count) },
  };
}

/** Whether data has classes as targets. */
export function hasLabels(data: object): boolean {
  const { target } = data as { readonly target?: { readonly type: string } };
  return target !== undefined && /^u?int/.test(target.type);
}

/** Numbers that all values of a model take for one sample, about. */
export function largest(shapes: Shapes): number {
  let sum = 0;
  for (const shape of shapes.values()) sum += shape.reduce((product, dim) => product * dim, 1);
  return sum / 4;
}

/** A random choice of samples, in their order. */
function chosen(
  { size = 0, batch = 1 }: Feeder,
  wanted: number,
  seed: number,
  file: string | undefined,
): number[] {
  const most = Math.min(wanted, size);
  const count = most - (most % batch);
  if (count < 1)
    throw new ModelError(`the data has ${size} samples, and the model takes ${batch} at a time`, { file });
  const random = new Random(seed, 'samples');
  const all = Uint32Array.from({ length: size }, (_, index) => index);
  for (let i = 0; i < count; i += 1) {
    const j = i + random.integer(size - i);
    [all[i], all[j]] = [all[j] as number, all[i] as number];
  }
  return Array.from(all.subarray(0, count));
}
