/** Types of the data of the rank report, and the state of its page. */
export const STATE = `
/** @typedef {{from: number, width: number, density: number[], beyond: number}} Histogram */
/** @typedef {{curve: [number[], number[]], text: string}} Fit */
/** @typedef {{op: string, dims: [number, number], params: number, problem?: string, v: (number|'inf'|null)[],
 *   t: string[], n?: number, s?: number[], i?: number[], e?: number[], lin?: Histogram, log?: Histogram, mp?: Fit,
 *   pl?: Fit, mpNone?: string, plNone?: string}} Row */
/** @typedef {{label: string, subtitle: string, key: string, rows: (Row|null)[]}} Layer */
/** @typedef {{key: string, header: string, format: string, definition: string}} Metric */
/** @typedef {{v: (number|null)[], t: string[]}} EmbeddingRow */
/** @typedef {{metrics: {key: string, header: string, format: string, plot: string}[],
 *   values: {label: string, about: string, rows: (EmbeddingRow|null)[]}[]}} Embeddings */
/** @typedef {{models: {name: string, ratio: number}[], metrics: Metric[], layers: Layer[],
 *   blocks: {label: string, short: string, from: number, count: number}[], density: string, file: string,
 *   embeddings?: Embeddings}} PageData */

/** @type {PageData} */
const DATA = JSON.parse(byId('data').textContent || '');

const state = {
  /** Index of the weight that is shown; -1 where there is none. */
  layer: -1,
  /** @type {Set<number>} Models that the reader switched off. */
  hidden: new Set(),
  spectrum: 'linear',
  density: DATA.density,
  /** Index of the metric of the overview. */
  metric: Math.max(0, DATA.metrics.findIndex((metric) => metric.key === 'effectiveRankRatio')),
  relative: false,
};

/** @param {number} model */
function isShown(model) {
  return !state.hidden.has(model);
}
`;
