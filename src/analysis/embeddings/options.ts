import type { OptionDescriptors } from '../../graph/option-descriptors.js';

/** What values of a model are looked at: those that its linear nodes make, or those that they read. */
const EMBEDDINGS = ['outputs', 'inputs'] as const;

/** The options of `embeddingReport` that one value describes. */
export const EMBEDDING_OPTIONS = {
  samples: {
    kind: 'integer',
    min: 2,
    max: 1_000_000,
    default: 512,
    help: 'number of samples, drawn at random',
  },
  of: {
    kind: 'choice',
    choices: EMBEDDINGS,
    default: 'outputs',
    flag: 'embeddings',
    help: 'outputs of the layers with weights, or their inputs',
  },
  at: { kind: 'patterns', help: "instead, values whose name or node matches: 'layer4*'" },
} as const satisfies OptionDescriptors;
