/**
 * Checks every model of one or more directories: `npm run check:zoo -- <dir> [<dir> …] [--depth 3] [--only name]`.
 *
 * For each: read -> write gives the same bytes; expanded it computes the same function in onnxruntime; collapsed it
 * has its nodes, operators and names back, and its weights to 1e-6. Prints one Markdown table; exits 1 where a
 * check does not hold.
 */
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { verifyModels } from '../src/analysis/verify.js';
import {
  diffModels,
  FileSource,
  isFloatType,
  type Model,
  readModel,
  saveModel,
  type Tensor,
} from '../src/graph/index.js';
import { collapse } from '../src/passes/collapse.js';
import { expand } from '../src/passes/expand.js';
import { evaluateConstant } from '../src/runtime/constant.js';

const WEIGHT_TOLERANCE = 1e-6;
const OUTPUT_TOLERANCE = 1e-4;

interface Row {
  readonly model: string;
  readonly failures: string[];
  readonly cells: string[];
}

const HEADER = [
  'model',
  'MB',
  'nodes',
  'same bytes',
  'expanded',
  'skipped',
  'max Δ expanded',
  'nodes back',
  'max ‖ΔW‖/‖W‖',
  'max Δ collapsed',
  'seconds',
];

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { depth: { type: 'string', default: '3' }, only: { type: 'string' } },
  });
  const depth = Number(values.depth);
  const files = positionals
    .flatMap((directory) => readdirSync(directory).map((name) => join(directory, name)))
    .filter(
      (path) => path.endsWith('.onnx') && (values.only === undefined || basename(path).includes(values.only)),
    )
    .sort((a, b) => statSync(a).size - statSync(b).size);
  if (files.length === 0) {
    console.error(
      'usage: npm run check:zoo -- <directory of .onnx files> [<directory> …] [--depth 3] [--only name]',
    );
    process.exitCode = 2;
    return;
  }
  const skipReasons = new Map<string, Set<string>>();
  const rows: Row[] = [];
  console.log(`| ${HEADER.join(' | ')} |\n|${HEADER.map(() => ' --- |').join('')}`);
  for (const file of files) {
    const row = await checkModel(file, depth, skipReasons);
    rows.push(row);
    console.log(`| ${row.cells.join(' | ')} |`);
  }
  console.log();
  for (const [reason, models] of skipReasons) console.log(`skipped: ${reason} (${[...models].join(', ')})`);
  const failed = rows.filter((row) => row.failures.length > 0);
  for (const row of failed) console.log(`FAILED ${row.model}: ${row.failures.join('; ')}`);
  console.log(
    `${rows.length - failed.length} of ${rows.length} models hold at depth ${depth} ` +
      `(outputs to ${OUTPUT_TOLERANCE} of the largest, weights to ${WEIGHT_TOLERANCE})`,
  );
  if (failed.length > 0) process.exitCode = 1;
}

async function checkModel(file: string, depth: number, skipReasons: Map<string, Set<string>>): Promise<Row> {
  const name = basename(file, '.onnx');
  const failures: string[] = [];
  const started = performance.now();
  const directory = mkdtempSync(join(tmpdir(), 'check-zoo-'));
  try {
    const original = await readModel(file);
    const copy = join(directory, 'copy.onnx');
    await saveModel(original, copy);
    const sameBytes = equalFiles(file, copy);
    const sameFields = sameBytes || diffModels(original, await readModel(copy)).length === 0;
    if (!sameFields) failures.push('read -> write changes fields');
    rmSync(copy);

    const model = await readModel(file);
    const [account] = await model.apply(expand({ depth }));
    for (const { op, reason } of account.skipped) {
      const kind = `${op}: ${reason.replace(/'[^']*'/g, '…')}`;
      skipReasons.set(kind, (skipReasons.get(kind) ?? new Set()).add(name));
    }
    const expandedPath = join(directory, 'expanded.onnx');
    await saveModel(model, expandedPath);
    const expanded = await readModel(expandedPath);
    const expandedError = await outputError(original, expanded);
    if (!(expandedError <= OUTPUT_TOLERANCE)) failures.push(`expanded outputs differ by ${expandedError}`);

    const collapsed = await readModel(expandedPath);
    const [folded] = await collapsed.apply(collapse({ chainsOnly: true }));
    for (const { node, reason } of folded.skipped) failures.push(`collapse skipped ${node}: ${reason}`);
    const nodesBack = sameNodes(original, collapsed);
    if (!nodesBack) failures.push('nodes differ after collapse');
    const weightError = await worstWeight(original, collapsed);
    if (!(weightError <= WEIGHT_TOLERANCE)) failures.push(`weights differ by ${weightError}`);
    const collapsedError = await outputError(original, collapsed);
    if (!(collapsedError <= OUTPUT_TOLERANCE)) failures.push(`collapsed outputs differ by ${collapsedError}`);

    const cells = [
      name,
      (statSync(file).size / 1e6).toFixed(1),
      String(original.graph.nodes.length),
      sameBytes ? 'yes' : sameFields ? 'same fields' : 'NO',
      String(account.rewritten.length),
      String(account.skipped.length),
      expandedError.toExponential(1),
      nodesBack ? 'yes' : 'NO',
      weightError.toExponential(1),
      collapsedError.toExponential(1),
      ((performance.now() - started) / 1000).toFixed(0),
    ];
    return { model: name, failures, cells };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
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

async function outputError(a: Model, b: Model): Promise<number> {
  const { outputs, problems } = await verifyModels(a, b, { samples: 2, tolerance: OUTPUT_TOLERANCE });
  if (problems.length > 0) throw new Error(problems.join('; '));
  const broken = outputs.some((output) => output.nonFiniteDifferences > 0);
  return broken ? Number.POSITIVE_INFINITY : Math.max(...outputs.map((output) => output.relativeDifference));
}

/** Same nodes: names, operators and what they read and write, in any order. */
function sameNodes(a: Model, b: Model): boolean {
  const keys = (model: Model): string =>
    [...model.nodes()]
      .map((node) => JSON.stringify([node.name, node.domain, node.opType, node.inputs, node.outputs]))
      .sort()
      .join('\n');
  return keys(a) === keys(b);
}

/** The largest relative Frobenius error of a float initializer; Infinity where one is missing or has another shape. */
async function worstWeight(a: Model, b: Model): Promise<number> {
  let worst = 0;
  for (const [name, tensor] of a.graph.initializers) {
    if (!isFloatType(tensor.dataType)) continue;
    const other = b.graph.initializers.get(name);
    if (other === undefined || other.shape.join() !== tensor.shape.join()) return Number.POSITIVE_INFINITY;
    worst = Math.max(worst, relativeError(tensor, other));
  }
  // Weights that nodes make of constants.
  for (const node of a.graph.nodes) {
    if (!node.is('ConstantOfShape')) continue;
    const value = node.outputs[0] ?? '';
    if (b.graph.resolve(value) === undefined) return Number.POSITIVE_INFINITY;
    if (b.graph.producer(value) !== undefined) continue;
    worst = Math.max(
      worst,
      relativeError(await evaluateConstant(a.graph, value), await evaluateConstant(b.graph, value)),
    );
  }
  return worst;
}

function relativeError(a: Tensor, b: Tensor): number {
  const [left, right] = [a.floats(), b.floats()];
  let difference = 0;
  let square = 0;
  for (let i = 0; i < left.length; i += 1) {
    difference += ((left[i] as number) - (right[i] as number)) ** 2;
    square += (left[i] as number) ** 2;
  }
  return difference === 0 ? 0 : Math.sqrt(difference / square);
}

await main();
