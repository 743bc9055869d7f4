import { alignNames, type Renamed } from '../../graph/diff/align.js';
import { type Difference, type DiffOptions, diffModels } from '../../graph/diff/diff.js';
import { isFloatType, type Model, ModelError, messageOf, Tensor, tensorProtos } from '../../graph/index.js';
import { checkOptions, type OptionDescriptors } from '../../graph/option-descriptors.js';
import { runGraph } from '../../runtime/index.js';
import { convert } from '../../runtime/io/values.js';
import type { RuntimeTensor } from '../../runtime/types.js';

/** Options of compareModels. */
export interface CompareOptions extends DiffOptions {
  /** Names of inner values, weights and nodes are differences too; default false. */
  readonly names?: boolean | undefined;
  /** Weights whose relative difference is at most this are the same; default 0. */
  readonly tolerance?: number | undefined;
  /** Between two weights, it ends the call with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** Called before the elements of two weights are compared. */
  readonly onProgress?: ((progress: { readonly done: number; readonly what: string }) => void) | undefined;
}

/** The options of `compareModels` that one value describes. */
export const COMPARE_OPTIONS = {
  weights: {
    kind: 'choice',
    choices: ['exact', 'ignore'],
    default: 'exact',
    help: 'compare the elements of weights, or only their types and shapes',
  },
  storage: { kind: 'flag', default: false, help: 'also tell raw, typed and external storage apart' },
  names: {
    kind: 'flag',
    default: false,
    help: 'other names of inner values, weights and nodes are differences',
  },
  tolerance: {
    kind: 'number',
    min: 0,
    default: 0,
    help: 'weights are the same up to this ‖b - a‖ / ‖a‖',
  },
} as const satisfies OptionDescriptors;

/** A difference; of the elements of a floating-point weight with its size. */
export interface ModelDifference extends Difference {
  /** ‖b - a‖ / ‖a‖ in the Frobenius norm; Infinity where a is 0. */
  readonly relativeNorm?: number | undefined;
}

/** How two models differ. */
export interface ModelComparison {
  readonly same: boolean;
  readonly differences: readonly ModelDifference[];
  /** What the second model calls otherwise, where that is no difference. */
  readonly renamed: readonly Renamed[];
  /** Weights that differ by no more than the tolerance. */
  readonly within: number;
}

/**
 * Every difference between two models, of weights with its size. Where the same things stand in the same places, other names of inner
 * values, weights and nodes are no difference (`alignNames`).
 *
 * @throws OptionError for a tolerance out of range; ModelError for weights that cannot be read
 * @example
 * const { same, differences } = await compareModels(a, b, { tolerance: 1e-6 });
 * console.log(same, differences.map(({ path, relativeNorm }) => [path, relativeNorm]));
 */
export async function compareModels(
  a: Model,
  b: Model,
  options: CompareOptions = {},
): Promise<ModelComparison> {
  checkOptions(COMPARE_OPTIONS, options);
  const { names = false, tolerance = 0, signal, onProgress, ...rest } = options;
  if (rest.weights !== 'ignore') for (const one of [a, b]) assertReadable(one);
  const { model, renamed } = names ? { model: b, renamed: [] } : alignNames(a, b);
  const differences: ModelDifference[] = [];
  let within = 0;
  for (const difference of diffModels(a, model, rest)) {
    const [, name] = /^graph\.initializer\['(.*)'\]\.data$/.exec(difference.path) ?? [];
    const [left, right] = [a, model].map(({ graph }) => graph.initializers.get(name ?? ''));
    signal?.throwIfAborted();
    onProgress?.({ done: differences.length + within, what: name ?? difference.path });
    const relativeNorm =
      name === undefined || left === undefined || right === undefined
        ? undefined
        : await distance(left, right);
    if (relativeNorm !== undefined && relativeNorm <= tolerance) within += 1;
    else differences.push(relativeNorm === undefined ? difference : { ...difference, relativeNorm });
  }
  return { same: differences.length === 0, differences, renamed, within };
}

/** ModelError where data of a tensor is missing: two models that lack it would be called the same. */
function assertReadable(model: Model): void {
  for (const proto of tensorProtos(model.proto)) {
    if (proto.data_location !== 1) continue;
    try {
      new Tensor(proto).checkData();
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      throw new ModelError(messageOf(error), { file: model.path }, { cause: error });
    }
  }
}

/** ‖b - a‖ / ‖a‖, in float64; undefined of what is no floating-point tensor of one shape. */
async function distance(a: Tensor, b: Tensor): Promise<number | undefined> {
  if (!isFloatType(a.dataType) || !isFloatType(b.dataType) || a.shape.join() !== b.shape.join())
    return undefined;
  const tensor = (from: Tensor): RuntimeTensor => {
    const own = { type: from.dataType, shape: [from.size], data: from.array() } as RuntimeTensor;
    return own.type === 'bfloat16' ? convert(own, 'float32') : own;
  };
  const double = { to: { int: 11 } } as const;
  const keep = { keepdims: { int: 0 } } as const;
  const { change, size } = await runGraph(
    [
      { opType: 'Cast', inputs: ['x'], outputs: ['a'], attributes: double },
      { opType: 'Cast', inputs: ['y'], outputs: ['b'], attributes: double },
      { opType: 'Sub', inputs: ['b', 'a'], outputs: ['d'] },
      { opType: 'ReduceSumSquare', inputs: ['d'], outputs: ['change'], attributes: keep },
      { opType: 'ReduceSumSquare', inputs: ['a'], outputs: ['size'], attributes: keep },
    ],
    { x: tensor(a), y: tensor(b) },
    ['change', 'size'],
  );
  const [squared, whole] = [Number(change?.data[0]), Number(size?.data[0])];
  return squared === 0 ? 0 : Math.sqrt(squared / whole);
}
