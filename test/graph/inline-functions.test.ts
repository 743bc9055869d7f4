import { expect, test } from 'vitest';
import { inlinedFunctions } from '../../src/graph/edit/inline-functions.js';
import { check, type Model, makeAttribute } from '../../src/graph/index.js';
import { createMessage } from '../../src/graph/proto/codec.js';
import { gradient, trainableWeights } from '../../src/passes/gradient/index.js';
import { openSession, randomInputs } from '../../src/runtime/index.js';
import { expectSameFunction } from '../passes/laws.js';
import { copyOf } from '../passes/models.js';
import { buildGraph, buildModel, floats } from '../support/build.js';

const reference = (name: string, of: string) =>
  createMessage('AttributeProto', { name, type: 1, ref_attr_name: of });

/** Functions that call another, take attributes, leave inputs out and have branches. */
const model = (): Model => {
  const made = buildModel({
    opset: { '': 18, local: 1 },
    inputs: [
      ['x', 'float32', [2, 3]],
      ['flag', 'bool', []],
    ],
    outputs: [
      ['y', 'float32', [2, 4]],
      ['z', 'float32', [2, 4]],
    ],
    nodes: [
      {
        opType: 'Dense',
        domain: 'local',
        name: 'one',
        inputs: ['x', 'w', 'b'],
        outputs: ['h'],
        attributes: { slope: { float: 0.3 } },
      },
      { opType: 'Dense', domain: 'local', name: 'two', inputs: ['h', 'v', ''], outputs: ['y'] },
      { opType: 'Both', domain: 'local', name: 'three', inputs: ['y', 'flag'], outputs: ['z'] },
    ],
    initializers: [
      floats('w', [3, 5], (i) => Math.sin(i)),
      floats('b', [5], (i) => Math.cos(i)),
      floats('v', [5, 4], (i) => Math.sin(2 * i)),
    ],
    functions: [
      {
        domain: 'local',
        name: 'Dense',
        inputs: ['a', 'weight', 'bias'],
        outputs: ['result'],
        opset: { '': 18, local: 1 },
        nodes: [
          { opType: 'Gemm', inputs: ['a', 'weight', 'bias'], outputs: ['t'] },
          { opType: 'Leaky', domain: 'local', inputs: ['t'], outputs: ['result'] },
        ],
      },
      {
        domain: 'local',
        name: 'Leaky',
        inputs: ['t'],
        outputs: ['result'],
        opset: { '': 18 },
        nodes: [
          { opType: 'LeakyRelu', inputs: ['t'], outputs: ['result'], attributes: { alpha: { float: 0.1 } } },
        ],
      },
      {
        domain: 'local',
        name: 'Both',
        inputs: ['t', 'flag'],
        outputs: ['branched'],
        opset: { '': 18 },
        nodes: [
          {
            opType: 'If',
            inputs: ['flag'],
            outputs: ['branched'],
            attributes: {
              then_branch: {
                graph: buildGraph({
                  outputs: [['r', 'float32']],
                  nodes: [{ opType: 'Mul', inputs: ['t', 'k'], outputs: ['r'] }],
                  initializers: [floats('k', [], () => 3)],
                }),
              },
              else_branch: {
                graph: buildGraph({
                  outputs: [['r', 'float32']],
                  nodes: [{ opType: 'Neg', inputs: ['t'], outputs: ['r'] }],
                }),
              },
            },
          },
        ],
      },
    ],
  });
  const [dense, leaky] = made.proto.functions!;
  dense!.attribute_proto = [makeAttribute('slope', { float: 0.2 })];
  dense!.node![1]!.attribute = [reference('inner', 'slope')];
  leaky!.attribute = ['inner'];
  leaky!.node![0]!.attribute = [reference('alpha', 'inner')];
  return made;
};

test('bodies stand in place of calls, and compute the same', async () => {
  const before = await copyOf(model());
  expect(check(before)).toEqual([]);
  const after = inlinedFunctions(before);
  expect(after.functions).toEqual([]);
  expect(check(after)).toEqual([]);
  expect(after.graph.nodes.map(({ opType }) => opType)).toEqual([
    'Gemm',
    'LeakyRelu',
    'Gemm',
    'LeakyRelu',
    'If',
  ]);
  expect(after.graph.nodes[1]!.attributes.float('alpha', 0)).toBeCloseTo(0.3);
  expect(after.graph.nodes[3]!.attributes.float('alpha', 0)).toBeCloseTo(0.2);
  await expectSameFunction(before, after);
});

test('gradients pass through functions', async () => {
  const called = await copyOf(model());
  const options = { loss: 'mse', output: 'y' } as const;
  const [through, plain] = [
    await gradient(called, options),
    await gradient(inlinedFunctions(called), options),
  ];
  expect([...through.gradients.keys()]).toEqual(['w', 'b', 'v']);
  expect(trainableWeights(inlinedFunctions(called).graph, 'y')).toEqual(['w', 'b', 'v']);
  await using a = await openSession(through.model);
  await using b = await openSession(plain.model);
  const feeds = randomInputs(through.model);
  expect(await a.run(feeds)).toEqual(await b.run(feeds));
});

test('a model without functions stays as it is; a function of another operator set is refused', () => {
  const plain = buildModel({
    inputs: [['x', 'float32', [1]]],
    outputs: [['y', 'float32', [1]]],
    nodes: [{ opType: 'Relu', inputs: ['x'], outputs: ['y'] }],
  });
  expect(inlinedFunctions(plain)).toBe(plain);
  const mixed = model();
  mixed.proto.functions![0]!.opset_import![0]!.version = mixed.proto.opset_import![1]!.version!;
  expect(() => inlinedFunctions(mixed)).toThrow(
    'its function Dense is written in version 1 of ai.onnx, the model in 18, and Gemm may not mean the same in both',
  );
});

test('a function of another version is put in place where its operators mean the same in the newer one', async () => {
  const mixed = (own: number, its: number, opType: string): Model =>
    buildModel({
      opset: { '': own, local: 1 },
      inputs: [['x', 'float32', [2, 3]]],
      outputs: [['y', 'float32', [2, 3]]],
      nodes: [
        { opType: 'Relu', inputs: ['x'], outputs: ['a'] },
        { opType: 'Own', domain: 'local', inputs: ['a'], outputs: ['y'] },
      ],
      functions: [
        {
          domain: 'local',
          name: 'Own',
          inputs: ['t'],
          outputs: ['u'],
          opset: { '': its },
          nodes: [{ opType, inputs: ['t'], outputs: ['u'] }],
        },
      ],
    });
  for (const [own, its, opType, version] of [
    [18, 17, 'Relu', 18],
    [13, 18, 'Softmax', 18],
    [11, 12, 'Softmax', 12],
  ] as const) {
    const plain = inlinedFunctions(mixed(own, its, opType));
    expect(plain.opset()).toBe(version);
    expect(check(plain)).toEqual([]);
    expect(plain.graph.nodes.map((node) => node.opType)).toEqual(['Relu', opType]);
    // onnxruntime takes no function of another version: the same nodes without one are what is to come out.
    const alone = buildModel({
      opset: Math.max(own, its),
      inputs: [['x', 'float32', [2, 3]]],
      outputs: [['y', 'float32', [2, 3]]],
      nodes: [
        { opType: 'Relu', inputs: ['x'], outputs: ['a'] },
        { opType, inputs: ['a'], outputs: ['y'] },
      ],
    });
    await expectSameFunction(plain, alone);
  }
  expect(() => inlinedFunctions(mixed(13, 12, 'Softmax'))).toThrow(
    'and Softmax may not mean the same in both',
  );
  expect(() => inlinedFunctions(mixed(20, 21, 'Relu'))).not.toThrow();
});

test('what a function passes on as it is goes through an Identity', () => {
  const passing = buildModel({
    opset: { '': 18, local: 1 },
    inputs: [['x', 'float32', [1]]],
    outputs: [['y', 'float32', [1]]],
    nodes: [{ opType: 'Pass', domain: 'local', inputs: ['x'], outputs: ['y'] }],
    functions: [
      { domain: 'local', name: 'Pass', inputs: ['t'], outputs: ['t'], opset: { '': 18 }, nodes: [] },
    ],
  });
  const { graph } = inlinedFunctions(passing);
  expect(graph.nodes.map(({ opType, inputs, outputs }) => [opType, inputs, outputs])).toEqual([
    ['Identity', ['x'], ['y']],
  ]);
});
