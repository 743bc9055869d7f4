import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  type AttributeValue,
  type DataType,
  type NodeSpec,
  readModel,
  Tensor,
} from '../../../src/graph/index.js';
import { gradient } from '../../../src/passes/gradient/index.js';
import { inlined } from '../../../src/passes/gradient/prepare/inline.js';
import { trainableWeights } from '../../../src/passes/gradient/weights.js';
import { openSession, type RuntimeTensor } from '../../../src/runtime/index.js';
import { buildModel } from '../../support/build.js';

/** What test/reference/fused_gradients.py computes with PyTorch in float64. */
const figures = JSON.parse(readFileSync('test/reference/fused-gradients.json', 'utf8')) as Readonly<
  Record<string, { readonly y: readonly number[]; readonly gradients: readonly (readonly number[])[] }>
>;

type Shape = readonly number[];
const sizeOf = (shape: Shape): number => shape.reduce((a, b) => a * b, 1);

/** The numbers of the script. */
function wave(seed: number, shape: Shape): Float64Array {
  return Float64Array.from({ length: sizeOf(shape) }, (_, i) =>
    Math.sin((i + 1) * 0.7548776662466927 * (1 + 0.1 * seed) + seed),
  );
}

interface Case {
  readonly op: string;
  readonly domain?: string;
  readonly opset?: number;
  /** Of the inputs that are differentiated by. */
  readonly shapes: readonly Shape[];
  /** All inputs in their order: those by their letters, constants by their names. */
  readonly inputs: readonly string[];
  readonly constants?: Readonly<Record<string, readonly [DataType, Shape, readonly number[]]>>;
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
  readonly outputs?: number;
}

const X = [2, 4, 12] as const;
const MS = 'com.microsoft';
const rates = [0.9, 0.3, 0.1];
const cache = (f: (x: number) => number): readonly ['float64', Shape, readonly number[]] => [
  'float64',
  [8, 3],
  Array.from({ length: 24 }, (_, i) => f(Math.floor(i / 3) * (rates[i % 3] as number))),
];
const CACHES = { cos: cache(Math.cos), sin: cache(Math.sin) };
const epsilon = { epsilon: { float: 1e-3 } };
const positions = (shape: Shape, values: readonly number[]) => ({ pos: ['int64', shape, values] as const });

const CASES: Readonly<Record<string, Case>> = {
  RMSNormalization: {
    op: 'RMSNormalization',
    opset: 23,
    shapes: [X, [12]],
    inputs: ['a', 'b'],
    attributes: epsilon,
  },
  SimplifiedLayerNormalization: {
    op: 'SimplifiedLayerNormalization',
    shapes: [X, [12]],
    inputs: ['a', 'b'],
    attributes: epsilon,
  },
  SkipLayerNormalization: {
    op: 'SkipLayerNormalization',
    domain: MS,
    shapes: [X, X, [12], [12], [12]],
    inputs: ['a', 'b', 'c', 'd', 'e'],
    attributes: epsilon,
  },
  SkipSimplifiedLayerNormalization: {
    op: 'SkipSimplifiedLayerNormalization',
    domain: MS,
    shapes: [X, X, [12]],
    inputs: ['a', 'b', 'c'],
    attributes: epsilon,
  },
  FastGelu: { op: 'FastGelu', domain: MS, shapes: [X, [12]], inputs: ['a', 'b'] },
  BiasGelu: { op: 'BiasGelu', domain: MS, shapes: [X, [12]], inputs: ['a', 'b'] },
  QuickGelu: { op: 'QuickGelu', domain: MS, shapes: [X], inputs: ['a'] },
  RotaryEmbedding: {
    op: 'RotaryEmbedding',
    opset: 23,
    shapes: [X],
    inputs: ['a', 'cos', 'sin', 'pos'],
    constants: { ...CACHES, ...positions([2, 4], [0, 1, 2, 3, 0, 1, 2, 3]) },
    attributes: { num_heads: { int: 2 } },
  },
  'RotaryEmbedding, interleaved': {
    op: 'RotaryEmbedding',
    opset: 23,
    shapes: [X],
    inputs: ['a', 'cos', 'sin', 'pos'],
    constants: { ...CACHES, ...positions([2, 4], [1, 2, 3, 4, 1, 2, 3, 4]) },
    attributes: { num_heads: { int: 2 }, interleaved: { int: 1 } },
  },
  'RotaryEmbedding of com.microsoft': {
    op: 'RotaryEmbedding',
    domain: MS,
    shapes: [X],
    inputs: ['a', 'pos', 'cos', 'sin'],
    constants: { ...CACHES, ...positions([1], [2]) },
  },
  Attention: {
    op: 'Attention',
    opset: 23,
    shapes: [X, [2, 5, 6], [2, 5, 6]],
    inputs: ['a', 'b', 'c', 'mask'],
    constants: { mask: ['float64', [4, 5], [...wave(9, [4, 5])]] },
    attributes: { q_num_heads: { int: 4 }, kv_num_heads: { int: 2 } },
  },
  'Attention, causal': {
    op: 'Attention',
    opset: 23,
    shapes: [X, X, X],
    inputs: ['a', 'b', 'c'],
    attributes: {
      q_num_heads: { int: 2 },
      kv_num_heads: { int: 2 },
      is_causal: { int: 1 },
      scale: { float: 0.3 },
    },
  },
  MultiHeadAttention: {
    op: 'MultiHeadAttention',
    domain: MS,
    shapes: [X, [2, 5, 12], [2, 5, 12]],
    inputs: ['a', 'b', 'c', '', '', 'bias'],
    constants: { bias: ['float64', [1, 2, 4, 5], [...wave(9, [1, 2, 4, 5])]] },
    attributes: { num_heads: { int: 2 } },
  },
  GroupQueryAttention: {
    op: 'GroupQueryAttention',
    domain: MS,
    shapes: [X, [2, 4, 6], [2, 4, 6]],
    inputs: ['a', 'b', 'c', '', '', 'lengths', 'total', 'cos', 'sin'],
    constants: { ...CACHES, lengths: ['int32', [2], [3, 3]], total: ['int32', [1], [4]] },
    attributes: { num_heads: { int: 2 }, kv_num_heads: { int: 1 }, do_rotary: { int: 1 } },
    outputs: 3,
  },
  'GroupQueryAttention, packed': {
    op: 'GroupQueryAttention',
    domain: MS,
    shapes: [[2, 4, 24]],
    inputs: ['a', '', '', '', '', 'lengths', 'total'],
    constants: { lengths: ['int32', [2], [3, 3]], total: ['int32', [1], [4]] },
    attributes: { num_heads: { int: 2 }, kv_num_heads: { int: 1 } },
    outputs: 3,
  },
  MoE: {
    op: 'MoE',
    domain: MS,
    shapes: [X, [8, 4], [4, 6, 12], [4, 6], [4, 12, 6], [4, 12]],
    inputs: ['a', 'b', 'c', 'd', 'e', 'f'],
    attributes: {
      k: { int: 2 },
      activation_type: { string: 'silu' },
      normalize_routing_weights: { int: 1 },
    },
  },
  'MoE, gelu': {
    op: 'MoE',
    domain: MS,
    shapes: [X, [8, 4], [4, 6, 12], [4, 12, 6]],
    inputs: ['a', 'b', 'c', '', 'd'],
    attributes: { activation_type: { string: 'gelu' } },
  },
  'MoE, swiglu': {
    op: 'MoE',
    domain: MS,
    shapes: [X, [8, 4], [4, 10, 12], [4, 12, 5]],
    inputs: ['a', 'b', 'c', '', 'd'],
    attributes: {
      k: { int: 3 },
      activation_type: { string: 'swiglu' },
      swiglu_fusion: { int: 1 },
      activation_alpha: { float: 1.5 },
      activation_beta: { float: 0.5 },
      swiglu_limit: { float: 2 },
    },
  },
};

/** The same with heads of 16 elements, which onnxruntime's kernel wants. */
function widened(spec: Case): Case {
  if (spec.op !== 'GroupQueryAttention') return spec;
  const wide = (f: (x: number) => number): readonly ['float64', Shape, readonly number[]] => [
    'float64',
    [8, 8],
    Array.from({ length: 64 }, (_, i) => f(Math.floor(i / 8) / (1 + (i % 8)))),
  ];
  return {
    ...spec,
    shapes: spec.shapes.map((shape) => [...shape.slice(0, -1), ((shape.at(-1) ?? 0) / 6) * 16]),
    constants: {
      ...spec.constants,
      ...(spec.constants?.cos && { cos: wide(Math.cos), sin: wide(Math.sin) }),
    },
  };
}

const letters = ['a', 'b', 'c', 'd', 'e', 'f'];

function modelOf(
  { op, domain = '', opset = 21, shapes, inputs, constants = {}, attributes = {}, outputs = 1 }: Case,
  type: 'float32' | 'float64',
) {
  const tensorOf = (
    name: string,
    [kind, shape, values]: readonly [DataType, Shape, readonly number[]],
  ): Tensor => {
    if (kind === 'int64') return Tensor.of(name, kind, shape, BigInt64Array.from(values, BigInt));
    if (kind === 'int32') return Tensor.of(name, kind, shape, Int32Array.from(values));
    return type === 'float64'
      ? Tensor.of(name, type, shape, Float64Array.from(values))
      : Tensor.of(name, type, shape, Float32Array.from(values));
  };
  const node: NodeSpec = {
    opType: op,
    domain,
    inputs,
    outputs: ['y', 'k', 'v'].slice(0, outputs),
    attributes,
  };
  return buildModel({
    inputs: shapes.map((shape, i) => [letters[i] as string, type, shape] as const),
    outputs: [['y', type]],
    nodes: [node],
    initializers: Object.entries(constants).map(([name, content]) => tensorOf(name, content)),
    opset: { '': opset, [MS]: 1 },
  });
}

/** Largest difference, relative to the largest number. */
function difference(found: ArrayLike<number>, expected: readonly number[]): number {
  const most = Math.max(...expected.map(Math.abs));
  return Math.max(...expected.map((value, i) => Math.abs((found[i] ?? Number.NaN) - value))) / most;
}

describe('gradients through fused operators are those of PyTorch', () => {
  test.each(Object.keys(CASES))('%s', async (name) => {
    const spec = CASES[name] as Case;
    // onnxruntime has no Erf in float64.
    const type = spec.op === 'BiasGelu' ? 'float32' : 'float64';
    const numbers = (seed: number, shape: Shape) =>
      type === 'float64' ? wave(seed, shape) : Float32Array.from(wave(seed, shape));
    const wrt = letters.slice(0, spec.shapes.length);
    const made = await gradient(modelOf(spec, type), {
      loss: 'dot',
      wrt,
      output: 'y',
      weights: 'constants',
    });
    await using session = await openSession(made.model);
    const read = new Set(made.model.graph.inputs.map((input) => input.name));
    const { y = [], gradients = [] } = figures[name] ?? {};
    const target = made.model.graph.inputs.find((input) => input.name === made.target)?.shape as number[];
    const feeds: Record<string, RuntimeTensor> = {
      [made.target as string]: { type, shape: target, data: numbers(50, target) },
    };
    for (const [i, shape] of spec.shapes.entries())
      if (read.has(wrt[i] as string)) feeds[wrt[i] as string] = { type, shape, data: numbers(i + 1, shape) };
    const results = await session.run(feeds);
    expect(difference(results[made.prediction]?.data as Float64Array, y)).toBeLessThan(1e-6);
    for (const [i, letter] of wrt.entries()) {
      const found = results[made.gradients.get(letter) ?? '']?.data as Float64Array;
      expect(difference(found, gradients[i] ?? []), `by input ${i}`).toBeLessThan(1e-6);
    }
  });

  test.each(Object.keys(CASES))('what stands in for %s computes what onnxruntime does', async (name) => {
    const spec = widened(CASES[name] as Case);
    const model = modelOf(spec, 'float32');
    const feeds = Object.fromEntries(
      spec.shapes.map((shape, i) => [
        letters[i] as string,
        { type: 'float32', shape, data: Float32Array.from(wave(i + 1, shape)) } as const,
      ]),
    );
    const outputs = [];
    for (const one of [model, inlined(model)]) {
      await using session = await openSession(one);
      outputs.push((await session.run(feeds)).y?.data as Float32Array);
    }
    expect(difference(outputs[1] ?? [], [...(outputs[0] ?? [])])).toBeLessThan(2e-6);
  });
});

test('caches of rotary positions are no weights', () => {
  const spec = CASES.GroupQueryAttention as Case;
  expect(trainableWeights(inlined(modelOf(spec, 'float32')).graph, 'y')).toEqual([]);
});

describe('experts', () => {
  const spec = CASES.MoE as Case;
  const names = ['fc1', 'fc1_bias', 'fc2', 'fc2_bias'];
  const build = (weights: readonly Shape[]) =>
    modelOf(
      {
        ...spec,
        shapes: spec.shapes.slice(0, 2),
        inputs: ['a', 'b', ...names],
        constants: Object.fromEntries(
          names.map((name, i) => [
            name,
            ['float32', weights[i] as Shape, [...wave(i + 3, weights[i] as Shape)]],
          ]),
        ),
      },
      'float32',
    );

  test('have weights that are trained', () => {
    const model = inlined(build(spec.shapes.slice(2)));
    expect(trainableWeights(model.graph, 'y')).toEqual(names);
  });

  test('whose axes are in another order than the kernel reads are refused', async () => {
    const model = build([
      [4, 12, 6],
      [4, 6],
      [4, 6, 12],
      [4, 12],
    ]);
    await expect(gradient(model, { loss: 'sum', wrt: ['a'], output: 'y' })).rejects.toThrow(
      'com.microsoft.MoE has no gradient here',
    );
  });
});

describe('a frozen weight of 4 bits', () => {
  const [N, K, BLOCK] = [6, 40, 16];
  const blocks = Math.ceil(K / BLOCK);
  const bytes = (count: number, seed: number): Uint8Array =>
    Uint8Array.from({ length: count }, (_, i) => (i * 37 + seed) % 256);

  test.each([
    ['without zero points', 4, false],
    ['with zero points', 4, true],
    ['of 8 bits', 8, true],
  ] as const)('%s passes the gradient to its input', async (_, bits, hasZeros) => {
    const zeroBytes = N * Math.ceil((blocks * bits) / 8);
    const model = buildModel({
      inputs: [['x', 'float32', [3, K]]],
      outputs: [['y', 'float32', [3, N]]],
      nodes: [
        {
          opType: 'MatMulNBits',
          domain: MS,
          inputs: ['x', 'w', 's', ...(hasZeros ? ['z'] : [])],
          outputs: ['y'],
          attributes: { N: { int: N }, K: { int: K }, bits: { int: bits }, block_size: { int: BLOCK } },
        },
      ],
      initializers: [
        Tensor.of('w', 'uint8', [N, blocks, (BLOCK * bits) / 8], bytes((N * blocks * BLOCK * bits) / 8, 5)),
        Tensor.of(
          's',
          'float32',
          [N * blocks],
          Float32Array.from({ length: N * blocks }, (_, i) => 0.01 * (i + 1)),
        ),
        ...(hasZeros ? [Tensor.of('z', 'uint8', [zeroBytes], bytes(zeroBytes, 9))] : []),
      ],
      opset: { '': 21, [MS]: 1 },
    });
    const plain = inlined(model);
    expect(trainableWeights(plain.graph, 'y')).toEqual([]);
    const x = Float32Array.from(wave(1, [3, K]));
    const feeds = { x: { type: 'float32', shape: [3, K], data: x } as const };
    const run = async (one: typeof model, what: Float32Array): Promise<Float32Array> => {
      await using session = await openSession(one);
      return (await session.run({ x: { ...feeds.x, data: what } })).y?.data as Float32Array;
    };
    expect(difference(await run(plain, x), [...(await run(model, x))])).toBeLessThan(1e-5);
    const made = await gradient(model, { loss: 'sum', wrt: ['x'], output: 'y', weights: 'constants' });
    await using session = await openSession(made.model);
    const fed = made.model.graph.inputs.some(({ name }) => name === 'x') ? feeds : {};
    const found = (await session.run(fed))[made.gradients.get('x') ?? '']?.data as Float32Array;
    // It is linear: column k of the weight, summed, is what a unit input gives.
    for (const k of [0, 1, 17, K - 1]) {
      const unit = new Float32Array(3 * K);
      unit[k] = 1;
      const expected = (await run(model, unit)).slice(0, N).reduce((sum, value) => sum + value, 0);
      expect(Math.abs((found[k] as number) - expected)).toBeLessThan(1e-4 * Math.max(1, Math.abs(expected)));
    }
  });
});

test('a model without fused operators stays as it is', async () => {
  const model = await readModel('fixtures/shapes.onnx');
  expect(inlined(model)).toBe(model);
});
