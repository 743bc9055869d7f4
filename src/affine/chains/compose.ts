import type { Floats } from '../../linalg/floats.js';
import { batchedMatmul, type Matrix, matmul } from '../../linalg/matmul.js';
import { countGarbage } from '../../runtime/garbage.js';
import { evaluateConstant } from '../../runtime/session/constant.js';
import { composeBatches, composeKernels, composeTransposed } from './compose-kernels.js';
import { inputsOf, isBatched, isKernelChain, isSpatial, type Link, outputsOf } from './link.js';

/** The one weight and bias that a chain multiplies out to. */
export interface Composition {
  /**
   * Elements in the orientation of the chain's last node, row-major; a convolution's in its own layout. Computed when
   * asked for, in parts that need not be in memory together.
   */
  readonly weight: AsyncIterable<Floats>;
  /** Bias of what stands before the last node's own, per output; undefined where there is none. */
  readonly bias: Float64Array | undefined;
}

/** A matrix of a product: as it is stored, or the transpose of that. */
interface Factor {
  readonly rows: number;
  readonly columns: number;
  readonly isTransposed: boolean;
  /** Some of the stored rows. */
  load(start: number, count: number): Matrix;
}

/**
 * Multiplies a chain out, in float64: who rounds the product sees what is lost.
 *
 * For a convolution the carrier of kernel, stride and padding may stand anywhere in the chain:
 * W[m, c, k] = sum_h A[m, o] K[o, h, k] B[h, c] with the products of the 1x1 factors behind (A) and before it (B).
 */
export async function compose(links: readonly Link[]): Promise<Composition> {
  const bias = await composeBias(links);
  return { weight: weightOf(links, 'float64'), bias };
}

async function* weightOf(links: readonly Link[], out: 'float32' | 'float64'): AsyncGenerator<Floats> {
  const { site } = links.at(-1) as Link;
  if (isKernelChain(links)) yield composeKernels(links);
  else if (site.op === 'Conv') yield* composeConvolutions(links, out);
  else if (site.op === 'ConvTranspose') yield composeTransposed(links, out);
  else if (isBatched(site)) yield composeBatches(links, out);
  else yield* composeMatrices(links, out);
}

/** The weight's elements as a matrix in stored form, Gemm's alpha multiplied in (but not that of the last). */
async function storedMatrix(link: Link): Promise<Matrix> {
  const { site } = link;
  const tensor = await evaluateConstant(site.weight.graph, site.weight.value);
  return { rows: site.rows, columns: site.columns, data: tensor.floats() };
}

async function* composeMatrices(links: readonly Link[], out: 'float32' | 'float64'): AsyncGenerator<Floats> {
  const last = links.at(-1) as Link;
  const scale = links.slice(0, -1).reduce((product, link) => product * alphaOf(link), 1);
  // In x out in the order of application, or its transpose in reverse order, as the result is stored.
  const isOutIn = last.site.orientation === 'out-in';
  const ordered = isOutIn ? [...links].reverse() : links;
  const factors: Factor[] = [];
  for (const link of ordered) {
    const { rows, columns, weight, orientation } = link.site;
    const tensor = await evaluateConstant(weight.graph, weight.value);
    factors.push({
      rows,
      columns,
      isTransposed: orientation !== last.site.orientation,
      load: (start, count) => ({
        rows: count,
        columns,
        data: tensor.floats(start * columns, count * columns),
      }),
    });
  }
  for await (const part of multiplyChain(factors, out)) {
    if (scale !== 1) for (let i = 0; i < part.length; i += 1) (part[i] as number) *= scale;
    yield part;
  }
}

/** Bytes of the last product that are computed at a time. */
const PART_BYTES = 96 << 20;

/** Multiplies matrices in the order that costs the fewest multiply-adds; the last product comes in blocks of rows. */
async function* multiplyChain(
  factors: readonly Factor[],
  out: 'float32' | 'float64',
): AsyncGenerator<Floats> {
  const columnsOf = (factor: Factor): number => (factor.isTransposed ? factor.rows : factor.columns);
  const list = [...factors];
  while (list.length > 2) {
    // Contract the largest inner dimension first: optimal up to rare ties for the few factors of a chain.
    let at = 0;
    for (let i = 1; i < list.length - 1; i += 1) {
      if (columnsOf(list[i] as Factor) > columnsOf(list[at] as Factor)) at = i;
    }
    const product = await multiply(list[at] as Factor, list[at + 1] as Factor, 'float64');
    const { columns, data } = product;
    list.splice(at, 2, {
      ...product,
      isTransposed: false,
      load: (start, count) => ({
        rows: count,
        columns,
        data: data.subarray(start * columns, (start + count) * columns),
      }),
    });
  }
  const [a, b] = [list[0] as Factor, list[1] as Factor];
  if (a.isTransposed) {
    yield (await multiply(a, b, out)).data;
    return;
  }
  const right = b.load(0, b.rows);
  const step = Math.max(1, Math.floor(PART_BYTES / (8 * Math.max(a.columns, columnsOf(b)))));
  for (let start = 0; start < a.rows; start += step) {
    const left = a.load(start, Math.min(step, a.rows - start));
    const { data } = await matmul(left, right, { transposeB: b.isTransposed, out });
    countGarbage(left.data.byteLength);
    yield data;
  }
  countGarbage(right.data.byteLength);
}

function multiply(a: Factor, b: Factor, out: 'float32' | 'float64'): Promise<Matrix> {
  return matmul(a.load(0, a.rows), b.load(0, b.rows), {
    transposeA: a.isTransposed,
    transposeB: b.isTransposed,
    out,
  });
}

async function* composeConvolutions(
  links: readonly Link[],
  out: 'float32' | 'float64',
): AsyncGenerator<Floats> {
  const carrierAt = links.findIndex((link) => isSpatial(link.site));
  const at = Math.max(carrierAt, 0);
  const carrier = links[at] as Link;
  const { groups } = carrier.site;
  const behind = links.slice(at).reverse();
  const before = links.slice(0, at);
  // A K: the carrier's matrix is (channels per group) x (inputs per group * kernel).
  let product = await groupedProduct(behind, groups, before.length === 0 ? out : 'float64');
  if (before.length > 0) {
    const b = await groupedProduct([...before].reverse(), groups, 'float64');
    product = await contractInputs(product, b, carrier, groups, out);
  }
  countGarbage(product.data.byteLength);
  yield product.data;
}

/** Product of convolutions' matrices, leftmost first, group by group; the result's groups stand one behind the other. */
async function groupedProduct(
  links: readonly Link[],
  groups: number,
  out: 'float32' | 'float64',
): Promise<Matrix> {
  let product: Matrix | undefined;
  for (const [i, link] of links.entries()) {
    const factor = await storedMatrix(link);
    if (product === undefined) {
      product = factor;
      continue;
    }
    const type = i === links.length - 1 ? out : 'float64';
    product = await multiplyGroups(product, factor, groups, type);
  }
  if (product === undefined) throw new RangeError('a chain without factors');
  return product;
}

async function multiplyGroups(
  a: Matrix,
  b: Matrix,
  groups: number,
  out: 'float32' | 'float64',
): Promise<Matrix> {
  if (groups === 1) return matmul(a, b, { out });
  const { data } = await batchedMatmul(
    { batch: groups, rows: a.rows / groups, columns: a.columns, data: a.data },
    { batch: groups, rows: b.rows / groups, columns: b.columns, data: b.data },
    { out },
  );
  return { rows: a.rows, columns: b.columns, data };
}

/** W[m][c, k] = sum_h B[h, c] K[m][h, k] within each group: a product for each output channel. */
async function contractInputs(
  kernel: Matrix,
  before: Matrix,
  carrier: Link,
  groups: number,
  out: 'float32' | 'float64',
): Promise<Matrix> {
  const hidden = carrier.site.weight.shape[1] ?? 0;
  const taps = kernel.columns / hidden;
  const channels = kernel.rows / groups;
  const inputs = before.columns;
  const parts: (Float32Array | Float64Array)[] = [];
  for (let group = 0; group < groups; group += 1) {
    const { data } = await batchedMatmul(
      {
        batch: 1,
        rows: hidden,
        columns: inputs,
        data: before.data.subarray(group * hidden * inputs, (group + 1) * hidden * inputs),
      },
      {
        batch: channels,
        rows: hidden,
        columns: taps,
        data: kernel.data.subarray(
          group * channels * kernel.columns,
          (group + 1) * channels * kernel.columns,
        ),
      },
      { transposeA: true, out },
    );
    parts.push(data);
  }
  const total = parts.reduce((sum, part) => sum + part.length, 0);
  const data = out === 'float64' ? new Float64Array(total) : new Float32Array(total);
  let offset = 0;
  for (const part of parts) {
    data.set(part, offset);
    offset += part.length;
  }
  return { rows: kernel.rows, columns: inputs * taps, data };
}

export function alphaOf(link: Link): number {
  return link.site.op === 'Gemm' ? link.node.attributes.float('alpha', 1) : 1;
}

/** The biases before the last node, carried through the factors behind them (the last node's own is not in it). */
async function composeBias(links: readonly Link[]): Promise<Float64Array | undefined> {
  let bias: Float64Array | undefined;
  for (const [i, link] of links.entries()) {
    if (bias !== undefined) bias = await carry(bias, link);
    if (i === links.length - 1) return bias;
    const own = await ownBias(link);
    if (own !== undefined) {
      const before = bias;
      bias = before === undefined ? own : own.map((value, j) => value + (before[j] as number));
    }
  }
  return undefined;
}

/** The bias of a node as a vector over its outputs, Gemm's beta multiplied in; undefined where it is absent or zero. */
export async function ownBias(link: Link): Promise<Float64Array | undefined> {
  if (link.bias === undefined) return undefined;
  const values = (await evaluateConstant(link.bias.graph, link.bias.value)).floats();
  const beta = link.site.op === 'Gemm' ? link.node.attributes.float('beta', 1) : 1;
  const outputs = outputsOf(link.site);
  const vector = Float64Array.from(
    { length: outputs },
    (_, i) => beta * (values[values.length === 1 ? 0 : i] as number),
  );
  return vector.some((value) => value !== 0) ? vector : undefined;
}

/** What a constant vector over the inputs of a node adds to its outputs. */
async function carry(bias: Float64Array, link: Link): Promise<Float64Array> {
  const { site } = link;
  const matrix = await storedMatrix(link);
  const { groups } = site;
  const perGroup = bias.length / groups;
  const taps = site.op === 'Conv' ? inputsOf(site) / perGroup : 1;
  // Without padding every tap of the kernel sees the same constant.
  const spread =
    taps === 1
      ? bias
      : Float64Array.from({ length: bias.length * taps }, (_, i) => bias[Math.floor(i / taps)] as number);
  const column: Matrix = { rows: spread.length, columns: 1, data: spread };
  const alpha = alphaOf(link);
  const product =
    groups === 1
      ? await matmul(matrix, column, { transposeA: site.orientation === 'in-out' })
      : await multiplyGroups(matrix, column, groups, 'float64');
  return Float64Array.from(product.data, (value) => alpha * value);
}
