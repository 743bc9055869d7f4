import type { CollapseAccount, CollapsedChain } from '../passes/collapse/collapse.js';
import type { ExpandAccount, ExpandedSite } from '../passes/expand/account.js';
import { leftNotes } from './skipped.js';
import { type Column, type Document, grid, type Note } from './text/document.js';
import { counted, formatCount } from './text/text.js';

/** Options of expandDocument and collapseDocument. */
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

function parameterColumns<Row extends Sized>(
  definition = 'elements of the weights, without biases',
): Column<Row>[] {
  return [
    {
      key: 'parametersBefore',
      header: 'params before',
      align: 'right',
      definition,
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
  { key: 'init', header: 'init', priority: 1, value: (row) => row.init },
  {
    key: 'residuals',
    header: 'residuals',
    align: 'right',
    definition: 'residual connections within the chain',
    value: (row) => row.residuals,
  },
  {
    key: 'norms',
    header: 'norms',
    align: 'right',
    definition: 'BatchNormalizations within the chain',
    value: (row) => row.norms,
  },
  { key: 'without', header: 'without', only: 'data', value: (row) => row.without.join('; ') },
  {
    key: 'error',
    header: 'error',
    align: 'right',
    definition: '‖W - product‖F / ‖W‖F, of a width below the rank',
    value: (row) => row.error,
    text: (row) => (row.error === undefined ? '' : `${(100 * row.error).toPrecision(3)}%`),
  },
  {
    key: 'largestError',
    header: 'largest error',
    only: 'data',
    definition:
      'largest ‖w - p‖ / ‖w‖ of a row or column w of the weight and p of the product of its factors as they are stored',
    value: (row) => row.largestError,
  },
  { key: 'isPreserved', header: 'same function', only: 'data', value: (row) => String(row.isPreserved) },
  ...parameterColumns<ExpandedSite>(),
  { key: 'nodes', header: 'nodes', only: 'data', value: (row) => row.nodes.join(' ') },
];

/**
 * What expand did, in all forms.
 *
 * @example
 * const [account] = await model.apply(expand({ depth: 3 }));
 * console.log(render(expandDocument(account)));
 */
export function expandDocument(account: ExpandAccount, options: PassDocumentOptions = {}): Document {
  const { rewritten, skipped, unmatched } = account;
  const { before, after } = sums(rewritten);
  const layers = rewritten.reduce((sum, row) => sum + row.depth, 0);
  // A dry run knows no ranks.
  const isRanked = rewritten.some((row) => row.rank !== undefined);
  const isShown: Readonly<Record<string, boolean>> = {
    rank: isRanked,
    init: new Set(rewritten.map((row) => row.init)).size > 1,
    error: rewritten.some((row) => row.error !== undefined),
    residuals: rewritten.some((row) => row.residuals > 0),
    norms: rewritten.some((row) => row.norms > 0),
  };
  const columns = shown(EXPAND_COLUMNS, isShown);
  const what = options.output === undefined ? 'would become' : 'became';
  const conclusion =
    rewritten.length === 0
      ? 'Nothing to expand.'
      : `${counted(rewritten.length, 'layer')} ${what} ${formatCount(layers)}; their weights ${after < before ? 'shrink' : 'grow'} from ${formatCount(before)} to ${counted(after, 'parameter')} (${times(before, after)}).`;
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
      ...leftNotes(skipped, { verb: 'skipped', each: options.verbose === true }),
      ...leftNotes(
        rewritten.flatMap(({ node, op, without }) => without.map((reason) => ({ node, op, reason }))),
        {
          verb: 'expanded without a part of what was asked for',
          each: options.verbose === true,
          count: rewritten.filter(({ without }) => without.length > 0).length,
        },
      ),
      ...unmatched.map((pattern) => ({ text: `No node matches '${pattern}'.`, tone: 'warning' as const })),
      ...changedNotes(rewritten),
      ...errorNotes(rewritten),
      ...largeNotes(rewritten),
      ...inlinedNotes(account, options),
      ...closing(conclusion, options),
    ],
  };
}

/** Calls of functions that gave way to their nodes. */
function inlinedNotes(
  { inlined }: { readonly inlined: readonly string[] },
  options: PassDocumentOptions,
): Note[] {
  if (inlined.length === 0) return [];
  const names = [...new Set(inlined)];
  const list = names.slice(0, 3).map((name) => `'${name}'`);
  const what = `${counted(inlined.length, 'call')} of the model's own functions: ${list.join(', ')}${names.length > 3 ? ' …' : ''}`;
  return [{ text: options.output === undefined ? `Would inline ${what}` : `Inlined ${what}`, tone: 'aside' }];
}

/** Times its parameters that a chain may have before it is pointed out. */
const LARGE = 10;

/** The layer that most of the new parameters are in, where it grew out of proportion: a head of many classes, say. */
function largeNotes(rewritten: readonly ExpandedSite[]): Note[] {
  const { before, after } = sums(rewritten);
  const large = rewritten.find((row) => 2 * (row.parametersAfter - row.parametersBefore) > after - before);
  if (rewritten.length < 2 || large === undefined) return [];
  const { node, parametersBefore, parametersAfter, hidden } = large;
  if (parametersAfter < LARGE * parametersBefore) return [];
  return [
    {
      text: `'${node}' alone grows ${times(parametersBefore, parametersAfter)}, with ${formatCount(hidden)} hidden units: \`exclude\` it, or give it a smaller width in a recipe.`,
      tone: 'aside',
    },
  ];
}

/** What no longer computes the same, and why. */
function changedNotes(rewritten: readonly ExpandedSite[]): Note[] {
  const fresh = rewritten.filter((row) => row.init.startsWith('fresh:'));
  const lossy = rewritten.filter((row) => row.error !== undefined);
  const noisy = rewritten.filter((row) => !row.isPreserved && !fresh.includes(row) && !lossy.includes(row));
  const notes: Note[] = [];
  const add = (rows: readonly ExpandedSite[], what: string): void => {
    if (rows.length > 0)
      notes.push({
        text: `Not the same function: ${counted(rows.length, 'layer')} ${what}.`,
        tone: 'warning',
      });
  };
  add(fresh, 'from random weights, to be trained from scratch (biases and normalizations are kept)');
  const worst = Math.max(0, ...lossy.map((row) => row.error ?? 0));
  add(
    lossy,
    `of less than its rank, with an error of up to ${(100 * worst).toPrecision(3)}% of the weight's norm`,
  );
  add(noisy, 'with noise');
  return notes;
}

/** How far the products are from the weights that they stand for. */
function errorNotes(rewritten: readonly ExpandedSite[]): Note[] {
  let worst: { readonly node: string; readonly error: number } | undefined;
  for (const { node, isPreserved, largestError: error } of rewritten)
    if (isPreserved && error !== undefined && error > (worst?.error ?? -1)) worst = { node, error };
  if (worst === undefined) return [];
  const { node, error } = worst;
  const text =
    error === 0
      ? 'The products of the factors are the weights, without an error.'
      : `Largest error of a product of factors: ${error.toExponential(0)} of a row or column of the weight ('${node}').`;
  return [{ text, tone: 'aside' }];
}

const COLLAPSE_COLUMNS: readonly Column<CollapsedChain>[] = [
  { key: 'node', header: 'node', shrink: 16, value: (row) => row.node },
  { key: 'op', header: 'op', priority: 1, value: (row) => row.op, text: (row) => row.op || 'removed' },
  {
    key: 'from',
    header: 'nodes',
    align: 'right',
    definition: 'how many nodes it was made of',
    value: (row) => row.from.join(' '),
    text: (row) => String(row.from.length),
  },
  {
    key: 'by',
    header: 'found by',
    priority: 3,
    definition:
      'metadata: the note that expand left; structure: consecutive linear nodes, whoever made them; region: nodes that are affine together, chains among them too',
    value: (row) => row.by,
  },
  ...parameterColumns<CollapsedChain>('elements of all constants: weights, biases, statistics'),
  {
    key: 'multiplyAddsBefore',
    header: 'multiply-adds before',
    align: 'right',
    priority: 4,
    definition: 'multiply-adds for one position of the output (for one row, of matrices)',
    value: (row) => row.multiplyAddsBefore,
  },
  {
    key: 'multiplyAddsAfter',
    header: 'after',
    align: 'right',
    priority: 4,
    value: (row) => row.multiplyAddsAfter,
  },
  {
    key: 'probe',
    header: 'probe',
    align: 'right',
    definition: 'largest relative difference of the nodes and what they became, on a random input',
    value: (row) => row.probe,
    text: (row) => (row.probe === undefined ? '' : row.probe.toExponential(1)),
  },
];

/**
 * What collapse did, in all forms.
 *
 * @example
 * const [account] = await model.apply(collapse());
 * console.log(render(collapseDocument(account)));
 */
export function collapseDocument(account: CollapseAccount, options: PassDocumentOptions = {}): Document {
  const { rewritten, skipped } = account;
  const { before, after } = sums(rewritten);
  const nodes = rewritten.reduce((sum, row) => sum + row.from.length, 0);
  const nodesAfter = rewritten.reduce((sum, row) => sum + row.nodesAfter, 0);
  const what = options.output === undefined ? 'would become' : 'became';
  const size =
    after === 0 && before === 0
      ? 'they have no parameters'
      : after === before
        ? `they keep their ${counted(after, 'parameter')}`
        : `their constants ${after > before ? 'grow' : 'shrink'} from ${formatCount(before)} to ${counted(after, 'parameter')} (${times(before, after)})`;
  const conclusion =
    rewritten.length === 0
      ? nothingFolded(account, options)
      : `${counted(nodes, 'node')} ${what} ${formatCount(nodesAfter)}; ${size}.`;
  const isExplained = rewritten.some((row) => row.probe !== undefined || row.unprobed !== undefined);
  const columns = shown(COLLAPSE_COLUMNS, {
    probe: isExplained,
    multiplyAddsBefore: isExplained,
    multiplyAddsAfter: isExplained,
  });
  return {
    kind: 'collapse',
    title: 'Collapsed layers',
    data: {
      output: options.output ?? null,
      ...account,
      total: { nodesBefore: nodes, nodesAfter, parametersBefore: before, parametersAfter: after },
    },
    grids: [grid(columns, rewritten)],
    notes: [
      ...(isExplained ? rewritten.map(explained) : []),
      ...unprobedNotes(rewritten),
      ...trainingNotes(rewritten),
      ...leftNotes(skipped, { verb: 'skipped', each: options.verbose === true }),
      ...inlinedNotes(account, options),
      ...closing(conclusion, options),
      ...aheadNotes(account, options),
    ],
  };
}

/** Said of a model that comes out as it went in: a pipeline goes on with it, and its user is to know. */
function nothingFolded({ skipped }: CollapseAccount, { output }: PassDocumentOptions): string {
  const [first, ...others] = skipped;
  const more = others.length === 0 ? '' : ` (and ${counted(others.length, 'more reason')})`;
  const why =
    first === undefined
      ? 'No neighbouring nodes are together one affine map'
      : `Not folded: ${first.reason}${more}`;
  return `Nothing to collapse. ${why}.${output === undefined ? '' : ' The output is the model unchanged.'}`;
}

/** A dry run that matches alone does not see what chains become. */
function aheadNotes({ rewritten }: CollapseAccount, { output, verbose }: PassDocumentOptions): Note[] {
  if (output !== undefined || verbose || !rewritten.some(({ by }) => by !== 'region')) return [];
  const text = 'What chains become may fold on with their neighbours; `explain: true` folds them to tell.';
  return [{ text, tone: 'aside' }];
}

/** What a node was made of, by operator and name. */
function explained({ node, op, from, fromOps }: CollapsedChain): Note {
  const parts = from.map((name, i) => `${fromOps[i] ?? ''} ${name}`);
  return { text: `${node}: ${parts.join(', ')} → ${op || 'nothing: it is the identity'}` };
}

function unprobedNotes(rewritten: readonly CollapsedChain[]): Note[] {
  return rewritten.flatMap(({ node, unprobed }) =>
    unprobed === undefined
      ? []
      : [{ text: `${node}: its probe could not be run (${unprobed}).`, tone: 'warning' as const }],
  );
}

function trainingNotes(rewritten: readonly CollapsedChain[]): Note[] {
  const count = rewritten.filter((row) => row.usesRunningStatistics).length;
  if (count === 0) return [];
  const text = `In ${counted(count, 'region')} a BatchNormalization in training mode became a constant, by its running statistics.`;
  return [{ text, tone: 'warning' }];
}

/** Columns that no text shows, where they are false by their key. */
function shown<Row>(
  columns: readonly Column<Row>[],
  isShown: Readonly<Record<string, boolean>>,
): Column<Row>[] {
  return columns.map((column) => (isShown[column.key] === false ? { ...column, only: 'data' } : column));
}

function times(before: number, after: number): string {
  return before === 0 ? '–' : `×${(after / before).toPrecision(3)}`;
}

function closing(conclusion: string, { output }: PassDocumentOptions): Note[] {
  return [{ text: conclusion }, ...writtenNotes(output)];
}

/** Where a model went. */
export function writtenNotes(output: string | undefined): Note[] {
  return [
    output === undefined
      ? { text: 'Dry run: nothing was written.', tone: 'aside' }
      : { text: `Written to ${output === '-' ? 'standard output' : output}.`, tone: 'good' },
  ];
}
