import type { ChainOptions } from '../../passes/expand/options.js';

/** One way to train a network, all of which deploy at the same size. */
export interface Variant {
  /** How linear layers become chains; undefined of the network as it is. */
  readonly chains?: ChainOptions | undefined;
  /** Which layers become chains; default all. */
  readonly ops?: readonly ('Conv' | 'Gemm')[] | undefined;
  /** Coefficient λ of the nuclear norm of all weights but the last. */
  readonly nuclear?: number | undefined;
  /** The chains whose effective rank, at the same rate and seed, the nuclear norm is to end at: λ is searched for. */
  readonly matched?: string | undefined;
  /** The networks that it is for; default all. */
  readonly only?: StudiedNetwork | undefined;
}

export type StudiedNetwork = 'mlp' | 'cnn';

const FRESH = { init: 'fresh:kaiming' } as const;

/** By the name in settings. Chains begin at random, as in minyoungg/overparam, unless their name says otherwise. */
export const VARIANTS = {
  plain: {},
  'chain-2': { chains: { ...FRESH, depth: 2 } },
  'chain-3': { chains: { ...FRESH, depth: 3 } },
  'chain-4': { chains: { ...FRESH, depth: 4 } },
  'chain-6': { chains: { ...FRESH, depth: 6 } },
  'chain-3-wide': { chains: { ...FRESH, depth: 3, width: 2 } },
  'chain-3-balanced': { chains: { depth: 3 } },
  'chain-4-residual': { chains: { ...FRESH, depth: 4, residual: true } },
  'chain-3-convolutions': { chains: { ...FRESH, depth: 3 }, ops: ['Conv'], only: 'cnn' },
  'chain-2-kernels': { chains: { ...FRESH, depth: 2, kernelSizes: [[3, 3]] }, ops: ['Conv'], only: 'cnn' },
  'nuclear-0.0003': { nuclear: 0.0003 },
  'nuclear-0.001': { nuclear: 0.001 },
  'nuclear-0.003': { nuclear: 0.003 },
  'nuclear-0.01': { nuclear: 0.01 },
  'nuclear-as-chain-2': { matched: 'chain-2' },
  'nuclear-as-chain-3': { matched: 'chain-3' },
} as const satisfies Readonly<Record<string, Variant>>;
export type VariantName = keyof typeof VARIANTS;

export const PLAIN = 'plain' satisfies VariantName;

export function variantOf(name: string): Variant {
  return VARIANTS[name as VariantName];
}

/** Rates that are tried, as many for each optimizer; two decades around what it is used with. */
export const RATES = {
  sgd: [0.003, 0.01, 0.03, 0.1, 0.3],
  adam: [0.0001, 0.0003, 0.001, 0.003, 0.01],
  muon: [0.0003, 0.001, 0.003, 0.01, 0.03],
} as const;
export type StudiedOptimizer = keyof typeof RATES;

/** What of the variants is run with an optimizer: with all but SGD those that tell whether it is the optimizer's steps that hurt chains. */
export const STUDIED: Readonly<Record<StudiedOptimizer, readonly VariantName[]>> = {
  sgd: Object.keys(VARIANTS) as VariantName[],
  adam: [
    'plain',
    'chain-2',
    'chain-3',
    'chain-6',
    'chain-3-balanced',
    'nuclear-0.001',
    'nuclear-0.003',
    'nuclear-as-chain-3',
  ],
  muon: ['plain', 'chain-3', 'chain-3-balanced', 'nuclear-as-chain-3'],
};
