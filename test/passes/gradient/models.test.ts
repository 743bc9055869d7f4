import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  assertValid,
  type Model,
  type NativeArray,
  type NodeSpec,
  readModel,
  Tensor,
  ValueInfo,
} from '../../../src/graph/index.js';
import { GradientError, gradient, type Loss, trainableWeights } from '../../../src/passes/gradient/index.js';
import { evaluate, openSession, type RuntimeTensor, randomInputs } from '../../../src/runtime/index.js';
import { buildModel as smallModel } from '../../../src/runtime/session/small-model.js';
import { buildGraph, buildModel, floats } from '../../support/build.js';
import { CNN, labels, MLP, VIT, wave } from './networks.js';

interface Figures {
  readonly loss: number;
  readonly gradients: Record<string, { norm: number; at: Record<string, number> }>;
  readonly state: Record<string, number[]>;
}
const reference = JSON.parse(
  readFileSync(new URL('../../reference/gradient.json', import.meta.url), 'utf8'),
) as {
  mlp: Figures;
  cnn: Figures;
  vit: Figures;
};

/** Feeds of a training step: data, target, and the weights as the model has them. */
function feedsOf(
  model: Model,
  step: Model,
  data: Record<string, RuntimeTensor>,
): Record<string, RuntimeTensor> {
  const weights = step.graph.inputs.flatMap(({ name }) => {
    const tensor = model.graph.initializers.get(name);
    return tensor === undefined
      ? []
      : [[name, { type: tensor.dataType, shape: tensor.shape, data: tensor.array() }] as const];
  });
  return { ...Object.fromEntries(weights), ...data };
}

async function compare(
  model: Model,
  figures: Figures,
  x: RuntimeTensor,
  classes: number,
  loss: Loss,
  tolerance: number,
) {
  const bytes = JSON.stringify(model.proto);
  const batch = x.shape[0]!;
  const made = await gradient(model, { loss, batch });
  expect(JSON.stringify(model.proto)).toBe(bytes);
  assertValid(made.model);
  expect([...made.gradients.keys()].sort()).toEqual(Object.keys(figures.gradients).sort());
  expect([...made.state.keys()].sort()).toEqual(Object.keys(figures.state).sort());
  await using session = await openSession(made.model);
  const target = { type: 'int64' as const, shape: [batch], data: labels(batch, classes) };
  const results = await session.run(feedsOf(model, made.model, { x, [made.target!]: target }));
  const numbers = (name: string) => results[name]!.data as Float32Array;
  expect(Math.abs(numbers(made.loss)[0]! - figures.loss)).toBeLessThan(tolerance * figures.loss);
  // The gradient of a scale whose output is normalized again is almost nothing, the difference of large sums: of such
  // a one the error is measured against the others.
  const least = 0.01 * Math.max(...Object.values(figures.gradients).map(({ norm }) => norm));
  for (const [name, { norm: own, at }] of Object.entries(figures.gradients)) {
    const norm = Math.max(own, least);
    const found = numbers(made.gradients.get(name)!);
    expect(Math.abs(Math.hypot(...found) - own), name).toBeLessThan(tolerance * norm);
    for (const [place, number] of Object.entries(at)) {
      expect(Math.abs(found[Number(place)]! - number), `${name}[${place}]`).toBeLessThan(tolerance * norm);
    }
  }
  for (const [name, expected] of Object.entries(figures.state)) {
    const found = numbers(made.state.get(name)!);
    for (const [i, number] of expected.entries()) expect(Math.abs(found[i]! - number)).toBeLessThan(1e-6);
  }
}

const input = (shape: readonly number[]): RuntimeTensor => ({
  type: 'float32',
  shape,
  data: Float32Array.from(wave(20, shape)),
});

describe('whole networks against PyTorch', () => {
  test('MLP with label smoothing, in float64 and float32', async () => {
    const loss = { kind: 'cross-entropy', smoothing: 0.1 } as const;
    const x = { type: 'float64', shape: [8, 12], data: wave(20, [8, 12]) } as const;
    // The label smoothing is given to OneHot in float32.
    await compare(MLP('float64'), reference.mlp, x, 5, loss, 1e-7);
    await compare(MLP('float32'), reference.mlp, input([8, 12]), 5, loss, 1e-5);
  });

  test('CNN with BatchNormalization, depthwise convolution and overlapping pooling, Softmax at its end', async () => {
    await compare(CNN(), reference.cnn, input([4, 2, 9, 9]), 4, { kind: 'cross-entropy' }, 1e-5);
  });

  test('vision transformer with a batch that is found out at run time', async () => {
    await compare(VIT(), reference.vit, input([4, 1, 8, 8]), 3, { kind: 'cross-entropy' }, 1e-5);
  });
});

describe('second derivatives', () => {
  test('of an MLP: a Hessian-vector product is the difference of two gradients', async () => {
    const model = MLP('float64');
    const first = await gradient(model, { loss: 'cross-entropy', batch: 4, wrt: ['w2'] });
    const gradientName = first.gradients.get('w2')!;
    const second = await gradient(first.model, { loss: 'dot', output: gradientName, wrt: ['w2'] });
    assertValid(second.model);
    await using session = await openSession(second.model);
    await using simple = await openSession(first.model);
    const w2 = wave(3, [16, 16], 0.3);
    const v = wave(9, [16, 16]);
    const feeds = {
      x: { type: 'float64' as const, shape: [4, 12], data: wave(20, [4, 12]) },
      [first.target!]: { type: 'int64' as const, shape: [4], data: labels(4, 5) },
    };
    const at = (data: Float64Array) => ({
      ...feeds,
      w2: { type: 'float64' as const, shape: [16, 16], data },
    });
    const results = await session.run({
      ...at(w2),
      [second.target!]: { type: 'float64', shape: [16, 16], data: v },
    });
    const product = results[second.gradients.get('w2')!]!.data as Float64Array;
    const h = 1e-5;
    const gradientAt = async (sign: number) => {
      const moved = await simple.run(at(w2.map((number, i) => number + sign * h * v[i]!)));
      return moved[gradientName]!.data as Float64Array;
    };
    const [above, below] = [await gradientAt(1), await gradientAt(-1)];
    const scale = Math.max(...product.map(Math.abs));
    expect(scale).toBeGreaterThan(1e-4);
    for (const [i, number] of product.entries()) {
      expect(Math.abs(number - (above[i]! - below[i]!) / (2 * h)) / scale).toBeLessThan(1e-7);
    }
  });

  test('of the CNN and the transformer', async () => {
    for (const [model, x, classes, wrt] of [
      [CNN(), input([4, 2, 9, 9]), 4, 'c3'],
      [VIT(), input([2, 1, 8, 8]), 3, 'qkv'],
    ] as const) {
      const options = { weights: 'inputs', batch: x.shape[0]! } as const;
      const first = await gradient(model, { loss: 'cross-entropy', ...options, wrt: [wrt] });
      const second = await gradient(first.model, {
        loss: 'dot',
        output: first.gradients.get(wrt)!,
        wrt: [wrt],
      });
      const shape = model.graph.initializers.get(wrt)!.shape;
      const weight = model.graph.initializers.get(wrt)!.floats();
      const v = Float32Array.from(wave(9, shape));
      const float = (data: Float32Array): RuntimeTensor => ({ type: 'float32', shape, data });
      const data = {
        x,
        [first.target!]: { type: 'int64' as const, shape: [x.shape[0]!], data: labels(x.shape[0]!, classes) },
      };
      await using session = await openSession(second.model);
      await using simple = await openSession(first.model);
      const fed = { ...feedsOf(model, second.model, data), [second.target!]: float(v) };
      const product = (await session.run(fed))[second.gradients.get(wrt)!]!.data as Float32Array;
      const h = 3e-3;
      const gradientAt = async (sign: number) => {
        const moved = {
          ...feedsOf(model, first.model, data),
          [wrt]: float(Float32Array.from(weight, (number, i) => number + sign * h * v[i]!)),
        };
        return (await simple.run(moved))[first.gradients.get(wrt)!]!.data as Float32Array;
      };
      const [above, below] = [await gradientAt(1), await gradientAt(-1)];
      const scale = Math.max(...product.map(Math.abs));
      for (const [i, number] of product.entries()) {
        expect(Math.abs(number - (above[i]! - below[i]!) / (2 * h)) / scale).toBeLessThan(5e-3);
      }
    }
  });
});

describe('layers that training computes in another way', () => {
  test('BatchNormalization leaves what it is fed alone, and gives the same twice', async () => {
    for (const weights of ['inputs', 'constants'] as const) {
      const model = CNN();
      const made = await gradient(model, { loss: 'cross-entropy', batch: 4, weights });
      await using session = await openSession(made.model);
      const data = {
        x: input([4, 2, 9, 9]),
        [made.target!]: { type: 'int64' as const, shape: [4], data: labels(4, 4) },
      };
      const feeds = feedsOf(model, made.model, data);
      const before = JSON.stringify(
        Object.values(feeds).map((feed) => Array.from(feed.data as Float32Array, String)),
      );
      const text = (results: Record<string, RuntimeTensor>) =>
        Object.values(results).map(({ data }) => [...(data as Float32Array)]);
      const first = text(await session.run(feeds));
      expect(text(await session.run(feeds))).toEqual(first);
      expect(
        JSON.stringify(Object.values(feeds).map((feed) => Array.from(feed.data as Float32Array, String))),
      ).toBe(before);
    }
  });

  test('Dropout: the gradient passes where the elements did, as much larger; in inference everywhere', async () => {
    const model = smallModel({
      nodes: [
        { opType: 'Dropout', inputs: ['x', 'ratio'], outputs: ['y'], attributes: { seed: { int: 7 } } },
      ],
      inputs: [ValueInfo.tensor('x', 'float32', [400])],
      outputs: ['y'],
      initializers: [Tensor.of('ratio', 'float32', [], Float32Array.of(0.25))],
      opset: 17,
    });
    const x = { type: 'float32' as const, shape: [400], data: new Float32Array(400).fill(1) };
    const run = async (dropout: 'training' | 'inference') => {
      const made = await gradient(model, { loss: 'sum', wrt: ['x'], dropout });
      const results = await evaluate(made.model, { x });
      return {
        y: results.y!.data as Float32Array,
        slope: results[made.gradients.get('x')!]!.data as Float32Array,
      };
    };
    const { y, slope } = await run('training');
    for (const [i, number] of y.entries()) expect(slope[i]).toBeCloseTo(number, 6);
    const kept = y.filter((number) => number !== 0);
    expect(kept.length).toBeGreaterThan(250);
    expect(kept.length).toBeLessThan(350);
    expect(kept[0]).toBeCloseTo(4 / 3, 6);
    expect(new Set((await run('inference')).slope)).toEqual(new Set([1]));
  });

  test('weights in Constant nodes, and vectors that an exporter wrote once', async () => {
    const model = smallModel({
      nodes: [
        { opType: 'Identity', inputs: ['zeros'], outputs: ['bias'] },
        {
          opType: 'Constant',
          inputs: [],
          outputs: ['w'],
          attributes: { value: { tensor: Tensor.of('', 'float32', [2, 2], Float32Array.of(1, 2, 3, 4)) } },
        },
        { opType: 'Gemm', inputs: ['x', 'w', 'bias'], outputs: ['h'] },
        { opType: 'Add', inputs: ['h', 'zeros'], outputs: ['y'] },
      ],
      inputs: [ValueInfo.tensor('x', 'float32', [1, 2])],
      outputs: ['y'],
      initializers: [Tensor.of('zeros', 'float32', [2], new Float32Array(2))],
      opset: 17,
    });
    const made = await gradient(model, { loss: 'mse' });
    expect([...made.gradients.keys()].sort()).toEqual(['bias', 'w', 'zeros']);
    expect([...made.weights.keys()].sort()).toEqual(['bias', 'w', 'zeros']);
    expect(made.weights.get('w')!.floats()).toEqual(Float32Array.of(1, 2, 3, 4));
  });
});

describe('models', () => {
  const models = [
    'fixtures/shapes.onnx',
    '../shared/models/mnist-cntk.onnx',
    '../shared/models/mnist-pytorch.onnx',
  ];
  for (const path of models) {
    test.skipIf(!existsSync(path))(`${path} learns`, async () => {
      const model = await readModel(path);
      const made = await gradient(model, { loss: 'cross-entropy', batch: 16 });
      assertValid(made.model);
      expect(made.unreached).toEqual([]);
      await using session = await openSession(made.model);
      const feeds = feedsOf(model, made.model, randomInputs(made.model)) as Record<string, RuntimeTensor>;
      for (const [name, tensor] of model.graph.initializers) {
        if (feeds[name] !== undefined)
          feeds[name] = { type: tensor.dataType, shape: tensor.shape, data: tensor.array() };
      }
      const first = await session.run(feeds);
      // A step down the slope, sized to lower the loss by a hundredth of it, does.
      let square = 0;
      for (const output of made.gradients.values())
        for (const g of first[output]!.data as Float32Array) square += g * g;
      const before = (first[made.loss]!.data as Float32Array)[0]!;
      const rate = (0.01 * before) / square;
      for (const [name, output] of made.gradients) {
        const slope = first[output]!.data as Float32Array;
        const data = (feeds[name]!.data as Float32Array).map((number, i) => number - rate * slope[i]!);
        feeds[name] = { ...feeds[name]!, data: data as NativeArray };
      }
      const after = ((await session.run(feeds))[made.loss]!.data as Float32Array)[0]!;
      expect(before - after).toBeGreaterThan(0.005 * before);
      expect(before - after).toBeLessThan(0.02 * before);
    });
  }

  test('what cannot be differentiated is named, all of it, before any work', async () => {
    const model = smallModel({
      nodes: [
        { opType: 'Mul', inputs: ['x', 'w'], outputs: ['a'], name: 'scale' },
        { opType: 'Det', inputs: ['a'], outputs: ['b'], name: 'first' },
        { opType: 'ArgMax', inputs: ['a'], outputs: ['ignored'], name: 'harmless' },
        { opType: 'Det', inputs: ['x'], outputs: ['aside'], name: 'beside' },
        { opType: 'Add', inputs: ['b', 'aside'], outputs: ['c'], name: 'sum' },
        { opType: 'Acosh', inputs: ['c'], outputs: ['y'], name: 'second' },
      ],
      inputs: [ValueInfo.tensor('x', 'float32', [2, 2])],
      outputs: ['y'],
      initializers: [Tensor.of('w', 'float32', [2, 2], new Float32Array(4))],
      opset: 17,
    });
    const failure = gradient(model, { loss: 'sum' });
    await expect(failure).rejects.toBeInstanceOf(GradientError);
    await failure.catch((error: GradientError) => {
      expect(error.unsupported.map(({ node, op }) => [node, op])).toEqual([
        ['first', 'Det'],
        ['second', 'Acosh'],
      ]);
    });
  });

  test('open sizes, unknown names and impossible options are said', async () => {
    const model = MLP('float32');
    await expect(gradient(model, { loss: 'mse' })).rejects.toThrow(
      /dimension 0 of input 'x' is open \(batch\)/,
    );
    const empty = buildModel({
      inputs: [['x', 'float32', [0, 4]]],
      outputs: [['y', 'float32', [0, 3]]],
      nodes: [{ opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }],
      initializers: [floats('w', [4, 3], (i) => i)],
    });
    await expect(gradient(empty, { loss: 'mse' })).rejects.toThrow(
      "input 'x' has no elements: its dimension 0 is 0",
    );
    const old = buildModel({
      opset: 9,
      inputs: [['x', 'float32', [1, 3, 4, 4]]],
      outputs: [['y', 'float32', [1, 3, 4, 4]]],
      nodes: [
        { opType: 'ImageScaler', name: 'scale', inputs: ['x'], outputs: ['h'] },
        { opType: 'Mul', inputs: ['h', 'w'], outputs: ['y'] },
      ],
      initializers: [floats('w', [1], () => 2)],
    });
    await expect(gradient(old, { loss: 'sum' })).rejects.toThrow(
      "node 'scale': ImageScaler was removed from the standard in operator set 10",
    );
    await expect(gradient(model, { loss: 'mse', dims: { btach: 4 } })).rejects.toThrow(/'x' is open|'btach'/);
    await expect(gradient(model, { loss: 'mse', batch: 4, wrt: ['w9'] })).rejects.toThrow(/'w9'/);
    await expect(gradient(model, { loss: 'mse', batch: 4, output: 'z' })).rejects.toThrow(/no output 'z'/);
    await expect(gradient(model, { loss: { kind: 'huber', delta: 0 }, batch: 4 })).rejects.toThrow(/delta/);
    await expect(gradient(model, { loss: 'mse', batch: 0 })).rejects.toThrow('batch must be an integer ≥ 1');
  });

  test('trainable weights: no running statistics, no constants', () => {
    expect(trainableWeights(CNN().graph, 'y')).toEqual([
      'c1',
      'g1',
      'h1',
      'c2',
      'g2',
      'h2',
      'c3',
      'b3',
      'w',
      'b',
    ]);
    expect(trainableWeights(VIT().graph, 'y')).toHaveLength(18);
  });

  test('an If with a constant condition is the branch that it takes', async () => {
    const branch = (op: string) =>
      buildGraph({
        nodes: [{ opType: op, inputs: ['h', 'two'], outputs: ['out'] }],
        outputs: [['out', 'float64', [3]]],
        initializers: [Tensor.of('two', 'float64', [], Float64Array.of(2))],
      });
    for (const [truth, slope] of [
      [1, 2],
      [0, 1],
    ] as const) {
      const model = smallModel({
        nodes: [
          { opType: 'Identity', inputs: ['x'], outputs: ['h'] },
          {
            opType: 'If',
            inputs: ['c'],
            outputs: ['y'],
            name: 'choice',
            attributes: { else_branch: { graph: branch('Add') }, then_branch: { graph: branch('Mul') } },
          },
        ],
        inputs: [ValueInfo.tensor('x', 'float64', [3])],
        outputs: ['y'],
        initializers: [Tensor.of('c', 'bool', [], Uint8Array.of(truth))],
        opset: 17,
      });
      const made = await gradient(model, { loss: 'sum', wrt: ['x'] });
      assertValid(made.model);
      const results = await evaluate(made.model, {
        x: { type: 'float64', shape: [3], data: new Float64Array(3) },
      });
      expect([...(results[made.gradients.get('x')!]!.data as Float64Array)]).toEqual([slope, slope, slope]);
    }
  });

  test('an If in a branch, with a subgraph that goes on beside it, and one whose condition follows from sizes', async () => {
    const out = [['out', 'float64', [3]]] as const;
    const product = (factor: string) =>
      buildGraph({ nodes: [{ opType: 'Mul', inputs: ['h', factor], outputs: ['out'] }], outputs: [...out] });
    const choice = (condition: string, then: string, otherwise: string): NodeSpec => ({
      opType: 'If',
      inputs: [condition],
      outputs: ['chosen'],
      name: `by ${condition}`,
      attributes: { then_branch: { graph: product(then) }, else_branch: { graph: product(otherwise) } },
    });
    // The outer branch has an If of its own, and one whose condition the data decide: no gradient is asked of that.
    const outer = buildGraph({
      nodes: [
        choice('no', 'w', 'v'),
        { opType: 'ReduceMax', inputs: ['x'], outputs: ['largest'], attributes: { keepdims: { int: 0 } } },
        { opType: 'Greater', inputs: ['largest', 'zero'], outputs: ['isPositive'] },
        { ...choice('isPositive', 'x', 'x'), outputs: ['unused'], name: 'by data' },
        { opType: 'Shape', inputs: ['unused'], outputs: ['sizes'] },
        { opType: 'Cast', inputs: ['sizes'], outputs: ['three'], attributes: { to: { int: 11 } } },
        { opType: 'Mul', inputs: ['chosen', 'three'], outputs: ['out'] },
      ],
      outputs: [...out],
    });
    const model = smallModel({
      nodes: [
        { opType: 'Identity', inputs: ['x'], outputs: ['h'] },
        { opType: 'Shape', inputs: ['x'], outputs: ['shape'] },
        { opType: 'Equal', inputs: ['shape', 'length'], outputs: ['isThree'] },
        {
          opType: 'If',
          inputs: ['isThree'],
          outputs: ['y'],
          name: 'by size',
          attributes: { then_branch: { graph: outer }, else_branch: { graph: product('w') } },
        },
      ],
      inputs: [ValueInfo.tensor('x', 'float64', ['n'])],
      outputs: ['y'],
      initializers: [
        Tensor.of('no', 'bool', [], Uint8Array.of(0)),
        Tensor.of('length', 'int64', [1], BigInt64Array.of(3n)),
        Tensor.of('zero', 'float64', [], Float64Array.of(0)),
        Tensor.of('v', 'float64', [3], Float64Array.of(2, 4, 8)),
        Tensor.of('w', 'float64', [], Float64Array.of(-1)),
      ],
      opset: 17,
    });
    for (const [n, slopes] of [
      [3, [6, 12, 24]],
      [2, [-1, -1]],
    ] as const) {
      const made = await gradient(model, { loss: 'sum', wrt: ['x'], dims: { n } });
      assertValid(made.model);
      const x = { type: 'float64', shape: [n], data: new Float64Array(n).fill(1) } as const;
      const results = await evaluate(made.model, { x });
      expect([...(results[made.gradients.get('x')!]!.data as Float64Array)]).toEqual(slopes);
    }
  });

  test('only what wrt needs is built', async () => {
    const all = await gradient(MLP('float32'), { loss: 'cross-entropy', batch: 4 });
    const last = await gradient(MLP('float32'), { loss: 'cross-entropy', batch: 4, wrt: ['b3'] });
    expect(last.model.graph.nodes.length).toBeLessThan(all.model.graph.nodes.length - 8);
    expect(last.model.graph.nodes.filter((node) => node.is('Gemm'))).toHaveLength(2);
  });
});
