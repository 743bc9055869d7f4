import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { findRegions } from '../../src/affine/match/regions.js';
import { probeRegion } from '../../src/passes/collapse/probe.js';
import { RandomConvolutions, RandomMatrices } from './random-regions.js';
import { foldCopy, leftToFold } from './support.js';

const SEED = 20_26;

describe('random affine regions', () => {
  it('of convolutions: the folded graph computes the same, or says why it was not folded', async () => {
    let folded = 0;
    const kinds = new Set<string>();
    await fc.assert(
      fc.asyncProperty(
        fc.nat(1_000_000),
        fc.integer({ min: 1, max: 6 }),
        fc.boolean(),
        async (seed, depth, force) => {
          const drawn = new RandomConvolutions(seed);
          const { name } = drawn.steps(drawn.start, depth);
          if (name === 'x') return;
          const result = await foldCopy(drawn.net.model(name), { force });
          expect(result.relativeDifference).toBeLessThan(2e-5);
          for (const { before, target } of result.regions) {
            if (force) continue;
            expect(target.cost.weights).toBeLessThanOrEqual(before.weights);
            expect(target.cost.multiplyAdds).toBeLessThanOrEqual(before.multiplyAdds);
          }
          const [region] = seed % 8 === 0 ? findRegions(drawn.net.model(name), { force }).regions : [];
          if (region !== undefined) expect((await probeRegion(region)).relativeDifference).toBeLessThan(2e-5);
          folded += result.regions.length;
          for (const { kind, reason } of result.refused) {
            kinds.add(kind);
            expect(reason).not.toBe('');
          }
          // What could be folded is.
          expect(await leftToFold(result.model, { force })).toEqual([]);
        },
      ),
      { seed: SEED, numRuns: Number(process.env.AFFINE_RUNS ?? 250) },
    );
    expect(folded).toBeGreaterThan(100);
    expect([...kinds]).toEqual(expect.arrayContaining(['inexact', 'cost']));
  }, 300_000);

  it('of matrices, to float64', async () => {
    let folded = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.nat(1_000_000),
        fc.integer({ min: 2, max: 6 }),
        fc.boolean(),
        async (seed, depth, force) => {
          const drawn = new RandomMatrices(seed);
          const result = await foldCopy(drawn.net.model(drawn.steps(depth)), { force });
          expect(result.relativeDifference).toBeLessThan(1e-12);
          folded += result.regions.length;
          expect(await leftToFold(result.model, { force })).toEqual([]);
        },
      ),
      { seed: SEED, numRuns: Number(process.env.AFFINE_RUNS ?? 200) },
    );
    expect(folded).toBeGreaterThan(100);
  }, 300_000);
});
