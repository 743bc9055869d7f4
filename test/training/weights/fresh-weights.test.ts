import { describe, expect, it } from 'vitest';
import { type Model, readModel, Tensor } from '../../../src/graph/index.js';
import { trainableWeights } from '../../../src/passes/gradient/index.js';
import { FRESH_INITS, freshWeights } from '../../../src/training/weights/fresh-weights.js';
import { modelOf } from '../../runtime/helpers.js';

function deviation(numbers: ArrayLike<number>): number {
  const list = Array.from(numbers);
  return Math.sqrt(list.reduce((sum, number) => sum + number * number, 0) / list.length);
}

const HIDDEN = 64;
const zeros = (name: string, shape: number[]): Tensor =>
  Tensor.of(name, 'float32', shape, new Float32Array(shape.reduce((a, b) => a * b)));

/** relu(x w + b) through an LSTM. */
function recurrent(): Model {
  return modelOf(
    [
      { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['p'] },
      { opType: 'Add', inputs: ['p', 'b'], outputs: ['s'] },
      { opType: 'Relu', inputs: ['s'], outputs: ['r'] },
      {
        opType: 'LSTM',
        inputs: ['r', 'W', 'R', 'B'],
        outputs: ['y'],
        attributes: { hidden_size: { int: HIDDEN } },
      },
    ],
    [['x', 'float32', [5, 2, 100]]],
    [['y', 'float32', [5, 1, 2, HIDDEN]]],
    [
      zeros('w', [100, 80]),
      zeros('b', [80]),
      zeros('W', [1, 4 * HIDDEN, 80]),
      zeros('R', [1, 4 * HIDDEN, HIDDEN]),
      zeros('B', [1, 8 * HIDDEN]),
    ],
  );
}

describe('freshWeights', () => {
  it.each(
    FRESH_INITS,
  )('%s: layers have their deviation, recurrent ones that of PyTorch, biases are zero', (init) => {
    const model = recurrent();
    const names = trainableWeights(model.graph, 'y');
    expect(names).toEqual(['w', 'b', 'W', 'R', 'B']);
    const fresh = freshWeights(model, names, init, 1);
    const of = (name: string) => fresh.get(name)!.data as Float32Array;
    // He et al. 2015, eq. 10: sqrt(2 / fan-in) before a ReLU. Some 8,000 numbers tell it to a few percent.
    if (init === 'kaiming') expect(deviation(of('w')) / Math.sqrt(2 / 100)).toBeCloseTo(1, 1);
    for (const name of ['W', 'R']) expect(deviation(of(name)) * Math.sqrt(3 * HIDDEN)).toBeCloseTo(1, 1);
    if (init === 'uniform')
      expect(Math.max(...of('R').map(Math.abs))).toBeLessThanOrEqual(1 / Math.sqrt(HIDDEN));
    expect([deviation(of('b')), deviation(of('B'))]).toEqual([0, 0]);
  });

  it('gives the same for the same seed, and only what is asked for', async () => {
    const model = await readModel('fixtures/shapes.onnx');
    const names = ['conv.weight', 'hidden.weight'];
    const [first, again, other] = [7, 7, 8].map((seed) => freshWeights(model, names, 'kaiming', seed));
    expect([...first!.keys()]).toEqual(names);
    expect(again).toEqual(first);
    expect(other).not.toEqual(first);
  });
});
