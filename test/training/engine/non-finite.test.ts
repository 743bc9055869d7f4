import { describe, expect, test } from 'vitest';
import { type Model, type NodeSpec, Tensor, ValueInfo } from '../../../src/graph/index.js';
import { buildModel } from '../../../src/runtime/session/small-model.js';
import { openEngine } from '../../../src/training/engine/engine.js';
import type { Chunk } from '../../../src/training/types.js';
import { wave } from '../../passes/gradient/networks.js';
import { HEAVY_BALL, PLAIN, part, randomChunk } from '../support.js';

/** x W1 -> the nodes between 'a' and 'b' -> W2. */
function network(between: readonly NodeSpec[], scale = 1): Model {
  const weight = (name: string, shape: number[]): Tensor =>
    Tensor.of(
      name,
      'float32',
      shape,
      Float32Array.from(wave(name.length, shape), (x) => scale * x),
    );
  return buildModel({
    nodes: [
      { opType: 'MatMul', name: 'in', inputs: ['x', 'first'], outputs: ['a'] },
      ...between,
      { opType: 'MatMul', name: 'out', inputs: ['b', 'second'], outputs: ['y'] },
    ],
    inputs: [ValueInfo.tensor('x', 'float32', ['n', 8])],
    outputs: ['y'],
    initializers: [
      weight('first', [8, 6]),
      weight('second', [6, 4]),
      Tensor.of('mask', 'float32', [6], Float32Array.of(0, 0, 0, 0, -Infinity, -Infinity)),
    ],
    opset: 18,
  });
}

const node = (opType: string, inputs: string[], output: string, attributes = {}): NodeSpec => ({
  opType,
  name: `the ${opType}`,
  inputs,
  outputs: [output],
  attributes,
});
const attention = [node('Add', ['a', 'mask'], 'c'), node('Softmax', ['c'], 'b')];
const options = { loss: 'cross-entropy', batch: 3, wrt: ['first', 'second'] } as const;

async function originOf(model: Model, chunk: Chunk, changes = {}) {
  await using engine = await openEngine(model, { ...options, optimizer: PLAIN, ...changes });
  return (await engine.run(chunk)).origin;
}

const chunkOf = (model: Model, steps = 4, rate = 0.01): Chunk =>
  randomChunk(model, { steps, batch: 3, classes: 4, rate });

describe('the first value that is not finite', () => {
  test('is none in a step that is sound, whatever a mask of -Infinity makes on the way', async () => {
    const model = network(attention);
    expect(await originOf(model, chunkOf(model))).toBeUndefined();
  });

  test('is the output of the node that overflows', async () => {
    const model = network([node('Exp', ['a'], 'b')], 60);
    expect(await originOf(model, chunkOf(model))).toEqual({
      kind: 'forward',
      tensor: 'b',
      node: 'the Exp',
      opType: 'Exp',
    });
  });

  test('is not the mask, where something else is at fault', async () => {
    const model = network([
      node('Log', ['a'], 'l'),
      node('Add', ['l', 'mask'], 'c'),
      node('Softmax', ['c'], 'b'),
    ]);
    expect(await originOf(model, chunkOf(model))).toMatchObject({ tensor: 'l', node: 'the Log' });
  });

  test('is of the gradient, where the loss is finite', async () => {
    // The root of 0 is 0, and its slope is infinite.
    const model = network([node('Relu', ['a'], 'r'), node('Sqrt', ['r'], 'b')]);
    const origin = await originOf(model, chunkOf(model));
    expect(origin).toMatchObject({ kind: 'backward', node: 'the Sqrt', opType: 'Sqrt' });
  });

  test('is no value, where only a norm is beyond float32', async () => {
    const model = network([node('Mul', ['a', 'a'], 'b')], 1e10);
    const target = { type: 'float32', shape: [4, 3, 4], data: new Float32Array(48) } as const;
    const large = { ...chunkOf(model, 4, 0), target };
    expect(await originOf(model, large, { loss: 'l1' })).toEqual({ kind: 'norm', tensor: 'first' });
    const { x } = large.inputs;
    const data = Float32Array.from(x!.data as Float32Array, (value) => 1e-10 * value);
    expect(
      await originOf(model, { ...large, inputs: { x: { ...x!, data } } }, { loss: 'l1' }),
    ).toBeUndefined();
  });

  test('is what was fed, samples or targets', async () => {
    const model = network([node('Tanh', ['a'], 'b')]);
    const chunk = chunkOf(model);
    const data = Float32Array.from(chunk.inputs.x!.data as Float32Array);
    // In the third of the steps.
    data[2 * 3 * 8 + 5] = Number.NaN;
    const spoilt = { ...chunk, inputs: { x: { ...chunk.inputs.x!, data } } };
    expect(await originOf(model, spoilt)).toEqual({ kind: 'data', tensor: 'x' });
    const target = { type: 'float32', shape: [4, 3, 4], data: new Float32Array(48).fill(Infinity) } as const;
    expect(await originOf(model, { ...chunk, target }, { loss: 'mse' })).toMatchObject({ kind: 'target' });
  });

  test('is a weight that the step before left so', async () => {
    const model = network([node('Identity', ['a'], 'b')]);
    const chunk = { ...chunkOf(model), learningRates: Float32Array.of(0.1, 0.1, Infinity, 0.1) };
    for (const optimizer of [PLAIN, HEAVY_BALL]) {
      expect(await originOf(model, chunk, { optimizer })).toEqual({ kind: 'weight', tensor: 'first' });
      // And wherever the chunk ends.
      await using engine = await openEngine(model, { ...options, optimizer });
      await engine.run(part(chunk, 0, 3));
      expect((await engine.run(part(chunk, 3, 4))).origin).toEqual({ kind: 'weight', tensor: 'first' });
    }
  });
});
