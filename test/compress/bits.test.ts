import { describe, expect, test } from 'vitest';
import { verifyModels } from '../../src/analysis/verify/verify.js';
import { compress } from '../../src/compress/compress.js';
import { rounded } from '../../src/compress/quantize/round.js';
import { check } from '../../src/graph/check/check.js';
import { type Model, modelToBytes, readModel, Tensor } from '../../src/graph/index.js';
import { openSession } from '../../src/runtime/index.js';
import { Random } from '../../src/runtime/random.js';
import { tensorDataset } from '../../src/training/data/index.js';
import { buildModel, floats } from '../support/build.js';

const random = new Random(17, 'bits');
const normal = (rows: number, columns: number) => ({
  rows,
  columns,
  data: random.fillNormal(new Float32Array(rows * columns)),
});

/** 40 -> 48 -> 20, a Gemm with a bias and a product with an Add. */
function network(): Model {
  return buildModel({
    inputs: [['x', 'float32', ['n', 40]]],
    outputs: [['y', 'float32', ['n', 20]]],
    nodes: [
      {
        opType: 'Gemm',
        name: 'one',
        inputs: ['x', 'w', 'b'],
        outputs: ['h'],
        attributes: { transB: { int: 1 } },
      },
      { opType: 'Relu', name: 'relu', inputs: ['h'], outputs: ['r'] },
      { opType: 'MatMul', name: 'two', inputs: ['r', 'v'], outputs: ['p'] },
      { opType: 'Add', name: 'add', inputs: ['p', 'c'], outputs: ['y'] },
    ],
    initializers: [
      floats('w', [48, 40], () => 0.3 * random.normal()),
      floats('b', [48], () => 0.3 * random.normal()),
      floats('v', [48, 20], () => 0.3 * random.normal()),
      floats('c', [20], () => 0.3 * random.normal()),
    ],
  });
}

describe.each([4, 8])('a matrix in %i bits', (bits) => {
  test.each([
    [5, 64, 16],
    [3, 50, 32],
    [4, 7, 16],
  ])('%i x %i in blocks of %i is what MatMulNBits reads, and each element is the nearest', async (rows, columns, block) => {
    const weight = normal(rows, columns);
    weight.data.fill(0, 0, Math.min(block, columns));
    const { packed, scales, blocks, values } = await rounded(weight, bits, block);
    for (const [i, value] of weight.data.entries()) {
      const scale = Math.abs(
        scales[Math.floor(i / columns) * blocks + Math.floor((i % columns) / block)] as number,
      );
      const error = Math.abs(value - (values.data[i] as number));
      // The far end of the range reaches half a step less on the other side.
      expect(error).toBeLessThanOrEqual(1.001 * scale);
      if (error > 0.501 * scale) expect(Math.abs(value) / scale).toBeGreaterThan(2 ** (bits - 1) - 1);
    }
    const x = random.fillNormal(new Float32Array(2 * columns));
    const own = buildModel({
      inputs: [['x', 'float32', [2, columns]]],
      outputs: [['y', 'float32', [2, rows]]],
      nodes: [
        {
          opType: 'MatMulNBits',
          domain: 'com.microsoft',
          inputs: ['x', 'q', 's'],
          outputs: ['y'],
          attributes: {
            K: { int: columns },
            N: { int: rows },
            bits: { int: bits },
            block_size: { int: block },
          },
        },
      ],
      initializers: [
        Tensor.of('q', 'uint8', [rows, blocks, (block * bits) / 8], packed),
        Tensor.of('s', 'float32', [rows * blocks], scales),
      ],
      opset: { '': 17, 'com.microsoft': 1 },
    });
    await using session = await openSession(own);
    const { y } = await session.run({ x: { type: 'float32', shape: [2, columns], data: x } });
    for (let i = 0; i < 2; i += 1)
      for (let o = 0; o < rows; o += 1) {
        let sum = 0;
        for (let c = 0; c < columns; c += 1)
          sum += (x[i * columns + c] as number) * (values.data[o * columns + c] as number);
        expect(Number(y?.data[i * rows + o])).toBeCloseTo(sum, 3);
      }
  });
});

describe('a model in few bits', () => {
  const samples = () =>
    tensorDataset({
      x: {
        type: 'float32',
        shape: [120, 40],
        // Inputs of few directions, which a branch can serve.
        data: correlated(120, 40, 5),
      },
    });

  test('runs, is smaller, and a branch brings it nearer to the original, the more the higher its rank', async () => {
    const measured: number[] = [];
    for (const branch of [0, 2, 4]) {
      await using data = samples();
      const model = network();
      const [account] = await model.apply(compress({ bits: 4, branch, block: 16, data }));
      expect(check(model).filter(({ severity }) => severity === 'error')).toEqual([]);
      expect(model.graph.nodes.filter(({ opType }) => opType === 'MatMulNBits')).toHaveLength(2);
      expect(account.layers.map(({ form, ranks }) => [form, ranks.length])).toEqual(
        [0, 1].map(() => ['bits', branch === 0 ? 0 : 1]),
      );
      expect(account.total.bytesAfter).toBe(modelToBytes(model).length);
      await readModel(modelToBytes(model));
      measured.push(account.measured as number);
    }
    expect(measured[1]).toBeLessThan(0.8 * (measured[0] as number));
    expect(measured[2]).toBeLessThan(0.8 * (measured[1] as number));
  });

  test('of 8 bits is nearly the original, and without data too', async () => {
    const model = network();
    const original = model.clone();
    const [account] = await model.apply(compress({ bits: 8, branch: 0 }));
    expect(account.measured).toBeUndefined();
    expect((await verifyModels(original, model, { tolerance: 0.03 })).passed).toBe(true);
  });

  test('leaves what it cannot write, and what would not be smaller, with the reason', async () => {
    const model = network();
    await expect(model.apply(compress({ bits: 4, branch: 64 }))).rejects.toThrow(
      /as many as its weight or more/,
    );
    await model.apply(compress({ bits: 8, branch: 0 }));
    await expect(model.apply(compress({ params: 0.5 }))).rejects.toThrow(
      /its weight is quantized; compress the model/,
    );
    for (const [options, message] of [
      [{ bits: 5 }, /must be 4 or 8/],
      [{ bits: 4, block: 48 }, /16, 32, 64/],
      [{ bits: 4, params: 0.5 }, /in the place of a budget/],
      [{ branch: 4, params: 0.5 }, /goes with/],
    ] as const)
      expect(() => compress(options)).toThrow(message);
  });
});

/** Rows that lie in few directions but for a little noise. */
function correlated(count: number, size: number, directions: number): Float32Array {
  const [codes, basis] = [normal(count, directions), normal(directions, size)];
  return Float32Array.from({ length: count * size }, (_, i) => {
    const [row, column] = [Math.floor(i / size), i % size];
    let sum = 0.05 * random.normal();
    for (let d = 0; d < directions; d += 1)
      sum += (codes.data[row * directions + d] as number) * (basis.data[d * size + column] as number);
    return sum / Math.sqrt(directions);
  });
}
