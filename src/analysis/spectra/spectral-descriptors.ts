import type { MetricText } from './metric-text.js';

/** The figures of spectralExtras. */
export type ExtraKey = keyof typeof DESCRIPTORS;

/** As MetricDescriptor, for the figures of spectralExtras. */
export interface ExtraDescriptor extends ExtraText {
  readonly key: ExtraKey;
}

/** The texts of a metric of EXTRA_METRICS. */
export interface ExtraText extends MetricText {
  /** Column of WeightWatcher's `details` that holds the same quantity, as far as one does. */
  readonly weightWatcher: string | undefined;
}

const CLAUSET = 'Clauset, Shalizi & Newman, SIAM Review 51 (2009), arXiv 0706.1062';
const NATURE = 'Martin, Peng & Mahoney, Nature Communications 12 (2021), arXiv 2002.06716';
const JMLR = 'Martin & Mahoney, JMLR 22 (2021), arXiv 1810.01075';
const PASTUR = 'Marčenko & Pastur 1967';

const DESCRIPTORS = {
  participationRatio: {
    header: 'part.ratio',
    unit: '',
    format: 'fixed1',
    definition: '(sum s_i^2)^2 / sum s_i^4: how many eigenvalues s_i^2 carry the energy',
    source: 'Gao et al., A theory of multineuronal dimensionality, bioRxiv 214262 (2017)',
    priority: 6,
    weightWatcher: undefined,
  },
  logNorm: {
    header: 'log norm',
    unit: '',
    format: 'fixed2',
    definition: 'log10 sum s_i^2 = log10 ‖W‖F^2',
    source: NATURE,
    priority: 8,
    weightWatcher: 'log_norm',
  },
  logSpectralNorm: {
    header: 'log spec.norm',
    unit: '',
    format: 'fixed2',
    definition: 'log10 s1^2 = log10 of the largest eigenvalue',
    source: NATURE,
    priority: 8,
    weightWatcher: 'log_spectral_norm',
  },
  alpha: {
    header: 'alpha',
    unit: '',
    format: 'fixed2',
    definition:
      'exponent of the power law s_i^2 ~ x^-alpha in the tail, by maximum likelihood; 2 to 6 in well-trained layers',
    source: CLAUSET,
    priority: 3,
    weightWatcher: 'alpha',
  },
  alphaError: {
    header: 'alpha ±',
    unit: '',
    format: 'fixed2',
    definition: 'standard error of alpha, (alpha - 1) / sqrt(size of the tail)',
    source: CLAUSET,
    priority: 7,
    weightWatcher: 'sigma',
  },
  alphaDistance: {
    header: 'D',
    unit: '',
    format: 'fixed2',
    definition:
      'Kolmogorov-Smirnov distance between the tail and the power law; the tail is the one that makes it least',
    source: CLAUSET,
    priority: 5,
    weightWatcher: 'D',
  },
  xMin: {
    header: 'x_min',
    unit: 'of the weight, squared',
    format: 'significant3',
    definition: 'the eigenvalue s_i^2 at which the tail starts',
    source: CLAUSET,
    priority: 8,
    weightWatcher: 'xmin',
  },
  tailSize: {
    header: 'tail',
    unit: '',
    format: 'count',
    definition: 'how many eigenvalues are in the tail',
    source: CLAUSET,
    priority: 7,
    weightWatcher: 'num_pl_spikes',
  },
  alphaWeighted: {
    header: 'alpha-hat',
    unit: '',
    format: 'fixed2',
    definition: 'alpha * log10 s1^2',
    source: NATURE,
    priority: 6,
    weightWatcher: 'alpha_weighted',
  },
  logAlphaNorm: {
    header: 'log α-norm',
    unit: '',
    format: 'fixed2',
    definition: 'log10 sum (s_i^2)^alpha',
    source: NATURE,
    priority: 8,
    weightWatcher: 'log_alpha_norm',
  },
  mpSigma: {
    header: 'MP σ',
    unit: 'of the weight',
    format: 'significant3',
    definition: 'standard deviation of the random elements whose Marchenko-Pastur law fits the bulk',
    source: PASTUR,
    priority: 7,
    weightWatcher: undefined,
  },
  mpSigmaRelative: {
    header: 'MP σ rel.',
    unit: '',
    format: 'fixed2',
    definition:
      'MP σ over the root mean square of the elements: 1 for a matrix of independent random elements',
    source: PASTUR,
    priority: 7,
    weightWatcher: 'sigma_mp',
  },
  mpBulkMin: {
    header: 'λ₋',
    unit: 'of the weight, squared',
    format: 'significant3',
    definition: 'lower edge of the bulk, σ^2 (sqrt N - sqrt M)^2, N x M the matrix without its spikes',
    source: PASTUR,
    priority: 8,
    weightWatcher: 'bulk_min',
  },
  mpBulkMax: {
    header: 'λ₊',
    unit: 'of the weight, squared',
    format: 'significant3',
    definition: 'upper edge of the bulk, σ^2 (sqrt N + sqrt M)^2, N x M the matrix without its spikes',
    source: PASTUR,
    priority: 8,
    weightWatcher: 'bulk_max',
  },
  mpSpikes: {
    header: 'spikes',
    unit: '',
    format: 'count',
    definition:
      'how many eigenvalues lie beyond the bulk by more than the fluctuation of a random matrix (0.1 % level)',
    source: 'Johnstone, Annals of Statistics 29 (2001)',
    priority: 4,
    weightWatcher: 'num_spikes',
  },
  mpSoftRank: {
    header: 'MP soft rank',
    unit: '',
    format: 'fixed2',
    definition: 'λ₊ / s1^2: 1 for a random matrix, less the further spikes reach beyond the bulk',
    source: JMLR,
    priority: 5,
    weightWatcher: 'mp_softrank',
  },
  mpDistance: {
    header: 'MP D',
    unit: '',
    format: 'fixed2',
    definition:
      'Kolmogorov-Smirnov distance between the bulk and its Marchenko-Pastur law: small where there is one',
    source: PASTUR,
    priority: 7,
    weightWatcher: undefined,
  },
  randDistance: {
    header: 'rand.dist.',
    unit: '',
    format: 'fixed2',
    definition:
      'Jensen-Shannon distance (nats) of the sorted eigenvalues, over their sum, to those of the matrix with its elements permuted',
    source: JMLR,
    priority: 6,
    weightWatcher: 'rand_distance',
  },
  randDensityDistance: {
    header: 'rand.dens.',
    unit: '',
    format: 'fixed2',
    definition:
      'Jensen-Shannon distance (nats) of the density of ln s_i^2 to that of the matrix with its elements permuted',
    source: 'Lin, IEEE Trans. Inf. Theory 37 (1991)',
    priority: 8,
    weightWatcher: undefined,
  },
  randSoftRank: {
    header: 'rand.soft rank',
    unit: '',
    format: 'fixed2',
    definition: 'largest eigenvalue of the matrix with its elements permuted over that of the matrix',
    source: JMLR,
    priority: 8,
    weightWatcher: 'ww_softrank',
  },
} as const satisfies Record<string, ExtraText>;

/** What tables and documents say about the figures of spectralExtras, in the order of the columns. */
export const EXTRA_METRICS: readonly ExtraDescriptor[] = (Object.keys(DESCRIPTORS) as ExtraKey[]).map(
  (key) => ({ key, ...DESCRIPTORS[key] }),
);
