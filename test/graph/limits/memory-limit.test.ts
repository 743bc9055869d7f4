import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { inlinedFunctions } from '../../../src/graph/edit/inline-functions.js';
import {
  type Model,
  modelToBytes,
  type NodeSpec,
  saveModel,
  setMemoryLimit,
  type Tensor,
} from '../../../src/graph/index.js';
import { DEFAULT_MEMORY_LIMIT } from '../../../src/graph/limits/memory-limit.js';
import { evaluateConstant, openSession, randomInputs } from '../../../src/runtime/index.js';
import { buildModel, floats, ints } from '../../support/build.js';
import { scratchDirectory } from '../../support/scratch-directory.js';

const directory = scratchDirectory('memory-limit');

afterEach(() => setMemoryLimit(DEFAULT_MEMORY_LIMIT));

const REFUSED = /GiB of memory, more than the limit of 1 GiB; `setMemoryLimit` raises it$/;

const TOO_MANY = /nodes that its functions stand for would take .* `setMemoryLimit`/;

const node = (opType: string, inputs: readonly string[], output: string): NodeSpec => ({
  opType,
  inputs,
  outputs: [output],
  name: output,
});

function modelOf(nodes: readonly NodeSpec[], initializers: readonly Tensor[]): Model {
  return buildModel({
    inputs: [['x', 'float32', [1, 4]]],
    outputs: [['y', 'float32']],
    nodes: [...nodes, node('MatMul', ['x', 'big'], 'y')],
    initializers,
  });
}

const doubling = Array.from({ length: 40 }, (_, i) => ({
  ...node('Concat', i === 0 ? ['w', 'w'] : [`c${i - 1}`, `c${i - 1}`], i === 39 ? 'big' : `c${i}`),
  attributes: { axis: { int: 1 } },
}));

test('many constants, each of which would fit, are refused together, and by their path and bytes too', async () => {
  const fill = (name: string) => node('ConstantOfShape', ['shape'], name);
  const names = ['a', 'b', 'c', 'big'];
  const model = buildModel({
    inputs: [['x', 'float32', [1, 2 ** 14]]],
    outputs: [['y', 'float32']],
    nodes: [...names.map(fill), node('Sum', ['x', ...names], 'y')],
    initializers: [ints('shape', [2 ** 14, 2 ** 13])],
  });
  const refused =
    /tensor 'c': what it and the nodes before it compute of constants would take .* GiB of memory/;
  await expect(openSession(model)).rejects.toThrow(refused);
  await expect(openSession(modelToBytes(model))).rejects.toThrow(refused);
  const path = join(directory, 'together.onnx');
  await saveModel(model, path);
  await expect(openSession(path)).rejects.toThrow(refused);
});

describe('what nodes make of a few constants is refused before anything is computed', () => {
  test.each<[string, readonly NodeSpec[], readonly Tensor[]]>([
    ['ConstantOfShape', [node('ConstantOfShape', ['shape'], 'big')], [ints('shape', [4, 1e9])]],
    [
      'ConstantOfShape of int64 maxima',
      [node('ConstantOfShape', ['shape'], 'big')],
      [ints('shape', [4, 2n ** 63n - 1n])],
    ],
    ['Expand', [node('Expand', ['w', 'shape'], 'big')], [floats('w', [4, 1]), ints('shape', [4, 1e9])]],
    ['Tile', [node('Tile', ['w', 'times'], 'big')], [floats('w', [4, 1]), ints('times', [1, 1e9])]],
    ['Concat upon Concat', doubling, [floats('w', [4, 1])]],
    [
      'one of them on the way to a small one',
      [
        node('Tile', ['w', 'times'], 'wide'),
        { ...node('ReduceSum', ['wide'], 'big'), attributes: { keepdims: { int: 1 } } },
      ],
      [floats('w', [4, 1]), ints('times', [1, 1e9])],
    ],
  ])('%s', async (_, nodes, initializers) => {
    const model = modelOf(nodes, initializers);
    await expect(evaluateConstant(model.graph, 'big')).rejects.toThrow(REFUSED);
    await expect(openSession(model)).rejects.toThrow(REFUSED);
  });
});

test('the limit holds where it is set', async () => {
  const model = modelOf([node('ConstantOfShape', ['shape'], 'big')], [ints('shape', [4, 1000])]);
  expect((await evaluateConstant(model.graph, 'big')).shape).toEqual([4, 1000]);
  setMemoryLimit(15_999);
  await expect(evaluateConstant(model.graph, 'big')).rejects.toThrow(
    "node 'big', tensor 'big': what it computes of constants would take 1 MiB of memory",
  );
  setMemoryLimit(16_000);
  expect((await evaluateConstant(model.graph, 'big')).size).toBe(4000);
  expect(() => setMemoryLimit(0)).toThrow(RangeError);
});

test('random inputs of a declared size are refused before they are made', () => {
  const model = buildModel({ inputs: [['x', 'float32', [1e9, 4]]], outputs: [], nodes: [] });
  expect(() => randomInputs(model)).toThrow(/^input 'x' of float32\[1000000000, 4\] would take 14.9 GiB/);
});

test('functions that each call the next one twice are refused before they are inlined or run', async () => {
  const calls = (name: string) =>
    ['a', 'y'].map((output, i) => ({ ...node(name, [i === 0 ? 'x' : 'a'], output), domain: 'own' }));
  const doublingTo = (depth: number): Model =>
    buildModel({
      opset: { '': 17, own: 1 },
      inputs: [['x', 'float32', [2]]],
      outputs: [['y', 'float32', [2]]],
      nodes: [{ ...node('F0', ['x'], 'y'), domain: 'own' }],
      functions: Array.from({ length: depth }, (_, i) => ({
        domain: 'own',
        name: `F${i}`,
        inputs: ['x'],
        outputs: ['y'],
        nodes: i === depth - 1 ? [node('Neg', ['x'], 'y')] : calls(`F${i + 1}`),
        opset: { '': 17, own: 1 },
      })),
    });
  expect(inlinedFunctions(doublingTo(6)).graph.nodes).toHaveLength(32);
  for (const depth of [21, 60]) {
    expect(() => inlinedFunctions(doublingTo(depth))).toThrow(TOO_MANY);
    await expect(openSession(doublingTo(depth))).rejects.toThrow(TOO_MANY);
  }
});
