import { expect, test } from 'vitest';
import { openSession, Random, type RuntimeTensor } from '../../src/runtime/index.js';
import { newNetwork } from '../../src/study/networks.js';
import { diverseObjective, oneHot } from '../../src/training/diverse/objective.js';
import { trainDiverse } from '../../src/training/diverse/train-diverse.js';
import { openEngine } from '../../src/training/engine/engine.js';
import type { OptimizerRule } from '../../src/training/optimizers/optimizer-rule.js';
import type { Dataset } from '../../src/training/types.js';
import { buildModel } from '../support/build.js';
import { PLAIN } from './support.js';

const [BATCH, FEATURES, CLASSES] = [6, 5, 3];

async function setUp(alignment: number) {
  const members = [];
  for (const seed of [0, 1])
    members.push(
      await newNetwork('mlp', {
        inputs: [FEATURES],
        outputs: CLASSES,
        depth: 2,
        width: 8,
        activation: 'tanh',
        seed,
      }),
    );
  const objective = await diverseObjective(members, BATCH, { diverse: 2, alignment });
  const random = new Random(0, 'samples');
  const x: RuntimeTensor = {
    type: 'float32',
    shape: [BATCH, FEATURES],
    data: random.fillNormal(new Float32Array(BATCH * FEATURES)),
  };
  const labels = BigInt64Array.from({ length: BATCH }, (_, i) => BigInt(i % CLASSES));
  const targets: RuntimeTensor = { type: 'float32', shape: [BATCH, CLASSES], data: oneHot(labels, CLASSES) };
  return { members, objective, x, targets, labels };
}

test('the objective is the cross-entropies and the squared cosines of the input gradients', async () => {
  const { members, objective, x, targets, labels } = await setUp(0.5);
  await using session = await openSession(objective.model);
  const { [objective.loss]: found } = await session.run({
    [objective.samples]: x,
    [objective.targets]: targets,
  });
  const logitsOf = async (index: number, inputs: Float64Array) => {
    await using one = await openSession(members[index]!);
    const { y } = await one.run({ x: { ...x, data: Float32Array.from(inputs) } });
    return Float64Array.from(y!.data as Float32Array);
  };
  const top = (logits: Float64Array, row: number) => {
    const own = logits.subarray(row * CLASSES, (row + 1) * CLASSES);
    return Math.max(...own) - own.reduce((sum, value) => sum + value, 0) / CLASSES;
  };
  const inputs = Float64Array.from(x.data as Float32Array);
  let expected = 0;
  const slopes: Float64Array[] = [];
  for (const index of [0, 1]) {
    const logits = await logitsOf(index, inputs);
    for (const [row, label] of labels.entries()) {
      const own = [...logits.subarray(row * CLASSES, (row + 1) * CLASSES)];
      expected +=
        (Math.log(own.reduce((sum, value) => sum + Math.exp(value), 0)) - own[Number(label)]!) / BATCH;
    }
    const slope = new Float64Array(inputs.length);
    for (let feature = 0; feature < FEATURES; feature += 1) {
      const h = 1e-2;
      const moved = (by: number) =>
        inputs.map((value, at) => (at % FEATURES === feature ? value + by : value));
      const [up, down] = [await logitsOf(index, moved(h)), await logitsOf(index, moved(-h))];
      for (let row = 0; row < BATCH; row += 1)
        slope[row * FEATURES + feature] = (top(up, row) - top(down, row)) / (2 * h);
    }
    slopes.push(slope);
  }
  const [a, b] = slopes;
  const dot = (u: Float64Array, v: Float64Array, row: number) =>
    [0, 1, 2, 3, 4].reduce((sum, i) => sum + u[row * FEATURES + i]! * v[row * FEATURES + i]!, 0);
  for (let row = 0; row < BATCH; row += 1)
    expected += (0.5 * 2 * dot(a!, b!, row) ** 2) / (dot(a!, a!, row) * dot(b!, b!, row)) / BATCH;
  expect(Math.abs(Number(found!.data[0]) - expected)).toBeLessThan(2e-3);
});

test('its gradients, which are second derivatives, are those of finite differences', async () => {
  const { objective, x, targets } = await setUp(2);
  /** w <- w - rate * gradient with a rate of 1: the difference is the gradient. */
  const rule: OptimizerRule = PLAIN;
  const options = {
    loss: 'sum',
    output: objective.loss,
    batch: BATCH,
    wrt: objective.weights,
    optimizer: rule,
  } as const;
  await using engine = await openEngine(objective.model, options);
  const row = (tensor: RuntimeTensor): RuntimeTensor => ({ ...tensor, shape: [1, ...tensor.shape] });
  const chunk = {
    steps: 1,
    inputs: { [objective.samples]: row(x), [objective.targets]: row(targets) },
    target: undefined,
    learningRates: Float32Array.of(1),
  };
  const before = await engine.state();
  await engine.run(chunk);
  const after = await engine.state();
  const valueAt = async (name: string, place: number, by: number) => {
    const weights = new Map(before.weights);
    const tensor = weights.get(name)!;
    const data = (tensor.data as Float32Array).slice();
    data[place]! += by;
    weights.set(name, { ...tensor, data });
    await engine.restore({ ...before, weights });
    return (await engine.run(chunk)).losses[0]!;
  };
  for (const name of objective.weights) {
    const [from, to] = [before, after].map(({ weights }) => weights.get(name)!.data as Float32Array);
    const place = Math.floor(from!.length / 2);
    const h = 3e-2;
    const expected = ((await valueAt(name, place, h)) - (await valueAt(name, place, -h))) / (2 * h);
    const found = from![place]! - to![place]!;
    expect(Math.abs(found - expected), name).toBeLessThan(0.03 * Math.max(0.1, Math.abs(expected)));
  }
  // Every model has its own weights back.
  expect([...objective.weightsOf(1, before.weights).keys()]).toEqual([
    'layers.0.weight',
    'layers.0.bias',
    'layers.1.weight',
    'layers.1.bias',
  ]);
});

test('models that do not fit are refused', async () => {
  const two = buildModel({
    inputs: [
      ['x', 'float32', ['batch', 4]],
      ['z', 'float32', ['batch', 4]],
    ],
    outputs: [['y', 'float32', ['batch', 4]]],
    nodes: [{ opType: 'Add', inputs: ['x', 'z'], outputs: ['y'] }],
    opset: 18,
  });
  await expect(diverseObjective([two, two], 4, { diverse: 2 })).rejects.toThrow('must have one input');
  await expect(diverseObjective([two], 4, { diverse: 2 })).rejects.toThrow('two models at least');
  await expect(diverseObjective([two, two], 4, { diverse: 1 })).rejects.toThrow(
    'diverse must be an integer ≥ 2',
  );
});

/** Two features that each tell the class alone; the first is larger. */
function twoFeatures(count: number): Dataset {
  const random = new Random(7, 'two features');
  const labels = BigInt64Array.from({ length: count }, () => BigInt(random.integer(2)));
  const data = Float32Array.from({ length: 2 * count }, (_, at) => {
    const side = 2 * Number(labels[at >> 1]) - 1;
    return at % 2 === 0 ? side * 2 + 0.3 * random.normal() : side + 0.3 * random.normal();
  });
  return {
    inputs: [{ name: 'x', type: 'float32', shape: [2] }],
    target: { name: 'y', type: 'int64', shape: [] },
    size: count,
    batch: async (indices) => {
      const rows = Array.from(indices);
      return {
        inputs: {
          x: {
            type: 'float32',
            shape: [rows.length, 2],
            data: Float32Array.from(rows.flatMap((row) => [data[2 * row]!, data[2 * row + 1]!])),
          },
        },
        target: {
          type: 'int64',
          shape: [rows.length],
          data: BigInt64Array.from(rows, (row) => labels[row]!),
        },
      };
    },
    [Symbol.asyncDispose]: async () => {},
  };
}

test('models that are trained together rely on different features, the more the higher the alignment counts', async () => {
  const model = await newNetwork('mlp', { inputs: [2], outputs: 2, depth: 2, width: 8, activation: 'tanh' });
  const dataset = twoFeatures(512);
  const { inputs, target } = await dataset.batch(Uint32Array.from({ length: 512 }, (_, i) => i));
  const x = inputs.x!;
  const H = 0.05;
  /** The mean squared cosine of the input gradients of the two, by finite differences, and their accuracies. */
  const measured = async (alignment: number) => {
    const before = [...model.graph.initializers.values()].map((tensor) => [...tensor.floats()]);
    const options = { diverse: 2, alignment, epochs: 40, batch: 64, learningRate: 0.01, seed: 3 };
    const result = await trainDiverse(model, dataset, options);
    expect(result).toMatchObject({ steps: 320, reason: 'epochs' });
    expect(result.losses).toHaveLength(40);
    expect(result.losses.at(-1)).toBeLessThan(result.losses[0]!);
    expect([...model.graph.initializers.values()].map((tensor) => [...tensor.floats()])).toEqual(before);
    const again = await trainDiverse(model, dataset, options);
    expect(again.losses).toEqual(result.losses);
    const slopes: number[][] = [];
    const accuracies: number[] = [];
    for (const one of result.models) {
      await using session = await openSession(one);
      const gap = async (axis: number, by: number): Promise<number[]> => {
        const data = Float32Array.from(x.data as Float32Array, (v, at) => (at % 2 === axis ? v + by : v));
        const { y } = await session.run({ x: { ...x, data } });
        return Array.from(
          { length: 512 },
          (_, i) => (y!.data[2 * i + 1] as number) - (y!.data[2 * i] as number),
        );
      };
      for (const axis of [0, 1]) {
        const [up, down] = [await gap(axis, H), await gap(axis, -H)];
        slopes.push(up.map((value, i) => (value - down[i]!) / (2 * H)));
      }
      const gaps = await gap(0, 0);
      const right = gaps.filter((value, i) => value > 0 === (target!.data[i] === 1n));
      accuracies.push(right.length / 512);
    }
    const [a0, a1, b0, b1] = slopes as [number[], number[], number[], number[]];
    const cosines = a0.map((p, i) => {
      const [q, r, t] = [a1[i]!, b0[i]!, b1[i]!];
      return (p * r + q * t) ** 2 / ((p * p + q * q) * (r * r + t * t) + 1e-12);
    });
    return { accuracies, aligned: cosines.reduce((sum, value) => sum + value, 0) / 512 };
  };
  const [plain, diverse] = [await measured(0), await measured(2)];
  expect(Math.min(...plain.accuracies, ...diverse.accuracies)).toBeGreaterThan(0.95);
  expect(diverse.aligned).toBeLessThan(0.1);
  expect(plain.aligned).toBeGreaterThan(3 * diverse.aligned);
});

test('what several models cannot be trained on is refused, with the reason', async () => {
  const model = await newNetwork('mlp', { inputs: [2], outputs: 2, depth: 1 });
  const dataset = twoFeatures(8);
  const train = (options: object, given = model, data = dataset) =>
    trainDiverse(given, data, { diverse: 2, ...options } as never);
  await expect(train({ diverse: 1 })).rejects.toThrow('diverse must be an integer ≥ 2 and ≤ 100, is 1');
  await expect(train({ alignment: -1 })).rejects.toThrow('alignment must be a number ≥ 0, is -1');
  await expect(train({ optimizer: 'lbfgs' })).rejects.toThrow(
    "optimizer 'lbfgs' does not train several models",
  );
  const norms = await newNetwork('resnet', { inputs: [1, 6, 6], width: 2, depth: 1, outputs: 2 });
  await expect(train({}, norms)).rejects.toThrow('BatchNormalization does not go with models');
  const unlabelled = { ...dataset, target: undefined };
  await expect(train({}, model, unlabelled)).rejects.toThrow('has no class labels');
  const wide = await newNetwork('mlp', { inputs: [2], outputs: 1, depth: 1 });
  await expect(train({}, wide)).rejects.toThrow('must make [batch, classes]');
});
