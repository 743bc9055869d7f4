import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { verifyModels } from '../../../src/analysis/verify/verify.js';
import {
  createModel,
  type DataType,
  type Model,
  type NodeSpec,
  readModel,
  Tensor,
} from '../../../src/graph/index.js';
import { Random } from '../../../src/runtime/index.js';
import { modelOf } from '../../runtime/helpers.js';

const weight = new Random(0, 'weight').fillNormal(new Float32Array(64 * 16));

/** y = relu(x w) w2, and the class of largest y. */
function classifier(change: (w: Float32Array) => void = () => {}, output = 'y'): Model {
  const w = weight.slice();
  change(w);
  return modelOf(
    [
      { opType: 'MatMul', inputs: ['x', 'w'], outputs: [output] },
      { opType: 'ArgMax', inputs: [output], outputs: ['class'], attributes: { axis: { int: 1 } } },
    ],
    [['x', 'float32', ['batch', 64]]],
    [
      [output, 'float32', ['batch', 16]],
      ['class', 'int64', ['batch', 1]],
    ],
    [Tensor.of('w', 'float32', [64, 16], w)],
  );
}

const unary = (
  nodes: readonly NodeSpec[],
  type: DataType = 'float32',
  initializers: readonly Tensor[] = [],
): Model => modelOf(nodes, [['x', type, ['n']]], [['y', type, ['n']]], initializers);
const op = (opType: string, inputs: string[], output: string): NodeSpec => ({
  opType,
  inputs,
  outputs: [output],
});

describe('verifyModels', () => {
  it('finds a model equal to itself, exactly', async () => {
    const { passed, outputs, problems, samples } = await verifyModels(classifier(), classifier(), {
      dims: { batch: 5 },
    });
    expect({ passed, problems, samples }).toEqual({ passed: true, problems: [], samples: 3 });
    expect(outputs.map(({ name }) => name)).toEqual(['y', 'class']);
    expect(outputs[0]).toMatchObject({
      maxDifference: 0,
      relativeDifference: 0,
      relativeRms: 0,
      differingFraction: 0,
      elements: 3 * 5 * 16,
      tolerance: 1e-4,
    });
    expect(outputs[0]!.maxValue).toBeGreaterThan(8);
  });

  it('measures a perturbed weight', async () => {
    // Every weight 1 % larger: every output is, too.
    const scaled = classifier((w) => w.set(w.map((value) => value * 1.01)));
    const { passed, outputs } = await verifyModels(classifier(), scaled, { dims: { batch: 8 } });
    expect(passed).toBe(false);
    expect(outputs[0]!.relativeDifference).toBeCloseTo(0.01, 5);
    expect(outputs[0]!.relativeRms).toBeCloseTo(0.01, 5);
    expect(outputs[0]).toMatchObject({ passed: false, nonFiniteDifferences: 0 });
    // The class of the largest output stays.
    expect(outputs[1]).toMatchObject({ name: 'class', passed: true, differingFraction: 0, tolerance: 0 });
    expect((await verifyModels(classifier(), scaled, { tolerance: 0.02 })).passed).toBe(true);
  });

  it('counts integers that differ', async () => {
    const negated = classifier((w) => w.set(w.map((value) => -value)));
    const { outputs } = await verifyModels(classifier(), negated, { dims: { batch: 20 } });
    expect(outputs[1]).toMatchObject({ differingFraction: 1, passed: false });
  });

  it('names outputs and inputs that one of them lacks', async () => {
    const renamed = await verifyModels(classifier(), classifier(undefined, 'z'));
    expect(renamed.passed).toBe(false);
    expect(renamed.problems).toEqual([
      "the second model has no output 'y'",
      "the first model has no output 'z'",
    ]);
    expect(renamed.outputs).toMatchObject([{ name: 'class', passed: true }]);
    const two = modelOf(
      [op('Add', ['x', 'x2'], 'y')],
      [
        ['x', 'float32', ['n']],
        ['x2', 'float32', ['n']],
      ],
      [['y', 'float32', ['n']]],
    );
    const one = unary([op('Identity', ['x'], 'y')]);
    expect(await verifyModels(one, two)).toMatchObject({
      passed: false,
      problems: ["the first model has no input 'x2'"],
      outputs: [],
    });
    expect((await verifyModels(two, one)).problems).toEqual(["the second model has no input 'x2'"]);
  });

  it('names shapes and types that differ', async () => {
    const shaped = (shape: number[], input: (string | number)[] = ['n']): Model =>
      modelOf(
        [op('Reshape', ['x', 's'], 'y')],
        [['x', 'float32', input]],
        [['y', 'float32', shape]],
        [
          Tensor.of(
            's',
            'int64',
            [shape!.length],
            BigInt64Array.from(shape!, (dim) => BigInt(dim as number)),
          ),
        ],
      );
    const { passed, problems } = await verifyModels(shaped([2, 3]), shaped([6]), { dims: { n: 6 } });
    expect(passed).toBe(false);
    expect(problems).toEqual(["output 'y' has the shape [2, 3] in the first model, [6] in the second"]);
    const other = await verifyModels(shaped([6]), shaped([6], [7]), { dims: { n: 6 } });
    expect(other).toMatchObject({
      passed: false,
      problems: ["input 'x' is float32[6] in the first model, float32[7] in the second"],
    });
    const whole = await verifyModels(unary([op('Abs', ['x'], 'y')]), unary([op('Abs', ['x'], 'y')], 'int32'));
    expect(whole).toMatchObject({ passed: false, outputs: [] });
    expect(whole.problems).toEqual([
      "input 'x' is float32[n] in the first model, int32[n] in the second",
      "output 'y' is float32 in the first model, int32 in the second",
    ]);
  });

  it('takes NaN and infinities as equal where both have them, and counts them where not', async () => {
    // log of a negative number is NaN; x / 0 is infinite.
    const log = () => unary([op('Log', ['x'], 'y')]);
    const same = await verifyModels(log(), log(), { dims: { n: 100 } });
    expect(same).toMatchObject({
      passed: true,
      outputs: [{ differingFraction: 0, nonFiniteDifferences: 0 }],
    });
    expect(Number.isNaN(same.outputs[0]!.maxValue)).toBe(false);
    // x / relu(x) is infinite where x is negative, 1 elsewhere.
    const divided = () => unary([op('Relu', ['x'], 'r'), op('Div', ['x', 'r'], 'y')]);
    expect((await verifyModels(divided(), divided(), { dims: { n: 100 } })).passed).toBe(true);
    const guarded = unary([op('Abs', ['x'], 'a'), op('Log', ['a'], 'y')]);
    const { passed, outputs } = await verifyModels(log(), guarded, { dims: { n: 100 }, samples: 1 });
    expect(passed).toBe(false);
    expect(outputs[0]!.nonFiniteDifferences).toBeGreaterThan(20);
    expect(outputs[0]!.nonFiniteDifferences).toBeLessThan(80);
    // Where both are finite they agree.
    expect(outputs[0]!.relativeDifference).toBe(0);
  });

  it('has no trouble with outputs that are all zero', async () => {
    const zeros = () => unary([op('Sub', ['x', 'x'], 'y')]);
    expect((await verifyModels(zeros(), zeros())).outputs[0]).toMatchObject({
      relativeDifference: 0,
      passed: true,
    });
    const values = unary([op('Identity', ['x'], 'y')]);
    expect((await verifyModels(zeros(), values)).outputs[0]).toMatchObject({
      relativeDifference: Number.POSITIVE_INFINITY,
      passed: false,
    });
  });

  it('takes no step of the output type beside 0 for a difference, but takes more for one', async () => {
    const constant = (value: number): Model =>
      modelOf(
        [op('Sub', ['x', 'x'], 'zero'), op('Add', ['zero', 'c'], 'y')],
        [['x', 'float16', [3]]],
        [['y', 'float16', [3]]],
        [Tensor.of('c', 'float16', [1], Uint16Array.of(value))],
      );
    expect(await verifyModels(constant(0), constant(1))).toMatchObject({ passed: true });
    expect(await verifyModels(constant(0), constant(9))).toMatchObject({ passed: false });
  });

  it('does not call the same what has nothing to compare', async () => {
    const notFinite = () => unary([op('Sub', ['x', 'x'], 'zero'), op('Div', ['zero', 'zero'], 'y')]);
    const result = await verifyModels(notFinite(), notFinite(), { dims: { n: 7 } });
    expect(result).toMatchObject({
      passed: false,
      verdict: 'nothing compared',
      problems: [],
      outputs: [{ name: 'y', elements: 21, compared: 0, passed: true }],
    });
    // What overflows in one order of products is NaN in another: neither is a value to compare.
    const infinite = unary([
      op('Sub', ['x', 'x'], 'zero'),
      op('Exp', ['zero'], 'one'),
      op('Div', ['one', 'zero'], 'y'),
    ]);
    expect(await verifyModels(infinite, notFinite())).toMatchObject({ verdict: 'nothing compared' });
    const empty = await verifyModels(classifier(), classifier(), { dims: { batch: 0 } });
    expect(empty).toMatchObject({ passed: false, verdict: 'nothing compared' });
    expect(empty.outputs.map(({ elements }) => elements)).toEqual([0, 0]);
  });

  it('says which outputs are the same for every input', async () => {
    const zeros = () => unary([op('Sub', ['x', 'x'], 'y')]);
    const { passed, outputs } = await verifyModels(zeros(), zeros());
    expect({ passed, isConstant: outputs[0]!.isConstant }).toEqual({ passed: true, isConstant: true });
    expect((await verifyModels(zeros(), zeros(), { samples: 1 })).outputs[0]!.isConstant).toBe(false);
    expect((await verifyModels(classifier(), classifier())).outputs[0]!.isConstant).toBe(false);
  });

  it('compares on inputs that are given', async () => {
    const x = { type: 'float32', shape: [2, 64], data: new Float32Array(128) } as const;
    const other = classifier((w) => w.fill(0));
    const { samples, outputs, passed } = await verifyModels(classifier(), other, { inputs: { x } });
    expect({ samples, passed }).toEqual({ samples: 1, passed: true });
    expect(outputs[0]).toMatchObject({ elements: 32, maxValue: 0 });
  });

  describe('of sequences and maps', () => {
    const zipMap = (weights: Float32Array, labels: readonly number[]): Model => {
      const model = modelOf(
        [
          op('MatMul', ['x', 'w'], 's'),
          { ...op('Softmax', ['s'], 'p'), attributes: { axis: { int: 1 } } },
          {
            ...op('ZipMap', ['p'], 'map'),
            domain: 'ai.onnx.ml',
            attributes: { classlabels_int64s: { ints: labels } },
          },
          { ...op('ArgMax', ['p'], 'label'), attributes: { axis: { int: 1 } } },
        ],
        [['x', 'float32', ['n', 5]]],
        [['label', 'int64']],
        [Tensor.of('w', 'float32', [5, 3], weights)],
      );
      const { graph, opset_import = [] } = model.proto;
      graph!.output!.push({
        name: 'map',
        type: {
          sequence_type: {
            elem_type: { map_type: { key_type: 7, value_type: { tensor_type: { elem_type: 1 } } } },
          },
        },
      } as never);
      opset_import.push({ domain: 'ai.onnx.ml', version: opset_import[0]!.version } as never);
      opset_import.at(-1)!.version = 2 as never;
      return readAgain(model);
    };
    const readAgain = (model: Model): Model => createModel(model.proto);
    const w = weight.slice(0, 15);

    it('are compared by the tensors that make them', async () => {
      const { passed, problems, outputs } = await verifyModels(zipMap(w, [0, 1, 2]), zipMap(w, [0, 1, 2]), {
        dims: { n: 4 },
      });
      expect({ passed, problems }).toEqual({ passed: true, problems: [] });
      expect(outputs).toMatchObject([{ name: 'label' }, { name: 'map', compared: 36 }]);
    });

    it('differ where those do, or what makes them', async () => {
      const scaled = w.map((value) => value * 1.01);
      const { outputs, passed } = await verifyModels(zipMap(w, [0, 1, 2]), zipMap(scaled, [0, 1, 2]));
      expect({ passed, map: outputs.find(({ name }) => name === 'map')?.passed }).toEqual({
        passed: false,
        map: false,
      });
      const { problems } = await verifyModels(zipMap(w, [0, 1, 2]), zipMap(w, [0, 1, 3]));
      expect(problems).toEqual([
        "output 'map' is sequence(map(int64, float32)), and not the same nodes make it in both models",
      ]);
    });

    it('of other kinds too', async () => {
      const sequence = (order: readonly string[]): Model => {
        const model = modelOf(
          [op('Neg', ['x'], 'm'), op('Abs', ['x'], 'p'), op('SequenceConstruct', [...order], 'y')],
          [['x', 'float32', ['n']]],
          [],
        );
        model.proto.graph!.output!.push({
          name: 'y',
          type: { sequence_type: { elem_type: { tensor_type: { elem_type: 1 } } } },
        } as never);
        return readAgain(model);
      };
      const same = await verifyModels(sequence(['m', 'p']), sequence(['m', 'p']), { dims: { n: 4 } });
      expect(same).toMatchObject({ passed: true, outputs: [{ name: 'y (m)' }, { name: 'y (p)' }] });
      const swapped = await verifyModels(sequence(['m', 'p']), sequence(['p', 'm']), { dims: { n: 4 } });
      expect(swapped.passed).toBe(false);
    });
  });

  it('lets rounding pass that the first model shows itself, unless a tolerance is given', async () => {
    // onnxruntime's Sigmoid is exact to the last bit of one; where it is near zero, that is a digit or two of it.
    const odds = (nodes: NodeSpec[], ...constants: number[]): Model =>
      unary(
        [...nodes, op('Sigmoid', ['z'], 'y')],
        'float32',
        constants.map((value, i) => Tensor.of(`c${i}`, 'float32', [], Float32Array.of(value))),
      );
    const scaled = [op('Mul', ['x', 'c0'], 'p'), op('Add', ['p', 'c1'], 'z')];
    const a = odds(scaled, 0.3, -13);
    const b = odds([op('Add', ['x', 'c0'], 'p'), op('Mul', ['p', 'c1'], 'z')], -13 / 0.3, 0.3);
    const other = odds(scaled, 0.3, -12.5);
    const dims = { n: 1000 };
    const { outputs, passed } = await verifyModels(a, b, { dims });
    expect(outputs[0]!.relativeDifference).toBeGreaterThan(1e-4);
    expect(outputs[0]!.rounding).toBeGreaterThan(outputs[0]!.relativeDifference / 2);
    expect(passed).toBe(true);
    expect((await verifyModels(a, b, { dims, tolerance: 1e-4 })).passed).toBe(false);
    const { passed: isOther, outputs: others } = await verifyModels(a, other, { dims });
    expect(isOther).toBe(false);
    expect(others[0]!.rounding).toBeLessThan(0.1);
  });

  describe('where rounding decides', () => {
    // 0.3 * 0.7 is 0.21 but for rounding, so which of p and q is larger is chance, and another one in the other order.
    const scales = [0.3, 0.7, 0.21].map((scale, i) =>
      Tensor.of(`c${i}`, 'float32', [], Float32Array.of(scale)),
    );
    const scores = (twice: string, once: string): NodeSpec[] => [
      op('Mul', ['x', 'c0'], 'half'),
      op('Mul', ['half', 'c1'], twice),
      op('Mul', ['x', 'c2'], once),
    ];
    const chosen: NodeSpec[] = [
      op('Greater', ['p', 'q'], 'larger'),
      op('Cast', ['larger'], 'y'),
      op('NonZero', ['larger'], 'which'),
    ].map((node) => (node.opType === 'Cast' ? { ...node, attributes: { to: { int: 1 } } } : node));
    const choice = (nodes: NodeSpec[], constants = scales): Model =>
      modelOf(
        [...nodes, ...chosen, op('Mul', ['y', 'q'], 'z')],
        [['x', 'float32', ['n']]],
        [
          ['y', 'float32', ['n']],
          ['which', 'int64', [1, 'm']],
          ['z', 'float32', ['n']],
        ],
        constants,
      );
    const dims = { n: 100 };

    it('compares what is decided on, and what comes of the same decisions', async () => {
      const { passed, decisions, outputs, problems } = await verifyModels(
        choice(scores('p', 'q')),
        choice(scores('q', 'p')),
        { dims },
      );
      expect({ passed, problems }).toEqual({ passed: true, problems: [] });
      expect(decisions).toMatchObject({ nodes: [{ name: 'larger', opType: 'Greater' }], forced: 3 });
      expect(decisions?.relativeDifference).toBeGreaterThan(0);
      expect(decisions?.relativeDifference).toBeLessThan(2e-7);
      expect(outputs.map(({ name, passed: isSame }) => [name, isSame])).toEqual([
        ['y', true],
        ['which', true],
        ['z', true],
      ]);
    });

    it('does not take a difference for a decision', async () => {
      const larger = Tensor.of('c2', 'float32', [], Float32Array.of(0.2101));
      const other = choice(scores('q', 'p'), [...scales.slice(0, 2), larger]);
      const { passed, decisions, problems } = await verifyModels(choice(scores('p', 'q')), other, { dims });
      expect(passed).toBe(false);
      expect(decisions).toBeUndefined();
      expect(problems.join()).toContain("output 'which' has the shape");
    });

    it('does not excuse what follows a decision', async () => {
      const opposite = choice(scores('q', 'p'));
      const last = opposite.graph.nodes.find((node) => node.outputs[0] === 'z')!;
      opposite.graph.edit({ removeNodes: [last], insertNodes: [op('Mul', ['y', 'half'], 'z')] });
      const { passed, decisions } = await verifyModels(choice(scores('p', 'q')), opposite, { dims });
      expect({ passed, decisions }).toEqual({ passed: false, decisions: undefined });
    });
  });

  it.each(['bool', 'string', 'float16', 'bfloat16', 'float64'] as const)('compares %s', async (type) => {
    const same = () => unary([op('Identity', ['x'], 'y')], type);
    const { passed, outputs } = await verifyModels(same(), same(), { dims: { n: 10 } });
    expect(passed).toBe(true);
    expect(outputs[0]!.tolerance).toBe(
      { bool: 0, string: 0, float16: 2 ** -7, bfloat16: 2 ** -4, float64: 1e-4 }[type],
    );
  });

  it('refuses options that make no sense', async () => {
    await expect(verifyModels(classifier(), classifier(), { samples: 0 })).rejects.toThrow('samples must be');
    await expect(verifyModels(classifier(), classifier(), { tolerance: Number.NaN })).rejects.toThrow(
      'tolerance must be',
    );
    await expect(verifyModels(classifier(), classifier(), { dims: { n: 1 } })).rejects.toThrow(
      "those are 'batch'",
    );
  });

  const real = ['light_squeezenet', 'mnist-pytorch', 'light_shufflenet'].map(
    (name) => `../shared/models/${name}.onnx`,
  );
  it.for(real)('finds %s equal to itself', async (path, { skip }) => {
    skip(!existsSync(path), `${path} is not here`);
    const { passed, outputs } = await verifyModels(await readModel(path), await readModel(path), {
      samples: 1,
    });
    expect(passed).toBe(true);
    expect(outputs[0]!.relativeDifference).toBe(0);
  });
});
