import { describe, expect, test } from 'vitest';
import { rankReport } from '../../../src/analysis/report/rank-report.js';
import { findWeights } from '../../../src/analysis/weights/find-weights.js';
import { elementsOf } from '../../../src/analysis/weights/weights.js';
import { type DataType, type Model, type NodeSpec, narrow, Tensor } from '../../../src/graph/index.js';
import { openSession } from '../../../src/runtime/index.js';
import { buildModel, floats } from '../../support/build.js';

const wave = (i: number): number => Math.sin(1 + i * i);

function modelOf(
  nodes: readonly NodeSpec[],
  initializers: readonly Tensor[],
  outputs: readonly string[] = [],
): Model {
  return buildModel({
    opset: { '': 21, 'com.microsoft': 1 },
    inputs: [['x', 'float32']],
    outputs: outputs.map((name) => [name, 'float32'] as const),
    nodes,
    initializers,
  });
}

const node = (
  opType: string,
  inputs: readonly string[],
  attributes: NodeSpec['attributes'] = {},
  domain = '',
): NodeSpec => ({ opType, domain, name: opType.toLowerCase(), inputs, outputs: ['y'], attributes });

const ms = (opType: string, inputs: readonly string[], attributes: NodeSpec['attributes'] = {}): NodeSpec =>
  node(opType, inputs, attributes, 'com.microsoft');

function integers(
  name: string,
  type: 'int8' | 'uint8',
  shape: readonly number[],
  values: readonly number[],
): Tensor {
  return Tensor.of(name, type, shape, type === 'int8' ? Int8Array.from(values) : Uint8Array.from(values));
}

const scalar = (name: string, value: number): Tensor =>
  Tensor.of(name, 'float32', [], Float32Array.of(value));
const vector = (name: string, values: readonly number[]): Tensor =>
  Tensor.of(name, 'float32', [values.length], Float32Array.from(values));

/** Every matrix that is found, by name: its size and elements. */
async function matrices(model: Model): Promise<Record<string, { size: [number, number]; data: number[] }>> {
  const found: Record<string, { size: [number, number]; data: number[] }> = {};
  for (const weight of findWeights(model).weights) {
    const { m, n, read } = elementsOf(weight);
    const { data } = await read();
    expect(data.length).toBe(m * n);
    found[weight.name] = { size: [weight.rows, weight.columns], data: Array.from(data) };
  }
  return found;
}

const reasons = (model: Model): string[] => findWeights(model).others.map(({ reason }) => reason);

describe('recurrent', () => {
  test.each([
    ['LSTM', ['i', 'o', 'f', 'c']],
    ['GRU', ['z', 'r', 'h']],
    ['RNN', ['']],
  ])('%s: W and R of each direction and gate', async (op, gates) => {
    const [hidden, input] = [2, 3];
    const model = modelOf(
      [
        node(op, ['x', 'net.W', 'net.R'], {
          hidden_size: { int: hidden },
          direction: { string: 'bidirectional' },
        }),
      ],
      [
        floats('net.W', [2, gates.length * hidden, input]),
        floats('net.R', [2, gates.length * hidden, hidden]),
      ],
    );
    const found = await matrices(model);
    const name = (kind: string, direction: string, gate: string) =>
      `net.${kind}[${[direction, gate].filter(Boolean).join(',')}]`;
    expect(Object.keys(found)).toEqual(
      ['W', 'R'].flatMap((kind) =>
        ['forward', 'reverse'].flatMap((direction) => gates.map((gate) => name(kind, direction, gate))),
      ),
    );
    const last = found[name('W', 'reverse', gates.at(-1)!)]!;
    const end = 2 * gates.length * hidden * input;
    expect(last).toEqual({ size: [2, 3], data: Array.from({ length: 6 }, (_, i) => end - 6 + i) });
    expect(found[name('R', 'forward', gates[0]!)]).toEqual({ size: [2, 2], data: [0, 1, 2, 3] });
    const report = await rankReport(model);
    expect(report.rows[0]).toMatchObject({ shape: [2, 3], parameters: 6, ops: [op] });
  });

  test('a numbered weight is known by its node; a shape that is none is told', async () => {
    const lstm = node('LSTM', ['x', 'onnx::LSTM_85', 'r']);
    const model = modelOf([lstm], [floats('onnx::LSTM_85', [1, 8, 3]), floats('r', [1, 6, 2])]);
    expect(Object.keys(await matrices(model))).toContain('lstm.W[forward,f]');
    expect(reasons(model)).toEqual(['its weight has the shape [1, 6, 2], not that of 4 gates']);
  });
});

describe('side by side and stacked', () => {
  test('Attention: q, k and v, of equal or given widths', async () => {
    const equal = await matrices(modelOf([ms('Attention', ['x', 'w'])], [floats('w', [2, 6])]));
    expect(equal).toEqual({
      'w[q]': { size: [2, 2], data: [0, 1, 6, 7] },
      'w[k]': { size: [2, 2], data: [2, 3, 8, 9] },
      'w[v]': { size: [2, 2], data: [4, 5, 10, 11] },
    });
    const sizes = { qkv_hidden_sizes: { ints: [1, 1, 3] } };
    const given = await matrices(modelOf([ms('Attention', ['x', 'w'], sizes)], [floats('w', [2, 5])]));
    expect(given['w[v]']).toEqual({ size: [2, 3], data: [2, 3, 4, 7, 8, 9] });
    const odd = modelOf([ms('Attention', ['x', 'w'])], [floats('w', [2, 5])]);
    expect(reasons(odd)[0]).toContain('not that of q, k, v side by side');
  });

  test('a batched MatMul: a row for each matrix, the first 32 of many', async () => {
    const few = await matrices(modelOf([node('MatMul', ['x', 'w'])], [floats('w', [2, 1, 2, 2])]));
    expect(few).toEqual({
      'w[0,0]': { size: [2, 2], data: [0, 1, 2, 3] },
      'w[1,0]': { size: [2, 2], data: [4, 5, 6, 7] },
    });
    const many = modelOf([node('MatMul', ['x', 'w'])], [floats('w', [40, 2, 3])]);
    expect(Object.keys(await matrices(many))).toHaveLength(32);
    expect(reasons(many)).toEqual(['8 of the 40 matrices of its batched weight are left out']);
    const one = await matrices(modelOf([node('MatMul', ['x', 'w'])], [floats('w', [1, 2, 3])]));
    expect(Object.keys(one)).toEqual(['w']);
  });

  test('a batch that nodes compute', async () => {
    const model = modelOf(
      [{ opType: 'Mul', inputs: ['w', 'two'], outputs: ['scaled'] }, node('MatMul', ['x', 'scaled'])],
      [floats('w', [3, 2, 2]), scalar('two', 2)],
    );
    expect((await matrices(model))['scaled[2]']).toEqual({ size: [2, 2], data: [16, 18, 20, 22] });
  });

  test('experts', async () => {
    const model = modelOf(
      [ms('MoE', ['x', 'p', 'a', '', 'b'])],
      [floats('a', [2, 3, 2]), floats('b', [2, 2, 3])],
    );
    expect(Object.keys(await matrices(model))).toEqual(['a[0]', 'a[1]', 'b[0]', 'b[1]']);
  });
});

describe('tables', () => {
  test('of Gather, one with the head that is tied to it; no vector and no integers', async () => {
    const model = modelOf(
      [
        { opType: 'Gather', name: 'embed', inputs: ['table', 'x'], outputs: ['e'] },
        { opType: 'Transpose', inputs: ['table'], outputs: ['t'] },
        { opType: 'MatMul', name: 'head', inputs: ['e', 't'], outputs: ['h'] },
        { opType: 'Gather', inputs: ['vector', 'x'], outputs: ['g'] },
        { opType: 'Gather', inputs: ['x', 'x'], outputs: ['g2'] },
      ],
      [floats('table', [5, 2]), floats('vector', [5])],
    );
    const { rows, notLookedAt } = await rankReport(model);
    expect(rows).toMatchObject([
      { weight: 'table', nodes: ['embed', 'head'], ops: ['Gather', 'MatMul'], rows: 5 },
    ]);
    expect(notLookedAt).toEqual([]);
  });

  test('of EmbedLayerNormalization', async () => {
    const model = modelOf(
      [ms('EmbedLayerNormalization', ['x', '', 'word', 'position', ''])],
      [floats('word', [7, 2]), floats('position', [4, 2])],
    );
    expect(Object.keys(await matrices(model))).toEqual(['word', 'position']);
  });
});

describe('quantized', () => {
  const w = integers('w', 'int8', [2, 3], [-4, 1, 2, 3, 4, -5]);

  test('behind DequantizeLinear: the type that is stored, the values that are meant', async () => {
    for (const op of ['Gemm', 'MatMul']) {
      const model = modelOf(
        [
          {
            opType: 'DequantizeLinear',
            inputs: ['w', 's', 'z'],
            outputs: ['d'],
            attributes: { axis: { int: 1 } },
          },
          node(op, ['x', 'd']),
        ],
        [w, vector('s', [1, 2, 0.5]), integers('z', 'int8', [3], [0, 1, 0])],
      );
      expect(await matrices(model)).toEqual({ w: { size: [2, 3], data: [-4, 0, 1, 3, 6, -2.5] } });
      const { rows, notLookedAt } = await rankReport(model);
      expect(rows[0]).toMatchObject({ weight: 'w', dataType: 'int8' });
      expect(notLookedAt).toEqual([]);
    }
  });

  test('a convolution behind DequantizeLinear', async () => {
    const kernel = integers('w', 'int8', [2, 1, 1, 3], [1, 2, 3, 4, 5, 6]);
    const model = modelOf(
      [{ opType: 'DequantizeLinear', inputs: ['w', 's'], outputs: ['d'] }, node('Conv', ['x', 'd'])],
      [kernel, scalar('s', 2)],
    );
    expect(await matrices(model)).toEqual({ w: { size: [2, 3], data: [2, 4, 6, 8, 10, 12] } });
  });

  test('QLinearMatMul, QGemm and their like: a scale a column', async () => {
    const scales = [vector('s', [1, 2, 0.5]), integers('z', 'int8', [3], [0, 1, 0])];
    const nodes: [NodeSpec, string][] = [
      [node('QLinearMatMul', ['x', 'xs', 'xz', 'w', 's', 'z', 'ys', 'yz']), 'QLinearMatMul'],
      [ms('QGemm', ['x', 'xs', 'xz', 'w', 's', 'z']), 'QGemm'],
      [ms('DynamicQuantizeMatMul', ['x', 'w', 's', 'z']), 'DynamicQuantizeMatMul'],
      [ms('MatMulIntegerToFloat', ['x', 'w', 'xs', 's', 'xz', 'z']), 'MatMulIntegerToFloat'],
    ];
    for (const [spec, what] of nodes) {
      const found = await matrices(modelOf([spec], [w, ...scales]));
      expect(found, what).toEqual({ w: { size: [2, 3], data: [-4, 0, 1, 3, 6, -2.5] } });
    }
    const transposed = ms('QGemm', ['x', 'xs', 'xz', 'w', 's2'], { transB: { int: 1 } });
    const found = await matrices(modelOf([transposed], [w, vector('s2', [1, 10])]));
    expect(found.w!.data).toEqual([-4, 1, 2, 30, 40, -50]);
  });

  test('QLinearConv: a scale an output channel', async () => {
    const spec = node('QLinearConv', ['x', 'xs', 'xz', 'k', 's', 'z', 'ys', 'yz']);
    const kernel = integers('k', 'uint8', [2, 1, 1, 2], [1, 2, 3, 4]);
    const zero = integers('z', 'uint8', [], [1]);
    expect(await matrices(modelOf([spec], [kernel, vector('s', [1, 2]), zero]))).toEqual({
      k: { size: [2, 2], data: [0, 1, 4, 6] },
    });
  });

  test.each([
    ['MatMulInteger', w, [-4, 0, 1, 3, 6, -2.5]],
    ['ConvInteger', integers('w', 'int8', [3, 1, 1, 2], [1, 2, 3, 4, 5, 6]), [1, 2, 4, 6, 2.5, 3]],
  ] as const)('%s: a scale that the nodes behind it apply', async (opType, weight, expected) => {
    const behind: NodeSpec[] = [
      { opType: 'DynamicQuantizeLinear', inputs: ['x'], outputs: ['xq', 'xs', 'xz'] },
      { opType, inputs: ['xq', 'w', 'xz', 'z'], outputs: ['whole'] },
      { opType: 'Add', inputs: ['whole', 'bias'], outputs: ['sum'] },
      { opType: 'Cast', inputs: ['sum'], outputs: ['cast'], attributes: { to: { int: 1 } } },
      { opType: 'Mul', inputs: ['xs', 's'], outputs: ['scales'] },
      { opType: 'Mul', inputs: ['cast', 'scales'], outputs: ['y'] },
    ];
    const zeros = integers('z', 'int8', [3], [0, 1, 0]);
    const bias = Tensor.of('bias', 'int32', [1], Int32Array.of(3));
    const found = await matrices(modelOf(behind, [weight, vector('s', [1, 2, 0.5]), zeros, bias]));
    expect(found.w!.data).toEqual(expected);
  });

  test('DynamicQuantizeLSTM: the matrices of an LSTM that computes the same, to the error of its data', async () => {
    const [inputs, hidden] = [3, 2];
    const bytes = (length: number, seed: number): number[] =>
      Array.from({ length }, (_, i) => Math.round(60 * wave(i + seed)));
    const quantized = ms('DynamicQuantizeLSTM', ['x', 'w', 'r', '', '', '', '', '', 'ws', 'wz', 'rs', 'rz'], {
      hidden_size: { int: hidden },
      direction: { string: 'bidirectional' },
    });
    const model = modelOf(
      [quantized],
      [
        integers('w', 'int8', [2, inputs, 4 * hidden], bytes(2 * inputs * 4 * hidden, 1)),
        integers('r', 'int8', [2, hidden, 4 * hidden], bytes(2 * hidden * 4 * hidden, 2)),
        vector('ws', [0.01, 0.02]),
        integers('wz', 'int8', [2], [0, 0]),
        vector('rs', [0.02, 0.01]),
        integers('rz', 'int8', [2], [0, 0]),
      ],
      ['y'],
    );
    const found = await matrices(model);
    const stacked = (role: string): number[] =>
      ['forward', 'reverse'].flatMap((direction) =>
        ['i', 'o', 'f', 'c'].flatMap((gate) => found[`${role}[${direction},${gate}]`]!.data),
      );
    const plain = modelOf(
      [{ ...quantized, opType: 'LSTM', domain: '', inputs: ['x', 'w', 'r'] }],
      [
        Tensor.of('w', 'float32', [2, 4 * hidden, inputs], Float32Array.from(stacked('w'))),
        Tensor.of('r', 'float32', [2, 4 * hidden, hidden], Float32Array.from(stacked('r'))),
      ],
      ['y'],
    );
    const data = Float32Array.from({ length: 4 * inputs }, (_, i) => wave(i));
    const run = async (one: Model): Promise<Float32Array> => {
      await using session = await openSession(one);
      const { y } = await session.run({ x: { type: 'float32', shape: [4, 1, inputs], data } });
      return y!.data as Float32Array;
    };
    const [a, b] = [await run(model), await run(plain)];
    expect(Math.max(...b.map(Math.abs))).toBeGreaterThan(0.1);
    for (const [i, value] of b.entries()) expect(Math.abs(a[i]! - value)).toBeLessThan(0.01);
  });

  test('QAttention', async () => {
    const spec = ms('QAttention', ['x', 'w', 'b', 'xs', 's', '', 'xz', 'z']);
    const model = modelOf([spec], [w, scalar('s', 2), integers('z', 'int8', [], [1])]);
    expect((await matrices(model))['w[k]']).toEqual({ size: [2, 1], data: [0, 6] });
  });

  test.each([
    [4, 16, false],
    [4, 16, true],
    [4, 32, true],
    [8, 16, true],
  ])('MatMulNBits of %i bits in blocks of %i, zero points: %s, as onnxruntime has it', async (bits, block, hasZero) => {
    const [N, K] = [3, 40];
    const blocks = Math.ceil(K / block);
    const bytes = (count: number, seed: number): number[] =>
      Array.from({ length: count }, (_, i) => (i * 37 + seed * 11 + ((i * i) % 13)) % 256);
    const blob = (block * bits) / 8;
    const parts = [
      Tensor.of('w', 'uint8', [N, blocks, blob], Uint8Array.from(bytes(N * blocks * blob, 1))),
      vector(
        's',
        Array.from({ length: N * blocks }, (_, i) => 0.1 + 0.01 * i),
      ),
    ];
    const zeroBytes = N * Math.ceil((blocks * bits) / 8);
    if (hasZero) parts.push(Tensor.of('z', 'uint8', [zeroBytes], Uint8Array.from(bytes(zeroBytes, 2))));
    const attributes = {
      N: { int: N },
      K: { int: K },
      bits: { int: bits },
      block_size: { int: block },
    };
    const model = modelOf(
      [ms('MatMulNBits', ['x', 'w', 's', ...(hasZero ? ['z'] : [])], attributes)],
      parts,
      ['y'],
    );
    const found = (await matrices(model)).w!;
    expect(found.size).toEqual([N, K]);
    await using session = await openSession(model);
    const identity = Float32Array.from({ length: K * K }, (_, i) => (i % (K + 1) === 0 ? 1 : 0));
    const { y } = await session.run({ x: { type: 'float32', shape: [K, K], data: identity } });
    const product = y!.data as Float32Array;
    for (let row = 0; row < N; row += 1) {
      for (let column = 0; column < K; column += 1) {
        expect(found.data[row * K + column]).toBeCloseTo(product[column * N + row]!, 3);
      }
    }
  });
});

describe('what is not looked at has a reason', () => {
  test.each<[NodeSpec, string]>([
    [
      node('MatMulInteger', ['x', 'q']),
      'the scale of its integer weight is not to be found in the nodes behind it',
    ],
    [node('QLinearMatMul', ['x', 'xs', 'xz', 'q', 'x', 'z']), "its scale is no constant: 'x' is an input"],
    [node('LSTM', ['x', 'x', 'x']), "'x' is an input"],
    [node('Einsum', ['x', 'w'], { equation: { string: 'ij,jk->ij' } }), 'makes no matrix of its weight'],
    [
      ms('MatMulNBits', ['x', 'q', 's', '', 'x'], { N: { int: 2 }, K: { int: 16 }, block_size: { int: 16 } }),
      "'x' is an input",
    ],
    [ms('Mystery', ['x', 'w']), 'what com.microsoft.Mystery does with its weights is not known here'],
    [node('Magic', ['x', 'w'], {}, 'own'), 'what own.Magic does'],
  ])('%j', (spec, reason) => {
    const model = modelOf(
      [spec],
      [floats('w', [4, 3]), integers('q', 'int8', [2, 2], [1, 2, 3, 4]), scalar('s', 1)],
    );
    expect(reasons(model)[0]).toContain(reason);
    expect(findWeights(model).weights).toEqual([]);
  });

  test('nodes without weights are not mentioned', () => {
    const nodes = [
      node('Relu', ['x']),
      node('Add', ['x', 'w']),
      ms('Gelu', ['x']),
      node('Reshape', ['x', 'w']),
    ];
    expect(reasons(modelOf(nodes, [floats('w', [4, 3])]))).toEqual([]);
  });
});

test.each<DataType>(['float16', 'bfloat16', 'float64'])('%s: in fused operators too', async (type) => {
  const values = Float64Array.from({ length: 24 }, (_, i) => Math.round(8 * wave(i)) / 8);
  const float = type as 'float16' | 'bfloat16' | 'float64';
  const model = modelOf(
    [ms('FusedMatMul', ['x', 'w'])],
    [Tensor.of('w', float, [4, 6], narrow(float, values))],
  );
  expect((await matrices(model)).w!.data).toEqual([...values]);
  const { rows } = await rankReport(model);
  expect(rows[0]).toMatchObject({ dataType: type, ops: ['FusedMatMul'] });
});
