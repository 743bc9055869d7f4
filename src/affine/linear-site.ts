import type { ConstantValue, FloatType, Node, Tensor } from '../graph/index.js';
import type { Sizes } from '../linalg/even-scales.js';
import { type Floats, swapped } from '../linalg/floats.js';
import type { MatrixSource } from '../linalg/gram-eigen.js';
import type { Blocks } from '../linalg/kernels/index.js';
import type { Matrix } from '../linalg/matmul.js';
import { evaluateConstant } from '../runtime/constants/constant.js';
import { countGarbage, release } from '../runtime/garbage.js';

/** Operators whose output is linear in one input, with a weight in the other. */
export const LINEAR_OPS = ['Gemm', 'MatMul', 'Conv', 'ConvTranspose'] as const;
/** An operator that can be a linear site: an element of LINEAR_OPS. */
export type LinearOp = (typeof LINEAR_OPS)[number];

/** What one factor maps, in each group. */
export interface FactorSize {
  readonly inputs: number;
  readonly outputs: number;
  readonly kernel: readonly number[];
}

/** One weight of a chain, as its node reads it. */
export interface SiteFactor {
  readonly shape: readonly number[];
  readonly data: Floats;
  /** So many elements at the end are known to be zero. */
  readonly zeros?: number;
}

/** A matrix of which so many rows at the end are known to be zero. */
export interface FactorMatrix extends Matrix {
  readonly zeroRows?: number;
}

/** Elements of a kernel. */
export function taps(kernel: readonly number[]): number {
  return kernel.reduce((product, extent) => product * extent, 1);
}

/**
 * A node whose output is linear (affine) in one input, with a constant weight, and how that weight and those of a chain in
 * its place are laid out: what a group reads and makes, matrices in, tensors out.
 *
 * @example
 * for (const { node, op, rows, columns } of findLinearSites(model).sites) console.log(node.label, op, rows, columns);
 */
export class LinearSite {
  readonly node: Node;
  readonly op: LinearOp;
  /** Which input is the weight. */
  readonly weightInput: number;
  readonly weight: ConstantValue;
  /**
   * The weight as a matrix of its elements in row-major order. 'out-in': rows are outputs (Conv: out x
   * (in/group * kernel), Gemm with transB, MatMul with the weight on the left). 'in-out': rows are inputs
   * (MatMul with the weight on the right, Gemm without transB, ConvTranspose: in x (out/group * kernel)).
   */
  readonly orientation: 'out-in' | 'in-out';
  readonly rows: number;
  readonly columns: number;
  /** Groups of a convolution, matrices of a batch; each is `rows / groups` consecutive rows of the matrix. 1 elsewhere. */
  readonly groups: number;
  /** Spatial extents of a convolution's kernel; empty elsewhere. */
  readonly kernel: readonly number[];

  constructor(
    site: Pick<
      LinearSite,
      'node' | 'op' | 'weightInput' | 'weight' | 'orientation' | 'rows' | 'columns' | 'groups' | 'kernel'
    >,
  ) {
    this.node = site.node;
    this.op = site.op;
    this.weightInput = site.weightInput;
    this.weight = site.weight;
    this.orientation = site.orientation;
    this.rows = site.rows;
    this.columns = site.columns;
    this.groups = site.groups;
    this.kernel = site.kernel;
  }

  /** The value that the node is linear in. */
  get data(): string {
    return this.node.inputs[1 - this.weightInput] ?? '';
  }

  /** Elements of the weight. */
  get size(): number {
    return this.rows * this.columns;
  }

  /** Channels that each group reads. */
  get inputs(): number {
    if (this.op === 'Conv') return this.weight.shape[1] ?? 0;
    return this.orientation === 'out-in' ? this.columns : this.rows / this.groups;
  }

  /** Channels that each group makes. */
  get outputs(): number {
    if (this.op === 'ConvTranspose') return this.weight.shape[1] ?? 0;
    return this.orientation === 'out-in' ? this.rows / this.groups : this.columns;
  }

  /** Rows and columns of the matrix of a group, as `matrices` gives it. */
  get matrixShape(): { readonly rows: number; readonly columns: number } {
    if (this.op !== 'ConvTranspose') return { rows: this.rows / this.groups, columns: this.columns };
    return { rows: this.inputs * taps(this.kernel), columns: this.outputs };
  }

  /**
   * The weight as one matrix a group: out x (in * kernel), or in x out where the site stores it so; of a transposed
   * convolution (in * kernel) x out, so that the factor that reads the input has the kernel, as in a convolution. A single
   * one is not held in between, and read again where it is gone.
   *
   * @internal
   */
  async matrices(): Promise<{ readonly type: FloatType; readonly matrices: readonly MatrixSource[] }> {
    const { groups, size, matrixShape } = this;
    const tensor = await evaluateConstant(this.weight.graph, this.weight.value);
    const type = tensor.dataType as FloatType;
    const length = size / groups;
    let values: Floats | undefined;
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
      const load = (): Matrix => {
        if (groups === 1) return this.matrixOf(single());
        values ??= whole(tensor);
        return this.matrixOf(values.subarray(group * length, (group + 1) * length));
      };
      return { ...matrixShape, load, letGo };
    });
    return { type, matrices };
  }

  /**
   * The matrices of the groups, to be read in parts from where the weight is stored; undefined where it does not stand there so.
   *
   * @internal
   */
  async blocks(): Promise<Blocks | undefined> {
    const tensor = await evaluateConstant(this.weight.graph, this.weight.value);
    if (this.op === 'ConvTranspose' || tensor.rawSource === undefined) return undefined;
    const { rows, columns } = this.matrixShape;
    return {
      count: this.groups,
      rows,
      columns,
      element: tensor.dataType === 'float64' ? 8 : 4,
      read: (into, row) => {
        countGarbage(into.byteLength);
        into.set(tensor.floats(row * columns, into.length));
      },
    };
  }

  /**
   * The matrix of a group, as `matrices` gives it, from its part of the weight as it is stored.
   *
   * @internal
   */
  matrixOf(stored: Floats): Matrix {
    const { op, inputs, outputs, kernel } = this;
    const data = op === 'ConvTranspose' ? swapped(stored, inputs, outputs, taps(kernel)) : stored;
    return { ...this.matrixShape, data };
  }

  /**
   * The shape of a factor's tensor, in the layout of the site's operator.
   *
   * @internal
   */
  factorShape({ inputs, outputs, kernel }: FactorSize): number[] {
    switch (this.op) {
      case 'Conv':
        return [this.groups * outputs, inputs, ...kernel];
      case 'ConvTranspose':
        return [this.groups * inputs, outputs, ...kernel];
      default: {
        const batch = this.weight.shape.slice(0, -2);
        return [...batch, ...(this.orientation === 'out-in' ? [outputs, inputs] : [inputs, outputs])];
      }
    }
  }

  /**
   * The tensor of a factor from the matrices of the groups, laid out as `matrices` gives them.
   *
   * @internal
   */
  factorOf(blocks: readonly FactorMatrix[], size: FactorSize): SiteFactor {
    const data = joined(blocks);
    const shape = this.factorShape(size);
    const last = blocks.at(-1);
    if (this.op !== 'ConvTranspose')
      return { shape, data, zeros: (last?.zeroRows ?? 0) * (last?.columns ?? 0) };
    return { shape, data: swapped(data, this.groups * size.inputs, taps(size.kernel), size.outputs) };
  }

  /**
   * The tensor of a factor from matrices out x (in * kernel) of the groups, consecutive.
   *
   * @internal
   */
  factorOfOutIn(data: Floats, size: FactorSize): SiteFactor {
    const shape = this.factorShape(size);
    if (this.orientation === 'out-in') return { shape, data };
    const { inputs, outputs, kernel } = size;
    return { shape, data: swapped(data, this.groups, outputs, inputs, taps(kernel)) };
  }

  /**
   * The elements of a factor's tensor as matrices out x (in * kernel) of the groups, consecutive.
   *
   * @internal
   */
  outInOf(factor: Floats, { inputs, outputs, kernel }: FactorSize): Floats {
    if (this.orientation === 'out-in') return factor;
    return swapped(factor, this.groups, inputs, outputs, taps(kernel));
  }

  /**
   * Sizes of a matrix as `matrices` gives it, as of outputs and inputs: all taps of an input channel read the same numbers.
   *
   * @internal
   */
  channelSquares({ rows, columns }: Sizes): Sizes {
    const [outputs, each] = this.orientation === 'out-in' ? [rows, columns] : [columns, rows];
    const width = taps(this.kernel);
    const inputs = new Float64Array(each.length / width);
    for (let channel = 0, at = 0; channel < inputs.length; channel += 1)
      for (const end = at + width; at < end; at += 1) (inputs[channel] as number) += each[at] as number;
    return { rows: outputs, columns: inputs };
  }
}

/** Reads a weight, and makes room for it first. */
function whole(tensor: Tensor): Floats {
  countGarbage(tensor.byteLength);
  return tensor.floats();
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
