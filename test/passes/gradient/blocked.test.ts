import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { assertValid, type Model, type NodeSpec, Tensor, ValueInfo } from '../../../src/graph/index.js';
import { gradient } from '../../../src/passes/gradient/index.js';
import {
  BLOCKED_DOMAIN,
  blockSize,
  evaluate,
  Random,
  type RuntimeTensor,
} from '../../../src/runtime/index.js';
import { buildModel } from '../../../src/runtime/session/small-model.js';
import { relativeError } from '../models.js';
import { opModel, size } from './check-gradient.js';
import { labels } from './networks.js';

const block = await blockSize();

/** Channels in and out, and groups: blocks in full and in part, few channels, depthwise. */
const channels = fc.constantFrom(
  [16, 32, 1],
  [20, 36, 1],
  [16, 28, 1],
  [28, 16, 1],
  [3, 16, 1],
  [5, 48, 1],
  [32, 32, 32],
  [64, 64, 64],
  [64, 16, 1],
);

/** Convolutions, dense and depthwise, with what stands between them in residual networks. */
function residual(width: number, activation: string): Model {
  const weights: Record<string, number[]> = {
    w1: [width, 4, 3, 3],
    w2: [width, width, 3, 3],
    w3: [width, 1, 3, 3],
    w4: [5, width],
    ...Object.fromEntries(
      [1, 2, 3].flatMap((i) => [`s${i}`, `b${i}`, `m${i}`, `v${i}`].map((n) => [n, [width]])),
    ),
  };
  const initializers = Object.entries(weights).map(([name, shape]) => {
    const data = new Random(2, name).fillNormal(new Float32Array(size(shape)));
    const isPositive = /^[sv]/.test(name);
    return Tensor.of(name, 'float32', shape, isPositive ? data.map((number) => 1 + number * number) : data);
  });
  const conv = (inputs: string[], output: string, stride = 1, group = 1): NodeSpec => ({
    opType: 'Conv',
    inputs,
    outputs: [output],
    attributes: {
      pads: { ints: [1, 1, 1, 1] },
      strides: { ints: [stride, stride] },
      group: { int: group },
    },
  });
  const norm = (input: string, i: number, output: string): NodeSpec => ({
    opType: 'BatchNormalization',
    inputs: [input, `s${i}`, `b${i}`, `m${i}`, `v${i}`],
    outputs: [output],
  });
  const active = (input: string, output: string): NodeSpec => ({
    opType: activation,
    inputs: activation === 'Clip' ? [input, 'low', 'high'] : [input],
    outputs: [output],
  });
  return buildModel({
    nodes: [
      conv(['x', 'w1'], 'c1'),
      norm('c1', 1, 'n1'),
      active('n1', 'a1'),
      conv(['a1', 'w2'], 'c2'),
      norm('c2', 2, 'n2'),
      { opType: 'Add', inputs: ['n2', 'a1'], outputs: ['sum'] },
      active('sum', 'a2'),
      conv(['a2', 'w3'], 'c3', 2, width),
      norm('c3', 3, 'n3'),
      active('n3', 'a3'),
      { opType: 'GlobalAveragePool', inputs: ['a3'], outputs: ['pooled'] },
      { opType: 'Flatten', inputs: ['pooled'], outputs: ['flat'] },
      { opType: 'Gemm', inputs: ['flat', 'w4'], outputs: ['y'], attributes: { transB: { int: 1 } } },
    ],
    inputs: [ValueInfo.tensor('x', 'float32', ['batch', 4, 6, 7])],
    outputs: [ValueInfo.tensor('y', 'float32')],
    initializers: [
      ...initializers,
      Tensor.of('low', 'float32', [], Float32Array.of(-0.5)),
      Tensor.of('high', 'float32', [], Float32Array.of(1)),
    ],
    opset: 17,
  });
}

describe.skipIf(block === undefined)('convolutions in the blocked layout', () => {
  test('compute what standard ones do, forward and backward', async () => {
    let count = 0;
    let byImages = 0;
    await fc.assert(
      fc.asyncProperty(
        channels,
        // Blocks of images: none, full ones, some in part.
        fc.constantFrom(2, 16, 28, 32),
        fc.constantFrom([1, 1], [3, 3], [2, 3]),
        fc.constantFrom([1, 1], [2, 2], [1, 3], [2, 1]),
        fc.constantFrom(1, 1, 2),
        fc.constantFrom(0, 1),
        fc.boolean(),
        async ([inputs, outputs, group], batch, kernel, strides, dilation, pad, hasBias) => {
          const shapes = [
            [batch, inputs!, 6, 7],
            [outputs!, inputs! / group!, ...kernel!],
            ...(hasBias ? [[outputs!]] : []),
          ];
          const model = opModel({
            op: 'Conv',
            type: 'float32',
            shapes,
            attributes: {
              group: { int: group! },
              strides: { ints: strides },
              dilations: { ints: [dilation, dilation] },
              pads: { ints: [pad, pad, pad, 0] },
            },
          });
          const wrt = ['a', 'b', ...(hasBias ? ['c'] : [])];
          const [standard, blocked] = [
            await gradient(model, { loss: 'dot', wrt }),
            await gradient(model, { loss: 'dot', wrt, block }),
          ];
          assertValid(blocked.model);
          const ours = blocked.model.graph.nodes.filter(({ domain }) => domain === BLOCKED_DOMAIN);
          const convolutions = ours.filter(({ opType }) => opType === 'Conv');
          count += convolutions.length;
          // Those have dY for a kernel.
          const sizes = convolutions.map(({ attributes }) => `${attributes.ints('kernel_shape')}`);
          byImages += group === 1 ? sizes.filter((own) => own !== `${kernel}` && own !== '1,1').length : 0;
          expect(standard.model.graph.nodes.every(({ domain }) => domain === '')).toBe(true);
          const feeds: Record<string, RuntimeTensor> = {};
          for (const { name, shape } of standard.model.graph.inputs) {
            const data = new Random(1, name).fillNormal(new Float32Array(size(shape as number[])));
            feeds[name] = { type: 'float32', shape: shape as number[], data };
          }
          const [expected, found] = [
            await evaluate(standard.model, feeds),
            await evaluate(blocked.model, feeds),
          ];
          for (const [name, tensor] of Object.entries(expected)) {
            // A sum of numbers that cancel.
            if (name === standard.loss) continue;
            const [a, b] = [tensor.data as Float32Array, found[name]!.data as Float32Array];
            expect(relativeError(a, b), name).toBeLessThan(2e-6);
          }
        },
      ),
      { numRuns: 90, seed: 2 },
    );
    expect(count).toBeGreaterThan(40);
    expect(byImages).toBeGreaterThan(6);
  });

  test('go on through normalization by the batch, activations and sums', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(16, 32),
        fc.constantFrom(2, 16),
        fc.constantFrom('Relu', 'LeakyRelu', 'Clip', 'HardSwish', 'Sigmoid', 'Tanh'),
        fc.boolean(),
        async (width, batch, activation, isTraining) => {
          const model = residual(width, activation);
          const options = {
            loss: 'cross-entropy',
            batch,
            dims: { batch },
            batchNorm: isTraining ? 'training' : 'inference',
            weights: 'constants',
          } as const;
          const [standard, blocked] = [
            await gradient(model, options),
            await gradient(model, { ...options, block }),
          ];
          assertValid(blocked.model);
          const ops = blocked.model.graph.nodes.map(({ opType }) => opType);
          if (isTraining) expect(ops).not.toContain('BatchNormalization');
          const feeds = (target: string): Record<string, RuntimeTensor> => ({
            x: {
              type: 'float32',
              shape: [batch, 4, 6, 7],
              data: new Random(1, 'x').fillNormal(new Float32Array(batch * 4 * 6 * 7)),
            },
            [target]: { type: 'int64', shape: [batch], data: labels(batch, 5) },
          });
          const [expected, found] = [
            await evaluate(standard.model, feeds(standard.target!)),
            await evaluate(blocked.model, feeds(blocked.target!)),
          ];
          const pairs = [
            [standard.loss, blocked.loss],
            ...[...standard.gradients].map(([name, own]) => [own, blocked.gradients.get(name)]),
            ...[...standard.state].map(([name, own]) => [own, blocked.state.get(name)]),
          ];
          expect(standard.state.size).toBe(isTraining ? 6 : 0);
          for (const [a, b] of pairs) {
            const [own, other] = [expected[a!]!.data, found[b!]!.data];
            expect(relativeError(own as Float32Array, other as Float32Array), a).toBeLessThan(2e-5);
          }
        },
      ),
      { numRuns: 16, seed: 3 },
    );
  });
});
