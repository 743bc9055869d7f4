import type { OptionDescriptors } from '../../src/graph/option-descriptors.js';
import { expand } from '../../src/passes/expand/expand.js';
import { EXPAND_OPTIONS } from '../../src/passes/expand/options.js';

/** A function of the library whose options are described. */
export interface LibraryOptions {
  readonly name: string;
  readonly options: OptionDescriptors;
  /** Calls it with one option: throws, or rejects, where that is out of range. */
  readonly call: (options: object) => unknown;
  /** Options that others need to go with. */
  readonly with?: Readonly<Record<string, object>>;
}

export const LIBRARY: readonly LibraryOptions[] = [
  {
    name: 'expand',
    options: EXPAND_OPTIONS,
    call: expand,
    with: {
      gain: { init: 'fresh:normal' },
      residualIntervals: { residual: true },
      residualMode: { residual: true },
    },
  },
];
