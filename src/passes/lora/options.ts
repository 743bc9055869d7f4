import type { LinearOp } from '../../affine/linear-site.js';
import {
  checkOptions,
  type DescriptorsFor,
  defaultsOf,
  type OptionDescriptors,
  OptionError,
} from '../../graph/option-descriptors.js';
import type { OnProgress } from '../account.js';
import { EXPAND_OPTIONS } from '../expand/options.js';
import type { LoraFactors } from './adapter-file.js';

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

/** How adapters begin. */
export const LORA_INITS = ['zero', 'pissa'] as const;
/** How adapters begin: an element of LORA_INITS. */
export type LoraInit = (typeof LORA_INITS)[number];

/** What is settled for all adapters that addAdapters makes. */
export interface LoraSettings {
  /** Rank of each adapter, >= 1. */
  readonly rank?: number;
  /** The adapter's product is multiplied by alpha / rank; default the rank, so by 1. */
  readonly alpha?: number | undefined;
  /**
   * 'zero': A uniform within ± 1 / √inputs (times the taps of a kernel), the last factor zero, so that the model computes what it did and
   * its weights stay byte for byte (Hu et al. 2021, arXiv 2106.09685). 'pissa': the factors hold the leading singular directions, and the
   * layer's weight what is left, W - scale * B A (Meng et al. 2024, arXiv 2404.02948).
   */
  readonly init?: LoraInit;
  /** Scale alpha / √rank in place of alpha / rank (Kalajdzievski 2023, arXiv 2312.03732). */
  readonly rsLora?: boolean;
  /** Three factors, with a rank x rank one in the middle (Yaras et al. 2024, arXiv 2406.04112). */
  readonly deep?: boolean;
  /** The factors are inputs of the model too, so that onnxruntime can put an `.onnx_adapter` in their place. */
  readonly inputs?: boolean;
}

/** Options of addAdapters. */
export interface AddAdaptersOptions extends LoraSettings {
  /** Patterns: only the layers the name of whose node, weight or module matches one; default all. */
  readonly only?: readonly string[];
  /** Patterns: no layer the name of whose node, weight or module matches one. */
  readonly exclude?: readonly string[];
  /** Only layers of these operators; default all. MatMulNBits counts as a MatMul. */
  readonly ops?: readonly LinearOp[];
  /** Only layers whose weight has at least so many elements. */
  readonly minSize?: number;
  readonly seed?: number;
  /** Adapters that are there already, to be put beside the layers of their names; rank, alpha and init are theirs. */
  readonly adapters?: readonly LoraFactors[] | undefined;
  /** The account says what would be done, the model is not changed. */
  readonly dryRun?: boolean;
  readonly onProgress?: OnProgress | undefined;
}

/** The settings of adapters that one value describes. */
export const LORA_SETTINGS = {
  rank: {
    kind: 'integer',
    min: 1,
    max: 65536,
    default: 8,
    help: 'low-rank adapters of this rank beside the layers in place of chains; only they are trained',
  },
  alpha: {
    kind: 'number',
    above: 0,
    defaultHelp: 'the rank',
    help: 'the product of an adapter is multiplied by alpha / rank',
  },
  init: {
    kind: 'choice',
    choices: LORA_INITS,
    default: 'zero',
    help: 'how adapters start. zero: they change nothing and the weights stay byte for byte; pissa: the leading singular directions, which are taken out of the weights',
  },
  rsLora: { kind: 'flag', help: 'multiply by alpha / √rank' },
  deep: { kind: 'flag', help: 'adapters of three factors, with a rank x rank one in the middle' },
  inputs: {
    kind: 'flag',
    help: 'the factors of adapters are also inputs of the model, where onnxruntime puts those of an .onnx_adapter',
  },
} as const satisfies DescriptorsFor<LoraSettings>;

const { only, exclude, ops, minSize, seed } = EXPAND_OPTIONS;

/** The options of addAdapters that one value describes. */
export const ADD_ADAPTERS_OPTIONS = {
  ...LORA_SETTINGS,
  only,
  exclude,
  ops,
  minSize,
  seed,
} as const satisfies OptionDescriptors;

/** The defaults of AddAdaptersOptions. */
export const ADD_ADAPTERS_DEFAULTS: Required<AddAdaptersOptions> = {
  ...defaultsOf(ADD_ADAPTERS_OPTIONS),
  adapters: undefined,
  dryRun: false,
  onProgress: undefined,
};

/**
 * Options with their defaults.
 *
 * @throws OptionError for those out of range, and for settings that existing adapters have themselves
 */
export function addAdaptersSettings(options: AddAdaptersOptions): Required<AddAdaptersOptions> {
  const checked = checkOptions(ADD_ADAPTERS_OPTIONS, options);
  const { adapters, dryRun = false, onProgress } = options;
  const own = (['rank', 'alpha', 'init', 'rsLora', 'deep'] as const).find(
    (key) => checked[key] !== undefined,
  );
  if (adapters !== undefined && own !== undefined)
    throw new OptionError(own, 'is settled by the adapters that are given');
  return { ...ADD_ADAPTERS_DEFAULTS, ...checked, adapters, dryRun, onProgress };
}
