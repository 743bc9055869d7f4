import type { DataType } from '../../graph/index.js';

/** A value of the graph that is built, with its type and its baked shape. */
export interface Value {
  readonly name: string;
  readonly type: DataType;
  readonly shape: readonly number[];
}

/** The factors of one Dropout node. */
export interface Mask extends Value {
  readonly ratio: number;
}
