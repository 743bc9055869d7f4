import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { assertValid, type Model, type NodeSpec, Tensor, ValueInfo } from '../../../src/graph/index.js';
import { type GradientOptions, gradient } from '../../../src/passes/gradient/index.js';
import { evaluate, Random, type RuntimeTensor } from '../../../src/runtime/index.js';
import { buildModel } from '../../../src/runtime/session/small-model.js';
import { relativeError } from '../models.js';
import { size } from './check-gradient.js';
import { CNN, labels, MLP, VIT } from './networks.js';

/** Inputs of a graph of gradients: weights as they are, what is fed at random, labels of four classes. */
function feedsOf({
  model,
  weights,
}: Pick<Awaited<ReturnType<typeof gradient>>, 'model' | 'weights'>): Record<string, RuntimeTensor> {
  return Object.fromEntries(
    model.graph.inputs.map(({ name, dataType, shape: dims }): [string, RuntimeTensor] => {
      const weight = weights.get(name);
      if (weight !== undefined) {
        const { dataType: type, shape } = weight;
        return [name, { type, shape, data: weight.array() } as RuntimeTensor];
      }
      const shape = (dims ?? []).map(Number);
      if (dataType === 'int64') return [name, { type: 'int64', shape, data: labels(size(shape), 4) }];
      const data = new Random(3, name).fillNormal(new Float32Array(size(shape)));
      return [name, { type: 'float32', shape, data }];
    }),
  );
}

/** Gradients with activations that stay and with those that are computed again. */
async function both(model: Model, options: GradientOptions) {
  const [kept, again] = [
    await gradient(model, options),
    await gradient(model, { ...options, checkpointing: true }),
  ];
  assertValid(again.model);
  const feeds = feedsOf(kept);
  return {
    kept,
    again,
    expected: await evaluate(kept.model, feeds),
    found: await evaluate(again.model, feeds),
  };
}

/** Layers of 8 units with connections past some of them, dropout among them. */
function withConnections(
  depth: number,
  connections: readonly (readonly [from: number, to: number])[],
): Model {
  const nodes: NodeSpec[] = [];
  const weights: Tensor[] = [Tensor.of('ratio', 'float32', [], Float32Array.of(0.25))];
  const training = Tensor.of('training', 'bool', [], Uint8Array.of(1));
  for (let layer = 1; layer <= depth; layer += 1) {
    const data = new Random(layer, 'w').fillNormal(new Float32Array(64));
    weights.push(
      Tensor.of(
        `w${layer}`,
        'float32',
        [8, 8],
        data.map((number) => number / 3),
      ),
    );
    nodes.push({ opType: 'MatMul', inputs: [`h${layer - 1}`, `w${layer}`], outputs: [`a${layer}`] });
    const past = connections.filter(([from, to]) => to === layer && from < layer).map(([from]) => `h${from}`);
    const sum = past.length > 0 ? `s${layer}` : `a${layer}`;
    if (past.length > 0) nodes.push({ opType: 'Sum', inputs: [`a${layer}`, ...past], outputs: [sum] });
    const kind = ['Tanh', 'Sigmoid', 'Dropout', 'Softplus'][layer % 4] as string;
    const inputs = kind === 'Dropout' ? [sum, 'ratio', 'training'] : [sum];
    nodes.push({ opType: kind, inputs, outputs: [`h${layer}`] });
  }
  nodes.push({ opType: 'Identity', inputs: [`h${depth}`], outputs: ['y'] });
  return buildModel({
    nodes,
    inputs: [ValueInfo.tensor('h0', 'float32', ['batch', 8])],
    outputs: [ValueInfo.tensor('y', 'float32', ['batch', 8])],
    initializers: [...weights, training],
    opset: 18,
  });
}

describe('activations that are computed again', () => {
  test('give the gradients that they give when they stay, whatever connections there are', async () => {
    let rewritten = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 3, max: 14 }),
        fc.array(fc.tuple(fc.integer({ min: 0, max: 12 }), fc.integer({ min: 1, max: 13 })), {
          maxLength: 4,
        }),
        async (depth, connections) => {
          const model = withConnections(depth, connections);
          const { kept, again, expected, found } = await both(model, {
            loss: 'mse',
            batch: 64,
            masks: 'inputs',
          });
          expect(again.peakBytes).toBeLessThanOrEqual(kept.peakBytes);
          if (again.model.graph.nodes.length > kept.model.graph.nodes.length) rewritten += 1;
          expect([...again.gradients.keys()]).toEqual([...kept.gradients.keys()]);
          for (const [name, value] of kept.gradients) {
            const made = found[again.gradients.get(name) ?? '']?.data as Float32Array;
            expect(relativeError(expected[value]?.data as Float32Array, made), name).toBeLessThan(1e-6);
          }
        },
      ),
      { numRuns: 25 },
    );
    expect(rewritten).toBeGreaterThan(15);
  });

  test.each([
    ['a perceptron', MLP('float32'), {}],
    ['a convolutional network, normalized by the batch', CNN(), {}],
    ['a transformer', VIT(), { dims: {} }],
  ] as const)('give the gradients and statistics of %s', async (_, model, more) => {
    const { kept, again, expected, found } = await both(model, { loss: 'cross-entropy', batch: 32, ...more });
    for (const of of ['gradients', 'state'] as const)
      for (const [name, value] of kept[of]) {
        const made = found[again[of].get(name) ?? '']?.data as Float32Array;
        expect(relativeError(expected[value]?.data as Float32Array, made), name).toBeLessThan(2e-6);
      }
  });

  test('drop what was dropped the first time, where onnxruntime draws it', async () => {
    const layers = Array.from({ length: 16 }, (_, layer) => layer);
    const model = buildModel({
      nodes: layers.flatMap((layer): NodeSpec[] => [
        { opType: 'MatMul', inputs: [`h${layer}`, `w${layer}`], outputs: [`a${layer}`] },
        { opType: 'Relu', inputs: [`a${layer}`], outputs: [`r${layer}`] },
        { opType: 'Dropout', inputs: [`r${layer}`, 'ratio', 'training'], outputs: [`h${layer + 1}`] },
      ]),
      inputs: [ValueInfo.tensor('h0', 'float32', ['batch', 8])],
      outputs: [ValueInfo.tensor('h16', 'float32', ['batch', 8])],
      initializers: [
        ...layers.map((layer) => {
          const data = new Random(layer, 'w').fillNormal(new Float32Array(64));
          return Tensor.of(
            `w${layer}`,
            'float32',
            [8, 8],
            data.map((value) => Math.abs(value) / 6),
          );
        }),
        Tensor.of('ratio', 'float32', [], Float32Array.of(0.3)),
        Tensor.of('training', 'bool', [], Uint8Array.of(1)),
      ],
      opset: 18,
    });
    const made = await gradient(model, { loss: 'sum', batch: 64, checkpointing: true });
    expect(made.model.graph.nodes.some(({ name }) => name.startsWith('recompute/'))).toBe(true);
    const results = await evaluate(made.model, feedsOf(made));
    const loss = Number(results[made.loss ?? '']?.data[0]);
    // The sum of the outputs has degree 1 in each weight: Euler's W · dL/dW = L, for one and the same choice of what is dropped.
    for (const [name, value] of made.gradients) {
      const [weight, slope] = [made.weights.get(name)?.floats(), results[value]?.data as Float32Array];
      const inner = slope.reduce((sum, number, i) => sum + number * (weight?.[i] ?? 0), 0);
      expect(Math.abs(inner / loss - 1), name).toBeLessThan(1e-4);
    }
  });

  test('take a fraction of the memory of a deep network, and begin when the backward part has come to them', async () => {
    const { kept, again } = await both(withConnections(40, []), { loss: 'mse', batch: 512, masks: 'inputs' });
    expect(again.peakBytes).toBeLessThan(0.5 * kept.peakBytes);
    // Whatever computes something again follows, by its inputs, something of the backward part.
    const { graph } = again.model;
    const isBehind = (value: string): boolean => {
      const node = graph.producer(value);
      if (node === undefined) return false;
      return value.startsWith('grad/') || node.inputs.some(isBehind);
    };
    const copies = graph.nodes.filter(({ name }) => name.startsWith('recompute/') && !name.includes('Slice'));
    expect(copies.length).toBeGreaterThan(20);
    for (const { outputs } of copies) expect(outputs.every(isBehind), outputs[0]).toBe(true);
  });
});
