import { expect, test } from 'vitest';
import { openSession, Random, type RuntimeTensor } from '../../src/runtime/index.js';
import { newNetwork } from '../../src/study/networks.js';
import { diverseObjective, oneHot } from '../../src/training/diverse.js';
import { openEngine } from '../../src/training/engine/engine.js';
import type { OptimizerRule } from '../../src/training/optimizers/optimizer-rule.js';
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
