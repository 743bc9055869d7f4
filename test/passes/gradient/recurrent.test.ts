import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type AttributeValue,
  type Model,
  type NodeSpec,
  Tensor,
  ValueInfo,
} from '../../../src/graph/index.js';
import { unrolled } from '../../../src/passes/gradient/prepare/recurrent.js';
import { openSession, Random, type RuntimeTensor } from '../../../src/runtime/index.js';
import { buildModel } from '../../../src/runtime/session/small-model.js';
import { checkOp, size } from './check-gradient.js';

interface Case {
  readonly op: 'LSTM' | 'GRU' | 'RNN';
  readonly direction: 'forward' | 'reverse' | 'bidirectional';
  readonly steps: number;
  readonly batch: number;
  readonly bias: boolean;
  readonly lengths: boolean;
  readonly initial: boolean;
  readonly peepholes: boolean;
  readonly attributes: Readonly<Record<string, AttributeValue>>;
}

const GATES = { LSTM: 4, GRU: 3, RNN: 1 } as const;
const [WIDTH, HIDDEN] = [3, 2];

/** All outputs of the operator, and every float input but x as an initializer. */
function recurrent(spec: Case): Model {
  const { op, direction, steps, batch } = spec;
  const directions = direction === 'bidirectional' ? 2 : 1;
  const rows = GATES[op] * HIDDEN;
  const states = [directions, batch, HIDDEN];
  const drawn = (name: string, shape: number[]): Tensor =>
    Tensor.of(name, 'float32', shape, new Random(1, name).fillNormal(new Float32Array(size(shape))));
  const inputs: (Tensor | undefined)[] = [
    drawn('w', [directions, rows, WIDTH]),
    drawn('r', [directions, rows, HIDDEN]),
    spec.bias ? drawn('b', [directions, 2 * rows]) : undefined,
    spec.lengths
      ? Tensor.of(
          'lengths',
          'int32',
          [batch],
          Int32Array.from({ length: batch }, (_, i) => 1 + ((i + 1) % steps)),
        )
      : undefined,
    spec.initial ? drawn('h', states) : undefined,
    ...(op === 'LSTM'
      ? [
          spec.initial ? drawn('c', states) : undefined,
          spec.peepholes ? drawn('p', [directions, 3 * HIDDEN]) : undefined,
        ]
      : []),
  ];
  const outputs = op === 'LSTM' ? ['y', 'yh', 'yc'] : ['y', 'yh'];
  const node: NodeSpec = {
    opType: op,
    name: 'cell',
    inputs: ['x', ...inputs.map((tensor) => tensor?.name ?? '')],
    outputs,
    attributes: {
      hidden_size: { int: HIDDEN },
      direction: { string: direction },
      ...spec.attributes,
    },
  };
  return buildModel({
    nodes: [node],
    inputs: [ValueInfo.tensor('x', 'float32', [steps, batch, WIDTH])],
    outputs,
    initializers: inputs.filter((tensor) => tensor !== undefined),
    opset: 18,
  });
}

async function outputsOf(
  model: Model,
  feeds: Record<string, RuntimeTensor>,
): Promise<Record<string, RuntimeTensor>> {
  await using session = await openSession(model);
  return await session.run(feeds);
}

function sequence(model: Model): RuntimeTensor {
  const shape = model.graph.inputs[0]!.shape as number[];
  return { type: 'float32', shape, data: new Random(2, 'x').fillNormal(new Float32Array(size(shape))) };
}

const cases: fc.Arbitrary<Case> = fc
  .record({
    op: fc.constantFrom('LSTM', 'GRU', 'RNN'),
    direction: fc.constantFrom('forward', 'reverse', 'bidirectional'),
    steps: fc.integer({ min: 1, max: 4 }),
    batch: fc.integer({ min: 1, max: 3 }),
    bias: fc.boolean(),
    lengths: fc.boolean(),
    initial: fc.boolean(),
    peepholes: fc.boolean(),
    clip: fc.boolean(),
    isResetAfter: fc.boolean(),
    isCoupled: fc.boolean(),
    others: fc.boolean(),
  })
  .map(({ clip, isResetAfter, isCoupled, others, ...spec }) => {
    const directions = spec.direction === 'bidirectional' ? 2 : 1;
    const own = { LSTM: ['HardSigmoid', 'Relu', 'Tanh'], GRU: ['HardSigmoid', 'Softsign'], RNN: ['Relu'] }[
      spec.op as Case['op']
    ];
    const numbers = spec.op === 'RNN' ? [] : [0.3];
    const repeated = <T>(list: readonly T[]): T[] => Array.from({ length: directions }, () => list).flat();
    return {
      ...spec,
      attributes: {
        ...(clip && { clip: { float: 0.7 } }),
        ...(spec.op === 'GRU' && isResetAfter && { linear_before_reset: { int: 1 } }),
        ...(spec.op === 'LSTM' && isCoupled && { input_forget: { int: 1 } }),
        ...(others && {
          activations: { strings: repeated(own) },
          activation_alpha: { floats: repeated(numbers) },
          activation_beta: { floats: repeated(numbers) },
        }),
      },
    } as Case;
  });

describe('recurrent operators, written out', () => {
  test('compute what onnxruntime computes', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async (spec) => {
        const model = recurrent(spec);
        const x = sequence(model);
        const plain = await unrolled(model, model.graph.inputs, 'y');
        expect(plain.graph.nodes.some((node) => node.is('LSTM', 'GRU', 'RNN'))).toBe(false);
        const [expected, found] = [await outputsOf(model, { x }), await outputsOf(plain, { x })];
        for (const [name, { shape, data }] of Object.entries(expected)) {
          expect([name, found[name]!.shape]).toEqual([name, shape]);
          const pairs = Array.from(
            data as Float32Array,
            (value, i) => [value, Number(found[name]!.data[i])] as const,
          );
          for (const [a, b] of pairs) expect(b).toBeCloseTo(a, 5);
        }
      }),
      { seed: 7, numRuns: 60 },
    );
  });

  const single = { type: 'float32', step: 1e-2, tolerance: 5e-3 } as const;
  // So many steps that their products become one.
  const [steps, batch] = [5, 2];
  const lengths = Tensor.of('lengths', 'int32', [batch], Int32Array.of(5, 3));
  const weights = (gates: number, directions: number): number[][] => [
    [directions, gates * HIDDEN, WIDTH],
    [directions, gates * HIDDEN, HIDDEN],
    [directions, 2 * gates * HIDDEN],
  ];
  test.for([
    ['LSTM', 'forward', {}],
    ['LSTM', 'bidirectional', {}],
    ['GRU', 'reverse', { linear_before_reset: { int: 1 } }],
    ['GRU', 'bidirectional', {}],
    ['RNN', 'bidirectional', {}],
  ] as const)('%s, %s: gradients agree with finite differences of the operator', async ([
    op,
    direction,
    more,
  ]) => {
    const directions = direction === 'bidirectional' ? 2 : 1;
    const state = [directions, batch, HIDDEN];
    const isLong = op === 'LSTM';
    const shapes = [
      [steps, batch, WIDTH],
      ...weights(GATES[op], directions),
      state,
      ...(isLong ? [state, [directions, 3 * HIDDEN]] : []),
    ];
    const attributes = { hidden_size: { int: HIDDEN }, direction: { string: direction }, ...more };
    // The lengths stand between the bias and the first state.
    const order = [0, 1, 2, 3, shapes.length, 4, ...(isLong ? [5, 6] : [])];
    for (const output of isLong ? [0, 1, 2] : [0, 1]) {
      const outputs = isLong ? 3 : 2;
      await checkOp({ op, shapes, constants: [lengths], order, attributes, outputs, output, ...single });
    }
  });
});
