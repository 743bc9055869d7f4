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
  const cases: readonly (readonly [string, Loss, RuntimeTensor])[] = [
    ['mse', { kind: 'mse' }, float(wave(2, shape, 2))],
    ['l1', { kind: 'l1' }, float(wave(2, shape, 2))],
    ['huber', { kind: 'huber', delta: 0.7 }, float(wave(2, shape, 2))],
    ['bce', { kind: 'bce' }, float(soft)],
    ['labels', { kind: 'cross-entropy' }, classes],
    ['smooth', { kind: 'cross-entropy', smoothing: 0.2 }, classes],
    ['soft', { kind: 'cross-entropy', targets: 'probabilities' }, float(soft)],
    ['distilled', { kind: 'cross-entropy', targets: 'probabilities', temperature: 3 }, float(soft)],
  ];
  for (const [name, loss, target] of cases) {
    test(name, async () => {
      const model = buildModel({
        nodes: [{ opType: 'Identity', inputs: ['x'], outputs: ['y'] }],
        inputs: [ValueInfo.tensor('x', 'float64', shape)],
        outputs: ['y'],
        opset: 18,
      });
      const made = await gradient(model, { loss, wrt: ['x'] });
      await using session = await openSession(made.model);
      const results = await session.run({ x: float(wave(1, shape, 2)), [made.target!]: target });
      const expected = reference.losses[name]!;
      expect(Math.abs((results[made.loss]!.data as Float64Array)[0]! - expected.loss)).toBeLessThan(1e-7);
      const found = results[made.gradients.get('x')!]!.data as Float64Array;
      for (const [i, number] of expected.gradient.entries())
        expect(Math.abs(found[i]! - number)).toBeLessThan(1e-8);
    });
  }
});
