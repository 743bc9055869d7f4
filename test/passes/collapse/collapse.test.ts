import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { diffModels } from '../../../src/graph/diff/diff.js';
import {
  type Model,
  modelToBytes,
  type NodeSpec,
  narrow,
  readModel,
  specOf,
  Tensor,
} from '../../../src/graph/index.js';
import { collapse } from '../../../src/passes/collapse/collapse.js';
import { expand } from '../../../src/passes/expand/expand.js';
import { Random } from '../../../src/runtime/random.js';
import { buildModel, floats, ints } from '../../support/build.js';
import { collapsed, expanded, expectRestored, expectSameFunction, structuralDifferences } from '../laws.js';
import { copyOf, opsOf, relativeError, stack, valuesOf, weight } from '../models.js';

const conv = (
  name: string,
  x: string,
  y: string,
  bias: string | undefined,
  attributes: NodeSpec['attributes'] = {},
): NodeSpec => ({
  opType: 'Conv',
  name,
  inputs: [x, `${name}.w`, ...(bias ? [bias] : [])],
  outputs: [y],
  attributes,
});

const relu = (x: string, y: string): NodeSpec => ({
  opType: 'Relu',
  name: `relu_${y}`,
  inputs: [x],
  outputs: [y],
});

/** A small network with all that a site can have. */
function network(): Model {
  return stack(
    [2, 3, 9, 9],
    [
      conv('stem', 'x', 'a', 'stem.b', {
        pads: { ints: [1, 0, 1, 2] },
        strides: { ints: [2, 1] },
        kernel_shape: { ints: [3, 3] },
      }),
      relu('a', 'b'),
      {
        ...conv('depthwise', 'b', 'c', 'depthwise.b', { group: { int: 4 }, dilations: { ints: [2, 1] } }),
        docString: 'kept',
        metadata: { source: 'x.py' },
      },
      relu('c', 'd'),
      conv('point', 'd', 'e', undefined),
      relu('e', 'f'),
      { opType: 'GlobalAveragePool', name: 'pool', inputs: ['f'], outputs: ['g'] },
      { opType: 'Flatten', name: 'flatten', inputs: ['g'], outputs: ['h'] },
      {
        opType: 'Gemm',
        name: 'head',
        inputs: ['h', 'head.w', 'head.b'],
        outputs: ['i'],
        attributes: { alpha: { float: 0.5 }, beta: { float: 2 }, transA: { int: 0 }, transB: { int: 1 } },
      },
      relu('i', 'j'),
      { opType: 'MatMul', inputs: ['j', 'last.w'], outputs: ['y'] },
    ],
    [
      weight('stem.w', [4, 3, 3, 3]),
      weight('stem.b', [4]),
      weight('depthwise.w', [8, 1, 2, 2]),
      weight('depthwise.b', [8]),
      weight('point.w', [6, 8, 1, 1]),
      weight('head.w', [5, 6]),
      weight('head.b', [5]),
      weight('last.w', [5, 7]),
    ],
  );
}

/** Names in the order of the file. */
function initializersOf(model: Model): (string | undefined)[] {
  return (model.proto.graph?.initializer ?? []).map(({ name }) => name);
}

/** The model without metadata, as a tool leaves it that drops what it does not know. */
async function stripped(model: Model): Promise<Model> {
  const copy = await copyOf(model);
  for (const node of copy.nodes()) node.proto.metadata_props = [];
  return readModel(modelToBytes(copy));
}

/** Every node, hidden value and initializer under a name of no meaning. */
async function renamed(model: Model): Promise<Model> {
  const copy = await stripped(model);
  const { graph } = copy;
  for (const [i, node] of [...graph.nodes].entries()) graph.renameNode(node, `n${i}`);
  const values = [...graph.initializers.keys(), ...graph.nodes.flatMap((node) => node.outputs)];
  for (const [i, value] of values.entries()) if (!graph.isOutput(value)) graph.rename(value, `t${i}`);
  return copy;
}

/** All float initializers with noise: as if trained. */
async function trained(model: Model, seed = 1): Promise<Model> {
  const copy = await copyOf(model);
  for (const [name, tensor] of copy.graph.initializers) {
    if (tensor.dataType !== 'float32' || name.includes('zero')) continue;
    const random = new Random(seed, name);
    const noisy = tensor.floats().map((value) => value + 0.3 * random.normal());
    copy.graph.setInitializer(Tensor.of(name, 'float32', tensor.shape, narrow('float32', noisy)));
  }
  return copy;
}

describe('collapse undoes expand', () => {
  test('to the names, operators and attributes that were there', async () => {
    for (const depth of [2, 3, 5]) {
      for (const init of ['balanced', 'identity'] as const) {
        const model = network();
        const { expanded: after } = await expectRestored(model, { depth, init, width: 1.5 });
        expect(after.account.rewritten).toHaveLength(5);
        await expectSameFunction(model, after.model);
        const { model: folded } = await collapsed(after.model, { chainsOnly: true });
        expect(initializersOf(folded)).toEqual(initializersOf(model));
      }
    }
  });

  test('by structure, where names and metadata are gone', async () => {
    for (const depth of [2, 3, 4]) {
      const model = network();
      const { model: after } = await expanded(model, { depth });
      for (const change of [stripped, renamed]) {
        const { model: folded, account } = await collapsed(await change(after));
        expect(account.rewritten.map(({ by, from }) => [by, from.length])).toEqual(
          Array(5).fill(['structure', depth]),
        );
        expect(opsOf(folded)).toEqual(opsOf(model));
        expect(folded.graph.initializers.size).toBe(model.graph.initializers.size);
        await expectSameFunction(model, folded);
        if (change === renamed) continue;
        // The names of the factors tell the others.
        expect(initializersOf(folded)).toEqual(initializersOf(model));
      }
    }
  });

  test('of transposed convolutions by structure, too', async () => {
    const model = buildModel({
      inputs: [['x', 'float32', [2, 6, 5, 5]]],
      outputs: [['y', 'float32']],
      nodes: [
        {
          opType: 'ConvTranspose',
          name: 'up',
          inputs: ['x', 'w', 'b'],
          outputs: ['y'],
          attributes: { strides: { ints: [2, 2] }, pads: { ints: [1, 0, 0, 1] } },
        },
      ],
      initializers: [weight('w', [6, 4, 3, 3]), weight('b', [4])],
      opset: 17,
    });
    for (const depth of [2, 3]) {
      const { model: after } = await expanded(model, { depth });
      const { model: folded, account } = await collapsed(await stripped(after), { chainsOnly: true });
      expect(account.rewritten.map(({ by, from }) => [by, from.length])).toEqual([['structure', depth]]);
      expect(opsOf(folded)).toEqual(['ConvTranspose']);
      await expectSameFunction(model, folded);
    }
  });

  test('of trained factors, to what they compute', async () => {
    for (const opset of [9, 17]) {
      for (const depth of [2, 4]) {
        const model = network();
        model.proto.opset_import = [{ domain: '', version: opset }];
        const { model: after } = await expanded(model, { depth, width: 2 });
        const other = await trained(after, depth);
        for (const change of [copyOf, stripped, renamed]) {
          const { model: folded, account } = await collapsed(await change(other));
          expect(account.rewritten).toHaveLength(5);
          expect(opsOf(folded)).toEqual(opsOf(model));
          await expectSameFunction(other, folded);
        }
      }
    }
  });

  test('one expansion at a time', async () => {
    const model = network();
    const once = await copyOf(model);
    await once.apply(expand({ depth: 2 }));
    const twice = await copyOf(once);
    await twice.apply(expand({ depth: 3 }));
    expect(opsOf(twice).filter((op) => op === 'Conv')).toHaveLength(3 * 2 * 3);
    await expectSameFunction(model, twice);
    const [account] = await twice.apply(collapse());
    expect(account.skipped).toEqual([]);
    expect(structuralDifferences(once, twice)).toEqual([]);
    await twice.apply(collapse());
    expect(structuralDifferences(model, twice)).toEqual([]);
    for (const [name, tensor] of model.graph.initializers) {
      expect(relativeError(tensor.floats(), valuesOf(twice, name)), name).toBeLessThan(2e-6);
    }
  });

  test('and is idempotent, and changes nothing where there is nothing to fold', async () => {
    const model = network();
    const copy = await copyOf(model);
    const [nothing] = await copy.apply(collapse());
    expect(nothing).toEqual({ rewritten: [], skipped: [], inlined: [] });
    expect(copy.changed).toBe(false);
    await copy.apply(expand({ depth: 3 }), collapse());
    const before = await copyOf(copy);
    const revision = copy.revision;
    await copy.apply(collapse());
    expect(copy.revision).toBe(revision);
    expect(diffModels(before, copy)).toEqual([]);
  });

  test('in a dry run only in words', async () => {
    const { model: after } = await expanded(network(), { depth: 3 });
    for (const change of [copyOf, renamed]) {
      const copy = await change(after);
      const revision = copy.revision;
      const [dry] = await copy.apply(collapse({ dryRun: true }));
      expect(copy.revision).toBe(revision);
      const [real] = await copy.apply(collapse());
      expect(dry).toEqual(real);
    }
  });
});

/** Linear nodes without anything between them, of any bias, scale and orientation: collapsing one changes nothing. */
describe('any run of linear nodes computes what it computed', () => {
  test('of Gemm and MatMul', async () => {
    const link = fc.record({
      isGemm: fc.boolean(),
      width: fc.integer({ min: 1, max: 6 }),
      transA: fc.boolean(),
      transB: fc.boolean(),
      alpha: fc.constantFrom(1, 0.5, -2),
      beta: fc.constantFrom(1, 3),
      bias: fc.constantFrom('none', 'zero', '[N]', '[1,N]', '[1]', '[M,N]', 'dynamic'),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(link, { minLength: 2, maxLength: 5 }),
        fc.constantFrom(9, 13),
        async (links, opset) => {
          const rows = 3;
          const nodes: NodeSpec[] = [];
          const initializers: Tensor[] = [weight('random', [1])];
          let [inputs, value] = [rows, 'x'];
          for (const [i, { isGemm, width, transA, transB, alpha, beta, bias }] of links.entries()) {
            const output = i === links.length - 1 ? 'y' : `v${i}`;
            const isTransposed = isGemm && transB;
            initializers.push(weight(`w${i}`, isTransposed ? [width, inputs] : [inputs, width]));
            const shapes: Record<string, number[]> = {
              '[N]': [width],
              '[1,N]': [1, width],
              '[1]': [1],
              '[M,N]': [rows, width],
              zero: [1],
            };
            const shape = shapes[bias];
            if (isGemm && shape)
              initializers.push(bias === 'zero' ? floats(`b${i}`, shape, () => 0) : weight(`b${i}`, shape));
            const dynamic = bias === 'dynamic' ? ['one'] : [];
            const required = opset < 11 && !shape && dynamic.length === 0 ? ['random'] : [];
            nodes.push({
              opType: isGemm ? 'Gemm' : 'MatMul',
              name: `n${i}`,
              inputs: [
                value,
                `w${i}`,
                ...(isGemm ? [...(shape ? [`b${i}`] : []), ...dynamic, ...required] : []),
              ],
              outputs: [output],
              // Only of a square of data the transpose fits; the first may have it.
              attributes: isGemm
                ? {
                    ...(transA && (i === 0 || value === 'never') && { transA: { int: 1 } }),
                    ...(transB && { transB: { int: 1 } }),
                    ...(alpha !== 1 && { alpha: { float: alpha } }),
                    ...(beta !== 1 && { beta: { float: beta } }),
                  }
                : {},
            });
            [inputs, value] = [width, output];
          }
          const model = buildModel({
            opset,
            inputs: [
              ['x', 'float32', [rows, rows]],
              ['one', 'float32', [1]],
            ],
            outputs: [['y', 'float32', [rows, inputs]]],
            nodes,
            initializers,
          });
          const { model: folded, account } = await collapsed(model);
          await expectSameFunction(model, folded, 1e-4);
          // What was made has no more elements than what it was made of.
          for (const { parametersBefore, parametersAfter, from } of account.rewritten) {
            expect(from.length).toBeGreaterThan(1);
            expect(parametersAfter).toBeLessThanOrEqual(parametersBefore);
          }
        },
      ),
      { numRuns: 80, seed: 20260103 },
    );
  });

  test('of Conv', async () => {
    const link = fc.record({
      perGroup: fc.integer({ min: 1, max: 4 }),
      kernel: fc.constantFrom(1, 1, 1, 3),
      stride: fc.constantFrom(1, 1, 2),
      padding: fc.constantFrom('none', 'none', 'pads', 'SAME_UPPER', 'VALID'),
      bias: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(1, 1, 2, 3),
        fc.array(link, { minLength: 2, maxLength: 5 }),
        async (groups, links) => {
          const nodes: NodeSpec[] = [];
          const initializers: Tensor[] = [];
          let [inputs, value] = [2, 'x'];
          for (const [i, { perGroup, kernel, stride, padding, bias }] of links.entries()) {
            const output = i === links.length - 1 ? 'y' : `v${i}`;
            initializers.push(weight(`n${i}.w`, [groups * perGroup, inputs, kernel, kernel]));
            if (bias) initializers.push(weight(`b${i}`, [groups * perGroup]));
            nodes.push(
              conv(`n${i}`, value, output, bias ? `b${i}` : undefined, {
                ...(groups > 1 && { group: { int: groups } }),
                ...(stride > 1 && { strides: { ints: [stride, stride] } }),
                ...(padding === 'pads' && { pads: { ints: [1, 0, 1, 1] } }),
                ...(padding !== 'pads' && padding !== 'none' && { auto_pad: { string: padding } }),
              }),
            );
            [inputs, value] = [perGroup, output];
          }
          // Large enough for five kernels of 3 without padding, at a stride of 2.
          const model = stack([1, 2 * groups, 95, 3 + 92], nodes, initializers);
          const { model: folded } = await collapsed(model);
          await expectSameFunction(model, folded, 1e-4, 1);
        },
      ),
      { numRuns: 40, seed: 20260104 },
    );
  });
});

describe('what is no chain', () => {
  test('has its reason where the factors say that they are one', async () => {
    const cases: [reason: RegExp, change: (model: Model) => void][] = [
      [
        /'fc\/overparam\/0\/out', between two factors, is read 2 times/,
        ({ graph }) => {
          graph.edit({
            removeNodes: [graph.nodes.at(-1)!],
            insertNodes: [
              { ...specOf(graph.nodes.at(-1)!.proto), outputs: ['z'] },
              {
                opType: 'ReduceMean',
                inputs: ['fc/overparam/0/out'],
                outputs: ['mean'],
                attributes: { keepdims: { int: 0 } },
              },
              { opType: 'Add', inputs: ['z', 'mean'], outputs: ['y'] },
            ],
          });
        },
      ],
      [
        /'fc\/overparam\/0\/out', between two factors, is an output of the graph/,
        ({ graph, proto }) => {
          proto.graph!.output = [
            ...proto.graph!.output!,
            { name: 'fc/overparam/0/out', type: proto.graph!.input![0]!.type! },
          ];
          graph.touch();
        },
      ],
      [
        /is read by 'act' \(Relu\), which is no linear node/,
        ({ graph }) => {
          const [, next] = graph.nodes;
          graph.insert({ opType: 'Relu', name: 'act', inputs: ['fc/overparam/0/out'], outputs: ['r'] }, next);
          graph.setInput(next!, 0, 'r');
        },
      ],
      [
        /factor 1 of 2 does not follow factor 0/,
        ({ graph }) => graph.setMetadata(graph.nodes[1]!, 'onnx-overparam', undefined),
      ],
    ];
    for (const [reason, change] of cases) {
      const model = stack(
        [3, 4],
        [{ opType: 'Gemm', name: 'fc', inputs: ['x', 'w'], outputs: ['y'] }],
        [weight('w', [4, 4])],
      );
      const { model: after } = await expanded(model);
      change(after);
      const { model: folded, account } = await collapsed(after);
      expect(account.skipped).toEqual([{ node: 'fc', op: 'Gemm', reason: expect.stringMatching(reason) }]);
      await expectSameFunction(after, folded);
    }
  });

  test('keeps a bias before a padded convolution', async () => {
    const build = (pads: number[]): Model =>
      stack(
        [1, 3, 5, 5],
        [conv('a', 'x', 'v', 'a.b'), conv('b', 'v', 'y', 'b.b', { pads: { ints: pads } })],
        [weight('a.w', [8, 3, 1, 1]), weight('a.b', [8]), weight('b.w', [8, 8, 3, 3]), weight('b.b', [8])],
      );
    const padded = await collapsed(build([1, 1, 1, 1]));
    expect(padded.account.rewritten).toEqual([]);
    expect(padded.model.changed).toBe(false);
    const plain = await collapsed(build([0, 0, 0, 0]));
    expect(opsOf(plain.model)).toEqual(['Conv']);
    await expectSameFunction(build([0, 0, 0, 0]), plain.model);
    // A chain that says so, too: a bias that training added in front of the padding has to stay.
    const { model: chain } = await expanded(
      stack(
        [1, 3, 5, 5],
        [conv('a', 'x', 'y', undefined, { pads: { ints: [1, 1, 1, 1] } })],
        [weight('a.w', [4, 3, 3, 3])],
      ),
    );
    chain.graph.setInitializer(weight('more', [4]));
    const [first, second] = chain.graph.nodes;
    chain.graph.edit({
      removeNodes: [first!, second!],
      insertNodes: [specOf(first!.proto), specOf(second!.proto)].map((spec) => ({
        ...spec,
        inputs: [...spec.inputs, 'more'],
      })),
    });
    const { model: folded } = await collapsed(chain);
    expect(opsOf(folded)).toEqual(['Conv']);
    await expectSameFunction(chain, folded);
  });

  test('bottlenecks made on purpose are left alone', async () => {
    const gemms = stack(
      [2, 64],
      [
        { opType: 'Gemm', name: 'down', inputs: ['x', 'd'], outputs: ['v'] },
        { opType: 'Gemm', name: 'up', inputs: ['v', 'u'], outputs: ['y'] },
      ],
      [weight('d', [64, 4]), weight('u', [4, 64])],
    );
    const convs = stack(
      [1, 32, 3, 3],
      [conv('down', 'x', 'v', undefined), conv('up', 'v', 'y', undefined)],
      [weight('down.w', [4, 32, 1, 1]), weight('up.w', [32, 4, 1, 1])],
    );
    for (const model of [gemms, convs]) {
      const { model: same, account } = await collapsed(model);
      expect(account.rewritten).toEqual([]);
      expect(account.skipped.map(({ node }) => node)).toEqual(['down, up']);
      expect(same.changed).toBe(false);
      await expectRestored(model, { depth: 3 });
      // Each stage by itself, also where nothing tells where one ends.
      const { model: after } = await expanded(model, { depth: 3 });
      const { account: found } = await collapsed(await renamed(after));
      expect(found.rewritten.reduce((sum, chain) => sum + chain.from.length, 0)).toBeGreaterThanOrEqual(5);
      expect(found.rewritten.reduce((sum, chain) => sum + chain.parametersAfter, 0)).toBeLessThanOrEqual(
        2 * 64 * 4,
      );
    }
  });

  test('projections and expansions of inverted residuals are told apart', async () => {
    // As in MobileNetV2: project to few channels, then expand to many, with no activation between; biases are folded
    // batch normalizations.
    const nodes: NodeSpec[] = [];
    const initializers: Tensor[] = [];
    let value = 'x';
    for (let block = 0; block < 3; block += 1) {
      for (const [name, outputs, inputs] of [
        [`p${block}`, 4, 12],
        [`e${block}`, 12, 4],
      ] as const) {
        nodes.push(conv(name, value, name, `${name}.b`));
        initializers.push(weight(`${name}.w`, [outputs, inputs, 1, 1]), weight(`${name}.b`, [outputs]));
        value = name;
      }
      const output = block === 2 ? 'y' : `act${block}`;
      nodes.push({ opType: 'Clip', name: `clip${block}`, inputs: [value, 'min', 'max'], outputs: [output] });
      value = output;
    }
    initializers.push(
      Tensor.of('min', 'float32', [], Float32Array.of(0)),
      Tensor.of('max', 'float32', [], Float32Array.of(6)),
    );
    const model = stack([1, 12, 3, 3], nodes, initializers);
    for (const depth of [2, 3]) {
      const { model: after } = await expanded(model, { depth });
      for (const change of [stripped, renamed]) {
        const { model: folded, account } = await collapsed(await change(after));
        expect(account.rewritten.map(({ from }) => from.length)).toEqual(Array(6).fill(depth));
        expect(opsOf(folded)).toEqual(opsOf(model));
        await expectSameFunction(model, folded);
        // The very weights, not only the same function.
        const shapes = (m: Model) =>
          m.graph.nodes.filter((n) => n.opType === 'Conv').map((n) => valuesOf(m, n.inputs[1]!));
        for (const [i, values] of shapes(model).entries())
          expect(relativeError(values, shapes(folded)[i]!)).toBeLessThan(1e-6);
      }
    }
  });
});

test('a Gemm that transposes, folded with a MatMul, stays a Gemm', async () => {
  const model = stack(
    [4, 3],
    [
      {
        opType: 'Gemm',
        name: 'a',
        inputs: ['x', 'u'],
        outputs: ['v'],
        attributes: { transA: { int: 1 }, alpha: { float: 3 } },
      },
      { opType: 'MatMul', name: 'b', inputs: ['v', 'w'], outputs: ['y'] },
    ],
    [weight('u', [4, 6]), weight('w', [6, 2])],
  );
  const { model: folded } = await collapsed(model);
  expect(opsOf(folded)).toEqual(['Gemm']);
  await expectSameFunction(model, folded);
});

test('factors that are shared make one weight, but not where scales differ', async () => {
  const gemm = (name: string, x: string, y: string, w: string, alpha = 1): NodeSpec => ({
    opType: 'Gemm',
    name,
    inputs: [x, w],
    outputs: [y],
    attributes: { alpha: { float: alpha } },
  });
  const model = stack(
    [3, 4],
    [
      gemm('a0', 'x', 'a', 'u'),
      gemm('a1', 'a', 'b', 'w'),
      relu('b', 'c'),
      gemm('b0', 'c', 'd', 'u'),
      gemm('b1', 'd', 'e', 'w'),
      relu('e', 'f'),
      gemm('c0', 'f', 'g', 'u', 2),
      gemm('c1', 'g', 'y', 'w'),
    ],
    [weight('u', [4, 6]), weight('w', [6, 4])],
  );
  const { model: folded, account } = await collapsed(model);
  expect(folded.graph.nodes.filter((node) => node.opType === 'Gemm').map((node) => node.inputs[1])).toEqual([
    'w/collapsed',
    'w/collapsed',
    'w/collapsed_2',
  ]);
  expect(
    account.rewritten.map(({ parametersBefore, parametersAfter }) => [parametersBefore, parametersAfter]),
  ).toEqual([
    [48, 16],
    [0, 0],
    [0, 16],
  ]);
  await expectSameFunction(model, folded);
});

test('what the library does not know of a node comes back with it', async () => {
  const model = stack(
    [3, 4],
    [
      {
        opType: 'Gemm',
        name: 'fc',
        inputs: ['x', 'w'],
        outputs: ['y'],
        docString: 'the head',
        metadata: { a: '1', b: '2' },
      },
    ],
    [weight('w', [4, 4]), ints('unused', [1])],
  );
  const { expanded: after } = await expectRestored(model, { depth: 3 });
  expect(after.model.graph.nodes.map((node) => node.proto.doc_string)).toEqual([
    undefined,
    undefined,
    'the head',
  ]);
});

test('metadata that says something else does no harm', async () => {
  const model = stack(
    [3, 5],
    [
      { opType: 'Transpose', name: 't', inputs: ['v'], outputs: ['w'] },
      { opType: 'Gemm', name: 'fc', inputs: ['x', 'w'], outputs: ['y'] },
    ],
    [weight('v', [4, 5])],
  );
  const { model: after } = await expanded(model);
  const [first] = after.graph.nodes;
  const note = JSON.parse(first!.metadata.get('onnx-overparam')!) as { source: { root: object } };
  const { source } = note;
  const other = { fragment: 'AAAA' };
  const texts = [
    '',
    'null',
    '[]',
    '{"site": "fc"}',
    ...[
      { ...note, source: 'no' },
      { ...note, source: {} },
      { ...note, source: { ...source, fragment: '???' } },
      { ...note, source: { ...source, ...other } },
      { ...note, source: { ...source, root: null } },
      { ...note, source: { ...source, root: { ...source.root, shape: [1e15, 2] } } },
      { ...note, source: { ...source, root: { ...source.root, shape: [4, 4] } } },
      { ...note, source: { ...source, root: { ...source.root, dataType: 'float16' } } },
      { ...note, source: { ...source, root: { ...source.root, dataType: 'int8' } } },
      { ...note, source: { ...source, root: { ...source.root, name: 'elsewhere' } } },
      { ...note, source: { ...source, root: { ...source.root, isConstantNode: true } } },
      { ...note, of: 1 },
      { ...note, of: 1e9 },
      { ...note, factor: 1 },
      { ...note, weight: '' },
      { ...note, weight: 'x' },
      { ...note, site: 'x' },
    ].map((changed) => JSON.stringify(changed)),
  ];
  for (const text of texts) {
    const changed = await copyOf(after);
    changed.graph.setMetadata(changed.graph.nodes[0]!, 'onnx-overparam', text);
    const { model: folded } = await collapsed(changed);
    expect(
      opsOf(folded).filter((op) => op === 'Gemm'),
      text,
    ).toHaveLength(1);
    await expectSameFunction(model, folded);
  }
});
