/** What is added up over samples, of one model: whatever a figure of the whole is made from. */
export const MODEL_SUMS = [
  /** Labels that count, or numbers that are predicted. */
  'count',
  'loss',
  'correct',
  'topCorrect',
  'squared',
  'absolute',
  /** Squared distances of the targets from their mean. */
  'spread',
] as const;
/** Sums over samples that the figures of one model are computed from. */
export type ModelSums = Readonly<Record<(typeof MODEL_SUMS)[number], number>>;

/** The same of a model beside the first. */
export const AGREEMENT_SUMS = [
  /** Vectors that are compared: one a sample, pixel or token. */
  'rows',
  'cosine',
  'divergence',
  'equal',
  'squaredDifference',
  'squaredReference',
] as const;
/** Sums over samples that the figures of agreement are computed from. */
export type AgreementSums = Readonly<Record<(typeof AGREEMENT_SUMS)[number], number>>;

/** One figure: all that tables, pages and documents say about it. */
export interface FigureDescriptor<Sums> {
  readonly header: string;
  readonly definition: string;
  readonly unit: '' | 'nats';
  /** 'share' is shown in percent, a difference of shares in points. */
  readonly format: 'share' | 'number';
  readonly better: 'higher' | 'lower';
  /** From sums over samples. Undefined: it is made in another way. */
  readonly of?: (sums: Sums) => number;
}

const QUALITY = {
  accuracy: {
    header: 'accuracy',
    definition: 'share of the labels (of samples, pixels or tokens) that are the class of the largest output',
    unit: '',
    format: 'share',
    better: 'higher',
    of: ({ correct, count }) => correct / count,
  },
  topAccuracy: {
    header: 'top-k',
    definition:
      'share of the labels that are among the k classes of the largest outputs; of equal outputs the first counts as larger',
    unit: '',
    format: 'share',
    better: 'higher',
    of: ({ topCorrect, count }) => topCorrect / count,
  },
  meanIou: {
    header: 'mean IoU',
    definition:
      'mean over the classes that occur of intersection over union: found, of all that are labelled or decided so',
    unit: '',
    format: 'share',
    better: 'higher',
  },
  loss: {
    header: 'loss',
    definition: 'mean of -ln p over the labels, p what the model gives the right class',
    unit: 'nats',
    format: 'number',
    better: 'lower',
    of: ({ loss, count }) => loss / count,
  },
  perplexity: {
    header: 'perplexity',
    definition: 'exp of the mean loss of a token',
    unit: '',
    format: 'number',
    better: 'lower',
    of: ({ loss, count }) => Math.exp(loss / count),
  },
  mse: {
    header: 'MSE',
    definition: 'mean squared error',
    unit: '',
    format: 'number',
    better: 'lower',
    of: ({ squared, count }) => squared / count,
  },
  mae: {
    header: 'MAE',
    definition: 'mean absolute error',
    unit: '',
    format: 'number',
    better: 'lower',
    of: ({ absolute, count }) => absolute / count,
  },
  r2: {
    header: 'R²',
    definition:
      '1 - squared errors / squared distances of the targets from their mean, each summed over all outputs; 1 is perfect, 0 what the mean alone reaches',
    unit: '',
    format: 'number',
    better: 'higher',
    of: ({ squared, spread }) => 1 - squared / spread,
  },
} as const satisfies Record<string, FigureDescriptor<ModelSums>>;

/** Key of a figure of one model. */
export type QualityKey = keyof typeof QUALITY;
/** A figure of one model, with its texts. */
export type QualityDescriptor = FigureDescriptor<ModelSums> & { readonly key: QualityKey };

const AGREEMENT = {
  equalDecisions: {
    header: 'equal decisions',
    definition: 'share of the decisions (the class of the largest output) that are those of the first model',
    unit: '',
    format: 'share',
    better: 'higher',
    of: ({ equal, rows }) => equal / rows,
  },
  divergence: {
    header: 'KL',
    definition:
      'mean of KL(first ‖ other) = sum p ln(p / q), p and q the Softmax of their outputs: what coding by the other costs more',
    unit: 'nats',
    format: 'number',
    better: 'lower',
    of: ({ divergence, rows }) => divergence / rows,
  },
  cosine: {
    header: 'cosine',
    definition: 'mean cosine of the angle between the output vectors of both',
    unit: '',
    format: 'number',
    better: 'higher',
    of: ({ cosine, rows }) => cosine / rows,
  },
  relativeError: {
    header: 'RMS Δ / RMS a',
    definition: 'root of the mean squared difference of the outputs, relative to that of the first model',
    unit: '',
    format: 'number',
    better: 'lower',
    of: ({ squaredDifference, squaredReference }) =>
      squaredDifference === 0 ? 0 : Math.sqrt(squaredDifference / squaredReference),
  },
} as const satisfies Record<string, FigureDescriptor<AgreementSums>>;

/** Key of a figure of how two models agree. */
export type AgreementKey = keyof typeof AGREEMENT;
/** A figure of how two models agree, with its texts. */
export type AgreementDescriptor = FigureDescriptor<AgreementSums> & { readonly key: AgreementKey };

/** What is said of a model's quality, in the order of tables. */
export const QUALITY_FIGURES: readonly QualityDescriptor[] = Object.entries(QUALITY).map(
  ([key, descriptor]) => ({ key: key as QualityKey, ...descriptor }),
);

/** What is said of two models' outputs. */
export const AGREEMENT_FIGURES: readonly AgreementDescriptor[] = Object.entries(AGREEMENT).map(
  ([key, descriptor]) => ({ key: key as AgreementKey, ...descriptor }),
);
