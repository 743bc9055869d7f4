import {
  type Graph,
  isFloatType,
  type Model,
  ModelError,
  type Node,
  type Tensor,
  valuesRead,
} from '../../graph/index.js';
import { checkOption, checkOptions, OptionError } from '../../graph/option-descriptors.js';
import type { BuilderOptions } from './builder.js';
import { ABSORBED, type Loss, type LossKind } from './losses.js';
import { GRADIENT_OPTIONS, LOSS_FIELDS, LOSS_OPTIONS } from './options.js';
import type { Sizes } from './prepare/infer-shapes.js';
import type { MatrixProduct, Mode, Rule } from './types.js';
import type { Mask, Value } from './value.js';

/** Options of gradient. */
export interface GradientOptions extends Sizes, BuilderOptions {
  /** What is differentiated. A name alone stands for the loss with its defaults. */
  readonly loss: Loss | LossKind;
  /** Initializers or float inputs to differentiate by; default every trainable weight. */
  readonly wrt?: readonly string[] | undefined;
  /** The output that the loss reads (or any other value of the graph); default the first output. */
  readonly output?: string | undefined;
  /**
   * How the result takes the weights in `wrt` and the running statistics: 'inputs', for a loop that feeds them step
   * by step (default), or 'constants', as the model has them.
   */
  readonly weights?: 'inputs' | 'constants' | undefined;
  /**
   * Default 'training': normalize by the batch and update the running statistics. This holds for layers that the
   * gradient passes through; those before the first value in `wrt` stay as they are, and so with `dropout`.
   */
  readonly batchNorm?: Mode['batchNorm'] | undefined;
  /** Default 'training': drop elements. */
  readonly dropout?: Mode['dropout'] | undefined;
  /**
   * Compute the forward part a second time, segment by segment, rather than keep it for the backward part: less memory, for at most
   * a third more time (Chen et al., arXiv 1604.06174, section 3). Default false.
   */
  readonly checkpointing?: boolean | undefined;
}

/** A model that computes a loss and its gradients, and the names of what goes in and comes out. */
export interface Gradient {
  readonly model: Model;
  /** The output that is the loss, a scalar. */
  readonly loss: string;
  /** The output that the loss reads: of a model that ends in Softmax, what goes into it. */
  readonly prediction: string;
  /** The input that holds labels or targets; undefined for the loss 'sum'. */
  readonly target: string | undefined;
  /** From each name in `wrt` that the loss depends on to the output that is its gradient. */
  readonly gradients: ReadonlyMap<string, string>;
  /** The gradients that are one product of two matrices, by name in `wrt`: what goes into it. */
  readonly products: ReadonlyMap<string, MatrixProduct>;
  /** From each running statistic to the output that is its new value. */
  readonly state: ReadonlyMap<string, string>;
  /** The values that the model has for the weights and statistics among the new model's inputs, by input. */
  readonly weights: ReadonlyMap<string, Tensor>;
  /** Inputs that hold the factors of Dropout, 0 or 1 / (1 - ratio), where they are fed. */
  readonly masks: readonly Mask[];
  /** Names in `wrt` that the loss does not depend on. */
  readonly unreached: readonly string[];
  /**
   * The most bytes that the values between inputs and outputs take at one time, those outputs included that are made by then; what
   * kernels need for themselves comes on top.
   */
  readonly peakBytes: number;
}

/** @throws OptionError for a loss that there is not, and for fields of one that are out of range */
export function lossOf(wanted: Loss | LossKind): Loss {
  const loss: Loss = typeof wanted === 'string' ? { kind: wanted } : wanted;
  checkOption(LOSS_OPTIONS.loss, loss.kind, 'loss');
  checkOptions(LOSS_FIELDS, loss);
  if (loss.kind === 'cross-entropy' && loss.ignoreIndex !== undefined && loss.targets === 'probabilities')
    throw new OptionError('ignoreIndex', 'goes with labels, and the targets are probabilities');
  return loss;
}

/** @throws OptionError for options that are out of range */
export function checkGradientOptions(options: Partial<GradientOptions>): void {
  checkOptions(GRADIENT_OPTIONS, options);
}

/** The value that the loss reads: the output, or what goes into its last Softmax. */
export function predictionOf({ graph, path }: Model, wanted: string | undefined, kind: LossKind): string {
  const name = wanted ?? graph.outputs[0]?.name;
  if (name === undefined) throw new ModelError('has no outputs', { file: path });
  if (graph.resolve(name) === undefined) {
    throw new ModelError(
      `has no output '${name}'; its outputs are ${graph.outputs.map((value) => `'${value.name}'`).join(', ')}`,
      {
        file: path,
      },
    );
  }
  for (let value = name; ; ) {
    const node = graph.producer(value);
    if (node?.is('Identity')) value = node.inputs[0] ?? '';
    else if (node?.is(...ABSORBED[kind])) return node.inputs[0] ?? '';
    else return name;
  }
}

export function checkWrt(graph: Graph, wrt: readonly string[]): ReadonlyMap<string, Value['type']> {
  const types = new Map<string, Value['type']>();
  const file = graph.model.path;
  if (wrt.length === 0)
    throw new ModelError(
      "nothing to differentiate by: no trainable weight was found; `wrt: ['w']` names one",
      {
        file,
      },
    );
  for (const name of wrt) {
    const type =
      graph.initializers.get(name)?.dataType ?? graph.inputs.find((input) => input.name === name)?.dataType;
    if (type === undefined)
      throw new ModelError(`'${name}' is no initializer or input, so nothing can be differentiated by it`, {
        file,
      });
    if (!isFloatType(type))
      throw new ModelError(`'${name}' is ${type}; gradients are taken by float tensors`, { file });
    types.set(name, type);
  }
  return types;
}

/** Inputs of a node whose numbers its rule bakes in. */
export function structuralInputs(node: Node, rule: Rule): string[] {
  const named = (places: readonly number[] = []): string[] =>
    places.map((index) => node.inputs[index] ?? '').filter((name) => name !== '');
  const { graph } = node;
  const structural = named(rule.structural);
  const changing = structural.find((name) => followsData(graph, name));
  if (changing !== undefined) {
    throw new ModelError(
      `'${changing}' of ${node.opType} follows from the numbers fed, but the gradient bakes it in`,
      {
        file: graph.model.path,
        node: node.label,
      },
    );
  }
  return [...structural, ...named(rule.constants).filter((name) => !followsData(graph, name))];
}

/** Does a value depend on the numbers (not only the sizes) of the inputs? */
export function followsData(graph: Graph, value: string): boolean {
  const seen = new Set<string>();
  const stack = [value];
  for (let name = stack.pop(); name !== undefined; name = stack.pop()) {
    if (seen.has(name)) continue;
    seen.add(name);
    if (graph.isInput(name)) return true;
    const node = graph.producer(name);
    if (node !== undefined && !node.is('Shape', 'Size')) stack.push(...valuesRead(node.proto));
  }
  return false;
}
