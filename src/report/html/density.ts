import { type MarchenkoPasturFit, marchenkoPasturDensity } from '../../analysis/spectra/marchenko-pastur.js';
import { type PowerLawFit, powerLawDensity } from '../../analysis/spectra/power-law.js';
import type { Curve, Histogram } from './types.js';

/** Digits of the figures in the page. */
const DIGITS = 5;

export function rounded(value: number, digits = DIGITS): number {
  return Number(value.toPrecision(digits));
}

/** Bins of a histogram of `count` values: enough to see the shape of a density, few enough to be filled. */
function binsFor(count: number): number {
  return Math.min(80, Math.max(8, Math.round(1.7 * Math.sqrt(count))));
}

/** Spikes further out than this, relative to where the bulk ends, would leave no room for the bulk. */
const ROOM = 2;

/**
 * Histogram of eigenvalues on a linear axis. A few that lie far beyond the rest are counted and not drawn.
 *
 * @param eigenvalues descending
 * @param edge where the bulk ends, if there is one
 */
export function linearHistogram(
  eigenvalues: readonly number[],
  edge: number | undefined,
): Histogram | undefined {
  const largest = eigenvalues[0] ?? 0;
  const smallest = eigenvalues.at(-1) ?? 0;
  if (!(largest > 0)) return undefined;
  const most = eigenvalues[Math.floor(0.1 * eigenvalues.length)] ?? largest;
  const bulk = 1.25 * Math.max(edge ?? 0, most);
  const to = largest > ROOM * bulk ? bulk : largest * (1 + 1e-9);
  const from = smallest < 0.5 * to ? 0 : Math.max(0, smallest - 0.25 * (to - smallest) - 0.05 * to);
  const bins = binsFor(eigenvalues.length);
  return histogramOf(eigenvalues, from, (to - from) / bins, bins, false);
}

/** Histogram of the positive eigenvalues with bins of equal width in their logarithm. */
export function logHistogram(eigenvalues: readonly number[], floor: number): Histogram | undefined {
  const positive = eigenvalues.filter((value) => value > floor);
  const [largest, smallest] = [positive[0], positive.at(-1)];
  if (largest === undefined || smallest === undefined) return undefined;
  const bins = binsFor(positive.length);
  const [low, high] = [Math.log10(smallest), Math.log10(largest)];
  const span = Math.max(high - low, 0.02) * (1 + 1e-9);
  return histogramOf(positive, (low + high - span) / 2, span / bins, bins, true, eigenvalues.length);
}

function histogramOf(
  values: readonly number[],
  from: number,
  width: number,
  bins: number,
  isLog: boolean,
  total = values.length,
): Histogram {
  const counts = new Array<number>(bins).fill(0);
  let beyond = 0;
  for (const value of values) {
    const at = Math.floor(((isLog ? Math.log10(value) : value) - from) / width);
    if (at >= bins) beyond += 1;
    else counts[Math.max(0, at)] = (counts[Math.max(0, at)] ?? 0) + 1;
  }
  const widthOf = (bin: number): number =>
    isLog ? 10 ** (from + (bin + 1) * width) - 10 ** (from + bin * width) : width;
  return {
    from: rounded(from, 8),
    width: rounded(width, 8),
    density: counts.map((count, bin) => rounded(count / total / widthOf(bin), 4)),
    beyond,
  };
}

const MP_POINTS = 72;
const PL_POINTS = 24;

/** The fitted Marchenko-Pastur density over its bulk, densest near the edges, where it bends. */
export function marchenkoPasturCurve(fit: MarchenkoPasturFit): Curve {
  const { bulkMin, bulkMax } = fit;
  const xs: number[] = [];
  for (let i = 0; i <= MP_POINTS; i += 1) {
    const share = (1 - Math.cos((Math.PI * i) / MP_POINTS)) / 2;
    xs.push(bulkMin + share * (bulkMax - bulkMin));
  }
  // At 0, the lower edge of a square matrix, the density is infinite.
  if (xs[0] === 0) xs[0] = 0.02 * (xs[1] ?? 0);
  return { xs: xs.map((x) => rounded(x)), ys: xs.map((x) => rounded(marchenkoPasturDensity(fit, x), 4)) };
}

/** The fitted power law from where the tail starts to the largest eigenvalue. */
export function powerLawCurve(fit: PowerLawFit): Curve {
  const xs: number[] = [];
  for (let i = 0; i <= PL_POINTS; i += 1) xs.push(fit.xMin * (fit.xMax / fit.xMin) ** (i / PL_POINTS));
  return { xs: xs.map((x) => rounded(x)), ys: xs.map((x) => rounded(powerLawDensity(fit, x), 4)) };
}
