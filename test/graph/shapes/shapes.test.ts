import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  buildGraph,
  createModel,
  type GraphProto,
  type Model,
  type NodeSpec,
  Tensor,
  ValueInfo,
} from '../../../src/graph/index.js';
import { type StandardOperator, VERSIONS } from '../../../src/graph/operators/index.js';
import { Shapes, shapesOf } from '../../../src/graph/shapes/shapes.js';
import { openSession, type RuntimeTensor, randomInputs } from '../../../src/runtime/index.js';
import { buildModel as buildUntyped } from '../../../src/runtime/session/small-model.js';
import { Net } from '../../affine/net.js';
import { RandomConvolutions } from '../../affine/random-regions.js';
import { buildModel, floats } from '../../support/build.js';
import { CASES } from '../operators/cases.js';

/** The shapes that onnxruntime finds of every value of a graph. */
async function runShapes(model: Model): Promise<Map<string, readonly number[]>> {
  const { graph } = model;
  const values = graph.nodes.flatMap(({ outputs }) => outputs.filter((output) => output !== ''));
  const all = buildUntyped({
    nodes: graph.nodes.map(({ proto }) => proto),
    inputs: graph.inputs,
    initializers: [...graph.initializers.values()],
    outputs: values,
    opset: model.proto.opset_import ?? [],
    irVersion: 10,
  });
  await using session = await openSession(all, { optimization: 'disabled' });
  const results = await session.run(randomInputs(model));
  return new Map(values.map((value) => [value, results[value]!.shape]));
}

/** Sizes that are not told count as right, where that is allowed. */
function expectSame(
  told: Shapes,
  shapes: ReadonlyMap<string, readonly number[]>,
  { open = false } = {},
): void {
  for (const [value, shape] of shapes) {
    const found = told.of(value)?.map((dim, axis) => (open && typeof dim !== 'number' ? shape[axis] : dim));
    expect(found, value).toEqual(shape);
  }
}

/** Their sizes follow from the numbers of an input, or there is no rule for them. */
const NOT_TOLD: readonly StandardOperator[] = [
  'NonZero',
  'CenterCropPad',
  'Compress',
  'NonMaxSuppression',
  'Unique',
  'Col2Im',
  'DeformConv',
  'Attention',
  'MaxUnpool',
  'MaxRoiPool',
  'RoiAlign',
  'AffineGrid',
  'NegativeLogLikelihoodLoss',
  'SoftmaxCrossEntropyLoss',
  'ConvInteger',
  'MatMulInteger',
  'QLinearMatMul',
  'QLinearConv',
  'ConstantOfShape',
  'BlackmanWindow',
  'HammingWindow',
  'HannWindow',
  'MelWeightMatrix',
  'Range',
  'Multinomial',
  'DFT',
  'STFT',
];

describe('the shapes of a graph', () => {
  const names = Object.keys(CASES) as StandardOperator[];

  test('are those of onnxruntime for every operator of the standard, or are not told', async () => {
    const silent: string[] = [];
    for (const name of names) {
      const { inputs, attributes = {}, outputs = 1 } = CASES[name]!;
      const versions: readonly number[] = VERSIONS[name];
      const isOld = name === 'Upsample' || name === 'Scatter';
      const model = buildUntyped({
        nodes: [
          {
            opType: name,
            inputs: inputs.map((input, i) => (input === '' ? '' : `x${i}`)),
            outputs: Array.from({ length: outputs }, (_, i) => `y${i}`),
            attributes,
          },
        ],
        inputs: inputs
          .slice(0, 1)
          .flatMap((input) => (input === '' ? [] : [ValueInfo.tensor('x0', input.dataType, input.shape)])),
        initializers: inputs
          .slice(1)
          .flatMap((input, i) =>
            input === '' ? [] : [Tensor.of(`x${i + 1}`, input.dataType, input.shape, input.bytes())],
          ),
        outputs: Array.from({ length: outputs }, (_, i) => `y${i}`),
        opset: isOld ? versions.at(-1)! - 1 : Math.max(21, versions[0]!),
        irVersion: 10,
      });
      const told = shapesOf(model.graph);
      const [first] = inputs;
      const feeds = first ? { x0: { type: first.dataType, shape: first.shape, data: first.array() } } : {};
      const made = model.graph.nodes[0]!.outputs;
      await using session = await openSession(model, { optimization: 'disabled' });
      const results = await session.run(feeds as Record<string, RuntimeTensor>);
      for (const [i, output] of made.entries()) {
        const found = told.of(output);
        const shape = results[output]!.shape;
        const isWhole = found?.every((dim) => typeof dim === 'number') === true;
        if (i === 0 && !isWhole) silent.push(name);
        const filled = found?.map((dim, axis) => (typeof dim === 'number' ? dim : shape[axis]));
        expect(filled ?? shape, `${name} ${output}`).toEqual(shape);
      }
    }
    expect(silent).toEqual(NOT_TOLD);
  });

  test('are those of onnxruntime for drawn convolutions, whatever sizes are open', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), async (seed) => {
        const drawn = new RandomConvolutions(seed);
        const { name } = drawn.steps(drawn.start, 6);
        const model = drawn.net.model(name);
        const shapes = await runShapes(model);
        expectSame(shapesOf(model.graph), shapes);
        const open = drawn.net.model(name, { symbolic: 'batch' });
        expectSame(shapesOf(open.graph), shapes, { open: true });
        const inputs = new Map([['x', drawn.net.shape]]);
        expectSame(new Shapes(open.graph, { inputs, noted: false }), shapes);
      }),
      { numRuns: 12, seed: 1 },
    );
  });

  test('are those of onnxruntime for drawn chains of products, views, reductions and parts', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 2, maxLength: 4 }),
        fc.array(fc.tuple(fc.nat(9), fc.nat(3), fc.boolean()), { minLength: 3, maxLength: 8 }),
        async (shape, steps) => {
          const net = new Net(shape, 'shapes');
          let value = 'x';
          let rank = shape.length;
          for (const [kind, at, flag] of steps) {
            const axis = (at % rank) - (flag ? rank : 0);
            const place = at % rank;
            switch (kind) {
              case 0:
                value = net.transpose(
                  value,
                  Array.from({ length: rank }, (_, i) => (i + at) % rank),
                );
                break;
              case 1:
                value = net.node('Transpose', [value]);
                break;
              case 2:
                value = net.node('ReduceSum', [value, net.integers('axes', [axis])], {
                  keepdims: { int: flag || rank < 2 ? 1 : 0 },
                });
                if (!flag && rank >= 2) rank -= 1;
                break;
              case 3:
                if (rank > 4) break;
                value = net.node('Unsqueeze', [value, net.integers('axes', [place])]);
                rank += 1;
                break;
              case 4:
                value = net.node('Concat', [value, value, value], { axis: { int: axis } });
                break;
              case 5:
                value = net.node('Flatten', [value], { axis: { int: place } });
                rank = 2;
                break;
              case 6:
                value = net.node('Slice', [
                  value,
                  net.integers('starts', [flag ? -2 : 0]),
                  net.integers('ends', [flag ? 1000 : 1]),
                  net.integers('axes', [axis]),
                ]);
                break;
              case 7:
                value = net.node('MatMul', [
                  net.weight('w', flag ? [1, 3, 1] : [3, 1], 1),
                  net.node('ReduceMax', [value], { axes: { ints: [Math.max(-2, -rank)] } }),
                ]);
                rank = Math.max(rank, flag ? 3 : 2) - (rank === 1 ? 1 : 0);
                break;
              case 8:
                value = net.node('Gather', [value, net.integers('index', [0, 0, 0])], {
                  axis: { int: axis },
                });
                break;
              default:
                value = net.node('Add', [value, net.weight('b', flag ? [1, 1, 1] : [1], 1)]);
                if (flag) value = net.node('ReduceMean', [value], { axes: { ints: [0] } });
                rank = flag ? Math.max(rank, 3) : rank;
            }
          }
          const model = net.model(value);
          expectSame(shapesOf(model.graph), await runShapes(model));
        },
      ),
      { numRuns: 25, seed: 2 },
    );
  });

  const stale = (): Model => {
    const model = buildModel({
      opset: 17,
      inputs: [['x', 'float32', ['n', 4]]],
      outputs: [['y', 'float32', ['n', 9]]],
      nodes: [
        { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['h'] },
        { opType: 'Custom', domain: 'my.own', inputs: ['h'], outputs: ['u'] },
        { opType: 'Relu', inputs: ['h'], outputs: ['y'] },
      ],
      initializers: [floats('w', [4, 6])],
    });
    const proto = model.graph.proto as GraphProto;
    proto.value_info = [ValueInfo.tensor('h', 'float32', [1, 7]).proto];
    return createModel(model.proto);
  };

  test('are what the nodes make, whatever the file notes', () => {
    const { graph } = stale();
    expect(shapesOf(graph).of('h')).toEqual(['n', 6]);
    expect(shapesOf(graph).of('y')).toEqual(['n', 6]);
    expect(shapesOf(graph).of('w')).toEqual([4, 6]);
    expect(shapesOf(graph).of('u')).toBeUndefined();
  });

  test('are those of the inputs that are given', () => {
    const shapes = new Shapes(stale().graph, { inputs: new Map([['x', [3, 4]]]), noted: false });
    expect(shapes.of('y')).toEqual([3, 6]);
  });

  test('of an If are what its branches make alike, in branches of branches too', () => {
    const condition = Tensor.of('c', 'bool', [], Uint8Array.of(1));
    const branch = (node: NodeSpec) => ({
      graph: buildGraph({ nodes: [node], outputs: [['i', 'float32']] }),
    });
    const ifOf = (inputs: readonly [NodeSpec, NodeSpec], output: string): NodeSpec => ({
      opType: 'If',
      inputs: ['c'],
      outputs: [output],
      attributes: { then_branch: branch(inputs[0]), else_branch: branch(inputs[1]) },
    });
    const neg: NodeSpec = { opType: 'Neg', inputs: ['x'], outputs: ['i'] };
    const turned: NodeSpec = {
      opType: 'Transpose',
      inputs: ['x'],
      outputs: ['i'],
      attributes: { perm: { ints: [1, 0, 2] } },
    };
    const flat: NodeSpec = { opType: 'Flatten', inputs: ['x'], outputs: ['i'] };
    const { graph } = buildModel({
      inputs: [['x', 'float32', [2, 3, 4]]],
      outputs: [['same', 'float32']],
      values: [['same', 'float32', [7, 7]]],
      nodes: [
        ifOf([neg, ifOf([neg, neg], 'i')], 'same'),
        ifOf([neg, turned], 'open'),
        ifOf([neg, flat], 'other'),
      ],
      initializers: [condition],
    });
    const told = shapesOf(graph);
    expect(told.of('same')).toEqual([2, 3, 4]);
    expect(told.of('open')).toEqual([undefined, undefined, 4]);
    expect(told.of('other')).toBeUndefined();
  });

  test('follow an edit', () => {
    const { graph } = stale();
    expect(shapesOf(graph).of('y')).toEqual(['n', 6]);
    graph.setInitializer(floats('w', [4, 8]));
    expect(shapesOf(graph).of('y')).toEqual(['n', 8]);
  });
});
