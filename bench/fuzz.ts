/**
 * Tries the tool on random small models, and on damaged ones: `npm run fuzz -- [--seed n] [--count n] [--out dir]`.
 *
 * Each model (bench/fuzz-models.ts) is read, written, checked, printed, reported on, run, expanded, verified, collapsed back,
 * verified, collapsed whole and verified again, in a process of its own. What is not a result and not a refusal in words is a
 * finding:
 *
 * - raw error: an error that is none of ModelError, OptionError and ProviderError, nor says what is wrong
 * - hang, memory, died: a step over 10 s of the processor, over 1 GB, the process ended
 * - LOSSY: what expand or collapse made computes something else, or has a weight that is not finite where all were; a model
 *   that overflows on the way has no function to keep, and is not compared
 * - DIFFERS: a model beside itself
 * - refused: the run command fails where onnxruntime alone runs
 * - changed: a file that no pass changed is not written as it was read
 * - escape: control characters of names reach a terminal
 *
 * A finding is made smaller while it stays one, and written to a file. Exits 1 where there are any.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { rankReport } from '../src/analysis/report/rank-report.js';
import { verifyModels } from '../src/analysis/verify/verify.js';
import {
  check,
  diffModels,
  isFloatType,
  type Model,
  ModelError,
  messageOf,
  OptionError,
  printModel,
  readModel,
  saveModel,
  ValueInfo,
  valuesRead,
} from '../src/graph/index.js';
import { collapse } from '../src/passes/collapse/collapse.js';
import { type ExpandOptions, expand } from '../src/passes/expand/expand.js';
import {
  collapseDocument,
  type Document,
  expandDocument,
  rankDocument,
  render,
  runDocument,
  verifyDocument,
} from '../src/report/index.js';
import { openSession, type RuntimeTensor, randomInputs, runModel, summarize } from '../src/runtime/index.js';
import { bytesOf, type Draft, drawDraft, smaller } from './fuzz-models.js';
import { atStep, isWorker, Worker } from './worker.js';

const KINDS = [
  'raw error',
  'hang',
  'memory',
  'died',
  'LOSSY',
  'DIFFERS',
  'refused',
  'changed',
  'escape',
] as const;

interface Finding {
  readonly kind: (typeof KINDS)[number];
  readonly step: string;
  readonly detail: string;
}

/** How far a model came: the step that refused it, or all. */
interface Outcome {
  readonly finding?: Finding;
  readonly refused?: string;
  readonly runs?: boolean;
  readonly expanded?: number;
  readonly folded?: number;
}

interface Job {
  readonly file: string;
  readonly seed: number;
}

const SAMPLES = 2;
const SECONDS = 10;
const MOST_MB = 1024;
/** Models that are tried to make a finding smaller; those of hangs take long. */
const TRIES = 150;
const SLOW_TRIES = 12;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: '0' },
      count: { type: 'string', default: '2000' },
      out: { type: 'string' },
      minutes: { type: 'string', default: 'Infinity' },
    },
  });
  const out = values.out ?? mkdtempSync(join(tmpdir(), 'fuzz-'));
  mkdirSync(out, { recursive: true });
  const end = Date.now() + Number(values.minutes) * 60_000;
  const worker = new Worker<Job, Outcome>(
    fileURLToPath(import.meta.url),
    { seconds: SECONDS, mb: MOST_MB },
    (failure, detail, step) => ({
      finding: { kind: failure === 'late' ? 'hang' : failure, step, detail },
    }),
  );
  const first = Number(values.seed);
  const counts = { models: 0, runs: 0, refused: 0, expanded: 0, folded: 0, findings: 0 };
  for (let seed = first; seed < first + Number(values.count) && Date.now() < end; seed += 1) {
    const file = join(out, `${seed}.onnx`);
    const outcomeOf = async (draft: Draft): Promise<Outcome> => {
      writeFileSync(file, bytesOf(draft));
      const outcome = await worker.run({ file, seed });
      // The process has tried other models before; the next one is fresh.
      return outcome.finding?.kind === 'memory' ? worker.run({ file, seed }) : outcome;
    };
    const draft = drawDraft(seed);
    const { finding, refused, runs, expanded = 0, folded = 0 } = await outcomeOf(draft);
    counts.models += 1;
    if (runs) counts.runs += 1;
    if (refused !== undefined) counts.refused += 1;
    counts.expanded += expanded;
    counts.folded += folded;
    if (finding === undefined) {
      rmSync(file);
      continue;
    }
    counts.findings += 1;
    const least = await smallest(draft, finding, outcomeOf);
    writeFileSync(file, bytesOf(least.draft));
    const { kind, step, detail } = least.finding;
    console.log(`${seed}: ${kind} in ${step}: ${JSON.stringify(detail.slice(0, 600))}\n  ${file}`);
  }
  worker.end();
  console.log(
    `${counts.models} models from seed ${first}: ${counts.runs} run, ${counts.refused} refused in words, ` +
      `${counts.expanded} layers expanded, ${counts.folded} regions folded, ${counts.findings} findings`,
  );
  if (counts.findings > 0) process.exitCode = 1;
  else if (values.out === undefined) rmSync(out, { recursive: true });
}

/** Leaves out one part after the other while what is left is a finding of the same kind in the same step. */
async function smallest(
  draft: Draft,
  finding: Finding,
  outcomeOf: (draft: Draft) => Promise<Outcome>,
): Promise<{ draft: Draft; finding: Finding }> {
  let least = { draft, finding };
  let left = finding.kind === 'hang' || finding.kind === 'memory' ? SLOW_TRIES : TRIES;
  for (let isSmaller = true; isSmaller; ) {
    isSmaller = false;
    for (const candidate of smaller(least.draft)) {
      if (left === 0) return least;
      left -= 1;
      const next = (await outcomeOf(candidate)).finding;
      if (next?.kind !== finding.kind || next.step !== finding.step) continue;
      least = { draft: candidate, finding: next };
      isSmaller = true;
      break;
    }
  }
  return least;
}

/** A finding on its way out of the steps. */
class Found extends Error {
  readonly kind: Finding['kind'];

  constructor(kind: Finding['kind'], detail: string) {
    super(detail);
    this.kind = kind;
  }
}

/** All steps on one file. */
async function tryFile({ file, seed }: Job): Promise<Outcome> {
  const directory = mkdtempSync(join(tmpdir(), 'fuzz-file-'));
  let step = '';
  const enter = (next: string): void => {
    step = next;
    atStep(step);
  };
  const far: { runs?: boolean; expanded?: number; folded?: number } = {};
  try {
    enter('read');
    const original = await readModel(file);
    enter('write');
    const copy = join(directory, 'copy.onnx');
    await saveModel(original, copy);
    const differences = readFileSync(file).equals(readFileSync(copy))
      ? []
      : diffModels(original, await readModel(copy));
    if (differences.length > 0) throw new Found('changed', JSON.stringify(differences[0]));
    enter('check');
    check(original);
    enter('print');
    seen(printModel(original), step);
    enter('rank-report');
    show(rankDocument(await rankReport(original)), step);
    const areFinite = (await nonFinite(original)) === undefined;
    enter('run');
    far.runs = await runs(original, step);
    if (far.runs) {
      enter('verify');
      await compared('DIFFERS', original, await readModel(file), step);
    }
    enter('expand');
    const expanded = await readModel(file);
    const [account] = await expanded.apply(expand(optionsOf(seed)));
    far.expanded = account.rewritten.length;
    show(expandDocument(account), step);
    const path = join(directory, 'expanded.onnx');
    await saveModel(expanded, path);
    const again = await readModel(path);
    if (areFinite) await finite(again, step);
    enter('verify expanded');
    if (far.runs) await compared('LOSSY', original, again, step);
    enter('collapse back');
    const [backAccount] = await again.apply(collapse({ chainsOnly: true }));
    show(collapseDocument(backAccount), step);
    if (areFinite) await finite(again, step);
    // Layers of the model itself that follow one another are a chain as well: their product has another weight.
    if (backAccount.rewritten.every(({ by }) => by === 'metadata')) sameWeights(original, again);
    enter('verify collapsed back');
    if (far.runs) await compared('LOSSY', original, again, step);
    enter('collapse');
    const whole = await readModel(file);
    const [wholeAccount] = await whole.apply(collapse());
    far.folded = wholeAccount.rewritten.length;
    show(collapseDocument(wholeAccount), step);
    if (areFinite) await finite(whole, step);
    const collapsed = join(directory, 'collapsed.onnx');
    await saveModel(whole, collapsed);
    enter('verify collapsed');
    if (far.runs) await compared('LOSSY', original, await readModel(collapsed), step);
    return far;
  } catch (error) {
    if (error instanceof Found) return { ...far, finding: { kind: error.kind, step, detail: error.message } };
    const isRefusal = error instanceof ModelError || error instanceof OptionError;
    if (isRefusal) return { ...far, refused: `${step}: ${messageOf(error)}` };
    const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { ...far, finding: { kind: 'raw error', step, detail } };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Options of expand; each seed has one kind, so that a finding is the same while it is made smaller. */
function optionsOf(seed: number): ExpandOptions {
  const kinds: readonly ExpandOptions[] = [
    { depth: 2 },
    { depth: 3 },
    { depth: 2, init: 'orthogonal' },
    { depth: 3, residual: true },
    { depth: 2, init: 'identity' },
  ];
  return kinds[seed % kinds.length] ?? {};
}

/** Whether onnxruntime runs a model: by the way of the run command, with the placement of its nodes. */
async function runs(model: Model, step: string): Promise<boolean> {
  try {
    const run = await runModel(model, randomInputs(model, { seed: 0 }));
    show(runDocument(run, { model: 'a' }), step);
    return true;
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    if (await runsPlainly(model)) throw new Found('refused', `onnxruntime runs it: ${messageOf(error)}`);
    return false;
  }
}

/** Whether onnxruntime runs a model with nothing written beside. */
async function runsPlainly(model: Model): Promise<boolean> {
  try {
    await using session = await openSession(model);
    await session.run(randomInputs(model, { seed: 0 }));
    return true;
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return false;
  }
}

async function compared(kind: 'LOSSY' | 'DIFFERS', a: Model, b: Model, step: string): Promise<void> {
  const verification = await verifyModels(a, b, { samples: SAMPLES });
  show(verifyDocument(verification, { a: 'a', b: 'b' }), step);
  if (verification.verdict !== 'different') return;
  if (kind === 'LOSSY' && (await overflows(a))) return;
  const worst = verification.outputs
    .filter(({ passed }) => !passed)
    .map(({ name, relativeDifference }) => `${name} by ${relativeDifference}`);
  throw new Found(kind, [...verification.problems, ...worst].join('; '));
}

/**
 * Whether some value on the way is not finite, or so near the end of its type's range that sums of other layers may go past it, for the
 * inputs that a verification draws.
 */
async function overflows(model: Model): Promise<boolean> {
  const open = model.clone();
  const varies = new Set(open.graph.inputs.map(({ name }) => name));
  for (const { proto, outputs } of open.graph.nodes) {
    if (![...valuesRead(proto)].some((value) => varies.has(value))) continue;
    for (const name of outputs) {
      varies.add(name);
      if (name !== '' && !open.graph.isOutput(name)) open.graph.addOutput(new ValueInfo({ name }));
    }
  }
  await using session = await openSession(open, { optimization: 'disabled' });
  for (let seed = 0; seed < SAMPLES; seed += 1) {
    const values = Object.values(await session.run(randomInputs(model, { seed })));
    if (values.some(isNearOverflow)) return true;
  }
  return false;
}

/** Values up to here leave room for the hidden units of a chain, which may be larger than what they read and what they make. */
const LARGEST = { float64: 2 ** 1014, float32: 2 ** 118, float16: 2 ** 12, bfloat16: 2 ** 118 } as const;

function isNearOverflow(value: RuntimeTensor): boolean {
  const { min, max, nonFinite } = summarize(value);
  const largest =
    value.type in LARGEST ? LARGEST[value.type as keyof typeof LARGEST] : Number.POSITIVE_INFINITY;
  return nonFinite > 0 || Number(min) < -largest || Number(max) > largest;
}

/** How far a row or column of a weight that comes back from a chain may be off, of its norm. */
const OFF = { float64: 1e-10, float32: 1e-4, float16: 0.02, bfloat16: 0.1 } as const;

/** What rounding does to the smallest numbers of a type. */
const STEPS = { float64: 0, float32: 2 ** -145, float16: 2 ** -20, bfloat16: 2 ** -129 } as const;

/** The outputs of a model are compared by their largest element, which hides what becomes of small rows of a weight. */
function sameWeights(original: Model, again: Model): void {
  for (const { name, dataType, shape } of original.graph.initializers.values()) {
    const [before, after] = [original, again].map(({ graph }) => graph.initializers.get(name));
    if (!isFloatType(dataType) || before === undefined || after?.shape.join() !== shape.join()) continue;
    const [a, b] = [before.floats(), after.floats()];
    const [rows = 1, columns = 1] = shape;
    const taps = shape.slice(2).reduce((product, extent) => product * extent, 1);
    const lines = [
      { which: 'row', count: rows, of: (at: number) => Math.floor(at / (columns * taps)) },
      { which: 'column', count: columns, of: (at: number) => Math.floor(at / taps) % columns },
    ];
    for (const { which, count, of } of lines) {
      const [norms, error] = [new Float64Array(count), new Float64Array(count)];
      for (const [at, value] of a.entries()) {
        if (!Number.isFinite(value)) continue;
        const line = of(at);
        norms[line] = Math.hypot(norms[line] ?? 0, value);
        error[line] = Math.hypot(error[line] ?? 0, value - (b[at] ?? Number.NaN));
      }
      // As expand measures it: what is off in a line of zeros is so little of the largest.
      const largest = Math.max(...norms);
      const worst = error.findIndex(
        (off, line) => !(off <= OFF[dataType] * (norms[line] || largest) + STEPS[dataType]),
      );
      if (worst >= 0) {
        throw new Found('LOSSY', `${which} ${worst} of ${name} is off by ${error[worst]} of ${norms[worst]}`);
      }
    }
  }
}

async function finite(model: Model, step: string): Promise<void> {
  const name = await nonFinite(model);
  if (name !== undefined) throw new Found('LOSSY', `${step} makes ${name}, which is not finite`);
}

/** The first initializer that has NaN or Infinity. */
async function nonFinite(model: Model): Promise<string | undefined> {
  for (const tensor of model.graph.initializers.values()) {
    if (!isFloatType(tensor.dataType)) continue;
    if (!tensor.floats().every(Number.isFinite)) return tensor.name;
  }
  return undefined;
}

function show(document: Document, step: string): void {
  seen(render(document), step);
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/;

function seen(text: string, step: string): void {
  const at = text.search(CONTROL);
  if (at >= 0)
    throw new Found('escape', `${step} shows ${JSON.stringify(text.slice(Math.max(0, at - 60), at + 60))}`);
}

if (!isWorker(tryFile)) await main();
