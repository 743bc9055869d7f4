import type { Builder } from '../../passes/gradient/builder.js';
import type { MatrixProduct } from '../../passes/gradient/types.js';
import type { Value } from '../../passes/gradient/value.js';

/** What one update reads. All values are in the graph that is built. */
export interface UpdateContext {
  readonly build: Builder;
  /** The weight before the step. */
  readonly parameter: Value;
  /** Of the weight's type and shape; clipped already. */
  readonly gradient: Value;
  /** By the rule's slot names; zeros (or the rule's own start) at step 1. */
  readonly slots: Readonly<Record<string, Value>>;
  /** Scalar float32, from the schedule. */
  readonly learningRate: Value;
  /** Scalar float32: 1, 2, 3, ... */
  readonly step: Value;
  /** Weight decay of this weight: 0 for biases and norms unless asked otherwise. */
  readonly weightDecay: number;
  /** The weight has a row an input and a column an output, as in MatMul; default false: a row an output, as in Conv. */
  readonly inputsFirst?: boolean | undefined;
}

/** An optimizer as a piece of graph: one weight's update. */
export interface OptimizerRule {
  /** State kept per weight, of its shape. */
  readonly slots: readonly string[];
  /** Which of them a weight of this shape needs; default all. */
  slotsOf?(shape: readonly number[]): readonly string[];
  update(context: UpdateContext): Update;
  /**
   * The same for a gradient that is a product of two matrices and is nowhere else needed: it may never be in memory by
   * itself. Undefined where the rule needs it.
   */
  updateByProduct?(context: ProductContext): Update | undefined;
}

/** What an update makes: the new weight and the new state. */
export interface Update {
  readonly parameter: Value;
  readonly slots: Readonly<Record<string, Value>>;
}

/** What the update of a weight is built from where its gradient is left as a product of two matrices. */
export type ProductContext = Omit<UpdateContext, 'gradient'> & { readonly product: MatrixProduct };

/** A rule that leaves weight decay to `withDecay`. */
export interface BareRule extends Pick<OptimizerRule, 'slots' | 'slotsOf'> {
  update(context: Omit<UpdateContext, 'weightDecay'>): Update;
  updateByProduct?(context: Omit<ProductContext, 'weightDecay'>): Update | undefined;
}
