import type { Matrix } from '../../linalg/matmul.js';
import type { Random } from '../../runtime/random.js';

interface Channels {
  readonly outputs: number;
  readonly inputs: number;
}

/**
 * Adds units to the two ends of a factor [outputs, inputs * taps]. Those at its input are not read by the units within;
 * those at its output read the added ones alone, or the ones within where none were added, by random weights of the size of
 * the factor's own. Nothing changes, and no unit is dead.
 */
export function widen(
  factor: Channels & { readonly taps: number; readonly data: Float32Array | Float64Array },
  to: Channels,
  random: Random,
): Matrix {
  const { outputs, inputs, taps, data } = factor;
  const columns = to.inputs * taps;
  if (to.outputs === outputs && to.inputs === inputs) return { rows: outputs, columns, data };
  const wide = new Float64Array(to.outputs * columns);
  let square = 0;
  for (let o = 0; o < outputs; o += 1) {
    const row = data.subarray(o * inputs * taps, (o + 1) * inputs * taps);
    wide.set(row, o * columns);
    for (const value of row) square += value * value;
  }
  // The norm of a row of the factor, on the average.
  const norm = Math.sqrt(square / Math.max(1, outputs)) || 1;
  const from = to.inputs > inputs ? inputs * taps : 0;
  const deviation = norm / Math.sqrt(columns - from);
  for (let o = outputs; o < to.outputs; o += 1) {
    random.fillNormal(wide.subarray(o * columns + from, (o + 1) * columns), deviation);
  }
  return { rows: to.outputs, columns, data: wide };
}
