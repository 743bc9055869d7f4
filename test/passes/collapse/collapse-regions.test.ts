import { expect, test } from 'vitest';
import { type Model, type NodeSpec, Tensor } from '../../../src/graph/index.js';
import { type ExpandOptions, expand } from '../../../src/passes/expand/expand.js';
import { buildModel } from '../../support/build.js';
import { collapsed, expectSameFunction } from '../laws.js';
import { copyOf, opsOf, stack, weight } from '../models.js';

const positive = (name: string, size: number): Tensor =>
  Tensor.of(
    name,
    'float32',
    [size],
    Float32Array.from({ length: size }, (_, i) => 0.5 + ((i * 7) % 5) / 4),
  );

const batchNorm = (name: string, x: string, y: string): NodeSpec => ({
  opType: 'BatchNormalization',
  name,
  inputs: [x, `${name}.scale`, `${name}.b`, `${name}.mean`, `${name}.var`],
  outputs: [y],
});

/** Conv + BN, plus a 1x1 Conv + BN beside it (a RepVGG block), Relu, then a bottleneck made on purpose. */
function block(): Model {
  const statistics = ['bn3', 'bn1'].flatMap((name) => [
    positive(`${name}.scale`, 6),
    weight(`${name}.b`, [6]),
    weight(`${name}.mean`, [6]),
    positive(`${name}.var`, 6),
  ]);
  return stack(
    [2, 6, 7, 9],
    [
      {
        opType: 'Conv',
        name: 'conv3',
        inputs: ['x', 'w3'],
        outputs: ['a'],
        attributes: { pads: { ints: [1, 1, 1, 1] } },
      },
      batchNorm('bn3', 'a', 'b'),
      { opType: 'Conv', name: 'conv1', inputs: ['x', 'w1'], outputs: ['c'] },
      batchNorm('bn1', 'c', 'd'),
      { opType: 'Add', name: 'add', inputs: ['b', 'd'], outputs: ['e'] },
      { opType: 'Relu', name: 'relu', inputs: ['e'], outputs: ['f'] },
      { opType: 'Conv', name: 'down', inputs: ['f', 'wd'], outputs: ['g'] },
      { opType: 'Conv', name: 'up', inputs: ['g', 'wu'], outputs: ['y'] },
    ],
    [
      weight('w3', [6, 6, 3, 3]),
      weight('w1', [6, 6, 1, 1]),
      weight('wd', [1, 6, 1, 1]),
      weight('wu', [6, 1, 1, 1]),
      ...statistics,
    ],
  );
}

test('a block of parallel branches becomes one convolution; the bottleneck stays', async () => {
  const model = block();
  const { model: folded, account } = await collapsed(model, { explain: true });
  expect(opsOf(folded)).toEqual(['Conv', 'Relu', 'Conv', 'Conv']);
  await expectSameFunction(model, folded, 1e-5);
  const [region] = account.rewritten;
  expect(region?.by).toBe('region');
  expect(region?.from).toHaveLength(5);
  expect(region?.probe).toBeLessThan(1e-5);
  expect(region?.multiplyAddsAfter).toBeLessThan(region?.multiplyAddsBefore ?? 0);
  expect(account.skipped.map(({ node }) => node)).toEqual(['down, up']);
});

test('with force the bottleneck goes too', async () => {
  const model = block();
  const { model: folded } = await collapsed(model, { force: true });
  expect(opsOf(folded)).toEqual(['Conv', 'Relu', 'Conv']);
  await expectSameFunction(model, folded, 1e-5);
});

test('chainsOnly leaves regions, and undoes expand to the node', async () => {
  const model = block();
  const { account } = await collapsed(model, { chainsOnly: true });
  expect(account).toEqual({ rewritten: [], skipped: [], inlined: [] });
  const copy = await copyOf(model);
  await copy.apply(expand({ depth: 3 }));
  const { model: back } = await collapsed(copy, { chainsOnly: true });
  expect(opsOf(back)).toEqual(opsOf(model));
});

test('expanded, the block folds as it does plain', async () => {
  const model = block();
  const copy = await copyOf(model);
  await copy.apply(expand({ depth: 3 }));
  const { model: folded } = await collapsed(copy);
  expect(opsOf(folded)).toEqual(['Conv', 'Relu', 'Conv', 'Conv']);
  await expectSameFunction(model, folded, 1e-5);
});

test('a dry run changes nothing and tells what would be done', async () => {
  const { model: same, account } = await collapsed(block(), { dryRun: true });
  expect(same.changed).toBe(false);
  const { account: real } = await collapsed(block());
  expect(account).toEqual(real);
});

const elements = (model: Model): number =>
  [...model.graph.initializers.values()].reduce((sum, { size }) => sum + size, 0);

test.each<[string, ExpandOptions]>([
  ['plain', { depth: 3 }],
  ['with residuals and normalizations', { depth: 3, residual: true, batchNorm: true }],
  ['with kernels', { kernelSizes: [[3, 1]], width: 2 }],
])('chains are explained as regions are: %s', async (_name, options) => {
  const model = await copyOf(block());
  await model.apply(expand(options));
  for (const chainsOnly of [true, false]) {
    const { model: folded, account } = await collapsed(model, { explain: true, chainsOnly });
    const { rewritten } = account;
    expect(rewritten.length).toBeGreaterThan(0);
    for (const row of rewritten) {
      expect(row.probe).toBeLessThan(1e-5);
      expect(row.multiplyAddsAfter).toBeLessThanOrEqual(row.multiplyAddsBefore);
    }
    // The figures are those of the files, once each.
    const gone = rewritten.reduce((sum, row) => sum + row.from.length - row.nodesAfter, 0);
    expect(folded.graph.nodes).toHaveLength(model.graph.nodes.length - gone);
    const less = rewritten.reduce((sum, row) => sum + row.parametersBefore - row.parametersAfter, 0);
    expect(elements(folded)).toBe(elements(model) - less);
  }
});

test('a chain that its bias joins is told once, by the nodes that were there', async () => {
  const plain = stack(
    [3, 8],
    [
      { opType: 'MatMul', name: 'fc', inputs: ['x', 'w'], outputs: ['h'] },
      { opType: 'Add', name: 'bias', inputs: ['h', 'b'], outputs: ['y'] },
    ],
    [weight('w', [8, 5]), weight('b', [5])],
  );
  const model = await copyOf(plain);
  await model.apply(expand({ depth: 2, width: 1 }));
  const { account } = await collapsed(model, { explain: true });
  expect(account.rewritten).toMatchObject([
    {
      node: 'fc',
      op: 'Gemm',
      by: 'region',
      from: ['fc/overparam/0', 'fc/overparam/1', 'bias'],
      nodesAfter: 1,
      parametersBefore: 8 * 5 + 5 * 5 + 5,
      parametersAfter: 8 * 5 + 5,
      multiplyAddsBefore: 8 * 5 + 5 * 5 + 5,
      multiplyAddsAfter: 8 * 5,
    },
  ]);
});

test('transposed convolutions and batched products are probed as they run', async () => {
  const model = stack(
    [2, 4, 5, 6],
    [
      { opType: 'MatMul', name: 'batched', inputs: ['x', 'w'], outputs: ['h'] },
      {
        opType: 'ConvTranspose',
        name: 'up',
        inputs: ['h', 'k'],
        outputs: ['y'],
        attributes: { strides: { ints: [2, 2] } },
      },
    ],
    [weight('w', [4, 6, 5]), weight('k', [4, 3, 2, 2])],
  );
  const expandedModel = await copyOf(model);
  await expandedModel.apply(expand({ depth: 2 }));
  const { account } = await collapsed(expandedModel, { explain: true });
  expect(account.rewritten.map(({ op, multiplyAddsAfter }) => [op, multiplyAddsAfter])).toEqual([
    ['MatMul', 6 * 5],
    // Each of the 2 x 2 places that a position becomes takes a quarter of the kernel.
    ['ConvTranspose', 4 * 3],
  ]);
  for (const { probe, unprobed } of account.rewritten) {
    expect(unprobed).toBeUndefined();
    expect(probe).toBeLessThan(1e-5);
  }
});

test('poolings of one element go, but not one that makes the output', async () => {
  const pool = (name: string, x: string, y: string): NodeSpec => ({
    opType: 'AveragePool',
    name,
    inputs: [x],
    outputs: [y],
    attributes: { kernel_shape: { ints: [1, 1] }, strides: { ints: [1, 1] } },
  });
  const model = stack(
    [2, 3, 4, 5],
    [
      { opType: 'Relu', name: 'relu', inputs: ['x'], outputs: ['a'] },
      pool('pool', 'a', 'b'),
      { opType: 'Flatten', name: 'flatten', inputs: ['b'], outputs: ['c'] },
      { opType: 'Gemm', name: 'fc', inputs: ['c', 'w'], outputs: ['d'] },
      { opType: 'Reshape', name: 'image', inputs: ['d', 'shape'], outputs: ['e'] },
      {
        ...pool('strided', 'e', 'f'),
        attributes: { kernel_shape: { ints: [1, 1] }, strides: { ints: [2, 2] } },
      },
      pool('last', 'f', 'y'),
    ],
    [weight('w', [60, 8]), Tensor.of('shape', 'int64', [4], BigInt64Array.from([2n, 2n, 2n, 2n]))],
  );
  const { model: folded, account } = await collapsed(model, { explain: true });
  expect(opsOf(folded)).toEqual(['Relu', 'Flatten', 'Gemm', 'Reshape', 'AveragePool', 'AveragePool']);
  expect(account.rewritten).toMatchObject([{ node: 'pool', op: '', nodesAfter: 0, from: ['pool'] }]);
  await expectSameFunction(model, folded, 0);
  expect((await collapsed(model, { dryRun: true })).account.rewritten).toHaveLength(1);
});

test('a view whose shape is computed of constants is seen through, and what computed it goes', async () => {
  const integer = (name: string, value: bigint): Tensor =>
    Tensor.of(name, 'int64', [], BigInt64Array.of(value));
  const one = Tensor.of('zero', 'int64', [1], BigInt64Array.of(0n));
  const unsqueeze = (x: string): NodeSpec => ({
    opType: 'Unsqueeze',
    name: `${x}/list`,
    inputs: [x, 'zero'],
    outputs: [`${x}s`],
  });
  const model = stack(
    [2, 6, 1, 1],
    [
      { opType: 'Conv', name: 'conv', inputs: ['x', 'k'], outputs: ['a'] },
      unsqueeze('rest'),
      unsqueeze('size'),
      {
        opType: 'Concat',
        name: 'shape',
        inputs: ['rests', 'sizes'],
        outputs: ['s'],
        attributes: { axis: { int: 0 } },
      },
      { opType: 'Reshape', name: 'view', inputs: ['a', 's'], outputs: ['b'] },
      { opType: 'Gemm', name: 'fc', inputs: ['b', 'w'], outputs: ['y'] },
    ],
    [weight('k', [6, 6, 1, 1]), weight('w', [6, 4]), integer('rest', -1n), integer('size', 6n), one],
  );
  const { model: folded, account } = await collapsed(model, { explain: true });
  expect(account.rewritten).toMatchObject([{ from: ['conv', 'view', 'fc'] }]);
  expect(account.rewritten[0]?.probe).toBeLessThan(1e-6);
  expect(opsOf(folded).filter((op) => op === 'Concat' || op === 'Unsqueeze')).toEqual([]);
  expect([...folded.graph.initializers.keys()].filter((name) => /rest|size|zero/.test(name))).toEqual([]);
  await expectSameFunction(model, folded, 1e-6);
});

test('what nodes compute of constants alone is one: weight normalization, the scale of a head of attention', async () => {
  const model = stack(
    [2, 5, 8],
    [
      // Salimans & Kingma 2016: w = g v / ‖v‖, as exporters leave it where they fold no constants.
      { opType: 'Mul', inputs: ['v', 'v'], outputs: ['squares'] },
      { opType: 'ReduceSum', inputs: ['squares', 'axes'], outputs: ['sum'] },
      { opType: 'Sqrt', inputs: ['sum'], outputs: ['norm'] },
      { opType: 'Div', inputs: ['v', 'norm'], outputs: ['direction'] },
      { opType: 'Mul', inputs: ['direction', 'g'], outputs: ['w'] },
      { opType: 'MatMul', name: 'query', inputs: ['x', 'w'], outputs: ['q'] },
      { opType: 'Reshape', name: 'heads', inputs: ['q', 'shape'], outputs: ['h'] },
      {
        opType: 'Transpose',
        name: 'turn',
        inputs: ['h'],
        outputs: ['t'],
        attributes: { perm: { ints: [0, 2, 1, 3] } },
      },
      { opType: 'Pow', inputs: ['width', 'half'], outputs: ['factor'] },
      { opType: 'Mul', name: 'scale', inputs: ['t', 'factor'], outputs: ['s'] },
      { opType: 'Softmax', inputs: ['s'], outputs: ['y'] },
    ],
    [
      weight('v', [8, 12]),
      positive('g', 12),
      Tensor.of('axes', 'int64', [1], new BigInt64Array([0n])),
      Tensor.of('shape', 'int64', [4], new BigInt64Array([0n, 0n, 3n, -1n])),
      Tensor.of('width', 'float32', [], new Float32Array([4])),
      Tensor.of('half', 'float32', [], new Float32Array([-0.5])),
    ],
  );
  const { model: folded } = await collapsed(model);
  expect(opsOf(folded)).toEqual(['MatMul', 'Constant', 'Reshape', 'Transpose', 'Softmax']);
  await expectSameFunction(model, folded);
});

test('what is not folded because a rank is unknown is told: of normalizations, and of a product behind a Reshape', async () => {
  const vectors = ['n1', 'n2'].flatMap((name) => [
    positive(`${name}.scale`, 6),
    weight(`${name}.b`, [6]),
    weight(`${name}.mean`, [6]),
    positive(`${name}.var`, 6),
  ]);
  const model = buildModel({
    inputs: [
      ['x', 'float32', [2, 6, 4]],
      ['sizes', 'int64', ['rank']],
    ],
    outputs: [
      ['y', 'float32'],
      ['z', 'float32'],
    ],
    nodes: [
      { opType: 'Reshape', name: 'open', inputs: ['x', 'sizes'], outputs: ['r'] },
      { opType: 'Relu', name: 'act', inputs: ['r'], outputs: ['a'] },
      batchNorm('n1', 'a', 'b'),
      batchNorm('n2', 'b', 'y'),
      { opType: 'Sigmoid', name: 'gate', inputs: ['r'], outputs: ['g'] },
      { opType: 'Mul', name: 'scale', inputs: ['g', 'factors'], outputs: ['s'] },
      { opType: 'Reshape', name: 'flat', inputs: ['s', 'shape'], outputs: ['f'] },
      { opType: 'MatMul', name: 'product', inputs: ['f', 'w'], outputs: ['z'] },
    ],
    initializers: [
      ...vectors,
      positive('factors', 4),
      weight('w', [4, 4]),
      Tensor.of('shape', 'int64', [2], new BigInt64Array([-1n, 4n])),
    ],
  });
  const { account, model: folded } = await collapsed(model);
  expect(opsOf(folded)).toEqual(opsOf(model));
  expect(account.skipped).toContainEqual({
    node: 'n1, n2',
    op: 'BatchNormalization',
    reason: "the rank of 'a' is unknown",
  });
  expect(account.skipped).toContainEqual({
    node: 'scale, flat, product',
    op: 'Mul, Reshape, MatMul',
    reason: "the rank of 'g' is unknown",
  });
});
