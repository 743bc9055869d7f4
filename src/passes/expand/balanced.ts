import type { FactorMatrix } from '../../affine/linear-site.js';
import { decompose, norm2, type Scaling } from '../../linalg/decompose.js';
import type { Floats } from '../../linalg/floats.js';
import type { MatrixSource } from '../../linalg/gram-eigen.js';
import { type Matrix, matmul } from '../../linalg/matmul.js';
import { semiOrthogonal } from '../../linalg/orthogonal.js';
import { countGarbage } from '../../runtime/garbage.js';
import type { Random } from '../../runtime/random.js';

/** Factors in the order of multiplication, left to right: A = F_1 F_2 ... F_depth. */
export interface Factors {
  /** Each made when it is called for, once and in this order, so that only one need be in memory. */
  readonly factors: readonly (() => FactorMatrix | Promise<FactorMatrix>)[];
  readonly rank: number;
  /** Where singular values were dropped: the sum of their squares, and of all. */
  readonly dropped?: Dropped;
  /** The outer factors have the sizes of the weight's rows and columns, and the neighbours are not balanced. */
  readonly isScaled?: boolean;
}

export interface Dropped {
  readonly dropped: number;
  readonly all: number;
}

/** What the largest `kept` of singular values leave out, in squares. */
export function droppedPart(values: Float64Array, kept: number): Dropped {
  const squares = (part: Float64Array): number => part.reduce((sum, value) => sum + value * value, 0);
  return { dropped: squares(values.subarray(kept)), all: squares(values) };
}

export interface BalancedSettings {
  readonly depth: number;
  readonly hidden: number;
  /** Machine epsilon of the weight's type. */
  readonly epsilon: number;
  /** Drop the smallest singular values where there are more than `hidden`: the best approximation of that rank. */
  readonly allowLossy: boolean;
  readonly scaling?: Scaling;
}

/** Which of the factors reads the input: the last of out x in matrices, the first of in x out ones. */
export type Orientation = 'out-in' | 'in-out';

/**
 * Balanced factors: F_1 = P s^(1/k), F_i = s^(1/k), F_k = s^(1/k) Q^T, so that each pair of neighbours satisfies
 * W_{i+1}^T W_{i+1} = W_i W_i^T on the rank of A, the manifold that gradient flow preserves (Arora, Cohen & Hazan,
 * "On the Optimization of Deep Networks", 2018, eq. 7). Hidden units beyond the rank have random incoming weights of
 * the same size, input by input, and zero outgoing ones to units within and to the outputs: they change nothing and are not dead.
 *
 * @returns undefined factors when the rank of A does not fit into `hidden`
 */
export async function balancedFactors(
  a: MatrixSource,
  orientation: Orientation,
  { depth, hidden, epsilon, allowLossy, scaling }: BalancedSettings,
  random: Random,
): Promise<Factors | { readonly rank: number; readonly factors: undefined }> {
  const decomposition = await decompose(a, epsilon, scaling);
  const rank = decomposition.values.length;
  if (rank > hidden && !allowLossy) return { rank, factors: undefined };
  const root = decomposition.values.map((value) => value ** (1 / depth));
  const kept = root.subarray(0, hidden);
  const size = Math.sqrt(kept.reduce((sum, value) => sum + value * value, 0) / Math.max(1, kept.length));
  const first = async (): Promise<Matrix> =>
    widenColumns(
      leadingColumns(await decomposition.left(root), hidden),
      hidden,
      orientation === 'in-out' ? random : undefined,
      size,
    );
  const middle = (): Matrix => middleFactor(kept, hidden, random, size);
  const last = async (): Promise<FactorMatrix> => {
    const right = leadingRows(await decomposition.right(root), hidden);
    decomposition.letGo?.();
    return widenRows(right, hidden, orientation === 'out-in' ? random : undefined, size);
  };
  const factors = [first, ...Array.from({ length: depth - 2 }, () => middle), last];
  return {
    rank,
    factors,
    isScaled: decomposition.isScaled === true,
    ...(rank > hidden && { dropped: droppedPart(decomposition.values, hidden) }),
  };
}

function leadingRows(matrix: Matrix, most: number): Matrix {
  if (matrix.rows <= most) return matrix;
  return { rows: most, columns: matrix.columns, data: matrix.data.subarray(0, most * matrix.columns) };
}

function leadingColumns(matrix: Matrix, most: number): Matrix {
  const { rows, columns } = matrix;
  if (columns <= most) return matrix;
  const data = emptyLike(matrix.data, rows * most);
  for (let i = 0; i < rows; i += 1) data.set(matrix.data.subarray(i * columns, i * columns + most), i * most);
  return { rows, columns: most, data };
}

/**
 * The weight itself as the factor that reads the input, identities for the rest; hidden units beyond the outputs
 * have random incoming weights and zero outgoing ones.
 *
 * @returns undefined factors when there are more outputs than hidden units
 */
export function identityFactors(
  a: MatrixSource,
  orientation: Orientation,
  depth: number,
  hidden: number,
  random: Random,
): Factors | { readonly rank: number; readonly factors: undefined } {
  const outputs = orientation === 'out-in' ? a.rows : a.columns;
  if (outputs > hidden) return { rank: outputs, factors: undefined };
  const inputs = orientation === 'out-in' ? a.columns : a.rows;
  const ones = new Float64Array(outputs).fill(1);
  const reader = (): Matrix => {
    const weight = a.load();
    const size = norm2(weight.data) / Math.sqrt(Math.max(1, Math.min(outputs, inputs)));
    return orientation === 'out-in'
      ? widenRows(weight, hidden, random, size)
      : widenColumns(weight, hidden, random, size);
  };
  const middle = Array.from({ length: depth - 2 }, () => () => middleFactor(ones, hidden, random, 1));
  const writer = (): Matrix => {
    const identity: Matrix = { rows: outputs, columns: outputs, data: diagonal(ones) };
    return orientation === 'out-in'
      ? widenColumns(identity, hidden, undefined, 0)
      : widenRows(identity, hidden, undefined, 0);
  };
  return {
    rank: outputs,
    factors: orientation === 'out-in' ? [writer, ...middle, reader] : [reader, ...middle, writer],
  };
}

function diagonal(values: Float64Array): Float64Array {
  const n = values.length;
  const data = new Float64Array(n * n);
  for (let i = 0; i < n; i += 1) data[i * n + i] = values[i] as number;
  return data;
}

/**
 * hidden x hidden: diag(values), and a random block between the units beyond them. Those read one another alone: if
 * they read the units within, W^T W of these would no longer be balanced.
 */
export function middleFactor(values: Float64Array, hidden: number, random: Random, size: number): Matrix {
  const rank = values.length;
  const data = new Float64Array(hidden * hidden);
  for (let i = 0; i < rank; i += 1) data[i * hidden + i] = values[i] as number;
  const deviation = (size || 1) / Math.sqrt(Math.max(1, hidden - rank));
  for (let i = rank; i < hidden; i += 1)
    random.fillNormal(data.subarray(i * hidden + rank, (i + 1) * hidden), deviation);
  return { rows: hidden, columns: hidden, data };
}

/** Adds rows up to `rows`: zero, or (incoming weights) random with the norm `size`, columns as large among one another as they are. */
function widenRows(matrix: Matrix, rows: number, random: Random | undefined, size: number): FactorMatrix {
  if (matrix.rows === rows) return matrix;
  const { columns } = matrix;
  const zeroRows = random === undefined ? rows - matrix.rows : 0;
  const data = emptyLike(matrix.data, rows * columns, (rows - zeroRows) * columns);
  data.set(matrix.data);
  if (random !== undefined) {
    const squares = new Float64Array(columns);
    for (let i = 0; i < matrix.rows; i += 1) {
      for (let j = 0; j < columns; j += 1)
        squares[j] = (squares[j] as number) + (matrix.data[i * columns + j] as number) ** 2;
    }
    const deviations = shares(squares, size);
    random.fillNormal(data.subarray(matrix.rows * columns));
    for (let i = matrix.rows; i < rows; i += 1) {
      for (let j = 0; j < columns; j += 1)
        data[i * columns + j] = (data[i * columns + j] as number) * (deviations[j] as number);
    }
  }
  return { rows, columns, data, zeroRows };
}

/** Adds columns up to `columns`: zero, or (incoming weights) random with the norm `size`, rows as large among one another as they are. */
function widenColumns(matrix: Matrix, columns: number, random: Random | undefined, size: number): Matrix {
  if (matrix.columns === columns) return matrix;
  const { rows } = matrix;
  const data = emptyLike(matrix.data, rows * columns);
  const row = (i: number) => matrix.data.subarray(i * matrix.columns, (i + 1) * matrix.columns);
  const deviations =
    random &&
    shares(
      Float64Array.from({ length: rows }, (_, i) => norm2(row(i)) ** 2),
      size,
    );
  for (let i = 0; i < rows; i += 1) {
    data.set(row(i), i * columns);
    random?.fillNormal(data.subarray(i * columns + matrix.columns, (i + 1) * columns), deviations?.[i]);
  }
  return { rows, columns, data };
}

/**
 * Standard deviations of the weights by which a random hidden unit reads each input, so that its norm is `size`: in the
 * proportions of the units within. An input that has small weights there may be a large one, which weights of one size would
 * make too large.
 */
function shares(squares: Float64Array, size: number): Float64Array {
  const all = squares.reduce((sum, square) => sum + square, 0);
  return squares.map((square) =>
    all > 0 && all < Infinity ? size * Math.sqrt(square / all) : (size || 1) / Math.sqrt(squares.length),
  );
}

/** @param used elements that are going to be written: the system has no memory for the others */
function emptyLike(data: Floats, length: number, used = length): Floats {
  countGarbage(data.BYTES_PER_ELEMENT * used);
  return data instanceof Float64Array ? new Float64Array(length) : new Float32Array(length);
}

type Factor = () => Matrix | Promise<Matrix>;

/**
 * Turns the hidden units between the factors of a product by random rotations: F_1 O_1, O_1^T F_2 O_2, …, which leaves the
 * product as it was, and neighbours balanced: O^T W_{i+1}^T W_{i+1} O = O^T W_i W_i^T O. Each factor then is orthonormal
 * columns times its singular values times orthonormal rows, as it was, but not the identity on either side.
 *
 * A factor with more columns than hidden units that is read by one behind it has a kernel of columns / hidden taps, the
 * units outside.
 *
 * @param factors in the order of multiplication; each is called once and in this order
 * @param parts hidden units that are turned among themselves, one behind the other
 */
export function rotateHidden(
  factors: readonly Factor[],
  parts: readonly number[],
  isDouble: boolean,
  random: Random,
): Factor[] {
  const out = isDouble ? 'float64' : 'float32';
  let before: Matrix | undefined;
  return factors.map((factor, i) => async () => {
    let turned = await factor();
    if (before !== undefined) turned = await matmul(before, turned, { transposeA: true, out });
    before = undefined;
    if (i === factors.length - 1) return turned;
    before = await blockRotation(parts, random);
    return turnColumns(turned, before, out);
  });
}

async function blockRotation(parts: readonly number[], random: Random): Promise<Matrix> {
  const [first = 0, ...others] = parts;
  if (others.length === 0) return semiOrthogonal(first, first, true, random);
  const size = parts.reduce((sum, part) => sum + part, 0);
  const data = new Float64Array(size * size);
  let start = 0;
  for (const part of parts) {
    const block = await semiOrthogonal(part, part, true, random);
    for (let i = 0; i < part; i += 1)
      data.set(block.data.subarray(i * part, (i + 1) * part), (start + i) * size + start);
    start += part;
  }
  return { rows: size, columns: size, data };
}

async function turnColumns(matrix: Matrix, rotation: Matrix, out: 'float32' | 'float64'): Promise<Matrix> {
  const hidden = rotation.rows;
  const taps = matrix.columns / hidden;
  if (taps === 1) return matmul(matrix, rotation, { out });
  const inside = exchanged(matrix.data, matrix.rows, hidden, taps);
  const { data } = await matmul({ rows: matrix.rows * taps, columns: hidden, data: inside }, rotation, {
    out,
  });
  return { ...matrix, data: exchanged(data, matrix.rows, taps, hidden) };
}

/** [rows, a, b] as [rows, b, a]. */
function exchanged(
  data: Float32Array | Float64Array,
  rows: number,
  a: number,
  b: number,
): Float32Array | Float64Array {
  const made = new Float64Array(data.length);
  for (let row = 0; row < rows; row += 1) {
    for (let i = 0; i < a; i += 1) {
      for (let j = 0; j < b; j += 1) made[(row * b + j) * a + i] = data[(row * a + i) * b + j] as number;
    }
  }
  return made;
}
