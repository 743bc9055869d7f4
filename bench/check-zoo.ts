/**
 * Checks every model of one or more directories: `npm run check:zoo -- <dir> [<dir> …] [options of expand]`, such as
 * `--depth 3 --residual --batch-norm`. `--each '<options>'`, which may repeat, adds options for a run of its own: all runs come as
 * rows of one table. `--model name` takes those whose file has that in its name, `--most-mb 120` those of no more;
 * `--dim name=4` sizes an open dimension where a model has one of that name. An output that differs by more than the
 * tolerance, but by no more than rounding moves it in the model itself, holds; both figures are shown.
 *
 * For each: read -> write gives the same bytes; expanded it computes the same function in onnxruntime; collapsed it
 * has its nodes, operators and names back, and its weights to 1e-6. Prints one Markdown table; exits 1 where a
 * check does not hold.
 */
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import yargs from 'yargs';
import { verifyModels } from '../src/analysis/verify/verify.js';
import { EXPAND_ARGUMENTS, expandOptionsOf } from '../src/cli/expand/expand-options.js';
import { declare, givenOptions } from '../src/cli/shell/described.js';
import {
  diffModels,
  FileSource,
  findConstant,
  type Graph,
  isConstant,
  isFloatType,
  type Model,
  messageOf,
  readModel,
  saveModel,
  type Tensor,
} from '../src/graph/index.js';
import type { OptionDescriptors } from '../src/graph/option-descriptors.js';
import { collapse } from '../src/passes/collapse/collapse.js';
import { type ExpandAccount, type ExpandOptions, expand } from '../src/passes/expand/expand.js';
import { evaluateConstant } from '../src/runtime/constants/constant.js';
import { fedInputs } from '../src/runtime/inputs/input-sizes.js';
import { isOpen, type OpenDims, sizeIn } from '../src/runtime/inputs/open-dims.js';
import { sameNodes } from './same-nodes.js';

const WEIGHT_TOLERANCE = 1e-6;
const OUTPUT_TOLERANCE = 1e-4;

const MOST_MB = Number.POSITIVE_INFINITY;
const OWN_OPTIONS = {
  each: { kind: 'texts', help: 'options of expand; a run for each' },
  model: { kind: 'text', help: 'part of the names of the files' },
  dims: { kind: 'dims', flag: 'dim', help: 'size of an open dimension' },
  mostMb: { kind: 'number', above: 0, help: 'skip larger files' },
} as const satisfies OptionDescriptors;

interface Row {
  readonly model: string;
  readonly failures: string[];
  readonly cells: string[];
}

/** One way to expand the models. */
interface Run {
  readonly name: string;
  readonly options: ExpandOptions;
}

async function main(): Promise<void> {
  const { _: directories, ...args } = await declare(yargs(process.argv.slice(2)), {
    ...OWN_OPTIONS,
    ...EXPAND_ARGUMENTS,
  })
    .strictOptions()
    .parse();
  const { each = [], model: wanted = '', dims = {}, mostMb = MOST_MB } = givenOptions(OWN_OPTIONS, args);
  const shared = givenOptions(EXPAND_ARGUMENTS, args);
  const sizeOf = (path: string): number => statSync(path).size / 1e6;
  const files = directories
    .flatMap((directory) => readdirSync(String(directory)).map((name) => join(String(directory), name)))
    .filter((path) => path.endsWith('.onnx') && basename(path).includes(wanted) && sizeOf(path) <= mostMb)
    .sort((a, b) => sizeOf(a) - sizeOf(b));
  if (files.length === 0) {
    console.error(
      'usage: npm run check:zoo -- <directory of .onnx files> [<directory> …] [options of expand]',
    );
    process.exitCode = 2;
    return;
  }
  const runs: Run[] = [];
  for (const name of each.length > 0 ? each : ['']) {
    const own = await declare(yargs(name.split(' ')), EXPAND_ARGUMENTS)
      .strictOptions()
      .parse();
    const options = { ...shared, ...givenOptions(EXPAND_ARGUMENTS, own) };
    runs.push({ name, options: await expandOptionsOf(options) });
  }
  const header = ['model', 'MB', 'nodes', 'same bytes', ...(each.length > 0 ? ['options'] : []), ...COLUMNS];
  console.log(`| ${header.join(' | ')} |\n|${header.map(() => ' --- |').join('')}`);
  const left = new Map<string, Set<string>>();
  const rows: Row[] = [];
  for (const file of files) {
    try {
      for await (const row of checkModel(file, runs, dims, left)) {
        rows.push(row);
        console.log(`| ${row.cells.join(' | ')} |`);
      }
    } catch (error) {
      const model = basename(file, '.onnx');
      rows.push({ model, failures: [messageOf(error)], cells: [] });
      console.log(`| ${model} | FAILED |`);
    }
  }
  console.log();
  for (const [reason, models] of left) console.log(`${reason} (${[...models].join(', ')})`);
  const failed = rows.filter((row) => row.failures.length > 0);
  for (const row of failed) console.log(`FAILED ${row.model}: ${row.failures.join('; ')}`);
  console.log(
    `${rows.length - failed.length} of ${rows.length} runs hold ` +
      `(outputs to ${OUTPUT_TOLERANCE} of the largest, weights to ${WEIGHT_TOLERANCE})`,
  );
  if (failed.length > 0) process.exitCode = 1;
}

const COLUMNS = [
  'expanded',
  'residuals',
  'norms',
  'skipped',
  'max Δ expanded',
  'nodes back',
  'max ‖ΔW‖/‖W‖',
  'max Δ collapsed',
  'seconds',
];

async function* checkModel(
  file: string,
  runs: readonly Run[],
  dims: OpenDims,
  left: Map<string, Set<string>>,
): AsyncGenerator<Row> {
  const name = basename(file, '.onnx');
  const directory = mkdtempSync(join(tmpdir(), 'check-zoo-'));
  try {
    const original = await readModel(file);
    const sizes = dimsOf(original, dims);
    const copy = join(directory, 'copy.onnx');
    await saveModel(original, copy);
    const sameBytes = equalFiles(file, copy);
    const sameFields = sameBytes || diffModels(original, await readModel(copy)).length === 0;
    rmSync(copy);
    const cells = [
      name,
      (statSync(file).size / 1e6).toFixed(1),
      String(original.graph.nodes.length),
      sameBytes ? 'yes' : sameFields ? 'same fields' : 'NO',
    ];
    for (const run of runs) {
      const row = await checkRun(original, file, directory, run, sizes, (account) =>
        note(account, name, left),
      );
      if (!sameFields) row.failures.push('read -> write changes fields');
      const own = run.name === '' ? [] : [run.name];
      yield {
        model: [name, ...own].join(' '),
        failures: row.failures,
        cells: [...cells, ...own, ...row.cells],
      };
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Remembers the reasons for which something was left, but for what they quote and count. */
function note({ skipped, rewritten }: ExpandAccount, model: string, left: Map<string, Set<string>>): void {
  const add = (what: string, op: string, reason: string): void => {
    const kind = `${what} ${op}: ${reason.replace(/'[^']*'/g, '…').replace(/\d[\d.e-]*/g, 'n')}`;
    left.set(kind, (left.get(kind) ?? new Set()).add(model));
  };
  for (const { op, reason } of skipped) add('skipped', op, reason);
  for (const { op, without } of rewritten) for (const reason of without) add('in part', op, reason);
}

async function checkRun(
  original: Model,
  file: string,
  directory: string,
  { options }: Run,
  dims: OpenDims,
  onAccount: (account: ExpandAccount) => void,
): Promise<Omit<Row, 'model'>> {
  const failures: string[] = [];
  const started = performance.now();
  const model = await readModel(file);
  const [account] = await model.apply(expand(options));
  onAccount(account);
  const expandedPath = join(directory, 'expanded.onnx');
  await saveModel(model, expandedPath, { overwrite: true });
  const expandedOutputs = await compareOutputs(original, await readModel(expandedPath), dims);
  if (!expandedOutputs.passed) failures.push(`expanded outputs differ by ${expandedOutputs.text}`);

  const collapsed = await readModel(expandedPath);
  const [folded] = await collapsed.apply(collapse({ chainsOnly: true }));
  for (const { node, reason } of folded.skipped) failures.push(`collapse skipped ${node}: ${reason}`);
  const nodesBack = sameNodes(original, collapsed);
  if (!nodesBack) failures.push('nodes differ after collapse');
  const weightError = await worstWeight(original, collapsed);
  if (!(weightError <= WEIGHT_TOLERANCE)) failures.push(`weights differ by ${weightError}`);
  const collapsedOutputs = await compareOutputs(original, collapsed, dims);
  if (!collapsedOutputs.passed) failures.push(`collapsed outputs differ by ${collapsedOutputs.text}`);
  const { rewritten, skipped } = account;
  const cells = [
    String(rewritten.length),
    String(rewritten.reduce((sum, { residuals }) => sum + residuals, 0)),
    String(rewritten.reduce((sum, { norms }) => sum + norms, 0)),
    String(skipped.length),
    expandedOutputs.text,
    nodesBack ? 'yes' : 'NO',
    weightError.toExponential(1),
    collapsedOutputs.text,
    ((performance.now() - started) / 1000).toFixed(0),
  ];
  return { failures, cells };
}

function equalFiles(a: string, b: string): boolean {
  const [left, right] = [new FileSource(a), new FileSource(b)];
  if (left.length !== right.length) return false;
  const step = 16 << 20;
  for (let offset = 0; offset < left.length; offset += step) {
    const count = Math.min(step, left.length - offset);
    if (Buffer.compare(left.read(offset, count), right.read(offset, count)) !== 0) return false;
  }
  return true;
}

/** Those of the sizes that a model has open dimensions for. */
function dimsOf({ graph }: Model, dims: OpenDims): OpenDims {
  const inputs = fedInputs(graph);
  const isThere = ([key]: [string, number]): boolean =>
    inputs.some((input) =>
      (input.shape ?? []).some((dim, axis) => isOpen(dim) && sizeIn({ [key]: 1 }, input, axis) === 1),
    );
  return Object.fromEntries(Object.entries(dims).filter(isThere));
}

async function compareOutputs(
  a: Model,
  b: Model,
  dims: OpenDims,
): Promise<{ passed: boolean; text: string }> {
  const { outputs, problems } = await verifyModels(a, b, { samples: 2, dims });
  if (problems.length > 0) throw new Error(problems.join('; '));
  const worst = Math.max(
    ...outputs.map((output) =>
      output.nonFiniteDifferences > 0 ? Number.POSITIVE_INFINITY : output.relativeDifference,
    ),
  );
  const rounding = Math.max(...outputs.map((output) => output.rounding ?? 0));
  const text = worst.toExponential(1) + (rounding > 0 ? ` (rounding ${rounding.toExponential(1)})` : '');
  return { passed: outputs.every((output) => output.passed), text };
}

/** The largest relative Frobenius error of a float initializer; Infinity where one is missing or has another shape. */
async function worstWeight(a: Model, b: Model): Promise<number> {
  const others = [...b.graphs()];
  let worst = 0;
  for (const [index, graph] of [...a.graphs()].entries()) {
    const other = others[index];
    worst = Math.max(worst, other === undefined ? Number.POSITIVE_INFINITY : await worstOf(graph, other));
  }
  return worst;
}

async function worstOf(a: Graph, b: Graph): Promise<number> {
  let worst = 0;
  for (const [name, tensor] of a.initializers) {
    if (!isFloatType(tensor.dataType)) continue;
    const other = b.initializers.get(name);
    if (other === undefined || other.shape.join() !== tensor.shape.join()) return Number.POSITIVE_INFINITY;
    worst = Math.max(worst, relativeError(tensor, other));
  }
  // Weights that nodes make of constants.
  for (const node of a.nodes) {
    if (!node.is('ConstantOfShape', 'Constant')) continue;
    const value = node.outputs[0] ?? '';
    if (!isConstant(findConstant(a, value))) continue;
    if (b.resolve(value) === undefined) return Number.POSITIVE_INFINITY;
    const before = await evaluateConstant(a, value);
    if (!isFloatType(before.dataType)) continue;
    worst = Math.max(worst, relativeError(before, await evaluateConstant(b, value)));
  }
  return worst;
}

function relativeError(a: Tensor, b: Tensor): number {
  const [left, right] = [a.floats(), b.floats()];
  let difference = 0;
  let square = 0;
  for (let i = 0; i < left.length; i += 1) {
    if (!Object.is(left[i], right[i])) difference += ((left[i] as number) - (right[i] as number)) ** 2;
    square += (left[i] as number) ** 2;
  }
  return difference === 0 ? 0 : Math.sqrt(difference / square);
}

await main();
