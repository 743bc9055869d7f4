import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../graph/io/folder.js';
import type { OptionDescriptors } from '../graph/option-descriptors.js';
import { namedShard } from '../parts/shard.js';
import type { StudyResultView } from '../report/study/document.js';
import type { Document } from '../report/text/document.js';
import { PAGE_FORMATS, render } from '../report/text/render.js';
import { STUDY_OPTIONS } from '../study/study-options.js';
import type { Command } from './shell/command.js';
import type { Given } from './shell/described.js';
import { UsageError } from './shell/errors.js';
import { print } from './shell/files.js';
import { type Io, tell } from './shell/io.js';
import { COMMON_OPTIONS, FILE_OPTIONS } from './shell/options.js';
import { ProgressLine } from './shell/progress.js';
import { StopSignal } from './shell/stop-signal.js';
import { nearest } from './shell/suggest.js';
import { version } from './shell/version.js';

const OPTIONS = {
  list: { kind: 'flag', default: false, help: 'list the studies, what each asks and how long it takes' },
  all: { kind: 'flag', default: false, help: 'run all studies in full; prints the expected time first' },
  ...STUDY_OPTIONS,
  out: {
    kind: 'text',
    writes: true,
    help: 'folder for runs.jsonl, times.jsonl, runs.csv, report.json, report.html and plots; a sweep that was stopped goes on from there',
  },
  overwrite: { ...FILE_OPTIONS.overwrite, help: 'start over if the folder has runs' },
  ...COMMON_OPTIONS,
  format: { ...COMMON_OPTIONS.format, choices: PAGE_FORMATS },
} as const satisfies OptionDescriptors;

type Arguments = Given<typeof OPTIONS> & {
  readonly study?: string | undefined;
  readonly files?: readonly string[] | undefined;
};

export const studyCommand: Command<Arguments> = {
  options: OPTIONS,
  builder: (parser) =>
    parser
      .positional('study', {
        type: 'string',
        describe: 'a study; report, to draw runs again; custom, for a plan of your own',
      })
      .positional('files', {
        type: 'string',
        array: true,
        describe: 'of report: files of runs; of custom: the plan, as YAML',
      })
      .example('$0 study --list', 'what there is')
      .example('$0 study init', 'observation 1, in seconds')
      .example('$0 study train --out obs2', 'runs, figures and a page, in a folder')
      .example('$0 study train --out obs2 --shard 1/4', 'a quarter of the runs, for a scheduler')
      .example(
        '$0 study report obs2/runs.jsonl --format html > obs2.html',
        'the page again, without running',
      ),
  handler: async (given, io) => {
    const args = given.shard === undefined ? given : { ...given, shard: namedShard(given.shard, io.env) };
    const { STUDIES } = await import('../study/studies/index.js');
    const names = STUDIES.map(({ name }) => name);
    const { study, files = [] } = args;
    if (study !== 'report' && study !== 'custom' && files.length > 0)
      throw new UsageError(`'${files[0]}' is one argument too many: one study at a time, or --all`);
    if (args.list) {
      const { seeds, shard, data, only, out, threads } = args;
      const vain = Object.entries({ seeds, shard, data, only, out, threads }).find(
        ([, value]) => value !== undefined,
      );
      if (vain !== undefined || args.all || args.quick || study !== undefined)
        throw new UsageError(
          `--list runs nothing: it goes without ${vain === undefined ? (study ?? (args.all ? '--all' : '--quick')) : `--${vain[0]}`}`,
        );
      return await list(args, io);
    }
    if (study === 'report') return await report(files, args, io);
    if (study === 'custom') return await custom(files, args, io);
    if (study !== undefined && !names.includes(study)) {
      const meant = nearest(study, [...names, 'report', 'custom']);
      throw new UsageError(
        `there is no study '${study}'${meant === undefined ? `; there are ${names.join(', ')}` : `; did you mean ${meant}?`}`,
      );
    }
    if (study === undefined && !args.all && !args.quick)
      throw new UsageError('which study? study --list shows them; --all and --quick run them all');
    if (study !== undefined && args.all) throw new UsageError(`--all runs all studies, not ${study} alone`);
    return await run(
      (study === undefined ? names : [study]).map((name) => ({ name })),
      args,
      io,
    );
  },
};

async function list(args: Arguments, io: Io): Promise<number> {
  const { studyListDocument } = await import('../report/study/list.js');
  await print(studyListDocument(args), { ...args, format: noPage(args.format) }, io);
  return 0;
}

function noPage(format: Arguments['format']): Exclude<Arguments['format'], 'html'> {
  if (format === 'html') throw new UsageError('the list has no page: --format table, json, csv or md');
  return format;
}

interface Wanted {
  readonly name: string;
  /** The plan of a custom study. */
  readonly custom?: unknown;
}

async function custom(files: readonly string[], args: Arguments, io: Io): Promise<number> {
  const [file, more] = files;
  if (file === undefined || more !== undefined)
    throw new UsageError('custom takes one plan: study custom plan.yaml');
  if (args.data !== undefined) throw new UsageError(`${file} names its data: custom takes no --data`);
  const { readStudyPlan } = await import('../study/custom/plan.js');
  return await run([{ name: 'custom', custom: await readStudyPlan(file) }], args, io);
}

async function report(files: readonly string[], args: Arguments, io: Io): Promise<number> {
  if (files.length === 0) throw new UsageError('report needs files of runs: study report runs.jsonl');
  if (
    [args.seeds, args.shard, args.data, args.only, args.threads].some((given) => given !== undefined) ||
    args.quick ||
    args.all
  )
    throw new UsageError(
      'report runs nothing: it takes no --seeds, --shard, --data, --only, --threads, --quick or --all',
    );
  const { readText } = await import('../graph/index.js');
  const { parseRuns } = await import('../study/sweep/runs-file.js');
  const { reportRuns } = await import('../study/sweep/run-study.js');
  const parsed = [];
  for (const file of files) parsed.push({ file, ...parseRuns(await readText(file), file) });
  const results = reportRuns(parsed);
  if (args.out !== undefined) {
    const { out } = args;
    makeFolder(out, 'a study');
    const own = files.some((file) => join(file) === join(out, 'runs.jsonl'));
    if (!own) checkFolder(out, args);
    await writeReport(out, results, io);
  }
  await show(results, args, io);
  return 0;
}

async function run(wanted: readonly Wanted[], args: Arguments, io: Io): Promise<number> {
  const { dataFor, runStudy, settleStudy, studySeconds } = await import('../study/sweep/run-study.js');
  const { out } = args;
  const isOne = args.study !== undefined;
  if (args.all && out === undefined)
    throw new UsageError('--all takes long, and its runs should be kept: pass --out <folder>');
  if (args.overwrite && out === undefined)
    throw new UsageError('--overwrite starts a folder of runs over: pass --out <folder>');
  if (args.shard !== undefined && out === undefined)
    throw new UsageError('a shard is a part, to be put together with the others: pass --out <folder>');
  const options = {
    seeds: args.seeds,
    quick: args.quick,
    data: args.data,
    only: args.only,
    shard: args.shard,
    threads: args.threads,
    tool: version(),
    command: commandOf(),
  };
  const places = wanted.map(({ name }) => (out === undefined || isOne ? out : join(out, name)));
  // Of several studies each has the data that it takes; of one, data that it does not take is an error.
  const given = { quick: args.quick, data: args.data ?? [] };
  const optionsOf = ({ name, custom: plan }: Wanted) => ({
    ...options,
    custom: plan,
    ...(!isOne && { data: dataFor(name, given) }),
  });
  const settled = wanted.map((one) => settleStudy(one.name, optionsOf(one)));
  if (!args.quiet) {
    for (const one of settled)
      await tell(io, `${one.study.name}: ${one.plan.length} runs, ${durationText(studySeconds(one))}`);
    const total = settled.reduce((sum, one) => sum + studySeconds(one), 0);
    if (!isOne)
      await tell(
        io,
        `together ${durationText(total)} on ${settled[0]?.threads} threads${args.quick ? ', with fewer seeds and smaller runs' : ''}`,
      );
  }
  for (const place of places) {
    if (place === undefined) continue;
    makeFolder(place, 'a study');
    const runs = join(place, runsName(args));
    if (args.overwrite)
      for (const file of [runs, join(place, timesName(args))]) rmSync(file, { force: true });
    if (!existsSync(runs)) checkFolder(place, args);
  }
  const stop = new StopSignal();
  const progress = new ProgressLine(io, args);
  const results: StudyResultView[] = [];
  try {
    for (const [index, one] of wanted.entries()) {
      const place = places[index];
      results.push(
        await runStudy(one.name, {
          ...optionsOf(one),
          ...(place !== undefined && {
            runs: join(place, runsName(args)),
            times: join(place, timesName(args)),
          }),
          onProgress: progress.update,
          signal: stop.signal,
        }),
      );
      if (stop.signal.aborted) break;
      if (place !== undefined && !isOne) await writeReport(place, results.slice(-1), io);
    }
  } finally {
    progress.clear();
    stop.release();
  }
  if (stop.signal.aborted) {
    await tell(
      io,
      out === undefined
        ? 'stopped; with --out the runs would have been kept'
        : `stopped; the runs are in ${out}, and the same command goes on from there`,
    );
    return stop.exitCode;
  }
  if (out !== undefined) await writeReport(out, results, io);
  await show(results, args, io);
  if (out !== undefined && !args.quiet) await tell(io, `written to ${out}`);
  return 0;
}

function runsName({ shard }: Arguments): string {
  return shard === undefined ? 'runs.jsonl' : `runs-${shard.replace('/', '-of-')}.jsonl`;
}

function timesName({ shard }: Arguments): string {
  return shard === undefined ? 'times.jsonl' : `times-${shard.replace('/', '-of-')}.jsonl`;
}

const REPORTS = ['runs.csv', 'report.json', 'report.html'] as const;

/** A folder without runs that has a report is somebody else's. */
function checkFolder(place: string, args: Arguments): void {
  const taken = REPORTS.find((name) => existsSync(join(place, name)));
  const isOwn = ['runs.jsonl', runsName(args)].some((name) => existsSync(join(place, name)));
  if (taken !== undefined && !isOwn && !args.overwrite)
    throw new UsageError(`${join(place, taken)} exists already; pass --overwrite or another folder`);
}

async function documentsOf(
  results: readonly StudyResultView[],
  io: Io,
): Promise<{ readonly summary: Document; readonly runs: Document }> {
  const { runsDocument, studyDocument } = await import('../report/study/document.js');
  const { renderStudyPage } = await import('../report/study/page.js');
  const epoch = Number(io.env.SOURCE_DATE_EPOCH || Number.NaN);
  const date = new Date(Number.isFinite(epoch) ? 1000 * epoch : Date.now()).toISOString().slice(0, 10);
  const page = (): string => renderStudyPage(results, { date, version: version() });
  return { summary: studyDocument(results, page), runs: runsDocument(results) };
}

async function show(results: readonly StudyResultView[], args: Arguments, io: Io): Promise<void> {
  const isData = args.format !== undefined;
  if (args.quiet && !isData) return;
  const { summary, runs } = await documentsOf(results, io);
  await print(args.format === 'csv' ? runs : summary, args, io);
}

/** Figures, page and plots into a folder: all of them can be made again from the runs. */
async function writeReport(place: string, results: readonly StudyResultView[], io: Io): Promise<void> {
  const { atomicWrite, MemorySource } = await import('../graph/index.js');
  const { plotSvg } = await import('../report/study/plot-svg.js');
  const { plotPng } = await import('../report/study/plot-png.js');
  const { summary, runs } = await documentsOf(results, io);
  const put = async (name: string, content: string | Uint8Array): Promise<void> => {
    const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
    await atomicWrite(join(place, name), new MemorySource(bytes), { overwrite: true });
  };
  await put('runs.csv', render(runs, { format: 'csv' }));
  await put('report.json', render(summary, { format: 'json' }));
  await put('report.html', render(summary, { format: 'html' }));
  const plots = results.flatMap(({ report: { study, plots: own } }) =>
    own.map((plot) => ({ plot, name: join('plots', `${study.name}-${plot.name}`) })),
  );
  if (plots.length > 0) makeFolder(join(place, 'plots'), 'what holds plots');
  for (const { plot, name } of plots) {
    const svg = plotSvg(plot);
    await put(`${name}.svg`, svg);
    await put(`${name}.png`, await plotPng(svg));
  }
}

/** The command as it was given, to be given again. */
function commandOf(): string {
  const words = process.argv.slice(2);
  return [
    'onnx-overparam',
    ...words.map((word) => (/^[\w./:=,@%+-]+$/.test(word) ? word : `'${word}'`)),
  ].join(' ');
}

function durationText(seconds: number): string {
  if (seconds < 90) return `about ${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} min`;
  return `about ${(seconds / 3600).toFixed(1)} h`;
}
