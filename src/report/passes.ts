import type { CollapseAccount, CollapsedChain } from '../passes/collapse.js';
import type { ExpandAccount, ExpandedSite } from '../passes/expand.js';
import { type Column, type Document, grid, type Note } from './document.js';
import { leftNotes } from './skipped.js';
import { counted, formatCount } from './text.js';

export interface PassDocumentOptions {
  /** What the result was written to; undefined for a dry run. */
  readonly output?: string | undefined;
  /** List every node that was left alone by itself. */
  readonly verbose?: boolean;
}

interface Sized {
  readonly parametersBefore: number;
  readonly parametersAfter: number;
}

function parameterColumns<Row extends Sized>(): Column<Row>[] {
  return [
    {
      key: 'parametersBefore',
      header: 'params before',
      align: 'right',
      definition: 'elements of the weights, without biases',
      value: (row) => row.parametersBefore,
    },
    { key: 'parametersAfter', header: 'after', align: 'right', value: (row) => row.parametersAfter },
  ];
}

function sums(rows: readonly Sized[]): { before: number; after: number } {
  return {
    before: rows.reduce((sum, row) => sum + row.parametersBefore, 0),
    after: rows.reduce((sum, row) => sum + row.parametersAfter, 0),
  };
}

const EXPAND_COLUMNS: readonly Column<ExpandedSite>[] = [
  { key: 'node', header: 'node', shrink: 16, value: (row) => row.node },
  { key: 'op', header: 'op', priority: 2, value: (row) => row.op },
  { key: 'weight', header: 'weight', shrink: 12, priority: 5, value: (row) => row.weight },
  { key: 'rows', header: 'rows', only: 'data', value: (row) => row.rows },
  { key: 'columns', header: 'columns', only: 'data', value: (row) => row.columns },
  {
    key: 'matrix',
    header: 'matrix',
    align: 'right',
    only: 'text',
    definition: 'rows x columns of the weight as it is stored',
    value: (row) => `${row.rows} × ${row.columns}`,
  },
  {
    key: 'rank',
    header: 'rank',
    align: 'right',
    priority: 4,
    definition:
      "singular values above the rounding of the weight's type; of grouped weights, in the group that has most",
    value: (row) => row.rank,
  },
  { key: 'depth', header: 'layers', align: 'right', priority: 3, value: (row) => row.depth },
  {
    key: 'hidden',
    header: 'hidden',
    align: 'right',
    definition: 'units (channels) of each layer between the factors',
    value: (row) => row.hidden,
  },
  ...parameterColumns<ExpandedSite>(),
  { key: 'nodes', header: 'nodes', only: 'data', value: (row) => row.nodes.join(' ') },
];

/** What expand did, in all forms. */
export function expandDocument(account: ExpandAccount, options: PassDocumentOptions = {}): Document {
  const { rewritten, skipped } = account;
  const { before, after } = sums(rewritten);
  const layers = rewritten.reduce((sum, row) => sum + row.depth, 0);
  // A dry run knows no ranks.
  const isRanked = rewritten.some((row) => row.rank !== undefined);
  const columns = EXPAND_COLUMNS.map((column) =>
    column.key === 'rank' && !isRanked ? { ...column, only: 'data' as const } : column,
  );
  const what = options.output === undefined ? 'would become' : 'became';
  const conclusion =
    rewritten.length === 0
      ? 'Nothing to expand.'
      : `${counted(rewritten.length, 'layer')} ${what} ${formatCount(layers)}; their weights grow from ${formatCount(before)} to ${counted(after, 'parameter')} (${times(before, after)}).`;
  return {
    kind: 'expand',
    title: 'Expanded layers',
    data: {
      output: options.output ?? null,
      ...account,
      total: { parametersBefore: before, parametersAfter: after },
    },
    grids: [grid(columns, rewritten)],
    notes: [
      ...leftNotes(skipped, { verb: 'left as they are', each: options.verbose === true }),
      ...closing(conclusion, options),
    ],
  };
}

const COLLAPSE_COLUMNS: readonly Column<CollapsedChain>[] = [
  { key: 'node', header: 'node', shrink: 16, value: (row) => row.node },
  { key: 'op', header: 'op', priority: 1, value: (row) => row.op },
  {
    key: 'from',
    header: 'layers',
    align: 'right',
    value: (row) => row.from.join(' '),
    text: (row) => String(row.from.length),
  },
  {
    key: 'by',
    header: 'found by',
    priority: 3,
    definition: 'metadata: the note that expand left; structure: consecutive linear nodes, whoever made them',
    value: (row) => row.by,
  },
  ...parameterColumns<CollapsedChain>(),
];

/** What collapse did, in all forms. */
export function collapseDocument(account: CollapseAccount, options: PassDocumentOptions = {}): Document {
  const { rewritten, skipped } = account;
  const { before, after } = sums(rewritten);
  const layers = rewritten.reduce((sum, row) => sum + row.from.length, 0);
  const what = options.output === undefined ? 'would become' : 'became';
  const conclusion =
    rewritten.length === 0
      ? 'Nothing to collapse.'
      : `${counted(layers, 'layer')} ${what} ${formatCount(rewritten.length)}; their weights shrink from ${formatCount(before)} to ${counted(after, 'parameter')} (${times(before, after)}).`;
  return {
    kind: 'collapse',
    title: 'Collapsed chains',
    data: {
      output: options.output ?? null,
      ...account,
      total: { parametersBefore: before, parametersAfter: after },
    },
    grids: [grid(COLLAPSE_COLUMNS, rewritten)],
    notes: [
      ...leftNotes(skipped, { verb: 'left as they are', each: options.verbose === true }),
      ...closing(conclusion, options),
    ],
  };
}

function times(before: number, after: number): string {
  return before === 0 ? '–' : `×${(after / before).toPrecision(3)}`;
}

function closing(conclusion: string, { output }: PassDocumentOptions): Note[] {
  return [
    { text: conclusion },
    output === undefined
      ? { text: 'Dry run: nothing was written.', tone: 'aside' }
      : { text: `Written to ${output === '-' ? 'standard output' : output}.`, tone: 'good' },
  ];
}
