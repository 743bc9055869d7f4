import { type FactorSize, type LinearSite, taps } from '../../affine/linear-site.js';
import type { Tensor } from '../../graph/index.js';
import { type Blocks, fileSource, PROBES, probe } from '../../linalg/kernels/index.js';
import { countGarbage } from '../../runtime/garbage.js';
import { NORM_EPSILON, type NormStatistics } from './normalization.js';
import { type ChainPlan, factorSizes, type Skip, tapOf } from './plan.js';

/**
 * A chain, connections and normalizations included, as a linear map of the patch that one output sees, and its transpose. A
 * value is PROBES vectors of (channels * places), of all groups.
 */
export class ChainMap {
  readonly #site: LinearSite;
  readonly #plan: ChainPlan;
  readonly #factors: readonly Tensor[];
  readonly #alpha: number;
  readonly #sizes: readonly FactorSize[];
  /** Of each value, from the input's on: the extents that are left of the kernel. */
  readonly #extents: readonly (readonly number[])[];
  /** What the normalization behind each factor multiplies channels by. */
  readonly #gains: readonly (Float64Array | undefined)[];

  constructor(
    site: LinearSite,
    plan: ChainPlan,
    factors: readonly Tensor[],
    norms: readonly NormStatistics[],
    alpha: number,
  ) {
    this.#site = site;
    this.#plan = plan;
    this.#factors = factors;
    this.#alpha = alpha;
    this.#sizes = factorSizes(site, plan);
    const extents: (readonly number[])[] = [site.kernel];
    for (const { kernel } of this.#sizes)
      extents.push((extents.at(-1) ?? []).map((extent, axis) => extent - (kernel[axis] ?? 1) + 1));
    this.#extents = extents;
    this.#gains = factors.map((_, i) => {
      const norm = norms.find(({ factor }) => factor === i);
      return (
        norm &&
        Float64Array.from(
          norm.scale,
          (scale, at) => scale / Math.sqrt((norm.variance[at] as number) + NORM_EPSILON),
        )
      );
    });
  }

  async forward(input: Float64Array): Promise<Float64Array> {
    const values = [input];
    for (const index of this.#factors.keys()) {
      const seen = this.#windows(index, values[index] as Float64Array);
      const made = this.#behind(index, await this.#times(index, seen, 'forward'), 'forward');
      for (const { from } of this.#skipsTo(index + 1))
        this.#addPlace(made, values[from] as Float64Array, from, index + 1, 'forward');
      values.push(made);
    }
    return values.at(-1) ?? input;
  }

  async backward(output: Float64Array): Promise<Float64Array> {
    const { depth } = this.#plan;
    const values = this.#extents.map((extents, i) => {
      const channels = (i === 0 ? this.#sizes[0]?.inputs : this.#sizes[i - 1]?.outputs) ?? 0;
      return new Float64Array(PROBES * this.#site.groups * channels * taps(extents));
    });
    values[depth]?.set(output);
    for (let index = depth - 1; index >= 0; index -= 1) {
      const above = values[index + 1] as Float64Array;
      for (const { from } of this.#skipsTo(index + 1))
        this.#addPlace(values[from] as Float64Array, above, from, index + 1, 'backward');
      const product = await this.#times(index, this.#behind(index, above, 'backward'), 'backward');
      this.#addWindows(index, values[index] as Float64Array, product);
    }
    return values[0] as Float64Array;
  }

  /** Vectors times a factor or its transpose, as it is stored. */
  async #times(index: number, vectors: Float64Array, way: Way): Promise<Float64Array> {
    const { blocks, isTransposed } = factorBlocks(
      this.#site,
      this.#factors[index] as Tensor,
      this.#sizes[index] as FactorSize,
    );
    const isOfRows = (way === 'forward') !== isTransposed;
    const { ax, aty } = await probe(blocks, isOfRows ? { x: vectors } : { y: vectors });
    return isOfRows ? ax : aty;
  }

  #skipsTo(value: number): readonly Skip[] {
    return this.#plan.skips.filter(({ to, isLearned }) => to === value && !isLearned);
  }

  /** Products at each place, (places * PROBES) x channels, as a value behind the factor, or the other way about; scaled. */
  #behind(index: number, data: Float64Array, way: Way): Float64Array {
    const gains = this.#gains[index];
    const alpha = index === this.#plan.depth - 1 ? this.#alpha : 1;
    const places = taps(this.#extents[index + 1] ?? []);
    if (gains === undefined && alpha === 1 && places === 1) return data;
    const channels = this.#site.groups * (this.#sizes[index] as FactorSize).outputs;
    const out = new Float64Array(data.length);
    for (let place = 0, product = 0; place < places; place += 1) {
      for (let p = 0; p < PROBES; p += 1) {
        for (let channel = 0; channel < channels; channel += 1, product += 1) {
          const value = (p * channels + channel) * places + place;
          const [to, from] = way === 'forward' ? [value, product] : [product, value];
          out[to] = (data[from] as number) * alpha * (gains?.[channel] ?? 1);
        }
      }
    }
    return out;
  }

  /** Adds a value to one behind it, or the other way about; the one in front has the place that the identity stands at. */
  #addPlace(target: Float64Array, source: Float64Array, from: number, to: number, way: Way): void {
    const places = taps(this.#extents[from] ?? []);
    const isOnePlace = places === taps(this.#extents[to] ?? []);
    const tap = isOnePlace ? 0 : tapOf(this.#site);
    const step = isOnePlace ? 1 : places;
    const count = (way === 'forward' ? target : source).length;
    for (let i = 0; i < count; i += 1) {
      const place = i * step + tap;
      const [into, of] = way === 'forward' ? [i, place] : [place, i];
      (target[into] as number) += source[of] as number;
    }
  }

  /** A value as (places * PROBES) x (channels * taps): what the factor sees at each place. */
  #windows(index: number, value: Float64Array): Float64Array {
    const places = taps(this.#extents[index + 1] ?? []);
    if (places === 1) return value;
    const seen = new Float64Array(
      (value.length / taps(this.#extents[index] ?? [])) * places * this.#taps(index),
    );
    this.#eachSeen(index, (to, from) => {
      seen[to] = value[from] as number;
    });
    return seen;
  }

  /** The transpose of `windows`, added to a value. */
  #addWindows(index: number, value: Float64Array, seen: Float64Array): void {
    if (taps(this.#extents[index + 1] ?? []) === 1) {
      for (const [at, number] of seen.entries()) (value[at] as number) += number;
      return;
    }
    this.#eachSeen(index, (to, from) => {
      (value[from] as number) += seen[to] as number;
    });
  }

  #taps(index: number): number {
    return taps((this.#sizes[index] as FactorSize).kernel);
  }

  #eachSeen(index: number, visit: (seen: number, value: number) => void): void {
    const { inputs, kernel } = this.#sizes[index] as FactorSize;
    const [before, after] = [this.#extents[index] ?? [], this.#extents[index + 1] ?? []];
    const [size, width, places] = [taps(before), taps(kernel), taps(after)];
    const rows = PROBES * this.#site.groups * inputs;
    for (let place = 0; place < places; place += 1) {
      const corner = placeOf(place, after);
      for (let tap = 0; tap < width; tap += 1) {
        const from = placeOf(tap, kernel).reduce(
          (sum, offset, axis) => sum * (before[axis] as number) + offset + (corner[axis] as number),
          0,
        );
        for (let row = 0; row < rows; row += 1) visit((place * rows + row) * width + tap, row * size + from);
      }
    }
  }
}

type Way = 'forward' | 'backward';

/** A factor as it is stored: out x (in * kernel) of each group, or transposed. */
function factorBlocks(
  site: LinearSite,
  tensor: Tensor,
  size: FactorSize,
): { readonly blocks: Blocks; readonly isTransposed: boolean } {
  const { groups, op, orientation } = site;
  const width = size.inputs * taps(size.kernel);
  // That of a transposed convolution is not a matrix: its outputs stand in front of the kernel.
  const inner = op === 'ConvTranspose' ? site.outInOf(tensor.floats(), size) : undefined;
  const isTransposed = orientation === 'in-out' && inner === undefined;
  const [rows, columns] = isTransposed ? [width, size.outputs] : [size.outputs, width];
  const read = (into: Float32Array | Float64Array, row: number): void => {
    const start = row * columns;
    if (inner === undefined) readElements(tensor, into, start);
    else into.set(inner.subarray(start, start + into.length));
  };
  const element = tensor.dataType === 'float64' ? 8 : 4;
  return { blocks: { count: groups, rows, columns, element, read }, isTransposed };
}

/** Elements of a tensor from a given one on, from its file where they stand there as they are. */
function readElements(tensor: Tensor, into: Float32Array | Float64Array, start: number): void {
  const type = tensor.dataType;
  const range = type === 'float32' || type === 'float64' ? tensor.inFile(start, into.length) : undefined;
  if (range !== undefined && (type === 'float32' || type === 'float64')) {
    fileSource({ ...range, type }, into.length).read(into, 0);
    range.check();
    return;
  }
  countGarbage(into.byteLength);
  into.set(tensor.floats(start, into.length));
}

/** The coordinates of an element, row by row. */
function placeOf(index: number, extents: readonly number[]): number[] {
  const place: number[] = [];
  let rest = index;
  for (const extent of [...extents].reverse()) {
    place.unshift(rest % extent);
    rest = Math.floor(rest / extent);
  }
  return place;
}
