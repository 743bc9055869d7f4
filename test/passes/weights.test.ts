import { describe, expect, test } from 'vitest';
import {
  findConstant,
  isConstant,
  type Model,
  type NodeSpec,
  narrow,
  Tensor,
} from '../../src/graph/index.js';
import { type ExpandOptions, expand } from '../../src/passes/expand/expand.js';
import { buildGraph, buildModel, floats, ints } from '../support/build.js';
import {
  collapsed,
  expanded,
  expectRestored,
  expectSameFunction,
  structuralDifferences,
  TOLERANCE,
} from './laws.js';
import { copyOf, oneLayer, opsOf, stack, valuesOf, weight } from './models.js';

const gemm = (name: string, w: string, x = 'x', y = 'y', transB = 0): NodeSpec => ({
  opType: 'Gemm',
  name,
  inputs: [x, w],
  outputs: [y],
  attributes: { transB: { int: transB } },
});

const relu = (x: string, y: string): NodeSpec => ({
  opType: 'Relu',
  name: `relu_${y}`,
  inputs: [x],
  outputs: [y],
});

/** What expand counts is what the file holds in floats, initializers and those of nodes, and so in a dry run. */
async function expectCounted(model: Model, options: ExpandOptions, inNodes = 0): Promise<void> {
  const { model: after, account } = await expanded(model, options);
  const held = [...after.graph.initializers.values()]
    .filter(({ dataType }) => dataType === 'float32')
    .reduce((sum, { size }) => sum + size, inNodes);
  const counted = account.rewritten.map(({ parametersAfter }) => parametersAfter);
  expect(counted.reduce((sum, size) => sum + size, 0)).toBe(held);
  const [dry] = await (await copyOf(model)).apply(expand({ ...options, dryRun: true }));
  expect(dry.rewritten.map(({ parametersAfter }) => parametersAfter)).toEqual(counted);
}

describe('a weight is found behind', () => {
  const half = (name: string, shape: readonly number[]): Tensor => weight(name, shape, 'float16');
  const cases: Record<string, { nodes: NodeSpec[]; initializers: Tensor[]; opset?: number }> = {
    'a Constant node': {
      nodes: [
        {
          opType: 'Constant',
          name: 'c',
          inputs: [],
          outputs: ['w'],
          attributes: { value: { tensor: weight('', [5, 4]) } },
        },
      ],
      initializers: [],
    },
    'the numbers of a Constant node': {
      nodes: [
        {
          opType: 'Constant',
          name: 'c',
          inputs: [],
          outputs: ['flat'],
          attributes: {
            value_floats: { floats: Array.from({ length: 20 }, (_, i) => Math.fround(Math.sin(i))) },
          },
        },
        { opType: 'Reshape', name: 'r', inputs: ['flat', 'shape'], outputs: ['w'] },
      ],
      initializers: [ints('shape', [5, 4])],
    },
    Identity: {
      nodes: [{ opType: 'Identity', name: 'i', inputs: ['v'], outputs: ['w'] }],
      initializers: [weight('v', [5, 4])],
    },
    Transpose: {
      nodes: [{ opType: 'Transpose', name: 't', inputs: ['v'], outputs: ['w'] }],
      initializers: [weight('v', [4, 5])],
    },
    'Reshape and Unsqueeze': {
      nodes: [
        { opType: 'Reshape', name: 'r', inputs: ['v', 'shape'], outputs: ['r'] },
        {
          opType: 'Transpose',
          name: 't',
          inputs: ['r'],
          outputs: ['u'],
          attributes: { perm: { ints: [0, 2, 1] } },
        },
        { opType: 'Squeeze', name: 's', inputs: ['u', 'axes'], outputs: ['w'] },
      ],
      initializers: [weight('v', [20]), ints('shape', [1, 4, -1]), ints('axes', [0])],
    },
    'a Cast of float16': {
      nodes: [{ opType: 'Cast', name: 'c', inputs: ['v'], outputs: ['w'], attributes: { to: { int: 1 } } }],
      initializers: [half('v', [5, 4])],
    },
    ConstantOfShape: {
      nodes: [
        {
          opType: 'ConstantOfShape',
          name: 'c',
          inputs: ['shape'],
          outputs: ['w'],
          attributes: { value: { tensor: floats('', [1], () => 0.25) } },
        },
      ],
      initializers: [ints('shape', [5, 4])],
    },
    Neg: {
      nodes: [{ opType: 'Neg', name: 'n', inputs: ['v'], outputs: ['w'] }],
      initializers: [weight('v', [5, 4])],
    },
    arithmetic: {
      nodes: [{ opType: 'Mul', name: 'm', inputs: ['v', 'scale'], outputs: ['w'] }],
      initializers: [weight('v', [5, 4]), weight('scale', [5, 1])],
    },
  };
  for (const [what, { nodes, initializers }] of Object.entries(cases)) {
    test(what, async () => {
      const model = stack([3, 5], [...nodes, gemm('fc', 'w')], initializers);
      for (const depth of [2, 3]) {
        const {
          expanded: { model: after, account },
        } = await expectRestored(model, { depth });
        expect(account.rewritten).toMatchObject([{ node: 'fc', weight: 'w', rows: 5, columns: 4 }]);
        // What made the weight is gone, since nothing reads it.
        expect(opsOf(after)).toEqual(Array.from({ length: depth }, () => 'Gemm'));
        expect([...after.graph.initializers.keys()]).toEqual(
          Array.from({ length: depth }, (_, i) => `${what === 'Identity' ? 'v' : 'w'}/overparam/${i}`),
        );
        await expectSameFunction(model, after);
      }
    });
  }

  test('what is no constant is left alone, with the reason', async () => {
    const model = stack(
      [3, 3],
      [
        { opType: 'MatMul', name: 'dynamic', inputs: ['x', 'x'], outputs: ['a'] },
        { opType: 'DequantizeLinear', name: 'q', inputs: ['wq', 'scale'], outputs: ['wd'] },
        { opType: 'MatMul', name: 'quantized', inputs: ['a', 'wd'], outputs: ['b0'] },
        { opType: 'Cast', inputs: ['wq'], outputs: ['cast'], attributes: { to: { int: 1 } } },
        { opType: 'Mul', inputs: ['cast', 'scale'], outputs: ['scaled'] },
        { opType: 'MatMul', name: 'scaled', inputs: ['b0', 'scaled'], outputs: ['b'] },
        {
          opType: 'RandomNormal',
          name: 'r',
          inputs: [],
          outputs: ['wr'],
          attributes: { shape: { ints: [3, 3] } },
        },
        { opType: 'MatMul', name: 'random', inputs: ['b', 'wr'], outputs: ['c'] },
        { opType: 'MatMul', name: 'constants', inputs: ['w', 'w'], outputs: ['d'] },
        { opType: 'MatMul', name: 'vector', inputs: ['c', 'w1'], outputs: ['f'] },
        { opType: 'MatMul', name: 'nan', inputs: ['c', 'wn'], outputs: ['g'] },
        { opType: 'Gemm', name: 'infinite', inputs: ['c', 'wi'], outputs: ['h'] },
        { opType: 'MatMul', name: 'empty', inputs: ['c', 'w0'], outputs: ['i'] },
        { opType: 'Sum', name: 'sum', inputs: ['d', 'g', 'h'], outputs: ['y'] },
      ],
      [
        Tensor.of('wq', 'int8', [3, 3], new Int8Array(9).fill(3)),
        floats('scale', [], () => 0.5),
        weight('w', [3, 3]),
        weight('w1', [3]),
        floats('wn', [3, 3], (i) => (i === 4 ? Number.NaN : i)),
        floats('wi', [3, 3], (i) => (i === 4 ? Number.NEGATIVE_INFINITY : i)),
        floats('w0', [3, 0]),
      ],
    );
    for (const init of ['balanced', 'identity'] as const) {
      for (const dryRun of [false, true]) {
        const { model: after, account } = await expanded(model, { init, dryRun });
        expect(after.changed).toBe(false);
        expect(Object.fromEntries(account.skipped.map(({ node, reason }) => [node, reason]))).toEqual({
          dynamic: expect.stringMatching(/no input is a constant weight: 'x' is an input/),
          quantized: 'no input is a constant weight: its weight is quantized (behind DequantizeLinear)',
          scaled: "no input is a constant weight: its weight is quantized (computed from 'wq' of int8)",
          random: expect.stringMatching(/'wr' is random|computed by RandomNormal/),
          constants: 'both of its inputs are constants',
          vector: 'its weight is a vector, of shape [3]',
          nan: 'its weight has NaN or infinite values',
          infinite: 'its weight has NaN or infinite values',
          empty: 'its weight has no elements',
        });
      }
    }
  });

  test('an initializer that callers may replace is no constant, but one of IR 3 is', async () => {
    const build = (ir: number): Model => {
      const layer = {
        opType: 'Gemm' as const,
        x: [3, 4],
        y: [3, 5],
        weight: weight('w', [4, 5]),
        bias: weight('b', [5]),
      };
      const model = oneLayer(layer, { ir: 3, opset: 9 });
      model.proto.ir_version = ir;
      return model;
    };
    const modern = await expanded(build(4));
    expect(modern.account.skipped).toMatchObject([
      { node: 'layer', reason: expect.stringMatching(/also an input/) },
    ]);
    const old = build(3);
    const { expanded: after } = await expectRestored(old, { depth: 3 });
    expect(after.model.graph.inputs.map(({ name }) => name)).toEqual([
      'x',
      'w/overparam/0',
      'w/overparam/1',
      'w/overparam/2',
      'b',
      'onnx-overparam/zero',
    ]);
    await expectSameFunction(old, after.model);
  });
});

describe('a weight that more than one node reads', () => {
  test('sites of one weight share their factors, counted once, and get one weight back', async () => {
    const model = stack(
      [3, 6],
      [
        gemm('a', 'w', 'x', 'p'),
        relu('p', 'q'),
        gemm('b', 'w', 'q', 'r'),
        relu('r', 's'),
        gemm('c', 'w', 's', 'y', 1),
      ],
      [weight('w', [6, 6])],
    );
    const {
      expanded: { model: after, account },
      restored,
    } = await expectRestored(model, { depth: 3, width: 2 });
    const inputs = (name: string): string[] =>
      after.graph.nodes.filter((node) => node.name.startsWith(name)).map((node) => node.inputs[1]!);
    expect(inputs('a/')).toEqual(inputs('b/'));
    // Transposed, it is another matrix, whose hidden units beyond the rank lie elsewhere.
    expect(inputs('c/')).not.toEqual(inputs('a/'));
    expect(account.rewritten.map((site) => [site.parametersBefore, site.parametersAfter])).toEqual([
      [36, 72 + 144 + 72],
      [0, 0],
      [0, 72 + 144 + 72],
    ]);
    expect([...restored.graph.initializers.keys()]).toEqual(['w']);
    await expectSameFunction(model, after);
    const { account: folded } = await collapsed(after);
    expect(folded.rewritten.map(({ parametersBefore }) => parametersBefore)).toEqual([288, 0, 288]);
  });

  test('one that a node that is not linear reads, or that is an output, stays', async () => {
    const tied = stack(
      [3, 6],
      [
        gemm('fc', 'w', 'x', 'h'),
        { opType: 'Gather', name: 'rows', inputs: ['w', 'index'], outputs: ['g'] },
        { opType: 'Add', name: 'add', inputs: ['h', 'g'], outputs: ['y'] },
      ],
      [weight('w', [6, 6]), ints('index', [1])],
    );
    const output = stack([3, 6], [gemm('fc', 'w')], [weight('w', [6, 6])], {
      outputs: [
        ['y', 'float32', [3, 6]],
        ['w', 'float32', [6, 6]],
      ],
    });
    const embedding = stack(
      [3, 6],
      [
        { opType: 'Transpose', name: 't', inputs: ['w'], outputs: ['wt'] },
        gemm('fc', 'wt', 'x', 'h'),
        { opType: 'Gather', name: 'rows', inputs: ['w', 'index'], outputs: ['g'] },
        { opType: 'Add', name: 'add', inputs: ['h', 'g'], outputs: ['y'] },
      ],
      [weight('w', [6, 6]), ints('index', [1])],
    );
    for (const model of [tied, output, embedding]) {
      const { expanded: after } = await expectRestored(model, { depth: 2 });
      expect(after.account.rewritten).toHaveLength(1);
      expect(after.model.graph.initializers.has('w')).toBe(true);
      await expectSameFunction(model, after.model);
      await expectCounted(model, { depth: 2 });
      await expectCounted(model, { depth: 2, width: 1 / 6, allowLossy: true });
      // Once trained, the product is another weight, beside the one that is still read.
      const [name] = [...after.model.graph.initializers.keys()].filter((key) => key.includes('overparam'));
      after.model.graph.setInitializer(weight(name!, [6, 6]));
      const { model: folded } = await collapsed(after.model);
      expect(opsOf(folded).filter((op) => op === 'Gemm')).toHaveLength(1);
      await expectSameFunction(after.model, folded);
    }
  });

  test('what others read is counted once among what the file holds, what makes two weights alone is not', async () => {
    const shape: NodeSpec = {
      opType: 'Constant',
      name: 'c',
      inputs: [],
      outputs: ['s'],
      attributes: { value_ints: { ints: [6, 6] } },
    };
    const reshaped = ['v', 'w'].map((name) => ({
      opType: 'Reshape',
      name: `r${name}`,
      inputs: [name, 's'],
      outputs: [`m${name}`],
    }));
    const two = [shape, ...reshaped, gemm('a', 'mv', 'x', 'h'), gemm('b', 'mw', 'h', 'y')];
    await expectCounted(stack([3, 6], two, [weight('v', [36]), weight('w', [36])]), { depth: 2 });
    const twice = [
      { opType: 'Transpose', name: 't', inputs: ['w'], outputs: ['wt'] },
      gemm('a', 'w', 'x', 'h'),
      gemm('b', 'wt', 'h', 'i'),
      { opType: 'Add', name: 'add', inputs: ['i', 'w'], outputs: ['y'] },
    ];
    await expectCounted(stack([6, 6], twice, [weight('w', [6, 6])]), { depth: 2 });
    const constant: NodeSpec = {
      opType: 'Constant',
      name: 'c',
      inputs: [],
      outputs: ['k'],
      attributes: { value: { tensor: weight('k', [6, 6]) } },
    };
    const read = [
      constant,
      gemm('a', 'k', 'x', 'h'),
      { opType: 'Add', name: 'add', inputs: ['h', 'k'], outputs: ['y'] },
    ];
    await expectCounted(stack([6, 6], read, []), { depth: 2 }, 36);
  });

  test('one that Identity passes on to another site is one', async () => {
    const model = stack(
      [3, 6],
      [
        { opType: 'Identity', name: 'i', inputs: ['v'], outputs: ['w'] },
        gemm('a', 'v', 'x', 'p'),
        relu('p', 'q'),
        gemm('b', 'w', 'q', 'y'),
      ],
      [weight('v', [6, 6])],
    );
    const { expanded: after } = await expectRestored(model, { depth: 2 });
    expect([...after.model.graph.initializers.keys()]).toEqual(['v/overparam/0', 'v/overparam/1']);
    await expectSameFunction(model, after.model);
  });

  test('weights that are made of the same constants', async () => {
    const model = stack(
      [3, 4],
      [
        {
          opType: 'Constant',
          name: 'shape',
          inputs: [],
          outputs: ['s'],
          attributes: { value: { tensor: ints('', [4, 4]) } },
        },
        { opType: 'Reshape', name: 'ra', inputs: ['va', 's'], outputs: ['wa'] },
        { opType: 'Reshape', name: 'rb', inputs: ['vb', 's'], outputs: ['wb'] },
        gemm('a', 'wa', 'x', 'p'),
        relu('p', 'q'),
        gemm('b', 'wb', 'q', 'y'),
      ],
      [weight('va', [16]), weight('vb', [2, 8])],
    );
    const { model: after } = await expanded(model);
    expect(opsOf(after)).toEqual(['Gemm', 'Gemm', 'Relu', 'Gemm', 'Gemm']);
    const { model: restored } = await collapsed(after);
    expect(structuralDifferences(model, restored)).toEqual([]);
  });
});

describe('a weight of another graph', () => {
  const branch = (name: string, w: string, own?: Tensor) =>
    buildGraph({
      name,
      nodes: [gemm('fc', w, 'x', `${name}_y`)],
      outputs: [[`${name}_y`, 'float32', [3, 4]]],
      initializers: own ? [own] : [],
    });
  const conditional = (opset: number): Model =>
    buildModel({
      opset,
      inputs: [
        ['x', 'float32', [3, 5]],
        ['flag', 'bool', []],
      ],
      outputs: [['y', 'float32', [3, 4]]],
      nodes: [
        {
          opType: 'If',
          name: 'if',
          inputs: ['flag'],
          outputs: ['z'],
          attributes: {
            then_branch: { graph: branch('then', 'w') },
            else_branch: { graph: branch('else', 'v', weight('v', [5, 4])) },
          },
        },
        gemm('last', 'w', 'x', 'u'),
        { opType: 'Add', name: 'add', inputs: ['z', 'u'], outputs: ['y'] },
      ],
      initializers: [weight('w', [5, 4])],
    });

  test('captured by the branches of If, with sites of the same name', async () => {
    const model = conditional(13);
    const {
      expanded: { model: after, account },
    } = await expectRestored(model, { depth: 3, width: 1.5 });
    expect(account.rewritten.map(({ nodes }) => nodes[0])).toEqual([
      'fc/overparam/0',
      'fc/overparam/0_2',
      'last/overparam/0',
    ]);
    expect(account.rewritten.map(({ parametersBefore }) => parametersBefore)).toEqual([20, 20, 0]);
    expect([...after.graph.initializers.keys()]).toEqual([0, 1, 2].map((i) => `w/overparam/${i}`));
    await expectSameFunction(model, after);
    const { account: dry } = await expanded(model, { depth: 3, width: 1.5, dryRun: true });
    expect(dry.rewritten).toEqual(
      account.rewritten.map((site) => ({ ...site, rank: undefined, largestError: undefined })),
    );
  });

  test('weights of the same name in two branches are two weights', async () => {
    const own = (seed: number) => floats('w', [5, 4], (i) => Math.sin(seed * (i + 1)));
    const model = buildModel({
      inputs: [
        ['x', 'float32', [3, 5]],
        ['flag', 'bool', []],
      ],
      outputs: [['y', 'float32', [3, 4]]],
      nodes: [
        {
          opType: 'If',
          name: 'if',
          inputs: ['flag'],
          outputs: ['y'],
          attributes: {
            then_branch: { graph: branch('then', 'w', own(1)) },
            else_branch: { graph: branch('else', 'w', own(2)) },
          },
        },
      ],
    });
    const { expanded: after } = await expectRestored(model, {});
    expect(after.account.rewritten.map(({ parametersBefore }) => parametersBefore)).toEqual([20, 20]);
    // Samples enough for both branches.
    await expectSameFunction(model, after.model, TOLERANCE.float32, 8);
    const { model: restored } = await collapsed(after.model);
    await expectSameFunction(model, restored, TOLERANCE.float32, 8);
  });

  test('Gemm factors in branches, before opset 11', async () => {
    const model = buildModel({
      opset: 9,
      ir: 4,
      inputs: [
        ['x', 'float32', [3, 5]],
        ['flag', 'bool', []],
      ],
      outputs: [['y', 'float32', [3, 4]]],
      nodes: [
        {
          opType: 'If',
          name: 'if',
          inputs: ['flag'],
          outputs: ['z'],
          attributes: Object.fromEntries(
            ['then_branch', 'else_branch'].map((name) => [
              name,
              {
                graph: buildGraph({
                  name,
                  nodes: [
                    { opType: 'Gemm', name: `${name}/fc`, inputs: ['x', 'w', 'b'], outputs: [`${name}_y`] },
                  ],
                  outputs: [[`${name}_y`, 'float32', [3, 4]]],
                }),
              },
            ]),
          ),
        },
        { opType: 'Gemm', name: 'last', inputs: ['x', 'w', 'b'], outputs: ['u'] },
        { opType: 'Cast', name: 'cast', inputs: ['x'], outputs: ['xd'], attributes: { to: { int: 11 } } },
        { opType: 'Gemm', name: 'double', inputs: ['xd', 'wd', 'bd'], outputs: ['ud'] },
        { opType: 'Cast', name: 'back', inputs: ['ud'], outputs: ['v'], attributes: { to: { int: 1 } } },
        { opType: 'Sum', name: 'sum', inputs: ['z', 'u', 'v'], outputs: ['y'] },
      ],
      initializers: [
        weight('w', [5, 4]),
        weight('b', [4]),
        weight('wd', [5, 4], 'float64'),
        weight('bd', [4], 'float64'),
      ],
    });
    const { expanded: after } = await expectRestored(model, { depth: 3 });
    expect(after.account.rewritten).toHaveLength(4);
    await expectSameFunction(model, after.model);
  });

  test('captured by the body of a Loop', async () => {
    const body = buildGraph({
      name: 'body',
      inputs: [
        ['i', 'int64', []],
        ['going', 'bool', []],
        ['state', 'float32', [3, 4]],
      ],
      outputs: [
        ['still', 'bool', []],
        ['next', 'float32', [3, 4]],
      ],
      nodes: [
        { opType: 'Identity', name: 'still', inputs: ['going'], outputs: ['still'] },
        { opType: 'Transpose', name: 't', inputs: ['w'], outputs: ['wt'] },
        gemm('fc', 'wt', 'state', 'next'),
      ],
    });
    const model = buildModel({
      inputs: [['x', 'float32', [3, 4]]],
      outputs: [['y', 'float32', [3, 4]]],
      nodes: [
        {
          opType: 'Loop',
          name: 'loop',
          inputs: ['count', '', 'x'],
          outputs: ['y'],
          attributes: { body: { graph: body } },
        },
      ],
      initializers: [weight('w', [4, 4]), Tensor.of('count', 'int64', [], BigInt64Array.of(3n))],
    });
    const { model: after, account } = await expanded(model, { depth: 2 });
    expect(account.rewritten).toHaveLength(1);
    await expectSameFunction(model, after);
    const { model: restored } = await collapsed(after);
    expect([...restored.graph.walk()].map((graph) => graph.nodes.map((node) => node.opType))).toEqual([
      ['Loop'],
      ['Identity', 'Transpose', 'Gemm'],
    ]);
    await expectSameFunction(model, restored);
  });

  test('in a function that is called twice, of another opset than the model', async () => {
    const constant = (name: string, seed: number): NodeSpec => ({
      opType: 'Constant',
      name,
      inputs: [],
      outputs: [name],
      attributes: { value: { tensor: floats('', [4, 4], (i) => Math.sin(seed * (i + 1))) } },
    });
    const zero: NodeSpec = {
      opType: 'Constant',
      name: 'c',
      inputs: [],
      outputs: ['c'],
      attributes: { value: { tensor: weight('', [4]) } },
    };
    const body = (seed: number): NodeSpec[] => [
      constant('w', seed),
      zero,
      { opType: 'Gemm', name: 'first', inputs: ['a', 'w', 'c'], outputs: ['h'] },
      { opType: 'Relu', name: 'relu', inputs: ['h'], outputs: ['r'] },
      { opType: 'Gemm', name: 'second', inputs: ['r', 'w', 'c'], outputs: ['b'] },
    ];
    const call = (opType: string, x: string, y: string): NodeSpec => ({
      opType,
      domain: 'own',
      name: `${opType}_${y}`,
      inputs: [x],
      outputs: [y],
    });
    const model = buildModel({
      opset: { '': 17, own: 1 },
      inputs: [['x', 'float32', [3, 4]]],
      outputs: [['y', 'float32', [3, 4]]],
      nodes: [call('Block', 'x', 'p'), call('Block', 'p', 'q'), call('Other', 'q', 'y')],
      functions: ['Block', 'Other'].map((name, seed) => ({
        domain: 'own',
        name,
        inputs: ['a'],
        outputs: ['b'],
        nodes: body(seed + 1),
        opset: { '': 10 },
      })),
    });
    const { model: after, account } = await expanded(model, { depth: 3 });
    expect(
      account.rewritten.map(({ parametersBefore, parametersAfter }) => [parametersBefore, parametersAfter]),
    ).toEqual([
      [16, 48],
      [0, 0],
      [16, 48],
      [0, 0],
    ]);
    expect(
      after.functions.map((f) =>
        f.nodes
          .map((node) => node.opType)
          .sort()
          .join(' '),
      ),
    ).toEqual(
      Array.from({ length: 2 }, () =>
        [...Array(5).fill('Constant'), ...Array(6).fill('Gemm'), 'Relu'].join(' '),
      ),
    );
    await expectSameFunction(model, after);
    const { model: restored } = await collapsed(after);
    expect(structuralDifferences(model, restored)).toEqual([]);
    await expectSameFunction(model, restored);
  });
});

test('Gemm of opset 6, which onnxruntime does not run, broadcasts what it adds', async () => {
  const layer = {
    opType: 'Gemm' as const,
    x: [3, 4],
    y: [3, 5],
    weight: weight('w', [4, 5]),
    bias: weight('b', [5]),
    attributes: { broadcast: { int: 1 } },
  };
  const { expanded: after } = await expectRestored(oneLayer(layer, { opset: 6, ir: 3 }), { depth: 3 });
  for (const node of after.model.graph.nodes) {
    expect(node.inputs).toHaveLength(3);
    expect(node.attributes.int('broadcast', 0)).toBe(1);
  }
});

test('weights of bfloat16 become factors of bfloat16', async () => {
  const w = weight('w', [6, 4], 'bfloat16');
  const model = oneLayer({ opType: 'MatMul', x: [3, 6], y: [3, 4], weight: w });
  const { model: after } = await expanded(model, { depth: 2 });
  expect([...after.graph.initializers.values()].map(({ dataType }) => dataType)).toEqual([
    'bfloat16',
    'bfloat16',
  ]);
  const { model: restored } = await collapsed(after);
  expect(restored.graph.initializers.get('w')?.dataType).toBe('bfloat16');
  expect(structuralDifferences(model, restored)).toEqual([]);
});

test('weights whose squares are out of range are left alone, the others are not', async () => {
  for (const [scale, isExpanded] of [
    [1e200, false],
    [1e100, true],
    [1e-100, true],
    [1e-200, false],
  ] as const) {
    for (const size of [4, 64]) {
      const w = weight('w', [size, size], 'float64', scale);
      const model = oneLayer({ opType: 'MatMul', x: [2, size], y: [2, size], weight: w });
      const { model: after, account } = await expanded(model);
      expect(account.rewritten).toHaveLength(isExpanded ? 1 : 0);
      if (isExpanded) await expectSameFunction(model, after, TOLERANCE.float64);
      else
        expect(account.skipped[0]!.reason).toMatch(
          /of the order of \de[+-](199|20\d), whose squares are out of range/,
        );
    }
  }
});

test('a weight that training_info names, or that is sharded, is left alone', async () => {
  const build = (): Model => oneLayer({ opType: 'Gemm', x: [3, 4], y: [3, 5], weight: weight('w', [4, 5]) });
  const trained = build();
  trained.proto.training_info = [{ update_binding: [{ key: 'w', value: 'w_new' }] }];
  const sharded = build();
  sharded.graph.nodes[0]!.proto.device_configurations = [
    { configuration_id: 'two', sharding_spec: [{ tensor_name: 'w' }] },
  ];
  for (const [model, reason] of [
    [trained, 'training_info names its weight'],
    [sharded, 'its device configuration shards its weight'],
  ] as const) {
    const [account] = await model.apply(expand());
    expect(account.rewritten).toEqual([]);
    expect(account.skipped).toEqual([{ node: 'layer', op: 'Gemm', reason }]);
    expect(model.changed).toBe(false);
  }
});

test('constants that no one can tell from the outside keep their reasons short in deep models', async () => {
  // A residual stream of thousands of nodes stands before the product.
  const nodes: NodeSpec[] = [];
  for (let i = 0; i < 4000; i += 1) nodes.push(relu(i === 0 ? 'x' : `v${i}`, `v${i + 1}`));
  const model = stack(
    [3, 4],
    [...nodes, { opType: 'MatMul', name: 'm', inputs: ['v4000', 'x'], outputs: ['y'] }],
    [],
  );
  const found = findConstant(model.graph, 'v4000');
  expect(isConstant(found)).toBe(false);
  expect(found).toEqual({ reason: "'v4000' is computed by Relu" });
});

test('unread weights are gone from the file, weights still read stay', async () => {
  const model = stack(
    [3, 4],
    [
      gemm('a', 'w', 'x', 'p'),
      relu('p', 'q'),
      { opType: 'Add', name: 'add', inputs: ['q', 'c'], outputs: ['y'] },
    ],
    [
      weight('w', [4, 4]),
      weight('c', [4]),
      Tensor.of('never', 'float32', [1], narrow('float32', new Float32Array(1))),
    ],
  );
  const copy = await copyOf(model);
  await copy.apply(expand());
  expect([...copy.graph.initializers.keys()]).toEqual(['c', 'never', 'w/overparam/0', 'w/overparam/1']);
  expect(valuesOf(copy, 'w/overparam/0')).toHaveLength(16);
});
