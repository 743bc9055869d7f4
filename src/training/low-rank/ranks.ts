import { rankReport } from '../../analysis/report/rank-report.js';
import { findWeights } from '../../analysis/weights/find-weights.js';
import type { WeightMatrix } from '../../analysis/weights/weights.js';
import { findConstant, isConstant, type Model } from '../../graph/index.js';
import type { KernelPool } from '../../linalg/kernels/index.js';
import type { RuntimeTensor } from '../../runtime/index.js';
import type { RankFigures } from '../events.js';
import { withWeights } from '../weights/put-weights.js';

/**
 * How much of its rank each trained weight uses, and each chain that has a trained factor, as a whole. What has no
 * spectrum is left out.
 *
 * @param weights as they are now; trained ones and others
 * @param trained names of the weights to look at
 */
export async function rankFigures(
  model: Model,
  weights: ReadonlyMap<string, RuntimeTensor>,
  trained: ReadonlySet<string>,
  pool: KernelPool,
): Promise<RankFigures[]> {
  const now = withWeights(model, weights);
  const isTrained = ({ uses: [{ node, data }] }: WeightMatrix): boolean => {
    if (trained.has(data.name)) return true;
    const constant = findConstant(node.graph, data.name);
    return isConstant(constant) && constant.leaves.some(({ name }) => trained.has(name));
  };
  const factors = findWeights(now, { chains: 'factors' }).weights.filter(isTrained);
  const names = new Set(factors.map(({ name }) => name));
  const chains = new Set(factors.flatMap(({ chain }) => chain?.weight ?? []));
  const report = await rankReport(now, {
    pool,
    only: (weight) =>
      weight.chain?.role === 'product' ? chains.has(weight.chain.weight) : names.has(weight.name),
  });
  return report.rows.flatMap(({ weight, chain, rows, columns, metrics }) =>
    metrics === undefined
      ? []
      : [
          {
            weight,
            role: chain?.role ?? 'weight',
            ...(chain?.role === 'factor' && { chain: chain.weight }),
            rows,
            columns,
            effectiveRank: metrics.effectiveRank,
            effectiveRankRatio: metrics.effectiveRankRatio,
            stableRank: metrics.stableRank,
            frobeniusNorm: metrics.frobeniusNorm,
            spectralNorm: metrics.spectralNorm,
          },
        ],
  );
}
