import type { Shard } from '../../parts/shard.js';
import { settingsKey } from '../evidence.js';
import type { Settings, Study } from '../study.js';

/** A run that is to be made. */
export interface PlannedRun {
  readonly settings: Settings;
  readonly seed: number;
  /** Whether it records what pictures are drawn of: the runs of the first seed do. */
  readonly isPictured: boolean;
}

/**
 * The runs of a study: all settings with the first seed, then all with the next, so that what there is after a part of the
 * time is a study of fewer seeds.
 */
export function planOf(
  study: Study,
  options: { readonly quick: boolean; readonly data: readonly string[]; readonly seeds: number },
): readonly PlannedRun[] {
  const settings = study.settings(options);
  return Array.from({ length: options.seeds }, (_, seed) =>
    settings.map((one) => ({ settings: one, seed, isPictured: seed === 0 })),
  ).flat();
}

export function sharded(plan: readonly PlannedRun[], shard: Shard | undefined): readonly PlannedRun[] {
  return shard === undefined ? plan : plan.filter((_, index) => index % shard.of === shard.part - 1);
}

/** What tells a run from the others of its study. */
export function runKey({ settings, seed }: Pick<PlannedRun, 'settings' | 'seed'>): string {
  return `${seed} ${settingsKey(settings)}`;
}
