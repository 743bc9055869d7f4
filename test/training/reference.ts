import { readFileSync } from 'node:fs';
import type { OptimizerName } from '../../src/training/optimizers/index.js';
import { wave } from '../passes/gradient/networks.js';

/** What test/reference/optimizers.py recorded of PyTorch. */
export const reference = JSON.parse(
  readFileSync(new URL('../reference/optimizers.json', import.meta.url), 'utf8'),
) as {
  readonly optimizers: readonly {
    readonly name: OptimizerName;
    readonly options: Record<string, unknown>;
    readonly weightDecay: number;
    readonly shape: readonly number[];
    readonly parameters: readonly (readonly number[])[];
  }[];
  readonly clip: readonly {
    readonly limit: number;
    readonly norm: number;
    readonly gradients: readonly (readonly number[])[];
  }[];
  readonly schedules: Readonly<Record<string, readonly number[]>>;
};

/** As `gradient` there. */
export function gradientAt(step: number, shape: readonly number[]): Float64Array {
  return wave(step + 10, shape, 1.5, 0.25);
}
