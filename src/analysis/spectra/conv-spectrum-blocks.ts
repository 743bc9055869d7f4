/** A convolution on periodic inputs, checked. Arrays have a number for each spatial axis. */
export interface ConvTorus {
  readonly groups: number;
  /** Of each group: output and input channels. */
  readonly rows: number;
  readonly columns: number;
  readonly kernel: readonly number[];
  readonly size: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  /** size / strides */
  readonly outputs: readonly number[];
}

/** A real matrix with the singular values of the operator at one frequency (or at two that are conjugate). */
export interface Block {
  /** Row-major, m x n. */
  readonly matrix: Float64Array;
  readonly m: number;
  readonly n: number;
  /** [[A, -B], [B, A]] of a complex A + iB: the values of the frequency and of its conjugate. */
  readonly isComplex: boolean;
}

/** Frequencies between two calls of onProgress. */
const REPORT_EVERY = 16;

/** The blocks of all frequencies, one of each conjugate pair, and of all groups. */
export function* blocksOf(
  data: Float32Array | Float64Array,
  layout: ConvTorus,
  onProgress?: (progress: { done: number; total: number }) => void,
): Generator<Block> {
  const { groups, outputs, strides } = layout;
  const steps = [...grid(strides)];
  const scale = 1 / Math.sqrt(steps.length);
  const total = outputs.reduce((count, extent) => count * extent, 1);
  let done = 0;
  for (const frequency of grid(outputs)) {
    const side = compareWithConjugate(frequency, outputs);
    if (side <= 0) {
      // What the output's grid folds onto this frequency.
      const aliases = steps.map((step) =>
        frequency.map((f, axis) => f + (step[axis] as number) * (outputs[axis] as number)),
      );
      const phases = aliases.map((alias) => phasesOf(alias, layout, scale));
      const block = side === 0 ? realBlock : complexBlock;
      for (let group = 0; group < groups; group += 1) yield block(data, layout, group, phases);
    }
    done += 1;
    if (done % REPORT_EVERY === 0 || done === total) onProgress?.({ done, total });
  }
}

/** cos and sin of 2π f·t / n for each tap t of the kernel, times `scale`. */
interface Phases {
  readonly frequency: readonly number[];
  readonly cosines: Float64Array;
  readonly sines: Float64Array;
}

function phasesOf(frequency: readonly number[], layout: ConvTorus, scale: number): Phases {
  const { kernel, size, dilations } = layout;
  const angles = Float64Array.from(grid(kernel), (tap) => {
    let turns = 0;
    for (const [axis, n] of size.entries()) {
      // Whole turns go while everything is a whole number.
      const step = (frequency[axis] as number) * (tap[axis] as number) * (dilations[axis] as number);
      turns += (step % n) / n;
    }
    return 2 * Math.PI * turns;
  });
  return {
    frequency,
    cosines: angles.map((angle) => scale * Math.cos(angle)),
    sines: angles.map((angle) => scale * Math.sin(angle)),
  };
}

/** [[A, -B], [B, A]], A + iB the blocks of all aliases side by side. */
function complexBlock(
  data: Float32Array | Float64Array,
  layout: ConvTorus,
  group: number,
  phases: readonly Phases[],
): Block {
  const { rows, columns } = layout;
  const half = columns * phases.length;
  const [m, n] = [2 * rows, 2 * half];
  const matrix = new Float64Array(m * n);
  const below = rows * n;
  for (const [alias, { cosines, sines }] of phases.entries()) {
    const at = alias * columns;
    transform(data, layout, group, cosines, (row, column, value) => {
      const index = row * n + at + column;
      matrix[index] = value;
      matrix[index + below + half] = value;
    });
    transform(data, layout, group, sines, (row, column, value) => {
      const index = row * n + at + column;
      matrix[index + half] = -value;
      matrix[index + below] = value;
    });
  }
  return { matrix, m, n, isComplex: true };
}

/**
 * The block of a frequency that is its own conjugate. Aliases that are so too have real blocks A. Others come in pairs
 * [A + iB, A - iB], which a unitary change of the inputs turns into √2 [A, B].
 */
function realBlock(
  data: Float32Array | Float64Array,
  layout: ConvTorus,
  group: number,
  phases: readonly Phases[],
): Block {
  const { rows, columns, size } = layout;
  const n = columns * phases.length;
  const matrix = new Float64Array(rows * n);
  let at = 0;
  const put = (table: Float64Array, scale: number): void => {
    transform(data, layout, group, table, (row, column, value) => {
      matrix[row * n + at + column] = scale * value;
    });
    at += columns;
  };
  for (const { frequency, cosines, sines } of phases) {
    const side = compareWithConjugate(frequency, size);
    if (side === 0) put(cosines, 1);
    else if (side < 0) {
      put(cosines, Math.SQRT2);
      put(sines, Math.SQRT2);
    }
  }
  return { matrix, m: rows, n, isComplex: false };
}

/** sum_t W[row, column, t] table[t] for each element of a group. */
function transform(
  data: Float32Array | Float64Array,
  { rows, columns }: ConvTorus,
  group: number,
  table: Float64Array,
  put: (row: number, column: number, value: number) => void,
): void {
  const taps = table.length;
  let index = group * rows * columns * taps;
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      let sum = 0;
      for (let tap = 0; tap < taps; tap += 1, index += 1) {
        sum += (data[index] as number) * (table[tap] as number);
      }
      put(row, column, sum);
    }
  }
}

/** Negative where a frequency comes before its conjugate -f (mod n), 0 where it is its own, positive after. */
function compareWithConjugate(frequency: readonly number[], size: readonly number[]): number {
  for (const [axis, f] of frequency.entries()) {
    const n = size[axis] as number;
    const difference = f - ((n - f) % n);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** All positions of a grid in row-major order. */
function* grid(shape: readonly number[]): Generator<number[]> {
  const position = shape.map(() => 0);
  if (shape.includes(0)) return;
  for (;;) {
    yield [...position];
    let axis = shape.length - 1;
    while (axis >= 0 && position[axis] === (shape[axis] as number) - 1) {
      position[axis] = 0;
      axis -= 1;
    }
    if (axis < 0) return;
    position[axis] = (position[axis] as number) + 1;
  }
}
