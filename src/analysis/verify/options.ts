import type { OptionDescriptors } from '../../graph/option-descriptors.js';

/** The options of `verifyModels` that one value describes. */
export const VERIFY_OPTIONS = {
  samples: {
    kind: 'integer',
    min: 1,
    max: 1_000_000,
    default: 3,
    help: 'number of random inputs to compare on',
  },
  tolerance: {
    kind: 'number',
    min: 0,
    defaultHelp: '1e-4; more for 16-bit outputs',
    help: 'largest max |Δ| / max |a| that passes',
  },
} as const satisfies OptionDescriptors;
