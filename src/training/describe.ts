import { byteLengthOf, type Model } from '../graph/index.js';
import { product } from '../passes/gradient/shapes.js';
import { optionsOf, searchOptionsOf } from './engine/engine-spec.js';
import { buildStep, type StepOptions } from './engine/step.js';
import type { TrainPlan } from './events.js';
import type { TrainOptions } from './options.js';
import { settleComputed } from './plan.js';
import { isSearch } from './search/index.js';
import { describeSearch } from './search/search-engine.js';
import type { Dataset } from './types.js';

/** The graph of one training step. */
export interface StepFigures {
  readonly nodes: number;
  /** Different operators among them. */
  readonly operators: number;
  /** Bytes of what a step carries on: weights, running statistics, the state of the optimizer. */
  readonly stateBytes: number;
  /**
   * Bytes of the values between inputs and gradients at their peak, masks of Dropout included: the least that a step needs. onnxruntime
   * takes two to four times that. Undefined of a search, whose memory is not known beforehand.
   */
  readonly peakBytes: number | undefined;
}

/**
 * What `train` would do, with the graph of a step, which is built and not run. Labels and soft targets are looked at, where they
 * can be read without the inputs. The model stays as it is.
 *
 * @throws OptionError, PatternError and ModelError as planTraining; GradientError naming the nodes that no gradient passes through; ModelError
 *   for targets that no class has or that are no probabilities, and where the model does not run
 * @example
 * const { plan, step } = await describeTraining(model, dataset, { optimizer: 'adam' });
 * console.log(plan.parameters, step.nodes, step.stateBytes);
 */
export async function describeTraining(
  model: Model,
  dataset: Dataset,
  options: TrainOptions = {},
): Promise<{ readonly plan: TrainPlan; readonly step: StepFigures }> {
  const { plan, spec, model: prepared } = await settleComputed(model, dataset, options);
  const { optimizer } = spec;
  const { operators, carried, peakBytes } = isSearch(optimizer)
    ? await describeSearch(prepared, searchOptionsOf(spec, optimizer))
    : await stepOf(prepared, optionsOf(spec, optimizer));
  return {
    plan,
    step: {
      nodes: operators.length,
      operators: new Set(operators).size,
      peakBytes,
      stateBytes: carried.reduce((sum, { type, shape }) => sum + byteLengthOf(type, product(shape)), 0),
    },
  };
}

async function stepOf(model: Model, options: StepOptions) {
  const { gradient, build, carried } = await buildStep(model, options);
  const nodes = [...gradient.model.graph.nodes, ...build.nodes];
  const masks = gradient.masks.reduce((sum, { type, shape }) => sum + byteLengthOf(type, product(shape)), 0);
  return { operators: nodes.map(({ opType }) => opType), carried, peakBytes: gradient.peakBytes + masks };
}
