import type { MetricText } from '../spectra/metric-text.js';

/** What the embeddings of some samples say. */
export interface EmbeddingMetrics {
  readonly gramEffectiveRank: number;
  readonly gramEffectiveRankRatio: number;
  readonly gramEntropy: number;
  readonly centredEffectiveRank: number;
  readonly centredParticipationRatio: number;
  readonly totalVariation: number;
  readonly cosineEntropy: number;
  readonly cosineEffectiveRank: number;
  readonly rankMe: number;
  readonly tunnelRank: number;
  /** Undefined where only one eigenvalue counts. */
  readonly spectrumSlope: number | undefined;
  /** The ones from here on are of classes: undefined where the samples have none, or not enough of them. */
  readonly clusterVariation: number | undefined;
  readonly clusterVariationRatio: number | undefined;
  readonly nc1: number | undefined;
  readonly lidar: number | undefined;
}

/** Key of a metric of embeddings, as in EMBEDDING_METRICS. */
export type EmbeddingKey = keyof EmbeddingMetrics;

/** As MetricDescriptor, for the figures of embeddings. */
export interface EmbeddingDescriptor extends MetricText {
  readonly key: EmbeddingKey;
  /** True where it needs labels. */
  readonly ofClasses: boolean;
}

const HUH = 'Huh et al., The Low-Rank Simplicity Bias in Deep Networks, TMLR 2023 (arXiv 2103.10427)';
const ZANGRANDO = 'Zangrando et al., Neural Rank Collapse, arXiv 2402.03991';

const DESCRIPTORS = {
  gramEffectiveRank: {
    header: 'Gram eff.rank',
    unit: '',
    format: 'fixed1',
    definition: 'exp of the Gram entropy: between 1 and min(N, d)',
    source: 'Roy & Vetterli, The effective rank, EUSIPCO 2007',
    priority: 1,
    ofClasses: false,
  },
  gramEffectiveRankRatio: {
    header: 'of max',
    unit: '',
    format: 'percent',
    definition: 'Gram effective rank / min(N, d)',
    source: 'effective rank over its upper bound',
    priority: 4,
    ofClasses: false,
  },
  gramEntropy: {
    header: 'Gram entropy',
    unit: 'nats',
    format: 'fixed2',
    definition:
      'H = -sum p_i ln p_i with p_i = l_i / sum l, l_i the eigenvalues of the N x N Gram matrix H Hᵀ',
    source: 'Roy & Vetterli 2007',
    priority: 3,
    ofClasses: false,
  },
  centredEffectiveRank: {
    header: 'centred',
    unit: '',
    format: 'fixed1',
    definition:
      'the same of the embeddings less their mean, which outweighs all else behind a ReLU: the effective rank of their covariance',
    source: 'Roy & Vetterli 2007',
    priority: 5,
    ofClasses: false,
  },
  centredParticipationRatio: {
    header: 'part.ratio',
    unit: '',
    format: 'fixed1',
    definition: '(sum l_i)^2 / sum l_i^2 of the covariance: how many directions carry the variance',
    source: 'Gao et al., A theory of multineuronal dimensionality, bioRxiv 214262 (2017)',
    priority: 7,
    ofClasses: false,
  },
  totalVariation: {
    header: 'variance',
    unit: 'of the embedding, squared',
    format: 'significant3',
    definition: 'tr S_T = mean over the samples of ||h_i - mean||^2',
    source: 'total variance',
    priority: 8,
    ofClasses: false,
  },
  cosineEntropy: {
    header: 'cosine entropy',
    unit: 'nats',
    format: 'fixed2',
    definition:
      'H = -sum p_i ln p_i with p_i = |l_i| / sum |l|, l_i the eigenvalues of the N x N matrix of cosine distances K_ij = 1 - cos(h_i, h_j), the cosine with a zero vector being 0: the kernel that reproduces the figure of observation 1 of the paper, which calls its entropy the effective rank',
    source: HUH,
    priority: 2,
    ofClasses: false,
  },
  cosineEffectiveRank: {
    header: 'cosine eff.rank',
    unit: '',
    format: 'fixed1',
    definition: 'exp of the cosine entropy: between 1 and N',
    source: `${HUH}; Roy & Vetterli 2007`,
    priority: 6,
    ofClasses: false,
  },
  rankMe: {
    header: 'RankMe',
    unit: '',
    format: 'fixed1',
    definition:
      'exp(-sum p_i ln p_i) with p_i = s_i / sum s, s_i the singular values of the N x d embeddings, not centred: between 1 and min(N, d)',
    source: 'Garrido et al., RankMe, ICML 2023 (arXiv 2210.02885)',
    priority: 6,
    ofClasses: false,
  },
  tunnelRank: {
    header: 'tunnel rank',
    unit: '',
    format: 'count',
    definition: 'how many singular values of the N x d embeddings, not centred, exceed s1 / 1000',
    source: 'Masarczyk et al., The Tunnel Effect, NeurIPS 2023 (arXiv 2305.19753)',
    priority: 8,
    ofClasses: false,
  },
  spectrumSlope: {
    header: 'alpha',
    unit: '',
    format: 'fixed2',
    definition:
      'minus the slope of ln l_i over ln i by least squares, l_i the eigenvalues of the covariance, in falling order, that exceed l_1 / 10^6: l_i ~ i^-alpha',
    source: 'Agrawal et al., alpha-ReQ, NeurIPS 2022',
    priority: 8,
    ofClasses: false,
  },
  clusterVariation: {
    header: 'TCV',
    unit: 'of the embedding, squared',
    format: 'significant3',
    definition:
      'total cluster variation, tr S_W = mean over the samples of ||h_i - m_c(i)||^2, m_c the mean of class c: zero where every class has collapsed to a point',
    source: ZANGRANDO,
    priority: 6,
    ofClasses: true,
  },
  clusterVariationRatio: {
    header: 'TCV of all',
    unit: '',
    format: 'percent',
    definition: 'tr S_W / tr S_T: the share of the variance that lies within classes',
    source: ZANGRANDO,
    priority: 1,
    ofClasses: true,
  },
  nc1: {
    header: 'NC1',
    unit: '',
    format: 'significant3',
    definition:
      'within-class variability tr(S_W pinv(S_B)) / K, S_W and S_B the covariance within and between the K classes: towards zero as classes collapse',
    source: 'Papyan, Han & Donoho, Prevalence of neural collapse, PNAS 117 (2020), arXiv 2008.08186',
    priority: 1,
    ofClasses: true,
  },
  lidar: {
    header: 'LiDAR',
    unit: '',
    format: 'fixed1',
    definition:
      'exp(-sum p_i ln p_i) with p_i = l_i / sum l, l_i the eigenvalues of (S_W + e I)^-1/2 S_B (S_W + e I)^-1/2 with e = 1e-4 tr S_T / d, so that it does not depend on the unit of the embeddings: at most K - 1',
    source: 'Thilak et al., LiDAR, ICLR 2024 (arXiv 2312.04000), whose e is a constant',
    priority: 7,
    ofClasses: true,
  },
} as const satisfies Record<EmbeddingKey, MetricText & { readonly ofClasses: boolean }>;

/** The figures of embeddings, in the order of the columns of a report. */
export const EMBEDDING_METRICS: readonly EmbeddingDescriptor[] = (
  Object.keys(DESCRIPTORS) as EmbeddingKey[]
).map((key) => ({ key, ...DESCRIPTORS[key] }));

/** Which class each sample is of. */
export interface Classes {
  /** One a sample, from 0 to count - 1. */
  readonly of: ArrayLike<number>;
  readonly count: number;
}

/**
 * The figures of N embeddings of d features, from their N x N Gram matrix H Hᵀ alone. With n_c of the N samples in
 * class c, S_W = 1/N sum_i (h_i - m_c(i))(h_i - m_c(i))ᵀ and S_B = sum_c n_c/N (m_c - m)(m_c - m)ᵀ, which add up to S_T
 * and are those of Papyan et al. where classes are of equal size.
 *
 * @param gram N x N, float64, row-major
 * @param features d
 * @param classes where the samples have labels
 * @throws RangeError where the Gram matrix is not N x N or not finite
 */
export async function embeddingMetrics(
  gram: Float64Array,
  samples: number,
  features: number,
  classes?: Classes,
): Promise<EmbeddingMetrics> {
  const { symmetricEigenvalues } = await import('../../linalg/kernels/index.js');
  const most = Math.min(samples, features);
  // In units of its largest entry, so that no square over- or underflows.
  const unit = largestOnDiagonal(gram, samples) || 1;
  const scaled = gram.map((value) => value / unit);
  const eigenvalues = symmetricEigenvalues(scaled, samples);
  const entropy = entropyOf(eigenvalues, most);
  const centred = doublyCentred(scaled, samples);
  const singular = eigenvalues.map((value) => Math.sqrt(value > NOISE ? value : 0));
  const cosine = eigenvalues.every((value) => value <= 0)
    ? undefined
    : entropyOf(
        symmetricEigenvalues(cosineDistances(scaled, samples), samples)
          .map((value) => (Math.abs(value) > NOISE * samples ? Math.abs(value) : 0))
          .sort(),
        samples,
      );
  // The mean takes one dimension, and rounding would put one back.
  const spread = symmetricEigenvalues(centred, samples).map((value) => (value > NOISE ? value : 0));
  const centredEntropy = entropyOf(spread, most);
  const totalVariation = spread.reduce((sum, value) => sum + value, 0) / samples;
  const ofClasses = await classMetrics(centred, samples, features, totalVariation, classes);
  const { clusterVariation } = ofClasses;
  const effectiveRank = rankOf(entropy, most);
  return {
    gramEffectiveRank: effectiveRank,
    gramEffectiveRankRatio: most === 0 ? 0 : effectiveRank / most,
    gramEntropy: entropy ?? 0,
    centredEffectiveRank: rankOf(centredEntropy, most),
    centredParticipationRatio: participationRatio(spread),
    totalVariation: unit * totalVariation,
    cosineEntropy: cosine ?? 0,
    cosineEffectiveRank: rankOf(cosine, samples),
    rankMe: rankOf(entropyOf(singular, most), most),
    tunnelRank: singular.filter((value) => value > 1e-3 * (singular.at(-1) ?? 0)).length,
    spectrumSlope: slopeOf(spread),
    ...ofClasses,
    clusterVariation: clusterVariation === undefined ? undefined : unit * clusterVariation,
  };
}

/** What rounding leaves of an eigenvalue that is zero, where the largest entry of the Gram matrix is 1. */
const NOISE = 64 * Number.EPSILON;

type ClassMetrics = Pick<EmbeddingMetrics, 'clusterVariation' | 'clusterVariationRatio' | 'nc1' | 'lidar'>;

async function classMetrics(
  centred: Float64Array,
  samples: number,
  features: number,
  totalVariation: number,
  classes: Classes | undefined,
): Promise<ClassMetrics> {
  if (classes === undefined || classes.count < 2 || samples <= classes.count) {
    return {
      clusterVariation: undefined,
      clusterVariationRatio: undefined,
      nc1: undefined,
      lidar: undefined,
    };
  }
  const { matmul } = await import('../../linalg/matmul.js');
  const { symmetricEigen, symmetricEigenvalues } = await import('../../linalg/kernels/index.js');
  const { count: k } = classes;
  const sizes = new Float64Array(k);
  for (let i = 0; i < samples; i += 1) {
    const at = classes.of[i] as number;
    sizes[at] = (sizes[at] as number) + 1;
  }
  // averages[c, i] = 1 / n_c where sample i is of class c: products with it are means over classes.
  const averages = new Float64Array(k * samples);
  for (let i = 0; i < samples; i += 1) {
    const at = classes.of[i] as number;
    averages[at * samples + i] = 1 / (sizes[at] as number);
  }
  const P = { rows: k, columns: samples, data: averages };
  // A[c, i] = (m_c - m) . (h_i - m) and M[c, e] = (m_c - m) . (m_e - m).
  const A = await matmul(P, { rows: samples, columns: samples, data: centred });
  const M = await matmul(A, P, { transposeB: true });
  const share = (c: number): number => (sizes[c] as number) / samples;
  let between = 0;
  for (let c = 0; c < k; c += 1) between += share(c) * (M.data[c * k + c] as number);
  const clusterVariation = Math.max(0, totalVariation - between);
  // With B the matrix of rows sqrt(n_c / N) (m_c - m) and D that of rows (h_i - m_c(i)) / sqrt(N): S_B = Bᵀ B,
  // S_W = Dᵀ D and tr(S_W pinv(S_B)) = tr((B Dᵀ)(B Dᵀ)ᵀ pinv(B Bᵀ)^2), all of which the Gram matrix gives.
  const inner = new Float64Array(k * k);
  const cross = new Float64Array(k * samples);
  for (let c = 0; c < k; c += 1) {
    const weight = Math.sqrt(share(c));
    for (let e = 0; e < k; e += 1)
      inner[c * k + e] = weight * Math.sqrt(share(e)) * (M.data[c * k + e] as number);
    for (let i = 0; i < samples; i += 1) {
      const own = M.data[c * k + (classes.of[i] as number)] as number;
      cross[c * samples + i] = (weight / Math.sqrt(samples)) * ((A.data[c * samples + i] as number) - own);
    }
  }
  const { values, vectors } = symmetricEigen(inner, k);
  const rotated = await matmul(
    { rows: k, columns: k, data: vectors },
    { rows: k, columns: samples, data: cross },
  );
  const least = Math.max(k * Number.EPSILON * (values.at(-1) as number), NOISE);
  let sum = 0;
  let rank = 0;
  for (let j = 0; j < k; j += 1) {
    const value = values[j] as number;
    if (!(value > least)) continue;
    rank += 1;
    let energy = 0;
    for (let i = 0; i < samples; i += 1) energy += (rotated.data[j * samples + i] as number) ** 2;
    sum += energy / (value * value);
  }
  // S_B = Bᵀ B and S_W = Dᵀ D: B (S_W + e I)^-1 Bᵀ = (B Bᵀ - B Dᵀ (D Dᵀ + e I)^-1 D Bᵀ) / e has the eigenvalues of LiDAR's matrix.
  const lidar = async (): Promise<number> => {
    const e = (1e-4 * totalVariation) / features;
    const within = Float64Array.from({ length: samples * samples }, (_, at) => {
      const [i, j] = [Math.floor(at / samples), at % samples];
      const [c, o] = [classes.of[i] as number, classes.of[j] as number];
      const product =
        (centred[at] as number) -
        (A.data[c * samples + j] as number) -
        (A.data[o * samples + i] as number) +
        (M.data[c * k + o] as number);
      return product / samples;
    });
    const eigen = symmetricEigen(within, samples);
    const Q = await matmul(
      { rows: k, columns: samples, data: cross },
      { rows: samples, columns: samples, data: eigen.vectors },
      { transposeB: true },
    );
    for (let at = 0; at < Q.data.length; at += 1) {
      const value = Math.max(0, eigen.values[at % samples] as number);
      Q.data[at] = (Q.data[at] as number) / Math.sqrt(value + e);
    }
    const taken = await matmul(Q, Q, { transposeB: true });
    const left = inner.map((value, at) => (value - (taken.data[at] as number)) / e);
    return rankOf(entropyOf(symmetricEigenvalues(left, k), k), k);
  };
  return {
    clusterVariation,
    clusterVariationRatio: totalVariation > 0 ? Math.min(1, clusterVariation / totalVariation) : undefined,
    nc1: rank === 0 ? undefined : sum / k,
    lidar: rank === 0 ? undefined : await lidar(),
  };
}

/** 1 - cos(h_i, h_j), from the Gram matrix. */
function cosineDistances(gram: Float64Array, n: number): Float64Array {
  const inverse = Float64Array.from({ length: n }, (_, i) => {
    const square = gram[i * (n + 1)] as number;
    return square > 0 ? 1 / Math.sqrt(square) : 0;
  });
  const distances = new Float64Array(n * n);
  for (let i = 0; i < n; i += 1) {
    for (let j = 0; j < n; j += 1) {
      const cosine = (gram[i * n + j] as number) * (inverse[i] as number) * (inverse[j] as number);
      distances[i * n + j] = i === j ? 0 : 1 - cosine;
    }
  }
  return distances;
}

/** The exponent of the power law that falling eigenvalues follow, by least squares in logarithms. */
function slopeOf(ascending: Float64Array): number | undefined {
  const least = 1e-6 * (ascending.at(-1) ?? 0);
  const logs = Array.from(
    ascending.filter((value) => value > least),
    Math.log,
  ).reverse();
  if (logs.length < 2) return undefined;
  const ranks = logs.map((_, index) => Math.log(index + 1));
  const meanOf = (values: readonly number[]): number =>
    values.reduce((sum, value) => sum + value, 0) / values.length;
  const [x, y] = [meanOf(ranks), meanOf(logs)];
  let [both, square] = [0, 0];
  for (const [index, log] of logs.entries()) {
    const offset = (ranks[index] as number) - x;
    both += offset * (log - y);
    square += offset * offset;
  }
  return -both / square;
}

/** The exponential of an entropy, which is at most the number of its shares; 0 where there is none. */
function rankOf(entropy: number | undefined, most: number): number {
  return entropy === undefined ? 0 : Math.min(most, Math.exp(entropy));
}

/** Entropy of the eigenvalues as shares of their sum, of the `most` largest; undefined where all are zero. */
function entropyOf(ascending: Float64Array, most: number): number | undefined {
  const kept = ascending.subarray(ascending.length - most).map((value) => Math.max(0, value));
  const sum = kept.reduce((total, value) => total + value, 0);
  if (!(sum > 0)) return undefined;
  let entropy = 0;
  for (const value of kept) {
    const p = value / sum;
    if (p > 0) entropy -= p * Math.log(p);
  }
  return Math.max(0, entropy);
}

function participationRatio(eigenvalues: Float64Array): number {
  const most = eigenvalues.at(-1) ?? 0;
  if (!(most > 0)) return 0;
  let [sum, squares] = [0, 0];
  for (const value of eigenvalues) {
    const relative = Math.max(0, value / most);
    sum += relative;
    squares += relative * relative;
  }
  return (sum * sum) / squares;
}

/** J G J with J = I - 1/N: the Gram matrix of the embeddings less their mean. */
function doublyCentred(gram: Float64Array, n: number): Float64Array {
  const means = new Float64Array(n);
  let all = 0;
  for (let i = 0; i < n; i += 1) {
    let sum = 0;
    for (let j = 0; j < n; j += 1) sum += gram[i * n + j] as number;
    means[i] = sum / n;
    all += sum / n / n;
  }
  const centred = new Float64Array(n * n);
  for (let i = 0; i < n; i += 1) {
    for (let j = 0; j < n; j += 1) {
      centred[i * n + j] = (gram[i * n + j] as number) - (means[i] as number) - (means[j] as number) + all;
    }
  }
  return centred;
}

function largestOnDiagonal(gram: Float64Array, n: number): number {
  let most = 0;
  for (let i = 0; i < n; i += 1) most = Math.max(most, gram[i * n + i] as number);
  return most;
}
