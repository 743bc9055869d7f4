import fc from 'fast-check';
import { expect, test } from 'vitest';
import { check } from '../../../src/graph/check/check.js';
import { type Model, modelToBytes, type NodeSpec, readModel } from '../../../src/graph/index.js';
import { inOrder } from '../../../src/graph/io/file-form.js';
import { openSession } from '../../../src/runtime/index.js';
import { buildGraph, buildModel, floats } from '../../support/build.js';

const relu = (input: string, output: string): NodeSpec => ({
  opType: 'Relu',
  inputs: [input],
  outputs: [output],
  name: output,
});
const labels = (model: Model): string[] => model.graph.nodes.map(({ label }) => label);

/** Of graphs in a node onnxruntime wants the nodes in order. */
function unsorted(isBelow = true): Model {
  const branch = (name: string) =>
    buildGraph({
      name,
      nodes: isBelow
        ? [relu(`${name}1`, `${name}2`), relu('b', `${name}1`)]
        : [relu('b', `${name}1`), relu(`${name}1`, `${name}2`)],
      outputs: [[`${name}2`, 'float32', [2]]],
    });
  return buildModel({
    inputs: [
      ['x', 'float32', [2]],
      ['flag', 'bool', []],
    ],
    outputs: [['y', 'float32', [2]]],
    nodes: [
      {
        opType: 'If',
        inputs: ['flag'],
        outputs: ['y'],
        name: 'choice',
        attributes: { then_branch: { graph: branch('p') }, else_branch: { graph: branch('q') } },
      },
      relu('a', 'b'),
      relu('x', 'a'),
    ],
  });
}

test('nodes in any order are read in topological order, in subgraphs too, with a warning for each graph', async () => {
  const model = await readModel(modelToBytes(unsorted()));
  expect(labels(model)).toEqual(['a', 'b', 'choice']);
  const [then] = model.graph.nodes[2]?.subgraphs ?? [];
  expect(then?.nodes.map(({ label }) => label)).toEqual(['p1', 'p2']);
  expect(check(model).map(({ severity, where }) => `${severity} ${where.graph}`)).toEqual([
    'warning p',
    'warning q',
    'warning main',
  ]);
});

test('an unchanged model, or a copy of it, is written in the order of its file; a changed one sorted', async () => {
  const bytes = modelToBytes(unsorted());
  const model = await readModel(bytes);
  const copy = model.clone();
  expect(modelToBytes(model)).toEqual(bytes);
  expect(modelToBytes(copy)).toEqual(bytes);
  expect(labels(model)).toEqual(['a', 'b', 'choice']);
  const node = copy.graph.nodes[0];
  copy.graph.renameNode(node as NonNullable<typeof node>, 'first');
  const written = await readModel(modelToBytes(copy));
  expect(check(written)).toEqual([]);
  expect(labels(written)).toEqual(['first', 'b', 'choice']);
  expect(modelToBytes(model)).toEqual(bytes);
  for (const form of [await readModel(modelToBytes(unsorted(false))), written]) {
    await using session = await openSession(modelToBytes(form));
    const feeds = {
      x: { type: 'float32', shape: [2], data: Float32Array.of(-1, 2) },
      flag: { type: 'bool', shape: [], data: Uint8Array.of(1) },
    } as const;
    expect((await session.run(feeds)).y?.data).toEqual(Float32Array.of(0, 2));
  }
});

test('any order of any acyclic list becomes one in which makers come first; a list in order stays', () => {
  const dag = fc
    .array(fc.array(fc.nat(1000), { maxLength: 3 }), { minLength: 1, maxLength: 30 })
    .chain((reads) => {
      const nodes = reads.map((list, index) => ({
        input: list.map((read) => (index === 0 ? 'x' : `v${read % index}`)),
        output: [`v${index}`],
      }));
      return fc.tuple(
        fc.constant(nodes),
        fc.shuffledSubarray(nodes, { minLength: nodes.length, maxLength: nodes.length }),
      );
    });
  fc.assert(
    fc.property(dag, ([nodes, shuffled]) => {
      expect(inOrder(nodes)).toBeUndefined();
      const sorted = inOrder(shuffled) ?? shuffled;
      expect(new Set(sorted)).toEqual(new Set(nodes));
      const made = new Set(['x']);
      for (const node of sorted) {
        expect(node.input?.every((input) => made.has(input))).toBe(true);
        for (const output of node.output ?? []) made.add(output);
      }
    }),
  );
});

test('a cycle has no order, and its report stays', async () => {
  const bytes = modelToBytes(
    buildModel({
      inputs: [['x', 'float32', [2]]],
      outputs: [['y', 'float32', [2]]],
      nodes: [relu('b', 'a'), relu('a', 'b'), relu('b', 'y')],
    }),
  );
  const problems = check(await readModel(bytes));
  expect(problems.map(({ message }) => message)).toEqual([
    "the nodes read each other's values in a cycle: 'a' -> 'b' -> 'a'",
  ]);
});

test("a domain of onnxruntime's own is imported where a changed model is written, and only there", async () => {
  const bytes = modelToBytes(
    await readModel(
      modelToBytes(
        buildModel({
          opset: { '': 17, 'com.microsoft': 1 },
          inputs: [['x', 'float32', [2, 3]]],
          outputs: [['y', 'float32', [2, 3]]],
          nodes: [
            { opType: 'FusedMatMul', domain: 'com.microsoft', inputs: ['x', 'w'], outputs: ['y'], name: 'f' },
          ],
          initializers: [floats('w', [3, 3])],
        }),
      ),
    ),
  );
  const imported = await readModel(bytes);
  imported.proto.opset_import?.pop();
  const lacking = modelToBytes(imported);
  const model = await readModel(lacking);
  expect(check(model)).toMatchObject([{ severity: 'warning', where: { node: 'f' } }]);
  expect(modelToBytes(model)).toEqual(lacking);
  const [node] = model.graph.nodes;
  model.graph.renameNode(node as NonNullable<typeof node>, 'g');
  const written = await readModel(modelToBytes(model));
  expect(check(written)).toEqual([]);
  expect(written.opset('com.microsoft')).toBe(1);
  expect(model.opset('com.microsoft')).toBe(0);
});
