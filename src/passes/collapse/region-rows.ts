import {
  type RankReport,
  type RankReportOptions,
  type RankRow,
  rankReport,
  rankTotal,
} from '../../analysis/report/rank-report.js';
import { nodesOf } from '../../analysis/weights/weights.js';
import type { Model } from '../../graph/index.js';
import { type CollapsedChain, collapse } from './collapse.js';

/**
 * A rank report with what the affine regions of a model fold to, each before the first of its weights: chains that no longer say
 * that they are one, weights and the BatchNormalization behind them, parallel and residual linear branches. Products of chains
 * that do say so are in every report.
 *
 * The model stays as it is: a clone of it is collapsed.
 *
 * @throws OptionError for options out of range; ModelError where a weight cannot be read
 * @example
 * const report = await rankReportWithRegions(await readModel('model.onnx'));
 */
export async function rankReportWithRegions(
  model: Model,
  options: RankReportOptions = {},
): Promise<RankReport> {
  const { chains = 'both', only } = options;
  const report = await rankReport(model, options);
  if (chains === 'factors') return report;
  const copy = model.clone();
  const [account] = await copy.apply(collapse());
  const folded = originals(account.rewritten);
  // A region is chosen where one of its weights is.
  const chosen = new Set(report.rows.flatMap(({ nodes }) => nodes));
  const isWanted = ({ from }: CollapsedChain): boolean =>
    only === undefined || from.some((node) => chosen.has(node));
  const products = await rankReport(copy, {
    ...options,
    only: (weight) =>
      nodesOf(weight).some((node) => {
        const region = folded.get(node);
        return region !== undefined && isWanted(region);
      }),
    onProgress: undefined,
    signal: undefined,
  });
  return withProducts(report, products, folded, chains === 'product');
}

/**
 * What each folded node was before all folding: a region may hold what a chain became. Without the chains that say so
 * themselves and became no part of a region.
 */
function originals(rewritten: readonly CollapsedChain[]): Map<string, CollapsedChain> {
  const folded = new Map<string, CollapsedChain>();
  for (const one of rewritten) {
    const from = one.from.flatMap((node) => folded.get(node)?.from ?? [node]);
    for (const node of one.from) folded.delete(node);
    folded.set(one.node, { ...one, from });
  }
  return new Map([...folded].filter(([, { by }]) => by !== 'metadata'));
}

/** The rows of a report, and before the first weight of each region its product. */
function withProducts(
  report: RankReport,
  products: RankReport,
  folded: ReadonlyMap<string, CollapsedChain>,
  isAlone: boolean,
): RankReport {
  const byPart = new Map<string, RankRow>();
  for (const product of products.rows) {
    const from = product.nodes.flatMap((node) => folded.get(node)?.from ?? []);
    const row = { ...product, chain: { role: 'product', weight: product.weight, from } } as const;
    for (const node of from) byPart.set(node, row);
  }
  const done = new Set<RankRow>();
  const rows = report.rows.flatMap((row): RankRow[] => {
    const product = row.nodes.map((node) => byPart.get(node)).find((one) => one !== undefined);
    if (product === undefined) return [row];
    const isFirst = !done.has(product);
    done.add(product);
    const factor: RankRow =
      row.chain === undefined ? { ...row, chain: { role: 'factor', weight: product.weight } } : row;
    return [...(isFirst ? [product] : []), ...(isAlone ? [] : [factor])];
  });
  return { ...report, rows, total: rankTotal(rows) };
}
