import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  createModel,
  ModelError,
  makeNode,
  type NodeSpec,
  readModel,
  saveModel,
  Tensor,
} from '../../../src/graph/index.js';
import { constantTensor, evaluateConstant } from '../../../src/runtime/index.js';
import { modelOf, numbers } from '../helpers.js';

const w = Tensor.of('w', 'float32', [2, 3], Float32Array.of(1, 2, 3, 4, 5, 6));
const graphOf = (nodes: readonly NodeSpec[], initializers: readonly Tensor[] = [w], opset = 17) =>
  modelOf(nodes, [['x', 'float32', [2]]], [], initializers, opset).graph;
const node = (
  opType: string,
  inputs: string[],
  output: string,
  attributes: NodeSpec['attributes'] = {},
): NodeSpec => ({
  opType,
  inputs,
  outputs: [output],
  attributes,
});

describe('constantTensor', () => {
  it.each([
    ['value', { tensor: w }, 'float32', [2, 3], [1, 2, 3, 4, 5, 6]],
    ['value_float', { float: 0.5 }, 'float32', [], [0.5]],
    ['value_floats', { floats: [1, 2] }, 'float32', [2], [1, 2]],
    ['value_int', { int: 2n ** 60n }, 'int64', [], [2n ** 60n]],
    ['value_ints', { ints: [-1, 2] }, 'int64', [2], [-1n, 2n]],
  ] as const)('reads the %s of a Constant node', async (key, attribute, type, shape, data) => {
    const graph = graphOf([node('Constant', [], 'c', { [key]: attribute }), node('Identity', ['c'], 'd')]);
    for (const value of ['c', 'd']) {
      const tensor = constantTensor(graph, value);
      expect([tensor?.dataType, tensor?.shape]).toEqual([type, shape]);
      expect(Array.from(tensor?.array() as Float32Array)).toEqual(data);
      expect((await evaluateConstant(graph, value)).name).toBe(value);
    }
  });

  it('reads strings, and an initializer as it is', () => {
    const graph = graphOf([node('Constant', [], 's', { value_strings: { strings: ['a', 'ü'] } })]);
    const strings = constantTensor(graph, 's');
    expect(strings?.dataType).toBe('string');
    expect(strings?.proto.string_data?.map((bytes) => Buffer.from(bytes).toString())).toEqual(['a', 'ü']);
    expect(constantTensor(graph, 'w')?.proto).toBe(w.proto);
  });

  it('is undefined for what must be computed, and for what does not exist', () => {
    const graph = graphOf([node('Transpose', ['w'], 't')]);
    for (const value of ['t', 'x', 'none', '']) expect(constantTensor(graph, value)).toBeUndefined();
  });
});

describe('evaluateConstant', () => {
  it('computes chains of any operators', async () => {
    const graph = graphOf(
      [
        node('Transpose', ['w'], 't', { perm: { ints: [1, 0] } }),
        node('Constant', [], 'shape', { value_ints: { ints: [6] } }),
        node('Reshape', ['t', 'shape'], 'flat'),
        node('ConstantOfShape', ['shape'], 'twos', {
          value: { tensor: Tensor.of('', 'float32', [1], Float32Array.of(2)) },
        }),
        node('Mul', ['flat', 'twos'], 'doubled'),
        node('Concat', ['flat', 'doubled'], 'both', { axis: { int: 0 } }),
        node('Cast', ['both'], 'halves', { to: { int: 10 } }),
        node('Cast', ['both'], 'brains', { to: { int: 16 } }),
        node('Cast', ['both'], 'ints', { to: { int: 7 } }),
      ],
      [w],
    );
    const both = await evaluateConstant(graph, 'both');
    expect([both.name, both.dataType, both.shape]).toEqual(['both', 'float32', [12]]);
    const wanted = [1, 4, 2, 5, 3, 6, 2, 8, 4, 10, 6, 12];
    expect([...both.floats()]).toEqual(wanted);
    for (const [value, type] of [
      ['halves', 'float16'],
      ['brains', 'bfloat16'],
    ] as const) {
      const tensor = await evaluateConstant(graph, value);
      expect(tensor.dataType).toBe(type);
      expect([...tensor.floats()]).toEqual(wanted);
    }
    expect((await evaluateConstant(graph, 'ints')).integers()).toEqual(wanted);
  });

  it('dequantizes, also weights that are fed for their size', async () => {
    const quantized = Tensor.of(
      'q',
      'int8',
      [100, 100],
      Int8Array.from({ length: 10_000 }, (_, i) => (i % 200) - 100),
    );
    const graph = graphOf(
      [node('DequantizeLinear', ['q', 'scale', 'zero'], 'd')],
      [
        quantized,
        Tensor.of('scale', 'float32', [], Float32Array.of(0.5)),
        Tensor.of('zero', 'int8', [], Int8Array.of(4)),
      ],
    );
    const tensor = await evaluateConstant(graph, 'd');
    expect(tensor.shape).toEqual([100, 100]);
    expect([...tensor.floats(0, 3)]).toEqual([-52, -51.5, -51]);
  });

  it('reads packed int4 weights', async () => {
    const quantized = Tensor.of('q', 'int4', [4], Uint8Array.of(0x21, 0xf7));
    const graph = graphOf(
      [node('DequantizeLinear', ['q', 'scale'], 'd')],
      [quantized, Tensor.of('scale', 'float32', [], Float32Array.of(1))],
      21,
    );
    expect([...(await evaluateConstant(graph, 'd')).floats()]).toEqual([1, 2, 7, -1]);
  });

  it('reads external weights', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'constant-test-'));
    try {
      const path = join(directory, 'm.onnx');
      const large = Tensor.of('large', 'float32', [1200], numbers(1200));
      const double = Tensor.of('other', 'float64', [1], Float64Array.of(1));
      const model = modelOf([node('Neg', ['large'], 'n')], [], [['n', 'float32']], [large, double]);
      await saveModel(model, path, { external: 'always' });
      const { graph } = await readModel(path);
      expect((await evaluateConstant(graph, 'n')).floats()).toEqual(numbers(1200).map((value) => -value));
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  it('makes sparse constants dense', async () => {
    const sparse = {
      values: Tensor.of('sp', 'float32', [2], Float32Array.of(5, 6)).proto,
      indices: Tensor.of('', 'int64', [2], BigInt64Array.of(1n, 3n)).proto,
      dims: [2, 2],
    };
    const { proto } = modelOf([node('Neg', ['sp'], 'n')], [], [['n', 'float32']], []);
    proto.graph!.sparse_initializer = [sparse];
    const { graph } = createModel(proto);
    expect([...(await evaluateConstant(graph, 'sp')).floats()]).toEqual([0, 5, 0, 6]);
    expect([...(await evaluateConstant(graph, 'n')).floats()]).toEqual([-0, -5, -0, -6]);
  });

  it('captures values of the graphs around, both ways', async () => {
    const branch = (name: string) =>
      modelOf([node('Neg', ['t'], name)], [], [[name, 'float32', [3, 2]]], [], 17).proto.graph!;
    const graph = graphOf([
      node('Transpose', ['w'], 't'),
      node('Constant', [], 'yes', { value: { tensor: Tensor.of('', 'bool', [], Uint8Array.of(1)) } }),
      node('If', ['yes'], 'chosen', {
        then_branch: { graph: branch('a') },
        else_branch: { graph: branch('b') },
      }),
    ]);
    const wanted = [-1, -4, -2, -5, -3, -6];
    expect([...(await evaluateConstant(graph, 'chosen')).floats()]).toEqual(wanted);
    const inner = graph.nodes[2]!.subgraphs[0]!;
    expect([...(await evaluateConstant(inner, 'a')).floats()]).toEqual(wanted);
    expect([...(await evaluateConstant(inner, 'w')).floats()]).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('calls the functions of the model, and evaluates within them', async () => {
    const { proto } = modelOf(
      [{ ...node('Twice', ['w'], 'tw'), domain: 'local' }],
      [],
      [['tw', 'float32']],
      [w],
    );
    proto.opset_import!.push({ domain: 'local', version: 1 });
    proto.ir_version = 8;
    proto.functions = [
      {
        name: 'Twice',
        domain: 'local',
        input: ['p'],
        output: ['q'],
        opset_import: [{ domain: '', version: 17 }],
        node: [
          node('Constant', [], 'two', { value_float: { float: 2 } }),
          node('Neg', ['two'], 'minus'),
          node('Mul', ['p', 'two'], 'q'),
        ].map(makeNode),
      },
    ];
    const model = createModel(proto);
    expect([...(await evaluateConstant(model.graph, 'tw')).floats()]).toEqual([2, 4, 6, 8, 10, 12]);
    const [body] = model.functions;
    expect([...(await evaluateConstant(body!, 'minus')).floats()]).toEqual([-2]);
    await expect(evaluateConstant(body!, 'q')).rejects.toThrow(
      "tensor 'q': is not constant: it depends on the function parameter 'p'",
    );
  });

  it('names what makes a value no constant', async () => {
    const graph = graphOf([
      node('Relu', ['x'], 'r'),
      node('Add', ['r', 'w'], 's'),
      node('RandomNormal', [], 'noise', { shape: { ints: [2] } }),
      node('Neg', ['noise'], 'n'),
    ]);
    await expect(evaluateConstant(graph, 's')).rejects.toThrow(
      "tensor 's': is not constant: it depends on the input 'x'",
    );
    await expect(evaluateConstant(graph, 'n')).rejects.toThrow(
      "node 'noise' (RandomNormal) makes random numbers",
    );
    await expect(evaluateConstant(graph, 'none')).rejects.toThrow("nothing makes 'none'");
    await expect(evaluateConstant(graph, 's')).rejects.toBeInstanceOf(ModelError);
  });

  it('passes on what onnxruntime says of a faulty expression', async () => {
    const graph = graphOf([node('MatMul', ['w', 'w'], 'p')]);
    await expect(evaluateConstant(graph, 'p')).rejects.toThrow(
      /^tensor 'p': could not be computed: onnxruntime: .*MatMul/,
    );
  });
});
