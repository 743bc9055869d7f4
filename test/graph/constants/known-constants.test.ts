import { describe, expect, test } from 'vitest';
import { isConstant, KnownConstants, type Model } from '../../../src/graph/index.js';
import { computedConstants } from '../../../src/runtime/constants/computed-constants.js';
import { evaluateConstant } from '../../../src/runtime/constants/constant.js';
import { buildModel, floats, ints } from '../../support/build.js';

/** A weight that is a product, turned; and a shape that nodes compute. */
function model(): Model {
  return buildModel({
    opset: 17,
    inputs: [['x', 'float32', [2, 4]]],
    outputs: [['z', 'float32']],
    nodes: [
      { opType: 'MatMul', inputs: ['a', 'b'], outputs: ['ab'] },
      { opType: 'Transpose', inputs: ['ab'], outputs: ['w'] },
      { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] },
      { opType: 'Mul', inputs: ['two', 'three'], outputs: ['six'] },
      { opType: 'Reshape', inputs: ['y', 'six'], outputs: ['z'] },
    ],
    initializers: [floats('a', [3, 5]), floats('b', [5, 4]), ints('two', [2]), ints('three', [3])],
  });
}

describe('known constants', () => {
  test('have the shape and the leaves of products, as a run makes them', async () => {
    const { graph } = model();
    const found = KnownConstants.stored.of(graph, 'w');
    if (!isConstant(found)) throw new Error(found.reason);
    expect(found.shape).toEqual((await evaluateConstant(graph, 'w')).shape);
    expect(found.leaves.map(({ name }) => name)).toEqual(['a', 'b']);
    expect(found.path.map(({ opType }) => opType)).toEqual(['MatMul', 'Transpose']);
    expect(isConstant(KnownConstants.stored.of(graph, 'y'))).toBe(false);
  });

  test('have integers that only a run tells where a run told them', async () => {
    const whole = model();
    const reshape = whole.graph.nodes[4]!;
    expect(KnownConstants.stored.integers(reshape, 1)).toBeUndefined();
    expect((await computedConstants(whole)).integers(reshape, 1)).toEqual([6]);
  });

  test('follow an edit', () => {
    const { graph } = model();
    expect(KnownConstants.stored.shape(graph.nodes[2]!, 1)).toEqual([4, 3]);
    graph.setInitializer(floats('b', [5, 7]));
    expect(KnownConstants.stored.shape(graph.nodes[2]!, 1)).toEqual([7, 3]);
  });

  test('chains of products as long as one likes', () => {
    const length = 20_000;
    const { graph } = buildModel({
      inputs: [],
      outputs: [['m', 'float32']],
      nodes: Array.from({ length }, (_, i) => ({
        opType: i % 2 === 0 ? 'MatMul' : 'Transpose',
        inputs: [i === 0 ? 'a' : `m${i}`, ...(i % 2 === 0 ? ['a'] : [])],
        outputs: [i === length - 1 ? 'm' : `m${i + 1}`],
      })),
      initializers: [floats('a', [2, 2])],
    });
    const found = KnownConstants.stored.of(graph, 'm');
    if (!isConstant(found)) throw new Error(found.reason);
    expect(found.shape).toEqual([2, 2]);
    expect(found.path.length).toBe(length);
  });

  test('a value that nothing makes is one when something does', () => {
    const { graph } = buildModel({
      inputs: [['x', 'float32']],
      outputs: [['t', 'float32']],
      nodes: [{ opType: 'Reshape', inputs: ['x', 's'], outputs: ['t'] }],
      initializers: [],
    });
    for (let count = 0; count < 2; count += 1)
      expect(KnownConstants.stored.of(graph, 's')).toEqual({ reason: "'s' is made by nothing" });
    graph.setInitializer(ints('s', [2]));
    expect(isConstant(KnownConstants.stored.of(graph, 's'))).toBe(true);
  });
});
