import { describe, expect, it } from 'vitest';
import { type DataType, type Model, type NodeSpec, Tensor } from '../../../src/graph/index.js';
import { evaluate, openSession, RUNTIME_TYPES, randomInputs } from '../../../src/runtime/index.js';
import { modelOf, numbers, type Typed } from '../helpers.js';

const identities = (types: readonly DataType[], shape: readonly (number | string)[]) =>
  modelOf(
    types.map((type) => ({ opType: 'Identity', inputs: [`x_${type}`], outputs: [`y_${type}`] })),
    types.map((type) => [`x_${type}`, type, shape] as const),
    types.map((type) => [`y_${type}`, type, shape] as const),
  );

/** x -> nodes -> y, of integers that some node takes as indices. */
const indexed = (opType: string, attributes: Record<string, { int: number }> = {}, indexShape = [1000]) =>
  modelOf(
    [
      { opType: 'Cast', inputs: ['ids'], outputs: ['wide'], attributes: { to: { int: 7 } } },
      { opType: 'Identity', inputs: ['wide'], outputs: ['same'] },
      { opType, inputs: ['table', 'same'], outputs: ['y'], attributes },
    ],
    [['ids', 'int32', indexShape]],
    [['y', 'float32']],
    [Tensor.of('table', 'float32', [40, 3], numbers(120))],
  );

const values = (model: Parameters<typeof randomInputs>[0], name: string): number[] =>
  Array.from(randomInputs(model)[name]!.data as Int32Array, Number);

describe('randomInputs', () => {
  it('makes every type that can be fed, and onnxruntime gives it back as it was', async () => {
    const model = identities(RUNTIME_TYPES, ['n', 3]);
    const feeds = randomInputs(model, { dims: { n: 5 } });
    await using session = await openSession(model);
    const outputs = await session.run(feeds);
    for (const type of RUNTIME_TYPES) {
      expect(feeds[`x_${type}`]).toMatchObject({ type, shape: [5, 3] });
      expect(outputs[`y_${type}`], type).toEqual(feeds[`x_${type}`]);
    }
  });

  it('gives the same for the same seed, and each input its own stream', () => {
    const both = identities(['float32', 'int64'], [8]);
    const one = identities(['int64'], [8]);
    expect(randomInputs(both, { seed: 3 })).toEqual(randomInputs(both, { seed: 3 }));
    expect(randomInputs(both, { seed: 3 })).not.toEqual(randomInputs(both, { seed: 4 }));
    expect(randomInputs(both).x_int64).toEqual(randomInputs(one).x_int64);
  });

  it('sizes open dimensions by name or place, 1 where nothing is said, and refuses names that no input has', () => {
    const model = modelOf(
      [{ opType: 'Add', inputs: ['a', 'b'], outputs: ['y'] }],
      [
        ['a', 'float32', ['batch', undefined, 'length']],
        ['b', 'float32', ['batch', 2, 'length']],
      ],
      [['y', 'float32']],
    );
    const feeds = randomInputs(model, { dims: { batch: 4 } });
    expect([feeds.a!.shape, feeds.b!.shape]).toEqual([
      [4, 1, 1],
      [4, 2, 1],
    ]);
    expect(randomInputs(model, { dims: { 'a[1]': 3, 'a[2]': 2, length: 5 } }).a!.shape).toEqual([1, 3, 2]);
    expect(() => randomInputs(model, { dims: { 'b[1]': 3 } })).toThrow(
      "no input has an open dimension 'b[1]'",
    );
    expect(() => randomInputs(model, { dims: { bacth: 4 } })).toThrow(
      "no input has an open dimension 'bacth'; those are 'batch', 'a[1]', 'length'",
    );
    expect(() => randomInputs(model, { dims: { batch: 1.5 } })).toThrow("'batch' cannot be 1.5");
    expect(() => randomInputs(identities(['bool'], [1]), { dims: { n: 1 } })).toThrow('there are none');
  });

  it('does not feed initializers that are listed as inputs', () => {
    const model = modelOf(
      [{ opType: 'Add', inputs: ['a', 'w'], outputs: ['y'] }],
      [
        ['a', 'float32', [1]],
        ['w', 'float32', [1]],
      ],
      [['y', 'float32']],
      [Tensor.of('w', 'float32', [1], Float32Array.of(1))],
    );
    expect(Object.keys(randomInputs(model))).toEqual(['a']);
  });

  it.each([
    ['Gather', { axis: { int: 0 } }, 40],
    ['Gather', { axis: { int: -1 } }, 3],
    ['GatherElements', { axis: { int: 1 } }, 3],
  ] as const)('keeps indices of %s (%o) below %i, through what moves them about', (opType, attributes, bound) => {
    const ids = values(indexed(opType, attributes), 'ids');
    expect(Math.max(...ids)).toBe(bound - 1);
    expect(Math.min(...ids)).toBe(0);
  });

  it('keeps indices of GatherND and OneHot within bounds', () => {
    expect(Math.max(...values(indexed('GatherND', {}, [500, 1]), 'ids'))).toBeLessThan(40);
    const oneHot = modelOf(
      [{ opType: 'OneHot', inputs: ['ids', 'depth', 'values'], outputs: ['y'] }],
      [['ids', 'int64', [500]]],
      [['y', 'float32']],
      [
        Tensor.of('depth', 'int64', [], BigInt64Array.of(4n)),
        Tensor.of('values', 'float32', [2], Float32Array.of(0, 1)),
      ],
    );
    expect(new Set(values(oneHot, 'ids'))).toEqual(new Set([0, 1, 2, 3]));
  });

  const constant = (name: string, values: readonly number[]): Tensor =>
    Tensor.of(name, 'int64', [values.length], BigInt64Array.from(values, BigInt));
  const whole = (name: string, shape: readonly number[]): Typed => [name, 'int64', shape];
  const rows = ['x', 'float32', ['batch', 'seq', 5]] as const;
  const op = (opType: string, inputs: string[], attributes = {}): NodeSpec => ({
    opType,
    inputs,
    outputs: ['y'],
    attributes,
  });
  const runs: Record<string, Model> = {
    'indices within an open axis': modelOf(
      [op('Gather', ['x', 'i'], { axis: { int: 1 } })],
      [rows, whole('i', [30])],
      [['y', 'float32']],
    ),
    'indices of a value of unknown shape': modelOf(
      [
        { opType: 'Compress', inputs: ['x', 'c'], outputs: ['t'], attributes: { axis: { int: 0 } } },
        op('Gather', ['t', 'i'], { axis: { int: 2 } }),
      ],
      [rows, whole('i', [30])],
      [['y', 'float32']],
      [Tensor.of('c', 'bool', [1], Uint8Array.of(1))],
    ),
    'indices that come as floats': modelOf(
      [
        { opType: 'Cast', inputs: ['f'], outputs: ['i'], attributes: { to: { int: 7 } } },
        op('Gather', ['x', 'i'], { axis: { int: 2 } }),
      ],
      [rows, ['f', 'float32', [30]]],
      [['y', 'float32']],
    ),
    'indices of several axes': modelOf(
      [op('GatherND', ['x', 'i'])],
      [rows, whole('i', [20, 3])],
      [['y', 'float32']],
    ),
    k: modelOf(
      [{ opType: 'TopK', inputs: ['x', 'k'], outputs: ['y', 'at'] }],
      [rows, whole('k', [1])],
      [
        ['y', 'float32'],
        ['at', 'int64'],
      ],
    ),
    'lengths of sequences': modelOf(
      [op('ReverseSequence', ['x', 'l'], { time_axis: { int: 1 }, batch_axis: { int: 0 } })],
      [rows, whole('l', [1])],
      [['y', 'float32']],
    ),
    'lengths of sequences of an LSTM': modelOf(
      [
        {
          opType: 'LSTM',
          inputs: ['x', 'w', 'r', '', 'l'],
          outputs: ['y'],
          attributes: { hidden_size: { int: 2 } },
        },
      ],
      [
        ['x', 'float32', ['seq', 3, 5]],
        ['l', 'int32', [3]],
      ],
      [['y', 'float32']],
      [Tensor.of('w', 'float32', [1, 8, 5], numbers(40)), Tensor.of('r', 'float32', [1, 8, 2], numbers(16))],
    ),
    axes: modelOf([op('ReduceSum', ['x', 'a'])], [rows, whole('a', [2])], [['y', 'float32']]),
    'axes of size 1': modelOf([op('Squeeze', ['x', 'a'])], [rows, whole('a', [2])], [['y', 'float32']]),
    'an axis': modelOf([op('CumSum', ['x', 'a'])], [rows, whole('a', [1])], [['y', 'float32']]),
    'a slice': modelOf(
      [op('Slice', ['x', 'from', 'to', 'axes', 'step'])],
      [rows, ...['from', 'to', 'axes', 'step'].map((name) => whole(name, [2]))],
      [['y', 'float32']],
    ),
    'a shape': modelOf([op('Reshape', ['x', 's'])], [rows, whole('s', [4])], [['y', 'float32']]),
    'a part of a shape': modelOf(
      [
        { opType: 'Concat', inputs: ['n', 'five'], outputs: ['s'], attributes: { axis: { int: 0 } } },
        op('Expand', ['x', 's']),
      ],
      [rows, whole('n', [1])],
      [['y', 'float32']],
      [constant('five', [5])],
    ),
    sizes: modelOf(
      [{ ...op('Resize', ['x', '', '', 's']), attributes: { mode: { string: 'nearest' } } }],
      [['x', 'float32', ['n', 3, 4, 4]], whole('s', [4])],
      [['y', 'float32']],
    ),
    scales: modelOf(
      [{ ...op('Resize', ['x', '', 's']), attributes: { mode: { string: 'nearest' } } }],
      [
        ['x', 'float32', ['n', 3, 4, 4]],
        ['s', 'float32', [4]],
      ],
      [['y', 'float32']],
    ),
    'labels of classes': modelOf(
      [op('SoftmaxCrossEntropyLoss', ['p', 'labels'])],
      [
        ['p', 'float32', [50, 3]],
        ['labels', 'int64', [50]],
      ],
      [['y', 'float32']],
    ),
    'a divisor': modelOf([op('Div', ['n', 'd'])], [whole('n', [200]), whole('d', [200])], [['y', 'int64']]),
    'repeats and pads': modelOf(
      [{ opType: 'Tile', inputs: ['x', 'r'], outputs: ['t'] }, op('Pad', ['t', 'p'])],
      [rows, whole('r', [3]), whole('p', [6])],
      [['y', 'float32']],
    ),
    parts: modelOf(
      [{ opType: 'Split', inputs: ['x', 's'], outputs: ['y', 'z'], attributes: { axis: { int: 2 } } }],
      [rows, whole('s', [2])],
      [
        ['y', 'float32'],
        ['z', 'float32'],
      ],
    ),
  };
  it.each(Object.entries(runs))('makes %s that onnxruntime takes', async (_, model) => {
    for (const seed of [0, 1, 2]) {
      for (const seq of [1, 4]) {
        const isOpen = model.graph.inputs.some(({ shape }) => shape?.includes('seq'));
        if (seq > 1 && (!isOpen || model.graph.nodes.some((node) => node.is('Squeeze')))) continue;
        const dims = isOpen ? { seq } : {};
        await evaluate(model, randomInputs(model, { seed, dims }));
      }
    }
  });

  it('uses all of an open axis', () => {
    const model = runs['indices within an open axis']!;
    expect(new Set(values(model, 'i'))).toEqual(new Set([0]));
    const ids = Array.from(randomInputs(model, { dims: { seq: 7 } }).i!.data as BigInt64Array, Number);
    expect(Math.max(...ids)).toBe(6);
  });

  it('makes masks of 0 and 1, images of bytes, and other integers small', () => {
    const model = modelOf(
      ['attention_mask', 'image', 'other'].map((name) => ({
        opType: 'Identity',
        inputs: [name],
        outputs: [`${name}_y`],
      })),
      [
        ['attention_mask', 'int64', [1000]],
        ['image', 'uint8', [1, 40, 40]],
        ['other', 'int32', [1000]],
      ],
      [],
    );
    expect(Math.max(...values(model, 'attention_mask'))).toBe(1);
    expect(Math.max(...values(model, 'image'))).toBeGreaterThan(200);
    expect(Math.max(...values(model, 'other'))).toBe(9);
  });

  it('refuses what cannot be made', () => {
    expect(() => randomInputs(identities(['complex64'], [1]))).toThrow("input 'x_complex64' is complex64[1]");
    const rankless = modelOf([], [['x', 'float32']], []);
    expect(() => randomInputs(rankless)).toThrow("input 'x' has no shape");
  });
});
