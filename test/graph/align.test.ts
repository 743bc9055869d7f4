import { resolve } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { alignNames } from '../../src/graph/diff/align.js';
import { diffModels } from '../../src/graph/diff/diff.js';
import { type Model, readModel } from '../../src/graph/index.js';
import { buildModel, floats } from '../support/build.js';

const SHAPES = resolve('fixtures/shapes.onnx');

/** The model with other names for all inner values, weights and nodes. */
function renamed(model: Model, name: (old: string, index: number) => string): Model {
  const copy = model.clone();
  const { graph } = copy;
  const interfaceNames = new Set([...graph.inputs, ...graph.outputs].map((value) => value.name));
  const inner = [...graph.nodes.flatMap((node) => node.outputs), ...graph.initializers.keys()].filter(
    (old) => old !== '' && !interfaceNames.has(old),
  );
  // By way of names that nobody has, since new names may be old ones.
  for (const [index, old] of inner.entries()) graph.rename(old, `between/${index}`);
  for (const [index, old] of inner.entries()) graph.rename(`between/${index}`, name(old, index));
  for (const [index, node] of graph.nodes.entries()) node.proto.name = name(node.name, index + 10_000);
  graph.touch();
  return copy;
}

describe('names of the same things', () => {
  test('a model aligned with itself is itself', async () => {
    const model = await readModel(SHAPES);
    const { model: same, renamed: none } = alignNames(model, model);
    expect([none, diffModels(model, same)]).toEqual([[], []]);
  });

  test('are those of the first model, whatever the second calls them', async () => {
    const model = await readModel(SHAPES);
    const seeds = fc.array(fc.integer({ min: 0, max: 1e6 }), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(seeds, (salt) => {
        const other = renamed(model, (_, index) => `n${salt[index % salt.length]}_${index}`);
        const found = alignNames(model, other);
        expect(diffModels(model, found.model)).toEqual([]);
        expect(found.renamed.length).toBeGreaterThan(50);
      }),
      { numRuns: 8 },
    );
  });

  test('swapped and shifted names are told apart by where they stand', () => {
    const chain = (names: readonly string[], weights: readonly string[]): Model =>
      buildModel({
        inputs: [['x', 'float32', [2, 2]]],
        outputs: [['y', 'float32', [2, 2]]],
        nodes: [
          { opType: 'MatMul', inputs: ['x', weights[0]!], outputs: [names[0]!] },
          { opType: 'Relu', inputs: [names[0]!], outputs: [names[1]!] },
          { opType: 'MatMul', inputs: [names[1]!, weights[1]!], outputs: ['y'] },
        ],
        initializers: [floats(weights[0]!, [2, 2], (i) => i), floats(weights[1]!, [2, 2], (i) => -i)],
      });
    const a = chain(['1', '2'], ['v', 'w']);
    const shifted = alignNames(a, chain(['2', '3'], ['v', 'w']));
    expect(diffModels(a, shifted.model)).toEqual([]);
    expect(shifted.renamed).toEqual([
      { kind: 'value', before: '1', after: '2' },
      { kind: 'value', before: '2', after: '3' },
    ]);
    const swapped = alignNames(a, chain(['2', '1'], ['v', 'w']));
    expect(diffModels(a, swapped.model)).toEqual([]);
  });

  test('what changed is still a difference, and inputs and outputs keep their names', async () => {
    const model = await readModel(SHAPES);
    const other = renamed(model, (_, index) => `n${index}`);
    const conv = other.graph.nodes.find((node) => node.is('Conv'))!;
    other.graph.setAttribute(conv, 'dilations', { ints: [2, 2] });
    const found = diffModels(model, alignNames(model, other).model);
    expect(found.map(({ path }) => path)).toEqual([expect.stringContaining("attribute['dilations']")]);
    const input = model.clone();
    input.graph.renameInput(input.graph.inputs[0]!.name, 'picture');
    expect(diffModels(model, alignNames(model, input).model).length).toBeGreaterThan(0);
  });
});
