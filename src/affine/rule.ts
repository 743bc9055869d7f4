import type { ConstantValue, KnownConstants, Node } from '../graph/index.js';
import type { Relabelling } from '../graph/shapes/relabelling.js';
import type { Axis, Geometry } from './map/geometry.js';
import type { AxisLayout } from './map/layout.js';
import type { Place } from './map/place.js';
import type { AffineValues } from './map/values.js';
import type { Refusal } from './refusal.js';

/**
 * What a node of a family of operators is as an affine map of one or more values; a refusal for one that could be but for
 * its operands or attributes; undefined for one that is none. Reads no weights.
 */
export type AffineRule = (
  node: Node,
  constants: KnownConstants,
) => MapOperator | RelabelOperator | Refusal | undefined;

export type AffineOperator = MapOperator | RelabelOperator;

interface Operator {
  readonly node: Node;
  /** The values in which the output is affine. */
  readonly data: readonly string[];
  /** Every constant that it computes with. */
  readonly constants: readonly ConstantValue[];
  /** Of each of `data`; absent: 1. */
  readonly signs?: readonly Sign[];
  /** Present where it mixes channels by a weight: every region but those of factors and summands alone has such a node. */
  readonly mixing?: Mixing | undefined;
  /** What it is to each element, where it leaves them all at their places: regions without a weight are made of these. */
  readonly pointwise?: 'normalization' | 'factor' | 'summand' | undefined;
  /** The constant that it adds as it stands, where that is all that it does. */
  readonly addend?: ConstantValue | undefined;
  /** How many channels it reads, where its constants tell. */
  readonly channels?: number | undefined;
  /** True where it computes statistics of its batch, which folding replaces by the running ones. */
  readonly isTraining?: boolean;
}

/** A node that gives the same elements other axes. */
export interface RelabelOperator extends Operator {
  readonly relabelling: Relabelling;
}

/** A node that is a map of channels; of several values, their sum with what it adds. */
export interface MapOperator extends Operator {
  /** True where its constants may be of another type than its data. */
  readonly mayMixTypes?: boolean;
  /** All that its numbers are made of: constants, and settings. */
  readonly details: Details;

  /**
   * Its geometry as a map of its input (of a sum, as a map of the sum of its data).
   *
   * @param channels how many channels its input has
   * @param place where its input has them
   */
  geometry(channels: number, place: Place): Geometry | Refusal;
  /** Its numbers in float64, for the geometry that it gave. */
  values(geometry: Geometry, how: ValuesHow): Promise<AffineValues>;
  /** Multiply-adds for one position of its output. */
  work(geometry: Geometry): number;
}

export type Sign = 1 | -1;

/** The weight of a node that mixes channels, and what the node adds. */
export interface Mixing {
  readonly weight: ConstantValue;
  readonly axis: Axis;
  readonly bias: ConstantValue | undefined;
  /** A bias that is no constant vector: the node can keep it, but nothing can be put behind the node. */
  readonly openBias?: string | undefined;
  /** What a Gemm multiplies its product and its bias by; 1 of others. */
  readonly alpha: number;
  readonly beta: number;
}

export interface Details {
  /** What it multiplies by. */
  readonly factors: Readonly<Record<string, unknown>>;
  /** What only that is computed of which it adds. */
  readonly summands?: Readonly<Record<string, unknown>> | undefined;
}

export interface ValuesHow {
  /** How its input lies, where its axes are parts of the channels. */
  readonly parts: AxisLayout | undefined;
  /** True for a Gemm whose alpha is left out. */
  readonly isUnscaled: boolean;
}

/** True for Identity, and Dropout in inference. */
export function isIdentity({ pointwise, data, signs, constants }: MapOperator): boolean {
  return pointwise === 'summand' && data.length === 1 && signs?.[0] !== -1 && constants.length === 0;
}
