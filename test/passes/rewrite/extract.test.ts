import { resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { check, modelToBytes, readModel } from '../../../src/graph/index.js';
import { extract } from '../../../src/passes/rewrite/extract.js';
import { openSession, randomInputs } from '../../../src/runtime/index.js';

const SHAPES = resolve('fixtures/shapes.onnx');

describe('the part between values', () => {
  test('two parts in a row compute what the whole does, wherever it is cut', async () => {
    const model = await readModel(SHAPES);
    const { graph } = model;
    const feeds = randomInputs(model);
    await using whole = await openSession(model);
    const expected = await whole.run(feeds);
    const [output] = graph.outputs;
    const cuts = graph.nodes
      .filter((node) => node.is('Relu', 'Flatten', 'GlobalAveragePool'))
      .map((node) => node.outputs[0]!);
    let tried = 0;
    for (const cut of cuts) {
      const trunk = await extract(model, { outputs: [cut] });
      const head = await extract(model, { inputs: [cut] });
      // A cut that a branch goes around needs the model's input too.
      if (head.alsoNeeded.length > 0) continue;
      tried += 1;
      expect([check(trunk.model), check(head.model)]).toEqual([[], []]);
      await using first = await openSession(modelToBytes(trunk.model));
      await using second = await openSession(modelToBytes(head.model));
      const middle = await first.run(feeds);
      const found = await second.run({ [cut]: middle[cut]! });
      expect(found[output!.name]!.data).toEqual(expected[output!.name]!.data);
      expect(trunk.nodes + head.nodes).toBeLessThanOrEqual(graph.nodes.length);
      expect(head.model.graph.initializers.size).toBeLessThan(graph.initializers.size);
    }
    expect(tried).toBeGreaterThan(1);
  });

  test('the whole model is its own part', async () => {
    const model = await readModel(SHAPES);
    const { model: all, nodes } = await extract(model);
    expect([nodes, all.graph.initializers.size]).toEqual([
      model.graph.nodes.length,
      model.graph.initializers.size,
    ]);
  });

  test('what cannot be cut is said', async () => {
    const model = await readModel(SHAPES);
    await expect(extract(model, { outputs: ['nothing'] })).rejects.toThrow(/outputs 'nothing' is no value/);
    const [output] = model.graph.outputs;
    await expect(extract(model, { outputs: [output!.name, output!.name] })).rejects.toThrow(/given twice/);
    const { unread } = await extract(model, { inputs: [model.graph.nodes[0]!.outputs[0]!, output!.name] });
    expect(unread).toEqual([model.graph.nodes[0]!.outputs[0]!]);
  });
});
