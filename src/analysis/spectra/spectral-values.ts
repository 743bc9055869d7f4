import { RESOLUTION } from './metrics.js';

/** Why a quantity is not defined for a spectrum. */
export interface Undefined {
  readonly reason: string;
}

/** Fewer eigenvalues than this say nothing about a distribution. WeightWatcher's own limit is `min_evals`, 10. */
const FEWEST_VALUES = 5;

/** What of a spectrum is known. */
export interface Resolution {
  /** Singular values below this share of the largest are not known and are taken for zero. Default RESOLUTION, 1e-7. */
  readonly resolution?: number | undefined;
}

/**
 * Singular values in descending order, checked; those that were not resolved are zero.
 *
 * @throws RangeError where a value is negative, NaN or infinite
 */
export function sortedSpectrum(values: ArrayLike<number>, resolution = 0): Float64Array {
  const s = Float64Array.from(values).sort().reverse();
  const bad = s.find((value) => !(value >= 0 && value < Number.POSITIVE_INFINITY));
  if (bad !== undefined) throw new RangeError(`${bad} is not a singular value`);
  const floor = (s[0] ?? 0) * resolution;
  for (let i = s.length - 1; i >= 0 && (s[i] as number) < floor; i -= 1) s[i] = 0;
  return s;
}

/** The resolution that is asked for, checked. */
export function resolutionOf({ resolution = RESOLUTION }: Resolution): number {
  if (!(resolution >= 0 && resolution < 1)) {
    throw new RangeError(`a resolution is a share of the largest value, from 0 to 1, not ${resolution}`);
  }
  return resolution;
}

/** Why these values have no distribution to fit, of those that exceed `floor`; undefined where they have one. */
export function tooFew(values: Float64Array, floor = 0): Undefined | undefined {
  if (values.length === 0) return { reason: 'the matrix is empty' };
  if (values.every((value) => value === 0)) return { reason: 'every singular value is zero' };
  const count = values.reduce((sum, value) => sum + (value > floor ? 1 : 0), 0);
  if (count >= FEWEST_VALUES) return undefined;
  const what = `${count} singular ${count === 1 ? 'value exceeds' : 'values exceed'} ${floor}`;
  return { reason: `only ${what}; a distribution takes at least ${FEWEST_VALUES}` };
}
