import { each, type Family } from './traits.js';

/** Operators on sequences, optional values, signals and texts, and those with graphs in them. */
export const OTHER = {
  ...each(['If', 'Loop', 'Scan', 'SequenceMap'], {}),
  ...each(
    [
      ...([
        'ConcatFromSequence',
        'SequenceAt',
        'SequenceConstruct',
        'SequenceEmpty',
        'SequenceErase',
      ] as const),
      ...(['SequenceInsert', 'SequenceLength', 'SplitToSequence'] as const),
      ...(['Optional', 'OptionalGetElement', 'OptionalHasElement'] as const),
    ],
    {},
  ),
  DFT: { rewritten: [20] },
  STFT: {},
  ...each(['RegexFullMatch', 'StringNormalizer', 'StringSplit', 'TfIdfVectorizer'], {}),
} satisfies Family;
