import { describe, expect, test } from 'vitest';
import { einsumMatrix } from '../../../src/analysis/weights/einsum-weights.js';
import { findWeights } from '../../../src/analysis/weights/find-weights.js';
import { elementsOf } from '../../../src/analysis/weights/weights.js';
import { type NodeSpec, Tensor } from '../../../src/graph/index.js';
import { openSession, type RuntimeTensor } from '../../../src/runtime/index.js';
import { buildModel, floats } from '../../support/build.js';

const MS = 'com.microsoft';
const bytes = (count: number): Uint8Array =>
  Uint8Array.from({ length: count }, (_, i) => (i * 37 + 11) % 256);
const scales = (count: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => 0.01 * (i + 1));

/** The elements that a report reads, and those that onnxruntime makes of an input that shows them. */
async function both(node: NodeSpec, input: RuntimeTensor, initializers: readonly Tensor[], shape: number[]) {
  const model = buildModel({
    inputs: [['x', input.type, input.shape]],
    outputs: [['y', 'float32', shape]],
    nodes: [node],
    initializers,
    opset: { '': 21, [MS]: 1 },
  });
  const { weights, others } = findWeights(model);
  expect([weights.length, others]).toEqual([1, []]);
  const { data } = await elementsOf(weights[0]!).read();
  await using session = await openSession(model);
  const result = (await session.run({ x: input })).y?.data as Float32Array;
  return { weight: weights[0]!, data, result };
}

const identity = (size: number): RuntimeTensor => ({
  type: 'float32',
  shape: [size, size],
  data: Float32Array.from({ length: size * size }, (_, i) => (i % (size + 1) === 0 ? 1 : 0)),
});

describe('weights in few bits are what onnxruntime computes with', () => {
  test.each([
    ['FP4', 0],
    ['NF4', 1],
  ])('MatMulBnb4 of %s', async (_, type) => {
    const [n, k, block] = [6, 32, 16];
    const node: NodeSpec = {
      opType: 'MatMulBnb4',
      domain: MS,
      inputs: ['x', 'w', 's'],
      outputs: ['y'],
      attributes: { N: { int: n }, K: { int: k }, block_size: { int: block }, quant_type: { int: type } },
    };
    const { weight, data, result } = await both(
      node,
      identity(k),
      [
        Tensor.of('w', 'uint8', [(n * k) / 2], bytes((n * k) / 2)),
        Tensor.of('s', 'float32', [(n * k) / block], scales((n * k) / block)),
      ],
      [k, n],
    );
    expect([weight.rows, weight.columns]).toEqual([n, k]);
    for (let i = 0; i < n; i += 1)
      for (let j = 0; j < k; j += 1) expect(data[i * k + j]).toBeCloseTo(result[j * n + i] as number, 5);
  });

  test.each([false, true])('GatherBlockQuantized, zero points: %s', async (hasZeros) => {
    const [rows, columns, block] = [5, 48, 16];
    const node: NodeSpec = {
      opType: 'GatherBlockQuantized',
      domain: MS,
      inputs: ['w', 'x', 's', ...(hasZeros ? ['z'] : [])],
      outputs: ['y'],
      attributes: {
        bits: { int: 4 },
        block_size: { int: block },
        gather_axis: { int: 0 },
        quantize_axis: { int: 1 },
      },
    };
    const ids: RuntimeTensor = {
      type: 'int64',
      shape: [rows],
      data: BigInt64Array.from([0n, 1n, 2n, 3n, 4n]),
    };
    const { data, result } = await both(
      node,
      ids,
      [
        Tensor.of('w', 'uint8', [rows, columns / 2], bytes((rows * columns) / 2)),
        Tensor.of('s', 'float32', [rows, 3], scales(rows * 3)),
        ...(hasZeros ? [Tensor.of('z', 'uint8', [rows, 2], bytes(rows * 2))] : []),
      ],
      [rows, columns],
    );
    expect(data).toEqual(result);
  });
});

test('all experts are there, however many', () => {
  const model = buildModel({
    inputs: [
      ['x', 'float32', [2, 8]],
      ['r', 'float32', [2, 40]],
    ],
    outputs: [['y', 'float32', [2, 8]]],
    nodes: [
      {
        opType: 'QMoE',
        domain: MS,
        inputs: ['x', 'r', 'w1', 's1', '', 'w2', 's2'],
        outputs: ['y'],
        attributes: { k: { int: 1 }, expert_weight_bits: { int: 4 } },
      },
    ],
    initializers: [
      Tensor.of('w1', 'uint8', [40, 16, 4], bytes(40 * 16 * 4)),
      Tensor.of('s1', 'float32', [40, 16], scales(640)),
      Tensor.of('w2', 'uint8', [40, 8, 8], bytes(40 * 8 * 8)),
      Tensor.of('s2', 'float32', [40, 8], scales(320)),
    ],
    opset: { '': 21, [MS]: 1 },
  });
  const { weights, others } = findWeights(model);
  expect([weights.length, others]).toEqual([80, []]);
  expect(weights.at(-1)).toMatchObject({ name: 'w2[39]', rows: 8, columns: 16 });
});

describe('the weight of an Einsum', () => {
  test.each([
    ['bsd,dhk->bshk', 1, [6, 2, 3], { batch: 1, rows: 6, columns: 6 }],
    ['bshk,hkd->bsd', 1, [2, 3, 6], { batch: 1, rows: 6, columns: 6 }],
    ['...d,df->...f', 1, [6, 4], { batch: 1, rows: 6, columns: 4 }],
    ['bhsd,hde->bhse', 1, [2, 3, 5], { batch: 2, rows: 3, columns: 5 }],
    ['fd,bd->bf', 0, [4, 6], { batch: 1, rows: 4, columns: 6 }],
  ])('%s', (equation, index, shape, expected) => {
    expect(einsumMatrix(equation, index, shape)).toEqual(expected);
  });

  test('one that makes no matrix says so', () => {
    for (const equation of ['bd,bd->bd', 'bd,dkd->bk', 'bd,kdl->bkl'])
      expect(
        einsumMatrix(equation, 1, equation.includes('kdl') || equation.includes('dkd') ? [2, 3, 2] : [2, 3]),
      ).toHaveProperty('reason');
  });

  test('is read where it stands', async () => {
    const node: NodeSpec = {
      opType: 'Einsum',
      inputs: ['x', 'w'],
      outputs: ['y'],
      attributes: { equation: { string: 'bd,dhk->bhk' } },
    };
    const { weight, data, result } = await both(
      node,
      identity(6),
      [floats('w', [6, 2, 4], (i) => Math.sin(i))],
      [6, 2, 4],
    );
    expect([weight.rows, weight.columns]).toEqual([6, 8]);
    expect(data).toEqual(result);
  });
});
