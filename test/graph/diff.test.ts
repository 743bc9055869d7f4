import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Difference, diffModels, formatDifferences } from '../../src/graph/diff/diff.js';
import { type Model, readModel, type Tensor } from '../../src/graph/index.js';
import { type Draw, drawFrom, modelTrees, typedValues } from '../support/arbitraries.js';
import { buildModel, floats } from '../support/build.js';
import { encodeTree, FULL_SCHEMA, normal, type Tree, type Value } from '../support/wire.js';

const read = (tree: Tree): Promise<Model> => readModel(encodeTree('ModelProto', tree));

const relu = (input: string, output: string, name?: string) => ({
  opType: 'Relu',
  inputs: [input],
  outputs: [output],
  ...(name !== undefined && { name }),
});
const chain = (names: readonly (string | undefined)[], initializers: Tensor[] = []) =>
  buildModel({
    inputs: [['v0', 'float32']],
    nodes: names.map((name, index) => relu(`v${index}`, `v${index + 1}`, name)),
    initializers,
  });

const lines = (a: Model, b: Model, options = {}): string[] =>
  formatDifferences(diffModels(a, b, options))
    .split('\n')
    .filter(Boolean);

describe('names what differs', () => {
  test('an inserted node is one addition', () => {
    const [a, b] = [chain(['n1', 'n2', 'n3']), chain(['n1', 'n2', 'n3'])];
    b.graph.insert({ opType: 'Abs', inputs: ['v1'], outputs: ['new'], name: 'abs' }, b.graph.nodes[1]);
    expect(lines(a, b)).toEqual(["+ graph.node['abs']: %new = Abs(%v1)  # abs"]);
    expect(lines(b, a)).toEqual(["- graph.node['abs']: %new = Abs(%v1)  # abs"]);
  });

  test('nodes without names are matched by their first output, renamed ones too', () => {
    expect(lines(chain(['n1', undefined]), chain(['other', undefined]))).toEqual([
      `~ graph.node['n1'].name: "n1" -> "other"`,
    ]);
    const [a, b] = [chain([undefined, undefined]), chain([undefined, undefined])];
    b.graph.setAttribute(b.graph.nodes[1]!, 'axis', { int: 2n ** 60n });
    expect(lines(a, b)).toEqual(["+ graph.node['v2'].attribute['axis']: axis=1152921504606846976"]);
  });

  test('an order', () => {
    const nodes = [relu('v0', 'a', 'n1'), relu('v0', 'b', 'n2'), relu('v0', 'c', 'n3')];
    const [a, b] = [nodes, [nodes[0]!, nodes[2]!, nodes[1]!]].map((list) =>
      buildModel({ inputs: [['v0', 'float32']], nodes: list }),
    );
    expect(lines(a!, b!)).toEqual(["~ graph.node (order): ['n2', 'n3'] -> ['n3', 'n2']"]);
  });

  test('elements, also the last of many; nothing with weights ignored', () => {
    const size = 3_000_000;
    const weights = (value: number) => floats('w', [size], (index) => (index === size - 1 ? value : 1));
    const [a, b] = [chain([], [weights(0.5)]), chain([], [weights(0.25)])];
    expect(lines(a, b)).toEqual([
      `~ graph.initializer['w'].data: [2999999] = 0.5 -> 0.25 (1 of 3000000 elements differ)`,
    ]);
    expect(lines(a, b, { weights: 'ignore' })).toEqual([]);
  });

  test('the same elements in another field are no difference, unless storage is asked for', async () => {
    const bytes = new Uint8Array(Float32Array.of(1, 2).buffer);
    const tree = (data: Tree): Tree => ({
      ir_version: 8n,
      opset_import: [{ version: 17n }],
      graph: { initializer: [{ name: 'w', dims: [2n], data_type: 1, ...data }] },
    });
    const [a, b] = [
      await read(tree({ raw_data: bytes })),
      await read(tree({ float_data: typedValues('float32', bytes) })),
    ];
    expect(diffModels(a, b)).toEqual([]);
    expect(lines(a, b, { storage: true })).toEqual([
      "~ graph.initializer['w'].(storage): raw_data -> float_data",
    ]);
  });

  test('shape and type of a weight, opset, metadata, inputs', () => {
    const a = buildModel({
      nodes: [],
      opset: 17,
      metadata: { k: '1' },
      inputs: [['x', 'float32', [1]]],
      initializers: [floats('w', [2, 3])],
    });
    const b = buildModel({
      nodes: [],
      opset: 18,
      metadata: { k: '2' },
      inputs: [['x', 'float32', ['n']]],
      initializers: [floats('w', [3, 2])],
    });
    expect(lines(a, b)).toMatchInlineSnapshot(`
      [
        "~ opset_import['ai.onnx'].version: 17 -> 18",
        "~ graph.initializer['w'].dims: [2, 3] -> [3, 2]",
        "- graph.input['x'].type.tensor_type.shape.dim[0].dim_value: 1",
        "+ graph.input['x'].type.tensor_type.shape.dim[0].dim_param: "n"",
        "~ metadata_props['k'].value: "1" -> "2"",
      ]
    `);
  });
});

interface Spot {
  readonly tree: Record<string, Value | Value[]>;
  readonly field: string;
  readonly type: string;
  readonly label: string | undefined;
  readonly path: readonly string[];
}

/** Every field that is set in a tree, at any depth. */
function* spots(message: string, tree: Tree, path: readonly string[] = []): Generator<Spot> {
  for (const [field, [, type, label]] of Object.entries(FULL_SCHEMA[message] ?? {})) {
    const value = tree[field];
    if (value === undefined || (Array.isArray(value) && value.length === 0)) continue;
    const here = [...path, field];
    yield { tree: tree as Spot['tree'], field, type, label, path: here };
    if (type in FULL_SCHEMA)
      for (const one of Array.isArray(value) ? value : [value]) yield* spots(type, one as Tree, here);
  }
}

function otherValue(draw: Draw, type: string, value: Value): Value | undefined {
  switch (type) {
    case 'string':
      return `${value as string}!`;
    case 'bytes': {
      const bytes = (value as Uint8Array).slice();
      if (bytes.length === 0) return undefined;
      const at = draw(bytes.length);
      bytes[at] = (bytes[at] as number) ^ 1;
      return bytes;
    }
    case 'int64':
    case 'uint64':
      return BigInt.asIntN(62, (value as bigint) + 1n);
    case 'int32':
      return (value as number) + 1;
    case 'float':
    case 'double':
      return value === 1 ? 2 : 1;
    default:
      return undefined;
  }
}

/** Changes, removes or doubles one thing. Undefined where the spot allows no change that keeps the model readable. */
function mutate(draw: Draw, spot: Spot): string | undefined {
  const { tree, field, type, label } = spot;
  const value = tree[field] as Value | Value[];
  if (
    ['ir_version', 'version', 'graph', 'opset_import', 'data_type', 'raw_data'].includes(field) &&
    spot.path.length < 3
  )
    return undefined;
  if (Array.isArray(value)) {
    const at = draw(value.length);
    const other = otherValue(draw, type, value[at] as Value);
    tree[field] = other === undefined || draw(3) === 0 ? value.toSpliced(at, 1) : value.with(at, other);
    return field;
  }
  const other = otherValue(draw, type, value);
  if (other !== undefined) tree[field] = other;
  else if (label === undefined && type in FULL_SCHEMA) delete tree[field];
  else return undefined;
  return field;
}

test('any single mutation is found and named', async () => {
  let mutations = 0;
  await fc.assert(
    fc.asyncProperty(modelTrees(), fc.nat(), async (tree, seed) => {
      const draw = drawFrom(seed);
      const changed = structuredClone(tree);
      const all = [...spots('ModelProto', changed)];
      const spot = all[draw(all.length)] as Spot;
      if (
        mutate(draw, spot) === undefined ||
        JSON.stringify(picture(tree)) === JSON.stringify(picture(changed))
      )
        return;
      let [a, b]: (Model | undefined)[] = [];
      [a, b] = [await read(tree), await read(changed).catch(() => undefined)];
      if (a === undefined || b === undefined) return;
      mutations += 1;
      const found = diffModels(a, b, { storage: true });
      expect(found.length, spot.path.join('.')).toBeGreaterThan(0);
      // At the field, at what holds it, or at the elements and storage of a tensor.
      const top = spot.path[0] as string;
      expect(
        found.every(({ path }) => path.startsWith(top)),
        `${spot.path.join('.')}: ${formatDifferences(found)}`,
      ).toBe(true);
      expect(diffModels(b, a, { storage: true }).length).toBe(found.length);
      for (const difference of found) wellFormed(difference);
    }),
    { seed: 9, numRuns: 400 },
  );
  expect(mutations).toBeGreaterThan(250);
});

const picture = (tree: Tree): unknown =>
  JSON.parse(
    JSON.stringify(normal(tree), (_, value: unknown) =>
      typeof value === 'bigint'
        ? `${value}n`
        : Object.is(value, -0)
          ? '-0'
          : String(value) === 'Infinity'
            ? 'inf'
            : value,
    ),
  );

function wellFormed({ kind, before, after }: Difference): void {
  expect(before !== undefined).toBe(kind !== 'added');
  expect(after !== undefined).toBe(kind !== 'removed');
  expect(before).not.toBe(after);
}

test('one entry for one change of a scalar, with its path and both values', async () => {
  await fc.assert(
    fc.asyncProperty(modelTrees(), fc.nat(), async (tree, seed) => {
      const draw = drawFrom(seed);
      const changed = structuredClone(tree);
      const scalars = [...spots('ModelProto', changed)].filter(({ field }) =>
        ['doc_string', 'denotation', 'f', 'i'].includes(field),
      );
      const spot = scalars[draw(scalars.length)];
      if (spot === undefined || mutate(draw, spot) === undefined) return;
      const found = diffModels(await read(tree), await read(changed));
      expect(found.map(({ kind }) => kind)).toEqual(['changed']);
      expect(found[0]?.path.endsWith(spot.field)).toBe(true);
    }),
    { seed: 10, numRuns: 150 },
  );
});
