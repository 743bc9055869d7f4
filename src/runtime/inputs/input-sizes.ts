import { type Dimension, type Graph, type Model, ModelError, type ValueInfo } from '../../graph/index.js';
import { decoderInputs } from './decoder-inputs.js';
import { checkDims, dimKey, isOpen, type OpenDims, quoted, sizeIn } from './open-dims.js';

export interface SizeOptions {
  /** Sizes of open dimensions, by name or place. */
  readonly dims?: OpenDims | undefined;
  /** Size of the first dimension of every input that leaves it open and of which `dims` says nothing. */
  readonly batch?: number | undefined;
  /** Whether `batch` takes the place of a first dimension of 1 too: for who writes the model for another batch. Default false. */
  readonly rebatches?: boolean | undefined;
}

export interface InputSizes {
  /** By input that must be fed: the sizes of its dimensions; undefined where the model leaves one open and nothing settles it. */
  readonly sizes: ReadonlyMap<ValueInfo, readonly (number | undefined)[] | undefined>;
  /** Sizes of open dimensions, the given ones and those that follow from them. */
  readonly dims: OpenDims;
  /** Values that all elements of an input must have, for the attention behind them. */
  readonly values: ReadonlyMap<string, number>;
}

/** The inputs that must be fed: those without an initializer of their name. */
export function fedInputs(graph: Graph): ValueInfo[] {
  return graph.inputs.filter(
    ({ name }) => !graph.initializers.has(name) && !graph.sparseInitializers.has(name),
  );
}

/**
 * The shapes that a model is run, compared and trained with: one rule. A size is what the model says or, where that is open,
 * what `dims` says of its place or name, else `batch` for a first dimension (one with a name settles the name, wherever it stands),
 * else what follows from others: the attention mask of a decoder is as long as the past and the new tokens.
 *
 * @throws ModelError for a name or place in dims that no open dimension has, and a size that is no whole number
 */
export function inputSizes(model: Model, options: SizeOptions): InputSizes {
  const { batch, rebatches = false } = options;
  const inputs = fedInputs(model.graph);
  checkDims(model, inputs, options.dims ?? {});
  const given = { ...batchDims(inputs, batch), ...options.dims };
  const decoder = decoderInputs(model.graph, inputs, given);
  const dims = { ...decoder.dims, ...given };
  const size = (input: ValueInfo, dim: Dimension, axis: number): number | undefined => {
    const isBatch = axis === 0 && batch !== undefined;
    if (typeof dim === 'number' && !isOpen(dim)) return rebatches && isBatch && dim <= 1 ? batch : dim;
    return sizeIn(dims, input, axis) ?? (isBatch ? batch : undefined);
  };
  const sizes = new Map(
    inputs.map((input) => [input, input.shape?.map((dim, axis) => size(input, dim, axis))] as const),
  );
  return { sizes, dims, values: decoder.values };
}

/** The names of open first dimensions, which may stand elsewhere too. */
function batchDims(inputs: readonly ValueInfo[], batch: number | undefined): Record<string, number> {
  if (batch === undefined) return {};
  const names = inputs.map(({ shape }) => shape?.[0]).filter((dim) => typeof dim === 'string');
  return Object.fromEntries(names.map((name) => [name, batch]));
}

/** What no size of an input mends: the model is refused as it is. */
const NO_SIZE =
  /^onnxruntime: (This is an invalid model|Type Error|Could not find an implementation|No attribute|Unsupported)/;

/**
 * Runs a model on random inputs. Where that fails and open dimensions were taken as 1, for want of a size, the error
 * says so: many models want more.
 *
 * @throws ModelError what `work` throws, with the dimensions
 * @example
 * await onOpenDims(model, { dims }, () => session.run(randomInputs(model, { dims })));
 */
export async function onOpenDims<T>(model: Model, options: SizeOptions, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ModelError) || error.code === 'ERR_PROVIDER' || NO_SIZE.test(error.what))
      throw error;
    const unsettled = [...inputSizes(model, options).sizes].flatMap(([input, sizes = []]) =>
      sizes.flatMap((size, axis) => (size === undefined ? [dimKey(input, axis)] : [])),
    );
    if (unsettled.length === 0) throw error;
    const taken = new Set(unsettled);
    // The first is the batch as a rule, which may well be 1.
    const [first = '', second = first] = taken;
    throw new ModelError(
      `${error.what.split('\n')[0]}\nOpen dimensions were taken as 1: ${quoted(taken)}; \`dims: { '${second}': 16 }\` makes one 16`,
      error.where,
      { cause: error },
    );
  }
}
