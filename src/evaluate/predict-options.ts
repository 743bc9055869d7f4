import type { OptionDescriptors } from '../graph/option-descriptors.js';

/** The options of `predictSamples` that one value describes. */
export const PREDICT_OPTIONS = {
  top: { kind: 'integer', min: 1, help: 'the N largest elements of each sample' },
  batch: { kind: 'integer', min: 1, default: 64, help: 'samples per run' },
} as const satisfies OptionDescriptors;
