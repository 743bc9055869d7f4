import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { type Model, Tensor, ValueInfo } from '../../../src/graph/index.js';
import { temporaryName } from '../../../src/graph/io/temporary.js';
import { openSession, randomInputs, runModel } from '../../../src/runtime/index.js';
import { placementOf } from '../../../src/runtime/session/placement.js';
import { parseProfile } from '../../../src/runtime/session/profile.js';
import { buildModel } from '../../../src/runtime/session/small-model.js';
import { modelOf } from '../helpers.js';

afterEach(() => vi.unstubAllEnvs());

const named = (name: string): Model =>
  modelOf(
    [
      { opType: 'Relu', name, inputs: ['x'], outputs: ['r'] },
      { opType: 'Exp', name: `${name} 2`, inputs: ['r'], outputs: ['y'] },
    ],
    [['x', 'float32', [2]]],
    [['y', 'float32', [2]]],
  );

/** Counts to `steps` in a Loop. */
function counting(steps: bigint): Model {
  const body = buildModel({
    nodes: [
      { opType: 'Identity', inputs: ['go'], outputs: ['goes'] },
      { opType: 'Add', inputs: ['sum', 'x'], outputs: ['next'] },
    ],
    inputs: [
      ValueInfo.tensor('i', 'int64', []),
      ValueInfo.tensor('go', 'bool', []),
      ValueInfo.tensor('sum', 'float32', [1]),
    ],
    outputs: [ValueInfo.tensor('goes', 'bool', []), ValueInfo.tensor('next', 'float32', [1])],
    opset: 17,
  });
  return modelOf(
    [
      {
        opType: 'Loop',
        inputs: ['steps', '', 'x'],
        outputs: ['y'],
        attributes: { body: { graph: body.proto.graph! } as never },
      },
    ],
    [['x', 'float32', [1]]],
    [['y', 'float32', [1]]],
    [Tensor.of('steps', 'int64', [], BigInt64Array.of(steps))],
  );
}

describe('who ran which node', () => {
  test('is known whatever the nodes are called', async () => {
    const name = fc.string({
      unit: fc.constantFrom('"', '\\', '\n', '\t', '\r', '{', '}', ',', 'a', ' ', 'é'),
    });
    await fc.assert(
      fc.asyncProperty(name, async (text) => {
        const { outputs, placement } = await runModel(named(text), randomInputs(named(text)));
        expect(outputs.y?.data).toHaveLength(2);
        expect(placement.problem).toBeUndefined();
        expect(placement.nodes.map(({ op }) => op).toSorted()).toEqual(['Exp', 'Relu']);
      }),
      { numRuns: 20, examples: [['a"b'], ['a\nb'], ['","args" : {"x'], ['\\']] },
    );
  });

  test('is not asked of loops that take many steps, or nobody knows how many', async () => {
    const { outputs, placement } = await runModel(counting(200_000n), {
      x: { type: 'float32', shape: [1], data: Float32Array.of(1) },
    });
    expect(outputs.y?.data[0]).toBe(200_001);
    expect(placement).toMatchObject({ nodes: [], problem: expect.stringContaining('its loops take') });
    const few = await runModel(counting(5n), {
      x: { type: 'float32', shape: [1], data: Float32Array.of(1) },
    });
    expect(few.placement.nodes.find(({ op }) => op === 'Add')?.runs).toBe(5);
  });

  test('is left out where there is no room for a profile; the result is there', async () => {
    vi.stubEnv('TMPDIR', join(tmpdir(), 'there', 'is', 'no', 'such', 'folder'));
    const { outputs, placement } = await runModel(named('a'), randomInputs(named('a')));
    expect(outputs.y?.data).toHaveLength(2);
    expect(placement).toMatchObject({ uses: [], problem: expect.stringContaining('no room for') });
  });

  test('leaves nothing behind, and clears what a killed process left', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'profile-test-'));
    vi.stubEnv('TMPDIR', folder);
    const { mkdirSync } = await import('node:fs');
    // No process has this number.
    const left = temporaryName(join(folder, 'onnx-overparam-profile'), 2 ** 31 - 1);
    mkdirSync(left);
    await runModel(named('a'), randomInputs(named('a')));
    expect(readdirSync(folder)).toEqual([]);
    rmSync(folder, { recursive: true });
  });

  test('is read from a profile that is cut off', () => {
    const event = (name: string) =>
      `{"cat" : "Node","pid" :1,"tid" :1,"dur" :5,"ts" :1,"ph" : "X","name" :"${name}_kernel_time","args" : {"provider" : "CPUExecutionProvider","op_name" : "Relu","node_index" : "0"}},\n`;
    const text = `[\n${event('a')}${event('b')}`;
    for (let length = 0; length <= text.length; length += 1) {
      const { nodes } = placementOf(parseProfile(text.slice(0, length)));
      expect(nodes.length).toBeLessThanOrEqual(2);
      for (const { provider } of nodes) expect(provider).toBe('cpu');
    }
    expect(placementOf(parseProfile(text)).nodes).toHaveLength(2);
  });
});

test('a float16 graph that onnxruntime cannot rewrite is loaded without that', async () => {
  const tensor = (name: string, shape: number[]): Tensor =>
    Tensor.of(name, 'float16', shape, new Uint16Array(shape[0]! * (shape[1] ?? 1)).fill(0x3c00));
  const model = modelOf(
    [
      { opType: 'Transpose', inputs: ['x'], outputs: ['t'], attributes: { perm: { ints: [1, 0, 2] } } },
      { opType: 'MatMul', inputs: ['t', 'a'], outputs: ['m'] },
      { opType: 'MatMul', inputs: ['m', 'b'], outputs: ['n'] },
      { opType: 'Add', inputs: ['n', 'c'], outputs: ['y'] },
    ],
    [['x', 'float16', [7, 2, 6]]],
    [['y', 'float16', [2, 7, 5]]],
    [tensor('a', [6, 5]), tensor('b', [5, 5]), tensor('c', [5])],
  );
  await using session = await openSession(model);
  const x = { type: 'float16', shape: [7, 2, 6], data: new Uint16Array(84) } as const;
  expect((await session.run({ x })).y?.shape).toEqual([2, 7, 5]);
});
