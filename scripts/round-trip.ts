/**
 * Expand and collapse on a trained model, by the commands a user would type: the first half of `npm run demo`.
 *
 * fixtures/shapes.onnx classifies ten drawn shapes (fixtures/README.md). Nothing is trained here: the steps show
 * that expanding and collapsing change what training would find, and not what the model computes.
 */
import { mkdirSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { findLinearSites } from '../src/entries/analysis.js';
import { type Model, rankReport, readModel, verifyModels } from '../src/index.js';
import { command, heading, OUT, ROOT, table } from './steps.js';

const DEPTH = 3;

async function summary(path: string, original: Model): Promise<string[]> {
  const model = await readModel(path);
  const { sites } = findLinearSites(model);
  const { outputs } = await verifyModels(original, model);
  const { total } = await rankReport(model);
  const difference = Math.max(...outputs.map((output) => output.relativeDifference));
  return [
    basename(path),
    String(model.graph.nodes.length),
    String(sites.length),
    total.parameters.toLocaleString('en'),
    `${(statSync(path).size / 1024).toFixed(0)} KiB`,
    difference === 0 ? 'identical' : difference.toExponential(1),
  ];
}

/** How often each operator stands in each model, as a graph viewer would show it. */
function operatorTable(models: readonly Model[]): void {
  const counts = models.map((model) => {
    const count = new Map<string, number>();
    for (const { opType } of model.graph.nodes) count.set(opType, (count.get(opType) ?? 0) + 1);
    return count;
  });
  const operators = [...new Set(counts.flatMap((count) => [...count.keys()]))].sort();
  table([
    ['nodes of each operator', 'original', 'expanded', 'collapsed'],
    ...operators.map((operator) => [operator, ...counts.map((count) => String(count.get(operator) ?? 0))]),
  ]);
}

const original = join(ROOT, 'fixtures/shapes.onnx');
const expanded = join(OUT, 'shapes-expanded.onnx');
const collapsed = join(OUT, 'shapes-collapsed.onnx');
mkdirSync(OUT, { recursive: true });

heading('1. The trained model: how much of its rank does each layer use?');
command('rank-report', original);
heading(`2. Expand: every linear layer becomes a chain of ${DEPTH}, computing the same function`);
command('expand', original, '-o', expanded, '--depth', String(DEPTH), '--overwrite');
heading('3. Verify: both models on the same random inputs');
command('verify', original, expanded, '--dim', 'batch=8');
heading('4. (Here the expanded model would be trained.) Collapse it');
command('collapse', expanded, '-o', collapsed, '--chains-only', '--overwrite');
heading('5. Verify again');
command('verify', original, collapsed, '--dim', 'batch=8');
heading('Before and after');
const model = await readModel(original);
table([
  ['model', 'nodes', 'linear layers', 'weights', 'file', 'output differs by'],
  await summary(original, model),
  await summary(expanded, model),
  await summary(collapsed, model),
]);
console.log();
operatorTable([model, await readModel(expanded), await readModel(collapsed)]);
console.log(`
The expanded model has ${DEPTH} times the linear layers and computes the same function: only what training finds changes. The
collapsed one is the original again, node for node and to float32 rounding. What training does to it comes now.`);
