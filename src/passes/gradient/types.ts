import type { Node } from '../../graph/index.js';
import type { Builder } from './builder.js';
import type { Value } from './value.js';

/** A product of two matrices, each as it is or transposed. */
export interface MatrixProduct {
  readonly left: Value;
  readonly right: Value;
  readonly transA: boolean;
  readonly transB: boolean;
}

/** What a rule sees of the node that it differentiates. */
export interface RuleContext {
  readonly node: Node;
  readonly build: Builder;
  /** Undefined for optional inputs that are left out. */
  readonly inputs: readonly (Value | undefined)[];
  readonly outputs: readonly (Value | undefined)[];
  /** Gradient of the loss with respect to each output; undefined where the loss does not depend on it. */
  readonly gradients: readonly (Value | undefined)[];
  /** What the rule's `forward` kept for `backward`. */
  readonly saved: readonly Value[];
  /** Is the gradient with respect to this input wanted? */
  needs(index: number): boolean;
  /** The numbers of an input that the rule lists; undefined where it is left out (or not constant, see `constants`). */
  numbers(index: number): readonly number[] | undefined;
}

/** What a forward node is replaced by when the loss is differentiated. */
export interface Rewritten {
  /** For the rule's `backward`. */
  readonly saved: readonly Value[];
  /** State that the step changes (running statistics): name of the old value, the new value. */
  readonly state?: readonly (readonly [old: string, next: Value])[];
}

/** What a rule's `forward` sees of the node that it makes anew. */
export interface ForwardContext {
  readonly node: Node;
  readonly build: Builder;
  readonly inputs: readonly (Value | undefined)[];
  readonly outputs: readonly (Value | undefined)[];
  readonly mode: Mode;
  /** Does an input depend on what is differentiated by? */
  varies(index: number): boolean;
  numbers(index: number): readonly number[] | undefined;
}

/** How layers that differ between training and inference are differentiated. */
export interface Mode {
  /** 'training': statistics of the batch, running statistics updated; 'inference': the stored statistics. */
  readonly batchNorm: 'training' | 'inference';
  /** 'training': elements are dropped at the node's ratio; 'inference': none are. */
  readonly dropout: 'training' | 'inference';
}

/**
 * The vector-Jacobian product of one operator: from the gradients of its outputs to those of its inputs.
 *
 * A gradient may be smaller than its value: a dimension of size 1 stands for the same number all along it
 * ("lazy"), as ReduceSum's gradient does. Rules that take such gradients as they are say so; others get them in full.
 */
export interface Rule {
  /** The inputs that a gradient passes through; default the first. */
  readonly through?: readonly number[] | 'all';
  /** Small inputs (axes, bounds, ratios) whose numbers the rule reads. */
  readonly structural?: readonly number[];
  /** Small inputs whose numbers the rule reads where they are constant, and does without where not. */
  readonly constants?: readonly number[];
  /** Inputs that a node's outputs do not depend on: what reaches them has no gradient from there. */
  ignores?(node: Node): readonly number[];
  /** Outputs that carry no gradient: masks and indices. */
  readonly inert?: readonly number[];
  /** Takes lazy gradients as they are. */
  readonly lazy?: boolean;
  /** What it makes of channels in blocks it makes in blocks, backward too. */
  readonly inBlocks?: boolean;
  /** True for a node of this operator whose derivative is zero almost everywhere. */
  stops?(node: Node): boolean;
  /** Why a node of this operator cannot be differentiated, from its attributes alone. */
  refuses?(node: Node): string | undefined;
  /** Makes the node anew, with what `backward` needs. Undefined leaves it as it is. */
  forward?(context: ForwardContext): Rewritten | undefined;
  backward(context: RuleContext): readonly (Value | undefined)[] | Promise<readonly (Value | undefined)[]>;
}

/** A rule that a program brings; see defineGradient. */
export interface OwnRule extends Rule {
  /** The inputs in which a node of the operator takes what is trained; default none. */
  readonly weights?: readonly number[] | undefined;
}
