import { beforeEach, expect, test, vi } from 'vitest';
import { ProtoGraph } from '../../../src/graph/graph.js';
import { type AttributeValue, type Model, type NodeSpec, Tensor } from '../../../src/graph/index.js';
import { collapse } from '../../../src/passes/collapse/collapse.js';
import { buildGraph, buildModel } from '../../support/build.js';

const work = vi.hoisted(() => ({ compositions: 0 }));

vi.mock('../../../src/affine/map/geometry.js', async (original) => {
  const real = await original<typeof import('../../../src/affine/map/geometry.js')>();
  const composeGeometry: typeof real.composeGeometry = (...maps) => {
    work.compositions += 1;
    return real.composeGeometry(...maps);
  };
  return { ...real, composeGeometry };
});

beforeEach(() => vi.restoreAllMocks());

interface Run {
  readonly nodes: readonly NodeSpec[];
  readonly initializers?: readonly Tensor[];
}

const vector = (name: string, value: number): Tensor =>
  Tensor.of(name, 'float32', [4], Float32Array.of(value, 1, 1, value));

/** The identity with its rows in another order. */
const permutation = (name: string, shape: readonly number[]): Tensor =>
  Tensor.of(
    name,
    'float32',
    shape,
    Float32Array.from({ length: 16 }, (_, i) => Number((i * 5 + 4) % 16 === 0)),
  );

/** A run of n nodes, each of which reads the one before it, from x to `h${n - 1}`. */
function inRow(
  count: number,
  opTypeOf: (index: number) => string,
  constant?: (name: string, index: number) => Tensor,
  attributes: Record<string, AttributeValue> = {},
): Run {
  const initializers = constant ? Array.from({ length: count }, (_, i) => constant(`c${i}`, i)) : [];
  const nodes = Array.from({ length: count }, (_, i): NodeSpec => {
    const before = i === 0 ? 'x' : `h${i - 1}`;
    const inputs = [before, initializers[i]?.name ?? before];
    return { opType: opTypeOf(i), name: `n${i}`, inputs, outputs: [`h${i}`], attributes };
  });
  return { nodes, initializers };
}

const RUNS: Record<string, (count: number) => Run> = {
  'factors and summands': (count) =>
    inRow(
      count,
      (i) => (i % 2 === 0 ? 'Mul' : 'Add'),
      (name, i) => vector(name, i % 2 === 0 ? -1 : 0.5),
    ),
  'one summand, read by all': (count) => {
    const { nodes } = inRow(count, () => 'Add');
    const shared = nodes.map((node) => ({ ...node, inputs: [node.inputs[0] ?? '', 'c'] }));
    return { nodes: shared, initializers: [vector('c', 0.25)] };
  },
  'matrix products': (count) =>
    inRow(
      count,
      () => 'MatMul',
      (name) => permutation(name, [4, 4]),
    ),
  'matrix products, an obstacle between': (count) =>
    inRow(
      count,
      () => 'MatMul',
      (name, i) =>
        i === count >> 1
          ? Tensor.of(name, 'float64', [4, 4], new Float64Array(16).fill(0.25))
          : permutation(name, [4, 4]),
    ),
  'doubling sums': (count) => inRow(count, (i) => (i % 3 === 0 ? 'Add' : 'Identity')),
  'signs behind one factor': (count) => ({
    nodes: inRow(count, (i) => (i === 0 ? 'Mul' : 'Neg')).nodes.map(({ inputs, ...node }, i) => ({
      ...node,
      inputs: i === 0 ? ['x', 'c'] : inputs.slice(0, 1),
    })),
    initializers: [vector('c', 0.5)],
  }),
  'sums of chains that begin alike': (count) => {
    // h = 0.5 h + 1, s = s + h
    const nodes = Array.from({ length: Math.ceil(count / 3) }, (_, i): NodeSpec[] => [
      { opType: 'Mul', inputs: [i === 0 ? 'x' : `h${i - 1}`, 'a'], outputs: [`p${i}`] },
      { opType: 'Add', inputs: [`p${i}`, 'b'], outputs: [`h${i}`] },
      { opType: 'Add', inputs: [i === 0 ? 'x' : `s${i - 1}`, `h${i}`], outputs: [`s${i}`] },
    ]).flat();
    return { nodes, initializers: [vector('a', 0.5), vector('b', 1)] };
  },
  'sums within sums': (count) => {
    const { nodes } = inRow(count, (i) => (i % 2 === 0 ? 'Mul' : 'Add'));
    return {
      nodes: nodes.map((node, i) => ({ ...node, inputs: [node.inputs[0] ?? '', i % 2 === 0 ? 'c' : 'x'] })),
      initializers: [vector('c', 0.5)],
    };
  },
};

function modelOf({ nodes, initializers = [] }: Run, isInside: boolean): Model {
  const output = nodes.at(-1)?.outputs[0] ?? '';
  if (!isInside)
    return buildModel({
      inputs: [['x', 'float32', [2, 4]]],
      outputs: [[output, 'float32']],
      nodes,
      initializers,
    });
  const branch = (inner: Run, name: string) => ({
    graph: buildGraph({ name, outputs: [[inner.nodes.at(-1)?.outputs[0] ?? '', 'float32']], ...inner }),
  });
  const other: Run = { nodes: [{ opType: 'Identity', inputs: ['x'], outputs: ['other'] }] };
  const attributes = { then_branch: branch({ nodes, initializers }, 'a'), else_branch: branch(other, 'b') };
  return buildModel({
    inputs: [
      ['x', 'float32', [2, 4]],
      ['choice', 'bool', []],
    ],
    outputs: [['y', 'float32']],
    nodes: [{ opType: 'If', name: 'if', inputs: ['choice'], outputs: ['y'], attributes }],
  });
}

/** What collapse does of each kind that could grow faster than the model: compositions, values looked up, readers asked for. */
async function workOf(run: Run, isInside: boolean): Promise<{ compositions: number; lookups: number }> {
  let lookups = 0;
  const { resolve, uses, producer } = ProtoGraph.prototype;
  vi.spyOn(ProtoGraph.prototype, 'resolve').mockImplementation(function (this: ProtoGraph, value) {
    lookups += 1;
    return resolve.call(this, value);
  });
  vi.spyOn(ProtoGraph.prototype, 'uses').mockImplementation(function (this: ProtoGraph, value) {
    lookups += 1;
    return uses.call(this, value);
  });
  vi.spyOn(ProtoGraph.prototype, 'producer').mockImplementation(function (this: ProtoGraph, value) {
    lookups += 1;
    return producer.call(this, value);
  });
  work.compositions = 0;
  await modelOf(run, isInside).apply(collapse());
  vi.restoreAllMocks();
  return { compositions: work.compositions, lookups };
}

test.each(
  Object.entries(RUNS).flatMap(([name, runOf]) => [
    { name, runOf, isInside: false },
    { name: `${name}, behind If`, runOf, isInside: true },
  ]),
)('$name: twice as many nodes are twice the work', async ({ runOf, isInside }) => {
  const [once, twice] = [await workOf(runOf(300), isInside), await workOf(runOf(600), isInside)];
  // n log n: 2 log 600 / log 300 is 2.24.
  expect(once.lookups).toBeGreaterThan(600);
  expect(twice.lookups / once.lookups).toBeLessThan(2.4);
  expect(twice.compositions).toBeLessThanOrEqual(2.4 * once.compositions + 100);
});

test('sums that are nested 4,000 deep fold without a deep stack', { timeout: 240_000 }, async () => {
  const count = 4000;
  const nodes = Array.from({ length: count }, (_, i): NodeSpec[] => [
    { opType: 'Mul', inputs: ['x', 'k'], outputs: [`m${i}`] },
    { opType: 'Add', inputs: [i === 0 ? 'x' : `s${i - 1}`, `m${i}`], outputs: [`s${i}`] },
  ]).flat();
  const model = buildModel({
    inputs: [['x', 'float32', [2, 4]]],
    outputs: [[`s${count - 1}`, 'float32']],
    nodes,
    initializers: [Tensor.of('k', 'float32', [], Float32Array.of(0.5))],
  });
  await model.apply(collapse());
  expect(model.graph.nodes.map(({ opType }) => opType)).toEqual(['Mul']);
  expect([...model.graph.initializers.values()].map((tensor) => tensor.floats()[0])).toEqual([2001]);
});
