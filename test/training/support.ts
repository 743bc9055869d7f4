import type { Model } from '../../src/graph/index.js';
import { Random, type RuntimeTensor } from '../../src/runtime/index.js';
import type { OptimizerRule } from '../../src/training/optimizers/optimizer-rule.js';
import type { Batch, Chunk } from '../../src/training/types.js';

/** w <- w - rate g, without anything else. */
export const PLAIN: OptimizerRule = {
  slots: [],
  update: ({ build, parameter, gradient, learningRate }) => ({
    parameter: build.sub(parameter, build.mul(gradient, build.cast(learningRate, parameter.type))),
    slots: {},
  }),
};

/** Heavy ball (Polyak 1964): v <- 0.9 v + g, w <- w - rate v. */
export const HEAVY_BALL: OptimizerRule = {
  slots: ['velocity'],
  update: ({ build, parameter, gradient, learningRate, slots }) => {
    const velocity = build.add(build.scale(slots.velocity!, 0.9), gradient);
    return {
      parameter: build.sub(parameter, build.mul(velocity, build.cast(learningRate, parameter.type))),
      slots: { velocity },
    };
  },
};

function product(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

/** Random data for a model with one input whose first dimension is the batch, and class labels. */
export function randomChunk(
  model: Model,
  { steps, batch, classes, seed = 1, rate = 0.1 }: ChunkSize,
): Chunk & { readonly target: RuntimeTensor } {
  const input = model.graph.inputs[0]!;
  const shape = [steps, batch, ...(input.shape ?? []).slice(1).map(Number)];
  const random = new Random(seed, 'chunk');
  const numbers = random.fillNormal(new Float64Array(product(shape)));
  const data = input.dataType === 'float64' ? numbers : Float32Array.from(numbers);
  const labels = BigInt64Array.from({ length: steps * batch }, () => BigInt(random.integer(classes)));
  return {
    steps,
    inputs: { [input.name]: { type: input.dataType ?? 'float32', shape, data } },
    target: { type: 'int64', shape: [steps, batch], data: labels },
    learningRates: Float32Array.from({ length: steps }, (_, step) => rate / (1 + step)),
  };
}

interface ChunkSize {
  readonly steps: number;
  readonly batch: number;
  readonly classes: number;
  readonly seed?: number;
  readonly rate?: number;
}

/** Elements along the first axis. */
export function rows(tensor: RuntimeTensor, start: number, end: number): RuntimeTensor {
  const row = product(tensor.shape.slice(1));
  return {
    ...tensor,
    shape: [end - start, ...tensor.shape.slice(1)],
    data: tensor.data.slice(start * row, end * row) as Float32Array,
  };
}

/** Some of a chunk's steps. */
export function part(chunk: Chunk, start: number, end: number): Chunk {
  return {
    steps: end - start,
    inputs: Object.fromEntries(
      Object.entries(chunk.inputs).map(([name, tensor]) => [name, rows(tensor, start, end)]),
    ),
    target: chunk.target && rows(chunk.target, start, end),
    learningRates: chunk.learningRates.slice(start, end),
  };
}

/** All samples of a chunk in batches of a size; the last one may be shorter. */
export async function* batchesOf(chunk: Chunk, size: number): AsyncGenerator<Batch> {
  const flat = (tensor: RuntimeTensor): RuntimeTensor => ({
    ...tensor,
    shape: [tensor.shape[0]! * tensor.shape[1]!, ...tensor.shape.slice(2)],
  });
  const inputs = Object.entries(chunk.inputs).map(([name, tensor]) => [name, flat(tensor)] as const);
  const target = chunk.target && flat(chunk.target);
  const total = inputs[0]![1].shape[0]!;
  for (let start = 0; start < total; start += size) {
    const end = Math.min(total, start + size);
    yield {
      inputs: Object.fromEntries(inputs.map(([name, tensor]) => [name, rows(tensor, start, end)])),
      target: target && rows(target, start, end),
    };
  }
}
