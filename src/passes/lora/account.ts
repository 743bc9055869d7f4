import type { Skipped } from '../../graph/skipped.js';
import type { LoraInit } from './options.js';

/** One layer that has an adapter beside it. */
export interface AdaptedLayer {
  readonly node: string;
  readonly op: string;
  readonly weight: string;
  /** As PEFT calls it. */
  readonly module: string;
  readonly outputs: number;
  readonly inputs: number;
  readonly rank: number;
  /** What the product of the factors is multiplied by. */
  readonly scale: number;
  /** How the factors began; 'given' where the adapter was there already. */
  readonly init: LoraInit | 'given';
  /** Elements of the weight; 0 where a layer before shares it. */
  readonly parameters: number;
  /** Elements of the factors; 0 where a layer before shares them. */
  readonly trained: number;
  /** Names of the nodes of the adapter. */
  readonly nodes: readonly string[];
}

/** What addAdapters returns: which layers have adapters now, and which were skipped and why. */
export interface AddAdaptersAccount {
  readonly rewritten: readonly AdaptedLayer[];
  readonly skipped: readonly Skipped[];
  /** Modules of given adapters that were not applied, and why. */
  readonly unapplied: readonly { readonly module: string; readonly reason: string }[];
  /** Patterns that matched no layer: most likely misspelt. */
  readonly unmatched: readonly string[];
  /** Calls of the model's own functions that were replaced by their nodes, since a weight is passed to them. */
  readonly inlined: readonly string[];
}
