import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { rankReport } from '../../../src/analysis/report/rank-report.js';
import { headProducts } from '../../../src/analysis/weights/heads/head-products.js';
import { type NodeSpec, readModel, Tensor } from '../../../src/graph/index.js';
import { singularValues } from '../../../src/linalg/kernels/index.js';
import { matmul } from '../../../src/linalg/matmul.js';
import { openCheckpoint } from '../../../src/runtime/checkpoint/index.js';
import { Random } from '../../../src/runtime/index.js';
import { buildModel } from '../../support/build.js';

const FILES = 'test/reference/checkpoints';
type Head = Readonly<Record<'qk' | 'ov', readonly number[]>>;
const figures = JSON.parse(readFileSync(join(FILES, 'figures.json'), 'utf8')) as {
  readonly heads: readonly Head[];
  readonly gpt2Heads: readonly Head[];
};

describe('the products of attention heads are what NumPy multiplies out', () => {
  test.each([
    [
      'grouped queries: heads 0 to 2 share a key head, 3 to 5 the other',
      'llama',
      'model.layers.1.self_attn',
      figures.heads,
    ],
    ['queries, keys and values side by side, in x out', 'gpt2', 'transformer.h.0.attn', figures.gpt2Heads],
  ])('%s', async (_, folder, layer, expected) => {
    const source = await openCheckpoint(join(FILES, folder));
    if ('onnx' in source) throw new Error('no checkpoint');
    using checkpoint = source;
    const { rows, notLookedAt } = await rankReport(await headProducts(checkpoint), { spectra: true });
    for (const [head, spectra] of expected.entries()) {
      for (const [kind, values] of Object.entries(spectra)) {
        const found = rows.find(({ weight }) => weight === `${layer}[${kind},${head}]`)?.singularValues ?? [];
        expect(found).toHaveLength(values.length);
        for (const [i, value] of values.entries())
          expect(Math.abs((found[i] ?? 0) - value) / (values[0] ?? 1)).toBeLessThan(1e-7);
      }
    }
    expect(rows.filter(({ weight }) => weight.startsWith(layer))).toHaveLength(2 * expected.length);
    expect(notLookedAt.some(({ reason }) => reason.includes('rotary'))).toBe(folder === 'llama');
  });
});

test('attention that an exporter wrote as separate operators has the same products', async () => {
  const { rows, notLookedAt } = await rankReport(
    await headProducts(await readModel(join(FILES, 'llama.onnx'))),
    { spectra: true },
  );
  const layer = 'inner.model.layers.1.self_attn';
  expect(rows.filter(({ weight }) => weight.startsWith(layer))).toHaveLength(2 * figures.heads.length);
  for (const [head, spectra] of figures.heads.entries())
    for (const [kind, values] of Object.entries(spectra)) {
      const found = rows.find(({ weight }) => weight === `${layer}[${kind},${head}]`)?.singularValues ?? [];
      expect(found).toHaveLength(values.length);
      for (const [i, value] of values.entries())
        expect(Math.abs((found[i] ?? 0) - value) / (values[0] ?? 1), `${kind} ${head}`).toBeLessThan(1e-6);
    }
  expect(notLookedAt.map(({ reason }) => reason)).toEqual(
    Array(2).fill('rotary positions: [qk] is the product for tokens at one position'),
  );
});

describe('attention of separate operators that is not followed is told, not misread', () => {
  const [HIDDEN, HEADS, SIZE] = [12, 4, 3];
  const random = new Random(6);
  const weight = (name: string, columns: number): Tensor =>
    Tensor.of(
      name,
      'float32',
      [HIDDEN, columns],
      Float32Array.from({ length: HIDDEN * columns }, () => random.normal()),
    );
  const build = (heads: readonly number[], perm: readonly number[], keyPerm: readonly number[]) =>
    buildModel({
      inputs: [['x', 'float32', [2, 5, HIDDEN]]],
      outputs: [['y', 'float32']],
      nodes: [
        ...['q', 'k', 'v'].flatMap((name): NodeSpec[] => [
          { opType: 'MatMul', inputs: ['x', `w${name}`], outputs: [`${name}1`] },
          { opType: 'Reshape', inputs: [`${name}1`, 'heads'], outputs: [`${name}2`] },
          {
            opType: 'Transpose',
            inputs: [`${name}2`],
            outputs: [name],
            attributes: { perm: { ints: [...(name === 'k' ? keyPerm : perm)] } },
          },
        ]),
        { opType: 'MatMul', inputs: ['q', 'k'], outputs: ['s'] },
        { opType: 'Softmax', name: 'attn', inputs: ['s'], outputs: ['p'], attributes: { axis: { int: -1 } } },
        { opType: 'MatMul', inputs: ['p', 'v'], outputs: ['y'] },
      ],
      initializers: [
        ...['wq', 'wk', 'wv'].map((name) => weight(name, HEADS * SIZE)),
        Tensor.of('heads', 'int64', [heads.length], BigInt64Array.from(heads, BigInt)),
      ],
      opset: { '': 17 },
    });

  test('heads that are the elements next to each other are followed', async () => {
    const { weights } = await headProducts(build([2, 5, HEADS, SIZE], [0, 2, 1, 3], [0, 2, 3, 1]));
    expect(weights.map(({ name }) => name)).toEqual([0, 1, 2, 3].map((head) => `attn[qk,${head}]`));
  });

  test('heads that are every fourth element are not', async () => {
    const { weights, others } = await headProducts(build([2, 5, SIZE, HEADS], [0, 3, 1, 2], [0, 3, 2, 1]));
    expect(weights).toEqual([]);
    expect(others.map(({ reason }) => reason)).toEqual([
      'its queries have the elements of a head on an axis that is not the last',
    ]);
  });
});

describe('in a model', () => {
  const [HIDDEN, HEADS, GROUPS, SIZE] = [12, 4, 2, 3];
  const random = new Random(5);
  const tensor = (name: string, rows: number, columns: number): Tensor =>
    Tensor.of(
      name,
      'float32',
      [rows, columns],
      Float32Array.from({ length: rows * columns }, () => random.normal()),
    );
  const [q, k, v] = [HEADS, GROUPS, GROUPS].map((heads, i) =>
    tensor(`w${'qkv'[i]}`, HIDDEN, heads * SIZE),
  ) as [Tensor, Tensor, Tensor];
  const o = tensor('wo', HEADS * SIZE, HIDDEN);

  const side = (tensors: readonly Tensor[], name: string): Tensor => {
    const width = tensors.reduce((sum, { shape }) => sum + (shape[1] ?? 0), 0);
    const data = new Float32Array(HIDDEN * width);
    let start = 0;
    for (const one of tensors) {
      const columns = one.shape[1] ?? 0;
      for (let i = 0; i < HIDDEN; i += 1) data.set(one.floats(i * columns, columns), i * width + start);
      start += columns;
    }
    return Tensor.of(name, 'float32', [HIDDEN, width], data);
  };
  const attention = (inputs: readonly string[]): NodeSpec[] => [
    {
      opType: 'GroupQueryAttention',
      domain: 'com.microsoft',
      name: 'attn',
      inputs: [...inputs, '', '', 'lengths', 'total'],
      outputs: ['a'],
      attributes: { num_heads: { int: HEADS }, kv_num_heads: { int: GROUPS } },
    },
    { opType: 'MatMul', name: 'o', inputs: ['a', 'wo'], outputs: ['y'] },
  ];
  const separate: NodeSpec[] = ['q', 'k', 'v'].map((name) => ({
    opType: 'MatMul',
    inputs: ['x', `w${name}`],
    outputs: [name],
  }));

  test.each([
    ['with separate projections', [...separate, ...attention(['q', 'k', 'v'])], [q, k, v, o]],
    [
      'with one that holds all',
      [{ opType: 'MatMul', inputs: ['x', 'w'], outputs: ['qkv'] }, ...attention(['qkv', '', ''])],
      [side([q, k, v], 'w'), o],
    ],
    [
      'with one that is split',
      [
        { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['qkv'] },
        {
          opType: 'Split',
          inputs: ['qkv', 'sizes'],
          outputs: ['q', 'k', 'v'],
          attributes: { axis: { int: -1 } },
        },
        ...attention(['q', 'k', 'v']),
      ],
      [side([q, k, v], 'w'), o, Tensor.of('sizes', 'int64', [3], BigInt64Array.of(12n, 6n, 6n))],
    ],
  ] satisfies [string, NodeSpec[], Tensor[]][])('%s', async (_, nodes, initializers) => {
    const model = buildModel({
      inputs: [
        ['x', 'float32', [1, 5, HIDDEN]],
        ['lengths', 'int32', [1]],
        ['total', 'int32', []],
      ],
      outputs: [['y', 'float32']],
      nodes,
      initializers,
      opset: { '': 17, 'com.microsoft': 1 },
    });
    const { rows } = await rankReport(await headProducts(model), { spectra: true });
    const part = (t: Tensor, head: number) => {
      const columns = t.shape[1] ?? 0;
      const data = new Float32Array(HIDDEN * SIZE);
      for (let i = 0; i < HIDDEN; i += 1) data.set(t.floats(i * columns + head * SIZE, SIZE), i * SIZE);
      return { rows: HIDDEN, columns: SIZE, data };
    };
    for (let head = 0; head < HEADS; head += 1) {
      const shared = Math.floor(head / 2);
      const qk = await matmul(part(q, head), part(k, shared), { transposeB: true });
      const out = { rows: SIZE, columns: HIDDEN, data: o.floats(head * SIZE * HIDDEN, SIZE * HIDDEN) };
      const ov = await matmul(part(v, shared), out);
      for (const [kind, product] of Object.entries({ qk, ov })) {
        const expected = singularValues(product.data, HIDDEN, HIDDEN);
        const found = rows.find(({ weight }) => weight === `attn[${kind},${head}]`)?.singularValues ?? [];
        for (const [i, value] of expected.entries())
          expect(Math.abs((found[i] ?? 0) - value) / (expected[0] ?? 1), `${kind} ${head}`).toBeLessThan(
            1e-6,
          );
      }
    }
  });
});
