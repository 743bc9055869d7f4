import { expect, test } from 'vitest';
import { modelToBytes, readModel, Tensor } from '../../src/graph/index.js';
import { floatText, printModel } from '../../src/graph/print.js';
import { buildGraph, buildModel, floats, ints } from '../support/build.js';

function sample() {
  const branch = (name: string) =>
    buildGraph({
      name,
      nodes: [{ opType: 'Neg', inputs: ['h'], outputs: [`${name}_out`] }],
      outputs: [[`${name}_out`, 'float32']],
    });
  return buildModel({
    opset: { '': 17, local: 1 },
    inputs: [
      ['x', 'float32', ['batch', 3, 8, undefined]],
      ['flag', 'bool', []],
    ],
    outputs: [['y', 'float32']],
    values: [['h', 'float32', ['batch', 4]]],
    initializers: [
      floats('w', [4, 3, 3, 3]),
      Tensor.of('half', 'float16', [3], Uint16Array.of(0x3c00, 0x8000, 0x7c00)),
      ints('shape', [2n ** 60n, -1]),
    ],
    nodes: [
      {
        opType: 'Conv',
        inputs: ['x', 'w', ''],
        outputs: ['h'],
        name: 'conv 1',
        attributes: { pads: { ints: [1, 1, 1, 1] }, group: { int: 1 }, auto_pad: { string: 'NOTSET' } },
        metadata: { origin: 'layer1' },
        docString: 'at line\n1',
      },
      {
        opType: 'Constant',
        inputs: [],
        outputs: ['c'],
        attributes: { value: { tensor: ints('', [1, 2]) }, scale: { float: 0.1 } },
      },
      { opType: 'Constant', inputs: [], outputs: ['d'], attributes: { value: { tensor: floats('', [9]) } } },
      {
        opType: 'If',
        inputs: ['flag'],
        outputs: ['z'],
        name: 'if',
        attributes: { then_branch: { graph: branch('then') }, else_branch: { graph: branch('else') } },
      },
      { opType: 'Twice', domain: 'local', inputs: ['z'], outputs: ['y', ''], name: 'twice' },
    ],
    functions: [
      {
        domain: 'local',
        name: 'Twice',
        overload: '',
        inputs: ['i'],
        outputs: ['o'],
        attributes: ['alpha'],
        nodes: [{ opType: 'Add', inputs: ['i', 'i'], outputs: ['o'] }],
      },
    ],
    metadata: { author: 'me' },
  });
}

test('everything that a model says, in the order of the file', () => {
  expect(printModel(sample())).toMatchInlineSnapshot(`
    "ir_version 8, opset ai.onnx 17, local 1
    metadata author = "me"
    graph main {
      input %x: float32[batch, 3, 8, ?]
      input %flag: bool[]
      output %y: float32
      value %h: float32[batch, 4]
      initializer %w: float32[4, 3, 3, 3]
      initializer %half: float16[3]
      initializer %shape: int64[2]
      %h = Conv[auto_pad="NOTSET", group=1, pads=[1, 1, 1, 1]](%x, %w, _)  # "conv 1"
        doc "at line\\n1"
        metadata origin = "layer1"
      %c = Constant[scale=0.1, value=int64[2] = [1, 2]]()
      %d = Constant[value=float32[9]]()
      %z = If[else_branch=graph else, then_branch=graph then](%flag)  # if
        else_branch else {
          output %else_out: float32
          %else_out = Neg(%h)
        }
        then_branch then {
          output %then_out: float32
          %then_out = Neg(%h)
        }
      %y, _ = local.Twice(%z)  # twice
    }
    function local.Twice[alpha](%i) -> (%o) {
      opset ai.onnx 17
      %o = Add(%i, %i)
    }
    "
  `);
});

test('with weights: values of small tensors, digests of large ones', () => {
  const lines = printModel(sample(), { weights: true })
    .split('\n')
    .filter((line) => line.includes('initializer'));
  expect(lines).toMatchInlineSnapshot(`
    [
      "  initializer %w: float32[4, 3, 3, 3] = sha256:87ddbe1e06ea8fcd",
      "  initializer %half: float16[3] = [1, -0, Infinity]",
      "  initializer %shape: int64[2] = [1152921504606846976, -1]",
    ]
  `);
});

test('is the same for a model that was written and read, and for its weights in any form', async () => {
  const model = sample();
  const again = await readModel(modelToBytes(model));
  for (const weights of [false, true])
    expect(printModel(again, { weights })).toBe(printModel(model, { weights }));
});

test('reads no weights unless asked to', () => {
  const source = {
    length: 400,
    read: () => {
      throw new Error('read');
    },
  };
  const model = buildModel({ nodes: [], initializers: [Tensor.of('w', 'float32', [100], source)] });
  expect(printModel(model)).toContain('initializer %w: float32[100]\n');
});

test('floats are the shortest text that reads back', () => {
  expect(
    [0.1, 1e-45, 3.4028234663852886e38, -0, 1, Number.POSITIVE_INFINITY, Number.NaN].map((value) =>
      floatText(Math.fround(value)),
    ),
  ).toEqual(['0.1', '1e-45', '3.4028235e+38', '-0', '1', 'Infinity', 'NaN']);
  expect(floatText(0.1)).toBe('0.1');
});

test('names and texts reach a terminal without characters that steer it, and read back as they were', () => {
  const steering = ['a\u0007b', 'a\u009b31mb', 'a\u007fb', 'a\u202eb', 'a\u{e0001}b', '\u001b[31m'];
  for (const name of steering) {
    const model = buildModel({
      inputs: [[name, 'float32', [1]]],
      outputs: [['y', 'float32', [1]]],
      nodes: [{ opType: 'Neg', inputs: [name], outputs: ['y'], attributes: { text: { string: name } } }],
    });
    const text = printModel(model);
    expect(text.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    const [, printed = ''] = /input %("(?:[^"\\]|\\.)*")/.exec(text) ?? [];
    expect(JSON.parse(printed)).toBe(name);
  }
});
