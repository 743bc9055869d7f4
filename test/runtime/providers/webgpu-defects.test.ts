import { describe, expect, test } from 'vitest';
import { assertValid, Tensor, ValueInfo } from '../../../src/graph/index.js';
import { evaluate, randomInputs } from '../../../src/runtime/index.js';
import { mendedForWebGpu, wrongOnWebGpu } from '../../../src/runtime/providers/webgpu-defects.js';
import { buildModel } from '../../../src/runtime/session/small-model.js';
import { numbers } from '../helpers.js';

// That the other form is right on WebGPU itself, webgpu.test.ts shows where there is a driver.
describe('a convolution that WebGPU computes wrong', () => {
  test.each([
    // Channels, outputs, groups; of the operator set; is the weight fed?
    [6, 16, 1, 17, false],
    [9, 4, 1, 10, false],
    [2, 12, 2, 17, true],
    [4, 20, 4, 18, false],
    [12, 12, 2, 11, true],
    [30, 30, 6, 9, false],
  ] as const)('of %i channels to %i in %i groups has another form', async (...given) => {
    const [channels, outputs, group, opset, isFed] = given;
    const shape = [outputs, channels / group, 3, 3];
    const weight = Tensor.of('w', 'float32', shape, numbers(shape.reduce((a, b) => a * b)));
    const model = buildModel({
      nodes: [
        {
          opType: 'Conv',
          name: 'conv',
          inputs: ['x', 'w', 'b'],
          outputs: ['y'],
          attributes: {
            group: { int: group },
            auto_pad: { string: 'SAME_UPPER' },
            strides: { ints: [2, 2] },
          },
        },
        { opType: 'Relu', inputs: ['y'], outputs: ['z'] },
      ],
      inputs: [
        ValueInfo.tensor('x', 'float32', ['n', channels, 7, 6]),
        ...(isFed ? [ValueInfo.tensor('w', 'float32', shape)] : []),
      ],
      outputs: [ValueInfo.tensor('z', 'float32'), ValueInfo.tensor('y', 'float32')],
      initializers: [...(isFed ? [] : [weight]), Tensor.of('b', 'float32', [outputs], numbers(outputs))],
      opset,
    });
    expect(wrongOnWebGpu(model).map(({ name }) => name)).toEqual(['conv']);
    const mended = mendedForWebGpu(model);
    assertValid(mended);
    expect(model.graph.nodes).toHaveLength(2);
    const feeds = randomInputs(model, { batch: 2 });
    const [before, after] = [await evaluate(model, feeds), await evaluate(mended, feeds)];
    for (const name of ['y', 'z']) {
      const [a, b] = [before[name]!.data, after[name]!.data] as [Float32Array, Float32Array];
      expect(after[name]!.shape).toEqual(before[name]!.shape);
      const error = Math.hypot(...a.map((value, at) => value - b[at]!));
      expect(error).toBeLessThan(1e-6 * Math.hypot(...a));
    }
  });

  test('a model without one is left as it is', () => {
    const model = buildModel({
      nodes: [{ opType: 'Conv', inputs: ['x', 'w'], outputs: ['y'] }],
      inputs: [
        ValueInfo.tensor('x', 'float32', [1, 3, 5, 5]),
        ValueInfo.tensor('w', 'float32', [8, 3, 3, 3]),
      ],
      outputs: ['y'],
      opset: 17,
    });
    expect(mendedForWebGpu(model)).toBe(model);
  });
});
