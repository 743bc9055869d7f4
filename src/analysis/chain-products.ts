import type { Graph, Model, Node } from '../graph/index.js';
import type { Matrix } from '../runtime/matmul.js';
import { type ChainNote, readChainNote, readPartNote } from './chain-note.js';
import { LINEAR_OPS, type LinearSite, linearSite } from './linear-sites.js';
import { evaluated, remembered, type WeightData } from './weight-data.js';
import type { ConvGeometry } from './weights.js';

/** A chain of linear nodes that stands for one, and what it multiplies out to. */
export interface ChainProduct {
  /** The weight that the chain stands for. */
  readonly weight: string;
  /** The node that it stands for; the last of the chain where that had no name. */
  readonly site: string;
  /** In the order of execution. */
  readonly nodes: readonly Node[];
  readonly op: string;
  readonly data: WeightData;
  readonly rows: number;
  readonly columns: number;
  readonly conv?: ConvGeometry | undefined;
}

/** A chain whose product is not known here, and why. */
export interface OpenChain {
  readonly node: Node;
  readonly reason: string;
}

/**
 * The chains of a model that say so in their metadata, and their products. Reads no weights.
 *
 * @example
 * const { products } = findChainProducts(await readModel('expanded.onnx'));
 */
export function findChainProducts(model: Model): { products: ChainProduct[]; open: OpenChain[] } {
  const products: ChainProduct[] = [];
  const open: OpenChain[] = [];
  const seen = new Set<string>();
  const visit = (graph: Graph): void => {
    for (const node of graph.nodes) {
      for (const subgraph of node.subgraphs) visit(subgraph);
      const note = readChainNote(node);
      if (note?.factor !== 0) continue;
      const found = productOf(node, note);
      if ('reason' in found) open.push({ node, reason: `the product of its chain: ${found.reason}` });
      else if (!seen.has(found.data.key)) {
        seen.add(found.data.key);
        products.push(found);
      }
    }
  };
  for (const graph of [model.graph, ...model.functions]) visit(graph);
  return { products, open };
}

function productOf(first: Node, note: ChainNote): ChainProduct | { readonly reason: string } {
  const sites: LinearSite[] = [];
  let node = first;
  for (;;) {
    const op = LINEAR_OPS.find((name) => node.is(name));
    const site = op && linearSite(node, op);
    if (site === undefined || 'reason' in site) return { reason: `'${node.label}' has no constant weight` };
    if (site.op === 'ConvTranspose') return { reason: 'it has a ConvTranspose' };
    sites.push(site);
    if (sites.length === note.of) break;
    const [use, ...others] = node.graph.uses(node.outputs[0] ?? '');
    if ([use, ...others].some((reader) => reader && readPartNote(reader.node) !== undefined)) {
      return { reason: 'it has residual connections or BatchNormalization; collapse it first' };
    }
    const next = use?.node && readChainNote(use.node);
    const follows =
      next?.site === note.site &&
      next.weight === note.weight &&
      next.factor === sites.length &&
      !others.length;
    if (use === undefined || !follows) {
      return { reason: `factor ${sites.length} of ${note.of} does not follow factor ${sites.length - 1}` };
    }
    node = use.node;
  }
  const shape = sites[0]?.op === 'Conv' ? convolved(sites) : multiplied(sites);
  if ('reason' in shape) return shape;
  const last = sites.at(-1) as LinearSite;
  const { rows, columns, dims, conv } = shape;
  const name = note.source?.root?.name ?? note.weight;
  const multiply = remembered(() => (conv === undefined ? multiplyMatrices(sites) : multiplyKernels(sites)));
  const data: WeightData = {
    name,
    shape: dims,
    dataType: last.weight.dataType,
    owner: sites,
    key: JSON.stringify([name, ...sites.map(({ weight }) => weight.root?.name ?? weight.value)]),
    isTransposed: false,
    read: async () => ({ data: await multiply(), isOwn: false }),
  };
  return {
    weight: name,
    site: note.site || last.node.label,
    nodes: sites.map((site) => site.node),
    op: last.op,
    data,
    rows,
    columns,
    ...(conv && { conv }),
  };
}

interface Shape {
  readonly rows: number;
  readonly columns: number;
  readonly dims: readonly number[];
  readonly conv?: ConvGeometry;
}

const outputsOf = ({ orientation, rows, columns }: LinearSite): number =>
  orientation === 'out-in' ? rows : columns;
const inputsOf = ({ orientation, rows, columns }: LinearSite): number =>
  orientation === 'out-in' ? columns : rows;

function multiplied(sites: readonly LinearSite[]): Shape | { readonly reason: string } {
  const isLeft = (site: LinearSite): boolean => site.op === 'MatMul' && site.weightInput === 0;
  for (const [i, site] of sites.entries()) {
    const before = sites[i - 1];
    if (site.op === 'Conv') return { reason: 'its factors are a convolution and a matrix product' };
    if (before === undefined) continue;
    if (outputsOf(before) !== inputsOf(site)) {
      return { reason: `${outputsOf(before)} outputs meet ${inputsOf(site)} inputs` };
    }
    if (isLeft(before) !== isLeft(site)) return { reason: 'its factors multiply from different sides' };
  }
  const [first, last] = [sites[0] as LinearSite, sites.at(-1) as LinearSite];
  const [out, inputs] = [outputsOf(last), inputsOf(first)];
  const [rows, columns] = last.orientation === 'out-in' ? [out, inputs] : [inputs, out];
  return { rows, columns, dims: [rows, columns] };
}

function convolved(sites: readonly LinearSite[]): Shape | { readonly reason: string } {
  const [first, last] = [sites[0] as LinearSite, sites.at(-1) as LinearSite];
  const axes = first.kernel.length;
  let kernel = first.kernel.map(() => 1);
  let strides = kernel;
  const dilations = kernel.map(() => 1);
  for (const [i, site] of sites.entries()) {
    const before = sites[i - 1];
    if (site.op !== 'Conv' || site.kernel.length !== axes || site.groups !== first.groups) {
      return { reason: 'its factors have different axes or groups' };
    }
    const hidden = (site.weight.shape[1] ?? 0) * site.groups;
    if (before !== undefined && before.rows !== hidden)
      return { reason: `${before.rows} outputs meet ${hidden} inputs` };
    const [own, steps] = [site.node.attributes.ints('dilations'), site.node.attributes.ints('strides')];
    for (const [axis, extent] of site.kernel.entries()) {
      if (extent === 1) continue;
      const dilation = own?.[axis] ?? 1;
      if (strides[axis] !== 1) return { reason: 'a kernel follows a stride' };
      if (kernel[axis] !== 1 && dilation !== dilations[axis])
        return { reason: 'its kernels have different dilations' };
      dilations[axis] = dilation;
    }
    kernel = kernel.map((extent, axis) => extent + (site.kernel[axis] ?? 1) - 1);
    strides = strides.map((step, axis) => step * (steps?.[axis] ?? 1));
  }
  const channels = first.weight.shape[1] ?? 0;
  return {
    rows: last.rows,
    columns: kernel.reduce((a, b) => a * b, channels),
    dims: [last.rows, channels, ...kernel],
    conv: { groups: first.groups, strides, dilations },
  };
}

async function elementsOf({ weight, node }: LinearSite): Promise<Float32Array | Float64Array> {
  return (await evaluated(weight.graph, weight.value, node, weight.value)).floats();
}

/** In the orientation of the last node. Gemm's alpha is in it, but for that of the last. */
async function multiplyMatrices(sites: readonly LinearSite[]): Promise<Float64Array> {
  const { matmul } = await import('../runtime/matmul.js');
  const last = sites.at(-1) as LinearSite;
  // Rows are inputs, in the order of execution, or outputs, in the reverse order.
  const ordered = last.orientation === 'out-in' ? [...sites].reverse() : sites;
  let product: { readonly matrix: Matrix; readonly isTransposed: boolean } | undefined;
  let scale = 1;
  for (const site of ordered) {
    const matrix: Matrix = { rows: site.rows, columns: site.columns, data: await elementsOf(site) };
    const isTransposed = site.orientation !== last.orientation;
    if (site !== last && site.op === 'Gemm') scale *= site.node.attributes.float('alpha', 1);
    if (product === undefined) product = { matrix, isTransposed };
    else {
      const transposes = { transposeA: product.isTransposed, transposeB: isTransposed };
      product = { matrix: await matmul(product.matrix, matrix, transposes), isTransposed: false };
    }
  }
  const data = Float64Array.from(product?.matrix.data ?? []);
  return scale === 1 ? data : data.map((value) => scale * value);
}

/** A convolution's weight: out x (in / groups) x taps. */
interface Kernel {
  readonly out: number;
  readonly inputs: number;
  readonly extents: readonly number[];
  readonly data: Float32Array | Float64Array;
}

async function multiplyKernels(sites: readonly LinearSite[]): Promise<Float64Array> {
  const groups = sites[0]?.groups ?? 1;
  let product: Kernel | undefined;
  for (const site of [...sites].reverse()) {
    const factor: Kernel = {
      out: site.rows,
      inputs: site.weight.shape[1] ?? 0,
      extents: site.kernel,
      data: await elementsOf(site),
    };
    product = product === undefined ? factor : await compose(product, factor, groups);
  }
  return Float64Array.from(product?.data ?? []);
}

/** The kernel of a after b: W[o, i, s + t] = sum_h A[o, h, s] B[h, i, t] in each group. */
async function compose(a: Kernel, b: Kernel, groups: number): Promise<Kernel> {
  const { matmul } = await import('../runtime/matmul.js');
  const extents = a.extents.map((extent, axis) => extent + (b.extents[axis] ?? 1) - 1);
  const [tapsA, tapsB, taps] = [a.extents, b.extents, extents].map((all) =>
    all.reduce((x, y) => x * y, 1),
  ) as [number, number, number];
  const [rows, hidden] = [a.out / groups, a.inputs];
  const width = b.inputs * tapsB;
  const data = new Float64Array(a.out * b.inputs * taps);
  for (let group = 0; group < groups; group += 1) {
    const right = {
      rows: hidden,
      columns: width,
      data: b.data.subarray(group * hidden * width, (group + 1) * hidden * width),
    };
    for (let s = 0; s < tapsA; s += 1) {
      const offset = group * rows * hidden * tapsA + s;
      const left = Float64Array.from(
        { length: rows * hidden },
        (_, i) => a.data[offset + i * tapsA] as number,
      );
      const product = await matmul({ rows, columns: hidden, data: left }, right);
      const moved = Array.from({ length: tapsB }, (_, t) => shifted(s, a.extents, t, b.extents, extents));
      for (let i = 0; i < rows * b.inputs; i += 1) {
        const from = i * tapsB;
        const to = (group * rows * b.inputs + i) * taps;
        for (let t = 0; t < tapsB; t += 1) {
          (data[to + (moved[t] as number)] as number) += product.data[from + t] as number;
        }
      }
    }
  }
  return { out: a.out, inputs: b.inputs, extents, data };
}

/** The position of the sum of two positions in the grids of two kernels. */
function shifted(
  s: number,
  extentsS: readonly number[],
  t: number,
  extentsT: readonly number[],
  extents: readonly number[],
): number {
  let index = 0;
  let stride = 1;
  for (let axis = extents.length - 1; axis >= 0; axis -= 1) {
    const [es, et] = [extentsS[axis] ?? 1, extentsT[axis] ?? 1];
    index += ((s % es) + (t % et)) * stride;
    s = Math.floor(s / es);
    t = Math.floor(t / et);
    stride *= extents[axis] ?? 1;
  }
  return index;
}
