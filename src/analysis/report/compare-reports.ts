import { ALL_METRICS, figureOf } from '../spectra/descriptors.js';
import type { BasicMetricKey, MetricKey } from '../spectra/metrics.js';
import { type RankReport, type RankRow, type RankTotal, rankTotal } from './rank-report.js';

/** One weight in two reports. */
export interface RankChange {
  readonly weight: string;
  readonly a: RankRow;
  readonly b: RankRow;
  /**
   * b - a for each metric; undefined where one of them has no spectrum. Figures beyond the basic ones are there where
   * both rows have them.
   */
  readonly change:
    | (Readonly<Record<BasicMetricKey, number>> & Readonly<Partial<Record<MetricKey, number>>>)
    | undefined;
}

/** What compareRankReports returns: two rank reports, matched weight by weight. */
export interface RankComparison {
  readonly a: RankReport;
  readonly b: RankReport;
  readonly rows: readonly RankChange[];
  /**
   * Sums over the weights of each model. Where the chains of one stand beside weights of the other, they count as what
   * they multiply out to, as in the rows; not so in the totals of the reports.
   */
  readonly totals: { readonly a: RankTotal; readonly b: RankTotal };
  /** Weights that only one of the models has, by name. */
  readonly onlyInA: readonly RankRow[];
  readonly onlyInB: readonly RankRow[];
}

/**
 * Two reports side by side, weight by weight. Weights are paired by name, those of one name in their order.
 *
 * @example
 * const { rows } = compareRankReports(before, after);
 * for (const { weight, change } of rows) console.log(weight, change?.effectiveRank);
 */
export function compareRankReports(a: RankReport, b: RankReport): RankComparison {
  const rest = new Map<string, RankRow[]>();
  for (const row of b.rows) {
    const same = rest.get(row.weight);
    if (same === undefined) rest.set(row.weight, [row]);
    else same.push(row);
  }
  const rows: RankChange[] = [];
  const onlyInA: RankRow[] = [];
  for (const row of a.rows) {
    const match = rest.get(row.weight)?.shift();
    if (match === undefined) onlyInA.push(row);
    else rows.push({ weight: row.weight, a: row, b: match, change: changeOf(row, match) });
  }
  const paired = new Set(rows.map((row) => row.b));
  const onlyInB = b.rows.filter((row) => !paired.has(row));
  const names = new Set(rows.map(({ weight }) => weight));
  // Of chains that both have with all factors, the factors are compared.
  const multiplied = new Set(
    [...onlyInA, ...onlyInB].flatMap(({ chain }) =>
      chain?.role === 'factor' && names.has(chain.weight) ? [chain.weight] : [],
    ),
  );
  const totals = { a: totalOf(a, multiplied), b: totalOf(b, multiplied) };
  return { a, b, rows, totals, onlyInA, onlyInB };
}

/** @param multiplied chains that count as what they multiply out to */
function totalOf({ rows }: RankReport, multiplied: ReadonlySet<string>): RankTotal {
  const isMultiplied = ({ chain }: RankRow): boolean => chain !== undefined && multiplied.has(chain.weight);
  const others = rows.filter((row) => !isMultiplied(row));
  const products = rows.filter((row) => isMultiplied(row) && row.chain?.role === 'product');
  return rankTotal([...others, ...products.map(({ chain, ...row }) => row)]);
}

function changeOf(a: RankRow, b: RankRow): RankChange['change'] {
  if (a.metrics === undefined || b.metrics === undefined) return undefined;
  const change: Partial<Record<MetricKey, number>> = {};
  for (const { key } of ALL_METRICS) {
    const [before, after] = [figureOf(a, key), figureOf(b, key)];
    // Equal infinities have no difference.
    if (before !== undefined && after !== undefined) change[key] = before === after ? 0 : after - before;
  }
  return change as RankChange['change'];
}
