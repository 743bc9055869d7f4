import { describe, expect, test } from 'vitest';
import { verifyModels } from '../../src/analysis/verify/verify.js';
import { readModel, Tensor, ValueInfo } from '../../src/graph/index.js';
import { expand } from '../../src/passes/expand/expand.js';
import { gradient } from '../../src/passes/gradient/index.js';
import { randomInputs } from '../../src/runtime/inputs/random-inputs.js';
import { diagnose } from '../../src/runtime/providers/doctor.js';
import { benchModels } from '../../src/runtime/session/bench.js';
import { runModel } from '../../src/runtime/session/run-model.js';
import { openSession } from '../../src/runtime/session/session.js';
import { buildModel } from '../../src/runtime/session/small-model.js';
import { MLP } from '../passes/gradient/networks.js';
import { findWebGpu } from '../support/webgpu.js';
import { modelOf, numbers } from './helpers.js';

const hasWebGpu = await findWebGpu();

/** y = relu(x w), and where it is not zero: for which WebGPU has no kernel. */
const falling = () =>
  modelOf(
    [
      { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['h'], name: 'product' },
      { opType: 'Relu', inputs: ['h'], outputs: ['y'], name: 'relu' },
      { opType: 'NonZero', inputs: ['y'], outputs: ['where'], name: 'where' },
    ],
    [['x', 'float32', ['n', 8]]],
    [
      ['y', 'float32', ['n', 4]],
      ['where', 'int64', [2, 'k']],
    ],
    [Tensor.of('w', 'float32', [8, 4], numbers(32))],
  );

const perceptron = () =>
  modelOf(
    [
      { opType: 'Gemm', inputs: ['x', 'w', 'b'], outputs: ['h'], name: 'hidden' },
      { opType: 'Relu', inputs: ['h'], outputs: ['r'], name: 'relu' },
      { opType: 'MatMul', inputs: ['r', 'v'], outputs: ['y'], name: 'last' },
    ],
    [['x', 'float32', ['n', 8]]],
    [['y', 'float32', ['n', 4]]],
    [
      Tensor.of('w', 'float32', [8, 16], numbers(128)),
      Tensor.of('b', 'float32', [16], numbers(16, 2)),
      Tensor.of('v', 'float32', [16, 4], numbers(64, 3)),
    ],
  );

describe.runIf(hasWebGpu)('WebGPU', () => {
  test('runs a model as the CPU does, every node of it, strictly', async () => {
    const model = await readModel('fixtures/shapes.onnx');
    const feeds = randomInputs(model, { batch: 2 });
    const cpu = await runModel(model, feeds);
    const gpu = await runModel(model, feeds, { providers: 'webgpu', strict: true });
    expect(gpu.placement.uses.map(({ provider }) => provider)).toEqual(['webgpu']);
    expect(gpu.fallen).toEqual([]);
    const [a, b] = [cpu.outputs.logits!.data, gpu.outputs.logits!.data] as [Float32Array, Float32Array];
    const scale = a.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    for (const [index, value] of a.entries()) expect(Math.abs(b[index]! - value)).toBeLessThan(1e-4 * scale);
  });

  test('what it has no kernel for falls to the CPU and is named; strictly it is refused', async () => {
    const feeds = randomInputs(falling(), { batch: 3 });
    const run = await runModel(falling(), feeds, { providers: 'webgpu' });
    expect(run.fallen.map(({ op }) => op)).toEqual(['NonZero']);
    expect(Object.fromEntries(run.placement.uses.map(({ provider, nodes }) => [provider, nodes]))).toEqual({
      webgpu: 2,
      cpu: 1,
    });
    await expect(runModel(falling(), feeds, { providers: 'webgpu', strict: true })).rejects.toThrow(
      '1 of 3 nodes fall to the CPU, for webgpu has no kernel for them: 1 NonZero',
    );
    await expect(openSession(falling(), { providers: 'webgpu', strict: true })).rejects.toThrow('CPU');
    // Asked for by name, the CPU does what it is asked.
    expect((await runModel(falling(), feeds, { providers: ['webgpu', 'cpu'] })).fallen).toEqual([]);
  });

  test('verify: the expanded model on WebGPU against the original on the CPU', async () => {
    const original = perceptron();
    const expanded = perceptron();
    await expanded.apply(expand({ depth: 2 }));
    const options = { samples: 1, providers: 'webgpu', referenceProviders: 'cpu' } as const;
    const { passed, placements } = await verifyModels(original, expanded, options);
    expect(passed).toBe(true);
    expect(placements?.a.uses.map(({ provider }) => provider)).toEqual(['cpu']);
    expect(placements?.b.uses.map(({ provider }) => provider)).toEqual(['webgpu']);
    const strict = { samples: 1, providers: 'webgpu', strict: true } as const;
    await expect(verifyModels(falling(), falling(), strict)).rejects.toThrow('fall to the CPU');
  });

  test.each([
    ['a perceptron', () => MLP('float32'), 5],
  ] as const)('a training step of %s: loss and gradients as on the CPU', async (_, build, classes) => {
    const model = build();
    const step = await gradient(model, { loss: 'cross-entropy', batch: 3 });
    const labels = {
      type: 'int64',
      shape: [3],
      data: BigInt64Array.from([0, 1, classes - 1], BigInt),
    } as const;
    const feeds = { ...randomInputs(step.model), [step.target ?? '']: labels };
    const cpu = await runModel(step.model, feeds);
    const gpu = await runModel(step.model, feeds, { providers: 'webgpu' });
    const onGpu = gpu.placement.uses.find(({ provider }) => provider === 'webgpu')?.nodes ?? 0;
    expect(onGpu).toBeGreaterThan(10);
    expect(Object.keys(gpu.outputs)).toEqual(Object.keys(cpu.outputs));
    for (const [name, { data }] of Object.entries(cpu.outputs)) {
      const other = gpu.outputs[name]?.data as Float32Array;
      const scale = (data as Float32Array).reduce((most, value) => Math.max(most, Math.abs(value)), 1e-6);
      for (const [at, value] of (data as Float32Array).entries()) {
        expect(Math.abs(other[at]! - value), name).toBeLessThan(1e-3 * scale);
      }
    }
  });

  test('bench: beside the CPU', async () => {
    const models = [{ name: 'falling', model: falling() }];
    const { rows } = await benchModels(models, {
      providers: ['cpu', 'webgpu'],
      runs: 2,
      warmup: 0,
      batches: [1, 3],
    });
    expect(rows.map(({ provider, batch, fallen }) => [provider, batch, fallen])).toEqual([
      ['cpu', 1, 0],
      ['webgpu', 1, 1],
      ['cpu', 3, 0],
      ['webgpu', 3, 1],
    ]);
  });

  test('inputs and outputs can stay on the device', async () => {
    const model = perceptron();
    const feeds = randomInputs(model, { batch: 3 });
    await using session = await openSession(model, { providers: 'webgpu', bound: true });
    await using bound = await session.bind(feeds);
    for (let run = 0; run < 3; run += 1) await bound.run();
    await expect(session.bind({})).rejects.toThrow("input 'x' is not fed");
    await using plain = await openSession(model, { providers: 'webgpu' });
    await expect(plain.bind(feeds)).rejects.toThrow('was not opened to be bound');
    const { rows } = await benchModels([{ name: 'a', model }], {
      providers: ['cpu', 'webgpu'],
      bound: true,
      runs: 2,
      warmup: 0,
    });
    expect(rows.map(({ provider, bound: isBound, p50 }) => [provider, isBound, p50 > 0])).toEqual([
      ['cpu', false, true],
      ['webgpu', true, true],
    ]);
  });

  test.each([
    // Channels, outputs, groups; of the operator set; with a bias?
    [2, 12, 2, 17, false],
    [4, 20, 4, 18, true],
    [2, 18, 2, 17, false],
    [12, 12, 2, 11, true],
    [6, 16, 1, 17, true],
    [9, 4, 1, 10, false],
    [6, 6, 1, 17, false],
    [3, 8, 1, 17, false],
    [10, 4, 1, 17, false],
  ] as const)('a convolution of %i channels to %i in %i groups is right', async (...given) => {
    const [channels, outputs, group, opset, hasBias] = given;
    const shape = [outputs, channels / group, 3, 3];
    const bias = hasBias ? [Tensor.of('b', 'float32', [outputs], numbers(outputs))] : [];
    const model = buildModel({
      nodes: [
        {
          opType: 'Conv',
          inputs: ['x', 'w', ...bias.map(({ name }) => name)],
          outputs: ['y'],
          attributes: { group: { int: group }, strides: { ints: [2, 2] }, pads: { ints: [1, 1, 1, 1] } },
        },
      ],
      inputs: [ValueInfo.tensor('x', 'float32', ['n', channels, 7, 7])],
      outputs: ['y'],
      initializers: [Tensor.of('w', 'float32', shape, numbers(shape.reduce((a, b) => a * b))), ...bias],
      opset,
    });
    const feeds = randomInputs(model, { batch: 2 });
    const [cpu, gpu] = [await runModel(model, feeds), await runModel(model, feeds, { providers: 'webgpu' })];
    const [a, b] = [cpu.outputs.y!.data, gpu.outputs.y!.data] as [Float32Array, Float32Array];
    const error = Math.hypot(...a.map((value, at) => value - b[at]!));
    expect(error).toBeLessThan(1e-5 * Math.hypot(...a));
    expect(gpu.placement.uses.map(({ provider }) => provider)).toEqual(['webgpu']);
  });

  test('doctor: it multiplies matrices', async () => {
    const { providers } = await diagnose({ providers: ['webgpu'] });
    expect(providers[0]?.failure).toBeUndefined();
    expect(providers[0]?.proof?.rate).toBeGreaterThan(0);
  });
});
