import type { StoredUse, WeightUser } from '../types.js';
import type { Overlooked, WeightMatrix } from '../weights.js';

/** Where the heads of a projection stand in a weight: head h is `size` outputs from `start(h)` on. */
export interface Projection {
  readonly weight: WeightMatrix<StoredUse>;
  /** The axis of the weight that the heads divide: its rows or its columns, as the weight is. */
  readonly axis: 'rows' | 'columns';
  readonly start: (head: number) => number;
}

/** The four projections of an attention layer. A query head h reads the key and value head floor(h * kvHeads / heads). */
export interface AttentionLayer {
  readonly name: string;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headSize: number;
  readonly query: Projection;
  readonly key: Projection;
  readonly value: Projection;
  /** undefined where it was not found: there is then no W_V W_O. */
  readonly output: Projection | undefined;
  /** What acts between W_Q and W_K that their product leaves out. */
  readonly leftOut: readonly string[];
}

export interface AttentionLayers {
  readonly layers: readonly AttentionLayer[];
  readonly others: readonly Overlooked<WeightUser>[];
}
