import { expect, test } from 'vitest';
import type { AttributeValue, Model, NodeSpec } from '../../../src/graph/index.js';
import { collapsed, expanded, expectSameFunction, structuralDifferences } from '../laws.js';
import { opsOf, stack, weight } from '../models.js';

const ints = (...values: number[]): AttributeValue => ({ ints: values });

function layer(
  opType: string,
  x: readonly number[],
  w: readonly number[],
  rest: Partial<NodeSpec> = {},
): Model {
  const node = { opType, name: 'layer', inputs: ['x', 'w'], outputs: ['y'], ...rest };
  return stack(x, [node], [weight('w', w), weight('b', [4])]);
}

const CASES: Record<string, Model> = {
  kernels: layer('Conv', [1, 4, 12, 12], [4, 4, 5, 5], {
    inputs: ['x', 'w', 'b'],
    attributes: { strides: ints(2, 1), pads: ints(1, 2, 3, 0), dilations: ints(1, 2) },
  }),
  'grouped kernels': layer('Conv', [1, 4, 12], [4, 2, 5], {
    attributes: { group: { int: 2 }, auto_pad: { string: 'SAME_LOWER' } },
  }),
  // onnxruntime begins behind the first element here, which no pads say.
  'elements far apart': layer('Conv', [1, 4, 8], [4, 4, 1], {
    attributes: { auto_pad: { string: 'SAME_UPPER' }, strides: ints(4) },
  }),
  'transposed convolutions': layer('ConvTranspose', [1, 4, 5, 5], [4, 2, 3, 3], {
    inputs: ['x', 'w', 'b'],
    attributes: {
      group: { int: 2 },
      strides: ints(2, 2),
      output_padding: ints(1, 0),
      pads: ints(1, 0, 1, 1),
    },
  }),
  batches: layer('MatMul', [3, 2, 5], [3, 5, 4]),
  'batches on the left': layer('MatMul', [5, 2], [3, 4, 5], { inputs: ['w', 'x'] }),
};

// Fresh weights stand for those of a training: no factor is special.
test.each(
  Object.entries(CASES),
)('a trained chain of %s folds to one node that computes it', async (_, model) => {
  for (const [depth, kernelSizes] of [
    [2, [[3, 3]]],
    [3, [[2, 2, 3, 1]]],
  ] as const) {
    const { model: trained } = await expanded(model, { depth, width: 2, init: 'fresh:normal', kernelSizes });
    expect(opsOf(trained).length).toBeGreaterThan(1);
    const { model: folded, account } = await collapsed(trained);
    expect(account.rewritten).toMatchObject([{ by: 'metadata', node: 'layer' }]);
    const [before] = model.graph.nodes;
    const [after, ...others] = folded.graph.nodes;
    expect(others).toEqual([]);
    expect([after!.opType, after!.inputs, after!.attributes.names()]).toEqual([
      before!.opType,
      before!.inputs,
      before!.attributes.names(),
    ]);
    expect(folded.graph.initializers.get('w')!.shape).toEqual(model.graph.initializers.get('w')!.shape);
    await expectSameFunction(trained, folded);
  }
});

test('a chain of kernels that training gave other strides or pads is not taken for what it was', async () => {
  const model = CASES.kernels!;
  const { model: changed } = await expanded(model, { kernelSizes: [[3, 3]], width: 4 });
  const [first, second] = changed.graph.nodes;
  changed.graph.setAttribute(first!, 'pads', ints(2, 2, 2, 2));
  changed.graph.setAttribute(second!, 'strides', undefined);
  const { model: folded } = await collapsed(changed);
  expect(opsOf(folded)).toEqual(['Conv']);
  expect(folded.graph.nodes[0]!.attributes.ints('pads')).toEqual([2, 2, 2, 2]);
  await expectSameFunction(changed, folded);
  // A kernel that is padded behind another is no one kernel.
  const { model: padded } = await expanded(model, { kernelSizes: [[3, 3]], width: 4 });
  padded.graph.setAttribute(padded.graph.nodes[1]!, 'pads', ints(1, 1, 1, 1));
  const { account } = await collapsed(padded);
  expect(account.rewritten).toEqual([]);
  expect(account.skipped.map(({ reason }) => reason).join()).toMatch(/a kernel behind its first is padded/);
});

test.each(
  Object.entries(CASES),
)('a chain of %s that was expanded again folds one expansion at a time', async (_, model) => {
  const options = { kernelSizes: [[3, 3]], width: 4 };
  const once = await expanded(model, options);
  const twice = await expanded(once.model, { depth: 2, width: 1 });
  expect(twice.account.rewritten).toHaveLength(2);
  await expectSameFunction(model, twice.model);
  const { model: back } = await collapsed(twice.model);
  expect(structuralDifferences(once.model, back)).toEqual([]);
  const { model: whole } = await collapsed(back);
  expect(structuralDifferences(model, whole)).toEqual([]);
  await expectSameFunction(model, whole);
});
