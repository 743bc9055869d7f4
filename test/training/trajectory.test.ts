import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { Model } from '../../src/graph/index.js';
import { openEngine } from '../../src/training/engine/engine.js';
import { optimizer } from '../../src/training/optimizers/index.js';
import { CNN, labels, MLP, VIT, wave } from '../passes/gradient/networks.js';

interface Trajectory {
  readonly losses: readonly number[];
  readonly norms: readonly number[];
  readonly weights: Readonly<Record<string, { norm: number; at: Record<string, number> }>>;
  readonly state: Readonly<Record<string, number[]>>;
}

const reference = JSON.parse(
  readFileSync(new URL('../reference/trajectories.json', import.meta.url), 'utf8'),
) as Record<string, Trajectory>;

const NETWORKS: readonly [string, Model, readonly number[], number][] = [
  ['mlp', MLP('float32'), [8, 12], 5],
  ['cnn', CNN(), [4, 2, 9, 9], 4],
  ['vit', VIT(), [4, 1, 8, 8], 3],
];
const OPTIMIZERS = [
  ['sgd', optimizer('sgd', { momentum: 0.9, nesterov: true }), 0.1],
  ['adam', optimizer('adam'), 0.01],
] as const;

const CASES = NETWORKS.flatMap((network) => OPTIMIZERS.map((rule) => ({ network, rule })));

test.each(CASES)('$network.0 by $rule.0 goes where PyTorch goes, clipped', async ({ network, rule }) => {
  const [name, model, shape, classes] = network;
  const [kind, update, rate] = rule;
  const expected = reference[`${name} ${kind}`]!;
  const steps = expected.losses.length;
  const batch = shape[0]!;
  await using engine = await openEngine(model, {
    loss: 'cross-entropy',
    batch,
    optimizer: update,
    clipNorm: 0.15,
  });
  const data = Float32Array.from(
    Array.from({ length: steps }, (_, step) => [...wave(20 + step, shape)]).flat(),
  );
  const { losses, gradientNorms } = await engine.run({
    steps,
    inputs: { x: { type: 'float32', shape: [steps, ...shape], data } },
    target: {
      type: 'int64',
      shape: [steps, batch],
      data: BigInt64Array.from(Array.from({ length: steps }, () => [...labels(batch, classes)]).flat()),
    },
    learningRates: new Float32Array(steps).fill(rate),
  });
  // PyTorch's figures are of float64; Adam's first steps turn on the sign of gradients that are almost nothing.
  const tolerance = kind === 'adam' ? 2e-3 : 1e-4;
  for (const [step, loss] of expected.losses.entries()) {
    expect(Math.abs(losses[step]! / loss - 1), `loss of step ${step}`).toBeLessThan(tolerance);
    expect(Math.abs(gradientNorms[step]! / expected.norms[step]! - 1), `norm ${step}`).toBeLessThan(
      tolerance,
    );
  }
  const { weights } = await engine.state();
  for (const [key, figures] of Object.entries(expected.weights)) {
    const numbers = weights.get(key)!.data as Float32Array;
    for (const [place, number] of Object.entries(figures.at)) {
      // A bias of the keys moves all scores alike: its gradient is rounding, of which Adam makes steps.
      if (key === 'qkv_b' && Number(place) >= 8 && Number(place) < 16) continue;
      expect(Math.abs(numbers[Number(place)]! - number), `${key}[${place}]`).toBeLessThan(
        tolerance * Math.max(0.1, figures.norm),
      );
    }
  }
  for (const [key, numbers] of Object.entries(expected.state)) {
    const found = weights.get(key)!.data as Float32Array;
    for (const [i, number] of numbers.entries()) expect(Math.abs(found[i]! - number)).toBeLessThan(1e-3);
  }
});
