import { each, type Family } from './traits.js';

/** Operators on sequences, optional values, signals and texts, and those with graphs in them. */
export const OTHER = {
  ...each(['If', 'Loop'], {}),
  Scan: { rewritten: [9] },
  ...each(
    [
      ...(['SequenceConstruct', 'SequenceEmpty', 'SequenceErase', 'SequenceInsert'] as const),
      ...(['SequenceMap', 'SplitToSequence', 'Optional'] as const),
    ],
    { makesNoTensor: true },
  ),
  ...each(['ConcatFromSequence', 'SequenceAt', 'SequenceLength'], {}),
  ...each(['OptionalGetElement', 'OptionalHasElement'], {}),
  DFT: { rewritten: [20] },
  STFT: {},
  ...each(['RegexFullMatch', 'StringNormalizer', 'StringSplit', 'TfIdfVectorizer'], {}),
} satisfies Family;
