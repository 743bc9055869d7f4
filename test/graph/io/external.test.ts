import { linkSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as ort from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import { check } from '../../../src/graph/check/check.js';
import { diffModels } from '../../../src/graph/diff/diff.js';
import { type ByteSource, type Model, readModel, saveModel, Tensor } from '../../../src/graph/index.js';
import { createMessage } from '../../../src/graph/proto/codec.js';
import { buildModel, floats } from '../../support/build.js';
import { directoryForEach, scratchDirectory } from '../../support/scratch-directory.js';
import { encodeTree } from '../../support/wire.js';

const root = scratchDirectory('graph-external');
let directory = root;
directoryForEach(root, (made) => {
  directory = made;
});

type Entry = readonly [key: string, value: string];

/** A model of y = x + a + b, with a and b (2 x 300 floats) external as the entries say. */
function externalModel(path: string, a: readonly Entry[], b: readonly Entry[] = a): void {
  const tensor = (name: string, entries: readonly Entry[]) =>
    createMessage('TensorProto', {
      name,
      dims: [2, 300],
      data_type: 1,
      data_location: 1,
      external_data: entries.map(([key, value]) => createMessage('StringStringEntryProto', { key, value })),
    });
  const model = buildModel({
    inputs: [['x', 'float32', [2, 300]]],
    outputs: [['y', 'float32', [2, 300]]],
    nodes: [
      { opType: 'Add', inputs: ['x', 'a'], outputs: ['s'], name: 'first' },
      { opType: 'Add', inputs: ['s', 'b'], outputs: ['y'], name: 'second' },
    ],
    initializers: [new Tensor(tensor('a', a)), new Tensor(tensor('b', b))],
  });
  writeFileSync(path, encodeProto(model));
}

function encodeProto(model: Model): Uint8Array {
  // modelToBytes would do; this one does not touch the code under test.
  return encodeTree('ModelProto', {
    ir_version: 8n,
    opset_import: [{ domain: '', version: 17n }],
    graph: {
      name: 'main',
      node: model.graph.nodes.map((node) => ({
        input: [...node.inputs],
        output: [...node.outputs],
        name: node.name,
        op_type: node.opType,
      })),
      initializer: [...model.graph.initializers.values()].map(({ proto }) => ({
        dims: (proto.dims ?? []).map((dim) => BigInt(dim as number)),
        data_type: 1,
        name: proto.name,
        external_data: (proto.external_data ?? []).map(({ key, value }) => ({ key, value })),
        data_location: 1,
      })),
      input: [valueTree('x')],
      output: [valueTree('y')],
    },
  });
}

const valueTree = (name: string) => ({
  name,
  type: { tensor_type: { elem_type: 1, shape: { dim: [{ dim_value: 2n }, { dim_value: 300n }] } } },
});

const numbers = (start: number): Float32Array =>
  Float32Array.from({ length: 600 }, (_, index) => start + index);
const BYTES = 2400;

function writeData(path: string, ...parts: Float32Array[]): void {
  writeFileSync(path, Buffer.concat(parts.map((part) => Buffer.from(part.buffer))));
}

/** What onnxruntime makes of x = 0. */
async function run(path: string): Promise<Float32Array> {
  const session = await ort.InferenceSession.create(path, { logSeverityLevel: 4 });
  const { y } = await session.run({ x: new ort.Tensor('float32', new Float32Array(600), [2, 300]) });
  return y?.data as Float32Array;
}

const sum = (a: number, b: number): Float32Array =>
  Float32Array.from({ length: 600 }, (_, i) => a + b + 2 * i);

/** a at 0, b behind it. */
function standard(name = 'm.onnx', data = 'weights.bin'): string {
  const path = join(directory, name);
  const at = (offset: number): Entry[] => [
    ['location', data],
    ['offset', String(offset)],
    ['length', String(BYTES)],
  ];
  externalModel(path, at(0), at(4096));
  mkdirSync(dirname(join(directory, data)), { recursive: true });
  writeData(join(directory, data), numbers(0), new Float32Array(424), numbers(1000));
  return path;
}

describe('reading', () => {
  test('by range, from a path or from bytes with a directory', async () => {
    const path = standard();
    for (const model of [await readModel(path), await readModel(readFileSync(path), { directory })]) {
      const b = model.graph.initializers.get('b') as Tensor;
      expect(b.isExternal).toBe(true);
      expect([...b.elements(298, 4)]).toEqual([1298, 1299, 1300, 1301]);
      expect([...b.floats()]).toEqual([...numbers(1000)]);
      expect(check(model)).toEqual([]);
    }
    const unbound = await readModel(readFileSync(path));
    expect(() => unbound.graph.initializers.get('a')?.bytes()).toThrow(
      /read it by its path, or give a directory/,
    );
  });

  test('without a length, the shape says how much', async () => {
    const path = join(directory, 'm.onnx');
    externalModel(
      path,
      [['location', 'w.bin']],
      [
        ['location', 'w.bin'],
        ['offset', String(BYTES)],
      ],
    );
    writeData(join(directory, 'w.bin'), numbers(0), numbers(5));
    const model = await readModel(path);
    expect(model.graph.initializers.get('a')?.floats()[599]).toBe(599);
    expect(model.graph.initializers.get('b')?.floats()[599]).toBe(604);
    expect(await run(path)).toEqual(sum(0, 5));
    await saveModel(model, join(directory, 'n.onnx'));
    expect(await run(join(directory, 'n.onnx'))).toEqual(sum(0, 5));
  });

  test.each([
    ['..', '../secret.bin', /outside of the model's directory, and is not read/],
    ['a hidden ..', 'sub/../../secret.bin', /outside of the model's directory/],
    ['a backslash', '..\\secret.bin', /outside of the model's directory/],
    ['an absolute path', '/etc/passwd', /outside of the model's directory/],
    ['a drive', 'C:/secret.bin', /outside of the model's directory/],
    ['a link that leads out', 'link.bin', /link that leads out of the model's directory/],
    ['a link to a directory outside', 'linked/secret.bin', /link that leads out of the model's directory/],
    ['a missing file', 'none.bin', /put that file beside the model/],
    [
      'a file that is too short',
      'short.bin',
      /should be bytes 0 to 2400 of 'short.bin', but that file has 10/,
    ],
    ['no file', '', /names no file/],
  ])('refuses %s', async (_, location, message) => {
    const path = join(directory, 'm.onnx');
    writeFileSync(join(root, 'secret.bin'), new Uint8Array(BYTES));
    writeFileSync(join(directory, 'short.bin'), new Uint8Array(10));
    symlinkSync(join(root, 'secret.bin'), join(directory, 'link.bin'));
    symlinkSync(root, join(directory, 'linked'));
    externalModel(path, [
      ['location', location],
      ['offset', '0'],
      ['length', String(BYTES)],
    ]);
    const model = await readModel(path);
    const tensor = model.graph.initializers.get('a') as Tensor;
    expect(tensor.shape).toEqual([2, 300]);
    expect(() => tensor.bytes()).toThrow(message);
    expect(() => tensor.bytes()).toThrow(/^tensor 'a': /);
    expect(check(model).map((problem) => problem.where.tensor)).toEqual(['a', 'b']);
  });

  test('refuses offsets that are no byte counts', async () => {
    const path = join(directory, 'm.onnx');
    externalModel(path, [
      ['location', 'w.bin'],
      ['offset', '-5'],
    ]);
    const model = await readModel(path);
    expect(() => model.graph.initializers.get('a')?.bytes()).toThrow(
      /its external offset '-5' is not a byte count/,
    );
  });

  test('follows a link that stays inside', async () => {
    const path = standard();
    rmSync(join(directory, 'weights.bin'));
    mkdirSync(join(directory, 'blobs'));
    writeData(join(directory, 'blobs', 'x'), numbers(0), new Float32Array(424), numbers(1000));
    symlinkSync('blobs/x', join(directory, 'weights.bin'));
    expect((await readModel(path)).graph.initializers.get('a')?.floats()[3]).toBe(3);
  });
});

describe('saving', () => {
  test('to another directory: the weights go along, in a file of the new name', async () => {
    const path = standard();
    const model = await readModel(path);
    const there = join(directory, 'there');
    mkdirSync(there);
    await saveModel(model, join(there, 'other.onnx'));
    expect(readdirSync(there).sort()).toEqual(['other.onnx', 'other.onnx.data']);
    expect(readFileSync(join(there, 'other.onnx.data'))).toEqual(
      readFileSync(join(directory, 'weights.bin')),
    );
    expect(diffModels(model, await readModel(join(there, 'other.onnx')))).toEqual([]);
    expect(await run(join(there, 'other.onnx'))).toEqual(sum(0, 1000));
  });

  test.each([
    '.bashrc',
    '.config/autostart/x.desktop',
    'other.onnx',
    'data/w.bin',
    'link/w.bin',
  ])('a location %s makes no file of that name', async (location) => {
    mkdirSync(join(directory, '.config', 'autostart'), { recursive: true });
    mkdirSync(join(directory, 'data'));
    symlinkSync('data', join(directory, 'link'));
    const path = standard('m.onnx', location);
    const there = join(directory, 'there');
    mkdirSync(there);
    mkdirSync(join(directory, 'elsewhere'));
    symlinkSync('../elsewhere', join(there, 'link'));
    for (const edit of [false, true]) {
      const model = await readModel(path);
      const [first] = model.graph.nodes;
      if (edit && first !== undefined) model.graph.renameNode(first, 'renamed');
      await saveModel(model, join(there, 'm.onnx'), { overwrite: true });
      expect(readdirSync(there).sort()).toEqual(
        edit ? ['link', 'm.onnx', 'm.onnx.1.data'] : ['link', 'm.onnx', 'm.onnx.data'],
      );
      expect(await run(join(there, 'm.onnx'))).toEqual(sum(0, 1000));
    }
    expect(readdirSync(join(directory, 'elsewhere'))).toEqual([]);
  });

  test('several files become one', async () => {
    const path = join(directory, 'm.onnx');
    externalModel(path, [['location', 'a.bin']], [['location', 'b.bin']]);
    writeData(join(directory, 'a.bin'), numbers(0));
    writeData(join(directory, 'b.bin'), numbers(50));
    mkdirSync(join(directory, 'there'));
    const saved = await saveModel(await readModel(path), join(directory, 'there', 'n.onnx'));
    expect(saved.data).toBe(join(directory, 'there', 'n.onnx.data'));
    expect(readdirSync(join(directory, 'there')).sort()).toEqual(['n.onnx', 'n.onnx.data']);
    expect(await run(join(directory, 'there', 'n.onnx'))).toEqual(sum(0, 50));
  });

  test('weights of two models with files of one name are not taken for each other', async () => {
    mkdirSync(join(directory, 'b'));
    const [first, second] = [join(directory, 'm.onnx'), join(directory, 'b', 'm.onnx')];
    for (const path of [first, second]) externalModel(path, [['location', 'w.bin']]);
    writeData(join(directory, 'w.bin'), numbers(0));
    writeData(join(directory, 'b', 'w.bin'), numbers(70));
    const [model, other] = [await readModel(first), await readModel(second)];
    model.graph.setInitializer(other.graph.initializers.get('b') as Tensor);
    await saveModel(model, join(directory, 'out.onnx'));
    expect(await run(join(directory, 'out.onnx'))).toEqual(sum(0, 70));
    await saveModel(model, first, { overwrite: true });
    expect(await run(first)).toEqual(sum(0, 70));
  });

  test('in the same directory under another name: a data file of its own', async () => {
    const model = await readModel(standard());
    await saveModel(model, join(directory, 'copy.onnx'));
    expect(readdirSync(directory).sort()).toEqual(['copy.onnx', 'copy.onnx.data', 'm.onnx', 'weights.bin']);
    expect(await run(join(directory, 'copy.onnx'))).toEqual(sum(0, 1000));
    expect(diffModels(model, await readModel(join(directory, 'copy.onnx')))).toEqual([]);
  });

  test('in place: the data file of its own name is replaced, others stay', async () => {
    const path = standard('m.onnx', 'm.onnx.data');
    for (let round = 0; round < 3; round += 1) {
      const model = await readModel(path);
      await saveModel(model, path, { overwrite: true });
      expect(readdirSync(directory).length).toBe(2);
      expect(await run(path)).toEqual(sum(0, 1000));
      // The model in memory still reads from what it was read from.
      expect(model.graph.initializers.get('b')?.floats()[0]).toBe(1000);
    }
  });

  test('in place: files of other names are read on, and not touched', async () => {
    const path = standard('f.onnx', 'data/shared.bin');
    const before = readFileSync(join(directory, 'data', 'shared.bin'));
    const other = join(directory, 'other.onnx');
    writeFileSync(other, readFileSync(path));
    for (const value of [undefined, 7]) {
      const model = await readModel(path);
      if (value !== undefined) model.graph.setInitializer(floats('b', [2, 300], (index) => value + index));
      const saved = await saveModel(model, path, { overwrite: true });
      expect(saved).toEqual({ data: value === undefined ? undefined : `${path}.data`, kept: [] });
      expect(await run(path)).toEqual(sum(0, value ?? 1000));
    }
    expect(readFileSync(join(directory, 'data', 'shared.bin'))).toEqual(before);
    expect(await run(other)).toEqual(sum(0, 1000));
  });

  test('a data file of the model is not replaced by the model', async () => {
    const model = await readModel(standard());
    const [data, before] = [join(directory, 'weights.bin'), readFileSync(join(directory, 'weights.bin'))];
    linkSync(data, join(directory, 'hard'));
    symlinkSync('weights.bin', join(directory, 'soft'));
    for (const target of [data, join(directory, 'hard'), join(directory, 'soft')]) {
      await expect(saveModel(model, target, { overwrite: true })).rejects.toThrow(
        `${target}: holds weights of the model itself; name another file`,
      );
    }
    expect(readFileSync(data)).toEqual(before);
  });

  test('a data file that another model reads stays when its model is replaced', async () => {
    const path = standard('m.onnx', 'm.onnx.data');
    const other = join(directory, 'other.onnx');
    writeFileSync(other, readFileSync(path));
    const small = buildModel({ nodes: [] });
    expect((await saveModel(small, path, { overwrite: true })).kept).toEqual([`${path}.data`]);
    expect(await run(other)).toEqual(sum(0, 1000));
    rmSync(other);
    const again = standard('n.onnx', 'n.onnx.data');
    expect((await saveModel(small, again, { overwrite: true })).kept).toEqual([]);
    expect(readdirSync(directory).sort()).toEqual(['m.onnx', 'm.onnx.data', 'n.onnx']);
    // Of a name that is not the model's own nobody knows who reads it.
    const foreign = standard('f.onnx', 'weights.bin');
    const saved = await saveModel(small, foreign, { overwrite: true });
    expect(saved.kept).toEqual([join(directory, 'weights.bin')]);
  });

  test('of two processes that save at once each gets its own data file, or neither harms the other', async () => {
    const models = await Promise.all([1, 2, 3].map(async () => readModel(standard())));
    const [path, ...more] = ['p.onnx', 'q.onnx'].map((name) => join(directory, name));
    const results = await Promise.allSettled(models.map((model) => saveModel(model, path as string)));
    expect(results.filter(({ status }) => status === 'fulfilled').length).toBe(1);
    for (const result of results)
      if (result.status === 'rejected') expect(String(result.reason)).toMatch(/exists already/);
    expect(await run(path as string)).toEqual(sum(0, 1000));
    expect(readdirSync(directory).filter((name) => name.startsWith('p.onnx.')).length).toBe(1);
    const target = more[0] as string;
    await Promise.all(models.map((model) => saveModel(model, target, { overwrite: true })));
    expect(await run(target)).toEqual(sum(0, 1000));
  });

  test('new weights are appended on 4 KiB boundaries', async () => {
    const model = await readModel(standard());
    model.graph.setInitializer(floats('b', [2, 300], (index) => 7 + index));
    const path = join(directory, 'new.onnx');
    await saveModel(model, path);
    const saved = await readModel(path);
    for (const tensor of saved.graph.initializers.values()) {
      const entries = new Map((tensor.proto.external_data ?? []).map(({ key, value }) => [key, value]));
      expect(entries.get('location')).toBe('new.onnx.data');
      expect(Number(entries.get('offset')) % 4096).toBe(0);
      expect(entries.get('length')).toBe(String(BYTES));
    }
    expect(await run(path)).toEqual(sum(0, 7));
    // What was removed takes no space.
    expect(readFileSync(join(directory, 'new.onnx.data')).length).toBe(4096 + BYTES);
  });

  test('tensors that share a range share it still, also after an edit', async () => {
    const path = join(directory, 'm.onnx');
    externalModel(path, [
      ['location', 'w.bin'],
      ['offset', '0'],
      ['length', String(BYTES)],
      ['checksum', 'abc'],
    ]);
    writeData(join(directory, 'w.bin'), numbers(3));
    for (const edit of [false, true]) {
      const model = await readModel(path);
      if (edit) model.graph.renameNode(model.graph.nodes[0] as (typeof model.graph.nodes)[0], 'renamed');
      const target = join(directory, `out-${edit}.onnx`);
      await saveModel(model, target);
      expect(readFileSync(`${target}.data`).length).toBe(BYTES);
      const saved = await readModel(target);
      expect(saved.graph.initializers.get('a')?.proto.external_data?.map(({ key }) => key)).toContain(
        'checksum',
      );
      expect(await run(target)).toEqual(sum(3, 3));
    }
  });

  test("'always' puts large weights beside the model, 'never' refuses to inline", async () => {
    const model = buildModel({
      inputs: [['x', 'float32', [2, 300]]],
      outputs: [['y', 'float32', [2, 300]]],
      nodes: [
        { opType: 'Add', inputs: ['x', 'a'], outputs: ['s'] },
        { opType: 'Add', inputs: ['s', 'small'], outputs: ['y'] },
      ],
      initializers: [floats('a', [2, 300], (index) => 2 * index), floats('small', [1], () => 4)],
    });
    const path = join(directory, 'm.onnx');
    await saveModel(model, path, { external: 'always' });
    const saved = await readModel(path);
    expect(saved.graph.initializers.get('a')?.isExternal).toBe(true);
    expect(saved.graph.initializers.get('small')?.isExternal).toBe(false);
    expect(await run(path)).toEqual(sum(4, 0));
    await expect(saveModel(saved, join(directory, 'n.onnx'), { external: 'never' })).rejects.toThrow(
      /weights are external/,
    );
  });

  test('past 2 GiB weights go beside the model by themselves', async () => {
    // Zeros that nobody allocates; the third read says that the data file is being written, which is all we want.
    let reads = 0;
    const zeros: ByteSource = {
      length: 2 ** 30,
      read: () => {
        reads += 1;
        throw new Error('far enough');
      },
    };
    const weights = ['a', 'b', 'c'].map((name) => Tensor.of(name, 'float32', [2 ** 28], { ...zeros }));
    const model = buildModel({ nodes: [], initializers: weights });
    const path = join(directory, 'huge.onnx');
    await expect(saveModel(model, path, { external: 'never' })).rejects.toThrow(
      /past the 2 GiB that protobuf allows/,
    );
    expect(reads).toBe(0);
    await expect(saveModel(model, path)).rejects.toThrow('far enough');
    expect(reads).toBe(1);
    expect(readdirSync(directory)).toEqual([]);
  });

  test('a failure removes the data files that were written', async () => {
    const model = await readModel(standard());
    rmSync(join(directory, 'weights.bin'));
    const again = await readModel(join(directory, 'm.onnx'));
    await expect(saveModel(again, join(directory, 'out.onnx'))).rejects.toThrow(
      /put that file beside the model/,
    );
    expect(readdirSync(directory)).toEqual(['m.onnx']);
    expect(model.changed).toBe(false);
  });
});
