import { expect, test } from 'vitest';
import { type Model, modelToBytes, readModel, Tensor } from '../../../src/graph/index.js';
import { GradientError } from '../../../src/passes/gradient/index.js';
import { replaceHead } from '../../../src/passes/rewrite/replace-head.js';
import { Random } from '../../../src/runtime/index.js';
import { tensorDataset } from '../../../src/training/data/index.js';
import { packError, unpackError } from '../../../src/training/engine/engine-messages.js';
import { planTraining } from '../../../src/training/plan.js';
import { train } from '../../../src/training/train.js';
import type { Dataset } from '../../../src/training/types.js';
import { buildModel, floats, ints } from '../../support/build.js';

const SIZE = 24;
const X = Float32Array.from(new Random(1, 'x').fillNormal(new Float64Array(3 * SIZE)));
const data = (classes: number): Dataset =>
  tensorDataset({
    x: { type: 'float32', shape: [SIZE, 3], data: X },
    y: {
      type: 'int64',
      shape: [SIZE],
      data: BigInt64Array.from({ length: SIZE }, (_, i) => BigInt(i % classes)),
    },
  });
const OPTIONS = { epochs: 1, batch: 8, ranks: false } as const;

/** Two layers whose equal weights an exporter wrote once, by an Identity, by a view or plainly. */
function merged(by: 'Identity' | 'Transpose' | 'nothing'): Model {
  const [first, second] = { Identity: ['w', 'w2'], Transpose: ['t', 't'], nothing: ['w', 'w'] }[by] as [
    string,
    string,
  ];
  return buildModel({
    inputs: [['x', 'float32', ['n', 3]]],
    outputs: [['y', 'float32']],
    nodes: [
      ...(by === 'Identity' ? [{ opType: 'Identity', inputs: ['w'], outputs: ['w2'] }] : []),
      ...(by === 'Transpose' ? [{ opType: 'Transpose', inputs: ['w'], outputs: ['t'] }] : []),
      { opType: 'MatMul', inputs: ['x', first], outputs: ['h'], name: 'one' },
      { opType: 'MatMul', inputs: ['h', second], outputs: ['y'], name: 'two' },
    ],
    initializers: [floats('w', [3, 3], Math.sin)],
  });
}

test.each([
  'Identity',
  'Transpose',
  'nothing',
] as const)('weights merged by %s are told and untied', async (by) => {
  const plan = planTraining(merged(by), data(3), OPTIONS);
  expect(plan.tied).toEqual([{ name: 'w', saved: 9, nodes: ['one', 'two'] }]);
  expect(plan.parameters).toBe(9);
  const untied = planTraining(merged(by), data(3), { ...OPTIONS, untie: ['*'] });
  expect([untied.tied, untied.parameters]).toEqual([[], 18]);
  const model = merged(by);
  await train(model, data(3), { ...OPTIONS, untie: ['w'], learningRate: 0.05 }).result();
  const [one, two] = [...(await readModel(modelToBytes(model))).graph.initializers.values()];
  expect([...one!.floats()]).not.toEqual([...two!.floats()]);
  expect(() => planTraining(merged(by), data(3), { untie: ['v*'] })).toThrow(
    "untie: 'v*' matches no weight that layers share; there are: w",
  );
});

const classifier = (): Model =>
  buildModel({
    inputs: [['x', 'float32', ['n', 3]]],
    outputs: [['y', 'float32', ['n', 10]]],
    nodes: [
      { opType: 'Gemm', inputs: ['x', 'w', 'b'], outputs: ['h'] },
      { opType: 'MatMul', inputs: ['h', 'v'], outputs: ['m'] },
      { opType: 'Add', inputs: ['m', 'c'], outputs: ['s'] },
      { opType: 'Reshape', inputs: ['s', 'shape'], outputs: ['r'] },
      { opType: 'Softmax', inputs: ['r'], outputs: ['y'], attributes: { axis: { int: 1 } } },
    ],
    initializers: [
      floats('w', [3, 6], Math.sin),
      floats('b', [6], Math.cos),
      floats('v', [6, 10], Math.cos),
      floats('c', [10], Math.sin),
      ints('shape', [-1, 10]),
    ],
  });

test('a fresh head has so many outputs, trains, and all before it is as it was', async () => {
  const model = classifier();
  expect(replaceHead(model, { outputs: 3 })).toMatchObject({ weights: ['v', 'c'], before: 10 });
  expect(model.graph.outputs[0]?.shape).toEqual(['n', 3]);
  expect(model.graph.initializers.get('v')?.shape).toEqual([6, 3]);
  expect([...model.graph.initializers.get('w')!.floats()]).toEqual([
    ...classifier().graph.initializers.get('w')!.floats(),
  ]);
  const trained = classifier();
  const { history } = await train(trained, data(3), { ...OPTIONS, head: 3, validation: data(3) }).result();
  expect(history.at(-1)!.validation!.accuracy).toBeTypeOf('number');
  expect(trained.graph.outputs[0]?.shape).toEqual(['n', 3]);
  expect(() => planTraining(classifier(), data(3), { head: 0.5 })).toThrow('head must be an integer ≥ 1');
});

test('quantized matrices are not trained, and a model of nothing else is refused', () => {
  const model = buildModel({
    inputs: [['x', 'float32', ['n', 3]]],
    outputs: [['y', 'float32', ['n', 4]]],
    nodes: [
      { opType: 'DequantizeLinear', inputs: ['q', 's'], outputs: ['w'] },
      { opType: 'Gemm', inputs: ['x', 'w', 'b'], outputs: ['y'] },
    ],
    initializers: [
      Tensor.of(
        'q',
        'int8',
        [3, 4],
        Int8Array.from({ length: 12 }, (_, i) => i - 6),
      ),
      Tensor.of('s', 'float32', [], Float32Array.of(0.1)),
      floats('b', [4], Math.sin),
    ],
  });
  expect(() => planTraining(model, data(4), OPTIONS)).toThrow(
    'cannot be trained, only biases and scales could (b)',
  );
  expect(planTraining(model, data(4), { ...OPTIONS, only: ['b'] }).quantized).toHaveLength(1);
});

test('a Round between weights and loss is named', async () => {
  const model = buildModel({
    inputs: [['x', 'float32', ['n', 3]]],
    outputs: [['y', 'float32', ['n', 4]]],
    nodes: [
      { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['h'] },
      { opType: 'Round', inputs: ['h'], outputs: ['y'], name: '/q' },
    ],
    initializers: [floats('w', [3, 4], Math.sin)],
  });
  const error = await train(model, data(4), OPTIONS)
    .result()
    .catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(GradientError);
  expect((error as Error).message).toBe(
    "no gradient flows through Round '/q': its derivative is zero; remove it for the training, or train without gradients (cma-es)",
  );
});

test('an error keeps its class on its way between threads', () => {
  const error = new GradientError([{ node: 'n', op: 'Foo', reason: 'Foo has no gradient here' }], 'm.onnx');
  const back = unpackError(packError(error));
  expect(back).toBeInstanceOf(GradientError);
  expect([back.message, (back as GradientError).unsupported]).toEqual([error.message, error.unsupported]);
});

/** x -> fn(w, b) -> Tanh -> fn(w, b2) -> y, by a function that takes its weight as an argument, or holds it. */
function calling(weight: 'given' | 'held'): Model {
  const given = weight === 'given';
  const call = (name: string, x: string, bias: string, y: string) => ({
    opType: 'Linear',
    domain: 'own',
    name,
    inputs: [x, ...(given ? ['w', bias] : [])],
    outputs: [y],
  });
  return buildModel({
    inputs: [['x', 'float32', ['n', 3]]],
    outputs: [['y', 'float32']],
    nodes: [
      { opType: 'Identity', inputs: ['b'], outputs: ['b2'] },
      call('one', 'x', 'b', 'h'),
      { opType: 'Tanh', inputs: ['h'], outputs: ['t'] },
      call('two', 't', 'b2', 'y'),
    ],
    initializers: [floats('w', [3, 3], Math.sin), floats('b', [3], () => 0)],
    opset: 17,
    functions: [
      {
        domain: 'own',
        name: 'Linear',
        inputs: given ? ['x', 'w', 'b'] : ['x'],
        outputs: ['y'],
        opset: 17,
        nodes: given
          ? [{ opType: 'Gemm', name: 'gemm', inputs: ['x', 'w', 'b'], outputs: ['y'] }]
          : [
              {
                opType: 'Constant',
                inputs: [],
                outputs: ['k'],
                attributes: { value: { tensor: floats('', [3, 3], Math.cos) } },
              },
              { opType: 'MatMul', name: 'mm', inputs: ['x', 'k'], outputs: ['y'] },
            ],
      },
    ],
  });
}

const elements = async (model: Model): Promise<number[][]> =>
  [...(await readModel(modelToBytes(model))).graph.initializers.values()].map((one) => [...one.floats()]);

test('weights that calls of functions share are told, and untied where that is asked for', async () => {
  const plan = planTraining(calling('given'), data(3), OPTIONS);
  expect(plan.tied).toEqual([{ name: 'w', saved: 9, nodes: ['one/gemm', 'two/gemm'] }]);
  // The Identity that PyTorch leaves for a bias of zeros too.
  expect([plan.untied, plan.calls, plan.parameters]).toEqual([['b2'], undefined, 15]);
  const untied = planTraining(calling('given'), data(3), { ...OPTIONS, untie: ['w'] });
  expect([untied.tied, untied.calls, untied.parameters]).toEqual([[], ['one', 'two'], 24]);
  const model = calling('given');
  await train(model, data(3), { ...OPTIONS, untie: ['*'], learningRate: 0.05 }).result();
  const [one, , two] = await elements(model);
  expect(one).not.toEqual(two);
});

test('weights that functions hold train', async () => {
  const plan = planTraining(calling('held'), data(3), OPTIONS);
  expect(plan.weights.map(({ name, shape }) => [name, shape])).toEqual([['one/k', [3, 3]]]);
  expect([plan.calls, plan.tied?.map(({ saved }) => saved)]).toEqual([['one', 'two'], [9]]);
  const model = calling('held');
  await train(model, data(3), { ...OPTIONS, untie: ['*'], learningRate: 0.05 }).result();
  const [, , one, two] = await elements(model);
  expect(one).not.toEqual(two);
});

test('a fresh last layer takes the place of one in a function', () => {
  const model = calling('given');
  expect(() => replaceHead(model, { outputs: 2 })).toThrow(
    "node 'two/gemm': the weight of the last layer is no initializer of its own",
  );
  expect(model.functions).toHaveLength(1);
  const plan = planTraining(model, data(2), { ...OPTIONS, untie: ['*'], head: 2 });
  expect(plan.weights.map(({ shape }) => shape)).toEqual([[3, 3], [2], [3], [3, 2]]);
});

test('a model whose only matrices are integers is not trained by its biases without a word', async () => {
  const model = buildModel({
    inputs: [['x', 'float32', ['n', 3]]],
    outputs: [['y', 'float32', ['n', 2]]],
    initializers: [
      Tensor.of('w', 'int8', [3, 2], Int8Array.of(1, -2, 3, -4, 5, -6)),
      floats('s', [], () => 0.01),
      floats('b', [2], () => 0),
    ],
    nodes: [
      { opType: 'DynamicQuantizeLinear', inputs: ['x'], outputs: ['q', 'scale', 'zero'] },
      { opType: 'MatMulInteger', inputs: ['q', 'w', 'zero'], outputs: ['i'] },
      { opType: 'Cast', inputs: ['i'], outputs: ['f'], attributes: { to: { int: 1 } } },
      { opType: 'Mul', inputs: ['f', 'scale'], outputs: ['g'] },
      { opType: 'Mul', inputs: ['g', 's'], outputs: ['h'] },
      { opType: 'Add', inputs: ['h', 'b'], outputs: ['y'] },
    ],
  });
  expect(() => planTraining(model, data(2), OPTIONS)).toThrow(
    /is quantized: 'w' cannot be trained, only biases and scales could/,
  );
});
