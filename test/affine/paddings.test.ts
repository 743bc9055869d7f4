import { describe, expect, it } from 'vitest';
import { collapsed, expectSameFunction } from '../passes/laws.js';
import { opsOf } from '../passes/models.js';
import { Net } from './net.js';

const IMAGE = [2, 4, 9, 8];

const pool = (net: Net, x: string, ints: Record<string, number> = {}): string =>
  net.node('AveragePool', [x], {
    kernel_shape: { ints: [3, 3] },
    strides: { ints: [2, 1] },
    ...Object.fromEntries(Object.entries(ints).map(([name, int]) => [name, { int }])),
  });

describe('Pads of zeros', () => {
  it.each<[string, number[], (net: Net) => string, string[]]>([
    [
      'that several convolutions read, each with pads of its own',
      [2, 4, 11],
      (net) => {
        const padded = net.pad('x', [2, 1]);
        const filter = net.node('Tanh', [net.conv(padded, 4, { kernel: 3, dilation: 2, pads: 1 })]);
        return net.node('Mul', [filter, net.node('Sigmoid', [net.conv(padded, 4, { kernel: 3 })])]);
      },
      ['Conv', 'Tanh', 'Conv', 'Sigmoid', 'Mul'],
    ],
    ['that an AveragePool reads', IMAGE, (net) => pool(net, net.pad('x', [1, 0, 2, 1])), ['AveragePool']],
    [
      'not where a pooling takes zeros for values: MaxPool',
      IMAGE,
      (net) => net.node('MaxPool', [net.pad('x', [1, 1, 1, 1])], { kernel_shape: { ints: [3, 3] } }),
      ['Pad', 'MaxPool'],
    ],
    [
      'not where a size is rounded up',
      IMAGE,
      (net) => pool(net, net.pad('x', [1, 1, 0, 0]), { ceil_mode: 1 }),
      ['Pad', 'AveragePool'],
    ],
    [
      'not where something else reads them',
      IMAGE,
      (net) => {
        const padded = net.pad('x', [1, 0, 1, 0]);
        return net.node('Concat', [net.conv(padded, 4), net.node('Relu', [padded])], { axis: { int: 1 } }, 8);
      },
      ['Pad', 'Conv', 'Relu', 'Concat'],
    ],
    ['not where they crop', IMAGE, (net) => pool(net, net.pad('x', [0, -1, 1, 1])), ['Pad', 'AveragePool']],
  ])('%s', async (name, shape, build, ops) => {
    const net = new Net(shape, name);
    const output = build(net);
    const model = net.model(net.node('Relu', [output]));
    const { model: folded, account } = await collapsed(model);
    expect(opsOf(folded)).toEqual([...ops, 'Relu']);
    await expectSameFunction(model, folded);
    expect((await collapsed(model, { dryRun: true })).account.rewritten).toEqual(account.rewritten);
  });

  // onnxruntime would, and then does not run it.
  it('not where a pooling would be padded by its whole window', async () => {
    const net = new Net(IMAGE);
    const { model } = await collapsed(net.model(pool(net, net.pad('x', [3, 0, 0, 0]))));
    expect(opsOf(model)).toEqual(['Pad', 'AveragePool']);
  });
});
