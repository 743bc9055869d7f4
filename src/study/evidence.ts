import { type Estimate, estimate, holm, LEVEL } from './statistics.js';
import type {
  Check,
  Evidence,
  Findings,
  Plot,
  RunRecord,
  Settings,
  SettingValue,
  Study,
  StudyRow,
  StudyTest,
  Verdict,
} from './study.js';

/** What a study found, as tables, files and pages have it. */
export interface StudyReport {
  readonly study: Study;
  readonly verdict: Verdict;
  readonly checks: readonly Check[];
  readonly tests: readonly StudyTest[];
  readonly notes: readonly string[];
  readonly rows: readonly StudyRow[];
  /** All runs, those that do not count too, in the order of the plan. */
  readonly runs: readonly RunRecord[];
  readonly failed: readonly RunRecord[];
  /** Runs of the plan that were not made. */
  readonly missing: number;
  readonly quick: boolean;
  readonly plots: readonly Plot[];
}

/** The settings of a run as one text, whatever their order. */
export function settingsKey(settings: Settings): string {
  return JSON.stringify(Object.entries(settings).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The runs of a study in the form in which they are asked about. */
export function evidenceOf(runs: readonly RunRecord[], quick: boolean): Evidence {
  const counted = runs.filter(({ problem }) => problem === undefined);
  const matches = (run: RunRecord, wanted: Settings): boolean =>
    Object.entries(wanted).every(([name, value]) => run.settings[name] === value);
  const values = (metric: string, settings: Settings): Map<number, number> =>
    new Map(
      counted.flatMap((run) => {
        const value = run.metrics[metric];
        return value !== undefined && matches(run, settings) ? [[run.seed, value]] : [];
      }),
    );
  return {
    runs: counted,
    quick,
    values,
    estimate: (metric, settings) => estimate([...values(metric, settings).values()]),
    settingsOf: <Value extends SettingValue>(name: string) =>
      [
        ...new Set(runs.map(({ settings }) => settings[name]).filter((value) => value !== undefined)),
      ] as Value[],
  };
}

/** Means of all metrics of all settings, in the order of the runs. */
function rowsOf(runs: readonly RunRecord[]): StudyRow[] {
  const groups = new Map<string, RunRecord[]>();
  for (const run of runs) {
    if (run.problem !== undefined) continue;
    const key = settingsKey(run.settings);
    groups.set(key, [...(groups.get(key) ?? []), run]);
  }
  return [...groups.values()].flatMap((group) => {
    const { settings } = group[0] as RunRecord;
    const metrics = [...new Set(group.flatMap((run) => Object.keys(run.metrics)))];
    return metrics.map((metric) => {
      const values = group.map((run) => run.metrics[metric]).filter((value) => value !== undefined);
      const { mean, low, high, n }: Estimate = estimate(values);
      return { settings, metric, mean, low, high, n };
    });
  });
}

export interface ReportOptions {
  readonly quick: boolean;
  /** How many runs the plan has; default as many as there are. */
  readonly planned?: number | undefined;
  /** What the plan was confined to. */
  readonly only?: readonly string[] | undefined;
}

/** What runs of a study show. */
export function reportOf(study: Study, runs: readonly RunRecord[], options: ReportOptions): StudyReport {
  const { quick } = options;
  const evidence = evidenceOf(runs, quick);
  const failed = runs.filter(({ problem }) => problem !== undefined);
  const missing = Math.max(0, (options.planned ?? runs.length) - runs.length);
  const base = { study, rows: rowsOf(runs), runs, failed, missing, quick };
  if (evidence.runs.length === 0) {
    return { ...base, verdict: 'not run', checks: [], tests: [], notes: [], plots: [] };
  }
  const findings: Findings = study.find(evidence);
  const { checks } = findings;
  const { only = [] } = options;
  const notes = [
    ...(only.length === 0 ? [] : [`Only a part of the study: ${only.join(', ')}.`]),
    ...(findings.notes ?? []),
  ];
  const corrected = holm((findings.tests ?? []).map(({ p }) => p));
  return {
    ...base,
    verdict: missing > 0 && checks.length > 0 ? 'not run' : verdictOf(checks),
    checks,
    tests: (findings.tests ?? []).map((test, index) => {
      const pHolm = corrected[index] ?? Number.NaN;
      return { ...test, pHolm, isSignificant: pHolm < LEVEL };
    }),
    notes,
    plots: study.plots(evidence),
  };
}

function verdictOf(checks: readonly Check[]): Verdict {
  if (checks.length === 0) return 'no claim';
  if (checks.some(({ holds }) => holds === false)) return 'does not hold';
  return checks.every(({ holds }) => holds === true) ? 'holds' : 'not run';
}
