import { describe, expect, it } from 'vitest';
import * as blocks from './blocks.js';
import { Net } from './net.js';
import { expectFolds, foldCopy } from './support.js';

const IMAGE = [2, 8, 11, 13];

describe("peers' blocks fold to one Conv", () => {
  it.each([
    ['RepVGG with identity', (net: Net) => blocks.repVgg(net, 'x')],
    ['RepVGG with stride 2', (net: Net) => blocks.repVgg(net, 'x', { outputs: 16, stride: 2 })],
    ['RepVGG in groups', (net: Net) => blocks.repVgg(net, 'x', { groups: 4 })],
    ['ACNet', (net: Net) => blocks.acNet(net, 'x', 12)],
    ['ACNet with stride 2', (net: Net) => blocks.acNet(net, 'x', 12, 2)],
    ['Diverse Branch Block', (net: Net) => blocks.diverseBranch(net, 'x', 8, { padding: 'first' })],
    [
      'Diverse Branch Block, 5x5',
      (net: Net) => blocks.diverseBranch(net, 'x', 6, { padding: 'first', kernel: 5 }),
    ],
    ['ExpandNet CL', (net: Net) => blocks.expandNetCl(net, 'x', 6, 3)],
    ['ExpandNet CK 5x5', (net: Net) => blocks.expandNetCk(net, 'x', 6, 5)],
    ['ExpandNet CK 7x7', (net: Net) => blocks.expandNetCk(net, 'x', 6, 7)],
    ['MobileOne depthwise', (net: Net) => blocks.mobileOne(net, 'x', 'depthwise', 4)],
    ['MobileOne pointwise', (net: Net) => blocks.mobileOne(net, 'x', 'pointwise', 4)],
    ['DO-Conv with BN', (net: Net) => net.norm(blocks.doConv(net, 'x', 10))],
    [
      'overparam, residual every layer',
      (net: Net) => blocks.overparamChain(net, 'x', { outputs: 8, depth: 4, intervals: [1] }),
    ],
    [
      'overparam, residual every second layer',
      (net: Net) => blocks.overparamChain(net, 'x', { outputs: 8, depth: 4, intervals: [2] }),
    ],
    [
      'overparam, residuals over 1 and 2 layers with BN',
      (net: Net) => blocks.overparamChain(net, 'x', { outputs: 8, depth: 4, intervals: [1, 2], norm: true }),
    ],
    [
      'two RepVGG blocks of 1x1s',
      (net: Net) => blocks.mobileOne(net, blocks.mobileOne(net, 'x', 'pointwise', 2), 'pointwise', 2),
    ],
  ])('%s', async (_name, build) => {
    const net = new Net(IMAGE, _name);
    const { regions, refused } = await expectFolds(net.model(build(net)), ['Conv']);
    expect(regions).toHaveLength(1);
    expect(refused).toEqual([]);
  });

  const intervals = [[1], [2], [3], [1, 2], [2, 3], [1, 2, 3]];
  const spaces = { '1D': [2, 6, 17], '2D': [2, 6, 9, 8], '3D': [1, 6, 5, 6, 7] };
  it.each(
    Object.entries(spaces).flatMap(([space, shape]) =>
      intervals.flatMap((list) =>
        [false, true].map((norm) => ({ space, shape, list, norm, name: list.join(' and ') })),
      ),
    ),
  )('overparam in $space, residuals over $name layers, BN: $norm', async ({ shape, list, norm, space }) => {
    const net = new Net(shape, `${space} ${list} ${norm}`);
    const y = blocks.overparamChain(net, 'x', { outputs: 6, depth: 6, intervals: list, norm });
    await expectFolds(net.model(y), ['Conv']);
  });

  it.each(Object.entries(spaces))('RepVGG, MobileOne and ExpandNet in %s', async (space, shape) => {
    const net = new Net(shape, space);
    await expectFolds(net.model(blocks.repVgg(net, 'x')), ['Conv']);
    const mobile = new Net(shape, space);
    await expectFolds(mobile.model(blocks.mobileOne(mobile, 'x', 'depthwise', 3)), ['Conv']);
    const wide = new Net(shape, space);
    await expectFolds(wide.model(blocks.expandNetCl(wide, 'x', 6, 3)), ['Conv']);
  });

  it('keeps the groups of branches that have them', async () => {
    const net = new Net(IMAGE);
    const { model } = await expectFolds(net.model(blocks.mobileOne(net, 'x', 'depthwise', 3)), ['Conv']);
    expect(model.graph.nodes[0]?.attributes.int('group', 1)).toBe(8);
    expect(model.graph.initializers.get(model.graph.nodes[0]?.inputs[1] ?? '')?.shape).toEqual([8, 1, 3, 3]);
  });
});

describe('a Diverse Branch Block that pads with zeros behind a BN', () => {
  it('is folded except for that branch, with the reason', async () => {
    const net = new Net(IMAGE);
    const folded = await foldCopy(net.model(blocks.diverseBranch(net, 'x', 8, { padding: 'second' })));
    expect(folded.relativeDifference).toBeLessThan(1e-5);
    // kxk and 1x1 become one; 1x1 -> kxk and 1x1 -> pooling stay, with the BNs of their convolutions within.
    expect([...folded.ops].sort()).toEqual([
      'Add',
      'Add',
      'AveragePool',
      'BatchNormalization',
      'Conv',
      'Conv',
      'Conv',
      'Conv',
    ]);
    expect(folded.refused.map(({ kind }) => kind)).toContain('inexact');
    expect(folded.refused.map(({ reason }) => reason).join()).toMatch(
      /adds a bias in front of the zero padding/,
    );
  });

  it('is folded where that BN adds nothing', async () => {
    const net = new Net(IMAGE);
    const squeezed = net.norm(net.conv('x', 8), { centered: true });
    const y = net.add(
      net.conv('x', 8, { kernel: 3, pads: 1 }),
      net.norm(net.conv(squeezed, 8, { kernel: 3, pads: 1 })),
    );
    await expectFolds(net.model(y), ['Conv']);
  });
});
