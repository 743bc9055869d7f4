import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Model, modelToBytes, readModel, saveModel, Tensor } from '../../../src/graph/index.js';
import { collapse } from '../../../src/passes/collapse/collapse.js';
import { writeAdapter } from '../../../src/passes/lora/adapter-file.js';
import { type AddAdaptersOptions, addAdapters } from '../../../src/passes/lora/add-adapters.js';
import { adapterWeights } from '../../../src/passes/lora/note.js';
import { modelAdapters, readAdapters } from '../../../src/passes/lora/read-adapter.js';
import { openCheckpoint } from '../../../src/runtime/checkpoint/index.js';
import { Random } from '../../../src/runtime/index.js';
import { chosenWeights } from '../../../src/training/weights/select-weights.js';
import { buildModel } from '../../support/build.js';
import { scratchDirectory } from '../../support/scratch-directory.js';
import { expectSameFunction, expectSound, TOLERANCE } from '../laws.js';
import { copyOf, weight } from '../models.js';

const directory = scratchDirectory('add-adapters');

/** Every kind of layer: Gemm both ways, MatMul with its weight on either side and in a batch, convolutions, one weight twice. */
function layers(type: 'float32' | 'float64' = 'float32'): Model {
  const names = {
    'conv.weight': [6, 2, 3, 3],
    'up.weight': [6, 4, 2, 2],
    'a.weight': [10, 8],
    'b.weight': [10, 9],
    'left.weight': [7, 5],
    'batch.weight': [4, 9, 6],
    'twice.weight': [6, 6],
  } as const;
  const initializers = Object.entries(names).map(([name, shape]) => weight(name, shape, type));
  return buildModel({
    inputs: [
      ['x', type, [4, 5, 8]],
      ['image', type, [2, 4, 6, 6]],
    ],
    outputs: [
      ['y', type, [4, 7, 6]],
      ['z', type, [2, 8, 8, 8]],
    ],
    nodes: [
      { opType: 'Reshape', name: 'flat', inputs: ['x', 'rows'], outputs: ['f'] },
      {
        opType: 'Gemm',
        name: 'a',
        inputs: ['f', 'a.weight', 'a.bias'],
        outputs: ['g'],
        attributes: { transB: { int: 1 }, alpha: { float: 0.5 } },
      },
      { opType: 'Tanh', name: 't', inputs: ['g'], outputs: ['tg'] },
      { opType: 'Gemm', name: 'b', inputs: ['tg', 'b.weight'], outputs: ['h'] },
      { opType: 'Reshape', name: 'back', inputs: ['h', 'three'], outputs: ['h3'] },
      { opType: 'MatMul', name: 'left', inputs: ['left.weight', 'h3'], outputs: ['l'] },
      { opType: 'MatMul', name: 'batch', inputs: ['l', 'batch.weight'], outputs: ['m'] },
      { opType: 'MatMul', name: 'first', inputs: ['m', 'twice.weight'], outputs: ['n'] },
      { opType: 'Relu', name: 'relu', inputs: ['n'], outputs: ['r'] },
      { opType: 'MatMul', name: 'second', inputs: ['r', 'twice.weight'], outputs: ['y'] },
      {
        opType: 'Conv',
        name: 'conv',
        inputs: ['image', 'conv.weight'],
        outputs: ['c'],
        attributes: { group: { int: 2 }, strides: { ints: [2, 2] }, pads: { ints: [2, 2, 2, 2] } },
      },
      {
        opType: 'ConvTranspose',
        name: 'up',
        inputs: ['c', 'up.weight'],
        outputs: ['z'],
        attributes: { group: { int: 2 }, strides: { ints: [2, 2] } },
      },
    ],
    initializers: [
      ...initializers,
      weight('a.bias', [10], type),
      Tensor.of('rows', 'int64', [2], BigInt64Array.of(20n, 8n)),
      Tensor.of('three', 'int64', [3], BigInt64Array.of(4n, 5n, 9n)),
    ],
  });
}

async function adapted(model: Model, options: AddAdaptersOptions) {
  const copy = await copyOf(model);
  const [account] = await copy.apply(addAdapters(options));
  expectSound(copy);
  return { model: copy, account };
}

/** As training would, gives every factor other numbers. */
function train(model: Model, seed: number): void {
  const random = new Random(seed);
  for (const name of adapterWeights(model.graph)) {
    const tensor = model.graph.initializers.get(name);
    if (tensor === undefined) continue;
    const values = tensor.floats().map((value) => value + 0.1 * random.normal());
    model.graph.setInitializer(tensor.withData(values as Float32Array));
  }
}

const SETTINGS = fc.record({
  rank: fc.integer({ min: 1, max: 3 }),
  alpha: fc.double({ min: 0.5, max: 16, noNaN: true }),
  init: fc.constantFrom('zero' as const, 'pissa' as const),
  rsLora: fc.boolean(),
  deep: fc.boolean(),
});

describe('adapters', () => {
  test('change nothing, train, survive a save, and fold into the weights', async () => {
    await fc.assert(
      fc.asyncProperty(SETTINGS, fc.integer({ min: 0, max: 100 }), async (settings, seed) => {
        const base = layers();
        const { model, account } = await adapted(base, { ...settings, seed });
        // Ranks up to 2 fit the convolution of two inputs a group; each layer is told of once.
        const named = [...account.rewritten, ...account.skipped].map(({ node }) => node);
        expect(named.sort()).toEqual(['a', 'b', 'batch', 'conv', 'first', 'left', 'second', 'up']);
        await expectSameFunction(base, model);
        if (settings.init === 'zero')
          for (const [name, tensor] of base.graph.initializers)
            expect(model.graph.initializers.get(name)?.bytes(), name).toEqual(tensor.bytes());
        const back = await copyOf(model);
        const chosen = chosenWeights(back, {});
        expect([...chosen.weights].sort()).toEqual(
          [...adapterWeights(model.graph)]
            .filter((name) => /^(?!conv|up).*lora_.\.weight$/.test(name))
            .sort(),
        );
        train(back, seed);
        const merged = await copyOf(back);
        await merged.apply(collapse({ chainsOnly: true }));
        expectSound(merged);
        await expectSameFunction(back, merged);
        expect(merged.graph.nodes.map(({ label, opType }) => [label, opType])).toEqual(
          base.graph.nodes.map(({ label, opType }) => [label, opType]),
        );
        expect([...merged.graph.initializers.keys()].sort()).toEqual(
          [...base.graph.initializers.keys()].sort(),
        );
      }),
      { numRuns: 12 },
    );
  }, 60_000);

  test('that were not trained fold to the same bytes', async () => {
    const base = layers();
    const { model } = await adapted(base, { rank: 2 });
    await model.apply(collapse({ chainsOnly: true }));
    for (const [name, tensor] of base.graph.initializers)
      expect(model.graph.initializers.get(name)?.bytes(), name).toEqual(tensor.bytes());
  });

  test('in float64 fold exactly, and a dry run says the same and changes nothing', async () => {
    const base = layers('float64');
    // onnxruntime has no convolutions in float64.
    base.graph.removeOutput('z');
    base.graph.remove(...base.graph.nodes.filter(({ name }) => name === 'conv' || name === 'up'));
    base.graph.removeInput('image');
    const dry = await copyOf(base);
    const [told] = await dry.apply(addAdapters({ rank: 2, dryRun: true }));
    expect(modelToBytes(dry)).toEqual(modelToBytes(await copyOf(base)));
    const { model, account } = await adapted(base, { rank: 2 });
    expect(told).toEqual(account);
    train(model, 1);
    const before = modelToBytes(model);
    const [dryFold] = await model.apply(collapse({ dryRun: true, chainsOnly: true }));
    expect(modelToBytes(model)).toEqual(before);
    const merged = await copyOf(model);
    const [fold] = await merged.apply(collapse({ chainsOnly: true }));
    expect(dryFold).toEqual(fold);
    await expectSameFunction(model, merged, TOLERANCE.float64);
  });

  test('are written as PEFT does, read back and applied: the same function', async () => {
    const only = ['a', 'b', 'first', 'second'];
    const base = layers();
    for (const deep of [false, true]) {
      const { model } = await adapted(base, { rank: 3, alpha: 6, only, deep });
      train(model, 2);
      const { adapters, skipped } = await modelAdapters(model);
      expect(skipped).toEqual([]);
      expect(adapters.map(({ module, scale }) => [module, scale])).toEqual([
        ['a', 2],
        ['b', 2],
        ['twice', 2],
      ]);
      const path = join(directory, `peft-${deep}`);
      await writeAdapter(path, adapters, { overwrite: true });
      const source = await openCheckpoint(path);
      if ('onnx' in source) throw new Error('no checkpoint');
      using checkpoint = source;
      const read = await readAdapters(checkpoint);
      const { model: applied, account } = await adapted(base, { adapters: read.adapters });
      expect(account.unapplied).toEqual([]);
      await expectSameFunction(model, applied);
      const { model: other, account: partly } = await adapted(base, {
        adapters: [...read.adapters, { ...read.adapters[0]!, module: 'model.layers.3.mlp' }],
        only: ['a'],
      });
      expect(partly.rewritten.map(({ module }) => module)).toEqual(['a']);
      expect(partly.unapplied.map(({ module }) => module)).toEqual(['b', 'twice', 'model.layers.3.mlp']);
      expectSound(other);
    }
  });

  test('of a changed graph are told of and left', async () => {
    const { model } = await adapted(layers(), { rank: 2, only: ['a', 'b'] });
    const sum = model.graph.nodes.find(({ name }) => name === 'a/lora_sum')!;
    const factor = model.graph.nodes.find(({ name }) => name === 'a/lora_A')!;
    model.graph.setMetadata(factor, 'onnx-overparam.lora', undefined);
    const [{ skipped, rewritten }] = await model.apply(collapse({ chainsOnly: true }));
    expect(skipped.map(({ node }) => node)).toEqual([sum.label]);
    expect(rewritten.map(({ node }) => node)).toEqual(['b']);
  });

  test('listed as inputs can be fed, and stay inputs in a file', async () => {
    const { model } = await adapted(layers(), { rank: 2, only: ['a'], inputs: true });
    expect(model.graph.inputs.map(({ name }) => name)).toEqual([
      'x',
      'image',
      'a.lora_A.weight',
      'a.lora_B.weight',
    ]);
    const path = join(directory, 'inputs.onnx');
    await saveModel(model, path);
    const back = await readModel(path);
    expect([...chosenWeights(back, {}).weights]).toEqual(['a.lora_A.weight', 'a.lora_B.weight']);
    const [{ skipped }] = await back.apply(collapse({ chainsOnly: true }));
    expect(skipped[0]?.reason).toMatch(/input/);
  });

  test('options that do not go together are refused', () => {
    expect(() => addAdapters({ rank: 0 })).toThrow(/rank/);
    expect(() => addAdapters({ rank: 4, adapters: [] })).toThrow(/settled by the adapters/);
  });
});
