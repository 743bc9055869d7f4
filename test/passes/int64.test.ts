import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  findConstant,
  isConstant,
  type Model,
  modelToBytes,
  readModel,
  Tensor,
} from '../../src/graph/index.js';
import { collapse } from '../../src/passes/collapse/collapse.js';
import { gradient } from '../../src/passes/gradient/index.js';
import { evaluate } from '../../src/runtime/index.js';
import { buildModel } from '../support/build.js';
import { expectSameFunction } from './laws.js';

const INT64_MAX = 2n ** 63n - 1n;

/** (x U)[:, 1:] V W: the end of the Slice is INT64_MAX, as an attribute, a constant or what a Constant node holds. */
function sliced(form: 'attribute' | 'initializer' | 'node'): Model {
  const list = (name: string, value: bigint): Tensor =>
    Tensor.of(name, 'int64', [1], BigInt64Array.of(value));
  const constants = [list('starts', 1n), list('ends', INT64_MAX), list('axes', 1n)];
  const asAttributes = { axes: { ints: [1] }, starts: { ints: [1] }, ends: { ints: [INT64_MAX] } };
  const weights = [
    Tensor.of(
      'u',
      'float32',
      [5, 5],
      Float32Array.from({ length: 25 }, (_, i) => Math.sin(i * i)),
    ),
    Tensor.of(
      'v',
      'float32',
      [4, 3],
      Float32Array.from({ length: 12 }, (_, i) => Math.sin(i)),
    ),
    Tensor.of(
      'w',
      'float32',
      [3, 2],
      Float32Array.from({ length: 6 }, (_, i) => Math.cos(i)),
    ),
  ];
  return buildModel({
    inputs: [['x', 'float32', [2, 5]]],
    outputs: [['y', 'float32', [2, 2]]],
    opset: form === 'attribute' ? 9 : 17,
    nodes: [
      ...(form === 'node'
        ? constants.map((tensor) => ({
            opType: 'Constant',
            inputs: [],
            outputs: [tensor.name],
            attributes: { value: { tensor } },
          }))
        : []),
      { opType: 'MatMul', inputs: ['x', 'u'], outputs: ['t'] },
      form === 'attribute'
        ? { opType: 'Slice', inputs: ['t'], outputs: ['s'], attributes: asAttributes }
        : { opType: 'Slice', inputs: ['t', 'starts', 'ends', 'axes'], outputs: ['s'] },
      { opType: 'MatMul', inputs: ['s', 'v'], outputs: ['h'] },
      { opType: 'MatMul', inputs: ['h', 'w'], outputs: ['y'] },
    ],
    initializers: [...weights, ...(form === 'initializer' ? constants : [])],
  });
}

describe.each(['attribute', 'initializer', 'node'] as const)('a Slice to INT64_MAX, as %s', (form) => {
  test('collapses around it, and its bits stay', async () => {
    const model = sliced(form);
    await model.apply(collapse());
    expect(model.graph.nodes.filter((node) => node.is('MatMul', 'Gemm'))).toHaveLength(2);
    const again = await readModel(modelToBytes(model));
    await expectSameFunction(sliced(form), again);
    expect(endsOf(again)).toEqual([INT64_MAX]);
  });

  test('has a gradient, in which its bits stay', async () => {
    const { model, gradients } = await gradient(sliced(form), {
      loss: 'sum',
      wrt: ['u'],
      weights: 'constants',
    });
    expect(endsOf(model)).toEqual([INT64_MAX]);
    const x = Float32Array.from({ length: 10 }, (_, i) => i / 7);
    const results = await evaluate(model, { x: { type: 'float32', shape: [2, 5], data: x } });
    const du = results[gradients.get('u')!]!.data as Float32Array;
    // The column that the Slice drops gets nothing, all others something.
    for (const [i, value] of du.entries()) expect(value === 0).toBe(i % 5 === 0);
  });
});

/** The ends of every Slice, where they are known. */
function endsOf({ graph }: Model): bigint[] {
  return graph.nodes
    .filter((node) => node.is('Slice'))
    .flatMap((node) => {
      const given = node.attributes.bigints('ends');
      if (given !== undefined) return given;
      const found = findConstant(graph, node.inputs[2]!);
      return isConstant(found) && found.root ? [...(found.root.array() as BigInt64Array)].map(BigInt) : [];
    });
}

const CORPUS = '../shared/corpus';
const files = existsSync(join(CORPUS, 'manifest.csv'))
  ? readFileSync(join(CORPUS, 'manifest.csv'), 'utf8')
      .split('\n')
      .filter((line) => line.split(',')[2]?.includes('01-int64'))
      .map((line) => line.split(',')[0]!)
  : [];

test.skipIf(files.length === 0)(
  'real models with such integers: read and written bit by bit, and collapsed',
  async () => {
    for (const file of files) {
      const bytes = readFileSync(join(CORPUS, file));
      const model = await readModel(bytes);
      expect(Buffer.compare(modelToBytes(model), bytes), file).toBe(0);
      await model.apply(collapse());
      const [before, after] = [endsOf(await readModel(bytes)), endsOf(model)];
      for (const end of after) expect(before.includes(end), `${file}: ${end}`).toBe(true);
    }
  },
);
