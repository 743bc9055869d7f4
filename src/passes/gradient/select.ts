import { glob } from '../../graph/glob.js';
import { isFloatType, type Model, ModelError } from '../../graph/index.js';
import { fedInputs } from '../../runtime/index.js';
import type { LossKind } from './losses.js';
import { inlined } from './prepare/inline.js';
import { predictionOf } from './request.js';
import { trainableWeights } from './weights.js';

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
 * @throws ModelError for a pattern that matches nothing, and where nothing is left
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
  const matching = (patterns: readonly string[], among: readonly string[], what: string): Set<string> => {
    const found = new Set<string>();
    for (const pattern of patterns) {
      const names = among.filter(glob(pattern));
      if (names.length === 0) {
        throw new ModelError(
          `no ${what} matches '${pattern}'; the first of ${among.length} is '${among[0] ?? ''}'`,
          {
            file: path,
          },
        );
      }
      for (const name of names) found.add(name);
    }
    return found;
  };
  const chosen = wrt === undefined ? trainable : [...matching(wrt, floats, 'initializer or float input')];
  const frozen = matching(freeze, chosen.length > 0 ? chosen : floats, 'weight to freeze');
  const left = chosen.filter((name) => !frozen.has(name));
  if (left.length === 0) throw new ModelError('nothing is left to differentiate by', { file: path });
  return left;
}
