import { expect, test } from 'vitest';
import type { Model, NodeSpec } from '../../../src/graph/index.js';
import { buildModel } from '../../support/build.js';
import { collapsed, expectSameFunction } from '../laws.js';
import { opsOf, stack, weight } from '../models.js';

test('a bias that matrix products share is not copied', async () => {
  const product = (name: string, w: string, x: string, y: string): NodeSpec[] => [
    { opType: 'MatMul', name, inputs: [x, w], outputs: [`${name}.h`] },
    { opType: 'Add', name: `${name}.add`, inputs: [`${name}.h`, 'b'], outputs: [y] },
  ];
  const between: NodeSpec = { opType: 'Relu', name: 'relu', inputs: ['u'], outputs: ['v'] };
  const nodes = [...product('first', 'w', 'x', 'u'), between, ...product('second', 'v.w', 'v', 'y')];
  const own = [weight('w', [6, 6]), weight('v.w', [6, 6]), weight('b', [6])];
  const shared = nodes.map((node) => ({ ...node, inputs: node.inputs.map((i) => (i === 'v.w' ? 'w' : i)) }));
  for (const [model, size] of [
    [stack([2, 6], nodes, own), 78],
    [stack([2, 6], shared, [own[0]!, own[2]!]), 42],
  ] as const) {
    const { model: folded, account } = await collapsed(model);
    expect(opsOf(folded)).toEqual(['Gemm', 'Relu', 'Gemm']);
    expect(folded.graph.nodes.map(({ inputs }) => inputs[2])).toEqual(['b', undefined, 'b']);
    expect(sizeOf(folded)).toBe(size);
    const counted = (key: 'parametersBefore' | 'parametersAfter'): number =>
      account.rewritten.reduce((sum, row) => sum + row[key], 0);
    expect([counted('parametersBefore'), counted('parametersAfter')]).toEqual([size, size]);
    await expectSameFunction(model, folded);
  }
});

test('an embedding that is tied to a head behind a Transpose is not copied', async () => {
  const model = buildModel({
    inputs: [['ids', 'int64', [3]]],
    outputs: [['y', 'float32']],
    nodes: [
      { opType: 'Gather', name: 'embed', inputs: ['e', 'ids'], outputs: ['h'] },
      { opType: 'Transpose', name: 't', inputs: ['e'], outputs: ['et'] },
      { opType: 'MatMul', name: 'fc', inputs: ['h', 'w'], outputs: ['g'] },
      { opType: 'MatMul', name: 'head', inputs: ['g', 'et'], outputs: ['y'] },
    ],
    initializers: [weight('e', [9, 6]), weight('w', [6, 6])],
  });
  for (const chainsOnly of [true, false]) {
    const { model: folded, account } = await collapsed(model, { chainsOnly });
    expect(account.rewritten).toEqual([]);
    expect(sizeOf(folded)).toBe(sizeOf(model));
    if (!chainsOnly)
      expect(account.skipped).toMatchObject([
        { node: 'fc, head', reason: "its weight 'et' is also read by 'embed', so that there would be two" },
      ]);
  }
});

function sizeOf(model: Model): number {
  return [...model.graph.initializers.values()].reduce((sum, { size }) => sum + size, 0);
}
