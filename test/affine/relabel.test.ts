import { describe, expect, it } from 'vitest';
import { findRegions } from '../../src/affine/match/regions.js';
import { type NodeSpec, Tensor } from '../../src/graph/index.js';
import { probeRegion } from '../../src/passes/collapse/probe.js';
import { buildModel, floats } from '../support/build.js';
import { Net } from './net.js';
import { expectFolds, foldCopy } from './support.js';

const IMAGE = [2, 8, 6, 5];

const matmul = (net: Net, x: string, inputs: number, outputs: number): string =>
  net.node('MatMul', [x, net.weight('w', [inputs, outputs], inputs)], {}, outputs);
const gemm = (net: Net, x: string, inputs: number, outputs: number): string =>
  net.node(
    'Gemm',
    [x, net.weight('fc', [outputs, inputs], inputs), net.weight('fc.bias', [outputs], 1)],
    { transB: { int: 1 } },
    outputs,
  );
const shuffle = (net: Net, x: string, groups: number): string => {
  const [n, c, h, w] = net.shape as [number, number, number, number];
  const cut = net.reshape(x, [n, groups, c / groups, h, w]);
  return net.reshape(net.transpose(cut, [0, 2, 1, 3, 4]), [n, -1, h, w]);
};

interface Case {
  readonly shape?: readonly number[];
  readonly build: (net: Net) => string;
  readonly ops: readonly string[];
  /** The batch is symbolic. */
  readonly symbolic?: boolean;
}

const cases: Readonly<Record<string, Case>> = {
  'Transpose, MatMul, Transpose around channels: a 1x1 Conv': {
    build: (net) => net.transpose(matmul(net, net.transpose('x', [0, 2, 3, 1]), 8, 12), [0, 3, 1, 2]),
    ops: ['Conv'],
  },
  'a 1x1 Conv between Transposes, as converters from channels-last write it: a MatMul': {
    shape: [2, 6, 5, 8],
    build: (net) => {
      const x = net.transpose('x', [0, 3, 1, 2]);
      const weight = net.weight('k', [12, 8, 1, 1], 8);
      return net.transpose(net.node('Conv', [x, weight]), [0, 2, 3, 1]);
    },
    ops: ['MatMul'],
  },
  'a bias and a scale behind the Transpose of a Conv': {
    build: (net) => {
      const y = net.transpose(net.conv('x', 12, { kernel: 3, pads: 1 }), [0, 2, 3, 1]);
      const added = net.node('Add', [y, net.weight('b', [12], 1)], {}, 12);
      const scaled = net.node('Mul', [added, net.weight('s', [12], 1)], {}, 12);
      return net.conv(net.transpose(scaled, [0, 3, 1, 2]), 8);
    },
    ops: ['Conv'],
  },
  'layer scale behind the Transpose of a MatMul (ConvNeXt)': {
    shape: [2, 6, 5, 8],
    build: (net) => {
      const y = net.node('Add', [net.weight('b', [4], 1), matmul(net, 'x', 8, 4)], {}, 4);
      return net.node('Mul', [net.weight('gamma', [4, 1, 1], 1), net.transpose(y, [0, 3, 1, 2])]);
    },
    ops: ['MatMul', 'Add', 'Transpose'],
  },
  'a Gemm behind Flatten of one place, of which the graph knows': {
    build: (net) => {
      const pooled = net.node('GlobalAveragePool', ['x']);
      return gemm(net, net.node('Flatten', [net.conv(pooled, 8, { bias: true })]), 8, 5);
    },
    symbolic: true,
    ops: ['GlobalAveragePool', 'Conv', 'Flatten'],
  },
  'a Gemm behind Reshape of one place': {
    build: (net) => gemm(net, net.reshape(net.conv('x', 7, { kernel: [6, 5] }), [-1, 7]), 7, 5),
    ops: ['Conv', 'Flatten'],
  },
  'a Gemm behind Squeeze of one place': {
    build: (net) => {
      const y = net.conv('x', 7, { kernel: [6, 5] });
      return gemm(net, net.node('Squeeze', [y, net.integers('axes', [2, 3])]), 7, 5);
    },
    ops: ['Conv', 'Flatten'],
  },
  'a 1D convolution written as a 2D one': {
    shape: [2, 8, 11],
    build: (net) => {
      const x = net.node('Unsqueeze', ['x', net.integers('axes', [2])]);
      const y = net.node(
        'Conv',
        [x, net.weight('k', [6, 8, 1, 3], 24)],
        { kernel_shape: { ints: [1, 3] }, pads: { ints: [0, 1, 0, 1] }, strides: { ints: [1, 2] } },
        6,
      );
      const z = net.node('Squeeze', [y, net.integers('axes', [2])], {}, 6);
      return net.norm(z);
    },
    ops: ['Conv'],
  },
  'rows in one axis for a MatMul, and back': {
    shape: [2, 5, 8],
    build: (net) => {
      const y = matmul(net, net.reshape('x', [-1, 8]), 8, 6);
      return net.node('Add', [net.reshape(y, [2, -1, 6]), net.weight('b', [6], 1)]);
    },
    ops: ['MatMul', 'Add'],
  },
  'places in one axis for a product from the left, and back': {
    build: (net) => {
      const y = net.node('MatMul', [net.weight('a', [8, 8], 8), net.reshape('x', [0, 8, -1])], {}, 8);
      return net.node('Add', [net.reshape(y, [0, 8, 6, 5]), net.weight('b', [8, 1, 1], 1)]);
    },
    ops: ['Conv'],
  },
  'a patch embedding: Conv, places in one axis, Transpose, bias': {
    build: (net) => {
      const y = net.reshape(net.conv('x', 12, { kernel: 2, stride: 2 }), [0, 12, -1]);
      return net.node('Add', [net.transpose(y, [0, 2, 1]), net.weight('b', [12], 1)]);
    },
    ops: ['Conv', 'Transpose', 'Constant', 'Reshape'],
  },
  'a channel shuffle before a 1x1 Conv': {
    build: (net) => net.conv(shuffle(net, 'x', 4), 6),
    ops: ['Conv'],
  },
  'a channel shuffle between dense convolutions': {
    build: (net) => net.conv(shuffle(net, net.conv('x', 8, { bias: true }), 2), 6, { kernel: 3 }),
    ops: ['Conv'],
  },
  'axes swapped and swapped back around a window': {
    build: (net) => {
      const y = net.node(
        'Conv',
        [net.transpose('x', [0, 1, 3, 2]), net.weight('k', [4, 8, 3, 2], 48)],
        { kernel_shape: { ints: [3, 2] }, strides: { ints: [2, 1] }, pads: { ints: [1, 0, 1, 1] } },
        4,
      );
      return net.transpose(y, [0, 1, 3, 2]);
    },
    ops: ['Conv'],
  },
  'a residual branch in another layout': {
    build: (net) => {
      const inner = matmul(net, net.transpose('x', [0, 2, 3, 1]), 8, 8);
      return net.node('Add', ['x', net.transpose(inner, [0, 3, 1, 2])]);
    },
    ops: ['Conv'],
  },
};

describe('nodes that only relabel are folded with what is around them', () => {
  it.each(Object.entries(cases))('%s', async (name, { shape = IMAGE, build, ops, symbolic = false }) => {
    const net = new Net(shape, name);
    const output = build(net);
    const model = net.model(output, { symbolic });
    if (!symbolic) {
      for (const region of findRegions(model).regions)
        expect((await probeRegion(region)).relativeDifference).toBeLessThan(1e-5);
    }
    await expectFolds(model, ops);
  });

  it('in float16, and in float64 where no Conv is made, which runtimes do not have', async () => {
    const build = (type: 'float16' | 'float64'): Net => new Net(IMAGE, 'types', type);
    const around = (net: Net): string =>
      net.transpose(matmul(net, net.transpose('x', [0, 2, 3, 1]), 8, 12), [0, 3, 1, 2]);
    const half = build('float16');
    await expectFolds(half.model(around(half)), ['Conv'], {}, 5e-3);
    const double = build('float64');
    await expectFolds(double.model(around(double)), ['Transpose', 'MatMul', 'Transpose']);
    const rows = new Net([2, 5, 8], 'types', 'float64');
    const y = rows.reshape(matmul(rows, rows.reshape('x', [-1, 8]), 8, 6), [2, -1, 6]);
    await expectFolds(rows.model(matmul(rows, y, 6, 4)), ['MatMul'], {}, 1e-13);
  });

  it('inside a function, whose inputs have no shapes, and a subgraph', async () => {
    const body = (input: string, output: string, weight: string): NodeSpec[] => [
      { opType: 'Transpose', inputs: [input], outputs: ['t'], attributes: { perm: { ints: [0, 2, 3, 1] } } },
      { opType: 'MatMul', inputs: ['t', weight], outputs: ['m'] },
      { opType: 'Transpose', inputs: ['m'], outputs: [output], attributes: { perm: { ints: [0, 3, 1, 2] } } },
    ];
    const branch = (nodes: NodeSpec[]) => buildModel({ nodes, outputs: [['y', 'float32']] }).proto.graph!;
    const constant = { value: { tensor: floats('', [4, 4], (i) => (i % 5) - 2) } };
    const model = buildModel({
      opset: { '': 17, local: 1 },
      inputs: [['x', 'float32', [2, 4, 3, 5]]],
      outputs: [['out', 'float32']],
      initializers: [Tensor.of('cond', 'bool', [], new Uint8Array([1])), floats('w', [4, 4])],
      functions: [
        {
          domain: 'local',
          name: 'Mix',
          inputs: ['a'],
          outputs: ['c'],
          nodes: [
            { opType: 'Constant', inputs: [], outputs: ['v'], attributes: constant },
            ...body('a', 'c', 'v'),
          ],
        },
      ],
      nodes: [
        {
          opType: 'If',
          inputs: ['cond'],
          outputs: ['r'],
          attributes: {
            then_branch: { graph: branch(body('x', 'y', 'w')) },
            else_branch: { graph: branch([{ opType: 'Identity', inputs: ['x'], outputs: ['y'] }]) },
          },
        },
        { opType: 'Mix', domain: 'local', inputs: ['r'], outputs: ['out'] },
      ],
    });
    const { model: folded, relativeDifference } = await foldCopy(model);
    expect(relativeDifference).toBeLessThan(1e-6);
    expect(folded.graph.nodes[0]?.subgraphs[0]?.nodes.map((node) => node.opType)).toEqual(['Conv']);
    expect(folded.functions[0]?.nodes.map((node) => node.opType)).toEqual(['Constant', 'Conv']);
  });
});

describe('what relabels is not folded', () => {
  it('where positions become channels', async () => {
    const net = new Net([2, 4, 3, 3]);
    const y = gemm(net, net.node('Flatten', [net.conv('x', 4)]), 36, 5);
    const { refused } = await expectFolds(net.model(y), ['Conv', 'Flatten', 'Gemm'], { force: true });
    expect(refused).toMatchObject([{ reason: expect.stringContaining('mixes other axes') }]);
  });

  it('where one place is not known to be one', async () => {
    const net = new Net(IMAGE);
    const y = gemm(net, net.node('Flatten', [net.conv('x', 7, { kernel: [6, 5] })]), 7, 5);
    await expectFolds(net.model(y), ['Conv', 'Flatten']);
    const { regions } = findRegions(net.model(y, { symbolic: true }));
    expect(regions).toEqual([]);
  });

  it('where a batch of a fixed size is asked of an input of any', () => {
    const net = new Net([2, 5, 8]);
    const y = net.reshape(matmul(net, net.reshape('x', [10, 8]), 8, 6), [2, 5, 6]);
    expect(findRegions(net.model(y)).regions).toHaveLength(1);
    expect(findRegions(net.model(y, { symbolic: true })).regions).toEqual([]);
  });

  it('where branches lie differently', async () => {
    const net = new Net([2, 8, 5, 5]);
    const y = net.node('Add', [net.conv('x', 8), net.transpose(net.conv('x', 8), [0, 1, 3, 2])]);
    const { refused } = await expectFolds(net.model(y), ['Conv', 'Conv', 'Transpose', 'Add'], {
      force: true,
    });
    expect(refused).toMatchObject([{ kind: 'inexact', reason: expect.stringContaining('different order') }]);
  });

  it('where a shuffle would make a grouped convolution dense', async () => {
    const net = new Net(IMAGE);
    const y = net.conv(shuffle(net, net.conv('x', 8, { groups: 4 }), 4), 8, { groups: 4 });
    const { refused } = await expectFolds(net.model(y), ['Conv', 'Reshape', 'Transpose', 'Reshape', 'Conv']);
    expect(refused).toMatchObject([{ kind: 'cost' }]);
    await expectFolds(net.model(y), ['Conv'], { force: true });
  });

  it('in front of or behind a Gemm that transposes its input', async () => {
    const turned = (net: Net, x: string, inputs: number, outputs: number): string =>
      net.node('Gemm', [x, net.weight('w', [inputs, outputs], inputs)], { transA: { int: 1 } }, outputs);
    const before = new Net([8, 5], 'transA');
    const y = turned(before, before.transpose('x', [1, 0]), 5, 6);
    await expectFolds(
      before.model(before.node('Add', [y, before.weight('b', [6], 1)])),
      ['Transpose', 'Gemm'],
      {
        force: true,
      },
    );
    const behind = new Net([8, 6], 'transA');
    const z = behind.reshape(turned(behind, 'x', 8, 6), [-1, 6]);
    const folded = await foldCopy(behind.model(gemm(behind, z, 6, 4)), { force: true });
    expect(folded.relativeDifference).toBeLessThan(1e-5);
  });

  it('where what it makes is read elsewhere', async () => {
    const net = new Net(IMAGE);
    const turned = net.transpose(net.conv('x', 8), [0, 2, 3, 1]);
    const y = net.node('Add', [matmul(net, turned, 8, 8), net.node('Relu', [turned])]);
    await expectFolds(net.model(y), ['Conv', 'Transpose', 'MatMul', 'Relu', 'Add'], { force: true });
  });
});
