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

test.each(
  (['int4', 'uint4'] as const).flatMap((type) => [false, true].map((hasZeros) => [type, hasZeros] as const)),
)('GatherBlockQuantized of %s, zero points: %s', async (type, hasZeros) => {
  const [rows, columns] = [5, 48];
  const ids: RuntimeTensor = { type: 'int64', shape: [rows], data: BigInt64Array.from([0n, 1n, 2n, 3n, 4n]) };
  const { weight, data, result } = await both(
    {
      opType: 'GatherBlockQuantized',
      domain: MS,
      inputs: ['w', 'x', 's', ...(hasZeros ? ['z'] : [])],
      outputs: ['y'],
      attributes: { block_size: { int: 16 }, gather_axis: { int: 0 }, quantize_axis: { int: 1 } },
    },
    ids,
    [
      Tensor.of('w', type, [rows, columns], bytes((rows * columns) / 2)),
      Tensor.of('s', 'float32', [rows, 3], scales(rows * 3)),
      ...(hasZeros ? [Tensor.of('z', type, [rows, 3], bytes(8))] : []),
    ],
    [rows, columns],
  );
  expect(weight.dataType).toBe(type);
  expect(data).toEqual(result);
});

const nBits = (bits: number, [n, k]: readonly [number, number], inputs: readonly string[]): NodeSpec => ({
  opType: 'MatMulNBits',
  domain: MS,
  inputs,
  outputs: ['y'],
  attributes: { N: { int: n }, K: { int: k }, block_size: { int: 16 }, bits: { int: bits } },
});

test.each([
  false,
  true,
])('MatMulNBits whose columns name their block (g_idx), zero points: %s', async (hasZeros) => {
  const [n, k, blocks] = [3, 40, 3];
  const order = Int32Array.from({ length: k }, (_, i) => (i * 7 + 1) % blocks);
  const { data, result } = await both(
    nBits(4, [n, k], ['x', 'w', 's', hasZeros ? 'z' : '', 'g']),
    identity(k),
    [
      Tensor.of('w', 'uint8', [n, blocks, 8], bytes(n * blocks * 8)),
      Tensor.of('s', 'float32', [n * blocks], scales(n * blocks)),
      Tensor.of('g', 'int32', [k], order),
      ...(hasZeros ? [Tensor.of('z', 'uint8', [n * 2], bytes(n * 2))] : []),
    ],
    [k, n],
  );
  // onnxruntime 1.30 takes 8 for every zero point where there is g_idx; the operator's definition takes that of the column's block.
  const zeros = bytes(n * 2);
  for (let i = 0; i < n; i += 1)
    for (let j = 0; j < k; j += 1) {
      const group = order[j] as number;
      const byte = zeros[i * 2 + (group >> 1)] as number;
      const zero = hasZeros ? (byte >> (4 * (group & 1))) & 15 : 8;
      const moved = (8 - zero) * 0.01 * (i * blocks + group + 1);
      expect(data[i * k + j]).toBeCloseTo((result[j * n + i] as number) + moved, 5);
    }
});

test.each([2, 3, 4, 5, 6, 7, 8])('MatMulNBits of %i bits gives back what was packed', async (bits) => {
  const [n, k, blocks, block] = [2, 40, 3, 16];
  const blob = Math.ceil((block * bits) / 8);
  const values = Array.from({ length: n * blocks * block }, (_, i) => (i * 29 + 3) % 2 ** bits);
  const packed = new Uint8Array(n * blocks * blob);
  for (const [i, value] of values.entries()) {
    for (let bit = 0; bit < bits; bit += 1) {
      const at = (i % block) * bits + bit;
      packed[Math.floor(i / block) * blob + (at >> 3)]! |= ((value >> bit) & 1) << (at & 7);
    }
  }
  const { weights } = findWeights(
    buildModel({
      inputs: [['x', 'float32', [1, k]]],
      outputs: [['y', 'float32', [1, n]]],
      nodes: [nBits(bits, [n, k], ['x', 'w', 's'])],
      initializers: [
        Tensor.of('w', 'uint8', [n, blocks, blob], packed),
        Tensor.of('s', 'float32', [n * blocks], new Float32Array(n * blocks).fill(1)),
      ],
      opset: { '': 21, [MS]: 1 },
    }),
  );
  const { data } = await elementsOf(weights[0]!).read();
  for (let row = 0; row < n; row += 1)
    for (let column = 0; column < k; column += 1)
      expect(data[row * k + column]).toBe(
        (values[row * blocks * block + column] as number) - 2 ** (bits - 1),
      );
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
