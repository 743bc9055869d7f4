import type { Node } from '../../graph/index.js';
import type { ConvSlice } from '../spectra/conv-spectrum.js';
import type { WeightData } from './weight-data.js';

/** A matrix within a tensor: element [r, c] is number start + r * rowStride + c * columnStride. */
export type Part = Omit<ConvSlice, 'offset'>;

/** What a convolution does with its weight. */
export interface ConvGeometry {
  readonly groups: number;
  readonly strides: readonly number[] | undefined;
  readonly dilations: readonly number[] | undefined;
}

/** What uses a weight: a node of a model, a module of a checkpoint. */
export type WeightUser = Pick<Node, 'label' | 'opType'>;

/** A weight matrix and what uses it. */
export interface StoredUse {
  readonly node: WeightUser;
  readonly op: string;
  readonly data: WeightData;
  /** What a person knows it by, where that is not the tensor's name. */
  readonly name?: string | undefined;
  readonly rows: number;
  readonly columns: number;
  /** Which matrix of the tensor it is; all of it where undefined. */
  readonly part?: Part | undefined;
  /** The shape of what it is, where that is not the tensor's. */
  readonly shape?: readonly number[] | undefined;
  readonly conv?: ConvGeometry | undefined;
}

/** A weight matrix that a node uses. */
export interface WeightUse extends StoredUse {
  readonly node: Node;
}

/** What a node uses of weights, and why others of its inputs are left out. */
export interface Found {
  readonly uses: readonly WeightUse[];
  readonly reasons: readonly string[];
}
