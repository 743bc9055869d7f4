import { describe, expect, test } from 'vitest';
import { check } from '../../../src/graph/check/check.js';
import { ValueInfo } from '../../../src/graph/index.js';
import { type StandardOperator, VERSIONS } from '../../../src/graph/operators/versions.js';
import type { GraphProto } from '../../../src/graph/proto/schema.js';
import { elementTypes } from '../../../src/graph/shapes/types.js';
import { buildModel, infer } from '../../../src/index.js';
import { openSession, type RuntimeTensor } from '../../../src/runtime/index.js';
import { buildModel as buildUntyped } from '../../../src/runtime/session/small-model.js';
import { CASES } from '../../graph/operators/cases.js';
import { floats } from '../../support/build.js';

const notes = (graph: { valueInfo: readonly ValueInfo[] }): Record<string, string> =>
  Object.fromEntries(graph.valueInfo.map((value) => [value.name, value.toString()]));

function sample() {
  return buildModel({
    inputs: [
      ['x', 'float32', ['batch', 3, undefined, 8]],
      ['index', 'int64', [2]],
    ],
    outputs: [
      ['y', 'float32'],
      ['z', 'bool', ['b', 4]],
    ],
    nodes: [
      { opType: 'Conv', inputs: ['x', 'k'], outputs: ['c'], attributes: { pads: { ints: [1, 1, 1, 1] } } },
      { opType: 'GlobalAveragePool', inputs: ['c'], outputs: ['p'] },
      { opType: 'Flatten', inputs: ['p'], outputs: ['f'] },
      { opType: 'Own', domain: 'my.own', inputs: ['f'], outputs: ['o'] },
      { opType: 'TopK', inputs: ['f', 'two'], outputs: ['v', 'i'] },
      { opType: 'Gather', inputs: ['f', 'index'], outputs: ['y'], attributes: { axis: { int: 1 } } },
      { opType: 'Greater', inputs: ['f', 'f'], outputs: ['z'] },
    ],
    initializers: [floats('k', [4, 3, 3, 3]), buildInts('two', [2])],
    values: [['o', 'float32', ['batch', 9]]],
    opset: { '': 17, 'my.own': 1 },
  });
}

function buildInts(name: string, numbers: number[]) {
  const tensor = floats(name, [numbers.length]);
  return (tensor.constructor as typeof import('../../../src/graph/index.js').Tensor).of(
    name,
    'int64',
    [numbers.length],
    BigInt64Array.from(numbers.map(BigInt)),
  );
}

describe('infer', () => {
  test('notes what the nodes make, in names of sizes that inputs have', async () => {
    const model = sample();
    const [account] = await model.apply(infer());
    expect(notes(model.graph)).toEqual({
      c: 'float32[batch, 4, ?, 8]',
      p: 'float32[batch, 4, 1, 1]',
      f: 'float32[batch, 4]',
      o: 'float32[batch, 9]',
      v: 'float32[batch, 2]',
      i: 'int64[batch, 2]',
    });
    expect(model.graph.outputs.map(String)).toEqual(['float32[batch, 2]', 'bool[b, 4]']);
    expect(account).toMatchObject({ values: 8, corrected: [], conflicts: [] });
    expect(account.untold).toEqual([{ value: 'c', node: 'c', op: 'Conv', lacks: 'sizes' }]);
    expect(check(model)).toEqual([]);
  });

  test('changes nothing the second time', async () => {
    const model = sample();
    await model.apply(infer());
    const { revision } = model;
    const [again] = await model.apply(infer());
    expect(again.added).toBe(0);
    expect(model.revision).toBe(revision);
  });

  test('corrects what the file says otherwise, but for outputs', async () => {
    const model = sample();
    const proto = model.graph.proto as GraphProto;
    proto.value_info = [ValueInfo.tensor('f', 'float16', [1, 7]).proto];
    proto.output = [ValueInfo.tensor('y', 'float32', ['batch', 5]).proto, proto.output![1]!];
    model.graph.touch();
    const [account] = await model.apply(infer());
    expect(account.corrected).toEqual([{ value: 'f', noted: 'float16[1, 7]', made: 'float32[batch, 4]' }]);
    expect(account.conflicts).toEqual([
      { value: 'y', noted: 'float32[batch, 5]', made: 'float32[batch, 2]' },
    ]);
    expect(model.graph.outputs[0]?.toString()).toBe('float32[batch, 5]');
  });

  test('notes values of branches and bodies in their own graphs', async () => {
    const branch = (op: string) => ({
      graph: buildModel({
        outputs: [['t', 'float32', [2]]],
        nodes: [
          {
            opType: 'Constant',
            inputs: [],
            outputs: ['s'],
            attributes: { value_floats: { floats: [1, 2] } },
          },
          { opType: op, inputs: ['s'], outputs: ['t'] },
        ],
      }).graph.proto as GraphProto,
    });
    const model = buildModel({
      inputs: [['c', 'bool', []]],
      outputs: [['y', 'float32', [2]]],
      nodes: [
        {
          opType: 'If',
          inputs: ['c'],
          outputs: ['r'],
          attributes: { then_branch: branch('Neg'), else_branch: branch('Abs') },
        },
        { opType: 'Relu', inputs: ['r'], outputs: ['y'] },
      ],
    });
    await model.apply(infer());
    expect(notes(model.graph)).toEqual({ r: 'float32[2]' });
    for (const inner of model.graph.nodes[0]!.subgraphs) expect(notes(inner)).toEqual({ s: 'float32[2]' });
  });
});

test('element types are those of onnxruntime for every operator of the standard, or are not told', async () => {
  const wrong: string[] = [];
  const silent: string[] = [];
  for (const [name, { inputs, attributes = {}, outputs = 1 }] of Object.entries(CASES)) {
    const versions: readonly number[] = VERSIONS[name as StandardOperator];
    const isOld = name === 'Upsample' || name === 'Scatter';
    const names = inputs.map((input, i) => (input === '' ? '' : `x${i}`));
    const given = inputs.flatMap((input, i) => (input === '' ? [] : [{ name: `x${i}`, input }]));
    const model = buildUntyped({
      nodes: [
        {
          opType: name,
          inputs: names,
          outputs: Array.from({ length: outputs }, (_, i) => `y${i}`),
          attributes,
        },
      ],
      inputs: given.map(({ name: own, input }) => ValueInfo.tensor(own, input.dataType, input.shape)),
      outputs: Array.from({ length: outputs }, (_, i) => `y${i}`),
      opset: isOld ? versions.at(-1)! - 1 : Math.max(21, versions[0]!),
      irVersion: 10,
    });
    const told = elementTypes(model.graph);
    await using session = await openSession(model, { optimization: 'disabled' });
    const feeds = given.map(
      ({ name: own, input }) =>
        [own, { type: input.dataType, shape: input.shape, data: input.array() }] as const,
    );
    const results = await session.run(Object.fromEntries(feeds) as Record<string, RuntimeTensor>);
    for (const output of model.graph.nodes[0]!.outputs) {
      const [found, real] = [told.get(output), results[output]!.type];
      if (found === undefined) silent.push(`${name} ${output}`);
      else if (found !== real) wrong.push(`${name} ${output}: ${found}, not ${real}`);
    }
  }
  expect(wrong).toEqual([]);
  expect(silent).toEqual([]);
});
