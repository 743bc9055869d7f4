import { isFloatType, type Model, ModelError } from '../../graph/index.js';
import { matching } from '../../graph/names/glob.js';
import { fedInputs } from '../../runtime/index.js';
import type { LossKind } from './losses.js';
import { inlined } from './prepare/inline.js';
import { predictionOf } from './request.js';
import { trainableWeights } from './weights.js';

/** Options of selectWrt. */
export interface WrtPatterns {
  /** Patterns of initializers and float inputs; default every trainable weight. */
  readonly wrt?: readonly string[] | undefined;
  /** Patterns of what is left out. */
  readonly freeze?: readonly string[] | undefined;
  /** As `gradient` takes them. */
  readonly output?: string | undefined;
  readonly loss: LossKind;
}

/**
 * What to differentiate by, by patterns of names (see glob); undefined without patterns, for `gradient` to choose.
 *
 * @throws PatternError for a pattern that matches nothing; ModelError where nothing is left
 * @example
 * gradient(model, { loss: 'mse', wrt: selectWrt(model, { loss: 'mse', freeze: ['backbone.*'] }) });
 */
export function selectWrt(
  model: Model,
  { wrt, freeze = [], output, loss }: WrtPatterns,
): readonly string[] | undefined {
  if (wrt === undefined && freeze.length === 0) return undefined;
  const { graph, path } = model;
  const trainable = trainableWeights(inlined(model).graph, predictionOf(model, output, loss));
  const floats = [
    ...[...graph.initializers.values()]
      .filter(({ dataType }) => isFloatType(dataType))
      .map(({ name }) => name),
    ...fedInputs(graph).flatMap(({ name, dataType }) =>
      dataType !== undefined && isFloatType(dataType) ? [name] : [],
    ),
  ];
  const file = path;
  const isWanted = wrt && matching(wrt, floats, { option: 'wrt', what: 'initializer or float input', file });
  const chosen = isWanted === undefined ? trainable : floats.filter(isWanted);
  const isFrozen = matching(freeze, chosen, { option: 'freeze', what: 'weight to differentiate by', file });
  const left = chosen.filter((name) => !isFrozen(name));
  if (left.length === 0) throw new ModelError('nothing is left to differentiate by', { file: path });
  return left;
}
