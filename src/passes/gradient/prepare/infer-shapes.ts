import {
  ancestors,
  type Dimension,
  type Model,
  ModelError,
  type NodeSpec,
  Tensor,
  ValueInfo,
  valuesRead,
} from '../../../graph/index.js';
import { toNumbers } from '../../../graph/proto/codec.js';
import type { GraphProto } from '../../../graph/proto/schema.js';
import { emptyRecord } from '../../../graph/record.js';
import { Shapes } from '../../../graph/shapes/shapes.js';
import {
  dimKey,
  inputSizes,
  type OpenDims,
  openSession,
  type RuntimeTensor,
  randomInputs,
} from '../../../runtime/index.js';
import { buildModel } from '../../../runtime/session/small-model.js';

/** Larger constants are fed to the probe, which copies nothing. */
const INLINE_BYTES = 4096;

/** Sizes for the dimensions that a model leaves open. */
export interface Sizes {
  /** Sizes of open dimensions, by name or place. */
  readonly dims?: OpenDims | undefined;
  /** Size of the first dimension of every input, where the model leaves it open or says 1. */
  readonly batch?: number | undefined;
}

/**
 * The inputs that must be fed, every dimension a number: see inputSizes, for none is taken as 1 here.
 *
 * @throws ModelError for a size that is no whole number above 0, a name in dims that no input has, and a dimension
 *   that the model leaves open and nothing settles
 */
export function settledInputs(model: Model, { dims, batch }: Sizes): ValueInfo[] {
  const file = model.path;
  const given = { ...dims, ...(batch !== undefined && { batch }) };
  const wrong = Object.entries(given).find(([, size]) => !Number.isInteger(size) || size < 1);
  if (wrong !== undefined) {
    const [name, size] = wrong;
    throw new ModelError(`the dimension '${name}' cannot be ${size}; it takes a whole number above 0`, {
      file,
    });
  }
  const { sizes } = inputSizes(model, { dims, batch, rebatches: true });
  return [...sizes].map(([input, shape]) => {
    const { dataType } = input;
    if (dataType === undefined || shape === undefined) {
      throw new ModelError(`input '${input.name}' is ${input.toString()}; its type and rank must be known`, {
        file,
      });
    }
    const settled = shape.map((size, axis) => {
      if (size === 0)
        throw new ModelError(
          `input '${input.name}' has no elements: its dimension ${axis} is 0${axis === 0 ? '; `batch: 16` gives it a size' : ''}`,
          { file },
        );
      if (size !== undefined) return size;
      const dim = input.shape?.[axis];
      throw new ModelError(
        `dimension ${axis} of input '${input.name}' is open${typeof dim === 'string' ? ` (${dim})` : ''}, and a gradient has fixed sizes; give it with \`dims: { '${dimKey(input, axis)}': 16 }\`${axis === 0 ? ' or `batch: 16`' : ''}, say`,
        { file },
      );
    });
    return ValueInfo.tensor(input.name, dataType, settled);
  });
}

export interface Probed {
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  readonly numbers: ReadonlyMap<string, readonly number[]>;
}

/**
 * The shapes of values: as the rules of operators tell them and, where these do not, found by running the model once on random
 * inputs: a Shape operator behind each value, so that only shapes come out and activations are freed as in any run. This takes
 * every operator that onnxruntime has as it is, shapes that are computed on the way included, at the cost of one forward pass.
 *
 * @param inputs with settled sizes
 * @param values names of the values whose shapes are wanted
 * @param numbers names of small integer or float values whose elements are wanted
 * @param run names of values that are computed in any case, so that a model that does not run with these inputs says so
 * @throws ModelError where onnxruntime does not run what it is asked for
 */
export async function probe(
  model: Model,
  inputs: readonly ValueInfo[],
  values: Iterable<string>,
  numbers: Iterable<string> = [],
  run: readonly string[] = [],
): Promise<Probed> {
  const { graph } = model;
  const shapes = new Map<string, readonly number[]>();
  const found = new Map<string, readonly number[]>();
  for (const input of inputs) shapes.set(input.name, (input.shape ?? []).map(Number));
  for (const [name, tensor] of graph.initializers) shapes.set(name, tensor.shape);
  for (const name of numbers) {
    const tensor = graph.initializers.get(name);
    if (tensor !== undefined)
      found.set(name, numbersOf({ type: tensor.dataType, shape: tensor.shape, data: tensor.array() }));
  }
  const told = new Shapes(graph, {
    inputs: new Map(inputs.map(({ name, shape = [] }) => [name, shape])),
    noted: false,
  });
  const wanted = new Set([...run, ...values]);
  for (const name of wanted) {
    const shape = shapes.has(name) ? undefined : sizesOf(told.of(name));
    if (shape !== undefined) shapes.set(name, shape);
  }
  const wantedShapes = [...wanted].filter((name) => run.includes(name) || !shapes.has(name));
  const wantedNumbers = [...new Set(numbers)].filter((name) => !found.has(name));
  const byInput = wantedNumbers.find((name) => inputs.some((input) => input.name === name));
  if (byInput !== undefined) {
    throw new ModelError(`'${byInput}' is an input, but the gradient needs its numbers; make it a constant`, {
      file: model.path,
    });
  }
  if (wantedShapes.length + wantedNumbers.length === 0) return { shapes, numbers: found };

  const shapeName = new Map(wantedShapes.map((name) => [name, model.freshName(`${name}/shape`)]));
  const fed = emptyRecord<RuntimeTensor>();
  const inline: Tensor[] = [];
  const nodes = ancestors(graph.nodes, [...wantedShapes, ...wantedNumbers]);
  const read = new Set(nodes.flatMap((node) => [...valuesRead(node.proto)]));
  for (const [name, tensor] of graph.initializers) {
    if (!read.has(name)) continue;
    const type = tensor.dataType;
    if (tensor.byteLength > INLINE_BYTES && type !== 'string' && type !== 'bfloat16') {
      fed[name] = { type, shape: tensor.shape, data: tensor.array() };
    } else inline.push(tensor.isExternal ? Tensor.of(name, type, tensor.shape, tensor.bytes()) : tensor);
  }
  const places = new Map(
    nodes.flatMap(({ outputs }, place) => outputs.map((value) => [value, place] as const)),
  );
  const parts = {
    // The last first: of nodes that nothing reads, onnxruntime runs the last of the file first, and a value that waits for its Shape
    // stays in memory.
    nodes: [
      ...nodes.map(({ proto }) => proto),
      ...wantedShapes
        .toSorted((a, b) => (places.get(b) ?? -1) - (places.get(a) ?? -1))
        .map((name): NodeSpec => ({ opType: 'Shape', inputs: [name], outputs: [shapeName.get(name) ?? ''] })),
    ],
    initializers: inline,
    sparseInitializers: (graph.proto as GraphProto).sparse_initializer ?? [],
    opset: model.proto.opset_import ?? [],
    functions: model.proto.functions,
    irVersion: Math.max(4, model.irVersion),
  };
  const needed = inputs.filter((input) => read.has(input.name));
  const feeds = randomInputs(buildModel({ ...parts, inputs: needed, outputs: [] }));
  const weights = Object.entries(fed).map(([name, { type, shape }]) => ValueInfo.tensor(name, type, shape));
  const outputs = [...shapeName.values(), ...wantedNumbers];
  const probing = buildModel({ ...parts, inputs: [...needed, ...weights], outputs });
  let results: Record<string, RuntimeTensor>;
  try {
    // Optimized, it would take over what the file says of shapes, and skip the nodes that contradict it.
    await using session = await openSession(probing, { optimization: 'disabled', arena: false });
    results = await session.run({ ...feeds, ...fed });
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    const sizes = inputs.map((input) => `${input.name} [${(input.shape ?? []).join(', ')}]`).join(', ');
    throw new ModelError(
      `does not run with inputs ${sizes}: ${error.message}`,
      { file: model.path },
      { cause: error },
    );
  }
  for (const [name, output] of shapeName) shapes.set(name, numbersOf(results[output]));
  for (const name of wantedNumbers) found.set(name, numbersOf(results[name]));
  return { shapes, numbers: found };
}

/** A shape all of whose sizes are known. */
function sizesOf(shape: readonly Dimension[] | undefined): readonly number[] | undefined {
  const sizes = shape?.filter((dim) => typeof dim === 'number' && dim >= 0);
  return sizes?.length === shape?.length ? (sizes as number[] | undefined) : undefined;
}

function numbersOf(tensor: RuntimeTensor | undefined): number[] {
  return toNumbers((tensor?.data ?? []) as ArrayLike<number | bigint>);
}
