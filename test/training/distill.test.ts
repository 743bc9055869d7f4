import { describe, expect, test } from 'vitest';
import { type Model, Tensor } from '../../src/graph/index.js';
import { gradient } from '../../src/passes/gradient/index.js';
import { openSession, Random } from '../../src/runtime/index.js';
import { distilled } from '../../src/training/distill.js';
import type { Dataset } from '../../src/training/types.js';
import { buildModel } from '../support/build.js';

const [FEATURES, CLASSES] = [5, 3];

function teacher(end: 'Softmax' | 'Sigmoid' | 'none', batch: number | string = 'batch'): Model {
  const random = new Random(0, 'teacher');
  const weight = (name: string, shape: readonly number[]): Tensor =>
    Tensor.of(name, 'float32', shape, random.fillNormal(new Float32Array(shape.reduce((a, b) => a * b, 1))));
  return buildModel({
    inputs: [['x', 'float32', [batch, FEATURES]]],
    outputs: [['y', 'float32', [batch, CLASSES]]],
    nodes: [
      { opType: 'Gemm', inputs: ['x', 'w', 'b'], outputs: [end === 'none' ? 'y' : 'logits'] },
      ...(end === 'none' ? [] : [{ opType: end, inputs: ['logits'], outputs: ['y'] }]),
    ],
    initializers: [weight('w', [FEATURES, CLASSES]), weight('b', [CLASSES])],
  });
}

/** Unlabeled data of 11 samples. */
function images(name = 'x'): Dataset {
  const all = new Random(0, 'images').fillNormal(new Float32Array(11 * FEATURES));
  return {
    inputs: [{ name, type: 'float32', shape: [FEATURES] }],
    target: undefined,
    size: 11,
    batch: async (indices) => {
      const data = Float32Array.from(
        Array.from(indices).flatMap((index) => [...all.subarray(index * FEATURES, (index + 1) * FEATURES)]),
      );
      return {
        inputs: { [name]: { type: 'float32', shape: [indices.length, FEATURES], data } },
        target: undefined,
      };
    },
    [Symbol.asyncDispose]: async () => {},
  };
}

async function logitsOf(indices: readonly number[]): Promise<number[][]> {
  await using session = await openSession(teacher('none'));
  const { inputs } = await images().batch(indices);
  const { y } = await session.run({ x: inputs.x! });
  return indices.map((_, i) => [...(y!.data as Float32Array).subarray(i * CLASSES, (i + 1) * CLASSES)]);
}

describe('targets from a teacher', () => {
  const indices = [3, 0, 10, 7, 1, 2];

  test.each([
    ['Softmax', 1, 'batch'],
    ['Softmax', 4, 4],
    ['none', 2, 1],
    ['none', 2, 64],
  ] as const)('of a model with %s at its end, temperature %d, batch %s', async (end, temperature, batch) => {
    await using data = await distilled(images(), teacher(end, batch), { temperature });
    expect(data.target).toEqual({ name: 'teacher', type: 'float32', shape: [CLASSES] });
    const { target, inputs } = await data.batch(indices);
    expect(inputs).toEqual((await images().batch(indices)).inputs);
    expect(target!.shape).toEqual([indices.length, CLASSES]);
    for (const [i, row] of (await logitsOf(indices)).entries()) {
      const powers = row.map((logit) => Math.exp(logit / temperature));
      const total = powers.reduce((a, b) => a + b, 0);
      for (const [j, power] of powers.entries())
        expect((target!.data as Float32Array)[i * CLASSES + j]).toBeCloseTo(power / total, 5);
    }
  });

  test('for other losses are its outputs, or one probability each', async () => {
    const rows = (await logitsOf(indices)).flat();
    await using plain = await distilled(images(), teacher('none'), { loss: 'mse' });
    expect([...((await plain.batch(indices)).target!.data as Float32Array)]).toEqual(rows);
    await using single = await distilled(images(), teacher('Sigmoid'), { loss: 'bce', temperature: 2 });
    const { target } = await single.batch(indices);
    for (const [i, logit] of rows.entries())
      expect((target!.data as Float32Array)[i]).toBeCloseTo(1 / (1 + Math.exp(-logit / 2)), 5);
  });

  test('leave a student that is the teacher where it is', async () => {
    await using data = await distilled(images('other'), teacher('Softmax'), { temperature: 3 });
    const { inputs, target } = await data.batch(indices);
    const made = await gradient(teacher('none'), {
      loss: { kind: 'cross-entropy', targets: 'probabilities', temperature: 3 },
      batch: indices.length,
      weights: 'constants',
    });
    await using session = await openSession(made.model);
    const results = await session.run({ x: inputs.other!, [made.target!]: target! });
    for (const name of made.gradients.values())
      for (const slope of results[name]!.data as Float32Array) expect(Math.abs(slope)).toBeLessThan(1e-6);
  });

  test('a teacher that the data does not fit is refused', async () => {
    const wrong = buildModel({
      inputs: [['x', 'float32', ['n', FEATURES + 1]]],
      outputs: [['y', 'float32', ['n', FEATURES + 1]]],
      nodes: [{ opType: 'Relu', inputs: ['x'], outputs: ['y'] }],
    });
    await expect(distilled(images(), wrong)).rejects.toThrow(/input 'x'/);
    await expect(distilled(images(), teacher('none'), { temperature: 0 })).rejects.toThrow('temperature');
    await expect(distilled(images(), teacher('none'), { output: 'z' })).rejects.toThrow("no output 'z'");
  });
});
