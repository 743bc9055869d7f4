import { OptionError } from '../../graph/option-descriptors.js';
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
  options: {
    readonly quick: boolean;
    readonly data: readonly string[];
    readonly seeds: number;
    readonly only?: readonly string[] | undefined;
  },
): readonly PlannedRun[] {
  const settings = chosen(study.settings(options), options.only ?? []);
  return Array.from({ length: options.seeds }, (_, seed) =>
    settings.map((one) => ({ settings: one, seed, isPictured: seed === 0 })),
  ).flat();
}

/**
 * The settings that have the values asked for.
 *
 * @param only `name=value`; of several values of one name any
 * @throws OptionError for what is no setting, or a value that none has
 */
function chosen(all: readonly Settings[], only: readonly string[]): readonly Settings[] {
  const wanted = new Map<string, Set<string>>();
  for (const text of only) {
    const [, name = '', value = ''] = /^([^=]+)=(.*)$/s.exec(text) ?? [];
    const values = [...new Set(all.flatMap((one) => (Object.hasOwn(one, name) ? [String(one[name])] : [])))];
    if (values.length === 0) {
      const names = [...new Set(all.flatMap(Object.keys))];
      throw new OptionError('only', `must be name=value with one of ${names.join(', ')}, is '${text}'`);
    }
    if (!values.includes(value))
      throw new OptionError('only', `has no runs of ${name} '${value}'; there are ${values.join(', ')}`);
    wanted.set(name, (wanted.get(name) ?? new Set()).add(value));
  }
  const left = all.filter((one) => [...wanted].every(([name, values]) => values.has(String(one[name]))));
  if (left.length === 0)
    throw new OptionError('only', `leaves no runs: no settings have ${only.join(' and ')}`);
  return left;
}

export function sharded(plan: readonly PlannedRun[], shard: Shard | undefined): readonly PlannedRun[] {
  return shard === undefined ? plan : plan.filter((_, index) => index % shard.of === shard.part - 1);
}

/** What tells a run from the others of its study. */
export function runKey({ settings, seed }: Pick<PlannedRun, 'settings' | 'seed'>): string {
  return `${seed} ${settingsKey(settings)}`;
}
