import { countGarbage } from '../runtime/garbage.js';
import type { Floats } from './floats.js';
import type { Matrix } from './matmul.js';

/** Sums of squares, or factors, of each row and each column. */
export interface Sizes {
  readonly rows: Float64Array;
  readonly columns: Float64Array;
}

/** Squared norms of the rows and columns of a matrix, in one pass. */
export function squaredSizes({ rows, columns, data }: Matrix): Sizes {
  const sizes = { rows: new Float64Array(rows), columns: new Float64Array(columns) };
  for (let i = 0, at = 0; i < rows; i += 1) {
    let sum = 0;
    for (let j = 0; j < columns; j += 1, at += 1) {
      const square = (data[at] as number) ** 2;
      sum += square;
      (sizes.columns[j] as number) += square;
    }
    sizes.rows[i] = sum;
  }
  return sizes;
}

/** Passes after which scales are taken as they are; each halves the logarithm of what is left. */
const PASSES = 12;

/**
 * Powers of two, d1 and d2, such that the largest elements of the rows and columns of D1^-1 A D2^-1 are about one (Ruiz, "A
 * scaling algorithm to equilibrate both rows and columns norms in matrices", 2001). They are exact, and d1 and d2 alike in
 * size, so that neither side of a product goes out of range before the other.
 */
export function evenScales({ rows, columns, data }: Matrix): Sizes {
  const logs = { rows: new Float64Array(rows), columns: new Float64Array(columns) };
  for (let pass = 0; pass < PASSES; pass += 1) {
    const most = {
      rows: new Float64Array(rows).fill(Number.NEGATIVE_INFINITY),
      columns: new Float64Array(columns).fill(Number.NEGATIVE_INFINITY),
    };
    for (let i = 0, at = 0; i < rows; i += 1) {
      const own = logs.rows[i] as number;
      for (let j = 0; j < columns; j += 1, at += 1) {
        const value = data[at] as number;
        if (value === 0) continue;
        const size = Math.log2(Math.abs(value)) - own - (logs.columns[j] as number);
        if (size > (most.rows[i] as number)) most.rows[i] = size;
        if (size > (most.columns[j] as number)) most.columns[j] = size;
      }
    }
    let furthest = 0;
    for (const side of ['rows', 'columns'] as const) {
      for (const [i, size] of most[side].entries()) {
        if (size === Number.NEGATIVE_INFINITY) continue;
        (logs[side][i] as number) += size / 2;
        furthest = Math.max(furthest, Math.abs(size));
      }
    }
    if (furthest < 1) break;
  }
  const shift = (mean(logs.columns) - mean(logs.rows)) / 2;
  return {
    rows: logs.rows.map((log) => 2 ** Math.round(log + shift)),
    columns: logs.columns.map((log) => 2 ** Math.round(log - shift)),
  };
}

function mean(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}

/** diag(byRow) A diag(byColumn), in an array of the same type. */
export function rescaled(
  { rows, columns, data }: Matrix,
  byRow: Float64Array | undefined,
  byColumn: Float64Array | undefined,
): Matrix {
  countGarbage(data.byteLength);
  const out: Floats =
    data instanceof Float64Array ? new Float64Array(data.length) : new Float32Array(data.length);
  for (let i = 0, at = 0; i < rows; i += 1) {
    const factor = byRow?.[i] ?? 1;
    for (let j = 0; j < columns; j += 1, at += 1) {
      out[at] = (data[at] as number) * factor * (byColumn?.[j] ?? 1);
    }
  }
  return { rows, columns, data: out };
}
