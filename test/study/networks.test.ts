import { describe, expect, test } from 'vitest';
import { embeddingReport } from '../../src/analysis/embeddings/embeddings.js';
import { rankReport } from '../../src/analysis/report/rank-report.js';
import { modelToBytes } from '../../src/graph/index.js';
import { gradient } from '../../src/passes/gradient/index.js';
import { openSession, randomInputs } from '../../src/runtime/index.js';
import { newNetwork } from '../../src/study/networks.js';
import { ACTIVATIONS, INITIALIZATIONS, NETWORK_KINDS } from '../../src/study/options.js';

describe.each(NETWORK_KINDS)('%s', (kind) => {
  test.each(ACTIVATIONS)('of activation %s runs, and has a gradient', async (activation) => {
    const model = await newNetwork(kind, { activation, depth: 3, width: 8, outputs: 5 });
    await using session = await openSession(model);
    const { y } = await session.run(randomInputs(model, { seed: 0, dims: { batch: 4 } }));
    expect(y?.shape).toEqual([4, 5]);
    const { gradients } = await gradient(model, { loss: 'cross-entropy', dims: { batch: 4 } });
    // Of a residual network 8 convolutions with a scale and a shift behind each, and the head.
    expect(gradients.size).toBe({ mlp: 6, cnn: 8, resnet: 26 }[kind]);
  });

  test('has as many layers as it is deep, as wide, and the same weights for the same seed', async () => {
    const options = { depth: 5, width: 12, noBias: true, seed: 3 } as const;
    const model = await newNetwork(kind, options);
    const layers = model.graph.nodes.filter((node) => node.is(kind === 'mlp' ? 'Gemm' : 'Conv'));
    // Blocks of a residual network are two convolutions; the second and fourth double the channels and have one in the shortcut.
    const blocks = [12, 12, 12, 24, 24, 24, 24, 24, 48, 48, 48, 48, 48];
    expect(layers.map((node) => model.graph.initializers.get(node.inputs[1] ?? '')?.shape[0])).toEqual(
      { mlp: [12, 12, 12, 12, 10], cnn: [12, 12, 12, 12, 12], resnet: blocks }[kind],
    );
    expect(layers.every(({ inputs }) => inputs.length === 2)).toBe(true);
    const again = await newNetwork(kind, options);
    expect(Buffer.from(modelToBytes(again)).equals(modelToBytes(model))).toBe(true);
    const other = await newNetwork(kind, { ...options, seed: 4 });
    expect(Buffer.from(modelToBytes(other)).equals(modelToBytes(model))).toBe(false);
  });

  test('inputs of another number of axes are refused', async () => {
    await expect(newNetwork(kind, { inputs: [2, 3] })).rejects.toThrow(/^inputs must be/);
  });
});

test('kernels have the extent asked for, which is odd', async () => {
  const model = await newNetwork('cnn', { kernel: 5, depth: 2, width: 4 });
  expect(model.graph.initializers.get('layers.1.weight')?.shape).toEqual([4, 4, 5, 5]);
  await using session = await openSession(model);
  const { y } = await session.run(randomInputs(model, { seed: 0, dims: { batch: 2 } }));
  expect(y?.shape).toEqual([2, 10]);
  await expect(newNetwork('cnn', { kernel: 4 })).rejects.toThrow('kernel must be odd, is 4');
});

const [N, M] = [256, 128];

test.each(INITIALIZATIONS)('%s has its variance and rank', async (init) => {
  const model = await newNetwork('mlp', { inputs: [N], outputs: M, depth: 1, init, rank: 7 });
  const weight = Float64Array.from(model.graph.initializers.get('layers.0.weight')?.floats() ?? []);
  const variance = weight.reduce((sum, value) => sum + value ** 2, 0) / (N * M);
  const expected = { kaiming: 2 / N, xavier: 2 / (N + M) } as Record<string, number>;
  // The entries of a product of rank 7 are dependent: their mean square scatters more.
  expect(Math.abs(variance / (expected[init] ?? 1 / N) - 1)).toBeLessThan(init === 'low-rank' ? 0.2 : 0.03);
  const { rows } = await rankReport(model);
  expect(rows[0]?.metrics?.numericalRank).toBe(init === 'low-rank' ? 7 : M);
  if (init === 'orthogonal') expect(rows[0]?.metrics?.effectiveRank).toBeCloseTo(M, 4);
});

test('depth lowers the rank of random embeddings, as in observation 1', async () => {
  const seeds = 8;
  const entropies: number[] = [];
  for (const depth of [1, 2, 4, 8, 16]) {
    let mean = 0;
    for (let seed = 0; seed < seeds; seed += 1) {
      const options = { depth, width: 32, outputs: 32, activation: 'relu', noBias: true, seed } as const;
      const model = await newNetwork('mlp', { ...options, init: 'normal' });
      const { rows } = await embeddingReport(model, { seed }, { samples: 128, at: ['y'] });
      mean += (rows[0]?.metrics?.cosineEntropy ?? Number.NaN) / seeds;
    }
    entropies.push(mean);
  }
  expect(entropies).toEqual([...entropies].sort((a, b) => b - a));
});
