import { describe, expect, test } from 'vitest';
import { rankReport } from '../../src/analysis/report/rank-report.js';
import { inlinedFunctions } from '../../src/graph/edit/inline-functions.js';
import { check, diffModels, type Model, makeAttribute, modelToBytes } from '../../src/graph/index.js';
import { createMessage } from '../../src/graph/proto/codec.js';
import { collapse } from '../../src/passes/collapse/collapse.js';
import { type ExpandOptions, expand } from '../../src/passes/expand/expand.js';
import { buildGraph, buildModel, type ModelSpec } from '../support/build.js';
import { expectSameFunction, structuralDifferences } from './laws.js';
import { copyOf, weight } from './models.js';

const reference = (name: string, of: string, type = 1) =>
  createMessage('AttributeProto', { name, type, ref_attr_name: of });

const call = (name: string, opType: string, inputs: readonly string[], output: string) => ({
  opType,
  domain: 'local',
  name,
  inputs: [...inputs],
  outputs: [output],
});

const LINEAR = {
  domain: 'local',
  name: 'Linear',
  inputs: ['x', 'w', 'b'],
  outputs: ['y'],
  opset: { '': 18 },
  nodes: [
    { opType: 'MatMul', name: 'product', inputs: ['x', 'w'], outputs: ['t'] },
    { opType: 'Add', name: 'bias', inputs: ['t', 'b'], outputs: ['y'] },
  ],
};

/** Its weight is its own. */
const FIXED = {
  domain: 'local',
  name: 'Fixed',
  inputs: ['x'],
  outputs: ['y'],
  opset: { '': 18 },
  nodes: [
    {
      opType: 'Constant',
      inputs: [],
      outputs: ['k'],
      attributes: { value: { tensor: weight('k', [6, 6]) } },
    },
    { opType: 'MatMul', name: 'own', inputs: ['x', 'k'], outputs: ['y'] },
  ],
};

/** Calls others, one of them with a weight of its own. */
const BLOCK = {
  domain: 'local',
  name: 'Block',
  inputs: ['x', 'w', 'b'],
  outputs: ['y'],
  opset: { '': 18, local: 1 },
  nodes: [
    call('up', 'Linear', ['x', 'w', 'b'], 'h'),
    { opType: 'Relu', inputs: ['h'], outputs: ['r'] },
    {
      opType: 'Constant',
      inputs: [],
      outputs: ['v'],
      attributes: { value: { tensor: weight('v', [8, 6]) } },
    },
    {
      opType: 'Constant',
      inputs: [],
      outputs: ['c'],
      attributes: { value: { tensor: weight('c', [6]) } },
    },
    call('down', 'Linear', ['r', 'v', 'c'], 'y'),
  ],
};

function model(spec: Pick<ModelSpec, 'nodes'> & Partial<ModelSpec>): Model {
  return buildModel({
    opset: { '': 18, local: 1 },
    inputs: [
      ['x', 'float32', [4, 6]],
      ['flag', 'bool', []],
    ],
    outputs: [['y', 'float32', [4, 6]]],
    initializers: [
      weight('square', [6, 6]),
      weight('other', [6, 6]),
      weight('bias', [6]),
      weight('wide', [6, 8]),
      weight('wider', [6, 8]),
      weight('b8', [8]),
    ],
    functions: [LINEAR, FIXED, BLOCK],
    ...spec,
  });
}

const branch = (w: string) => ({
  graph: buildGraph({
    outputs: [['o', 'float32']],
    nodes: [call(`in_${w}`, 'Linear', ['x', w, 'bias'], 'o')],
  }),
});

const MODELS: Readonly<Record<string, () => Model>> = {
  'one call': () => model({ nodes: [call('fc', 'Linear', ['x', 'square', 'bias'], 'y')] }),
  'several calls with one weight': () =>
    model({
      nodes: [
        call('first', 'Linear', ['x', 'square', 'bias'], 'h'),
        { opType: 'Tanh', inputs: ['h'], outputs: ['t'] },
        call('second', 'Linear', ['t', 'square', 'bias'], 'y'),
      ],
    }),
  'several calls with different weights': () =>
    model({
      nodes: [
        call('first', 'Linear', ['x', 'square', 'bias'], 'h'),
        { opType: 'Tanh', inputs: ['h'], outputs: ['t'] },
        call('second', 'Linear', ['t', 'other', 'bias'], 'y'),
      ],
    }),
  'functions in functions': () =>
    model({
      nodes: [
        call('first', 'Block', ['x', 'wide', 'b8'], 'h'),
        call('second', 'Block', ['h', 'wider', 'b8'], 'y'),
      ],
    }),
  'branches of an If': () =>
    model({
      nodes: [
        {
          opType: 'If',
          name: 'if',
          inputs: ['flag'],
          outputs: ['h'],
          attributes: { then_branch: branch('square'), else_branch: branch('other') },
        },
        call('last', 'Fixed', ['h'], 'y'),
      ],
    }),
  'an attribute of the call, with a default': () => {
    const made = model({
      nodes: [
        { ...call('first', 'Scaled', ['x', 'square', 'bias'], 'h'), attributes: { alpha: { float: 0.5 } } },
        { opType: 'Tanh', inputs: ['h'], outputs: ['t'] },
        call('second', 'Scaled', ['t', 'other', 'bias'], 'y'),
      ],
      functions: [
        {
          ...LINEAR,
          name: 'Scaled',
          nodes: [{ opType: 'Gemm', name: 'gemm', inputs: ['x', 'w', 'b'], outputs: ['y'] }],
        },
      ],
    });
    const [scaled] = made.proto.functions!;
    scaled!.attribute_proto = [makeAttribute('alpha', { float: 0.25 })];
    scaled!.node![0]!.attribute = [reference('alpha', 'alpha')];
    return made;
  },
  'a weight that is an attribute of the call': () => {
    const made = model({
      nodes: [
        {
          ...call('first', 'Held', ['x'], 'y'),
          attributes: { weight: { tensor: weight('held', [6, 6]) } },
        },
      ],
      functions: [
        {
          ...FIXED,
          name: 'Held',
          attributes: ['weight'],
          nodes: [{ opType: 'Constant', inputs: [], outputs: ['k'] }, ...FIXED.nodes.slice(1)],
        },
      ],
    });
    made.proto.functions![0]!.node![0]!.attribute = [reference('value', 'weight', 4)];
    return made;
  },
  'a function that makes a weight': () =>
    model({
      nodes: [
        call('maker', 'Make', [], 'w'),
        { opType: 'MatMul', name: 'mm', inputs: ['x', 'w'], outputs: ['y'] },
      ],
      functions: [{ ...FIXED, name: 'Make', inputs: [], outputs: ['k'], nodes: FIXED.nodes.slice(0, 1) }],
    }),
};

describe.each(Object.entries(MODELS))('%s', (_name, make) => {
  test('weights are those of the model without functions', async () => {
    const of = async (one: Model) =>
      (await rankReport(one)).rows.map(({ weight: name, nodes, metrics }) => ({ name, nodes, metrics }));
    const before = await copyOf(make());
    const bytes = await modelToBytes(before);
    expect(await of(before)).toEqual(await of(await copyOf(plainOf(before))));
    expect(await modelToBytes(before)).toEqual(bytes);
  });

  test.each([
    {},
    { init: 'orthogonal', depth: 3 },
  ] satisfies ExpandOptions[])('expand and collapse with %o: the same function, and the nodes come back', async (options) => {
    const before = await copyOf(make());
    const after = await copyOf(before);
    const [account] = await after.apply(expand(options));
    expect(check(after)).toEqual([]);
    expect(account.rewritten.length).toBeGreaterThan(0);
    expect(account.skipped).toEqual([]);
    await expectSameFunction(before, after);
    const dry = await copyOf(before);
    const [told] = await dry.apply(expand({ ...options, dryRun: true }));
    expect(diffModels(before, dry)).toEqual([]);
    expect(told.rewritten.map(({ node }) => node)).toEqual(account.rewritten.map(({ node }) => node));
    expect(told.inlined).toEqual(account.inlined);
    const back = await copyOf(after);
    const [folded] = await back.apply(collapse({ chainsOnly: true }));
    expect(folded.skipped).toEqual([]);
    expect(folded.rewritten.map(({ node }) => node)).toEqual(account.rewritten.map(({ node }) => node));
    await expectSameFunction(before, back);
    // What expand put in place, without chains.
    expect(structuralDifferences(inlinedFunctions(await copyOf(before)), inlinedFunctions(back))).toEqual([]);
  });

  test('collapse sees through calls', async () => {
    const before = await copyOf(make());
    const after = await copyOf(before);
    const [account] = await after.apply(collapse());
    expect(check(after)).toEqual([]);
    await expectSameFunction(before, after);
    const [plain] = await (await copyOf(plainOf(before))).apply(collapse());
    expect(account.rewritten.flatMap(({ from }) => from).sort()).toEqual(
      plain.rewritten.flatMap(({ from }) => from).sort(),
    );
  });
});

/** Without the functions, except those whose weights are their own, which are looked at where they stand. */
function plainOf(made: Model): Model {
  const copy = made.clone();
  const kept = copy.proto.functions!.filter(({ name }) => name === 'Fixed');
  copy.proto.functions = copy.proto.functions!.filter(({ name }) => name !== 'Fixed');
  const plain = inlinedFunctions(copy);
  plain.proto.functions = kept;
  plain.proto.opset_import = copy.proto.opset_import ?? [];
  return plain;
}

test('calls that lead to no weight that changes stay, and so do their functions', async () => {
  const before = await copyOf(
    model({
      nodes: [
        call('first', 'Linear', ['x', 'square', 'bias'], 'h'),
        call('second', 'Linear', ['h', 'other', 'bias'], 'g'),
        call('third', 'Fixed', ['g'], 'f'),
        call('fourth', 'Fixed', ['f'], 'y'),
      ],
    }),
  );
  const after = await copyOf(before);
  const [account] = await after.apply(expand({ only: ['second/*', 'nothing'] }));
  expect(account.inlined).toEqual(['second']);
  expect(account.unmatched).toEqual(['nothing']);
  expect(after.graph.nodes.map(({ label }) => label)).toEqual([
    'first',
    'second/product/overparam/0',
    'second/product/overparam/1',
    'second/bias',
    'third',
    'fourth',
  ]);
  // Block is called by nothing, before and after.
  expect(diffModels(before, after).filter(({ path }) => path.startsWith('function'))).toEqual([]);
  await expectSameFunction(before, after);
  const own = await copyOf(before);
  const [inside] = await own.apply(expand({ only: ['own'] }));
  expect(inside.inlined).toEqual([]);
  expect(inside.rewritten.map(({ node }) => node)).toEqual(['own']);
  expect(own.graph.nodes.map(({ label }) => label)).toEqual(['first', 'second', 'third', 'fourth']);
  await expectSameFunction(before, own);
});

test('a call inside a function gives way there, for all who call it', async () => {
  const before = await copyOf(
    model({
      nodes: [
        call('first', 'Block', ['x', 'wide', 'b8'], 'h'),
        call('second', 'Block', ['h', 'wide', 'b8'], 'y'),
      ],
    }),
  );
  const after = await copyOf(before);
  const [account] = await after.apply(expand({ only: ['down/*'] }));
  expect(account.inlined).toEqual(['down']);
  expect(after.graph.nodes.map(({ label }) => label)).toEqual(['first', 'second']);
  await expectSameFunction(before, after);
});

test('a function of another operator set stays a call', async () => {
  const before = await copyOf(
    model({
      opset: { '': 12, local: 1 },
      functions: [LINEAR],
      nodes: [
        { opType: 'Softmax', inputs: ['x'], outputs: ['s'] },
        call('fc', 'Linear', ['s', 'square', 'bias'], 'y'),
      ],
    }),
  );
  const [account] = await before.apply(expand());
  expect(account.rewritten).toEqual([]);
  expect(account.skipped).toMatchObject([
    { node: 'product', reason: expect.stringContaining("'w' is an input") },
  ]);
  expect(before.graph.nodes.map(({ label }) => label)).toContain('fc');
});
