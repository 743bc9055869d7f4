import { type Floats, joined } from '../../linalg/floats.js';
import { batchedMatmul, type Matrix, matmul } from '../../linalg/matmul.js';
import { evaluateConstant } from '../../runtime/session/constant.js';
import type { Link } from './link.js';
import { inputsPerGroup, outputsPerGroup, taps } from './site-size.js';

type Out = 'float32' | 'float64';

/** Products of a chain of MatMul nodes with batches of matrices, matrix by matrix, as the site stores them. */
export async function composeBatches(links: readonly Link[], out: Out): Promise<Floats> {
  const isOutIn = links[0]?.site.orientation === 'out-in';
  const ordered = isOutIn ? [...links].reverse() : links;
  let product: (Matrix & { readonly batch: number }) | undefined;
  for (const [i, link] of ordered.entries()) {
    const { groups: batch, rows, columns } = link.site;
    const factor = { batch, rows: rows / batch, columns, data: await valuesOf(link) };
    const type = i === ordered.length - 1 ? out : 'float64';
    product = product === undefined ? factor : await batchedMatmul(product, factor, { out: type });
  }
  return elementsOf(product);
}

/**
 * The kernel of a chain of transposed convolutions of which one has a kernel, stride and padding and the others mix
 * channels: W[c, o, k] = sum_{h, g} A[c, h] K[h, g, k] B[g, o] within each group.
 */
export async function composeTransposed(links: readonly Link[], out: Out): Promise<Floats> {
  let product: Matrix | undefined;
  let kernel = 1;
  const groups = links[0]?.site.groups ?? 1;
  const parts: Floats[] = [];
  for (let group = 0; group < groups; group += 1) {
    product = undefined;
    kernel = 1;
    for (const [i, link] of links.entries()) {
      const [inputs, outputs, own] = [
        inputsPerGroup(link.site),
        outputsPerGroup(link.site),
        taps(link.site.kernel),
      ];
      const length = inputs * outputs * own;
      const data = (await valuesOf(link)).subarray(group * length, (group + 1) * length);
      const type = i === links.length - 1 ? out : 'float64';
      if (product === undefined) {
        product = { rows: inputs, columns: outputs * own, data };
      } else {
        // (c, k) x h times h x (g, l), with one tap in k or in l.
        const turned = swapped(product.data, product.rows, inputs, kernel);
        const left = { rows: product.rows * kernel, columns: inputs, data: turned };
        const { data: made } = await matmul(
          left,
          { rows: inputs, columns: outputs * own, data },
          { out: type },
        );
        const columns = outputs * own * kernel;
        product = { rows: product.rows, columns, data: swapped(made, product.rows, kernel, outputs * own) };
      }
      kernel *= own;
    }
    parts.push(elementsOf(product));
  }
  return joined(parts);
}

/**
 * The kernel of a chain of convolutions of stride 1 before its last kernel: W[m, c, a + b] = sum_h R[m, h, b] L[h, c, a].
 *
 * @param factorOf elements to be taken instead of a link's own
 */
export async function composeKernels(
  links: readonly Link[],
  factorOf: (link: Link) => Floats | undefined = () => undefined,
): Promise<Floats> {
  const groups = links[0]?.site.groups ?? 1;
  const parts: Floats[] = [];
  for (let group = 0; group < groups; group += 1) {
    let kernel: Kernel | undefined;
    for (const link of links) {
      const [inputs, outputs] = [inputsPerGroup(link.site), outputsPerGroup(link.site)];
      const extents = link.site.kernel;
      const length = inputs * outputs * taps(extents);
      const data = (factorOf(link) ?? (await valuesOf(link))).subarray(group * length, (group + 1) * length);
      const own = { inputs, outputs, extents, data };
      kernel = kernel === undefined ? own : await convolved(kernel, own);
    }
    parts.push(elementsOf(kernel));
  }
  return joined(parts);
}

/** The extents that a chain of kernels composes to. */
export function composedKernel(links: readonly Link[]): number[] {
  const first = links[0]?.site.kernel ?? [];
  return first.map((_, axis) => links.reduce((sum, { site }) => sum + (site.kernel[axis] as number) - 1, 1));
}

/** A kernel [outputs, inputs, ...extents]. */
interface Kernel {
  readonly inputs: number;
  readonly outputs: number;
  readonly extents: readonly number[];
  readonly data: Floats;
}

async function convolved(left: Kernel, right: Kernel): Promise<Kernel> {
  const { inputs } = left;
  const { outputs } = right;
  const extents = left.extents.map((extent, axis) => extent + (right.extents[axis] as number) - 1);
  const [leftTaps, rightTaps, size] = [taps(left.extents), taps(right.extents), taps(extents)];
  const data = new Float64Array(outputs * inputs * size);
  const before = { rows: left.outputs, columns: inputs * leftTaps, data: left.data };
  for (let b = 0; b < rightTaps; b += 1) {
    const one = Float64Array.from(
      { length: outputs * left.outputs },
      (_, at) => right.data[at * rightTaps + b] as number,
    );
    const product = await matmul({ rows: outputs, columns: left.outputs, data: one }, before);
    const places = Array.from({ length: leftTaps }, (_, a) => placeOf(a, b, left.extents, right.extents));
    for (let row = 0; row < outputs * inputs; row += 1) {
      for (let a = 0; a < leftTaps; a += 1) {
        const at = row * size + (places[a] as number);
        data[at] = (data[at] as number) + (product.data[row * leftTaps + a] as number);
      }
    }
  }
  return { inputs, outputs, extents, data };
}

/** Where in the composed kernel, row-major, the tap a of one and b of the other meet. */
function placeOf(a: number, b: number, left: readonly number[], right: readonly number[]): number {
  let place = 0;
  let scale = 1;
  for (let axis = left.length - 1; axis >= 0; axis -= 1) {
    const [l, r] = [left[axis] as number, right[axis] as number];
    place += scale * ((a % l) + (b % r));
    scale *= l + r - 1;
    a = Math.floor(a / l);
    b = Math.floor(b / r);
  }
  return place;
}

async function valuesOf({ site }: Link): Promise<Floats> {
  return (await evaluateConstant(site.weight.graph, site.weight.value)).floats();
}

/** [rows, a, b] as [rows, b, a]. */
function swapped(data: Floats, rows: number, a: number, b: number): Floats {
  if (a === 1 || b === 1) return data;
  const made = data instanceof Float64Array ? new Float64Array(data.length) : new Float32Array(data.length);
  for (let row = 0; row < rows; row += 1) {
    for (let i = 0; i < a; i += 1) {
      for (let j = 0; j < b; j += 1) made[(row * b + j) * a + i] = data[(row * a + i) * b + j] as number;
    }
  }
  return made;
}

function elementsOf(made: { readonly data: Floats } | undefined): Floats {
  if (made === undefined) throw new RangeError('a chain without factors');
  return made.data;
}
