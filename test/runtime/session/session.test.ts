import { existsSync, readdirSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  createModel,
  type Model,
  modelToBytes,
  readModel,
  saveModel,
  Tensor,
} from '../../../src/graph/index.js';
import { evaluate, openSession } from '../../../src/runtime/index.js';
import { modelOf, numbers } from '../helpers.js';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'session-test-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** y = x w + b; w is 400 x 3, large enough to be external. */
function linear(): Model {
  return modelOf(
    [
      { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['p'], name: 'product' },
      { opType: 'Add', inputs: ['p', 'b'], outputs: ['y'] },
    ],
    [['x', 'float32', ['batch', 'size']]],
    [
      ['y', 'float32', ['batch', 3]],
      ['p', 'float32', ['batch', 3]],
    ],
    [
      Tensor.of('w', 'float32', [400, 3], numbers(1200)),
      Tensor.of('b', 'float32', [3], Float32Array.of(1, 2, 3)),
    ],
  );
}

const x = { type: 'float32', shape: [1, 400], data: new Float32Array(400) } as const;
const zeroed = { type: 'float32', shape: [1, 3], data: Float32Array.of(1, 2, 3) } as const;

describe('openSession', () => {
  it('loads a model from memory, bytes and a path, and describes its values', async () => {
    const path = join(directory, 'linear.onnx');
    await saveModel(linear(), path);
    for (const source of [linear(), modelToBytes(linear()), path, await readModel(path)]) {
      await using session = await openSession(source, { threads: 1, optimization: 'basic', arena: false });
      expect(session.inputs).toEqual([{ name: 'x', type: 'float32', shape: ['batch', 'size'] }]);
      expect(session.outputs[0]).toEqual({ name: 'y', type: 'float32', shape: ['batch', 3] });
      expect((await session.run({ x })).y).toEqual(zeroed);
    }
  });

  it('runs what was edited, not what is in the file', async () => {
    const path = join(directory, 'edited.onnx');
    await saveModel(linear(), path);
    const model = await readModel(path);
    model.graph.setInitializer(Tensor.of('b', 'float32', [3], Float32Array.of(7, 8, 9)));
    expect((await evaluate(model, { x })).y?.data).toEqual(Float32Array.of(7, 8, 9));
  });

  it('copies an edited model with external data to a directory that it removes', async () => {
    const path = join(directory, 'external.onnx');
    await saveModel(linear(), path, { external: 'always' });
    const model = await readModel(path);
    model.graph.setInitializer(Tensor.of('b', 'float32', [3], Float32Array.of(7, 8, 9)));
    const temporary = (): string[] =>
      readdirSync(tmpdir()).filter((name) => name.startsWith('.onnx-overparam-'));
    const before = temporary();
    const session = await openSession(model);
    const [made] = temporary().filter((name) => !before.includes(name));
    expect((await session.run({ x })).y?.data).toEqual(Float32Array.of(7, 8, 9));
    await session[Symbol.asyncDispose]();
    await session[Symbol.asyncDispose]();
    expect(made).toBeDefined();
    expect(existsSync(join(tmpdir(), made ?? ''))).toBe(false);
    await expect(session.run({ x })).rejects.toThrow('the session is disposed');
  });

  it('waits for a run under way before it is disposed', async () => {
    const session = await openSession(linear());
    const run = session.run({ x });
    await session[Symbol.asyncDispose]();
    expect((await run).y).toEqual(zeroed);
  });

  it('computes only the outputs that are asked for, and writes into given arrays', async () => {
    await using session = await openSession(linear());
    expect(Object.keys(await session.run({ x }, { outputs: ['p'] }))).toEqual(['p']);
    const data = new Float32Array(8);
    await session.run({ x }, { into: { y: { ...zeroed, data: data.subarray(2, 5) } } });
    expect(data).toEqual(Float32Array.of(0, 0, 1, 2, 3, 0, 0, 0));
    await expect(session.run({ x }, { outputs: ['z'] })).rejects.toThrow(
      "has no output 'z'; its outputs are 'y', 'p'",
    );
  });

  it('passes bfloat16, which the binding does not know', async () => {
    const model = modelOf(
      [{ opType: 'Identity', inputs: ['x'], outputs: ['y'] }],
      [['x', 'bfloat16', ['n']]],
      [['y', 'bfloat16', ['n']]],
    );
    const revision = model.revision;
    await using session = await openSession(model);
    expect(session.inputs).toEqual([{ name: 'x', type: 'bfloat16', shape: ['n'] }]);
    const feed = { type: 'bfloat16', shape: [3], data: Uint16Array.of(0x3f80, 0xc2f7, 0x7f80) } as const;
    expect(await session.run({ x: feed })).toEqual({ y: feed });
    expect(model.revision).toBe(revision);
  });

  it.each([
    ['a missing feed', {}, "input 'x' is not fed; it is float32[batch, size]"],
    ['an unknown feed', { x, z: x }, "has no input 'z'; its inputs are 'x'"],
    [
      'another type',
      { x: { ...x, type: 'float64', data: new Float64Array(400) } },
      'float64[1, 400] was fed',
    ],
    ['another rank', { x: { ...x, shape: [400] } }, 'float32[400] was fed'],
    [
      'too little data',
      { x: { ...x, shape: [2, 400] } },
      '400 elements for the shape [2, 400], which has 800',
    ],
  ] as const)('refuses %s', async (_, feeds, message) => {
    await using session = await openSession(linear());
    await expect(session.run(feeds)).rejects.toThrow(message);
  });

  it("turns onnxruntime's errors into one line that names the file and the node", async () => {
    await using session = await openSession(linear());
    const failed = session.run({ x: { type: 'float32', shape: [1, 2], data: new Float32Array(2) } });
    const message = await failed.then(String, (error: Error) => error.message);
    expect(message).toMatch(/^onnxruntime: MatMul 'product': .*dimension/);
    expect(message).not.toMatch(/\n|\.cc|ONNXRuntimeError/);
    const path = join(directory, 'garbage.onnx');
    await writeFile(path, new Uint8Array(100).fill(7));
    await expect(openSession(path)).rejects.toThrow(`${path}: onnxruntime: Protobuf parsing failed.`);
    await expect(openSession(join(directory, 'none.onnx'))).rejects.toThrow(
      /none\.onnx: onnxruntime: .*doesn't exist/,
    );
    const bytes = await readFile(path);
    await expect(openSession(bytes)).rejects.toThrow(/protobuf parsing failed/i);
  });

  it('names values that are no tensors', async () => {
    const proto = modelOf(
      [{ opType: 'SequenceConstruct', inputs: ['x'], outputs: ['list'] }],
      [['x', 'float32', [1]]],
      [['list', 'float32']],
    ).proto;
    proto.graph!.output![0]!.type = { sequence_type: { elem_type: { tensor_type: { elem_type: 1 } } } };
    const model = createModel(proto);
    await using session = await openSession(model);
    expect(session.outputs).toEqual([{ name: 'list', type: undefined, shape: [] }]);
    await expect(
      session.run({ x: { type: 'float32', shape: [1], data: new Float32Array(1) } }),
    ).rejects.toThrow(
      "output 'list' is a sequence, which onnxruntime-node does not return; only tensors come out",
    );
  });

  it('refuses odd numbers of threads', async () => {
    await expect(openSession(linear(), { threads: 0 })).rejects.toThrow(
      'threads must be an integer ≥ 1 and ≤ 1024, is 0',
    );
  });
});
