import { findWeights } from '../../analysis/weights/find-weights.js';
import {
  ancestors,
  findConstant,
  isConstant,
  isFloatType,
  type Model,
  ModelError,
} from '../../graph/index.js';
import { matching } from '../../graph/names/glob.js';
import { stoppingNodes, trainableWeights, ZeroGradientError } from '../../passes/gradient/index.js';
import { inlined } from '../../passes/gradient/prepare/inline.js';
import { adapterWeights } from '../../passes/lora/note.js';
import type { TrainOptions } from '../options.js';

/** The initializers of a model that are trained, and those that could be and are not. */
export interface ChosenWeights {
  readonly weights: readonly string[];
  readonly frozen: readonly string[];
  /** True where they are those of adapters, because the model has some. */
  readonly isAdapters: boolean;
  /** Those that no gradient reaches, and the node that stops it. */
  readonly unreached: readonly { readonly name: string; readonly node: string; readonly op: string }[];
}

/**
 * The weights that `only` and `freeze` choose; of a model with adapters (see addAdapters) without `only` those of the adapters.
 *
 * @throws ModelError where there are none, a pattern matches none, or no gradient reaches any
 */
export function chosenWeights(model: Model, options: TrainOptions): ChosenWeights {
  const { path } = model;
  const output = options.output ?? model.graph.outputs[0]?.name ?? '';
  const { graph } = inlined(model);
  const all = trainableWeights(graph, output);
  if (all.length === 0) {
    throw new ModelError('has no trainable weights: no float initializer stands where a weight does', {
      file: path,
    });
  }
  const isMatching = (option: 'only' | 'freeze'): ((name: string) => boolean) =>
    matching(options[option] ?? [], all, { option, what: 'trainable weight', file: path });
  // Beside adapters the model stays as it is, unless weights are named.
  const adapters = options.only === undefined ? adapterWeights(graph) : new Set<string>();
  const isAdapter = (name: string): boolean => adapters.size === 0 || adapters.has(name);
  const isChosen = options.only === undefined ? isAdapter : isMatching('only');
  const isFrozen = isMatching('freeze');
  const wanted = all.filter((name) => isChosen(name) && !isFrozen(name));
  if (wanted.length === 0)
    throw new ModelError('nothing is left to train: all weights are frozen', { file: path });
  const stops = stoppingNodes(ancestors(graph.nodes, [output]), wanted, output);
  const weights = wanted.filter((name) => !stops.has(name));
  if (weights.length === 0) throw new ZeroGradientError([...new Set(stops.values())], path);
  const trained = new Set(weights);
  return {
    weights,
    isAdapters: adapters.size > 0,
    frozen: all.filter((name) => !trained.has(name) && !stops.has(name)),
    unreached: [...stops].map(([name, node]) => ({ name, node: node.label, op: node.opType })),
  };
}

/**
 * The matrices that are quantized, so that no gradient can change them.
 *
 * @throws ModelError where but vectors are left to train, and nobody asked for that
 */
export function quantizedWeights(
  model: Model,
  weights: readonly string[],
  options: TrainOptions,
): readonly string[] {
  const quantized = findWeights(model, { chains: 'factors' }).weights.filter(
    ({ dataType, uses: [{ node, data }] }) => {
      if (!isFloatType(dataType)) return true;
      const maker = node.graph.producer(data.name);
      const constant = findConstant(node.graph, data.name);
      return maker?.is('DequantizeLinear') === true && isConstant(constant);
    },
  );
  const names = [...new Set([...quantized.map(({ name }) => name), ...integerWeights(model)])];
  if (names.length === 0) return [];
  const isVector = (name: string): boolean =>
    (model.graph.initializers.get(name)?.shape ?? []).filter((dim) => dim > 1).length <= 1;
  if (options.only === undefined && weights.every(isVector)) {
    throw new ModelError(
      `is quantized: '${names[0]}'${names.length > 1 ? ` and ${names.length - 1} more matrices` : ''} cannot be trained, only biases and scales could (${weights.slice(0, 3).join(', ')}${weights.length > 3 ? ', …' : ''}); train the float model and quantize it afterwards, or choose these weights by name (only)`,
      { file: model.path },
    );
  }
  return names;
}

/** Constants that operators on integers read as weights: also those whose scale no report finds. */
function integerWeights(model: Model): string[] {
  return inlined(model).graph.nodes.flatMap((node) => {
    const weight = node.is('MatMulInteger', 'ConvInteger') ? node.inputs[1] : undefined;
    return weight !== undefined && isConstant(findConstant(node.graph, weight)) ? [weight] : [];
  });
}
