import { ModelError } from '../../graph/index.js';

/** @throws ModelError unless 0 <= value < 1 */
export function checkShare(value: number, name: string): number {
  if (value >= 0 && value < 1) return value;
  throw new ModelError(`${name} must be from 0 to below 1, not ${value}`);
}

/** @throws ModelError unless the number is finite and at least `least` (or, if `isAbove`, above it) */
export function checkLeast(value: number, name: string, least = 0, isAbove = false): number {
  if (Number.isFinite(value) && (isAbove ? value > least : value >= least)) return value;
  throw new ModelError(`${name} must be ${isAbove ? 'above' : 'at least'} ${least}, not ${value}`);
}
