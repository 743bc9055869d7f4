import { expect, test } from 'vitest';
import { type NodeSpec, printModel } from '../../src/graph/index.js';
import { collapsed, expanded } from './laws.js';
import { stack, weight } from './models.js';

const nodes: NodeSpec[] = [
  {
    opType: 'Conv',
    name: 'conv1',
    inputs: ['x', 'conv1.weight', 'conv1.bias'],
    outputs: ['h'],
    attributes: {
      group: { int: 2 },
      kernel_shape: { ints: [3, 3] },
      pads: { ints: [1, 1, 1, 1] },
      strides: { ints: [2, 2] },
    },
  },
  { opType: 'Relu', name: 'relu', inputs: ['h'], outputs: ['r'] },
  { opType: 'GlobalMaxPool', name: 'pool', inputs: ['r'], outputs: ['p'] },
  { opType: 'Flatten', name: 'flatten', inputs: ['p'], outputs: ['f'] },
  { opType: 'Transpose', name: 'turn', inputs: ['fc.weight'], outputs: ['fc.turned'] },
  {
    opType: 'Gemm',
    name: 'fc',
    inputs: ['f', 'fc.turned', 'fc.bias'],
    outputs: ['y'],
    attributes: { alpha: { float: 0.5 } },
  },
];
const model = stack([1, 4, 8, 8], nodes, [
  weight('conv1.weight', [6, 2, 3, 3]),
  weight('conv1.bias', [6]),
  weight('fc.weight', [5, 6]),
  weight('fc.bias', [5]),
]);

test('an expanded model, printed', async () => {
  const { model: after } = await expanded(model, { depth: 3, width: 2 });
  expect(printModel(after)).toMatchInlineSnapshot(`
    "ir_version 8, opset ai.onnx 17
    graph main {
      input %x: float32[1, 4, 8, 8]
      output %y: float32
      initializer %conv1.weight/overparam/0: float32[12, 2, 3, 3]
      initializer %conv1.weight/overparam/1: float32[12, 6, 1, 1]
      initializer %conv1.weight/overparam/2: float32[6, 6, 1, 1]
      initializer %conv1.bias: float32[6]
      initializer %fc.turned/overparam/0: float32[6, 10]
      initializer %fc.turned/overparam/1: float32[10, 10]
      initializer %fc.turned/overparam/2: float32[10, 5]
      initializer %fc.bias: float32[5]
      %conv1/overparam/0/out = Conv[group=2, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]](%x, %conv1.weight/overparam/0)  # conv1/overparam/0
        metadata onnx-overparam = "{\\"site\\":\\"conv1\\",\\"factor\\":0,\\"of\\":3,\\"weight\\":\\"conv1.weight\\"}"
      %conv1/overparam/1/out = Conv[group=2, kernel_shape=[1, 1]](%conv1/overparam/0/out, %conv1.weight/overparam/1)  # conv1/overparam/1
        metadata onnx-overparam = "{\\"site\\":\\"conv1\\",\\"factor\\":1,\\"of\\":3,\\"weight\\":\\"conv1.weight\\"}"
      %h = Conv[group=2, kernel_shape=[1, 1]](%conv1/overparam/1/out, %conv1.weight/overparam/2, %conv1.bias)  # conv1/overparam/2
        metadata onnx-overparam = "{\\"site\\":\\"conv1\\",\\"factor\\":2,\\"of\\":3,\\"weight\\":\\"conv1.weight\\"}"
      %r = Relu(%h)  # relu
      %p = GlobalMaxPool(%r)  # pool
      %f = Flatten(%p)  # flatten
      %fc/overparam/0/out = Gemm(%f, %fc.turned/overparam/0)  # fc/overparam/0
        metadata onnx-overparam = "{\\"site\\":\\"fc\\",\\"factor\\":0,\\"of\\":3,\\"weight\\":\\"fc.turned\\",\\"source\\":{\\"fragment\\":\\"CicKCWZjLndlaWdodBIJZmMudHVybmVkGgR0dXJuIglUcmFuc3Bvc2U=\\",\\"root\\":{\\"name\\":\\"fc.weight\\",\\"dataType\\":\\"float32\\",\\"shape\\":[5,6],\\"isConstantNode\\":false}}}"
      %fc/overparam/1/out = Gemm(%fc/overparam/0/out, %fc.turned/overparam/1)  # fc/overparam/1
        metadata onnx-overparam = "{\\"site\\":\\"fc\\",\\"factor\\":1,\\"of\\":3,\\"weight\\":\\"fc.turned\\"}"
      %y = Gemm[alpha=0.5](%fc/overparam/1/out, %fc.turned/overparam/2, %fc.bias)  # fc/overparam/2
        metadata onnx-overparam = "{\\"site\\":\\"fc\\",\\"factor\\":2,\\"of\\":3,\\"weight\\":\\"fc.turned\\"}"
    }
    "
  `);
});

test('the collapsed model, printed', async () => {
  const { model: after } = await expanded(model, { depth: 3, width: 2 });
  const { model: restored, account } = await collapsed(after);
  expect(printModel(restored)).toMatchInlineSnapshot(`
    "ir_version 8, opset ai.onnx 17
    graph main {
      input %x: float32[1, 4, 8, 8]
      output %y: float32
      initializer %conv1.weight: float32[6, 2, 3, 3]
      initializer %conv1.bias: float32[6]
      initializer %fc.bias: float32[5]
      initializer %fc.weight: float32[5, 6]
      %h = Conv[group=2, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]](%x, %conv1.weight, %conv1.bias)  # conv1
      %r = Relu(%h)  # relu
      %p = GlobalMaxPool(%r)  # pool
      %f = Flatten(%p)  # flatten
      %fc.turned = Transpose(%fc.weight)  # turn
      %y = Gemm[alpha=0.5](%f, %fc.turned, %fc.bias)  # fc
    }
    "
  `);
  expect(account).toMatchInlineSnapshot(`
    {
      "inlined": [],
      "rewritten": [
        {
          "by": "metadata",
          "from": [
            "conv1/overparam/0",
            "conv1/overparam/1",
            "conv1/overparam/2",
          ],
          "fromOps": [
            "Conv",
            "Conv",
            "Conv",
          ],
          "multiplyAddsAfter": 108,
          "multiplyAddsBefore": 324,
          "node": "conv1",
          "nodesAfter": 1,
          "op": "Conv",
          "parametersAfter": 114,
          "parametersBefore": 330,
        },
        {
          "by": "metadata",
          "from": [
            "fc/overparam/0",
            "fc/overparam/1",
            "fc/overparam/2",
          ],
          "fromOps": [
            "Gemm",
            "Gemm",
            "Gemm",
          ],
          "multiplyAddsAfter": 30,
          "multiplyAddsBefore": 210,
          "node": "fc",
          "nodesAfter": 1,
          "op": "Gemm",
          "parametersAfter": 35,
          "parametersBefore": 215,
        },
      ],
      "skipped": [],
    }
  `);
});
