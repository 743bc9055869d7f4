import type { SiteFactor } from '../../affine/chains/site-layout.js';
import {
  type FactorSize,
  factorShape,
  inputsPerGroup,
  outputsPerGroup,
  taps,
} from '../../affine/chains/site-size.js';
import type { LinearSite } from '../../affine/linear-sites.js';
import type { FloatType, Tensor } from '../../graph/index.js';
import type { Sizes } from '../../linalg/even-scales.js';
import type { Floats } from '../../linalg/floats.js';
import { swapped } from '../../linalg/floats.js';
import type { MatrixSource } from '../../linalg/gram-eigen.js';
import type { Matrix } from '../../linalg/matmul.js';
import { evaluateConstant } from '../../runtime/constants/constant.js';
import { countGarbage, release } from '../../runtime/garbage.js';
import type { FactorMatrix } from './factorize.js';

/**
 * The weight as one matrix a group: out x (in * kernel), or in x out where the site stores it so; of a transposed
 * convolution (in * kernel) x out, so that the factor that reads the input has the kernel, as in a convolution. A single
 * one is not held in between, and read again where it is gone.
 */
export async function matricesOf(site: LinearSite): Promise<{ type: FloatType; matrices: MatrixSource[] }> {
  const { groups } = site;
  const tensor = await evaluateConstant(site.weight.graph, site.weight.value);
  const type = tensor.dataType as FloatType;
  const length = (site.rows * site.columns) / groups;
  const { rows, columns } = matrixShape(site);
  const values = groups === 1 ? undefined : whole(tensor);
  let read: WeakRef<Floats> | undefined;
  const single = (): Floats => {
    const known = read?.deref();
    if (known !== undefined) return known;
    const floats = whole(tensor);
    read = new WeakRef(floats);
    return floats;
  };
  const stored = tensor.rawSource;
  // What is read from a file is in nobody else's memory.
  const isOwn = stored?.inFile?.(0, stored.length) !== undefined;
  const letGo = (): void => {
    if (isOwn) release(read?.deref());
    read = undefined;
  };
  const matrices = Array.from({ length: groups }, (_, group) => {
    const load = (): Matrix =>
      blockOf(site, values?.subarray(group * length, (group + 1) * length) ?? single());
    return { rows, columns, load, letGo };
  });
  return { type, matrices };
}

/** Reads a weight, and makes room for it first. */
function whole(tensor: Tensor): Floats {
  countGarbage(tensor.byteLength);
  return tensor.floats();
}

/** The matrix of a group, as matricesOf gives it, from its part of the weight as it is stored. */
export function blockOf(site: LinearSite, stored: Floats): Matrix {
  return { ...matrixShape(site), data: site.op === 'ConvTranspose' ? kernelInside(site, stored) : stored };
}

/** Rows and columns of the matrix of a group, as matricesOf gives it. */
export function matrixShape(site: LinearSite): { readonly rows: number; readonly columns: number } {
  if (site.op !== 'ConvTranspose') return { rows: site.rows / site.groups, columns: site.columns };
  return { rows: inputsPerGroup(site) * taps(site.kernel), columns: outputsPerGroup(site) };
}

/** [in, out, kernel] as [in, kernel, out]. */
function kernelInside(site: LinearSite, data: Floats): Floats {
  return swapped(data, inputsPerGroup(site), outputsPerGroup(site), taps(site.kernel));
}

/** The blocks of the groups, matrices as matricesOf gives them, as the tensor of one factor. */
export function siteFactor(site: LinearSite, blocks: readonly FactorMatrix[], size: FactorSize): SiteFactor {
  const data = joined(blocks);
  const shape = factorShape(site, size);
  const last = blocks.at(-1);
  if (site.op !== 'ConvTranspose')
    return { shape, data, zeros: (last?.zeroRows ?? 0) * (last?.columns ?? 0) };
  return { shape, data: swapped(data, site.groups * size.inputs, taps(size.kernel), size.outputs) };
}

function joined(blocks: readonly Matrix[]): Floats {
  const [first] = blocks;
  if (first !== undefined && blocks.length === 1) return first.data;
  const length = blocks.reduce((sum, block) => sum + block.data.length, 0);
  const isDouble = blocks.some((block) => block.data instanceof Float64Array);
  const out = isDouble ? new Float64Array(length) : new Float32Array(length);
  let offset = 0;
  for (const block of blocks) {
    out.set(block.data, offset);
    offset += block.data.length;
  }
  return out;
}

/** Sizes of a matrix as matricesOf gives it, as of outputs and inputs: all taps of an input channel read the same numbers. */
export function channelSquares(site: LinearSite, { rows, columns }: Sizes): Sizes {
  const [outputs, each] = site.orientation === 'out-in' ? [rows, columns] : [columns, rows];
  const width = taps(site.kernel);
  const inputs = new Float64Array(each.length / width);
  for (let channel = 0, at = 0; channel < inputs.length; channel += 1)
    for (const end = at + width; at < end; at += 1) (inputs[channel] as number) += each[at] as number;
  return { rows: outputs, columns: inputs };
}
