import { describe, expect, test } from 'vitest';
import { evidenceOf, reportOf } from '../../src/study/evidence.js';
import { matchPenalty, SEARCH } from '../../src/study/overparam/matched-penalty.js';
import { gain, tuned } from '../../src/study/overparam/tuned.js';
import { RATES, STUDIED, VARIANTS } from '../../src/study/overparam/variants.js';
import { overparamStudy } from '../../src/study/studies/overparam.js';
import { trpStudy } from '../../src/study/studies/trp.js';
import type { RunContext, RunRecord, Settings } from '../../src/study/study.js';
import { product } from '../../src/study/study.js';

const CONTEXT: RunContext = { seed: 0, data: [], quick: true, isPictured: false };
const PLACE = { data: 'patterns', network: 'mlp', samples: 100, optimizer: 'sgd' } as const;

describe('overparam', () => {
  test('chains and plain networks deploy at one size, and chains at a lower rank', async () => {
    const of = async (variant: string) => {
      const { metrics, problem, times } = await overparamStudy.run(
        { ...PLACE, variant, learningRate: 0.01 },
        CONTEXT,
      );
      expect(problem).toBeUndefined();
      expect(times?.secondsPerStep).toBeGreaterThan(0);
      return metrics;
    };
    const plain = await of('plain');
    const chains = await of('chain-3');
    const residual = await of('chain-4-residual');
    const nuclear = await of('nuclear-0.01');
    expect([chains, residual, nuclear].map(({ parameters }) => parameters)).toEqual(
      Array(3).fill(plain.parameters),
    );
    expect(chains.effectiveShare).toBeLessThan(plain.effectiveShare! - 0.1);
    expect(nuclear.effectiveShare).toBeLessThan(plain.effectiveShare!);
    expect(plain.accuracy).toBeGreaterThan(0.3);
  });

  test('the nuclear norm matched in rank ends at the rank of the chains of the same rate and seed, at the size of the plain network', async () => {
    const of = (variant: string) => overparamStudy.run({ ...PLACE, variant, learningRate: 0.1 }, CONTEXT);
    const [chains, matched] = [await of('chain-3'), await of('nuclear-as-chain-3')];
    expect(matched.problem).toBeUndefined();
    expect(matched.metrics.penalty).toBeGreaterThan(SEARCH.lowest);
    expect(matched.metrics.parameters).toBe(chains.metrics.parameters);
    expect(Math.abs(matched.metrics.effectiveShare! - chains.metrics.effectiveShare!)).toBeLessThanOrEqual(
      0.03,
    );
  });

  test('the penalty is bisected until the share is met; what diverges counts as too large', async () => {
    const tried: number[] = [];
    const share = (penalty: number): number => (penalty > 0.2 ? Number.NaN : 1 / (1 + 50 * penalty));
    const found = await matchPenalty(0.4, async (penalty) => {
      tried.push(penalty);
      return { share: share(penalty), result: penalty };
    });
    expect(found?.result).toBe(found?.penalty);
    expect(Math.abs(share(found!.penalty) - 0.4)).toBeLessThanOrEqual(SEARCH.tolerance);
    expect(tried.length).toBeLessThanOrEqual(SEARCH.trials);
    // A share that no penalty reaches: the nearest that was tried, after all trials.
    const nearest = await matchPenalty(0.999, async (penalty) => ({ share: share(penalty), result: 0 }));
    expect(nearest!.penalty).toBeLessThan(2 * SEARCH.lowest);
    const none = await matchPenalty(0.4, async () => ({ share: Number.NaN, result: 0 }));
    expect(none).toBeUndefined();
  });

  test('kernels of a CNN compose to the one that is deployed', async () => {
    const settings = { ...PLACE, network: 'cnn', learningRate: 0.01 } as const;
    const plain = await overparamStudy.run({ ...settings, variant: 'plain' }, CONTEXT);
    const kernels = await overparamStudy.run({ ...settings, variant: 'chain-2-kernels' }, CONTEXT);
    expect(kernels.problem).toBeUndefined();
    expect(kernels.metrics.parameters).toBe(plain.metrics.parameters);
  });

  test('each variant has as many trials, and all are run with SGD', () => {
    expect(new Set(Object.values(RATES).map(({ length }) => length)).size).toBe(1);
    expect(new Set(STUDIED.sgd)).toEqual(new Set(Object.keys(VARIANTS)));
    const settings = overparamStudy.settings({ quick: false, data: ['a/fashion-mnist'] });
    const counts = new Map<string, number>();
    for (const { learningRate: _, ...rest } of settings)
      counts.set(JSON.stringify(rest), (counts.get(JSON.stringify(rest)) ?? 0) + 1);
    expect(new Set(counts.values())).toEqual(new Set([RATES.sgd.length]));
  });

  /** Runs whose accuracies a function gives. */
  function runsOf(accuracy: (settings: Settings, seed: number) => number): RunRecord[] {
    const all = product({
      data: [PLACE.data],
      network: [PLACE.network],
      samples: [PLACE.samples],
      optimizer: [PLACE.optimizer],
      variant: ['plain', 'chain-3', 'nuclear-0.01'],
      learningRate: [0.01, 0.03, 0.1],
    });
    return [0, 1, 2, 3, 4].flatMap((seed) =>
      all.map((settings): RunRecord => {
        const validation = settings.learningRate === 0.03 ? 0.9 : 0.5;
        const metrics = {
          accuracy: accuracy(settings, seed),
          validation,
          effectiveShare: 0.5,
          parameters: 9,
        };
        return { study: 'overparam', settings, seed, metrics };
      }),
    );
  }

  test('the rate is chosen by validation, whatever the test samples say', () => {
    const runs = runsOf(({ learningRate }) => (learningRate === 0.1 ? 1 : 0.2));
    const one = tuned(evidenceOf(runs, false), { ...PLACE, variant: 'plain' });
    expect(one).toMatchObject({ learningRate: 0.03, accuracy: 0.2, isAtEnd: false });
    // A rate at which a seed diverged is not chosen.
    const failed = runs.map((run) =>
      run.settings.learningRate === 0.03 && run.seed === 2 ? { ...run, problem: 'diverged' } : run,
    );
    expect(tuned(evidenceOf(failed, false), { ...PLACE, variant: 'plain' })?.learningRate).toBe(0.01);
  });

  test.each([
    [0.05, 'holds'],
    [0, 'does not hold'],
    [-0.05, 'does not hold'],
  ] as const)('chains that are better by %d: %s', (by, verdict) => {
    const runs = runsOf(
      ({ variant }, seed) => 0.7 + 0.01 * seed + (variant === 'chain-3' ? by + 0.001 * Math.sin(seed) : 0),
    );
    const report = reportOf(overparamStudy, runs, { quick: false });
    expect(report.verdict).toBe(verdict);
    expect(report.notes.some((note) => note.startsWith('At the nearest rank'))).toBe(true);
    const evidence = evidenceOf(runs, false);
    const [chain, plain] = ['chain-3', 'plain'].map((variant) => tuned(evidence, { ...PLACE, variant })!);
    expect(gain(chain!, plain!).mean).toBeCloseTo(by, 2);
  });
});

test('trp: what was trained with its ranks pruned loses less to factorization, at the multiply-adds asked for', async () => {
  const of = async (method: string) => {
    const { metrics, problem } = await trpStudy.run({ data: 'patterns', form: 'spatial', method }, CONTEXT);
    expect(problem).toBeUndefined();
    expect(metrics.speedup2x).toBeGreaterThanOrEqual(2);
    expect(metrics.speedup4x).toBeGreaterThanOrEqual(4);
    return metrics;
  };
  const [svd, trp] = [await of('svd'), await of('trp-nuclear')];
  expect(trp.effectiveShare).toBeLessThan(svd.effectiveShare!);
  expect(trp.accuracy2x! - svd.accuracy2x!).toBeGreaterThan(0.1);
});
