import { describe, expect, test } from 'vitest';
import { type Model, Tensor, ValueInfo } from '../../src/graph/index.js';
import { expand } from '../../src/passes/expand/expand.js';
import { Random } from '../../src/runtime/index.js';
import { buildModel } from '../../src/runtime/session/small-model.js';
import { openEngine } from '../../src/training/engine/engine.js';
import { optimizer } from '../../src/training/optimizers/index.js';
import { CNN, MLP } from '../passes/gradient/networks.js';
import { findWebGpu } from '../support/webgpu.js';
import { batchesOf, part, randomChunk } from './support.js';

const hasWebGpu = await findWebGpu();

const CASES: readonly [string, () => Model | Promise<Model>, number][] = [
  ['MLP', () => MLP('float32'), 5],
  ['CNN with BatchNormalization', CNN, 4],
  ['LeNet', lenet, 4],
  [
    'LeNet with chains of 3',
    async () => {
      const model = lenet();
      await model.apply(expand({ depth: 3 }));
      return model;
    },
    4,
  ],
];

/** With convolutions that WebGPU computes wrong, and such gradients: 6 channels to 12, two groups of 6 inputs. */
function lenet(): Model {
  const random = new Random(1, 'lenet');
  const weight = (name: string, shape: number[]): Tensor => {
    const size = shape.reduce((a, b) => a * b);
    const scale = Math.sqrt(shape[0]! / size);
    return Tensor.of(
      name,
      'float32',
      shape,
      Float32Array.from({ length: size }, () => scale * random.normal()),
    );
  };
  const square = (...sizes: number[]): { ints: number[] } => ({
    ints: sizes.flatMap((size) => [size, size]),
  });
  return buildModel({
    nodes: [
      { opType: 'Conv', inputs: ['x', 'c1', 'b1'], outputs: ['a1'], attributes: { pads: square(1, 1) } },
      { opType: 'Relu', inputs: ['a1'], outputs: ['r1'] },
      {
        opType: 'MaxPool',
        inputs: ['r1'],
        outputs: ['p1'],
        attributes: { kernel_shape: square(2), strides: square(2) },
      },
      { opType: 'Conv', inputs: ['p1', 'c2'], outputs: ['a2'], attributes: {} },
      { opType: 'Relu', inputs: ['a2'], outputs: ['r2'] },
      {
        opType: 'Conv',
        inputs: ['r2', 'c3'],
        outputs: ['a3'],
        attributes: { group: { int: 2 }, pads: square(1, 1) },
      },
      {
        opType: 'MaxPool',
        inputs: ['a3'],
        outputs: ['p3'],
        attributes: { kernel_shape: square(3), strides: square(2), pads: square(1, 1) },
      },
      { opType: 'Flatten', inputs: ['p3'], outputs: ['f'] },
      { opType: 'Gemm', inputs: ['f', 'w', 'b'], outputs: ['y'], attributes: { transB: { int: 1 } } },
    ],
    inputs: [ValueInfo.tensor('x', 'float32', ['batch', 1, 12, 12])],
    outputs: [ValueInfo.tensor('y', 'float32', ['batch', 4])],
    initializers: [
      weight('c1', [6, 1, 3, 3]),
      weight('b1', [6]),
      weight('c2', [12, 6, 3, 3]),
      weight('c3', [8, 6, 3, 3]),
      weight('w', [4, 32]),
      weight('b', [4]),
    ],
    opset: 17,
  });
}

describe.runIf(hasWebGpu)('on WebGPU', () => {
  test.each(CASES)(
    '%s trains as on the CPU',
    async (_, build, classes) => {
      const model = await build();
      const options = {
        loss: 'cross-entropy',
        batch: 4,
        optimizer: optimizer('sgd', { momentum: 0.9 }),
        emaDecay: 0.9,
      } as const;
      await using gpu = await openEngine(model, { ...options, providers: 'webgpu' });
      await using cpu = await openEngine(model, options);
      const chunk = randomChunk(model, { steps: 4, batch: 4, classes, rate: 0.02 });
      const expected = await cpu.run(chunk);
      const first = await gpu.run(part(chunk, 0, 3));
      const state = await gpu.state();
      const last = await gpu.run(part(chunk, 3, 4));
      const losses = [...first.losses, ...last.losses];
      for (const [step, loss] of losses.entries()) {
        expect(Math.abs(loss / expected.losses[step]! - 1)).toBeLessThan(1e-4);
      }
      expect([...first.correct!, ...last.correct!]).toEqual([...expected.correct!]);
      const norms = [...first.weightGradientNorms, ...last.weightGradientNorms];
      const largest = Math.max(...expected.weightGradientNorms);
      for (const [index, norm] of norms.entries()) {
        expect(Math.abs(norm - expected.weightGradientNorms[index]!)).toBeLessThan(1e-3 * largest);
      }
      const [own, other] = [await gpu.state(), await cpu.state()];
      for (const [name, tensor] of other.weights) {
        const numbers = tensor.data as Float32Array;
        const found = own.weights.get(name)!.data as Float32Array;
        const error = Math.hypot(...numbers.map((number, i) => number - found[i]!));
        expect(error, name).toBeLessThan(1e-4 * Math.hypot(...numbers));
      }
      // A state that was taken before the last step goes on to where that went.
      await gpu.restore(state);
      const again = await gpu.run(part(chunk, 3, 4));
      expect(again.losses[0]! / last.losses[0]!).toBeCloseTo(1, 5);
      const [evaluated, averaged] = [
        await gpu.evaluate(batchesOf(chunk, 5)),
        await gpu.evaluate(batchesOf(chunk, 5), 'ema'),
      ];
      expect(evaluated.loss / (await cpu.evaluate(batchesOf(chunk, 5))).loss).toBeCloseTo(1, 4);
      expect(averaged.loss / (await cpu.evaluate(batchesOf(chunk, 5), 'ema')).loss).toBeCloseTo(1, 4);
    },
    60_000,
  );
});
