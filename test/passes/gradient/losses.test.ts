import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { ValueInfo } from '../../../src/graph/index.js';
import { gradient, type Loss } from '../../../src/passes/gradient/index.js';
import { openSession, type RuntimeTensor } from '../../../src/runtime/index.js';
import { buildModel } from '../../../src/runtime/session/small-model.js';
import { labels, wave } from './networks.js';

const reference = JSON.parse(
  readFileSync(new URL('../../reference/gradient.json', import.meta.url), 'utf8'),
) as {
  losses: Record<string, { loss: number; gradient: number[] }>;
};

describe('losses against PyTorch', () => {
  const shape = [6, 5];
  const soft = (() => {
    const numbers = wave(3, shape).map(Math.exp);
    return numbers.map((number, i) => {
      const row = numbers.slice(5 * Math.floor(i / 5), 5 * Math.floor(i / 5) + 5);
      return number / row.reduce((a, b) => a + b, 0);
    });
  })();
  const float = (data: Float64Array): RuntimeTensor => ({ type: 'float64', shape, data });
  const classes: RuntimeTensor = { type: 'int64', shape: [6], data: labels(6, 5) };
  const some = (...numbers: number[]): RuntimeTensor => ({
    type: 'int64',
    shape: [numbers.length],
    data: BigInt64Array.from(numbers, BigInt),
  });
  const marked = some(3, 255, 2, 255, 1, 4);
  const cases: readonly (readonly [string, Loss, RuntimeTensor, (readonly number[])?])[] = [
    ['mse', { kind: 'mse' }, float(wave(2, shape, 2))],
    ['l1', { kind: 'l1' }, float(wave(2, shape, 2))],
    ['huber', { kind: 'huber', delta: 0.7 }, float(wave(2, shape, 2))],
    ['bce', { kind: 'bce' }, float(soft)],
    ['labels', { kind: 'cross-entropy' }, classes],
    ['smooth', { kind: 'cross-entropy', smoothing: 0.2 }, classes],
    ['ignored', { kind: 'cross-entropy', ignoreIndex: 255 }, marked],
    ['ignored smooth', { kind: 'cross-entropy', ignoreIndex: 255, smoothing: 0.2 }, marked],
    ['ignored -1', { kind: 'cross-entropy', ignoreIndex: -1 }, some(3, -1, 2, -1, 1, 4)],
    ['ignored pixels', { kind: 'cross-entropy', ignoreIndex: 255 }, { ...marked, shape: [2, 3] }, [2, 5, 3]],
    ['soft', { kind: 'cross-entropy', targets: 'probabilities' }, float(soft)],
    ['distilled', { kind: 'cross-entropy', targets: 'probabilities', temperature: 3 }, float(soft)],
  ];
  for (const [name, loss, target, shape = [6, 5]] of cases) {
    test(name, async () => {
      const model = buildModel({
        nodes: [{ opType: 'Identity', inputs: ['x'], outputs: ['y'] }],
        inputs: [ValueInfo.tensor('x', 'float64', shape)],
        outputs: ['y'],
        opset: 18,
      });
      const made = await gradient(model, { loss, wrt: ['x'] });
      await using session = await openSession(made.model);
      const x = { ...float(wave(1, shape, 2)), shape };
      const results = await session.run({ x, [made.target!]: target });
      const expected = reference.losses[name]!;
      expect(Math.abs((results[made.loss]!.data as Float64Array)[0]! - expected.loss)).toBeLessThan(1e-7);
      const found = results[made.gradients.get('x')!]!.data as Float64Array;
      for (const [i, number] of expected.gradient.entries())
        expect(Math.abs(found[i]! - number)).toBeLessThan(1e-8);
    });
  }

  test('a batch of labels that are all left out has the loss 0 and no gradient', async () => {
    const model = buildModel({
      nodes: [{ opType: 'Identity', inputs: ['x'], outputs: ['y'] }],
      inputs: [ValueInfo.tensor('x', 'float64', [2, 3])],
      outputs: ['y'],
      opset: 18,
    });
    const made = await gradient(model, { loss: { kind: 'cross-entropy', ignoreIndex: 7 }, wrt: ['x'] });
    await using session = await openSession(made.model);
    const x: RuntimeTensor = { type: 'float64', shape: [2, 3], data: wave(1, [2, 3]) };
    const results = await session.run({ x, [made.target!]: some(7, 7) });
    expect(Number(results[made.loss]!.data[0])).toBeCloseTo(0, 12);
    expect(Array.from(results[made.gradients.get('x')!]!.data as Float64Array, Math.abs)).toEqual(
      Array(6).fill(0),
    );
  });

  test('is refused with probabilities, which have no labels to leave out', async () => {
    const model = buildModel({
      nodes: [{ opType: 'Identity', inputs: ['x'], outputs: ['y'] }],
      inputs: [ValueInfo.tensor('x', 'float64', [2, 3])],
      outputs: ['y'],
      opset: 18,
    });
    const loss = { kind: 'cross-entropy', targets: 'probabilities', ignoreIndex: 7 } as const;
    await expect(gradient(model, { loss, wrt: ['x'] })).rejects.toThrow('ignoreIndex goes with labels');
  });
});
