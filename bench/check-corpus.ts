/**
 * Takes every model below a directory through all that the tool does: `npm run check:corpus -- <dir> [--model part] [--seconds 60]`.
 *
 * Each is read, written (the same bytes, or the same fields), reported on, expanded to depth 2, verified, collapsed back
 * (`chainsOnly`: the same nodes), collapsed whole, and verified again. Models are worked on in a process of their own, so that
 * one that ends it, hangs or takes too much memory is a row of the table like any other. Verdicts:
 *
 * - right: all of this holds
 * - original does not run: onnxruntime refuses the model itself, or a run of it on random inputs; what does not need a
 *   run holds
 * - nothing compared: it runs, but no output has a finite element to compare
 * - REFUSED: onnxruntime runs it and a step refuses it
 * - WRONG: a step changes what the model computes, loses something, crashes, hangs or fails with an error of no meaning
 *
 * Prints one Markdown table of what is not plainly right, and one of counts by maker; exits 1 where a verdict is in capitals.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { rankReport } from '../src/analysis/report/rank-report.js';
import { verifyModels } from '../src/analysis/verify/verify.js';
import { diffModels, type Model, ModelError, messageOf, readModel, saveModel } from '../src/graph/index.js';
import { collapse } from '../src/passes/collapse/collapse.js';
import { expand } from '../src/passes/expand/expand.js';
import { openSession, ProviderError, randomInputs } from '../src/runtime/index.js';
import { sameNodes } from './same-nodes.js';
import { isWorker, Worker } from './worker.js';

const VERDICTS = ['right', 'original does not run', 'nothing compared', 'REFUSED', 'WRONG'] as const;
type Verdict = (typeof VERDICTS)[number];

interface Outcome {
  readonly verdict: Verdict;
  readonly detail: string;
  readonly expanded: number;
  readonly folded: number;
}

/** Memory of a process beyond which its model counts as wrong, in MB. */
const MOST_MB = 4096;

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { model: { type: 'string', default: '' }, seconds: { type: 'string', default: '120' } },
  });
  const [directory] = positionals;
  if (directory === undefined) {
    console.error(
      'usage: npm run check:corpus -- <directory> [--model <part of a path>] [--seconds <for each>]',
    );
    process.exitCode = 2;
    return;
  }
  const files = readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.onnx') && name.includes(values.model))
    .sort();
  const outcomes = new Map<string, Outcome>();
  const worker = new Worker<string, Outcome>(
    fileURLToPath(import.meta.url),
    { seconds: Number(values.seconds), mb: MOST_MB },
    (_, detail) => ({ verdict: 'WRONG', detail, expanded: 0, folded: 0 }),
  );
  for (const [index, name] of files.entries()) {
    const outcome = await worker.run(join(directory, name));
    outcomes.set(name, outcome);
    if (process.stderr.isTTY) process.stderr.write(`\r${index + 1} of ${files.length}`);
  }
  worker.end();
  if (process.stderr.isTTY) process.stderr.write('\r');
  print(outcomes);
}

function print(outcomes: ReadonlyMap<string, Outcome>): void {
  const oneLine = (text: string): string =>
    JSON.stringify(text).slice(1, -1).replaceAll('|', '\\|').slice(0, 240);
  console.log('| model | verdict | why |\n| --- | --- | --- |');
  for (const [name, { verdict, detail }] of outcomes) {
    if (verdict !== 'right') console.log(`| ${relative('.', name)} | ${verdict} | ${oneLine(detail)} |`);
  }
  const makers = new Map<string, Outcome[]>();
  for (const [name, outcome] of outcomes) {
    const maker = name.split(sep)[0] ?? '';
    makers.set(maker, [...(makers.get(maker) ?? []), outcome]);
  }
  console.log(`\n| maker | models | ${VERDICTS.join(' | ')} | layers expanded | regions folded |`);
  console.log(`| --- | --- |${' --- |'.repeat(VERDICTS.length + 2)}`);
  const row = (label: string, all: readonly Outcome[]): void => {
    const counts = VERDICTS.map((verdict) => all.filter((one) => one.verdict === verdict).length);
    const sum = (key: 'expanded' | 'folded'): number => all.reduce((total, one) => total + one[key], 0);
    console.log(
      `| ${label} | ${all.length} | ${counts.join(' | ')} | ${sum('expanded')} | ${sum('folded')} |`,
    );
  };
  for (const [maker, all] of makers) row(maker, all);
  const all = [...outcomes.values()];
  row('all', all);
  if (all.some(({ verdict }) => verdict === 'REFUSED' || verdict === 'WRONG')) process.exitCode = 1;
}

/** What one model shows. */
async function checkFile(file: string): Promise<Outcome> {
  const directory = mkdtempSync(join(tmpdir(), 'check-corpus-'));
  let [expanded, folded] = [0, 0];
  const as = (verdict: Verdict, detail = ''): Outcome => ({ verdict, detail, expanded, folded });
  try {
    const unrunnable = await whyNotRunnable(file);
    /** A refusal in words is one only of what runs; any other error is a fault. */
    const refusal = (step: string, error: unknown): Outcome => {
      const isMeant =
        error instanceof ModelError || error instanceof ProviderError || error instanceof RangeError;
      if (!isMeant) return as('WRONG', `${step}: ${error instanceof Error ? error.stack : String(error)}`);
      return unrunnable === undefined
        ? as('REFUSED', `${step}: ${messageOf(error)}`)
        : as('original does not run', unrunnable);
    };
    let step = 'read';
    try {
      const original = await readModel(file);
      step = 'write';
      const copy = join(directory, 'copy.onnx');
      await saveModel(original, copy);
      const isSame = readFileSync(file).equals(readFileSync(copy));
      if (!isSame && diffModels(original, await readModel(copy)).length > 0) {
        return as('WRONG', 'written again, fields differ');
      }
      step = 'rank-report';
      await rankReport(original);
      step = 'expand';
      const model = await readModel(file);
      const [account] = await model.apply(expand({ depth: 2 }));
      expanded = account.rewritten.length;
      const path = join(directory, 'expanded.onnx');
      await saveModel(model, path);
      const verdicts = [await compared(original, await readModel(path), 'expanded', unrunnable)];
      step = 'collapse back';
      const back = await readModel(path);
      const [unchained] = await back.apply(collapse({ chainsOnly: true }));
      if (expanded > 0 && unchained.skipped.some(({ node }) => node.includes('/overparam/'))) {
        return as('WRONG', `collapse leaves a chain of expand: ${unchained.skipped[0]?.reason}`);
      }
      if (!sameNodes(original, back)) return as('WRONG', 'other nodes after expand and collapse');
      verdicts.push(await compared(original, back, 'collapsed back', unrunnable));
      step = 'collapse';
      const whole = await readModel(file);
      const [account2] = await whole.apply(collapse());
      folded = account2.rewritten.length;
      const collapsedPath = join(directory, 'collapsed.onnx');
      await saveModel(whole, collapsedPath);
      if (folded > 0)
        verdicts.push(await compared(original, await readModel(collapsedPath), 'collapsed', unrunnable));
      const wrong =
        verdicts.find((one) => one?.verdict === 'WRONG') ?? verdicts.find((one) => one !== undefined);
      if (wrong !== undefined) return as(wrong.verdict, wrong.detail);
      return unrunnable === undefined ? as('right') : as('original does not run', unrunnable);
    } catch (error) {
      return refusal(step, error);
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** What onnxruntime itself says of a file; undefined where it loads it and runs it on random inputs. */
async function whyNotRunnable(file: string): Promise<string | undefined> {
  try {
    await using session = await openSession(file);
    const model = await readModel(file).catch(() => undefined);
    // What this tool cannot read, onnxruntime loads: that is for the steps to say.
    if (model === undefined) return undefined;
    await session.run(randomInputs(model, { seed: 0 }));
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

async function compared(
  a: Model,
  b: Model,
  what: string,
  unrunnable: string | undefined,
): Promise<{ verdict: Verdict; detail: string } | undefined> {
  if (unrunnable !== undefined) return undefined;
  const { verdict, outputs, problems } = await verifyModels(a, b, { samples: 2 });
  if (verdict === 'same') return undefined;
  if (verdict === 'nothing compared') return { verdict, detail: problems.join('; ') };
  const worst = outputs
    .filter(({ passed }) => !passed)
    .map((output) => `${output.name} by ${output.relativeDifference}`);
  return { verdict: 'WRONG', detail: `${what}: ${[...problems, ...worst].join('; ')}` };
}

if (!isWorker(checkFile)) await main();
