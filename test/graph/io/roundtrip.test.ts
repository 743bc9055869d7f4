import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import fc from 'fast-check';
import onnxProto from 'onnx-proto';
import { describe, expect, test } from 'vitest';
import { check } from '../../../src/graph/check/check.js';
import { diffModels } from '../../../src/graph/diff/diff.js';
import { modelToBytes, readModel } from '../../../src/graph/index.js';
import { printModel } from '../../../src/graph/print.js';
import { canonicalModels, modelTrees, wildModels } from '../../support/arbitraries.js';
import { treeOfModel } from '../../support/library-tree.js';
import { decodeTree, encodeTree, normal, type Tree, type Value } from '../../support/wire.js';

const runs = { seed: 1, numRuns: 120 };

/** Throws where onnx-proto's decoding of a message differs from ours, in the fields that it knows. */
function expectAgreement(ours: Tree, theirs: Record<string, unknown>, path: string): void {
  for (const [field, value] of Object.entries(ours)) {
    const name = field.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
    // A field of a newer ONNX.
    if (!(name in theirs)) continue;
    const other = theirs[name];
    const one = (a: Value, b: unknown, place: string): void => {
      if (a instanceof Uint8Array) expect(Buffer.compare(a, b as Uint8Array), place).toBe(0);
      else if (typeof a === 'object') expectAgreement(a, b as Record<string, unknown>, place);
      else if (typeof a === 'bigint') expect(String(b), place).toBe(String(a));
      else expect(b, place).toBe(a);
    };
    if (Array.isArray(value)) {
      expect((other as unknown[]).length, `${path}.${field}`).toBe(value.length);
      for (const [index, item] of value.entries())
        one(item, (other as unknown[])[index], `${path}.${field}[${index}]`);
    } else one(value as Value, other, `${path}.${field}`);
  }
}

const real = ['../shared/models', 'fixtures'].flatMap((directory) =>
  existsSync(directory)
    ? readdirSync(directory)
        .filter((name) => name.endsWith('.onnx'))
        .map((name) => joinPath(directory, name))
    : [],
);

describe('write(read(x)) = x', () => {
  test('byte by byte for canonical encodings', async () => {
    await fc.assert(
      fc.asyncProperty(canonicalModels(), async (bytes) => {
        const written = modelToBytes(await readModel(bytes));
        expect(Buffer.compare(written, bytes)).toBe(0);
      }),
      runs,
    );
  });

  test('field by field for every encoding; unknown fields stay at their message', async () => {
    await fc.assert(
      fc.asyncProperty(wildModels(), async (bytes) => {
        const written = modelToBytes(await readModel(bytes));
        expect(normal(decodeTree('ModelProto', written))).toEqual(normal(decodeTree('ModelProto', bytes)));
      }),
      runs,
    );
  });

  test('a wild encoding reads as the canonical one of the same tree', async () => {
    await fc.assert(
      fc.asyncProperty(modelTrees(), fc.integer({ min: 1, max: 2 ** 30 }), async (tree, seed) => {
        let state = seed;
        const random = (limit: number): number => {
          state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
          return (state >>> 8) % limit;
        };
        const [a, b] = await Promise.all([
          readModel(encodeTree('ModelProto', withoutUnknown(tree))),
          readModel(encodeTree('ModelProto', withoutUnknown(tree), { random })),
        ]);
        expect(diffModels(a, b)).toEqual([]);
        expect(Buffer.compare(modelToBytes(a), modelToBytes(b))).toBe(0);
      }),
      { ...runs, numRuns: 60 },
    );
  });

  test.each(real)('%s', async (path) => {
    const model = await readModel(path);
    expect(Buffer.compare(modelToBytes(model), readFileSync(path))).toBe(0);
    expect(model.changed).toBe(false);
  });
  if (real.length === 0) test.skip('no real models here', () => undefined);
});

describe('three decoders agree', () => {
  test('the library, onnx-proto and the one of these tests, int64 exactly', async () => {
    await fc.assert(
      fc.asyncProperty(wildModels(), async (bytes) => {
        const ours = treeOfModel((await readModel(bytes)).proto);
        expect(normal(ours)).toEqual(normal(decodeTree('ModelProto', bytes)));
        expectAgreement(
          ours,
          onnxProto.onnx.ModelProto.decode(bytes) as unknown as Record<string, unknown>,
          'model',
        );
      }),
      runs,
    );
  });

  test.each(real)('on %s', async (path) => {
    const bytes = new Uint8Array(readFileSync(path));
    const ours = treeOfModel((await readModel(path)).proto);
    expectAgreement(
      ours,
      onnxProto.onnx.ModelProto.decode(bytes) as unknown as Record<string, unknown>,
      'model',
    );
  });
});

describe('random valid models', () => {
  test('have no problems, print stably and do not differ from themselves', async () => {
    await fc.assert(
      fc.asyncProperty(wildModels(), async (bytes) => {
        const model = await readModel(bytes);
        expect(check(model)).toEqual([]);
        const again = await readModel(modelToBytes(model));
        expect(printModel(again, { weights: true })).toBe(printModel(model, { weights: true }));
        expect(diffModels(model, again)).toEqual([]);
        expect(model.changed).toBe(false);
      }),
      runs,
    );
  });

  test.each(real)('%s is sound', async (path) => {
    expect(check(await readModel(path))).toEqual([]);
  });
});

describe('odd encodings', () => {
  const minimal = (graph: Tree): Tree => ({ ir_version: 8n, opset_import: [{ version: 17n }], graph });

  test('a data field of a wrong wire type is kept as it is', async () => {
    // raw_data (9) as a varint.
    const tensor = { dims: [0n], data_type: 1, name: 'w', $unknown: [Uint8Array.of(9 * 8, 42)] };
    const bytes = encodeTree('ModelProto', minimal({ initializer: [tensor] }));
    const written = modelToBytes(await readModel(bytes));
    expect(Buffer.from(written).includes(Buffer.of(9 * 8, 42))).toBe(true);
  });

  test('the field number that stands for data in memory is refused in a file', async () => {
    const id = Uint8Array.of(0xf8, 0xff, 0xff, 0xff, 0x0f, 1);
    const bytes = encodeTree('ModelProto', minimal({ initializer: [{ name: 'w', $unknown: [id] }] }));
    await expect(readModel(bytes)).rejects.toThrow(/the field 536870911, which no ONNX has/);
  });

  test('an element type of a newer ONNX is kept', async () => {
    const tensor = { dims: [2n], data_type: 99, name: 'w', raw_data: Uint8Array.of(1, 2, 3) };
    const bytes = encodeTree('ModelProto', minimal({ initializer: [tensor] }));
    expect(Buffer.compare(modelToBytes(await readModel(bytes)), bytes)).toBe(0);
  });

  test('absent and zero are told apart', async () => {
    const input = (dim: Tree): Tree => ({
      name: 'x',
      type: { tensor_type: { elem_type: 1, shape: { dim: [dim] } } },
    });
    const graph = { input: [input({}), input({ dim_value: 0n }), input({ dim_param: 'n' })] };
    const model = await readModel(encodeTree('ModelProto', minimal(graph)));
    expect(model.graph.inputs.map((value) => value.toString())).toEqual([
      'float32[?]',
      'float32[0]',
      'float32[n]',
    ]);
    expect(model.graph.inputs.map((value) => value.shape)).toEqual([[undefined], [0], ['n']]);
    const untyped = await readModel(encodeTree('ModelProto', minimal({ input: [{ name: 'x' }] })));
    expect(untyped.graph.inputs[0]?.toString()).toBe('?');
    expect(untyped.graph.inputs[0]?.shape).toBeUndefined();
  });
});

/** The order of unknown fields among each other is part of an encoding, so mixing them makes another model. */
function withoutUnknown(tree: Tree): Tree {
  const one = (item: Value): Value =>
    typeof item === 'object' && !(item instanceof Uint8Array) ? withoutUnknown(item) : item;
  return Object.fromEntries(
    Object.entries(tree)
      .filter(([field]) => field !== '$unknown')
      .map(([field, value]) => [field, Array.isArray(value) ? value.map(one) : one(value as Value)]),
  );
}
