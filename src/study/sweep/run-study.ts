import { appendFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { ModelError } from '../../graph/index.js';
import { checkOptions, defaultsOf, OptionError } from '../../graph/option-descriptors.js';
import { shardOf } from '../../parts/shard.js';
import { onnxruntimeVersion } from '../../runtime/session/onnxruntime.js';
import { reportOf, type StudyReport } from '../evidence.js';
import { dataName } from '../labelled.js';
import { studyOf } from '../studies/index.js';
import type { PlanOptions, RunRecord, Study } from '../study.js';
import { STUDY_OPTIONS, type StudyRunOptions } from '../study-options.js';
import { type PlannedRun, planOf, runKey, sharded } from './plan.js';
import { processorName, type RunsHeader, RunsWriter } from './runs-file.js';
import { WorkerPool } from './worker-pool.js';

/** How far a study is; what `onProgress` is called with. */
export interface StudyProgress {
  readonly done: number;
  readonly total: number;
  readonly what: string;
}

/** Options of runStudy. */
export interface RunStudyOptions extends StudyRunOptions {
  /**
   * JSON lines: each run, as soon as it is done. Runs that are there already are not made again, so a sweep that was killed
   * goes on.
   */
  readonly runs?: string | undefined;
  /** JSON lines: how long each run took. */
  readonly times?: string | undefined;
  /** Stands in the first line of the runs. */
  readonly tool?: string | undefined;
  readonly command?: string | undefined;
  /** The plan of the study 'custom', as parsed from YAML. */
  readonly custom?: unknown;
  readonly onProgress?: ((progress: StudyProgress) => void) | undefined;
  /** No further run is begun; those under way are finished and written. */
  readonly signal?: AbortSignal | undefined;
}

/** What runStudy returns: the header of the runs, and the report on them. */
export interface StudyResult {
  readonly header: RunsHeader;
  readonly report: StudyReport;
}

/**
 * Runs a study: all its settings with all seeds, in parallel. A run's result depends on its settings and seed alone.
 *
 * @throws OptionError for an unknown study and options out of range; ModelError for data that cannot be read, and for a file
 *   of runs that is damaged or of another plan
 * @example
 * const { report } = await runStudy('init', { seeds: 8 });
 * console.log(report.verdict, report.rows[0]?.mean);
 */
export async function runStudy(name: string, options: RunStudyOptions = {}): Promise<StudyResult> {
  const settled = settleStudy(name, options);
  const { study, header, plan } = settled;
  const writer = new RunsWriter(options.runs, header, (found) => {
    assertSame(found, header, options.runs);
    return mergedHeader(study, found, header);
  });
  const known = new Set(writer.runs.map(runKey));
  const mine = sharded(plan, settled.shard);
  const left = mine.filter((run) => !known.has(runKey(run)));
  if (left.length > 0) await make(settled, left, mine.length, writer, options);
  return { header: writer.header, report: reportFor(study, writer.runs, writer.header) };
}

/** The header of a file that held runs of one plan and goes on with another: of the seeds and settings of both. */
function mergedHeader(study: Study, found: RunsHeader, now: RunsHeader): RunsHeader {
  const seeds = Math.max(found.seeds, now.seeds);
  const only = mergedOnly(found.only ?? [], now.only ?? []);
  const { only: _, ...rest } = found;
  const planned = planOf(study, { ...now, seeds, only }).length;
  return { ...rest, seeds, planned, ...(only.length > 0 && { only }) };
}

/** What both together are confined to: a name that one of them leaves open is open. */
function mergedOnly(first: readonly string[], second: readonly string[]): readonly string[] {
  const names = (only: readonly string[]): Set<string> =>
    new Set(only.map((text) => text.split('=')[0] ?? ''));
  const both = [...names(first)].filter((name) => names(second).has(name));
  return [...new Set([...first, ...second])].filter((text) => both.includes(text.split('=')[0] ?? ''));
}

interface Settled {
  readonly study: Study;
  readonly header: RunsHeader;
  readonly plan: readonly PlannedRun[];
  readonly shard: ReturnType<typeof shardOf> | undefined;
  readonly quick: boolean;
  readonly threads: number;
}

/** A study with all choices made; nothing is run. */
export function settleStudy(name: string, options: RunStudyOptions): Settled {
  const { quick, seeds, data, shard, threads, only } = {
    ...defaultsOf(STUDY_OPTIONS),
    ...checkOptions(STUDY_OPTIONS, options),
  };
  const study = studyOf(name, options.custom);
  const count = seeds ?? (quick ? study.seeds.quick : study.seeds.full);
  const plan = planOf(study, { quick, data, seeds: count, only });
  checkData(study, { quick, data });
  const part = shard === undefined ? undefined : shardOf(shard);
  const header: RunsHeader = {
    format: 'onnx-overparam runs',
    study: study.name,
    tool: options.tool ?? '',
    node: process.version,
    onnxruntime: onnxruntimeVersion(),
    processor: processorName(),
    command: options.command ?? '',
    seeds: count,
    planned: plan.length,
    shard: shard ?? null,
    quick,
    data,
    ...(options.custom !== undefined && { custom: options.custom }),
    ...(only.length > 0 && { only }),
  };
  return { study, header, plan, shard: part, quick, threads: threads ?? availableParallelism() };
}

/** The paths of data that runs of the study have in their settings. */
function dataTaken(study: Study, options: PlanOptions): readonly string[] {
  const names = new Set(study.settings(options).flatMap(({ data }) => String(data).split('|')));
  return options.data.filter((path) => names.has(dataName(path)));
}

/** The paths of data that a study takes of those given, where several studies are run with the same. */
export function dataFor(name: string, options: PlanOptions): readonly string[] {
  return dataTaken(studyOf(name), options);
}

function checkData(study: Study, options: PlanOptions): void {
  const { data } = options;
  const twice = data.find((path, at) =>
    data.slice(0, at).some((other) => dataName(other) === dataName(path)),
  );
  if (twice !== undefined)
    throw new OptionError(
      'data',
      `has two folders or files of the name '${dataName(twice)}', by which runs tell data apart`,
    );
  const taken = dataTaken(study, options);
  const unused = data.find((path) => !taken.includes(path));
  if (unused !== undefined)
    throw new OptionError('data', `is not used by the study ${study.name}: no run of it has '${unused}'`);
}

/** About how many seconds the runs take on that many threads. */
export function studySeconds({ study, plan, quick, threads, header, shard }: Settled): number {
  const options = { quick, data: header.data };
  const runs = sharded(plan, shard);
  return runs.reduce((sum, { settings }) => sum + study.seconds(settings, options), 0) / threads;
}

async function make(
  { study, header, quick, threads }: Settled,
  left: readonly PlannedRun[],
  total: number,
  writer: RunsWriter,
  options: RunStudyOptions,
): Promise<void> {
  const { data } = header;
  const requests = left.map(({ settings, seed, isPictured }) => ({
    study: study.name,
    settings,
    context: { seed, data, quick, isPictured },
    custom: options.custom,
  }));
  let done = total - left.length;
  const tell = (): void => options.onProgress?.({ done, total, what: study.name });
  tell();
  await using pool = await WorkerPool.open(Math.min(threads, left.length));
  await pool.each(
    requests,
    (index, { outcome, seconds }) => {
      const { settings, seed } = left[index] as PlannedRun;
      writer.add({ study: study.name, settings, seed, ...outcome });
      if (options.times !== undefined) {
        const rounded = Object.entries(outcome.times ?? {}).map(([key, value]) => [
          key,
          Number(value.toPrecision(4)),
        ]);
        const line = {
          study: study.name,
          settings,
          seed,
          seconds: Number(seconds.toFixed(4)),
          ...Object.fromEntries(rounded),
        };
        appendFileSync(options.times, `${JSON.stringify(line)}\n`);
      }
      done += 1;
      tell();
    },
    options.signal,
  );
}

/** The report of the runs that a plan has, in its order; of all shards those that are there. */
function reportFor(study: Study, runs: readonly RunRecord[], header: RunsHeader): StudyReport {
  const { quick, only } = header;
  const plan = planOf(study, header);
  const known = new Map(runs.map((run) => [runKey(run), run]));
  const planned = plan.flatMap((run) => known.get(runKey(run)) ?? []);
  return reportOf(study, planned, { quick, planned: plan.length, only });
}

/**
 * The report of runs that are there, from files as `runStudy` writes them: parts of one sweep, or of several studies.
 *
 * @throws ModelError where parts of one study do not belong together; OptionError for runs of an unknown study
 * @example
 * const files = await Promise.all(
 *   ['part-1.jsonl', 'part-2.jsonl'].map(async (file) => ({ file, ...parseRuns(await readFile(file, 'utf8'), file) })),
 * );
 * for (const { report } of reportRuns(files)) console.log(report.verdict);
 */
export function reportRuns(
  files: readonly {
    readonly file: string;
    readonly header: RunsHeader;
    readonly runs: readonly RunRecord[];
  }[],
): StudyResult[] {
  const names = [...new Set(files.map(({ header }) => header.study))];
  return names.map((name) => {
    const parts = files.filter(({ header }) => header.study === name);
    const [first] = parts as [(typeof parts)[number]];
    for (const { file, header } of parts) assertSame(header, first.header, file);
    const study = studyOf(name, first.header.custom);
    const merged = parts.reduce((made, part) => mergedHeader(study, made, part.header), first.header);
    const runs = parts.flatMap((part) => part.runs);
    // A file of version 0.2.0 that went on with more seeds has the first header.
    const seeds = runs.reduce((most, { seed }) => Math.max(most, seed + 1), merged.seeds);
    const header = mergedHeader(study, merged, { ...merged, seeds });
    return { header, report: reportFor(study, runs, header) };
  });
}

/** What decides the bits of a run must be the same, or a file would hold runs of two kinds. */
function assertSame(found: RunsHeader, wanted: RunsHeader, file: string | undefined): void {
  const keys = ['study', 'tool', 'onnxruntime', 'quick', 'data'] as const;
  const other = keys.find((key) => String(found[key]) !== String(wanted[key]));
  const isOther = other === undefined && JSON.stringify(found.custom) !== JSON.stringify(wanted.custom);
  if (other === undefined && !isOther) return;
  const what =
    other === undefined
      ? 'its plan is another'
      : `${other} is ${found[other]} in it, and ${wanted[other]} here`;
  throw new ModelError(`holds runs of another kind: ${what}; name another folder`, { file });
}
