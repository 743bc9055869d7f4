import { describe, expect, test } from 'vitest';
import { findLinearSites, type LinearSite } from '../../src/affine/linear-sites.js';
import { convolution } from '../../src/affine/operators/conv.js';
import { isRefusal } from '../../src/affine/refusal.js';
import type { NodeSpec } from '../../src/graph/index.js';
import { buildGraph, buildModel, floats } from '../support/build.js';

function sitesOf(nodes: readonly NodeSpec[], initializers = shapes({ w: [4, 3], v: [6, 2, 3, 5] })) {
  return findLinearSites(buildModel({ inputs: [['x', 'float32']], outputs: [], nodes, initializers }));
}

function shapes(all: Record<string, readonly number[]>) {
  return Object.entries(all).map(([name, shape]) => floats(name, shape));
}

const node = (
  opType: string,
  inputs: readonly string[],
  attributes: NodeSpec['attributes'] = {},
): NodeSpec => ({
  opType,
  name: 'n',
  inputs,
  outputs: ['y'],
  attributes,
});

describe('the matrix of a site', () => {
  const cases: [string, NodeSpec, Partial<LinearSite>][] = [
    ['Gemm', node('Gemm', ['x', 'w']), { orientation: 'in-out', rows: 4, columns: 3, weightInput: 1 }],
    [
      'Gemm with transB',
      node('Gemm', ['x', 'w'], { transB: { int: 1 } }),
      { orientation: 'out-in', rows: 4, columns: 3 },
    ],
    ['MatMul', node('MatMul', ['x', 'w']), { orientation: 'in-out', rows: 4, columns: 3, weightInput: 1 }],
    [
      'MatMul from the left',
      node('MatMul', ['w', 'x']),
      { orientation: 'out-in', rows: 4, columns: 3, weightInput: 0 },
    ],
    [
      'Conv',
      node('Conv', ['x', 'v']),
      { orientation: 'out-in', rows: 6, columns: 30, groups: 1, kernel: [3, 5] },
    ],
    [
      'grouped Conv',
      node('Conv', ['x', 'v'], { group: { int: 3 } }),
      { rows: 6, columns: 30, groups: 3, kernel: [3, 5] },
    ],
    [
      'ConvTranspose',
      node('ConvTranspose', ['x', 'v'], { group: { int: 2 } }),
      { orientation: 'in-out', rows: 6, columns: 30, groups: 2 },
    ],
  ];
  for (const [what, spec, expected] of cases) {
    test(`of ${what}`, () => {
      const { sites, others } = sitesOf([spec]);
      expect(others).toEqual([]);
      expect(sites).toMatchObject([{ op: spec.opType, ...expected }]);
    });
  }
});

test('every linear node is a site or has a reason why not', () => {
  const initializers = [...shapes({ w: [4, 3], v: [6, 2, 3, 5], flat: [6, 2], cube: [2, 4, 3] })];
  const cases: [NodeSpec, RegExp][] = [
    [node('Gemm', ['x', 'x']), /'x' is an input/],
    [node('Gemm', ['x', 'cube']), /shape \[2, 4, 3\], not two dimensions/],
    [node('Gemm', ['x']), /has no input 1/],
    [node('MatMul', ['x', 'x']), /no input is a constant weight: 'x' is an input/],
    [node('MatMul', ['w', 'w']), /both of its inputs are constants/],
    [node('MatMul', ['x', 'cube']), /batched, of shape \[2, 4, 3\]/],
    [node('Conv', ['x', 'flat']), /no kernel/],
    [node('Conv', ['x', 'v'], { group: { int: 4 } }), /6 channels do not divide into 4 groups/],
    [node('Conv', ['x', 'x']), /'x' is an input/],
  ];
  for (const [spec, reason] of cases) {
    const { sites, others } = sitesOf([spec], initializers);
    expect(sites).toEqual([]);
    expect(others).toEqual([{ node: expect.anything(), reason: expect.stringMatching(reason) }]);
  }
  // Of another domain it is another operator.
  expect(sitesOf([{ ...node('Gemm', ['x', 'w']), domain: 'own' }])).toEqual({ sites: [], others: [] });
});

test('sites come in the order of execution, those of a subgraph in the place of its node', () => {
  const gemm = (name: string, output: string): NodeSpec => ({
    opType: 'Gemm',
    name,
    inputs: ['x', 'w'],
    outputs: [output],
  });
  const branch = (name: string) => ({
    graph: buildGraph({ name, nodes: [gemm(name, `${name}_y`)], outputs: [[`${name}_y`, 'float32']] }),
  });
  const model = buildModel({
    opset: { '': 17, own: 1 },
    inputs: [
      ['x', 'float32', [2, 4]],
      ['flag', 'bool', []],
    ],
    outputs: [],
    nodes: [
      gemm('first', 'a'),
      {
        opType: 'If',
        name: 'if',
        inputs: ['flag'],
        outputs: ['b'],
        attributes: { then_branch: branch('then'), else_branch: branch('else') },
      },
      gemm('last', 'c'),
    ],
    initializers: shapes({ w: [4, 3] }),
    functions: [
      {
        domain: 'own',
        name: 'F',
        inputs: ['x'],
        outputs: ['y'],
        nodes: [
          {
            opType: 'Constant',
            inputs: [],
            outputs: ['w'],
            attributes: { value: { tensor: floats('', [4, 3]) } },
          },
          gemm('function', 'y'),
        ],
      },
    ],
  });
  expect(findLinearSites(model).sites.map((site) => site.node.name)).toEqual([
    'first',
    'then',
    'else',
    'last',
    'function',
  ]);
});

test('an attribute that a function passes on is not known here', () => {
  const gemm: NodeSpec = {
    opType: 'Gemm',
    name: 'g',
    inputs: ['x', 'w'],
    outputs: ['y'],
    attributes: { alpha: { float: 1 } },
  };
  const constant: NodeSpec = {
    opType: 'Constant',
    inputs: [],
    outputs: ['w'],
    attributes: { value: { tensor: floats('', [4, 3]) } },
  };
  const model = buildModel({
    opset: { '': 17, own: 1 },
    inputs: [],
    outputs: [],
    nodes: [],
    functions: [
      { domain: 'own', name: 'F', inputs: ['x'], outputs: ['y'], attributes: ['a'], nodes: [constant, gemm] },
    ],
  });
  model.functions[0]!.nodes[1]!.proto.attribute![0]!.ref_attr_name = 'a';
  expect(findLinearSites(model).others).toMatchObject([
    { reason: "its attribute 'alpha' is an attribute of the function" },
  ]);
});

test.each([
  ['dilations', [-1]],
  ['strides', [0]],
  ['strides', [1, 1]],
  ['pads', [1]],
])('a convolution with %s %j is no convolution', (name, ints) => {
  const model = buildModel({
    inputs: [['x', 'float32', [1, 2, 9]]],
    outputs: [['y', 'float32']],
    nodes: [
      { opType: 'Conv', inputs: ['x', 'w'], outputs: ['y'], name: 'conv', attributes: { [name]: { ints } } },
    ],
    initializers: [floats('w', [2, 2, 3], (i) => i)],
  });
  const { sites, others } = findLinearSites(model);
  expect(sites).toEqual([]);
  expect(others[0]?.reason).toContain(`${name} [${ints.join(', ')}]`);
  expect(isRefusal(convolution(model.graph.nodes[0]!))).toBe(true);
});
