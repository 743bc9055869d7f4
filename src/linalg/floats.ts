export type Floats = Float32Array | Float64Array;

/** Arrays end to end, in float64; one alone as it is. */
export function joined(parts: readonly Floats[]): Floats {
  const [first] = parts;
  if (first !== undefined && parts.length === 1) return first;
  const out = new Float64Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    out.set(part, offset);
    offset += part.length;
  }
  return out;
}

/** Rows and columns that are moved at a time, so that what is read and what is written stay in the cache. */
const TILE = 32;

/** [batch, a, b, inner] as [batch, b, a, inner]; the same array where that is the same. */
export function swapped(data: Floats, batch: number, a: number, b: number, inner = 1): Floats {
  if (a === 1 || b === 1) return data;
  const out = data instanceof Float64Array ? new Float64Array(data.length) : new Float32Array(data.length);
  const move = (n: number, row: number, column: number): void => {
    const [rowEnd, columnEnd] = [Math.min(a, row + TILE), Math.min(b, column + TILE)];
    for (let i = row; i < rowEnd; i += 1) {
      let from = ((n * a + i) * b + column) * inner;
      for (let j = column; j < columnEnd; j += 1) {
        const to = ((n * b + j) * a + i) * inner;
        for (let l = 0; l < inner; l += 1, from += 1) out[to + l] = data[from] as number;
      }
    }
  };
  for (let n = 0; n < batch; n += 1) {
    for (let row = 0; row < a; row += TILE)
      for (let column = 0; column < b; column += TILE) move(n, row, column);
  }
  return out;
}

/** A matrix of so many rows, transposed. */
export function transposed(data: Floats, rows: number): Floats {
  return swapped(data, 1, rows, data.length / rows);
}
