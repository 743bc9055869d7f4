import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  constantNodeTensor,
  findConstant,
  type GraphProto,
  isConstant,
  type Model,
  type NodeSpec,
  Tensor,
} from '../../../src/graph/index.js';
import { evaluateConstant } from '../../../src/runtime/constants/constant.js';
import { buildGraph, buildModel, floats, ints } from '../../support/build.js';

const node = (
  opType: string,
  inputs: readonly string[],
  output: string,
  attributes: NodeSpec['attributes'] = {},
): NodeSpec => ({
  opType,
  inputs,
  outputs: [output],
  attributes,
});

function modelOf(nodes: readonly NodeSpec[], initializers: readonly Tensor[] = [], opset = 17): Model {
  return buildModel({ opset, inputs: [['x', 'float32', [2, 2]]], outputs: [], nodes, initializers });
}

/** Type and shape, told without computing, are those that onnxruntime computes. */
async function expectTold(model: Model, value: string): Promise<void> {
  const found = findConstant(model.graph, value);
  if (!isConstant(found)) throw new Error(found.reason);
  const computed = await evaluateConstant(model.graph, value);
  expect(found.value).toBe(value);
  expect([found.dataType, ...found.shape]).toEqual([computed.dataType, ...computed.shape]);
}

describe('type and shape are told as onnxruntime computes them', () => {
  test('for every operator that is known', async () => {
    const w = floats('w', [2, 3, 4]);
    const cases: [nodes: NodeSpec[], opset?: number][] = [
      [[node('Identity', ['w'], 'c')]],
      [[node('Neg', ['w'], 'c')]],
      [[node('Abs', ['w'], 'c')]],
      [[node('Sqrt', ['w'], 'c')]],
      [[node('Exp', ['w'], 'c')]],
      [[node('Reciprocal', ['w'], 'c')]],
      [[node('Add', ['w', 'row'], 'c')]],
      [[node('Sub', ['row', 'w'], 'c')]],
      [[node('Mul', ['column', 'row'], 'c')]],
      [[node('Div', ['one', 'w'], 'c')]],
      [[node('Cast', ['w'], 'c', { to: { int: 10 } })]],
      [[node('Cast', ['w'], 'c', { to: { int: 7 } })]],
      [[node('Transpose', ['w'], 'c')]],
      [[node('Transpose', ['w'], 'c', { perm: { ints: [1, 2, 0] } })]],
      [[node('Reshape', ['w', 'shape'], 'c')]],
      [[node('Reshape', ['none', 'zero'], 'c', { allowzero: { int: 1 } })]],
      [[node('Flatten', ['w'], 'c')]],
      [[node('Flatten', ['w'], 'c', { axis: { int: 0 } })]],
      [[node('Flatten', ['w'], 'c', { axis: { int: -1 } })]],
      [[node('Squeeze', ['thin'], 'c')]],
      [[node('Squeeze', ['thin', 'minus'], 'c')]],
      [[node('Squeeze', ['thin'], 'c', { axes: { ints: [0] } })], 11],
      [[node('Unsqueeze', ['w', 'ends'], 'c')]],
      [[node('Unsqueeze', ['w'], 'c', { axes: { ints: [1] } })], 11],
      [[node('Concat', ['w', 'w'], 'c', { axis: { int: -2 } })]],
      [[node('ConstantOfShape', ['ends'], 'c')]],
      [
        [
          node('ConstantOfShape', ['shape3'], 'c', {
            value: { tensor: Tensor.of('', 'int32', [1], Int32Array.of(4)) },
          }),
        ],
      ],
      [[node('DequantizeLinear', ['q', 'one'], 'c')]],
    ];
    const initializers = [
      w,
      floats('row', [4]),
      floats('column', [3, 1]),
      floats('one', [], () => 1),
      floats('thin', [1, 3, 1]),
      floats('none', [0, 3]),
      ints('shape', [0, -1]),
      ints('zero', [3, 0]),
      ints('minus', [-1]),
      ints(
        'ends',
        [0, -1].map((i) => i + 1),
      ),
      ints('shape3', [2, 1, 3]),
      Tensor.of('q', 'int8', [2, 2], new Int8Array(4)),
    ];
    for (const [nodes, opset] of cases) await expectTold(modelOf(nodes, initializers, opset), 'c');
  });

  test('through any path of views', async () => {
    const step = fc.constantFrom(
      'Identity',
      'Transpose',
      'Flatten',
      'Unsqueeze',
      'Squeeze',
      'Reshape',
      'Cast',
      'Neg',
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), async (steps) => {
        const nodes = steps.map((opType, i) => {
          const inputs = [i === 0 ? 'w' : `v${i - 1}`];
          if (opType === 'Unsqueeze') inputs.push('axes');
          if (opType === 'Reshape') inputs.push('shape');
          return node(opType, inputs, `v${i}`, opType === 'Cast' ? { to: { int: 11 } } : {});
        });
        const model = modelOf(nodes, [floats('w', [2, 3, 4]), ints('axes', [0]), ints('shape', [4, -1])]);
        const value = `v${steps.length - 1}`;
        await expectTold(model, value);
        const found = findConstant(model.graph, value);
        if (!isConstant(found)) return;
        expect(found.path.map(({ opType }) => opType)).toEqual(steps);
        // Neg computes: then no tensor holds the elements.
        expect(found.root?.name).toBe(steps.includes('Neg') ? undefined : 'w');
        expect(found.leaves[0]!.name).toBe('w');
      }),
      { numRuns: 40, seed: 20260105 },
    );
  });

  test('for every form of Constant', async () => {
    const forms: NodeSpec['attributes'][] = [
      { value: { tensor: floats('', [2, 3]) } },
      { value_float: { float: 2 } },
      { value_floats: { floats: [1, 2] } },
      { value_int: { int: 3 } },
      { value_ints: { ints: [1, 2, 3] } },
      { value_string: { string: 'a' } },
      { value_strings: { strings: ['a', 'bc'] } },
    ];
    for (const attributes of forms) {
      const model = modelOf([node('Constant', [], 'c', attributes)]);
      await expectTold(model, 'c');
      const computed = await evaluateConstant(model.graph, 'c');
      const tensor = constantNodeTensor(model.graph.nodes[0]!)!;
      if (tensor.dataType === 'string') expect(tensor.proto.string_data).toEqual(computed.proto.string_data);
      else expect(tensor.bytes()).toEqual(computed.bytes());
    }
  });
});

test('what is no constant has a reason', () => {
  const model = modelOf(
    [
      node('Relu', ['x'], 'r'),
      node('Transpose', ['x'], 't'),
      node('Transpose', ['t'], 'tt'),
      node('Transpose', ['tt'], 'ttt'),
      node('RandomUniform', [], 'u', { shape: { ints: [2] } }),
      node('Reshape', ['w', 'computed'], 's'),
      node('Add', ['shape', 'shape'], 'computed'),
      { ...node('Mystery', ['w'], 'm'), domain: 'own' },
    ],
    [floats('w', [2, 2]), ints('shape', [1, 2])],
  );
  const reasonOf = (value: string) => {
    const found = findConstant(model.graph, value);
    return isConstant(found) ? undefined : found.reason;
  };
  expect(reasonOf('x')).toBe("'x' is an input");
  expect(reasonOf('r')).toBe("'r' is computed by Relu");
  expect(reasonOf('t')).toBe("'t' is computed at run time ('x' is an input)");
  // However far away it lies.
  expect(reasonOf('ttt')).toBe("'ttt' is computed at run time ('x' is an input)");
  expect(reasonOf('u')).toBe("'u' is random (RandomUniform)");
  expect(reasonOf('s')).toBe("'s' is computed by Reshape, to a shape that is not known here");
  expect(reasonOf('m')).toBe("'m' is computed by own.Mystery");
  expect(reasonOf('nothing')).toBe("'nothing' is made by nothing");
});

test('a cycle does not hang', () => {
  const model = modelOf([node('Identity', ['b'], 'a'), node('Identity', ['a'], 'b')]);
  expect(findConstant(model.graph, 'a')).toHaveProperty('reason');
});

test('a value of an outer graph is found from the inner one, where it is made', () => {
  const inner = buildGraph({ nodes: [node('Transpose', ['w'], 'wt')], outputs: [['wt', 'float32', [3, 2]]] });
  const model = buildModel({
    inputs: [['flag', 'bool', []]],
    outputs: [],
    nodes: [
      {
        opType: 'If',
        inputs: ['flag'],
        outputs: ['y'],
        attributes: { then_branch: { graph: inner }, else_branch: { graph: buildGraph({ nodes: [] }) } },
      },
    ],
    initializers: [floats('w', [2, 3])],
  });
  const [body] = model.graph.nodes[0]!.subgraphs;
  const w = findConstant(body!, 'w');
  const wt = findConstant(body!, 'wt');
  expect(isConstant(w) && w.graph).toBe(model.graph);
  expect(isConstant(wt) && wt.graph).toBe(body);
  expect(isConstant(wt) && wt.shape).toEqual([3, 2]);
});

test('an attribute of a function is no constant', () => {
  const model = buildModel({
    opset: { '': 17, own: 1 },
    inputs: [],
    outputs: [],
    nodes: [],
    functions: [
      {
        domain: 'own',
        name: 'F',
        inputs: [],
        outputs: ['y'],
        attributes: ['a'],
        nodes: [node('Constant', [], 'y', { value_float: { float: 0 } })],
      },
    ],
  });
  const body = model.functions[0]!;
  body.nodes[0]!.proto.attribute![0]!.ref_attr_name = 'a';
  expect(findConstant(body, 'y')).toEqual({ reason: "'y' is an attribute of the function" });
});

/** What onnxruntime makes of constants alone. */
async function evaluatedShapes(nodes: readonly NodeSpec[], initializers: readonly Tensor[]) {
  const model = modelOf(nodes, initializers);
  const values = nodes.flatMap(({ outputs }) => outputs);
  const computed: Record<string, unknown> = {};
  const told: Record<string, unknown> = {};
  for (const value of values) {
    const { dataType, shape } = await evaluateConstant(model.graph, value);
    computed[value] = { dataType, shape };
    const found = findConstant(model.graph, value);
    told[value] = isConstant(found) ? { dataType: found.dataType, shape: found.shape } : found;
  }
  return { computed, told };
}

test('type and shape of what nodes compute of constants are those that onnxruntime gives', async () => {
  const axes = (...values: number[]) => ({ ints: values });
  const { computed, told } = await evaluatedShapes(
    [
      node('Slice', ['w', 'from', 'to'], 'slice'),
      node('Slice', ['w', 'last', 'first', 'one', 'back'], 'reversed'),
      { opType: 'Split', inputs: ['w'], outputs: ['left', 'right'], attributes: { axis: { int: 1 } } },
      {
        opType: 'Split',
        inputs: ['w', 'parts'],
        outputs: ['few', 'many'],
        attributes: { axis: { int: -2 } },
      },
      node('ReduceL2', ['w'], 'norm', { axes: axes(1) }),
      node('ReduceMean', ['w'], 'mean', { axes: axes(-1), keepdims: { int: 0 } }),
      node('ReduceSum', ['w', 'one'], 'sum'),
      node('ReduceMax', ['w'], 'max'),
      node('Div', ['w', 'norm'], 'direction'),
      node('Greater', ['w', 'max'], 'larger'),
      node('Where', ['larger', 'w', 'norm'], 'where'),
      node('Expand', ['norm', 'wide'], 'expanded'),
      node('Tile', ['w', 'parts'], 'tiled'),
      node('Gather', ['w', 'parts'], 'gathered', { axis: { int: 1 } }),
      node('Concat', ['from', 'one'], 'put', { axis: { int: 0 } }),
      node('ConstantOfShape', ['put'], 'zeros'),
      node('Tanh', ['w'], 'tanh'),
      node('Pow', ['w', 'norm'], 'pow'),
    ],
    [
      floats('w', [5, 4], (i) => i + 1),
      ints('from', [1]),
      ints('to', [2n ** 63n - 1n]),
      ints('last', [-1]),
      ints('first', [-(2n ** 63n)]),
      ints('one', [1]),
      ints('back', [-2]),
      ints('parts', [2, 3]),
      ints('wide', [5, 3]),
    ],
  );
  expect(told).toEqual(computed);
});

test('chains of many thousand nodes are followed, of constants or not', () => {
  const count = 20_000;
  const chain = (start: string, name: string) =>
    Array.from({ length: count }, (_, i) =>
      node('Neg', [i === 0 ? start : `${name}${i - 1}`], `${name}${i}`),
    );
  const model = modelOf([...chain('w', 'c'), ...chain('x', 'v')], [floats('w', [2, 2])]);
  expect(findConstant(model.graph, `c${count - 1}`)).toMatchObject({ shape: [2, 2], root: undefined });
  const found = findConstant(model.graph, `c${count - 1}`);
  expect(isConstant(found) && found.path.length).toBe(count);
  expect(findConstant(model.graph, `v${count - 1}`)).toEqual({
    reason: `'v${count - 1}' is computed at run time ('x' is an input)`,
  });
});

test('a sparse initializer is a constant of its dense shape', async () => {
  const model = modelOf([node('Identity', ['s'], 'y')]);
  (model.graph.proto as GraphProto).sparse_initializer = [
    { values: floats('s', [2]).proto, indices: ints('at', [1, 5]).proto, dims: [2, 3] },
  ];
  model.graph.touch();
  expect(findConstant(model.graph, 'y')).toMatchObject({ dataType: 'float32', shape: [2, 3] });
  expect([...(await evaluateConstant(model.graph, 'y')).floats()]).toEqual([0, 0, 0, 0, 0, 1]);
});
