import { type PairedDifference, pairedDifference } from '../statistics.js';
import type { Evidence, Settings } from '../study.js';

/** A variant at the rate that its validation chose. */
export interface Tuned {
  readonly variant: string;
  readonly learningRate: number;
  /** Test accuracies by seed, at that rate. */
  readonly accuracies: ReadonlyMap<number, number>;
  readonly accuracy: number;
  readonly effectiveShare: number;
  /** Whether the rate is the lowest or highest that was tried. */
  readonly isAtEnd: boolean;
}

/**
 * The rate of a variant with the highest mean accuracy on the validation samples, the lower one of equals: among those at which the most
 * seeds converged. Test samples have no say.
 */
export function tuned(evidence: Evidence, settings: Settings): Tuned | undefined {
  const rates = [
    ...new Set(
      evidence.runs
        .filter((run) => Object.entries(settings).every(([name, value]) => run.settings[name] === value))
        .map((run) => Number(run.settings.learningRate)),
    ),
  ].sort((a, b) => a - b);
  const tried = rates.map((learningRate) => {
    const own = { ...settings, learningRate };
    return { learningRate, ...evidence.estimate('validation', own) };
  });
  const most = Math.max(...tried.map(({ n }) => n));
  const [best] = tried.filter(({ n }) => n === most).sort((a, b) => b.mean - a.mean);
  if (best === undefined) return undefined;
  const own = { ...settings, learningRate: best.learningRate };
  return {
    variant: String(settings.variant),
    learningRate: best.learningRate,
    accuracies: evidence.values('accuracy', own),
    accuracy: evidence.estimate('accuracy', own).mean,
    effectiveShare: evidence.estimate('effectiveShare', own).mean,
    isAtEnd: best.learningRate === rates[0] || best.learningRate === rates.at(-1),
  };
}

/** Of the seeds that both have. */
export function gain(one: Tuned, other: Tuned): PairedDifference {
  return pairedDifference(
    [...one.accuracies].flatMap(([seed, value]) => {
      const base = other.accuracies.get(seed);
      return base === undefined ? [] : [value - base];
    }),
  );
}
