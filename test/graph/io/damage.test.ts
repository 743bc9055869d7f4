import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { check } from '../../../src/graph/check/check.js';
import { type Model, ModelError, modelToBytes, readModel } from '../../../src/graph/index.js';
import { printModel } from '../../../src/graph/print.js';
import { canonicalModels, drawFrom, drawModel } from '../../support/arbitraries.js';
import { buildGraph, buildModel, type GraphSpec } from '../../support/build.js';
import { scratchDirectory } from '../../support/scratch-directory.js';
import { encodeTree } from '../../support/wire.js';

const directory = scratchDirectory('graph-damage');

/** Reads damaged bytes; anything but a ModelError fails the test. A model that was read can be used. */
async function tryRead(bytes: Uint8Array): Promise<Model | undefined> {
  let model: Model;
  try {
    model = await readModel(bytes);
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    expect(error.message.includes('\n')).toBe(false);
    return undefined;
  }
  check(model);
  printModel(model, { weights: true });
  modelToBytes(model);
  return model;
}

/** Where the top-level fields of a message end. */
function boundaries(bytes: Uint8Array): Set<number> {
  const ends = new Set([0]);
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at] as number;
      at += 1;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const wireType = varint() % 8;
    if (wireType === 0) varint();
    else if (wireType === 1) at += 8;
    else if (wireType === 5) at += 4;
    else {
      const length = varint();
      at += length;
    }
    ends.add(at);
  }
  return ends;
}

describe('truncated at every byte', () => {
  const cut = async (bytes: Uint8Array): Promise<void> => {
    const ends = boundaries(bytes);
    for (let length = 0; length < bytes.length; length += 1) {
      const model = await tryRead(bytes.slice(0, length));
      if (model !== undefined && !ends.has(length)) expect.fail(`${length} bytes read as a model`);
    }
  };

  test('a small model', async () => {
    for (const seed of [1, 2, 3]) await cut(encodeTree('ModelProto', drawModel(drawFrom(seed))));
  });

  const mnist = '../shared/models/mnist-cntk.onnx';
  test.skipIf(!existsSync(mnist))('mnist-cntk (where it is present)', async () => {
    const bytes = new Uint8Array(readFileSync(mnist));
    const ends = boundaries(bytes);
    for (let length = 0; length < bytes.length; length += length < 4000 ? 1 : 7) {
      const read = readModel(bytes.subarray(0, length));
      if (ends.has(length)) await read.catch((error) => expect(error).toBeInstanceOf(ModelError));
      else await expect(read).rejects.toBeInstanceOf(ModelError);
    }
  });
});

describe('random damage', () => {
  test('flipped bytes give a ModelError or a model', async () => {
    await fc.assert(
      fc.asyncProperty(
        canonicalModels(),
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 6 }),
        async (bytes, flips) => {
          const damaged = bytes.slice();
          for (const [at, mask] of flips)
            damaged[at % damaged.length] = (damaged[at % damaged.length] as number) ^ mask;
          await tryRead(damaged);
        },
      ),
      { seed: 5, numRuns: 1500 },
    );
  });

  test('random bytes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
        expect(await tryRead(bytes)).toBeUndefined();
      }),
      { seed: 6, numRuns: 1000 },
    );
  });

  test('groups and messages nested without end', async () => {
    await expect(readModel(new Uint8Array(200_000).fill(0x0b))).rejects.toThrow(/nested more than 100 deep/);
    let bytes = Uint8Array.of();
    const wrap = (tag: number): void => {
      const length = [...Buffer.from(Uint32Array.of(0).buffer)].slice(0, 0);
      let left = bytes.length;
      for (; left >= 128; left = Math.floor(left / 128)) length.push((left % 128) | 128);
      bytes = Uint8Array.from([tag, ...length, left, ...bytes]);
    };
    // attribute.g, node.attribute, graph.node and so on.
    for (let depth = 0; depth < 600; depth += 1) for (const tag of [0x0a, 0x32, 0x2a]) wrap(tag);
    wrap(0x0a);
    wrap(0x3a);
    await expect(readModel(bytes)).rejects.toThrow(/nested more than 100 deep/);
  });

  test('graphs in graphs, as deep as they can be written', async () => {
    const nested = (depth: number): Model => {
      let graph: GraphSpec = { nodes: [], inputs: [], outputs: [] };
      for (let level = 0; level < depth; level += 1) {
        const node = {
          opType: 'If',
          inputs: ['c'],
          outputs: [`y${level}`],
          attributes: { then_branch: { graph: buildGraph(graph) } },
        };
        graph = { nodes: [node], inputs: [], outputs: [] };
      }
      return buildModel({ ...graph, inputs: [], outputs: [] });
    };
    const deep = nested(32);
    expect([...(await readModel(modelToBytes(deep))).graphs()].length).toBe(33);
    expect(() => modelToBytes(nested(40))).toThrow(ModelError);
    expect(() => modelToBytes(nested(40))).toThrow(/nested more than 100 deep/);
  });
});

describe('what is not a model', () => {
  const png = Buffer.from(
    'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
    'base64',
  );
  test.each([
    ['text.onnx', Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1234\n')],
    ['page.onnx', Buffer.from('<!DOCTYPE html><html><body>404</body></html>')],
    ['image.onnx', png],
    ['empty.onnx', Buffer.alloc(0)],
    ['zeros.onnx', Buffer.alloc(100)],
  ])('%s: one line that names the file', async (name, content) => {
    const path = join(directory, name);
    writeFileSync(path, content);
    await expectOneLine(path);
  });

  test('a directory and a missing file', async () => {
    expect(await expectOneLine(directory)).toMatch(/is a directory/);
    expect(await expectOneLine(join(directory, 'none.onnx'))).toMatch(/no such file/);
  });

  async function expectOneLine(path: string): Promise<string> {
    const error = await readModel(path).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(ModelError);
    const { message } = error as ModelError;
    expect(message.startsWith(`${path}: `)).toBe(true);
    expect(message.split('\n').length).toBe(1);
    return message;
  }
});
