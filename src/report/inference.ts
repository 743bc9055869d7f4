import { isFloatType } from '../graph/index.js';
import type { ProviderFailure } from '../runtime/providers/provider-failure.js';
import type { BenchReport, BenchRow } from '../runtime/session/bench.js';
import { countOperators, type PlacedNode, type Placement } from '../runtime/session/placement.js';
import type { ModelRun } from '../runtime/session/run-model.js';
import { summarize, type TensorSummary, type TopEntry, topK } from '../runtime/session/summary.js';
import type { RuntimeTensor } from '../runtime/types.js';
import { type Column, type Document, grid, type Note } from './text/document.js';
import { counted, formatCount, formatSignificant } from './text/text.js';

/** Options of runDocument. */
export interface RunDocumentOptions {
  /** Name of the model, for the title. */
  readonly model: string;
  /** How many of the largest elements to list of each row; default none. */
  readonly top?: number | undefined;
  /** Names of the classes: elements along the last axis of an output. */
  readonly labels?: readonly string[] | undefined;
  /** Where the outputs were written. */
  readonly output?: string | undefined;
  /** What was done to the inputs. */
  readonly notes?: readonly string[] | undefined;
  /** List every node that fell to the CPU by its name. */
  readonly verbose?: boolean | undefined;
}

interface OutputRow extends TensorSummary {
  readonly name: string;
  readonly tensor: RuntimeTensor;
}

const OUTPUT_COLUMNS: readonly Column<OutputRow>[] = [
  { key: 'output', header: 'output', shrink: 12, value: (row) => row.name },
  { key: 'type', header: 'type', value: (row) => row.tensor.type },
  {
    key: 'shape',
    header: 'shape',
    value: (row) => row.tensor.shape.join('x'),
    text: (row) => `[${row.tensor.shape.join(', ')}]`,
  },
  { key: 'elements', header: 'elements', only: 'data', value: (row) => row.elements },
  figureColumn('min', 1, 'the smallest finite element'),
  figureColumn('max', 1, 'the largest finite element'),
  figureColumn('mean', 2, 'over the finite elements'),
  {
    key: 'nonFinite',
    header: 'NaN or ∞',
    align: 'right',
    value: (row) => row.nonFinite,
  },
  {
    key: 'first',
    header: 'first elements',
    priority: 4,
    value: (row) => firstElements(row.tensor),
  },
];

function figureColumn(key: 'min' | 'max' | 'mean', priority: number, definition: string): Column<OutputRow> {
  return {
    key,
    header: key,
    align: 'right',
    priority,
    definition,
    value: (row) => (typeof row[key] === 'bigint' ? String(row[key]) : row[key]),
    text: (row) => figure(row[key], key !== 'mean' && !isFloatType(row.tensor.type)),
  };
}

/** Three digits of a float; all of an integer. */
function figure(value: number | bigint | undefined, isWhole = false): string {
  if (value === undefined) return '–';
  if (typeof value === 'bigint') return value.toLocaleString('en-US');
  return isWhole ? formatCount(value) : formatSignificant(value);
}

/** NaN and infinities are shown where there are any. */
function outputColumns(rows: readonly OutputRow[]): Column<OutputRow>[] {
  const areFinite = rows.every(({ nonFinite }) => nonFinite === 0);
  return OUTPUT_COLUMNS.map((column) =>
    column.key === 'nonFinite' && areFinite ? { ...column, only: 'data' as const } : column,
  );
}

const SHOWN = 4;

function firstElements(tensor: RuntimeTensor): string {
  const { type, data } = tensor;
  if (type === 'string')
    return more(
      Array.from((data as string[]).slice(0, SHOWN), (text) => `'${text}'`),
      data.length,
    );
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) {
    return more(
      Array.from(data.slice(0, SHOWN), (value) => figure(value)),
      data.length,
    );
  }
  const part = { type, shape: [Math.min(SHOWN, data.length)], data: data.slice(0, SHOWN) } as RuntimeTensor;
  const entries = part.data.length === 0 ? [] : topK(part, SHOWN).sort((a, b) => a.index - b.index);
  const texts = entries.map(({ value }) => {
    if (type === 'bool') return String(value === 1);
    return Number.isFinite(value) ? figure(value, !isFloatType(type)) : String(value);
  });
  return more(texts, data.length);
}

function more(texts: readonly string[], total: number): string {
  return total > texts.length ? `${texts.join(', ')}, …` : texts.join(', ');
}

interface TopRow extends TopEntry {
  readonly output: string;
  readonly label: string | undefined;
}

const MOST_ROWS = 16;

/**
 * One run of a model in all forms.
 *
 * @example
 * const run = await runModel(model, randomInputs(model));
 * console.log(render(runDocument(run, { model: 'model.onnx', top: 5 })));
 */
export function runDocument(run: ModelRun, options: RunDocumentOptions): Document {
  const { outputs, providers, passedOver, placement, fallen, loadTime, runTime } = run;
  const rows = Object.entries(outputs).map(([name, tensor]) => ({ name, tensor, ...summarize(tensor) }));
  const { top: best, left } = topRows(outputs, options);
  const isShared = new Set(best.map(({ output }) => output)).size > 1;
  const isBatch = best.some(({ row }) => row > 0);
  const topColumns: Column<TopRow>[] = [
    ...(isShared ? [{ key: 'output', header: 'output', value: (row: TopRow) => row.output }] : []),
    ...(isBatch
      ? [{ key: 'row', header: 'row', align: 'right' as const, value: (row: TopRow) => row.row }]
      : []),
    { key: 'index', header: 'class', align: 'right', value: (row) => row.index },
    ...(options.labels === undefined
      ? []
      : [{ key: 'label', header: 'label', shrink: 16, value: (row: TopRow) => row.label }]),
    {
      key: 'value',
      header: 'value',
      align: 'right',
      value: (row) => row.value,
      text: (row) => figure(row.value),
    },
    ...(best.some(({ softmax }) => softmax !== undefined)
      ? [
          {
            key: 'softmax',
            header: 'softmax',
            align: 'right' as const,
            definition: 'exp(value) over the sum of exp along the row',
            value: (row: TopRow) => row.softmax,
            text: (row: TopRow) => (row.softmax === undefined ? '–' : `${(100 * row.softmax).toFixed(1)}%`),
          },
        ]
      : []),
  ];
  const aside = (text: string): Note => ({ text, tone: 'aside' });
  return {
    kind: 'run',
    title: `${options.model} on ${providers.join(', ')}`,
    data: {
      model: options.model,
      providers,
      passedOver,
      ...(run.widened && { widened: true }),
      nodes: placement.nodes.length,
      uses: placement.uses,
      copies: placement.copies,
      ...(placement.problem !== undefined && { placementProblem: placement.problem }),
      fallen: fallen.map(({ name, op }) => ({ name, op })),
      loadTime,
      runTime,
      outputs: rows.map(({ name, tensor, min, max, ...summary }) => ({
        name,
        type: tensor.type,
        shape: tensor.shape,
        ...summary,
        // JSON has no integers of 64 bits.
        min: typeof min === 'bigint' ? String(min) : min,
        max: typeof max === 'bigint' ? String(max) : max,
      })),
      ...(best.length > 0 && { top: best }),
      output: options.output ?? null,
    },
    grids: [
      grid(outputColumns(rows), rows),
      ...(best.length > 0 ? [grid(topColumns, best.slice(0, MOST_ROWS * (options.top ?? 1)))] : []),
    ],
    notes: [
      ...(left > 0 ? [aside(`${counted(left, 'more row')} with \`format: 'json'\`.`)] : []),
      ...passedOverNotes(passedOver),
      ...(run.widened ? [aside(WIDENED)] : []),
      ...placementNotes(placement, fallen, providers, options.verbose === true),
      ...(placement.copies > 0
        ? [aside(`${counted(placement.copies, 'copy', 'copies')} between the memories of the providers.`)]
        : []),
      ...(options.notes ?? []).map((text): Note => ({ text, tone: 'warning' })),
      aside(`Loaded in ${milliseconds(loadTime)}, ran in ${milliseconds(runTime)}, for the first time.`),
      ...(options.output === undefined
        ? []
        : [
            {
              text: `Written to ${options.output === '-' ? 'standard output' : options.output}.`,
              tone: 'good' as const,
            },
          ]),
    ],
  };
}

function topRows(
  outputs: Readonly<Record<string, RuntimeTensor>>,
  { top, labels }: RunDocumentOptions,
): { top: TopRow[]; left: number } {
  if (top === undefined) return { top: [], left: 0 };
  const rows: TopRow[] = [];
  let left = 0;
  for (const [output, tensor] of Object.entries(outputs)) {
    if (!ranksClasses(tensor, labels)) continue;
    const entries = topK(tensor, top);
    left += Math.max(0, (entries.at(-1)?.row ?? 0) + 1 - MOST_ROWS);
    rows.push(...entries.map((entry) => ({ ...entry, output, label: labels?.[entry.index] })));
  }
  return { top: rows, left };
}

/** Whether the last axis of an output looks as if it counted classes. */
export function ranksClasses(tensor: RuntimeTensor, labels: readonly string[] | undefined): boolean {
  const size = tensor.shape.at(-1);
  if (tensor.type === 'string' || size === undefined || size === 0) return false;
  return labels === undefined ? size > 1 : size === labels.length;
}

/** What 'auto' did not take, and why. */
/** That numbers are those of another type. */
export const WIDENED = 'bfloat16 was computed in float32: the provider has no kernels for it.';

function passedOverNotes(passedOver: readonly ProviderFailure[]): Note[] {
  return passedOver.map(({ provider, reason }) => ({
    text: `${provider} was passed over: ${reason}`,
    tone: 'aside',
  }));
}

/** Who ran how many nodes, and what fell to the CPU. */
export function placementNotes(
  { uses, problem }: Pick<Placement, 'uses' | 'problem'>,
  fallen: readonly PlacedNode[],
  providers: readonly string[],
  verbose = false,
): Note[] {
  if (problem !== undefined) {
    const where = providers.join() === 'cpu' ? 'Ran on the CPU' : `Ran on ${providers.join(', ')}`;
    return [{ text: `${where}; which nodes ran is not listed: ${problem}.`, tone: 'aside' }];
  }
  const total = uses.reduce((sum, { nodes }) => sum + nodes, 0);
  const who = uses.map(({ provider, nodes }) => `${provider} ${formatCount(nodes)}`);
  const text =
    uses.length === 1
      ? `${uses[0]?.provider} ran ${total === 1 ? 'the only node' : `all ${formatCount(total)} nodes`}.`
      : `${counted(total, 'node')}: ${who.join(', ')}.`;
  if (fallen.length === 0) return [{ text, tone: uses.length === 0 ? 'warning' : 'good' }];
  const operators = Object.entries(countOperators(fallen)).map(([op, count]) => `${count} ${op}`);
  return [
    {
      text: `${text} ${counted(fallen.length, 'node')} fell to the CPU, for ${providers.join(', ')} has no kernel: ${operators.join(', ')}.`,
      tone: 'warning',
    },
    ...(verbose ? fallen.map(({ op, name }): Note => ({ text: `  ${op} ${name}` })) : []),
  ];
}

function milliseconds(time: number): string {
  return time >= 10_000 ? `${(time / 1000).toFixed(1)} s` : `${formatSignificant(time)} ms`;
}

function timeColumn(
  key: 'loadTime' | 'firstTime' | 'p50' | 'p90' | 'p99' | 'mean' | 'least',
  header: string,
  priority: number,
  definition: string,
  only?: 'data',
): Column<BenchRow> {
  return {
    key,
    header,
    align: 'right',
    priority,
    definition,
    unit: 'ms',
    value: (row) => row[key],
    text: (row) => formatSignificant(row[key]),
    ...(only !== undefined && { only }),
  };
}

function benchColumns(rows: readonly BenchRow[]): Column<BenchRow>[] {
  const hasMany = (key: 'model' | 'provider'): boolean => new Set(rows.map((row) => row[key])).size > 1;
  return [
    { key: 'model', header: 'model', shrink: 14, value: (row) => row.model },
    { key: 'provider', header: 'on', value: (row) => row.provider },
    {
      key: 'batch',
      header: 'batch',
      align: 'right',
      priority: 1,
      definition: 'samples a run takes; – where the model fixes it',
      value: (row) => row.batch,
      text: (row) => (row.batch === undefined ? '–' : formatCount(row.batch)),
    },
    timeColumn('p50', 'p50 ms', 0, 'the median of the timed runs: half were faster'),
    timeColumn('p90', 'p90', 4, '90 % of the timed runs were faster'),
    timeColumn('p99', 'p99', 3, '99 % of the timed runs were faster'),
    timeColumn('mean', 'mean', 0, '', 'data'),
    timeColumn('least', 'least', 0, '', 'data'),
    {
      key: 'throughput',
      header: 'samples/s',
      align: 'right',
      priority: 2,
      definition: 'batch over the mean time of a run',
      value: (row) => row.throughput,
      text: (row) => formatSignificant(row.throughput),
    },
    {
      key: 'ratio',
      header: 'ratio',
      align: 'right',
      definition: 'time over that of the first model in the same turn, the median over the turns',
      value: (row) => row.ratio,
      text: (row) => row.ratio.toFixed(2),
      ...(!hasMany('model') && { only: 'data' as const }),
    },
    timeColumn('firstTime', 'first', 5, 'the first run in ms, which compiles shaders and allocates memory'),
    timeColumn('loadTime', 'load', 6, 'to read and optimize the model, in ms'),
    {
      key: 'memory',
      header: 'MB',
      align: 'right',
      priority: 7,
      unit: 'B',
      definition:
        'by how much the memory of the process grew while it was loaded and warmed up; not that on a GPU',
      value: (row) => row.memory,
      text: (row) => formatCount(Math.round(row.memory / 1e6)),
    },
    {
      key: 'gpuMemory',
      header: 'GPU MB',
      align: 'right',
      priority: 7,
      unit: 'B',
      definition: 'by how much the memory in use on the GPU grew meanwhile, of all processes (nvidia-smi)',
      value: (row) => row.gpuMemory,
      text: (row) => (row.gpuMemory === undefined ? '–' : formatCount(Math.round(row.gpuMemory / 1e6))),
      ...(rows.every((row) => row.gpuMemory === undefined) && { only: 'data' as const }),
    },
    { key: 'bound', header: 'bound', only: 'data', value: (row) => row.bound },
    {
      key: 'nodes',
      header: 'nodes',
      priority: 8,
      definition: 'who ran how many nodes of the optimized graph',
      value: (row) => row.uses.map(({ provider, nodes }) => `${provider} ${nodes}`).join(' '),
      text: (row) => row.uses.map(({ provider, nodes }) => `${provider} ${nodes}`).join(', '),
    },
  ];
}

/**
 * A benchmark in all forms.
 *
 * @example
 * const report = await benchModels([{ name: 'a', model: a }, { name: 'b', model: b }]);
 * console.log(render(benchDocument(report)));
 */
export function benchDocument(report: BenchReport, more: readonly string[] = []): Document {
  const { rows, runs, warmup, passedOver } = report;
  const notes: Note[] = [...passedOverNotes(passedOver), ...more.map((text): Note => ({ text }))];
  const seen = new Set<string>();
  for (const { model, provider, fallen, uses } of rows) {
    if (fallen === 0 || seen.has(`${model} ${provider}`)) continue;
    seen.add(`${model} ${provider}`);
    const total = uses.reduce((sum, { nodes }) => sum + nodes, 0);
    notes.push({
      text: `${model}: ${formatCount(fallen)} of ${counted(total, 'node')} fell from ${provider} to the CPU.`,
      tone: 'warning',
    });
  }
  const turns = new Set(rows.map(({ model }) => model)).size > 1 ? ', the models taking turns' : '';
  notes.push({
    text: `${counted(runs, 'run')} each after a first one and ${formatCount(warmup)} to warm up${turns}; times in ms.`,
    tone: 'aside',
  });
  const bound = [...new Set(rows.filter((row) => row.bound).map(({ provider }) => provider))];
  if (bound.length > 0) {
    notes.push({
      text: `On ${bound.join(', ')}, inputs and outputs stayed in the memory of the device; a run is waited for.`,
      tone: 'aside',
    });
  }
  return {
    kind: 'bench',
    title: 'Inference',
    data: { runs, warmup, passedOver, rows },
    grids: [grid(benchColumns(rows), rows)],
    notes,
  };
}
