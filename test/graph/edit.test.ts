import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { check } from '../../src/graph/check/check.js';
import { diffModels } from '../../src/graph/diff/diff.js';
import {
  type Graph,
  type GraphEdit,
  type Model,
  ModelError,
  modelToBytes,
  type Node,
  readModel,
  Tensor,
  ValueInfo,
} from '../../src/graph/index.js';
import { createMessage } from '../../src/graph/proto/codec.js';
import { type Draw, drawFrom, wildModels } from '../support/arbitraries.js';
import { buildGraph, buildModel, floats, type ModelSpec } from '../support/build.js';

/** x -> a -> b -> y, and an If that captures b and w; v is unused. */
function sample(spec: Partial<ModelSpec> = {}): Model {
  const branch = (name: string) =>
    buildGraph({
      name,
      outputs: [[`${name}_out`, 'float32', [4]]],
      nodes: [{ opType: 'Add', inputs: ['b', 'w'], outputs: [`${name}_out`], name: `${name}_add` }],
    });
  return buildModel({
    inputs: [
      ['x', 'float32', [4]],
      ['flag', 'bool', []],
    ],
    outputs: [
      ['y', 'float32', [4]],
      ['z', 'float32', [4]],
    ],
    values: [
      ['a', 'float32', [4]],
      ['b', 'float32', [4]],
    ],
    nodes: [
      { opType: 'Relu', inputs: ['x'], outputs: ['a'], name: 'first' },
      { opType: 'Mul', inputs: ['a', 'w'], outputs: ['b'], name: 'second' },
      { opType: 'Neg', inputs: ['b'], outputs: ['y'], name: 'third' },
      {
        opType: 'If',
        inputs: ['flag'],
        outputs: ['z'],
        name: 'choice',
        attributes: { then_branch: { graph: branch('then') }, else_branch: { graph: branch('else') } },
      },
    ],
    initializers: [floats('w', [4]), floats('v', [4])],
    ...spec,
  });
}

const nodeOf = (graph: Graph, name: string): Node => graph.nodes.find((node) => node.name === name) as Node;

/** The state of a model that an edit may change. */
const stateOf = (model: Model): unknown => [
  Buffer.from(modelToBytes(model)).toString('hex'),
  model.revision,
  model.changed,
];

describe('refused edits leave the model as it was', () => {
  const edit = (change: (graph: Graph) => GraphEdit) => (model: Model) =>
    model.graph.edit(change(model.graph));
  const relu = (input: string, output: string) => ({ opType: 'Relu', inputs: [input], outputs: [output] });
  test.each<[string, (model: Model) => unknown, RegExp]>([
    [
      'removing a node that is read',
      edit((g) => ({ removeNodes: [nodeOf(g, 'first')] })),
      /node 'second' still reads 'a'; call replaceUses\('a', …\) first/,
    ],
    [
      'removing a node that a subgraph reads',
      edit((g) => ({
        removeNodes: [nodeOf(g, 'second'), nodeOf(g, 'third')],
        insertNodes: [relu('x', 'y')],
      })),
      /node 'then_add' still reads 'b'/,
    ],
    [
      'removing what makes an output',
      edit((g) => ({ removeNodes: [nodeOf(g, 'third')] })),
      /'y' is an output of the graph; make it again in insertNodes/,
    ],
    [
      'removing an initializer that is read',
      (m) => m.graph.removeInitializer('w'),
      /node 'second' still reads 'w'/,
    ],
    [
      'removing an initializer that is not there',
      (m) => m.graph.removeInitializer('nothing'),
      /no initializer is named 'nothing'/,
    ],
    [
      'removing a node twice',
      edit((g) => ({ removeNodes: [nodeOf(g, 'choice'), nodeOf(g, 'choice')] })),
      /to be removed twice/,
    ],
    [
      'reading what nothing makes',
      edit(() => ({ insertNodes: [relu('nothing', 'n')] })),
      /reads 'nothing', which nothing makes/,
    ],
    [
      'reading what the edit removes',
      edit((g) => ({ removeInitializers: ['v'], insertNodes: [relu('v', 'n')], before: nodeOf(g, 'third') })),
      /reads 'v', which nothing makes/,
    ],
    [
      'making a node value twice',
      edit(() => ({ insertNodes: [relu('x', 'a')] })),
      /'a' exists already; include its producer in removeNodes, or take a name from model.freshName\('a'\)/,
    ],
    ['making an input', edit(() => ({ insertNodes: [relu('w', 'x')] })), /'x' exists already/],
    [
      'making an initializer by a node',
      edit(() => ({ insertNodes: [relu('x', 'v')] })),
      /'v' exists already/,
    ],
    [
      'making a name of a subgraph',
      edit(() => ({ insertNodes: [relu('x', 'then_out')] })),
      /'then_out' exists already/,
    ],
    [
      'two inserted nodes of one output',
      edit(() => ({ insertNodes: [relu('x', 'n'), relu('x', 'n')] })),
      /two inserted nodes make 'n'/,
    ],
    [
      'inserted nodes out of order',
      edit(() => ({ insertNodes: [relu('n', 'o'), relu('x', 'n')] })),
      /stands before the one that makes it/,
    ],
    [
      'an inserted node that reads itself',
      edit(() => ({ insertNodes: [relu('n', 'n')] })),
      /stands before the one that makes it/,
    ],
    [
      'standing before what it reads',
      edit((g) => ({ insertNodes: [relu('b', 'n')], before: nodeOf(g, 'second') })),
      /would stand before 'second', whose 'b' it reads; name a later node in before/,
    ],
    [
      'standing behind its reader',
      edit((g) => ({
        removeNodes: [nodeOf(g, 'first')],
        insertNodes: [relu('x', 'a')],
        before: nodeOf(g, 'third'),
      })),
      /node 'second' reads 'a' before the inserted nodes; name it in before/,
    ],
    [
      'a node of another model',
      edit(() => ({ removeNodes: [sample().graph.nodes[0] as Node] })),
      /node 'first' is not in this graph \(was it removed before\?\)/,
    ],
    [
      'an initializer without a name',
      (m) => m.graph.setInitializer(floats('', [1])),
      /an initializer needs a name/,
    ],
    [
      'an initializer of a name that a node makes',
      (m) => m.graph.setInitializer(floats('a', [1])),
      /'a' is made by a node/,
    ],
    [
      'an initializer of a name in a subgraph',
      (m) => m.graph.setInitializer(floats('then_out', [1])),
      /'then_out' exists already/,
    ],
    [
      'an attribute that is no integer',
      edit(() => ({ insertNodes: [{ ...relu('x', 'n'), attributes: { axis: { int: 0.5 } } }] })),
      /0.5/,
    ],
    [
      'replacing by a value that is not there',
      (m) => m.graph.replaceUses('a', 'nothing'),
      /no value is named 'nothing'/,
    ],
    [
      'replacing a value that is not there',
      (m) => m.graph.replaceUses('nothing', 'a'),
      /no value is named 'nothing'/,
    ],
    [
      'replacing an output',
      (m) => m.graph.replaceUses('y', 'x'),
      /'y' is an output of the graph; call rename\('x', 'y'\)/,
    ],
    [
      'replacing by a later value',
      (m) => m.graph.replaceUses('x', 'b'),
      /'b' is made behind node 'first', which would read it/,
    ],
    [
      'an input that the node does not have',
      (m) => m.graph.setInput(m.graph.nodes[0] as Node, 1, 'x'),
      /node 'first' has no input 1/,
    ],
    [
      'an input that is made later',
      (m) => m.graph.setInput(m.graph.nodes[0] as Node, 0, 'y'),
      /'y' is made behind node 'first'/,
    ],
    [
      'an input that reads itself',
      (m) => m.graph.setInput(m.graph.nodes[0] as Node, 0, 'a'),
      /'a' is made behind node 'first'/,
    ],
    [
      'an input that is not there',
      (m) => m.graph.setInput(m.graph.nodes[0] as Node, 0, 'nothing'),
      /no value is named 'nothing'/,
    ],
    [
      'renaming to a name that exists',
      (m) => m.graph.rename('a', 'w'),
      /a value is already named 'w'; take one from model.freshName\('w'\)/,
    ],
    ['renaming to a name in a subgraph', (m) => m.graph.rename('a', 'else_out'), /already named 'else_out'/],
    ['renaming what is not there', (m) => m.graph.rename('nothing', 'n'), /no value is named 'nothing'/],
    [
      'renaming an input of the model',
      (m) => m.graph.rename('x', 'n'),
      /'x' is an input or output of the model/,
    ],
    [
      'renaming an output of the model',
      (m) => m.graph.rename('y', 'n'),
      /'y' is an input or output of the model/,
    ],
    [
      'adding an input twice',
      (m) => m.graph.addInput(ValueInfo.tensor('x', 'float32')),
      /'x' is an input already/,
    ],
    [
      'adding an input that a node makes',
      (m) => m.graph.addInput(ValueInfo.tensor('a', 'float32')),
      /already named 'a'/,
    ],
    ['removing an input that is read', (m) => m.graph.removeInput('x'), /node 'first' still reads 'x'/],
    ['removing what is no input', (m) => m.graph.removeInput('a'), /no input is named 'a'/],
    ['renaming an input to a name that exists', (m) => m.graph.renameInput('x', 'w'), /already named 'w'/],
    ['renaming no input', (m) => m.graph.renameInput('y', 'n'), /no input is named 'y'/],
    [
      'adding an output twice',
      (m) => m.graph.addOutput(ValueInfo.tensor('y', 'float32')),
      /'y' is an output already/,
    ],
    [
      'adding an output that nothing makes',
      (m) => m.graph.addOutput(ValueInfo.tensor('n', 'float32')),
      /no value is named 'n'/,
    ],
    ['removing what is no output', (m) => m.graph.removeOutput('a'), /no output is named 'a'/],
    ['renaming no output', (m) => m.graph.renameOutput('x', 'n'), /no output is named 'x'/],
    [
      'inputs of a subgraph',
      (m) => m.graph.nodes[3]?.subgraphs[0]?.addInput(ValueInfo.tensor('n', 'float32')),
      /addInput is of the main graph/,
    ],
    [
      'renaming a node to a name that exists',
      (m) => m.graph.renameNode(m.graph.nodes[0] as Node, 'third'),
      /a node is already named 'third'/,
    ],
    [
      'a new subgraph that reads nothing',
      edit(() => ({
        insertNodes: [
          {
            opType: 'If',
            inputs: ['flag'],
            outputs: ['n'],
            attributes: {
              then_branch: {
                graph: buildGraph({ nodes: [relu('nothing', 'inner')], outputs: [['inner', 'float32']] }),
              },
            },
          },
        ],
      })),
      /reads 'nothing', which nothing makes/,
    ],
    [
      'a new subgraph that makes an outer name',
      edit(() => ({
        insertNodes: [
          {
            opType: 'If',
            inputs: ['flag'],
            outputs: ['n'],
            attributes: {
              then_branch: { graph: buildGraph({ nodes: [relu('x', 'a')], outputs: [['a', 'float32']] }) },
            },
          },
        ],
      })),
      /a new subgraph makes 'a', which exists already/,
    ],
  ])('%s', (_, act, message) => {
    const model = sample();
    const before = stateOf(model);
    expect(() => act(model)).toThrow(message);
    expect(stateOf(model)).toEqual(before);
    expect(check(model)).toEqual([]);
  });

  test('in a subgraph: reading what stands behind its owner', () => {
    const model = sample();
    const owner = nodeOf(model.graph, 'choice');
    model.graph.edit({ insertNodes: [{ opType: 'Abs', inputs: ['x'], outputs: ['late'], name: 'late' }] });
    const [then] = owner.subgraphs as [Graph];
    for (const value of ['late', 'z']) {
      expect(() => then.edit({ insertNodes: [{ opType: 'Abs', inputs: [value], outputs: ['n'] }] })).toThrow(
        /would stand before/,
      );
      expect(() => then.setInput(then.nodes[0] as Node, 0, value)).toThrow(/is made behind node/);
    }
    expect(() => then.edit({ insertNodes: [{ opType: 'Abs', inputs: ['x'], outputs: ['late'] }] })).toThrow(
      /'late' exists already/,
    );
    expect(check(model)).toEqual([]);
  });

  test('a function has no initializers', () => {
    const model = buildModel({
      nodes: [],
      functions: [
        {
          domain: 'f',
          name: 'F',
          inputs: ['i'],
          outputs: ['o'],
          nodes: [{ opType: 'Relu', inputs: ['i'], outputs: ['o'] }],
        },
      ],
    });
    const [body] = model.functions as [Graph];
    expect(() => body.setInitializer(floats('w', [1]))).toThrow(
      /a function has no initializers; insert a Constant node/,
    );
    body.rename('i', 'in');
    expect(body.nodes[0]?.inputs).toEqual(['in']);
    expect(check(model)).toEqual([]);
  });

  test('names that training_info uses', () => {
    const model = sample();
    model.proto.training_info = [
      createMessage('TrainingInfoProto', {
        update_binding: [createMessage('StringStringEntryProto', { key: 'v', value: 'new_v' })],
      }),
    ];
    expect(() => model.graph.rename('v', 'u')).toThrow(/training_info uses/);
    expect(() => model.graph.removeInitializer('v')).toThrow(/training_info uses/);
  });
});

describe('edits', () => {
  test('count as changes; nothing to do is none', () => {
    const model = sample();
    const [first] = model.graph.nodes as [Node];
    expect([model.revision, model.changed]).toEqual([0, false]);
    expect(model.graph.edit({})).toEqual([]);
    model.graph.replaceUses('a', 'a');
    model.graph.rename('a', 'a');
    model.graph.renameNode(first, 'first');
    model.graph.setInput(first, 0, 'x');
    model.graph.setAttribute(first, 'none', undefined);
    model.graph.setMetadata(first, 'none', undefined);
    expect([model.revision, model.changed]).toEqual([0, false]);
    model.graph.renameNode(first, 'other');
    expect([model.revision, model.changed]).toEqual([1, true]);
  });

  test('insert, remove, setInput', () => {
    const model = sample();
    const { graph } = model;
    const node = graph.insert(
      { opType: 'Abs', inputs: ['a'], outputs: ['n'], name: 'abs' },
      nodeOf(graph, 'second'),
    );
    expect(graph.nodes.map(({ name }) => name)).toEqual(['first', 'abs', 'second', 'third', 'choice']);
    graph.setInput(nodeOf(graph, 'second'), 0, 'n');
    expect(graph.uses('n').map((use) => [use.node.name, use.index])).toEqual([['second', 0]]);
    expect(graph.producer('n')).toBe(node);
    graph.replaceUses('n', 'a');
    graph.remove(node);
    expect(graph.nodes.length).toBe(4);
    graph.removeInitializer('v');
    expect([...graph.initializers.keys()]).toEqual(['w']);
    expect(check(model)).toEqual([]);
  });

  test('one edit replaces nodes; types of values that are gone are forgotten', () => {
    const model = sample();
    const { graph } = model;
    graph.edit({
      removeNodes: [nodeOf(graph, 'first'), nodeOf(graph, 'second')],
      insertNodes: [{ opType: 'Mul', inputs: ['x', 'u'], outputs: ['b'], name: 'product' }],
      setInitializers: [floats('u', [4])],
    });
    expect(graph.nodes.map(({ name }) => name)).toEqual(['product', 'third', 'choice']);
    expect(graph.valueInfo.map(({ name }) => name)).toEqual(['b']);
    expect(check(model)).toEqual([]);
  });

  test('a constant takes the place of a node, and back', () => {
    const model = sample();
    const { graph } = model;
    graph.edit({ removeNodes: [nodeOf(graph, 'first')], setInitializers: [floats('a', [4])] });
    expect(graph.resolve('a')?.kind).toBe('initializer');
    expect(check(model)).toEqual([]);
    graph.edit({
      removeInitializers: ['a'],
      insertNodes: [{ opType: 'Relu', inputs: ['x'], outputs: ['a'] }],
      before: nodeOf(graph, 'second'),
    });
    expect(graph.resolve('a')?.kind).toBe('node');
    expect(check(model)).toEqual([]);
  });

  test('renaming and replacing reach into subgraphs, and outputs of subgraphs', () => {
    const model = sample();
    const { graph } = model;
    graph.rename('b', 'renamed');
    const branches = nodeOf(graph, 'choice').subgraphs;
    expect(branches.map((branch) => branch.nodes[0]?.inputs)).toEqual([
      ['renamed', 'w'],
      ['renamed', 'w'],
    ]);
    graph.rename('w', 'weight');
    graph.replaceUses('weight', 'v');
    expect(branches[1]?.nodes[0]?.inputs).toEqual(['renamed', 'v']);
    expect(graph.uses('weight')).toEqual([]);
    expect(graph.valueInfo.map(({ name }) => name)).toEqual(['a', 'renamed']);
    const [then] = branches as [Graph];
    then.rename('then_out', 'result');
    expect(then.outputs.map(({ name }) => name)).toEqual(['result']);
    expect(then.resolve('renamed')?.kind).toBe('node');
    expect(check(model)).toEqual([]);
  });

  test('a value that a subgraph returns is renamed there too, and not replaced', () => {
    const body = buildGraph({ nodes: [], outputs: [['b', 'float32', [4]]] });
    const model = sample();
    const { graph } = model;
    graph.setAttribute(nodeOf(graph, 'choice'), 'then_branch', { graph: body });
    expect(graph.uses('b').some((use) => use.index === -1 && use.node.name === 'choice')).toBe(true);
    expect(() => graph.replaceUses('b', 'a')).toThrow(/'b' is an output of a subgraph of node 'choice'/);
    graph.rename('b', 'c');
    expect(nodeOf(graph, 'choice').subgraphs[0]?.outputs[0]?.name).toBe('c');
  });

  test('Loop: what its body captures follows', () => {
    const body = buildGraph({
      inputs: [
        ['i', 'int64', []],
        ['c', 'bool', []],
        ['s', 'float32', [4]],
      ],
      outputs: [
        ['c_out', 'bool', []],
        ['s_out', 'float32', [4]],
      ],
      nodes: [
        { opType: 'Identity', inputs: ['c'], outputs: ['c_out'] },
        { opType: 'Add', inputs: ['s', 'b'], outputs: ['s_out'] },
      ],
    });
    const model = sample();
    const { graph } = model;
    graph.insert({
      opType: 'Loop',
      inputs: ['', 'flag', 'x'],
      outputs: ['looped'],
      name: 'loop',
      attributes: { body: { graph: body } },
    });
    expect(graph.uses('b').map((use) => use.node.opType)).toEqual(['Neg', 'Add', 'Add', 'Add']);
    graph.replaceUses('b', 'a');
    const [inner] = nodeOf(graph, 'loop').subgraphs as [Graph];
    expect(inner.nodes[1]?.inputs).toEqual(['s', 'a']);
    expect(inner.resolve('a')?.graph).toBe(graph);
    inner.rename('s', 'state');
    expect(inner.nodes[1]?.inputs).toEqual(['state', 'a']);
    expect(check(model)).toEqual([]);
  });

  test('a node is moved with its subgraphs', () => {
    const model = sample();
    const { graph } = model;
    const choice = nodeOf(graph, 'choice');
    const { proto } = choice;
    const [moved] = graph.edit({
      removeNodes: [choice],
      insertNodes: [
        {
          opType: 'If',
          inputs: choice.inputs,
          outputs: choice.outputs,
          name: 'moved',
          attributeProtos: proto.attribute ?? [],
        },
      ],
      before: nodeOf(graph, 'third'),
    }) as [Node];
    const [then] = moved.subgraphs as [Graph];
    expect(then.owner).toBe(moved);
    then.setInput(then.nodes[0] as Node, 0, 'a');
    expect(graph.uses('a').map((use) => use.node.name)).toEqual(['second', 'then_add']);
    expect(check(model)).toEqual([]);
  });

  test('quantization annotations and sharding follow a rename', () => {
    const model = sample();
    const entry = createMessage('StringStringEntryProto', { key: 'SCALE_TENSOR', value: 'v' });
    (model.proto.graph ?? {}).quantization_annotation = [
      createMessage('TensorAnnotation', { tensor_name: 'a', quant_parameter_tensor_names: [entry] }),
    ];
    const spec = createMessage('ShardingSpecProto', { tensor_name: 'a' });
    nodeOf(model.graph, 'first').proto.device_configurations = [
      createMessage('NodeDeviceConfigurationProto', { sharding_spec: [spec] }),
    ];
    model.graph.rename('a', 'n');
    model.graph.rename('v', 'scale');
    expect(model.proto.graph?.quantization_annotation?.[0]?.tensor_name).toBe('n');
    expect([entry.value, spec.tensor_name]).toEqual(['scale', 'n']);
  });

  test('IR below 4: initializers are inputs too, and stay where they are listed', () => {
    const model = sample({ ir: 3 });
    const { graph } = model;
    const names = (): string[] =>
      graph.inputs.map((input) => input.toString() && `${input.name}: ${input.toString()}`);
    expect(names()).toEqual(['x: float32[4]', 'flag: bool[]', 'w: float32[4]', 'v: float32[4]']);
    graph.setInitializer(floats('u', [2]));
    expect(names().at(-1)).toBe('u: float32[2]');
    graph.setInitializer(floats('v', [5]));
    expect(names()).toEqual([
      'x: float32[4]',
      'flag: bool[]',
      'w: float32[4]',
      'v: float32[5]',
      'u: float32[2]',
    ]);
    graph.removeInitializer('v');
    expect(names()).toEqual(['x: float32[4]', 'flag: bool[]', 'w: float32[4]', 'u: float32[2]']);
    expect(check(model)).toEqual([]);
  });

  test('a new shape of an initializer makes what was said of the old one void', () => {
    const model = sample({
      values: [
        ['v', 'float32', [4]],
        ['w', 'float32', [4]],
      ],
    });
    model.graph.setInitializer(floats('v', [2, 2]));
    model.graph.setInitializer(floats('w', [4], () => 1));
    expect(model.graph.valueInfo.map(({ name }) => name)).toEqual(['w']);
  });

  test('attributes and metadata keep their place', () => {
    const model = sample();
    const [first] = model.graph.nodes as [Node];
    for (const name of ['p', 'q', 'r']) model.graph.setAttribute(first, name, { int: 1 });
    model.graph.setAttribute(first, 'q', { ints: [2n ** 60n] });
    expect(first.attributes.names()).toEqual(['p', 'q', 'r']);
    model.graph.setAttribute(first, 'p', undefined);
    expect(first.attributes.names()).toEqual(['q', 'r']);
    model.graph.setMetadata(first, 'k', '1');
    model.graph.setMetadata(first, 'k', '2');
    expect([...first.metadata]).toEqual([['k', '2']]);
    model.graph.setMetadata(first, 'k', undefined);
    expect([...first.metadata]).toEqual([]);
  });

  test('freshName gives no name twice, nor one that an edit has taken', () => {
    const model = sample();
    expect([
      model.freshName('a'),
      model.freshName('a'),
      model.freshName('then_out'),
      model.freshName('new'),
    ]).toEqual(['a_2', 'a_3', 'then_out_2', 'new']);
    model.graph.insert({ opType: 'Abs', inputs: ['x'], outputs: ['fresh'], name: 'node' });
    model.graph.setInitializer(floats('constant', [1]));
    model.graph.renameNode(model.graph.nodes[0] as Node, 'label');
    expect(['fresh', 'node', 'constant', 'label'].map((name) => model.freshName(name))).toEqual([
      'fresh_2',
      'node_2',
      'constant_2',
      'label_2',
    ]);
  });
});

describe('inputs and outputs of the model', () => {
  test('are added, renamed and removed, at every reader', () => {
    const model = sample();
    const { graph } = model;
    graph.addInput(ValueInfo.tensor('mask', 'float32', ['batch']));
    graph.renameInput('x', 'features');
    graph.renameOutput('y', 'scores');
    graph.addOutput(ValueInfo.tensor('a', 'float32', [4]));
    graph.removeOutput('z');
    expect(graph.inputs.map(({ name }) => name)).toEqual(['features', 'flag', 'mask']);
    expect(graph.outputs.map(({ name }) => name)).toEqual(['scores', 'a']);
    expect(nodeOf(graph, 'first').inputs).toEqual(['features']);
    expect(nodeOf(graph, 'third').outputs).toEqual(['scores']);
    graph.removeInput('mask');
    expect(graph.inputs.map(({ name }) => name)).toEqual(['features', 'flag']);
    // What the output said of its type is kept.
    expect(graph.valueInfo.map(({ name }) => name).sort()).toEqual(['b', 'z']);
    expect(check(model)).toEqual([]);
  });

  test('an initializer that is an input becomes a constant, unless the IR version is below 4', () => {
    const { graph } = sample();
    graph.addInput(ValueInfo.tensor('w', 'float32', [4]));
    expect(graph.isInput('w')).toBe(true);
    graph.removeInput('w');
    expect([graph.isInput('w'), graph.initializers.has('w')]).toEqual([false, true]);
    const old = sample({ ir: 3 });
    expect(() => old.graph.removeInput('w')).toThrow(
      /before IR version 4 the initializer 'w' must be listed/,
    );
  });
});

/** One random edit, sensible or not. */
function randomEdit(draw: Draw, graph: Graph): void {
  const values = [
    ...graph.nodes.flatMap((node) => [...node.outputs, ...node.inputs]),
    ...graph.initializers.keys(),
    ...graph.inputs.map(({ name }) => name),
    'nothing',
    `new${draw(20)}`,
  ];
  const value = (): string => values[draw(values.length)] as string;
  const node = (): Node => graph.nodes[draw(graph.nodes.length)] as Node;
  const some = <T>(make: () => T): T[] => Array.from({ length: draw(3) }, make);
  const main = graph.model.graph;
  const outer = (): Graph => (draw(4) ? main : graph);
  switch (draw(14)) {
    case 8:
      outer().addInput(ValueInfo.tensor(value(), 'float32', [1]));
      return;
    case 9:
      outer().removeInput(value());
      return;
    case 10:
      outer().renameInput(draw(2) ? (main.inputs[0]?.name ?? '') : value(), value());
      return;
    case 11:
      outer().addOutput(ValueInfo.tensor(value(), 'float32'));
      return;
    case 12:
      outer().removeOutput(draw(2) ? (main.outputs[0]?.name ?? '') : value());
      return;
    case 13:
      outer().renameOutput(draw(2) ? (main.outputs[0]?.name ?? '') : value(), value());
      return;
    case 0:
      graph.replaceUses(value(), value());
      return;
    case 1:
      graph.rename(value(), value());
      return;
    case 2: {
      const reader = node();
      graph.setInput(reader, draw(reader.inputs.length + 1), value());
      return;
    }
    case 3:
      graph.setInitializer(floats(value(), [2]));
      return;
    case 4:
      graph.remove(node());
      return;
    case 5: {
      const old = node();
      graph.edit({
        removeNodes: [old],
        insertNodes: [{ opType: 'Abs', inputs: some(value), outputs: old.outputs }],
      });
      return;
    }
    default:
      graph.edit({
        removeNodes: draw(2) ? some(node) : [],
        insertNodes: some(() => ({ opType: 'Abs', inputs: some(value), outputs: [value()] })),
        before: draw(2) ? node() : undefined,
        removeInitializers: draw(3) ? [] : some(value),
        setInitializers: draw(3) ? [] : some(() => Tensor.of(value(), 'float32', [1], new Float32Array(1))),
      });
  }
}

/** Who makes and who reads each value of each graph, as far as the index tells. */
function readers(model: Model): unknown {
  return [...model.graphs()].map((graph) => {
    const names = [...new Set(graph.names())].sort();
    return names.map((name) => [
      name,
      graph.producer(name)?.proto.output ?? null,
      graph.initializers.has(name),
      graph
        .uses(name)
        .map(({ node, index }) => `${node.graph.nodes.indexOf(node)}/${node.label}/${index}`)
        .sort(),
    ]);
  });
}

test('random edits: refused ones change nothing, accepted ones leave a sound model', async () => {
  let [accepted, refused] = [0, 0];
  await fc.assert(
    fc.asyncProperty(wildModels(), fc.nat(), async (bytes, seed) => {
      const draw = drawFrom(seed);
      const model = await readModel(bytes);
      for (let round = 0; round < 25; round += 1) {
        const graphs = [...model.graphs()];
        const graph = graphs[draw(graphs.length)] as Graph;
        if (graph.nodes.length === 0) continue;
        const before = stateOf(model);
        try {
          randomEdit(draw, graph);
          accepted += 1;
        } catch (error) {
          expect(error).toBeInstanceOf(ModelError);
          expect(stateOf(model)).toEqual(before);
          refused += 1;
        }
        expect(check(model).filter((problem) => problem.severity === 'error')).toEqual([]);
      }
      // What is derived is what a fresh reading derives.
      expect(readers(model)).toEqual(readers(await readModel(modelToBytes(model))));
      expect(diffModels(model, await readModel(modelToBytes(model)))).toEqual([]);
    }),
    { seed: 8, numRuns: 60 },
  );
  expect(accepted).toBeGreaterThan(200);
  expect(refused).toBeGreaterThan(200);
});
