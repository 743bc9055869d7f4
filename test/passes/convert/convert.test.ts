import { resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { verifyModels } from '../../../src/analysis/verify/verify.js';
import { check, type Model, type NodeSpec, readModel, Tensor, ValueInfo } from '../../../src/graph/index.js';
import { convertFloats } from '../../../src/passes/convert/convert.js';
import { fixDims } from '../../../src/passes/convert/fix-dims.js';
import { raiseIr, raiseOpset } from '../../../src/passes/convert/raise-opset.js';
import { openSession } from '../../../src/runtime/index.js';
import { buildGraph, buildModel, floats } from '../../support/build.js';

const SHAPES = resolve('fixtures/shapes.onnx');
const dims = { batch: 2 };

interface OneOptions {
  readonly type?: 'float16' | 'float32' | 'float64';
  readonly initializers?: readonly Tensor[];
  readonly functions?: NonNullable<Parameters<typeof buildModel>[0]['functions']>;
}

/** y = resize(relu(x w)) twice as wide, whose scales are float32 in every type, beside an output in between. */
const resized = (): Model =>
  buildModel({
    inputs: [['x', 'float32', ['batch', 1, 4, 4]]],
    outputs: [
      ['y', 'float32', ['batch', 1, 8, 8]],
      ['h', 'float32', ['batch', 1, 4, 4]],
    ],
    nodes: [
      { opType: 'Mul', inputs: ['x', 'w'], outputs: ['m'], name: 'mul' },
      { opType: 'Relu', inputs: ['m'], outputs: ['h'], name: 'relu' },
      { opType: 'Resize', inputs: ['h', '', 'scales'], outputs: ['y'], name: 'resize' },
    ],
    initializers: [floats('w', [4, 4], (i) => Math.cos(i)), floats('scales', [4], (i) => (i < 2 ? 1 : 2))],
  });

describe('half precision', () => {
  test.each([
    ['with its inputs and outputs', false],
    ['inside alone', true],
  ])('computes what float32 does, to its rounding: %s', async (_, keepIo) => {
    for (const model of [await readModel(SHAPES), resized()]) {
      const { model: half, account } = await convertFloats(model, 'float16', { keepIo });
      expect(check(half)).toEqual([]);
      expect(half.graph.inputs.map(({ dataType }) => dataType)).toEqual([keepIo ? 'float32' : 'float16']);
      expect([account.skipped, account.casts > 0]).toEqual([[], keepIo]);
      const verified = await verifyModels(model, half, { dims: model.path === undefined ? dims : undefined });
      expect(verified).toMatchObject({ verdict: 'same', problems: [] });
      expect(verified.outputs[0]!.relativeDifference).toBeGreaterThan(0);
    }
  });

  test('rounds weights once, to the nearest, as onnxruntime does', async () => {
    const model = await readModel(SHAPES);
    const { model: half } = await convertFloats(model, 'float16');
    for (const [name, tensor] of model.graph.initializers) {
      if (tensor.dataType !== 'float32') continue;
      const found = half.graph.initializers.get(name)!;
      expect([found.dataType, found.shape]).toEqual(['float16', tensor.shape]);
      const worst = Math.max(
        ...[...found.floats()].map((value, index) => {
          const exact = tensor.floats()[index] as number;
          return Math.abs(value - exact) / Math.max(Math.abs(exact), 2 ** -14);
        }),
      );
      expect(worst).toBeLessThanOrEqual(2 ** -11);
    }
  });

  test('comes back: half to float32 computes the same', async () => {
    const { model: half } = await convertFloats(await readModel(SHAPES), 'float16');
    for (const keepIo of [false, true]) {
      const { model: whole, account } = await convertFloats(half, 'float32', { keepIo });
      expect(check(whole)).toEqual([]);
      expect([account.weights > 5, account.casts]).toEqual([true, keepIo ? 2 : 0]);
      expect(await verifyModels(half, whole)).toMatchObject({ verdict: 'same', problems: [] });
    }
  });

  test('leaves alone what is excluded, what overflows and what has no such type', async () => {
    const model = resized();
    model.graph.setInitializer(floats('w', [4, 4], (i) => (i === 3 ? 1e6 : 1)));
    const { model: half, account } = await convertFloats(model, 'float16', { exclude: ['Res*'] });
    expect(account.skipped).toEqual([
      { node: 'mul', op: 'Mul', reason: "1 of 16 elements of 'w' are beyond the range of float16" },
      { node: 'resize', op: 'Resize', reason: 'excluded' },
    ]);
    expect(half.graph.initializers.get('w')!.dataType).toBe('float32');
    expect(await verifyModels(model, half, { dims })).toMatchObject({ problems: [] });
    await expect(convertFloats(model, 'float16', { exclude: ['Gemm'] })).rejects.toThrow(/operator or node/);
  });

  test('elements that become 0 are told', async () => {
    const model = resized();
    model.graph.setInitializer(floats('w', [4, 4], (i) => (i < 5 ? 1e-9 : 1)));
    const { account } = await convertFloats(model, 'float16');
    expect(account.vanished).toEqual([{ weight: 'w', elements: 5 }]);
  });

  test('bodies of branches read what they captured in float32', async () => {
    const branch = (op: string) =>
      buildGraph({
        name: op,
        outputs: [['b', 'float32', ['n', 3]]],
        nodes: [{ opType: op, inputs: ['m'], outputs: ['b'] }],
      });
    const model = buildModel({
      inputs: [
        ['x', 'float32', ['n', 3]],
        ['c', 'bool', []],
      ],
      outputs: [['y', 'float32', ['n', 3]]],
      nodes: [
        { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['m'], name: 'mm' },
        {
          opType: 'If',
          inputs: ['c'],
          outputs: ['i'],
          name: 'if',
          attributes: { then_branch: { graph: branch('Relu') }, else_branch: { graph: branch('Neg') } },
        },
        { opType: 'MatMul', inputs: ['i', 'w'], outputs: ['y'], name: 'last' },
      ],
      initializers: [floats('w', [3, 3], (i) => Math.sin(i))],
    });
    const { model: half, account } = await convertFloats(model, 'float16', { keepIo: true });
    expect(account.skipped.map(({ node }) => node)).toEqual(['if']);
    expect(await verifyModels(model, half, { dims: { n: 4 } })).toMatchObject({ verdict: 'same' });
  });

  test('bfloat16 has the bits of float32, rounded', async () => {
    const { model } = await convertFloats(resized(), 'bfloat16');
    const tensor = model.graph.initializers.get('w')!;
    expect([tensor.dataType, check(model)]).toEqual(['bfloat16', []]);
    expect(tensor.floats()[1]).toBeCloseTo(Math.cos(1), 2);
  });
});

describe('dimensions, operator sets, IR versions', () => {
  test('a dimension is fixed wherever it stands, and the model computes the same', async () => {
    const [model, fixed] = [resized(), resized()];
    await fixed.apply(fixDims({ batch: 3 }));
    const shapes = [...fixed.graph.inputs, ...fixed.graph.outputs].map(({ shape }) => shape?.[0]);
    expect([shapes, check(fixed)]).toEqual([[3, 3, 3], []]);
    expect(await verifyModels(fixed, model)).toMatchObject({ verdict: 'same' });
    await expect(fixed.apply(fixDims({ width: 3 }))).rejects.toThrow(
      /no input has an open dimension 'width'/,
    );
    const placed = resized();
    await placed.apply(fixDims({ 'x[0]': 2 }));
    expect(placed.graph.outputs[0]!.shape?.[0]).toBe(2);
  });

  /** Operators that were written otherwise before operator set 13. */
  const old = (): Model =>
    buildModel({
      opset: 11,
      inputs: [['x', 'float32', ['n', 3, 4]]],
      outputs: [['y', 'float32', ['n', 4]]],
      nodes: [
        { opType: 'Softmax', inputs: ['x'], outputs: ['s'], attributes: { axis: { int: 2 } }, name: 'soft' },
        {
          opType: 'ReduceSum',
          inputs: ['s'],
          outputs: ['r'],
          attributes: { axes: { ints: [1] }, keepdims: { int: 1 } },
        },
        { opType: 'Squeeze', inputs: ['r'], outputs: ['y'], attributes: { axes: { ints: [1] } } },
      ],
    });

  test.each([
    18, 21, 23,
  ])('a model raised to operator set %i computes the same, at any size', async (opset) => {
    const raised = await raiseOpset(old(), opset);
    expect([raised.opset(), check(raised)]).toEqual([opset, []]);
    for (const n of [1, 3])
      expect(await verifyModels(old(), raised, { dims: { n } })).toMatchObject({ verdict: 'same' });
    await using session = await openSession(raised);
    expect(session.inputs[0]!.shape).toEqual(['n', 3, 4]);
  });

  const one = (
    opset: number,
    node: NodeSpec,
    shapes: Readonly<Record<string, readonly number[]>>,
    { type = 'float32', initializers = [], functions = [] }: OneOptions = {},
  ): Model =>
    buildModel({
      opset: functions.length > 0 ? { '': opset, my: 1 } : opset,
      inputs: Object.entries(shapes)
        .filter(([name]) => name !== 'y')
        .map(([name, shape]) => [name, type, [...shape]] as const),
      outputs: [['y', type, [...(shapes.y ?? [])]]],
      nodes: [node],
      initializers: [...initializers],
      functions: [...functions],
    });
  const IMAGE = [1, 2, 10, 10];
  const STATISTICS = ['s', 'b', 'm', 'v'].map((name, place) => floats(name, [3], (i) => i + place + 1));
  const inFunction = (nodes: NodeSpec[], opset: number): OneOptions => ({
    functions: [{ domain: 'my', name: 'Part', inputs: ['a'], outputs: ['b'], opset: { '': opset }, nodes }],
  });
  const CALL = { opType: 'Part', domain: 'my', inputs: ['x'], outputs: ['y'] };

  test.each<[string, Model]>([
    [
      'Hardmax over all axes from the second on',
      one(11, { opType: 'Hardmax', inputs: ['x'], outputs: ['y'] }, { x: [2, 3, 4], y: [2, 3, 4] }),
    ],
    [
      'RoiAlign that does not move by half a pixel',
      one(
        10,
        {
          opType: 'RoiAlign',
          inputs: ['x', 'r', 'at'],
          outputs: ['y'],
          attributes: { output_height: { int: 3 }, output_width: { int: 3 }, sampling_ratio: { int: 2 } },
        },
        { x: IMAGE, y: [1, 2, 3, 3] },
        {
          initializers: [
            floats('r', [1, 4], (i) => (i < 2 ? 1 : 6)),
            Tensor.of('at', 'int64', [1], BigInt64Array.of(0n)),
          ],
        },
      ),
    ],
    [
      'BatchNormalization in training mode, told by its outputs',
      one(
        9,
        {
          opType: 'BatchNormalization',
          inputs: ['x', 's', 'b', 'm', 'v'],
          outputs: ['y', 'm1', 'v1', 'sm', 'sv'],
        },
        { x: [4, 3, 5, 5], y: [4, 3, 5, 5] },
        { initializers: STATISTICS },
      ),
    ],
    [
      'limits of Clip in the type of what they limit',
      one(
        9,
        {
          opType: 'Clip',
          inputs: ['x'],
          outputs: ['y'],
          attributes: { min: { float: -0.1 }, max: { float: 0.3 } },
        },
        { x: [3, 4], y: [3, 4] },
        { type: 'float16' },
      ),
    ],
    [
      'the value of Pad in the type of what it pads',
      one(
        9,
        {
          opType: 'Pad',
          inputs: ['x'],
          outputs: ['y'],
          attributes: { pads: { ints: [1, 0, 0, 1] }, value: { float: 2 } },
        },
        { x: [3, 4], y: [4, 5] },
        { type: 'float64' },
      ),
    ],
    [
      'modes of GridSample',
      one(
        16,
        {
          opType: 'GridSample',
          inputs: ['x', 'g'],
          outputs: ['y'],
          attributes: { mode: { string: 'bicubic' } },
        },
        { x: IMAGE, g: [1, 3, 3, 2], y: [1, 2, 3, 3] },
      ),
    ],
    [
      'a function of which nothing changes, which stays',
      one(
        13,
        CALL,
        { x: [2, 3], y: [2, 3] },
        inFunction([{ opType: 'Relu', inputs: ['a'], outputs: ['b'] }], 13),
      ),
    ],
    [
      'Softmax in a function',
      one(
        11,
        CALL,
        { x: [2, 3, 4], y: [2, 3, 4] },
        inFunction([{ opType: 'Softmax', inputs: ['a'], outputs: ['b'] }], 11),
      ),
    ],
    [
      'a reduction in a function',
      one(
        13,
        CALL,
        { x: [2, 3], y: [2, 1] },
        inFunction(
          [{ opType: 'ReduceMean', inputs: ['a'], outputs: ['b'], attributes: { axes: { ints: [1] } } }],
          13,
        ),
      ),
    ],
  ])('%s means the same in operator set 21', async (_, model) => {
    const raised = await raiseOpset(model, 21);
    expect([raised.opset(), check(raised)]).toEqual([21, []]);
    for (const body of raised.functions) expect(body.proto).toMatchObject({ opset_import: [{ domain: '' }] });
    expect(await verifyModels(model, raised)).toMatchObject({ verdict: 'same' });
  });

  test('statistics that are read have no newer form', async () => {
    const norm = one(
      9,
      { opType: 'BatchNormalization', inputs: ['x', 's', 'b', 'm', 'v'], outputs: ['y', 'm1', 'v1'] },
      { x: [4, 3, 5, 5], y: [4, 3, 5, 5] },
      { initializers: STATISTICS },
    );
    norm.graph.addOutput(ValueInfo.tensor('m1', 'float32', [3]));
    await expect(raiseOpset(norm, 21)).rejects.toThrow(
      /statistics that a BatchNormalization in training mode/,
    );
  });

  test('what has no newer form is refused', async () => {
    const flat = old();
    flat.graph.setAttribute(flat.graph.nodes[0]!, 'axis', { int: 1 });
    await expect(raiseOpset(flat, 18)).rejects.toThrow(/Softmax over several axes/);
    await expect(raiseOpset(old(), 17)).rejects.toThrow(/opset must be an integer from 18/);
    await expect(raiseOpset(await raiseOpset(old(), 21), 20)).rejects.toThrow(/at least 21/);
    expect(raiseIr(old(), 10).irVersion).toBe(10);
    expect(() => raiseIr(raiseIr(old(), 10), 9)).toThrow(/ir must be an integer from 10/);
  });

  test('a Tensor of another type stays as it is', async () => {
    const model = buildModel({
      inputs: [['x', 'float64', [2]]],
      outputs: [['y', 'float64', [2]]],
      nodes: [{ opType: 'Add', inputs: ['x', 'd'], outputs: ['y'] }],
      initializers: [Tensor.of('d', 'float64', [2], Float64Array.of(1, 2))],
    });
    const { account } = await convertFloats(model, 'float16');
    expect(account).toMatchObject({ nodes: 0, weights: 0, casts: 0, skipped: [] });
  });
});
