import type { EmbeddingMetrics } from '../../src/analysis/embeddings/embedding-metrics.js';
import type { EmbeddingReport, EmbeddingRow } from '../../src/analysis/embeddings/embeddings.js';

const OF_CLASSES = { clusterVariation: 12.25, clusterVariationRatio: 0.25, nc1: 0.125, lidar: 3.5 };
const NONE = {
  clusterVariation: undefined,
  clusterVariationRatio: undefined,
  nc1: undefined,
  lidar: undefined,
};

/** What embeddingReport says of the nodes of some weights. */
export function embeddingsOf(weights: readonly string[], isLabelled = true): EmbeddingReport {
  const rows = weights.map((weight, index): EmbeddingRow => {
    const rank = 2 ** index + 0.5;
    const metrics: EmbeddingMetrics = {
      gramEffectiveRank: rank,
      gramEffectiveRankRatio: rank / 64,
      gramEntropy: Math.log(rank),
      centredEffectiveRank: rank + 1,
      centredParticipationRatio: rank / 2,
      totalVariation: 49,
      cosineEntropy: Math.log(rank + 2),
      cosineEffectiveRank: rank + 2,
      rankMe: rank + 3,
      tunnelRank: index + 2,
      spectrumSlope: 0.75,
      ...(isLabelled ? { ...OF_CLASSES, nc1: OF_CLASSES.nc1 / 4 ** index } : NONE),
    };
    return {
      value: `${weight}/output`,
      nodes: [`node of ${weight}`],
      ops: ['Conv'],
      weights: [weight],
      shape: [4, 8, 8],
      features: 256,
      metrics,
      problem: undefined,
    };
  });
  const broken = {
    ...rows[0],
    value: 'lost',
    nodes: ['lost'],
    weights: [],
    metrics: undefined,
    problem: 'it is empty',
  };
  return {
    rows: [...rows, broken as EmbeddingRow],
    samples: 64,
    isRandom: !isLabelled,
    of: 'outputs',
    classes: isLabelled ? 2 : undefined,
    fewest: isLabelled ? 3 : undefined,
    notLookedAt: [{ node: 'inner', op: 'MatMul', reason: 'it is in a function' }],
  };
}
