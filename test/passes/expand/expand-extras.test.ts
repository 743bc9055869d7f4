import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type AttributeValue,
  type GraphProto,
  type Model,
  printModel,
  Tensor,
  ValueInfo,
} from '../../../src/graph/index.js';
import { smallSvd } from '../../../src/linalg/kernels/index.js';
import type { ExpandOptions } from '../../../src/passes/expand/expand.js';
import { Random } from '../../../src/runtime/random.js';
import { openSession } from '../../../src/runtime/session/session.js';
import { buildGraph, buildModel } from '../../support/build.js';
import { collapsed, expanded, expectRestored, expectSameFunction, TOLERANCE } from '../laws.js';
import { copyOf, type Layer, oneLayer, opsOf, stack, valuesOf, weight } from '../models.js';

const SEED = 20260401;

/** Chains with residual connections, BatchNormalization or both. */
const options: fc.Arbitrary<ExpandOptions> = fc
  .record({
    depth: fc.integer({ min: 2, max: 6 }),
    width: fc.constantFrom(1, 1, 1.5, 2),
    init: fc.constantFrom('balanced', 'identity', 'orthogonal'),
    seed: fc.nat(5),
    batchNorm: fc.boolean(),
    residualIntervals: fc.subarray([1, 2, 3, -1], { minLength: 1 }),
    residualMode: fc.constantFrom('none', 'learn'),
  })
  .chain((settings) => fc.record({ ...constants(settings), residual: fc.boolean() }))
  .map(({ residual, residualIntervals, residualMode, ...rest }) =>
    residual ? { ...rest, residual, residualIntervals, residualMode } : { ...rest, batchNorm: true },
  );

function constants<T extends object>(record: T): { [K in keyof T]: fc.Arbitrary<T[K]> } {
  return Object.fromEntries(
    Object.entries(record).map(([key, value]) => [key, fc.constant(value)]),
  ) as unknown as { [K in keyof T]: fc.Arbitrary<T[K]> };
}

const RESTORED = { float32: 1e-6, float64: 2e-14, float16: 8e-3 } as const;
const TYPES = ['float32', 'float32', 'float64', 'float16'] as const;

async function expectLaws(
  model: Model,
  settings: ExpandOptions,
  type: keyof typeof RESTORED = 'float32',
): Promise<void> {
  const { expanded: after } = await expectRestored(model, settings, RESTORED[type]);
  expect(after.account.rewritten).toHaveLength(1);
  const isRunnable = type !== 'float64' || !model.graph.nodes.some((node) => /^Conv/.test(node.opType));
  if (isRunnable) await expectSameFunction(model, after.model, TOLERANCE[type]);
}

const list = (max: number, length = 3): fc.Arbitrary<number[]> =>
  fc.array(fc.integer({ min: 1, max }), { minLength: length, maxLength: length });

describe('residual connections and BatchNormalization keep the function and fold back', () => {
  test('Gemm of any attributes', async () => {
    const cases = fc.record({
      inputs: fc.integer({ min: 1, max: 7 }),
      outputs: fc.option(fc.integer({ min: 1, max: 7 }), { nil: undefined }),
      transA: fc.constantFrom(0, 0, 1),
      transB: fc.constantFrom(0, 1),
      alpha: fc.constantFrom(1, 0.5, -2, 0),
      beta: fc.constantFrom(1, 0.25),
      c: fc.constantFrom('none', 'vector', 'number', 'matrix'),
      opset: fc.constantFrom(7, 9, 13, 17),
      type: fc.constantFrom(...TYPES),
    });
    await fc.assert(
      fc.asyncProperty(cases, options, async (c, settings) => {
        const [rows, inputs] = [3, c.inputs];
        const outputs = c.outputs ?? inputs;
        const kind = c.opset < 11 && c.c === 'none' ? 'vector' : c.c;
        const shape = { none: undefined, vector: [outputs], number: [1], matrix: [rows, outputs] }[kind];
        const model = oneLayer(
          {
            opType: 'Gemm',
            x: c.transA ? [inputs, rows] : [rows, inputs],
            y: [rows, outputs],
            weight: weight('w', c.transB ? [outputs, inputs] : [inputs, outputs], c.type),
            bias: shape && weight('c', shape, c.type),
            attributes: {
              transA: { int: c.transA },
              transB: { int: c.transB },
              alpha: { float: c.alpha },
              beta: { float: c.beta },
            },
          },
          { opset: c.opset },
        );
        await expectLaws(model, settings, c.type);
      }),
      { numRuns: 60, seed: SEED },
    );
  });

  test('MatMul with the weight on either side, and batches of weights', async () => {
    const cases = fc.record({
      inputs: fc.integer({ min: 1, max: 6 }),
      outputs: fc.option(fc.integer({ min: 1, max: 6 }), { nil: undefined }),
      isWeightLeft: fc.boolean(),
      batch: fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 2 }),
      isBatched: fc.boolean(),
      type: fc.constantFrom(...TYPES),
    });
    await fc.assert(
      fc.asyncProperty(cases, options, async (c, settings) => {
        const { inputs, batch, isWeightLeft } = c;
        const outputs = c.outputs ?? inputs;
        const matrix = isWeightLeft ? [outputs, inputs] : [inputs, outputs];
        const model = oneLayer({
          opType: 'MatMul',
          x: [...batch, ...(isWeightLeft ? [inputs, 3] : [3, inputs])],
          y: [...batch, ...(isWeightLeft ? [outputs, 3] : [3, outputs])],
          weight: weight('w', c.isBatched ? [...batch, ...matrix] : matrix, c.type),
          isWeightLeft,
        });
        await expectLaws(model, settings, c.type);
      }),
      { numRuns: 60, seed: SEED },
    );
  });

  test('Conv and ConvTranspose of any groups, strides, dilations and pads', async () => {
    const cases = fc.record({
      op: fc.constantFrom('Conv', 'Conv', 'ConvTranspose'),
      dimensions: fc.integer({ min: 1, max: 3 }),
      groups: fc.constantFrom(1, 1, 2, 3),
      inputs: fc.integer({ min: 1, max: 4 }),
      outputs: fc.option(fc.integer({ min: 1, max: 4 }), { nil: undefined }),
      kernel: list(4),
      strides: fc.oneof(fc.constant([1, 1, 1]), list(3)),
      dilations: fc.oneof(fc.constant([1, 1, 1]), list(2)),
      pads: fc.constantFrom('same', 'none', 'one', 'SAME_UPPER', 'SAME_LOWER', 'VALID'),
      extra: fc.boolean(),
      hasBias: fc.boolean(),
      type: fc.constantFrom(...TYPES),
    });
    await fc.assert(
      fc.asyncProperty(cases, options, async (c, settings) => {
        const d = c.dimensions;
        const { op, groups, inputs } = c;
        const outputs = c.outputs ?? inputs;
        const [kernel, strides] = [c.kernel.slice(0, d), c.strides.slice(0, d)];
        const isAutomatic = op === 'Conv' && /^[A-Z]/.test(c.pads);
        // onnxruntime computes SAME for undilated kernels only.
        const dilations = isAutomatic ? kernel.map(() => 1) : c.dilations.slice(0, d);
        const reach = kernel.map((extent, axis) => (extent - 1) * dilations[axis]!);
        const explicit: Record<string, number[]> = {
          same: [...reach.map((n) => Math.floor(n / 2)), ...reach.map((n) => Math.ceil(n / 2))],
          one: [...reach, ...reach].map((n) => Math.min(n, 1)),
        };
        const pads = explicit[c.pads];
        const attributes: Record<string, AttributeValue> = {
          ...(groups > 1 && { group: { int: groups } }),
          strides: { ints: strides },
          dilations: { ints: dilations },
          ...(isAutomatic ? { auto_pad: { string: c.pads } } : pads && { pads: { ints: pads } }),
          ...(op === 'ConvTranspose' &&
            c.extra && { output_padding: { ints: strides.map((stride) => stride - 1) } }),
        };
        const [rows, columns] = op === 'Conv' ? [outputs, inputs] : [inputs, outputs];
        const model = stack(
          [2, groups * inputs, ...kernel.map(() => 8)],
          [
            {
              opType: op,
              name: 'layer',
              inputs: ['x', 'w', ...(c.hasBias ? ['b'] : [])],
              outputs: ['y'],
              attributes,
            },
          ],
          [
            weight('w', [groups * rows, columns, ...kernel], c.type),
            ...(c.hasBias ? [weight('b', [groups * outputs], c.type)] : []),
          ],
          { inputs: [['x', c.type, [2, groups * inputs, ...kernel.map(() => 8)]]], outputs: [['y', c.type]] },
        );
        await expectLaws(model, settings, c.type);
      }),
      { numRuns: 90, seed: SEED },
    );
  });
});

/** As training leaves it: every weight, bias and statistic somewhere else. */
async function trained(model: Model): Promise<Model> {
  const copy = await copyOf(model);
  for (const [name, tensor] of model.graph.initializers) {
    const random = new Random(3, name);
    const values = Float32Array.from(tensor.floats(), (value) =>
      name.endsWith('/variance') ? value * (0.5 + random.uniform()) : value + 0.3 * random.normal(),
    );
    copy.graph.setInitializer(Tensor.of(name, 'float32', tensor.shape, values));
  }
  return copy;
}

describe('trained chains fold to one node', () => {
  const conv = (attributes: Record<string, AttributeValue>, rest: Partial<Layer> = {}): Model =>
    oneLayer({
      opType: 'Conv',
      x: [2, 4, 7, 7],
      y: [2, 4, undefined as unknown as number, undefined as unknown as number],
      weight: weight('w', [4, 4, 3, 3]),
      attributes,
      ...rest,
    });
  const same = { pads: { ints: [1, 1, 1, 1] } };
  const gemm = oneLayer({
    opType: 'Gemm',
    x: [3, 5],
    y: [3, 5],
    weight: weight('w', [5, 5]),
    bias: weight('b', [5]),
    attributes: { alpha: { float: 0.5 }, beta: { float: 2 } },
  });
  const matmul = oneLayer({ opType: 'MatMul', x: [3, 5], y: [3, 6], weight: weight('w', [5, 6]) });
  const tokens = (isWeightLeft: boolean): Model =>
    oneLayer({
      opType: 'MatMul',
      x: isWeightLeft ? [2, 4, 7] : [2, 7, 4],
      y: isWeightLeft ? [2, 5, 7] : [2, 7, 5],
      weight: weight('w', isWeightLeft ? [5, 4] : [4, 5]),
      isWeightLeft,
    });
  const columns = oneLayer({
    opType: 'MatMul',
    x: [4, 7],
    y: [5, 7],
    weight: weight('w', [5, 4]),
    isWeightLeft: true,
  });
  const deep = oneLayer({
    opType: 'MatMul',
    x: [2, 3, 7, 4],
    y: [2, 3, 7, 5],
    weight: weight('w', [4, 5]),
  });
  const residual = { residual: true, residualIntervals: [1, 2, -1], residualMode: 'learn' } as const;

  test.each<[string, Model, ExpandOptions, string]>([
    ['Conv', conv(same, { bias: weight('b', [4]) }), { depth: 4, ...residual, batchNorm: true }, 'Conv'],
    ['Conv without a bias', conv(same), { depth: 3, batchNorm: true }, 'Conv'],
    [
      'strided',
      conv({ ...same, strides: { ints: [2, 2] } }),
      { depth: 3, ...residual, batchNorm: true },
      'Conv',
    ],
    [
      'grouped and dilated',
      conv(
        { pads: { ints: [2, 2, 2, 2] }, dilations: { ints: [2, 2] }, group: { int: 2 } },
        { weight: weight('w', [4, 2, 3, 3]) },
      ),
      { depth: 3, ...residual, batchNorm: true },
      'Conv',
    ],
    [
      'several kernels',
      conv({ pads: { ints: [2, 2, 2, 2] } }, { weight: weight('w', [4, 4, 5, 5]) }),
      { kernelSizes: [[3, 3]], width: 12, ...residual, batchNorm: true },
      'Conv',
    ],
    ['Gemm', gemm, { depth: 4, ...residual, batchNorm: true }, 'Gemm'],
    ['MatMul', matmul, { depth: 4, ...residual }, 'MatMul'],
    ['MatMul that gets a bias', matmul, { depth: 2, width: 2, ...residual, batchNorm: true }, 'Gemm'],
    ['tokens', tokens(false), { depth: 3, ...residual, batchNorm: true }, 'MatMul Add'],
    ['channels first', tokens(true), { depth: 3, ...residual, batchNorm: true }, 'MatMul Add'],
    ['columns', columns, { depth: 2, batchNorm: true }, 'MatMul Add'],
    ['more axes', deep, { depth: 2, batchNorm: true }, 'MatMul Add'],
  ])('%s', async (_name, model, settings, op) => {
    const { model: after, account } = await expanded(model, settings);
    expect(account.rewritten[0]!.residuals > 0).toBe(settings.residual === true);
    const before = await trained(after);
    const { model: folded, account: collapse } = await collapsed(before, { chainsOnly: true });
    expect(collapse.skipped).toEqual([]);
    expect(opsOf(folded)).toEqual(op.split(' '));
    expect(folded.graph.nodes[0]!.name).toBe('layer');
    expect((await collapsed(before, { explain: true })).account.rewritten[0]!.probe).toBeLessThan(1e-4);
    expect([...folded.graph.initializers.keys()].filter((name) => name.includes('overparam'))).toEqual([]);
    await expectSameFunction(before, folded);
  });

  test('what reads a value within, or changed a node, is not folded, with the reason', async () => {
    const { model: after } = await expanded(conv(same), { depth: 2, ...residual });
    const open = await copyOf(after);
    const inner = open.graph.nodes[0]!.outputs[0]!;
    open.graph.insert({ opType: 'Relu', inputs: [inner], outputs: ['leak'] });
    const { account } = await collapsed(open, { chainsOnly: true });
    expect(account.rewritten).toEqual([]);
    expect(account.skipped[0]!.reason).toMatch(/is read by .* too$/);
  });
});

describe('what the options do to a site', () => {
  const site = (inputs: number, outputs: number, attributes: Record<string, AttributeValue> = {}): Model =>
    oneLayer({
      opType: 'Conv',
      x: [1, inputs, 8, 8],
      y: [1, outputs, undefined as unknown as number, undefined as unknown as number],
      weight: weight('w', [outputs, inputs, 3, 3]),
      attributes,
    });
  const same = { pads: { ints: [1, 1, 1, 1] } };
  const strided = { ...same, strides: { ints: [2, 2] } };

  test.each<[string, Model, ExpandOptions, number, RegExp | undefined]>([
    ['same shape', site(4, 4, same), { depth: 2 }, 1, undefined],
    ['each layer', site(4, 4, same), { depth: 3, residualIntervals: [1] }, 3, undefined],
    ['each layer and all', site(4, 4, same), { depth: 3, residualIntervals: [1, -1] }, 4, undefined],
    ['-1 is the depth', site(4, 4, same), { depth: 3, residualIntervals: [3, -1] }, 1, undefined],
    [
      'other channels',
      site(3, 4, same),
      { depth: 3, residualIntervals: [1] },
      2,
      /layer 1: the number of channels/,
    ],
    [
      'other channels, learned',
      site(3, 4, same),
      { depth: 3, residualIntervals: [1], residualMode: 'learn' },
      3,
      undefined,
    ],
    ['other size', site(4, 4, strided), { depth: 2 }, 0, /layers 1-2: the size changes/],
    ['other size, learned', site(4, 4, strided), { depth: 2, residualMode: 'learn' }, 1, undefined],
    ['no padding', site(4, 4), { depth: 2, residualMode: 'learn' }, 0, /reaches further than its padding/],
    [
      'too long',
      site(4, 4, same),
      { depth: 2, residualIntervals: [3] },
      0,
      /around 3 layers: the chain has 2/,
    ],
  ])('residual, %s', async (_name, model, settings, residuals, reason) => {
    const { model: after, account } = await expanded(model, { residual: true, ...settings });
    const [row] = account.rewritten;
    expect(row!.residuals).toBe(residuals);
    expect(opsOf(after).filter((op) => op === 'Add')).toHaveLength(residuals);
    if (reason === undefined) expect(row!.without).toEqual([]);
    else expect(row!.without.join()).toMatch(reason);
    await expectSameFunction(model, after);
  });

  test('a weight that is small beside an identity goes without it', async () => {
    const model = oneLayer({
      opType: 'MatMul',
      x: [2, 6],
      y: [2, 6],
      weight: weight('w', [6, 6], 'float32', 1e-3),
    });
    const { expanded: after } = await expectRestored(model, {
      residual: true,
      residualIntervals: [1, -1],
      depth: 3,
    });
    expect(after.account.rewritten[0]!.residuals).toBe(2);
    expect(after.account.rewritten[0]!.without.join()).toMatch(/too small beside an identity/);
  });

  test.each<[string, Model, RegExp]>([
    [
      'data of a rank that is not known',
      buildModel({
        inputs: [['x', 'float32']],
        outputs: [['y', 'float32']],
        nodes: [{ opType: 'MatMul', name: 'layer', inputs: ['x', 'w'], outputs: ['y'] }],
        initializers: [weight('w', [4, 5])],
      }),
      /the rank of its data is not known/,
    ],
    [
      'a vector',
      oneLayer({ opType: 'MatMul', x: [4], y: [5], weight: weight('w', [4, 5]) }),
      /its data is a vector/,
    ],
    [
      'a bias by rows',
      oneLayer({
        opType: 'Gemm',
        x: [3, 4],
        y: [3, 5],
        weight: weight('w', [4, 5]),
        bias: weight('c', [3, 5]),
      }),
      /its bias is no constant vector/,
    ],
  ])('no BatchNormalization for %s', async (_name, model, reason) => {
    const { account } = await expanded(model, { batchNorm: true });
    expect(account.rewritten[0]).toMatchObject({ norms: 0 });
    expect(account.rewritten[0]!.without.join()).toMatch(reason);
  });

  test('statistics are those of independent inputs, to sampling', async () => {
    const model = oneLayer({
      opType: 'Gemm',
      x: [4000, 12],
      y: [4000, 7],
      weight: weight('w', [12, 7]),
      bias: weight('b', [7]),
    });
    const { model: after } = await expanded(model, { depth: 3, batchNorm: true });
    const x = new Random(9).fillNormal(new Float32Array(4000 * 12));
    for (const node of after.graph.nodes.filter(({ opType }) => opType === 'BatchNormalization')) {
      const value = node.inputs[0]!;
      const probe = await copyOf(after);
      const channels = valuesOf(after, node.inputs[4]!);
      const output = ValueInfo.tensor(value, 'float32', [4000, channels.length]).proto;
      (probe.graph.proto as GraphProto).output!.push(output);
      await using session = await openSession(probe);
      const data = (await session.run({ x: { type: 'float32', shape: [4000, 12], data: x } }))[value]!
        .data as Float32Array;
      for (const [channel, variance] of channels.entries()) {
        let [sum, square] = [0, 0];
        for (let row = 0; row < 4000; row += 1) {
          sum += data[row * channels.length + channel]!;
          square += data[row * channels.length + channel]! ** 2;
        }
        const mean = sum / 4000;
        expect(Math.abs(mean - valuesOf(after, node.inputs[3]!)[channel]!)).toBeLessThan(0.1);
        expect((square / 4000 - mean ** 2) / variance).toBeGreaterThan(0.85);
        expect((square / 4000 - mean ** 2) / variance).toBeLessThan(1.15);
      }
    }
  });
});

test('all layers of a residual chain have one spectrum, whose path sums are the singular values', async () => {
  const w = weight('w', [6, 9], 'float64');
  const model = oneLayer({ opType: 'MatMul', x: [2, 6], y: [2, 9], weight: w });
  const { model: after } = await expanded(model, { depth: 4, residual: true, residualIntervals: [2] });
  const spectra = [6, 9, 9, 9].map((rows, i) =>
    smallSvd(valuesOf(after, `w/overparam/${i}`), rows, 9).values.slice(0, 6),
  );
  const { values } = smallSvd(w.floats(), 6, 9);
  for (const [i, a] of spectra[0]!.entries()) {
    for (const spectrum of spectra) expect(Math.abs(spectrum[i]! / a - 1)).toBeLessThan(1e-9);
    // The first two layers have no identity around them: 6 units become 9.
    expect(Math.abs((a ** 2 * (a ** 2 + 1)) / values[i]! - 1)).toBeLessThan(1e-9);
  }
});

test('a weight that two layers share is shared again after the chains', async () => {
  const model = stack(
    [2, 4],
    [
      { opType: 'Gemm', name: 'a', inputs: ['x', 'w', 'b'], outputs: ['h'] },
      { opType: 'Relu', inputs: ['h'], outputs: ['r'] },
      { opType: 'Gemm', name: 'c', inputs: ['r', 'w', 'b'], outputs: ['y'] },
    ],
    [weight('w', [4, 4]), weight('b', [4])],
  );
  const { restored } = await expectRestored(model, { depth: 3, residual: true, batchNorm: true });
  expect(restored.graph.nodes.map(({ inputs }) => inputs[1]).filter(Boolean)).toEqual(['w', 'w']);
});

const EVERYTHING = {
  depth: 3,
  residual: true,
  residualIntervals: [1, 2, -1],
  residualMode: 'learn',
  batchNorm: true,
} as const satisfies ExpandOptions;

test('in the branches of If, of values and weights around them', async () => {
  const branch = (name: string, b: string) =>
    buildGraph({
      name,
      outputs: [[`${name}.y`, 'float32']],
      nodes: [{ opType: 'Gemm', name, inputs: ['x', 'w', b], outputs: [`${name}.y`] }],
      initializers: [weight(b, [4])],
    });
  const model = buildModel({
    inputs: [
      ['x', 'float32', [3, 4]],
      ['flag', 'bool', []],
    ],
    outputs: [['y', 'float32', [3, 4]]],
    nodes: [
      {
        opType: 'If',
        name: 'if',
        inputs: ['flag'],
        outputs: ['y'],
        attributes: {
          then_branch: { graph: branch('then', 'b1') },
          else_branch: { graph: branch('else', 'b2') },
        },
      },
    ],
    initializers: [weight('w', [4, 4])],
  });
  const { expanded: after } = await expectRestored(model, EVERYTHING);
  expect(after.account.rewritten).toMatchObject([
    { residuals: 5, norms: 3 },
    { residuals: 5, norms: 3 },
  ]);
  await expectSameFunction(model, after.model);
});

test('in a function of the model', async () => {
  const model = buildModel({
    opset: { '': 17, own: 1 },
    inputs: [['x', 'float32', [2, 3, 5, 5]]],
    outputs: [['y', 'float32', [2, 4, 5, 5]]],
    nodes: [{ opType: 'Block', domain: 'own', name: 'call', inputs: ['x'], outputs: ['y'] }],
    functions: [
      {
        domain: 'own',
        name: 'Block',
        inputs: ['a'],
        outputs: ['b'],
        opset: { '': 17 },
        nodes: [
          {
            opType: 'Constant',
            inputs: [],
            outputs: ['w'],
            attributes: { value: { tensor: weight('w', [4, 3, 3, 3]) } },
          },
          {
            opType: 'Conv',
            name: 'conv',
            inputs: ['a', 'w'],
            outputs: ['b'],
            attributes: { pads: { ints: [1, 1, 1, 1] } },
          },
        ],
      },
    ],
  });
  const { expanded: after, restored } = await expectRestored(model, EVERYTHING);
  expect(after.account.rewritten).toMatchObject([{ residuals: 5, norms: 3 }]);
  expect(restored.functions[0]!.nodes.map(({ opType }) => opType)).toEqual(['Constant', 'Conv']);
  await expectSameFunction(model, after.model);
});

test('a residual chain with BatchNormalization, printed', async () => {
  const model = oneLayer({
    opType: 'Conv',
    x: [1, 2, 8, 8],
    y: [1, 4, 4, 4],
    weight: weight('conv.weight', [4, 2, 3, 3]),
    bias: weight('conv.bias', [4]),
    attributes: { pads: { ints: [1, 1, 1, 1] }, strides: { ints: [2, 2] } },
  });
  const { model: after } = await expanded(model, {
    depth: 2,
    residual: true,
    residualIntervals: [1, 2],
    residualMode: 'learn',
    batchNorm: true,
  });
  expect(printModel(after)).toMatchInlineSnapshot(`
    "ir_version 8, opset ai.onnx 17
    graph main {
      input %x: float32[1, 2, 8, 8]
      output %y: float32[1, 4, 4, 4]
      initializer %conv.weight/overparam/0: float32[4, 2, 3, 3]
      initializer %conv.weight/overparam/1: float32[4, 4, 1, 1]
      initializer %conv.weight/overparam/project: float32[4, 2, 1, 1]
      initializer %conv.weight/overparam/project_2: float32[4, 2, 1, 1]
      initializer %layer/overparam/0/norm/scale: float32[4]
      initializer %layer/overparam/0/norm/shift: float32[4]
      initializer %layer/overparam/0/norm/mean: float32[4]
      initializer %layer/overparam/0/norm/variance: float32[4]
      initializer %layer/overparam/1/norm/scale: float32[4]
      initializer %layer/overparam/1/norm/shift: float32[4]
      initializer %layer/overparam/1/norm/mean: float32[4]
      initializer %layer/overparam/1/norm/variance: float32[4]
      initializer %conv.bias: float32[4]
      %layer/overparam/0/out = Conv[pads=[1, 1, 1, 1], strides=[2, 2]](%x, %conv.weight/overparam/0)  # layer/overparam/0
        metadata onnx-overparam = "{\\"site\\":\\"layer\\",\\"factor\\":0,\\"of\\":2,\\"weight\\":\\"conv.weight\\"}"
      %layer/overparam/0/norm/out = BatchNormalization(%layer/overparam/0/out, %layer/overparam/0/norm/scale, %layer/overparam/0/norm/shift, %layer/overparam/0/norm/mean, %layer/overparam/0/norm/variance)  # layer/overparam/0/norm
        metadata onnx-overparam = "{\\"site\\":\\"layer\\",\\"factor\\":0,\\"of\\":2,\\"weight\\":\\"conv.weight\\",\\"part\\":\\"norm\\"}"
      %layer/overparam/0/project/out = Conv[kernel_shape=[1, 1], strides=[2, 2]](%x, %conv.weight/overparam/project)  # layer/overparam/0/project
        metadata onnx-overparam = "{\\"site\\":\\"layer\\",\\"factor\\":0,\\"of\\":2,\\"weight\\":\\"conv.weight\\",\\"part\\":\\"project\\"}"
      %layer/overparam/0/add/out = Add(%layer/overparam/0/norm/out, %layer/overparam/0/project/out)  # layer/overparam/0/add
        metadata onnx-overparam = "{\\"site\\":\\"layer\\",\\"factor\\":0,\\"of\\":2,\\"weight\\":\\"conv.weight\\",\\"part\\":\\"add\\"}"
      %layer/overparam/1/out = Conv[kernel_shape=[1, 1]](%layer/overparam/0/add/out, %conv.weight/overparam/1, %conv.bias)  # layer/overparam/1
        metadata onnx-overparam = "{\\"site\\":\\"layer\\",\\"factor\\":1,\\"of\\":2,\\"weight\\":\\"conv.weight\\"}"
      %layer/overparam/1/norm/out = BatchNormalization(%layer/overparam/1/out, %layer/overparam/1/norm/scale, %layer/overparam/1/norm/shift, %layer/overparam/1/norm/mean, %layer/overparam/1/norm/variance)  # layer/overparam/1/norm
        metadata onnx-overparam = "{\\"site\\":\\"layer\\",\\"factor\\":1,\\"of\\":2,\\"weight\\":\\"conv.weight\\",\\"part\\":\\"norm\\"}"
      %layer/overparam/1/add/out = Add(%layer/overparam/1/norm/out, %layer/overparam/0/add/out)  # layer/overparam/1/add
        metadata onnx-overparam = "{\\"site\\":\\"layer\\",\\"factor\\":1,\\"of\\":2,\\"weight\\":\\"conv.weight\\",\\"part\\":\\"add\\"}"
      %layer/overparam/1/project/out = Conv[kernel_shape=[1, 1], strides=[2, 2]](%x, %conv.weight/overparam/project_2)  # layer/overparam/1/project
        metadata onnx-overparam = "{\\"site\\":\\"layer\\",\\"factor\\":1,\\"of\\":2,\\"weight\\":\\"conv.weight\\",\\"part\\":\\"project\\"}"
      %y = Add(%layer/overparam/1/add/out, %layer/overparam/1/project/out)  # layer/overparam/1/add_2
        metadata onnx-overparam = "{\\"site\\":\\"layer\\",\\"factor\\":1,\\"of\\":2,\\"weight\\":\\"conv.weight\\",\\"part\\":\\"add\\"}"
    }
    "
  `);
});
