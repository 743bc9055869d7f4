import { checkOptions, type OptionDescriptors, OptionError } from '../../graph/option-descriptors.js';

/** The options of `extractLora` that one value describes. */
export const EXTRACT_LORA_OPTIONS = {
  rank: {
    kind: 'text',
    default: 'auto',
    help: 'rank of each adapter, or auto: the directions of its change that stand out of noise (Marchenko-Pastur)',
  },
  only: { kind: 'patterns', help: "only weights whose name or node matches: '*.q_proj.*'" },
} as const satisfies OptionDescriptors;

/** @throws OptionError for options that are out of range */
export function checkExtractOptions(options: object): number | 'auto' {
  const { rank = 'auto' } = checkOptions(EXTRACT_LORA_OPTIONS, options);
  if (rank === 'auto') return rank;
  const number = Number(rank);
  if (Number.isInteger(number) && number >= 1) return number;
  throw new OptionError('rank', `is auto or an integer from 1 on, not '${rank}'`);
}
