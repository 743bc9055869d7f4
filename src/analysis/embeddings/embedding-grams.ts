import { isFloatType, type Model, type NodeSpec, widen } from '../../graph/index.js';
import { gram } from '../../linalg/index.js';
import { openSession, type ProviderChoice, type RuntimeTensor, type Session } from '../../runtime/index.js';
import { partOf } from '../../runtime/session/part.js';
import type { Feeder } from './embedding-source.js';

/** A value of each sample, flattened. */
export interface SampleLayout {
  /** Shape of the value of one sample. */
  readonly shape: readonly number[];
  readonly features: number;
  /** Which axis of the value is the batch; undefined where the whole value belongs to the samples of a fixed batch of 1. */
  readonly axis: number | undefined;
}

/** The Gram matrix of the values of all samples. */
export interface ValueGram {
  readonly value: string;
  readonly layout: SampleLayout;
  /** N x N. */
  readonly gram: Float64Array;
}

export interface GramsOptions {
  readonly samples: readonly number[];
  /** Most bytes of embeddings that are kept at a time. */
  readonly memory: number;
  readonly providers?: ProviderChoice | undefined;
  readonly device?: number | undefined;
  readonly onBatch?:
    | ((progress: { readonly done: number; readonly total: number; readonly what: string }) => void)
    | undefined;
}

/** Outputs of one run are at most about so large. */
const RUN_BYTES = 96 << 20;
const MOST_PER_RUN = 64;

/**
 * How the values of a model lie in memory: where their batch axis is, found by running it on one and on two samples
 * so that only shapes come out; or, of a model with a fixed batch, by its size.
 */
export async function findLayouts(
  model: Model,
  values: readonly string[],
  feeder: Feeder,
  options: Pick<GramsOptions, 'providers' | 'device' | 'samples'>,
): Promise<Map<string, SampleLayout | { readonly reason: string }>> {
  const names = values.map((value) => model.freshName(`${value}/shape`));
  const append = values.map(
    (value, index): NodeSpec => ({ opType: 'Shape', inputs: [value], outputs: [names[index] as string] }),
  );
  const part = partOf(model, names, { append });
  // Optimized, it would take over what the file says of shapes.
  await using session = await openSession(part, { ...options, optimization: 'disabled', arena: false });
  const shapesOf = async (count: number): Promise<number[][]> => {
    const { feeds } = await feeder.feeds(options.samples.slice(0, count));
    const shapes = await session.run(feeds);
    return names.map((name) => Array.from((shapes[name]?.data ?? []) as ArrayLike<bigint>, Number));
  };
  const { batch } = feeder;
  const one = await shapesOf(batch ?? 1);
  const two = batch === undefined && options.samples.length > 1 ? await shapesOf(2) : undefined;
  return new Map(
    values.map((value, index) => [value, layoutOf(one[index] ?? [], two?.[index], batch ?? 1)] as const),
  );
}

function layoutOf(
  one: readonly number[],
  two: readonly number[] | undefined,
  batch: number,
): SampleLayout | { readonly reason: string } {
  const all = one.reduce((product, dim) => product * dim, 1);
  if (all === 0) return { reason: 'it is empty' };
  if (batch === 1 && two === undefined) return { shape: one, features: all, axis: undefined };
  const axis =
    two === undefined
      ? one.findIndex((dim) => dim % batch === 0)
      : one.findIndex((dim, at) => two[at] === 2 * dim);
  const isSame = (others: readonly number[]): boolean =>
    others.length === one.length && others.every((dim, at) => dim === one[at] || at === axis);
  if (axis < 0 || (two !== undefined && !isSame(two))) {
    const shapes = two === undefined ? `[${one.join(', ')}]` : `[${one.join(', ')}] and [${two.join(', ')}]`;
    return {
      reason: `it has no axis of samples: its shape is ${shapes}${two ? ' for one and two of them' : ''}`,
    };
  }
  const perSample = (one[axis] ?? 1) / batch;
  const shape =
    perSample === 1
      ? one.filter((_, at) => at !== axis)
      : one.map((dim, at) => (at === axis ? perSample : dim));
  return { shape, features: all / batch, axis };
}

/** Some features of one value, whose embeddings fit into memory. */
interface Piece {
  readonly value: string;
  readonly layout: SampleLayout;
  readonly from: number;
  readonly to: number;
}

/**
 * The Gram matrices of values over all samples, one after the other. The embeddings of as many values as fit into
 * memory are collected at a time, by running the part of the model that makes them; of larger ones, some features.
 *
 * @throws ModelError where the model does not run
 */
export async function* valueGrams(
  model: Model,
  layouts: ReadonlyMap<string, SampleLayout>,
  feeder: Feeder,
  options: GramsOptions,
): AsyncGenerator<ValueGram | { readonly value: string; readonly reason: string }> {
  const { samples, memory, onBatch } = options;
  const n = samples.length;
  const groups = grouped(layouts, Math.max(1, Math.floor(memory / 4 / n)));
  const runs = groups.map((group) => perRun(group, feeder.batch, n));
  const total = runs.reduce((sum, size) => sum + Math.ceil(n / size), 0);
  let done = 0;
  const grams = new Map<string, Float64Array>();
  const broken = new Set<string>();
  for (const [at, group] of groups.entries()) {
    const size = runs[at] ?? 1;
    const wanted = [...new Set(group.map(({ value }) => value))];
    const rows = group.map(
      ({ from, to }) => new Float32Array(n * (to - from)) as Float32Array | Float64Array,
    );
    await collect(model, wanted, feeder, { ...options, size }, (start, outputs) => {
      for (const [order, piece] of group.entries()) {
        const tensor = outputs[piece.value];
        if (tensor === undefined || broken.has(piece.value)) continue;
        const target = isFloatType(tensor.type) ? rowsFor(rows, order, tensor) : undefined;
        if (target === undefined || !place(target, tensor, piece, start, Math.min(size, n - start)))
          broken.add(piece.value);
      }
      onBatch?.({ done, total, what: wanted[0] ?? '' });
      done += 1;
    });
    for (const [order, { value, layout, from, to }] of group.entries()) {
      const data = rows[order] ?? new Float32Array(0);
      // Not needed any more once its products are known.
      rows[order] = new Float32Array(0);
      const own = await gram({ rows: n, columns: to - from, data }, 'rows');
      const sum = grams.get(value);
      if (sum === undefined) grams.set(value, own);
      else for (let i = 0; i < sum.length; i += 1) (sum[i] as number) += own[i] as number;
      if (to < layout.features) continue;
      const whole = grams.get(value) as Float64Array;
      grams.delete(value);
      if (broken.has(value))
        yield { value, reason: 'it is no tensor of floating-point numbers of one shape' };
      else yield { value, layout, gram: whole };
    }
  }
}

function rowsFor(
  rows: (Float32Array | Float64Array)[],
  order: number,
  { type }: RuntimeTensor,
): Float32Array | Float64Array {
  const known = rows[order] as Float32Array | Float64Array;
  if (type !== 'float64' || known instanceof Float64Array) return known;
  const wide = new Float64Array(known.length);
  rows[order] = wide;
  return wide;
}

/** Values side by side, in the order of execution, of at most `most` features together. */
function grouped(layouts: ReadonlyMap<string, SampleLayout>, most: number): Piece[][] {
  const groups: Piece[][] = [];
  let room = 0;
  for (const [value, layout] of layouts) {
    for (let from = 0; from < layout.features; from += most) {
      const to = Math.min(layout.features, from + most);
      if (to - from > room) {
        groups.push([]);
        room = most;
      }
      groups.at(-1)?.push({ value, layout, from, to });
      room -= to - from;
    }
  }
  return groups;
}

function perRun(group: readonly Piece[], batch: number | undefined, samples: number): number {
  if (batch !== undefined) return batch;
  const features = new Map(group.map(({ value, layout }) => [value, layout.features]));
  const bytes = 4 * [...features.values()].reduce((sum, count) => sum + count, 0);
  return Math.max(1, Math.min(samples, MOST_PER_RUN, Math.floor(RUN_BYTES / bytes)));
}

async function collect(
  model: Model,
  values: readonly string[],
  feeder: Feeder,
  options: GramsOptions & { readonly size: number },
  take: (start: number, outputs: Readonly<Record<string, RuntimeTensor>>) => void,
): Promise<void> {
  const { samples, size, providers, device } = options;
  // An output must be made by a node; an input of the model is none.
  const copies = values.filter((value) => model.graph.isInput(value));
  const aliases = new Map(copies.map((value) => [model.freshName(`${value}/copy`), value]));
  const append = [...aliases].map(
    ([alias, value]): NodeSpec => ({ opType: 'Identity', inputs: [value], outputs: [alias] }),
  );
  const made = [...values.filter((value) => !copies.includes(value)), ...aliases.keys()];
  await using session: Session = await openSession(partOf(model, made, { append }), { providers, device });
  for (let start = 0; start < samples.length; start += size) {
    const { feeds } = await feeder.feeds(samples.slice(start, start + size));
    const outputs = await session.run(feeds);
    take(
      start,
      Object.fromEntries(
        Object.entries(outputs).map(([name, tensor]) => [aliases.get(name) ?? name, tensor]),
      ),
    );
    // The thread is blocked while the model runs: let signals and timers through.
    await new Promise(setImmediate);
  }
}

/** Copies the features of a piece into its rows; false where the value has another shape than it had. */
function place(
  rows: Float32Array | Float64Array,
  tensor: RuntimeTensor,
  { layout, from, to }: Piece,
  start: number,
  count: number,
): boolean {
  const { axis = 0, features } = layout;
  if (tensor.data.length !== count * features || !isFloatType(tensor.type)) return false;
  const data = widen(tensor.type, tensor.data as never);
  const width = to - from;
  const outer = tensor.shape.slice(0, axis).reduce((product, dim) => product * dim, 1);
  if (outer === 1) {
    for (let i = 0; i < count; i += 1) {
      rows.set(data.subarray(i * features + from, i * features + to), (start + i) * width);
    }
    return true;
  }
  // The batch is an inner axis: a sample's features lie in `outer` runs.
  const run = features / outer;
  for (let i = 0; i < count; i += 1) {
    for (let o = Math.floor(from / run); o * run < to; o += 1) {
      const [first, last] = [Math.max(from, o * run), Math.min(to, (o + 1) * run)];
      const at = (o * count + i) * run - o * run;
      rows.set(data.subarray(at + first, at + last), (start + i) * width + first - from);
    }
  }
  return true;
}
