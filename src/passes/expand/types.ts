import type { SiteFactor } from '../../affine/chains/site-layout.js';
import type { Tensor } from '../../graph/index.js';
import type { NormStatistics } from './norm-statistics.js';

/** What factorizing finds out about a weight. */
export interface Finding {
  /** The largest of the groups'; undefined where the weight does not matter. */
  readonly rank: number | undefined;
  /** ‖W - product‖F / ‖W‖F of a factorization that drops singular values; undefined of one that does not. */
  readonly error: number | undefined;
}

/** The weights of a chain. */
export interface SiteFactors extends Finding {
  /**
   * To be made in this order, each once, with their places in the order of application: they need not be in memory
   * together.
   */
  readonly factors: readonly FactorMaker[];
  /** Of the plan's learned connections, in their order. */
  readonly projections: readonly SiteFactor[];
  /** Of the plan's normalizations, in their order. */
  readonly norms: readonly NormStatistics[];
  /** What the factors are without, and why. */
  readonly without: readonly string[];
  /** What the product is to be compared with; undefined of fresh weights and with noise. */
  readonly probe: WeightProbe | undefined;
}

/** A weight that is made when it is called for. */
export interface FactorMaker {
  readonly index: number;
  /** What is made is nobody else's: no view of the weight itself, say. */
  readonly isOwn?: boolean;
  make(): Promise<SiteFactor>;
}

/** The largest ‖w - p‖ / ‖w‖ of a row or column w of a weight and p of the product of its factors. */
export interface WeightProbe {
  /**
   * @param factors in the order of application, as they are stored
   * @returns NaN where something is out of range
   */
  errorOf(factors: readonly Tensor[], norms: readonly NormStatistics[]): Promise<number>;
}
