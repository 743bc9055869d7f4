import { describe, expect, test, vi } from 'vitest';
import { assertValid, check, type Problem } from '../../src/graph/check/check.js';
import { type Model, ModelError, readModel, Tensor, ValueInfo } from '../../src/graph/index.js';
import { createMessage } from '../../src/graph/proto/codec.js';
import type { AttributeProto, GraphProto, NodeProto } from '../../src/graph/proto/schema.js';
import { buildGraph, buildModel, floats } from '../support/build.js';
import { encodeTree, type Tree } from '../support/wire.js';

const relu = (input: string, output: string, name = output) => ({
  opType: 'Relu',
  inputs: [input],
  outputs: [output],
  name,
});

/** x -> a -> y, with an If that reads a, and a function. */
function sound(): Model {
  const branch = buildGraph({ name: 'branch', nodes: [relu('a', 'inner')], outputs: [['inner', 'float32']] });
  const other = buildGraph({ name: 'other', nodes: [relu('a', 'inner')], outputs: [['inner', 'float32']] });
  return buildModel({
    opset: { '': 17, 'com.example': 1 },
    inputs: [
      ['x', 'float32', [2]],
      ['flag', 'bool', []],
    ],
    outputs: [['y', 'float32', [2]]],
    nodes: [
      { ...relu('x', 'a'), attributes: { alpha: { float: 0.5 } } },
      { opType: 'Add', inputs: ['a', 'w'], outputs: ['y'], name: 'sum' },
      {
        opType: 'If',
        inputs: ['flag'],
        outputs: ['z'],
        name: 'choice',
        attributes: { then_branch: { graph: branch }, else_branch: { graph: other } },
      },
      { opType: 'F', domain: 'com.example', inputs: ['a'], outputs: ['f'], name: 'call' },
    ],
    initializers: [floats('w', [2])],
    functions: [
      {
        domain: 'com.example',
        name: 'F',
        inputs: ['i'],
        outputs: ['o'],
        nodes: [relu('i', 'o')],
        attributes: ['alpha'],
      },
    ],
  });
}

type Change = (parts: { model: Model; graph: GraphProto; nodes: NodeProto[] }) => void;

function problemsAfter(change: Change): Problem[] {
  const model = sound();
  const graph = model.proto.graph as GraphProto;
  change({ model, graph, nodes: graph.node as NodeProto[] });
  return check(model);
}

const tensor = (fields: Parameters<typeof createMessage<'TensorProto'>>[1]) =>
  createMessage('TensorProto', fields);
const attribute = (fields: AttributeProto) => createMessage('AttributeProto', fields);
const entry = (key: string, value: string) => createMessage('StringStringEntryProto', { key, value });
const branchOf = (nodes: NodeProto[]): GraphProto => nodes[2]?.attribute?.[0]?.g as GraphProto;

test('a sound model has no problems', () => {
  expect(check(sound())).toEqual([]);
  assertValid(sound());
});

describe('errors', () => {
  test.each<[string, Change, RegExp, Problem['where']]>([
    [
      'a dangling input',
      ({ nodes }) => {
        nodes[1]!.input = ['gone', 'w'];
      },
      /^it reads 'gone', which nothing makes$/,
      { graph: 'main', node: 'sum' },
    ],
    [
      'a dangling capture',
      ({ nodes }) => {
        branchOf(nodes).node![0]!.input = ['gone'];
      },
      /reads 'gone'/,
      { graph: 'branch', node: 'inner' },
    ],
    [
      'a value of a sibling branch',
      ({ nodes }) => {
        branchOf(nodes).node![0]!.output = ['mine'];
        branchOf(nodes).output![0]!.name = 'mine';
        nodes[2]!.attribute![1]!.g!.node![0]!.input = ['mine'];
      },
      /reads 'mine'/,
      { graph: 'other', node: 'inner' },
    ],
    [
      'two nodes of one output',
      ({ nodes }) => {
        nodes[1]!.output = ['y', 'a'];
      },
      /^it makes 'a', which another node makes too$/,
      { graph: 'main', node: 'sum' },
    ],
    [
      'a node that makes an input',
      ({ nodes }) => {
        nodes[1]!.output = ['y', 'x'];
      },
      /makes 'x', which an input or initializer makes too/,
      { graph: 'main', node: 'sum' },
    ],
    [
      'a node that makes an initializer',
      ({ nodes }) => {
        nodes[1]!.output = ['y', 'w'];
      },
      /makes 'w', which an input/,
      { graph: 'main', node: 'sum' },
    ],
    [
      'a subgraph that makes an outer name',
      ({ nodes }) => {
        branchOf(nodes).node![0]!.output = ['inner', 'a'];
      },
      /the subgraph makes 'a', a name of the graph around it/,
      { graph: 'branch', node: 'inner' },
    ],
    [
      'a subgraph input of an outer name',
      ({ nodes }) => {
        branchOf(nodes).input = [{ name: 'w' }];
      },
      /the subgraph makes 'w'/,
      { graph: 'branch', tensor: 'w' },
    ],
    [
      'two inputs of one name',
      ({ graph }) => {
        graph.input!.push({ name: 'x' });
      },
      /two inputs of the graph have this name/,
      { graph: 'main', tensor: 'x' },
    ],
    [
      'an output that nothing makes',
      ({ graph }) => {
        graph.output![0]!.name = 'gone';
      },
      /is an output of the graph, but nothing makes it/,
      { graph: 'main', tensor: 'gone' },
    ],
    [
      'an output without a name',
      ({ graph }) => {
        graph.output!.push({});
      },
      /output of the graph has no name/,
      { graph: 'main' },
    ],
    [
      'two initializers of one name',
      ({ graph }) => {
        graph.initializer!.push(floats('w', [1]).proto);
      },
      /two initializers have this name/,
      { graph: 'main', tensor: 'w' },
    ],
    [
      'an initializer without a name',
      ({ graph }) => {
        graph.initializer!.push(floats('', [1]).proto);
      },
      /an initializer has no name/,
      { graph: 'main' },
    ],
    [
      'nodes out of order',
      ({ nodes }) => {
        nodes.reverse();
      },
      /^it stands before 'a', whose 'a' it reads$/,
      { graph: 'main', node: 'call' },
    ],
    [
      'a subgraph before what it captures',
      ({ nodes }) => {
        nodes.unshift(...nodes.splice(2, 1));
      },
      /stands before 'a'/,
      { graph: 'main', node: 'choice' },
    ],
    [
      'a cycle',
      ({ nodes }) => {
        nodes[0]!.input = ['y'];
      },
      /cycle: 'a' -> 'sum' -> 'a'$/,
      { graph: 'main', node: 'a' },
    ],
    [
      'a cycle through a subgraph',
      ({ nodes }) => {
        nodes[0]!.input = ['z'];
      },
      /cycle: 'a' -> 'choice' -> 'a'$/,
      { graph: 'main', node: 'a' },
    ],
    [
      'a node that reads itself',
      ({ nodes }) => {
        nodes[1]!.input = ['a', 'y'];
      },
      /cycle: 'sum' -> 'sum'$/,
      { graph: 'main', node: 'sum' },
    ],
    [
      'two attributes of one name',
      ({ nodes }) => {
        nodes[0]!.attribute!.push(attribute({ name: 'alpha', type: 1, f: 1 }));
      },
      /two attributes 'alpha'/,
      { graph: 'main', node: 'a' },
    ],
    [
      'an attribute of another type',
      ({ nodes }) => {
        nodes[0]!.attribute![0]!.type = 2;
      },
      /attribute 'alpha' is of type i, but its value is in f/,
      { graph: 'main', node: 'a' },
    ],
    [
      'an attribute of two values',
      ({ nodes }) => {
        nodes[0]!.attribute![0]!.i = 1;
      },
      /attribute 'alpha' has several values: f, i/,
      { graph: 'main', node: 'a' },
    ],
    [
      'an attribute without type and value',
      ({ nodes }) => {
        nodes[0]!.attribute = [attribute({ name: 'p' })];
      },
      /attribute 'p' has no type and no value/,
      { graph: 'main', node: 'a' },
    ],
    [
      'a graph attribute without graph',
      ({ nodes }) => {
        nodes[0]!.attribute = [attribute({ name: 'p', type: 5 })];
      },
      /attribute 'p' is of type g, but has no value/,
      { graph: 'main', node: 'a' },
    ],
    [
      'an attribute without a name',
      ({ nodes }) => {
        nodes[0]!.attribute = [attribute({ type: 1, f: 1 })];
      },
      /attribute has no name/,
      { graph: 'main', node: 'a' },
    ],
    [
      'a reference outside of a function',
      ({ nodes }) => {
        nodes[0]!.attribute = [attribute({ name: 'p', type: 1, ref_attr_name: 'q' })];
      },
      /refers to an attribute of a function, but stands in none/,
      { graph: 'main', node: 'a' },
    ],
    [
      'a reference to what the function lacks',
      ({ model }) => {
        model.proto.functions![0]!.node![0]!.attribute = [
          attribute({ name: 'p', type: 1, ref_attr_name: 'q' }),
        ];
      },
      /refers to 'q', which the function does not declare/,
      { graph: 'com.example.F', node: 'o' },
    ],
    [
      'a domain that is not imported',
      ({ nodes }) => {
        nodes[0]!.domain = 'other';
      },
      /its domain 'other' is not imported/,
      { graph: 'main', node: 'a' },
    ],
    [
      'a domain that is not imported, in a subgraph',
      ({ nodes }) => {
        branchOf(nodes).node![0]!.domain = 'other';
      },
      /its domain 'other' is not imported/,
      { graph: 'branch', node: 'inner' },
    ],
    [
      'a domain that the function does not import',
      ({ model }) => {
        model.proto.functions![0]!.node![0]!.domain = 'other';
      },
      /its domain 'other' is not imported/,
      { graph: 'com.example.F', node: 'o' },
    ],
    [
      'an overload that no function has',
      ({ nodes }) => {
        nodes[3]!.overload = 'fast';
      },
      /calls the overload 'fast' of F, which no function/,
      { graph: 'main', node: 'call' },
    ],
    [
      'a node without an operator',
      ({ nodes }) => {
        nodes[0]!.op_type = '';
      },
      /has no operator/,
      { graph: 'main', node: 'a' },
    ],
    [
      'an element type that is unknown',
      ({ graph }) => {
        graph.initializer![0]!.data_type = 77;
      },
      /element type 77 is not one of ONNX/,
      { graph: 'main', tensor: 'w' },
    ],
    [
      'a negative dimension',
      ({ graph }) => {
        graph.initializer![0]!.dims = [-2, -1];
      },
      /shape \[-2, -1\] is impossible/,
      { graph: 'main', tensor: 'w' },
    ],
    [
      'data that does not fill the shape',
      ({ graph }) => {
        graph.initializer![0]!.dims = [3];
      },
      /^its data has 8 bytes, but its shape \[3\] of float32 needs 12$/,
      { graph: 'main', tensor: 'w' },
    ],
    [
      'no data',
      ({ graph }) => {
        graph.initializer = [tensor({ name: 'w', data_type: 1, dims: [2] })];
      },
      /its data has 0 elements/,
      { graph: 'main', tensor: 'w' },
    ],
    [
      'strings beside data',
      ({ graph }) => {
        graph.initializer![0]!.string_data = [Uint8Array.of(65)];
      },
      /its data is in several fields: raw_data, string_data/,
      { graph: 'main', tensor: 'w' },
    ],
    [
      'a tensor of an attribute',
      ({ nodes }) => {
        nodes[0]!.attribute = [attribute({ name: 'value', type: 4, t: tensor({ data_type: 1, dims: [2] }) })];
      },
      /its data has 0 elements/,
      { graph: 'main', node: 'a', tensor: 'value' },
    ],
    [
      'external data that is not there',
      ({ graph }) => {
        graph.initializer = [
          tensor({
            name: 'w',
            data_type: 1,
            dims: [2],
            data_location: 1,
            external_data: [entry('location', 'none.bin')],
          }),
        ];
      },
      /external file/,
      { graph: 'main', tensor: 'w' },
    ],
    [
      'a sparse tensor without indices',
      ({ graph }) => {
        graph.sparse_initializer = [{ values: floats('s', [2]).proto, dims: [5] }];
      },
      /sparse tensor has no indices/,
      { graph: 'main', tensor: 's' },
    ],
    [
      'sparse indices of another count',
      ({ graph }) => {
        graph.sparse_initializer = [
          {
            values: floats('s', [2]).proto,
            indices: Tensor.of('', 'int64', [3], new BigInt64Array(3)).proto,
            dims: [5],
          },
        ];
      },
      /indices of the sparse tensor have the shape \[3\]/,
      { graph: 'main', tensor: 's' },
    ],
    [
      'a function output that nothing makes',
      ({ model }) => {
        model.proto.functions![0]!.output = ['gone'];
      },
      /is an output of the graph, but nothing makes it/,
      { graph: 'com.example.F', tensor: 'gone' },
    ],
    [
      'a function that reads the main graph',
      ({ model }) => {
        model.proto.functions![0]!.node![0]!.input = ['x'];
      },
      /reads 'x', which nothing makes/,
      { graph: 'com.example.F', node: 'o' },
    ],
    [
      'a function that calls itself',
      ({ model }) => {
        const body = model.proto.functions![0]!;
        body.node![0]!.op_type = 'F';
        body.node![0]!.domain = 'com.example';
      },
      /call each other without end: 'com.example.F' -> 'com.example.F'/,
      { graph: 'com.example.F' },
    ],
    [
      'a second function of one name',
      ({ model }) => {
        model.proto.functions!.push(model.proto.functions![0]!);
      },
      /second function has its domain, name and overload/,
      { graph: 'com.example.F' },
    ],
    [
      'no operator set',
      ({ model }) => {
        model.proto.opset_import = [];
      },
      /imports no operator set/,
      {},
    ],
    [
      'a domain imported twice',
      ({ model }) => {
        model.proto.opset_import!.push({ domain: 'ai.onnx', version: 16 });
      },
      /imports the domain 'ai.onnx' twice, of versions 17 and 16/,
      {},
    ],
    [
      'an ir_version that is none',
      ({ model }) => {
        model.proto.ir_version = 0;
      },
      /ir_version 0 is not one of ONNX/,
      {},
    ],
  ])('%s', (_, change, message, where) => {
    const found = problemsAfter(change);
    const match = found.find((problem) => message.test(problem.message));
    expect(match, JSON.stringify(found)).toBeDefined();
    expect(match?.severity).toBe('error');
    expect(match?.where).toMatchObject(where);
    for (const problem of found) {
      expect(problem.message).not.toContain('\n');
      expect(problem.hint).toMatch(/\S/);
    }
  });

  test('functions that call each other', () => {
    const model = buildModel({
      nodes: [],
      opset: { '': 17, f: 1 },
      functions: ['A', 'B', 'C'].map((name, index) => ({
        domain: 'f',
        name,
        inputs: ['i'],
        outputs: ['o'],
        opset: { '': 17, f: 1 },
        nodes: [{ opType: 'ABCA'[index + 1] as string, domain: 'f', inputs: ['i'], outputs: ['o'] }],
      })),
    });
    expect(check(model).map(({ message }) => message)).toEqual([
      "the functions call each other without end: 'f.A' -> 'f.B' -> 'f.C' -> 'f.A'",
    ]);
  });

  test('a node behind a cycle is not part of it', () => {
    const nodes = [relu('c', 'a'), relu('a', 'b'), relu('b', 'c'), relu('e', 'd'), relu('c', 'e')];
    const found = check(buildModel({ nodes }));
    expect(found.map(({ message }) => message)).toEqual([
      "the nodes read each other's values in a cycle: 'a' -> 'b' -> 'c' -> 'a'",
      "it stands before 'e', whose 'e' it reads",
    ]);
  });
});

describe('warnings', () => {
  test.each<[string, Change, RegExp]>([
    [
      'several nodes of one name',
      ({ nodes }) => {
        nodes[0]!.name = 'sum';
      },
      /several nodes have this name/,
    ],
    [
      'a newer ir_version',
      ({ model }) => {
        model.proto.ir_version = 14;
      },
      /ir_version 14 is newer than 13/,
    ],
    [
      'an attribute without its type',
      ({ nodes }) => {
        delete nodes[0]!.attribute![0]!.type;
      },
      /attribute 'alpha' has no type, only a value in f/,
    ],
    [
      'an attribute of a newer type',
      ({ nodes }) => {
        nodes[0]!.attribute![0]!.type = 15;
      },
      /type 15, which is not known/,
    ],
    [
      'functions before IR 8',
      ({ model }) => {
        model.proto.ir_version = 7;
      },
      /has functions, which ir_version 7 does not know/,
    ],
    [
      'an outer value that a subgraph returns',
      ({ nodes }) => {
        branchOf(nodes).output![0]!.name = 'a';
      },
      /returns a value of the graph around it/,
    ],
    [
      'an initializer that is not listed',
      ({ model }) => {
        model.proto.ir_version = 3;
        model.proto.functions = [];
      },
      /not listed among the inputs/,
    ],
    [
      'a domain imported twice with one version',
      ({ model }) => {
        model.proto.opset_import!.push({ domain: 'ai.onnx', version: 17 });
      },
      /imports the domain 'ai.onnx' twice/,
    ],
    [
      "a domain of onnxruntime's own operators that is not imported, however often it is used",
      ({ nodes }) => {
        for (const node of nodes.slice(0, 2)) node.domain = 'com.microsoft';
      },
      /its domain 'com.microsoft' is not imported/,
    ],
    [
      'a graph of an operator of another domain that makes an outer name',
      ({ nodes }) => {
        nodes[2]!.domain = 'com.example';
        branchOf(nodes).input = [{ name: 'w' }];
      },
      /the subgraph makes 'w'/,
    ],
  ])('%s', (_, change, message) => {
    const found = problemsAfter(change);
    expect(found.map(({ severity }) => severity)).toEqual(['warning']);
    expect(found[0]?.message).toMatch(message);
  });

  test('an initializer that is listed as an input is fine', () => {
    expect(
      problemsAfter(({ graph }) => graph.input!.push(ValueInfo.tensor('w', 'float32', [2]).proto)),
    ).toEqual([]);
  });

  test('nodes without names, and optional inputs that are left out, are fine', () => {
    expect(
      problemsAfter(({ nodes }) => {
        for (const node of nodes) delete node.name;
        nodes[1]!.input!.push('', '');
      }),
    ).toEqual([]);
  });
});

test('assertValid names the first error and counts the others', () => {
  const model = sound();
  const nodes = model.proto.graph?.node as NodeProto[];
  nodes[1]!.input = ['gone', 'lost', 'away'];
  expect(() => assertValid(model)).toThrow(
    new ModelError(
      "it reads 'gone', which nothing makes; add its producer, or read another value (and 2 more errors)",
      { graph: 'main', node: 'sum' },
    ),
  );
  nodes[1]!.input = ['a', 'w'];
  nodes[0]!.name = 'sum';
  assertValid(model);
});

/** How often a check looks something up, or reads what a node reads. */
function workOf(model: Model): { readonly findings: number; readonly steps: number } {
  let steps = 0;
  const { get, has } = Map.prototype;
  const hasElement = Set.prototype.has;
  vi.spyOn(Map.prototype, 'get').mockImplementation(function (this: Map<unknown, unknown>, key) {
    steps += 1;
    return get.call(this, key) as unknown;
  });
  vi.spyOn(Map.prototype, 'has').mockImplementation(function (this: Map<unknown, unknown>, key) {
    steps += 1;
    return has.call(this, key);
  });
  vi.spyOn(Set.prototype, 'has').mockImplementation(function (this: Set<unknown>, key) {
    steps += 1;
    return hasElement.call(this, key);
  });
  for (const node of model.proto.graph?.node ?? []) {
    const { input } = node;
    Object.defineProperty(node, 'input', {
      configurable: true,
      get: () => {
        steps += 1;
        return input;
      },
    });
  }
  try {
    return { findings: check(model).length, steps };
  } finally {
    vi.restoreAllMocks();
  }
}

test.each([
  'in order',
  'in the worst order',
  'in a circle',
])('twice as many nodes, %s, are twice the work', (order) => {
  const count = 4000;
  const [once, twice] = [count, 2 * count].map((nodes) => {
    const model = buildModel({
      inputs: [['x', 'float32']],
      outputs: [[`v${nodes - 1}`, 'float32']],
      nodes: Array.from({ length: nodes }, (_, i) => relu(i === 0 ? 'x' : `v${i - 1}`, `v${i}`)),
    });
    if (order !== 'in order') model.proto.graph?.node?.reverse();
    if (order === 'in a circle') model.proto.graph!.node![nodes - 1]!.input = [`v${nodes - 1}`];
    return workOf(model);
  }) as [ReturnType<typeof workOf>, ReturnType<typeof workOf>];
  expect(once.findings).toBe({ 'in order': 0, 'in the worst order': count - 1, 'in a circle': 1 }[order]);
  expect(once.steps).toBeGreaterThan(2 * count);
  expect(twice.steps).toBeLessThan(2.2 * once.steps);
});

test('reads no weights', async () => {
  const tree: Tree = {
    ir_version: 8n,
    opset_import: [{ version: 17n }],
    graph: { initializer: [{ name: 'w', dims: [2n], data_type: 1, raw_data: new Uint8Array(8) }] },
  };
  expect(check(await readModel(encodeTree('ModelProto', tree)))).toEqual([]);
  const source = {
    length: 8,
    read: () => {
      throw new Error('read');
    },
  };
  expect(check(buildModel({ nodes: [], initializers: [Tensor.of('w', 'float32', [2], source)] }))).toEqual(
    [],
  );
});
