import { describe, expect, it } from 'vitest';
import { findRegions } from '../../src/affine/match/regions.js';
import { modelToBytes, narrow, readModel, Tensor } from '../../src/graph/index.js';
import { foldRegion } from '../../src/passes/collapse/fold.js';
import { probeRegion } from '../../src/passes/collapse/probe.js';
import { describeRefusal, describeRegion } from '../../src/passes/collapse/region-report.js';
import { buildModel, floats } from '../support/build.js';
import { repVgg } from './blocks.js';
import { Net } from './net.js';
import { expectFolds, foldCopy } from './support.js';

const IMAGE = [2, 8, 11, 13];

describe('what is refused', () => {
  it('a bias in front of zero padding', async () => {
    const net = new Net(IMAGE);
    const y = net.conv(net.conv('x', 8, { bias: true }), 8, { kernel: 3, pads: 1 });
    const { ops, refused } = await expectFolds(net.model(y), ['Conv', 'Conv']);
    expect(ops).toHaveLength(2);
    expect(refused).toMatchObject([
      { kind: 'inexact', reason: expect.stringContaining('adds a bias in front of the zero padding') },
    ]);
    expect(describeRefusal(refused[0]!).nodes.map(({ op }) => op)).toEqual(['Conv', 'Conv']);
  });

  it('zero padding between two windows', async () => {
    const net = new Net(IMAGE);
    const y = net.conv(net.conv('x', 8, { kernel: 3, pads: 1 }), 8, { kernel: 3, pads: 1 });
    const { refused } = await expectFolds(net.model(y), ['Conv', 'Conv'], { force: true });
    expect(refused).toMatchObject([{ kind: 'inexact', reason: expect.stringContaining('pads with zeros') }]);
  });

  it('but not padding behind a window that is padded in full', async () => {
    const net = new Net(IMAGE);
    const y = net.conv(net.conv('x', 8, { kernel: 3, pads: 2 }), 8, { kernel: 3, pads: 1 });
    await expectFolds(net.model(y), ['Conv'], { force: true });
  });

  it('branches of different strides or sizes', async () => {
    const net = new Net([1, 4, 1, 1]);
    const y = net.add(net.conv('x', 4, { kernel: 3, pads: 1, stride: 2 }), net.conv('x', 4));
    const { refused } = await expectFolds(net.model(y), ['Conv', 'Conv', 'Add']);
    expect(refused).toMatchObject([
      { kind: 'inexact', reason: expect.stringContaining('strides 2,2 and 1,1') },
    ]);
  });

  it('branches of which one is broadcast', async () => {
    const net = new Net(IMAGE);
    const y = net.add(net.conv('x', 8), net.conv('x', 8, { kernel: [11, 13] }));
    const { refused } = await expectFolds(net.model(y), ['Conv', 'Conv', 'Add'], { force: true });
    expect(refused).toMatchObject([{ kind: 'inexact', reason: expect.stringContaining('different sizes') }]);
  });

  it('a bottleneck made on purpose, unless forced', async () => {
    const net = new Net(IMAGE);
    const y = net.conv(net.conv('x', 2), 8);
    const { refused } = await expectFolds(net.model(y), ['Conv', 'Conv']);
    expect(refused).toMatchObject([
      { kind: 'cost', reason: 'one Conv would have 64 weights, the 2 nodes have 32' },
    ]);
    await expectFolds(net.model(y), ['Conv'], { force: true });
  });

  it('depthwise then pointwise, each with its BN folded', async () => {
    const net = new Net(IMAGE);
    const depthwise = net.norm(net.conv('x', 8, { kernel: 3, pads: 1, groups: 8 }));
    const { refused } = await expectFolds(net.model(net.norm(net.conv(depthwise, 16))), ['Conv', 'Conv']);
    expect(refused).toMatchObject([{ kind: 'cost' }]);
  });

  it('more multiply-adds: a 1x1 behind which a stride thins out the places', async () => {
    const net = new Net(IMAGE);
    // 8 -> 16 at every place, then one place in four: fewer weights in one node, and fewer multiply-adds.
    const y = net.conv(net.conv('x', 16), 8, { kernel: 2, stride: 2 });
    const { regions } = await expectFolds(net.model(y), ['Conv']);
    expect(regions[0]?.before.multiplyAdds).toBe(4 * 128 + 512);
  });

  it('a value that is used elsewhere, or is an output', async () => {
    const net = new Net(IMAGE);
    const middle = net.conv('x', 8);
    const y = net.add(net.node('Relu', [middle]), net.conv(middle, 8));
    const { refused } = await expectFolds(net.model(y), ['Conv', 'Relu', 'Conv', 'Add']);
    expect(refused).toMatchObject([{ kind: 'shared', reason: expect.stringContaining('is read by') }]);
    const chain = buildModel({
      inputs: [['x', 'float32', [1, 4]]],
      outputs: [
        ['h', 'float32'],
        ['y', 'float32'],
      ],
      initializers: [floats('w', [4, 4])],
      nodes: [
        { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['h'] },
        { opType: 'MatMul', inputs: ['h', 'w'], outputs: ['y'] },
      ],
    });
    expect(findRegions(chain)).toMatchObject({
      regions: [],
      refused: [{ kind: 'shared', reason: expect.stringContaining('is an output') }],
    });
  });

  it('a weight that others read as well, so that there would be two', async () => {
    const net = new Net(IMAGE);
    const head = net.weight('head', [8, 8, 1, 1], 8);
    const [a, b] = ['Relu', 'Sigmoid'].map((op) => net.norm(net.node('Conv', [net.node(op, ['x']), head])));
    const model = net.model(net.node('Mul', [a!, b!]));
    const { refused, ops } = await foldCopy(model);
    expect(refused).toMatchObject([{ kind: 'cost' }, { kind: 'cost' }]);
    expect(ops.filter((op) => op === 'BatchNormalization')).toHaveLength(2);
    const forced = await foldCopy(model, { force: true });
    expect(forced.ops).not.toContain('BatchNormalization');
    expect(forced.relativeDifference).toBeLessThan(1e-5);
  });

  it('operands that are computed, and element types that differ', async () => {
    const net = new Net(IMAGE);
    const gate = net.node('Sigmoid', ['x']);
    const y = net.node('Mul', [net.conv('x', 8), gate]);
    expect((await foldCopy(net.model(y))).regions).toEqual([]);
    const open = new Net(IMAGE);
    const scale = open.node('ReduceMean', ['x'], { axes: { ints: [0, 2, 3] }, keepdims: { int: 0 } });
    const stats = [1, 2, 3].map((i) => open.constant(`s${i}`, [8], () => 1));
    const bn = open.node('BatchNormalization', [open.conv('x', 8), scale, ...stats]);
    const { refused } = findRegions(open.model(bn));
    expect(refused).toMatchObject([{ kind: 'operand', reason: expect.stringContaining('is no constant') }]);
  });

  it('AveragePool that does not count its padding', async () => {
    const net = new Net(IMAGE);
    const pooled = net.node('AveragePool', [net.conv('x', 8)], {
      kernel_shape: { ints: [3, 3] },
      pads: { ints: [1, 1, 1, 1] },
    });
    const { refused } = await expectFolds(net.model(pooled), ['Conv', 'AveragePool'], { force: true });
    expect(refused).toMatchObject([{ kind: 'inexact' }]);
  });

  it('one node, alone or with what does nothing', async () => {
    const net = new Net([2, 3, 8]);
    const y = net.node('Dropout', [
      net.node('Add', [net.node('MatMul', ['x', net.weight('w', [8, 8], 8)]), net.weight('b', [8], 1)]),
    ]);
    const { regions, refused } = await foldCopy(net.model(y), { force: true });
    expect({ regions, refused }).toEqual({ regions: [], refused: [] });
  });

  it('excluded nodes', () => {
    const net = new Net(IMAGE);
    const model = net.model(net.norm(net.conv('x', 8)));
    expect(findRegions(model).regions).toHaveLength(1);
    expect(findRegions(model, { exclude: new Set(model.graph.nodes.slice(1)) }).regions).toEqual([]);
  });
});

describe('what is folded besides', () => {
  it.each([
    ['Pad in front', (net: Net) => net.conv(net.pad('x', [1, 2, 0, 1]), 8, { kernel: 3 }), 2e-7],
    ['cropping in front', (net: Net) => net.conv(net.pad('x', [-1, 2, 0, -1]), 8, { kernel: 3 }), 2e-7],
    ['x + conv(x)', (net: Net) => net.add('x', net.conv('x', 8)), 1e-6],
    ['conv(x) - x', (net: Net) => net.node('Sub', [net.conv('x', 8), 'x']), 1e-6],
    ['2 x + conv(x)', (net: Net) => net.add(net.add('x', 'x'), net.conv('x', 8)), 1e-6],
    [
      'Sum of four',
      (net: Net) =>
        net.node('Sum', [
          'x',
          net.conv('x', 8),
          net.constant('c', [8, 1, 1], () => 2),
          net.conv('x', 8, { bias: true }),
        ]),
      1e-6,
    ],
    [
      'Mul, Neg, Add and Dropout',
      (net: Net) =>
        net.node('Dropout', [
          net.node('Add', [
            net.constant('c', [1, 8, 1, 1], () => net.random.normal()),
            net.node('Neg', [
              net.node('Mul', [net.conv('x', 8), net.constant('s', [8, 1, 1], () => net.random.normal())]),
            ]),
          ]),
        ]),
      1e-6,
    ],
    [
      'Div by a number, in front',
      (net: Net) =>
        net.conv(net.node('Div', ['x', net.constant('c', [], () => 6)]), 8, { kernel: 3, pads: 1 }),
      1e-6,
    ],
    [
      'ConvTranspose and BN',
      (net: Net) =>
        net.norm(net.convTranspose('x', 12, { kernel: 3, pads: [0, 1, 2, 1], groups: 4, bias: true })),
      1e-6,
    ],
    [
      'dilated ConvTranspose and Conv',
      (net: Net) => net.convTranspose(net.conv('x', 16), 4, { kernel: 3, dilation: 2 }),
      1e-6,
    ],
    [
      'ASPP-like branches',
      (net: Net) =>
        net.add(
          net.conv('x', 4, { kernel: 3, pads: 2, dilation: 2 }),
          net.conv('x', 4, { kernel: 3, pads: 4, dilation: 4 }),
        ),
      1e-6,
    ],
    [
      'auto_pad SAME_UPPER with stride 2 and BN',
      (net: Net) => net.norm(net.conv('x', 8, { kernel: 3, stride: 2, autoPad: 'SAME_UPPER' })),
      1e-6,
    ],
    [
      'auto_pad SAME_UPPER of one element with stride 4, where onnxruntime begins behind the first',
      (net: Net) => net.conv(net.conv('x', 8, { stride: 4, autoPad: 'SAME_UPPER' }), 8),
      1e-6,
    ],
    [
      'two of auto_pad SAME_LOWER with stride 2',
      (net: Net) =>
        net.add(
          net.conv('x', 8, { kernel: 4, stride: 2, autoPad: 'SAME_LOWER' }),
          net.conv('x', 8, { kernel: 4, stride: 2, autoPad: 'SAME_LOWER' }),
        ),
      1e-6,
    ],
  ])('%s', async (name, build, tolerance) => {
    const net = new Net(IMAGE, name);
    const model = net.model(build(net));
    const [region] = findRegions(model, { force: true }).regions;
    const { relativeDifference } = await probeRegion(region!);
    expect(relativeDifference).toBeLessThan(tolerance);
    await expectFolds(model, ['Conv'], { force: true });
  });

  it('chains of strides and dilations, in one and three dimensions', async () => {
    for (const shape of [
      [2, 4, 31],
      [1, 4, 11, 12, 13],
    ]) {
      const net = new Net(shape);
      const y = net.conv(net.conv('x', 4, { kernel: 2, stride: 2, dilation: 2, groups: 2 }), 6, {
        kernel: 2,
        stride: 2,
        dilation: 2,
      });
      const { model } = await expectFolds(net.model(y), ['Conv'], { force: true });
      expect(model.graph.nodes[0]?.attributes.ints('strides')).toEqual(shape.slice(2).map(() => 4));
      expect(model.graph.nodes[0]?.attributes.ints('dilations')).toEqual(shape.slice(2).map(() => 2));
    }
  });

  it('BatchNormalization in training mode, with its running statistics', async () => {
    const net = new Net(IMAGE);
    const y = net.norm(net.conv('x', 8, { kernel: 3, pads: 1 }));
    const inference = net.model(y);
    const training = await readModel(modelToBytes(inference));
    const bn = training.graph.nodes[1]!;
    training.graph.setAttribute(bn, 'training_mode', { int: 1 });
    const [region] = findRegions(training).regions;
    expect(region?.usesRunningStatistics).toBe(true);
    expect((await probeRegion(region!)).relativeDifference).toBeLessThan(1e-6);
    await foldRegion(region!);
    const folded = await foldCopy(inference);
    expect(training.graph.nodes.map((node) => node.opType)).toEqual(['Conv']);
    const weightOf = (model: typeof training): unknown =>
      model.graph.initializers.get(model.graph.nodes[0]?.inputs[1] ?? '')?.array();
    expect(weightOf(training)).toEqual(weightOf(folded.model));
  });

  it('in half precision, rounding once', async () => {
    const net = new Net(IMAGE, 0, 'float16');
    const model = net.model(net.norm(net.conv('x', 8)));
    const [region] = findRegions(model).regions;
    expect((await probeRegion(region!)).relativeDifference).toBeLessThan(2e-3);
    await foldRegion(region!);
    expect([...model.graph.initializers.values()].map((tensor) => tensor.dataType)).toEqual([
      'float16',
      'float16',
    ]);
  });

  it('in bfloat16, to what float64 gives, rounded once', async () => {
    const made = async (type: 'bfloat16' | 'float64'): Promise<Float64Array> => {
      // The same numbers in both: those that bfloat16 can hold.
      const net = new Net(IMAGE, 0, 'bfloat16');
      const output = net.norm(net.conv('x', 8, { kernel: 3 }));
      const initializers = net.initializers.map((tensor) =>
        Tensor.of(tensor.name, type, tensor.shape, narrow(type, tensor.floats())),
      );
      const model = buildModel({
        inputs: [['x', type, IMAGE]],
        outputs: [[output, type]],
        nodes: net.nodes,
        initializers,
      });
      const [region] = findRegions(model).regions;
      await foldRegion(region!);
      const [weight] = model.graph.initializers.values();
      expect(weight?.dataType).toBe(type);
      return Float64Array.from(weight!.floats());
    };
    const [half, full] = [await made('bfloat16'), await made('float64')];
    expect(half.every((value, i) => Math.abs(value - full[i]!) <= Math.abs(full[i]!) / 256)).toBe(true);
  });

  it('inside a function and a subgraph', async () => {
    const cond = Tensor.of('cond', 'bool', [], new Uint8Array([1]));
    const body = {
      nodes: [
        { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['h'] },
        { opType: 'Add', inputs: ['h', 'b'], outputs: ['y'] },
      ],
    };
    const inner = buildModel({ ...body, outputs: [['y', 'float32']] }).proto.graph!;
    const other = buildModel({
      nodes: [{ opType: 'Identity', inputs: ['x'], outputs: ['z'] }],
      outputs: [['z', 'float32']],
    }).proto.graph!;
    const model = buildModel({
      opset: { '': 17, local: 1 },
      inputs: [['x', 'float32', [3, 4]]],
      outputs: [['out', 'float32']],
      initializers: [cond, floats('w', [4, 4]), floats('b', [4])],
      functions: [
        {
          domain: 'local',
          name: 'Twice',
          inputs: ['a'],
          outputs: ['c'],
          nodes: [
            {
              opType: 'Constant',
              inputs: [],
              outputs: ['v'],
              attributes: { value: { tensor: floats('', [4, 4], (i) => i % 3) } },
            },
            { opType: 'MatMul', inputs: ['a', 'v'], outputs: ['t'] },
            { opType: 'MatMul', inputs: ['t', 'v'], outputs: ['c'] },
          ],
        },
      ],
      nodes: [
        {
          opType: 'If',
          inputs: ['cond'],
          outputs: ['r'],
          attributes: { then_branch: { graph: inner }, else_branch: { graph: other } },
        },
        { opType: 'Twice', domain: 'local', inputs: ['r'], outputs: ['out'] },
      ],
    });
    const { model: folded, regions, relativeDifference } = await foldCopy(model);
    expect(regions).toHaveLength(2);
    expect(relativeDifference).toBeLessThan(1e-5);
    expect(folded.graph.nodes[0]?.subgraphs[0]?.nodes.map((node) => node.opType)).toEqual(['Gemm']);
    expect(folded.functions[0]?.nodes.map((node) => node.opType)).toEqual(['Constant', 'MatMul']);
  });

  it('names stay: node, weight and output', async () => {
    const net = new Net(IMAGE);
    const y = repVgg(net, 'x');
    const { model } = await foldCopy(net.model(y));
    const [conv] = model.graph.nodes;
    expect(conv?.name).toBe(net.nodes[0]?.name);
    expect(conv?.inputs[1]).toBe(net.nodes[0]?.inputs[1]);
    expect(conv?.outputs).toEqual([y]);
    expect([...model.graph.initializers.keys()]).toEqual(conv?.inputs.slice(1));
  });

  it('regions that share their factors share the folded weight', async () => {
    const net = new Net(IMAGE);
    const factors = [net.weight('a', [16, 8, 1, 1], 8), net.weight('b', [8, 16, 1, 1], 8)];
    const tower = (x: string): string => factors.reduce((value, w) => net.node('Conv', [value, w], {}, 8), x);
    const y = net.node('Mul', [tower(net.node('Relu', ['x'])), tower(net.node('Sigmoid', ['x']))]);
    const { model, regions } = await foldCopy(net.model(y));
    expect(regions).toHaveLength(2);
    expect(model.graph.initializers.size).toBe(1);
  });

  it('reports nodes and costs', () => {
    const net = new Net(IMAGE);
    const [region] = findRegions(net.model(net.norm(net.conv('x', 8, { kernel: 3 })))).regions;
    expect(describeRegion(region!)).toEqual({
      node: 'conv_2',
      nodes: [
        { node: 'conv_2', op: 'Conv' },
        { node: 'batchnormalization_7', op: 'BatchNormalization' },
      ],
      source: 'x',
      output: 'batchnormalization_7_out',
      becomes: ['Conv'],
      before: { nodes: 2, weights: 576, parameters: 608, multiplyAdds: 584 },
      after: { nodes: 1, weights: 576, parameters: 584, multiplyAdds: 576 },
      usesRunningStatistics: false,
    });
  });

  it('the ends of a written-out layer normalization and GELU stay with them', () => {
    const net = new Net([2, 5, 8]);
    const centered = net.node('Sub', ['x', net.node('ReduceMean', ['x'], { axes: { ints: [-1] } })]);
    const deviation = net.node('Sqrt', [
      net.node('ReduceMean', [net.node('Mul', [centered, centered])], { axes: { ints: [-1] } }),
    ]);
    const scaled = net.node('Mul', [net.node('Div', [centered, deviation]), net.weight('gamma', [8], 1)]);
    const shifted = net.node('Add', [scaled, net.weight('beta', [8], 1)]);
    const y = net.node('MatMul', [shifted, net.weight('w', [8, 8], 8)]);
    const model = net.model(y);
    expect(findRegions(model).regions).toEqual([]);
    expect(findRegions(model, { force: true }).regions).toHaveLength(1);
  });

  it('a residual network exported with its BatchNormalizations, to Conv only', async () => {
    const net = new Net([1, 3, 16, 16]);
    const relu = (x: string): string => net.node('Relu', [x]);
    const layer = (x: string, outputs: number, kernel: number, stride = 1): string =>
      net.norm(net.conv(x, outputs, { kernel, pads: (kernel - 1) / 2, stride }));
    const block = (x: string, outputs: number, stride: number): string => {
      const inner = layer(relu(layer(x, outputs, 3, stride)), outputs, 3);
      return relu(net.add(inner, stride === 1 ? x : layer(x, outputs, 1, stride)));
    };
    const y = block(block(block(relu(layer('x', 8, 7, 2)), 8, 1), 16, 2), 16, 1);
    const { ops, relativeDifference, refused } = await foldCopy(net.model(y));
    expect(new Set(ops)).toEqual(new Set(['Conv', 'Relu', 'Add']));
    expect(ops.filter((op) => op === 'Conv')).toHaveLength(8);
    expect(relativeDifference).toBeLessThan(1e-5);
    expect(refused).toEqual([]);
  });

  it('Pad that names its axes', async () => {
    const net = new Net(IMAGE);
    const padded = net.node('Pad', [
      'x',
      net.integers('pads', [1, 2, 0, 1]),
      '',
      net.integers('axes', [-1, 2]),
    ]);
    const { model } = await expectFolds(net.model(net.conv(padded, 8, { kernel: 3 }), { opset: 18 }), [
      'Conv',
    ]);
    expect(model.graph.nodes[0]?.attributes.ints('pads')).toEqual([2, 1, 1, 0]);
  });

  it('Gemm with transA, alpha and beta, and what follows it', async () => {
    const net = new Net([4, 3], 0, 'float64');
    const gemm = net.node('Gemm', ['x', net.weight('w', [6, 4], 4), net.weight('b', [1, 6], 1)], {
      transA: { int: 1 },
      transB: { int: 1 },
      alpha: { float: 0.5 },
      beta: { float: 2 },
    });
    const scaled = net.node('Mul', [gemm, net.weight('s', [6], 1)]);
    const y = net.node('MatMul', [scaled, net.weight('v', [6, 2], 6)]);
    await expectFolds(net.model(y), ['Gemm'], {}, 1e-12);
  });

  it('weights of one name in two subgraphs, each by itself', async () => {
    const branch = (factor: number) =>
      buildModel({
        nodes: [
          { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['h'] },
          { opType: 'MatMul', inputs: ['h', 'w'], outputs: ['y'] },
        ],
        initializers: [floats('w', [4, 4], (i) => factor * ((i % 3) - 1))],
        outputs: [['y', 'float32']],
      }).proto.graph!;
    for (const cond of [0, 1]) {
      const model = buildModel({
        inputs: [['x', 'float32', [3, 4]]],
        outputs: [['out', 'float32']],
        initializers: [Tensor.of('cond', 'bool', [], new Uint8Array([cond]))],
        nodes: [
          {
            opType: 'If',
            inputs: ['cond'],
            outputs: ['out'],
            attributes: { then_branch: { graph: branch(1) }, else_branch: { graph: branch(2) } },
          },
        ],
      });
      const { regions, relativeDifference } = await foldCopy(model);
      expect(regions).toHaveLength(2);
      expect(relativeDifference).toBeLessThan(1e-5);
    }
  });
});

describe('transposed convolutions of any stride', () => {
  it.each<[string, number[], (net: Net) => string, string[]]>([
    [
      'and the BatchNormalization behind it (a DCGAN)',
      [2, 8, 5, 4],
      (net) => net.norm(net.convTranspose('x', 6, { kernel: 4, stride: 2, pads: 1 })),
      ['ConvTranspose'],
    ],
    [
      'scale in front, 1x1 Conv behind, output_padding, in one dimension',
      [2, 8, 7],
      (net) => {
        const scaled = net.node('Mul', ['x', net.weight('s', [8, 1], 1)]);
        const up = net.convTranspose(scaled, 8, { kernel: 3, stride: 2, outputPadding: 1, bias: true });
        return net.conv(up, 4);
      },
      ['ConvTranspose'],
    ],
    [
      'in groups, dilated, in three dimensions',
      [1, 4, 3, 2, 3],
      (net) =>
        net.norm(net.norm(net.convTranspose('x', 6, { kernel: 2, stride: 2, dilation: 2, groups: 2 }))),
      ['ConvTranspose'],
    ],
    [
      'a shift in front stays, since places differ',
      [2, 8, 5, 4],
      (net) => net.convTranspose(net.norm('x'), 6, { kernel: 4, stride: 2, pads: 1 }),
      ['BatchNormalization', 'ConvTranspose'],
    ],
    [
      'a window behind stays',
      [2, 8, 5, 4],
      (net) => net.conv(net.convTranspose('x', 6, { kernel: 2, stride: 2 }), 4, { kernel: 3 }),
      ['ConvTranspose', 'Conv'],
    ],
  ])('%s', async (name, shape, build, ops) => {
    const net = new Net(shape, name);
    const model = net.model(build(net));
    for (const region of findRegions(model).regions)
      expect((await probeRegion(region)).relativeDifference).toBeLessThan(1e-5);
    await expectFolds(model, ops, { force: ops.length > 1 });
  });
});
