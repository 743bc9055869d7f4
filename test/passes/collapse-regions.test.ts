import { expect, test } from 'vitest';
import { type Model, type NodeSpec, Tensor } from '../../src/graph/index.js';
import { expand } from '../../src/passes/expand.js';
import { collapsed, expectSameFunction } from './laws.js';
import { copyOf, opsOf, stack, weight } from './models.js';

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
  expect(account).toEqual({ rewritten: [], skipped: [] });
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
