import type { Model } from '../../src/graph/index.js';
import { Random } from '../../src/runtime/index.js';
import type { Dataset } from '../../src/training/types.js';

/** Samples of a few classes, each around a mean of its own: something that can be learnt. */
export function blobs(
  model: Model,
  { size, classes, seed = 0, spread = 1 }: { size: number; classes: number; seed?: number; spread?: number },
): Dataset {
  const input = model.graph.inputs[0]!;
  const shape = (input.shape ?? []).slice(1).map(Number);
  const width = shape.reduce((a, b) => a * b, 1);
  const isDouble = input.dataType === 'float64';
  const means = Array.from({ length: classes }, (_, label) =>
    new Random('means', `${label}`).fillNormal(new Float64Array(width)),
  );
  const samples = Array.from({ length: size }, (_, index) => {
    const random = new Random(seed, `sample ${index}`);
    const label = random.integer(classes);
    return { label, values: means[label]!.map((mean) => mean + spread * random.normal()) };
  });
  return {
    inputs: [{ name: input.name, type: isDouble ? 'float64' : 'float32', shape }],
    target: { name: 'label', type: 'int64', shape: [] },
    size,
    batch: async (indices) => {
      const chosen = Array.from(indices, (index) => samples[index]!);
      const numbers = chosen.flatMap(({ values }) => [...values]);
      return {
        inputs: {
          [input.name]: {
            type: isDouble ? 'float64' : 'float32',
            shape: [chosen.length, ...shape],
            data: isDouble ? Float64Array.from(numbers) : Float32Array.from(numbers),
          },
        },
        target: {
          type: 'int64',
          shape: [chosen.length],
          data: BigInt64Array.from(chosen, ({ label }) => BigInt(label)),
        },
      };
    },
    [Symbol.asyncDispose]: async () => undefined,
  };
}
