import { type StudyReport, settingsKey } from '../../study/evidence.js';
import type { RunRecord, Settings, StudyRow, StudyTest } from '../../study/study.js';
import type { RunsHeader } from '../../study/sweep/runs-file.js';
import { type Column, type Document, grid, type Note } from '../text/document.js';
import { counted } from '../text/text.js';

/** A study with what made it. */
export interface StudyResultView {
  readonly header: RunsHeader;
  readonly report: StudyReport;
}

/** A figure of a study: as many digits as intervals of some seeds deserve. */
export function figure(value: number): string {
  if (Number.isNaN(value)) return '–';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '-∞';
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(2) : value.toFixed(3);
}

/** A test in words; what is not significant is called so. */
export function testText({ text, trend, pHolm, isSignificant }: StudyTest): string {
  const p = Number.isNaN(pHolm) ? 'p unknown' : pHolm < 1e-4 ? 'p < 0.0001' : `p = ${pHolm.toFixed(4)}`;
  const rho =
    trend === undefined
      ? ''
      : `, Spearman's ρ ${figure(trend.rho)} [${figure(trend.low)}, ${figure(trend.high)}] of ${trend.n} runs`;
  return `${text}${rho}, ${p} after Holm${isSignificant ? '' : ': no significant effect'}`;
}

function settingNames(settings: readonly Settings[]): string[] {
  return [...new Set(settings.flatMap((one) => Object.keys(one)))];
}

/** Settings that are the same in all runs are told once. */
function varying(rows: readonly { readonly settings: Settings }[]): string[] {
  const all = rows.map(({ settings }) => settings);
  return settingNames(all).filter((name) => new Set(all.map((settings) => settings[name])).size > 1);
}

function rowColumns(rows: readonly StudyRow[]): readonly Column<StudyRow>[] {
  return [
    ...varying(rows).map(
      (name): Column<StudyRow> => ({
        key: name,
        header: name,
        align: typeof rows[0]?.settings[name] === 'number' ? 'right' : 'left',
        value: ({ settings }) => settings[name],
      }),
    ),
    { key: 'metric', header: 'metric', value: ({ metric }) => metric },
    {
      key: 'mean',
      header: 'mean',
      align: 'right',
      value: ({ mean }) => mean,
      text: (row) => figure(row.mean),
    },
    {
      key: 'low',
      header: '95 %',
      definition: 'interval of the mean, by Student’s t',
      align: 'right',
      value: ({ low }) => low,
      text: ({ low, high }) => `${figure(low)} … ${figure(high)}`,
    },
    { key: 'n', header: 'n', align: 'right', value: ({ n }) => n },
  ];
}

/**
 * What studies found, in all forms but CSV, which has the runs: see runsDocument.
 *
 * @example
 * const result = await runStudy('init', { seeds: 8 });
 * console.log(render(studyDocument([result])));
 */
export function studyDocument(
  results: readonly StudyResultView[],
  page?: (() => string) | undefined,
): Document {
  const isOne = results.length === 1;
  return {
    kind: 'study',
    title: isOne ? (results[0]?.report.study.title ?? '') : 'Studies',
    data: {
      verdict: Object.fromEntries(results.map(({ report }) => [report.study.name, report.verdict])),
      rows: results.flatMap(({ report }) =>
        report.rows.map(({ settings, metric, mean, low, high, n }) => ({
          study: report.study.name,
          ...settings,
          metric,
          mean,
          low: finite(low),
          high: finite(high),
          n,
        })),
      ),
      studies: results.map(dataOf),
    },
    grids: results.map(({ report }) =>
      grid(rowColumns(report.rows), report.rows, { title: report.study.title }),
    ),
    notes: results.flatMap(({ report }) => notesOf(report)),
    html: page,
  };
}

function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

function dataOf({ header, report }: StudyResultView): Record<string, unknown> {
  const { study, checks, tests, notes, failed, missing, quick, verdict } = report;
  const { tool, node, onnxruntime, processor, command, seeds, shard, data } = header;
  return {
    study: study.name,
    title: study.title,
    question: study.question,
    source: study.source,
    criterion: study.criterion,
    verdict,
    quick,
    checks: checks.map(({ text, holds }) => ({ text, holds: holds ?? null })),
    tests: tests.map((test) => ({ ...test, pHolm: finite(test.pHolm), p: finite(test.p) })),
    notes,
    deviations: study.deviations ?? [],
    interval: '95 %, Student’s t',
    metrics: study.metrics,
    runs: report.runs.length,
    missing,
    notConverged: failed.map(({ settings, seed, problem }) => ({ ...settings, seed, problem })),
    made: { tool, node, onnxruntime, processor, command, seeds, shard, data },
  };
}

/** Settings in a line: depth 4, relu. */
export function settingsText(settings: Settings): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ');
}

/** Runs that did not count, by their settings. */
export function failedTexts(failed: readonly RunRecord[]): string[] {
  const groups = new Map<string, RunRecord[]>();
  for (const run of failed) {
    const key = `${settingsKey(run.settings)} ${run.problem}`;
    groups.set(key, [...(groups.get(key) ?? []), run]);
  }
  return [...groups.values()].map((runs) => {
    const [first] = runs as [RunRecord];
    const seeds = runs.map(({ seed }) => seed).join(', ');
    return `${settingsText(first.settings)}: ${first.problem} (${runs.length === 1 ? 'seed' : 'seeds'} ${seeds})`;
  });
}

function notesOf(report: StudyReport): readonly Note[] {
  const { study, checks, tests, notes, failed, missing, verdict, quick } = report;
  const tone = { holds: 'good', 'does not hold': 'bad', 'not run': 'warning', 'no claim': 'aside' } as const;
  return [
    ...checks.map(
      ({ text, holds }): Note => ({
        text: `${holds === undefined ? '?' : holds ? '✓' : '✗'} ${text}`,
        tone: holds === false ? 'bad' : 'aside',
      }),
    ),
    ...tests.map((test): Note => ({ text: testText(test), tone: 'aside' })),
    ...notes.map((text): Note => ({ text })),
    ...(failed.length === 0
      ? []
      : [
          {
            text: `${counted(failed.length, 'run')} did not converge and are not in the means:`,
            tone: 'warning' as const,
          },
          ...failedTexts(failed).map((text): Note => ({ text: `  ${text}`, tone: 'aside' })),
        ]),
    ...(missing > 0
      ? [{ text: `${counted(missing, 'run')} of the plan are missing.`, tone: 'warning' as const }]
      : []),
    ...(quick
      ? [{ text: `${study.name}, \`quick: true\`: fewer seeds, smaller runs.`, tone: 'warning' as const }]
      : []),
    { text: `${study.name}: ${verdict}`, tone: tone[verdict] },
  ];
}

/**
 * A run as a line of the tidy table: its settings and its metrics are columns.
 *
 * @example
 * const result = await runStudy('init', { seeds: 8 });
 * await writeFile('init.csv', render(runsDocument([result]), { format: 'csv' }));
 */
export function runsDocument(results: readonly StudyResultView[]): Document {
  const runs = results.flatMap(({ report }) => report.runs);
  const metrics = [...new Set(runs.flatMap((run) => Object.keys(run.metrics)))];
  const columns: readonly Column<RunRecord>[] = [
    { key: 'study', header: 'study', value: ({ study }) => study },
    ...settingNames(runs.map(({ settings }) => settings)).map(
      (name): Column<RunRecord> => ({ key: name, header: name, value: ({ settings }) => settings[name] }),
    ),
    { key: 'seed', header: 'seed', value: ({ seed }) => seed },
    { key: 'converged', header: 'converged', value: ({ problem }) => problem === undefined },
    { key: 'problem', header: 'problem', value: ({ problem }) => problem },
    ...metrics.map(
      (name): Column<RunRecord> => ({ key: name, header: name, value: ({ metrics: own }) => own[name] }),
    ),
  ];
  return { kind: 'study-runs', title: 'Runs', data: {}, grids: [grid(columns, runs)], notes: [] };
}
