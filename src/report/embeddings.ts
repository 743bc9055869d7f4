import { EMBEDDING_METRICS, type EmbeddingDescriptor } from '../analysis/embeddings/embedding-metrics.js';
import type { EmbeddingReport, EmbeddingRow } from '../analysis/embeddings/embeddings.js';
import type { RankReport, RankRow } from '../analysis/report/rank-report.js';
import { figureOf } from '../analysis/spectra/descriptors.js';
import { headingOf } from './rank/rank-columns.js';
import { leftNotes } from './skipped.js';
import { type Cell, type Column, type Grid, grid, type Note } from './text/document.js';
import { counted, formatCount, formatNumber } from './text/text.js';

/** Fewer samples than this a class say little of the spread within it. */
const FEW = 5;

/** What a table shows of the embeddings of a model; beside each, how far its weight is from the rank of the classes. */
export function embeddingGrid(report: RankReport): Grid | undefined {
  const { embeddings } = report;
  if (embeddings === undefined) return undefined;
  const columns: Column<EmbeddingRow>[] = [
    ...identityColumns(embeddings),
    ...metricsOf(embeddings).map((metric) => metricColumn(metric)),
    ...distanceColumns(report),
    { key: 'problem', header: 'problem', only: 'data', value: (row) => row.problem },
  ];
  return grid(columns, embeddings.rows, { title: embeddingTitle(embeddings) });
}

export function embeddingTitle({ of, samples, isRandom, classes }: EmbeddingReport): string {
  const what = of === 'chosen' ? 'Embeddings' : `Embeddings: ${of} of the layers`;
  const from = isRandom
    ? 'of random inputs'
    : classes === undefined
      ? 'without labels'
      : `of ${classes} classes`;
  return `${what}, ${counted(samples, 'sample')} ${from}`;
}

/** Without labels, the figures of classes are none. */
export function metricsOf({ classes }: EmbeddingReport): readonly EmbeddingDescriptor[] {
  return EMBEDDING_METRICS.filter(({ ofClasses }) => !ofClasses || classes !== undefined);
}

/** What a person knows an embedding by. */
export function embeddingName({ nodes, value }: EmbeddingRow): string {
  const [first] = nodes;
  return first === undefined ? value : `${first}${nodes.length > 1 ? ` +${nodes.length - 1}` : ''}`;
}

function identityColumns({ of }: EmbeddingReport): Column<EmbeddingRow>[] {
  return [
    {
      key: 'node',
      header: of === 'inputs' ? 'what is read by' : 'node',
      shrink: 20,
      value: (row) => row.nodes.join(' '),
      text: embeddingName,
    },
    { key: 'value', header: 'value', priority: 9, shrink: 16, value: (row) => row.value },
    { key: 'op', header: 'op', priority: 6, value: (row) => row.ops.join(' ') },
    { key: 'weights', header: 'weights', only: 'data', value: (row) => row.weights.join(' ') },
    { key: 'shape', header: 'shape', only: 'data', value: (row) => row.shape.join('x') },
    {
      key: 'features',
      header: 'features',
      align: 'right',
      priority: 2,
      definition: 'd: elements of the value of one sample',
      value: (row) => row.features,
      text: (row) => (row.features === 0 ? '–' : formatCount(row.features)),
    },
  ];
}

function metricColumn(descriptor: EmbeddingDescriptor): Column<EmbeddingRow> {
  const { key, format } = descriptor;
  return {
    ...headingOf(descriptor),
    value: (row) => row.metrics?.[key],
    text: (row) => formatNumber(row.metrics?.[key], format),
  };
}

/** The weights' distance to the nearest matrix of the rank that the report was asked for. */
function distanceColumns({ rank, rows }: RankReport): Column<EmbeddingRow>[] {
  if (rank === undefined) return [];
  const byName = new Map(rows.map((row) => [row.weight, row]));
  return [
    {
      key: 'weightRankDistance',
      ...rankDistanceHeader(rank),
      align: 'right',
      priority: 1,
      value: (row) => weightDistance(row, byName),
      text: (row) => formatNumber(weightDistance(row, byName), 'percent'),
    },
  ];
}

/** For CSV: beside each weight the embeddings of its node. */
export function embeddingDataColumns({ embeddings }: RankReport): Column<RankRow>[] {
  if (embeddings === undefined) return [];
  const byWeight = new Map<string, EmbeddingRow>();
  // A weight of several nodes has the embeddings of the first.
  for (const row of embeddings.rows.toReversed()) for (const name of row.weights) byWeight.set(name, row);
  const column = (key: string, value: (row: EmbeddingRow) => Cell['value']): Column<RankRow> => ({
    key,
    header: key,
    only: 'data',
    value: ({ weight }) => {
      const row = byWeight.get(weight);
      return row && value(row);
    },
  });
  return [
    column('embedding', (row) => row.value),
    column('features', (row) => row.features),
    ...metricsOf(embeddings).map(({ key }) => column(key, (row) => row.metrics?.[key])),
    column('embeddingProblem', (row) => row.problem),
  ];
}

/** How the column of weightDistance is called. */
export function rankDistanceHeader(rank: number): { header: string; definition: string; source: string } {
  return {
    header: `‖W-W${subscript(rank)}‖/‖W‖`,
    definition: `||W - W_r||_F / ||W||_F of its weight, W_r the nearest matrix of rank r = ${rank}; of several weights, the largest`,
    source: 'Zangrando et al., Neural Rank Collapse, arXiv 2402.03991',
  };
}

/** Of the weights of an embedding, the largest distance to the rank that the report was asked for. */
export function weightDistance(
  { weights }: EmbeddingRow,
  rows: ReadonlyMap<string, RankRow>,
): number | undefined {
  const found = weights.flatMap((name) => {
    const row = rows.get(name);
    return (row && figureOf(row, 'rankDistance')) ?? [];
  });
  return found.length === 0 ? undefined : Math.max(...found);
}

function subscript(value: number): string {
  return [...String(value)].map((digit) => String.fromCodePoint(0x2080 + Number(digit))).join('');
}

export function embeddingNotes(
  { embeddings }: RankReport,
  options: { readonly verbose?: boolean | undefined },
): Note[] {
  if (embeddings === undefined) return [];
  const { rows, fewest, classes, samples } = embeddings;
  const notes: Note[] = [];
  if (classes !== undefined && fewest !== undefined && fewest < FEW) {
    notes.push({
      text: `The smallest of ${classes} classes has ${counted(fewest, 'sample')} of ${formatCount(samples)}: little to tell its spread from; a greater \`samples\` takes more.`,
      tone: 'warning',
    });
  }
  const without = rows.flatMap((row) =>
    row.problem === undefined
      ? []
      : [{ node: embeddingName(row), op: row.ops.join(', '), reason: row.problem }],
  );
  const left = leftNotes([...without, ...embeddings.notLookedAt], {
    verb: 'without an embedding',
    each: options.verbose === true,
  });
  return [...notes, ...left];
}

/** Embeddings for JSON: figures that do not exist are null. */
export function embeddingsJson({ embeddings }: RankReport): Record<string, unknown> {
  if (embeddings === undefined) return {};
  const { rows, classes, fewest, ...rest } = embeddings;
  return {
    embeddings: {
      ...rest,
      classes: classes ?? null,
      fewest: fewest ?? null,
      metrics: metricsOf(embeddings).map(({ key, header, unit, definition, source }) => {
        return { key, header, unit, definition, source };
      }),
      values: rows.map(({ metrics, problem, ...row }) => ({
        ...row,
        metrics:
          metrics === undefined
            ? null
            : Object.fromEntries(metricsOf(embeddings).map(({ key }) => [key, metrics[key] ?? null])),
        problem: problem ?? null,
      })),
    },
  };
}
