import { bisectRight, cumsum, extent, max, min } from 'd3-array';
import { formatSignificant } from '../../text/text.js';
import type { Curve, DensityScale, Histogram, LayerData, RowData } from '../types.js';
import type { PlotSpec, Reading, Rule, Series } from './plot-spec.js';

export type SpectrumScale = 'linear' | 'log' | 'energy';

export const SPECTRUM_SCALES: readonly SpectrumScale[] = ['linear', 'log', 'energy'];
export const DENSITY_SCALES: readonly DensityScale[] = ['linear', 'log'];

const TITLES: Readonly<Record<SpectrumScale, string>> = {
  linear: 'Singular values',
  log: 'Singular values, log-log',
  energy: 'Cumulative energy',
};

/** The spectrum of one weight in one model. */
interface Spectrum {
  readonly model: number;
  readonly row: RowData;
  readonly s: readonly number[];
}

export interface SpectrumOptions {
  readonly isShown: (model: number) => boolean;
  /** Index of a metric in the values of a row; -1 where the page does not have it. */
  readonly metricIndex: (key: string) => number;
  /** Divide by the largest singular value. */
  readonly relative: boolean;
}

function spectraOf({ rows }: LayerData, isShown: SpectrumOptions['isShown']): Spectrum[] {
  return rows.flatMap((row, model) =>
    row?.s !== undefined && row.s.length > 0 && isShown(model) ? [{ model, row, s: row.s }] : [],
  );
}

/** Share of the energy, the sum of the squares, up to each of the values that the page has. */
export function energyOf({ e, s = [] }: Pick<RowData, 'e' | 's'>): readonly number[] {
  if (e !== undefined) return e;
  const largest = s[0] || 1;
  const sums = cumsum(s, (value) => (value / largest) ** 2);
  const total = sums.at(-1) || 1;
  return Array.from(sums, (sum) => sum / total);
}

/** Position of the last value that the page has at or before the index `at` of the whole spectrum. */
export function placeOf({ i, s = [] }: Pick<RowData, 'i' | 's'>, at: number): number {
  const place = i === undefined ? at : bisectRight(i, at) - 1;
  return Math.max(0, Math.min(s.length - 1, place));
}

/** No more stops for the arrow keys than this. */
const MOST_STOPS = 400;

/** The singular values of a weight, or their energy, in all models that are shown; undefined where none has any. */
export function spectrumPlot(
  scale: SpectrumScale,
  layer: LayerData,
  options: SpectrumOptions,
): PlotSpec | undefined {
  const { relative, metricIndex } = options;
  const isEnergy = scale === 'energy';
  const spectra = spectraOf(layer, options.isShown).map(({ model, row, s }) => {
    const unit = relative ? s[0] || 1 : 1;
    const energy = energyOf(row);
    return { model, row, s, energy, ys: isEnergy ? energy : s.map((value) => value / unit) };
  });
  if (spectra.length === 0) return undefined;
  const longest = max(spectra, ({ row }) => row.n ?? 0) ?? 0;
  const all = spectra.flatMap(({ ys }) => ys);
  const top = Math.max(max(all) ?? 0, 0) || 1;
  // Values at the rounding of the largest are no information; they would take all the room.
  const floor = Math.max(min(all.filter((value) => value > 0)) ?? top, top * 1e-9);
  const label = relative ? 'sᵢ / s₁' : 'singular value sᵢ';
  const stops = Math.min(longest, MOST_STOPS);
  return {
    name: `spectrum-${scale}`,
    title: `${TITLES[scale]} of ${layer.label}`,
    height: 320,
    x: { log: scale === 'log', from: isEnergy ? 0 : 1, to: Math.max(2, longest), label: 'index i' },
    y: isEnergy
      ? { log: false, from: 0, to: 1, label: 'share of Σ s²', unit: 'percent' }
      : scale === 'log'
        ? { log: true, from: floor * 0.85, to: top * 1.2, label }
        : { log: false, from: 0, to: top * 1.04, label },
    series: spectra.map(({ model, row, ys }) => {
      const xs = ys.map((_, k) => (row.i?.[k] ?? k) + 1);
      return { kind: 'points', model, ...(isEnergy ? { xs: [0, ...xs], ys: [0, ...ys] } : { xs, ys }) };
    }),
    rules: isEnergy ? energyRules(spectra, metricIndex) : rankRules(spectra, metricIndex('effectiveRank')),
    stops: Array.from(
      { length: stops },
      (_, k) => 1 + Math.round((k * (longest - 1)) / Math.max(1, stops - 1)),
    ),
    read: (x) => {
      const at = Math.max(1, Math.min(longest, Math.round(x)));
      const read = spectra
        .filter(({ row }) => at <= (row.n ?? 0))
        .map(({ model, row, s, energy, ys }) => {
          const k = placeOf(row, at - 1);
          const [value, share] = [s[k] ?? 0, energy[k] ?? 0];
          const text = [
            `s = ${formatSignificant(value)}`,
            `${formatSignificant(value / (s[0] || 1))} of s₁`,
            `energy ${(100 * share).toFixed(1)}%`,
          ];
          return { model, text: text.join(', '), y: ys[k] ?? 0 };
        });
      return { title: `i = ${at}`, lines: read, x: at, dots: read };
    },
  };
}

function energyRules(spectra: readonly Spectrum[], metricIndex: SpectrumOptions['metricIndex']): Rule[] {
  return ([90, 99] as const).map((percent) => {
    const metric = metricIndex(`rank${percent}`);
    const ranks = spectra.map(({ row }) => row.t[metric] ?? '–');
    // One text where all models agree.
    const text = new Set(ranks).size === 1 ? (ranks[0] ?? '') : ranks.join(' / ');
    return { axis: 'y', at: percent / 100, text: `${percent}% in the first ${text}` };
  });
}

function rankRules(spectra: readonly Spectrum[], metric: number): Rule[] {
  return spectra.flatMap(({ model, row }) => {
    const at = row.v[metric];
    return typeof at === 'number' ? [{ axis: 'x', at, text: `eff. rank ${row.t[metric] ?? ''}`, model }] : [];
  });
}

/** Edges of the bins. */
export function edgesOf({ from, width, density }: Histogram, isLog: boolean): number[] {
  return Array.from({ length: density.length + 1 }, (_, k) => {
    const at = from + k * width;
    return isLog ? 10 ** at : at;
  });
}

/** The value of a curve at x, between its points on a straight line; undefined beyond its ends. */
export function valueAt({ xs, ys }: Curve, x: number): number | undefined {
  const k = bisectRight(xs, x);
  const [x0, x1, y0, y1] = [xs[k - 1], xs[k], ys[k - 1], ys[k]];
  if (x0 === undefined || x1 === undefined || y0 === undefined || y1 === undefined) return undefined;
  return y0 + ((x - x0) / (x1 - x0 || 1)) * (y1 - y0);
}

interface Density extends Spectrum {
  readonly histogram: Histogram;
  readonly edges: readonly number[];
}

/** Spectra of more values than this have no rug. */
const MOST_RUG = 128;

/** The density of the eigenvalues of a weight, with its fits, in all models that are shown; undefined where none has any. */
export function densityPlot(
  scale: DensityScale,
  layer: LayerData,
  options: Pick<SpectrumOptions, 'isShown'>,
): PlotSpec | undefined {
  const isLog = scale === 'log';
  const known = spectraOf(layer, options.isShown).flatMap((spectrum): Density[] => {
    const histogram = isLog ? spectrum.row.log : spectrum.row.lin;
    return histogram === undefined ? [] : [{ ...spectrum, histogram, edges: edgesOf(histogram, isLog) }];
  });
  const [low = 0, high = 0] = extent(known.flatMap(({ edges }) => edges));
  const [least, most] = extent(
    known.flatMap(({ histogram }) => histogram.density).filter((value) => value > 0),
  );
  if (least === undefined || most === undefined) return undefined;
  const isAlone = layer.rows.length === 1;
  const series = known.flatMap((one) => densitySeries(one, isAlone));
  // A square matrix has an infinite density at 0.
  const peaks = known.flatMap(({ row }) => (row.mp === undefined ? [] : (max(row.mp.curve.ys) ?? 0)));
  const peak = Math.max(most, Math.min(1.3 * most, max(peaks) ?? 0));
  const [first] = known;
  return {
    name: `density-${scale}`,
    title: `Density of the eigenvalues of ${layer.label}${isLog ? ', log-log' : ''}`,
    height: 320,
    x: { log: isLog, from: low, to: isLog ? high * 1.05 : high, label: 'eigenvalue λ = s²' },
    y: isLog
      ? { log: true, from: Math.max(least, most * 1e-7) * 0.5, to: peak * 2, label: 'density ρ(λ)' }
      : { log: false, from: 0, to: peak * 1.06, label: 'density ρ(λ)' },
    series,
    rug: known
      .filter(({ s }) => s.length <= MOST_RUG)
      .map(({ model, s }) => ({
        model,
        values: s.map((value) => value * value).filter((value) => value >= low && value <= high),
      })),
    rules: known.flatMap(({ model, histogram }): Rule[] =>
      isLog || histogram.beyond === 0
        ? []
        : [{ axis: 'x', at: high, text: `${histogram.beyond} beyond →`, model }],
    ),
    stops: (first?.edges ?? []).slice(0, -1).map((from, k) => (from + (first?.edges[k + 1] ?? from)) / 2),
    read: (x) => readDensity(known, x),
  };
}

function densitySeries({ model, row, histogram, edges }: Density, isAlone: boolean): Series[] {
  const fits = [
    ['mp', row.mp],
    ['pl', row.pl],
  ] as const;
  return [
    { kind: 'area', xs: edges, ys: histogram.density, model },
    ...fits.flatMap(([name, fit]): Series[] =>
      fit === undefined
        ? []
        : [{ kind: 'line', ...fit.curve, model, mark: isAlone ? `${name} alone` : name }],
    ),
  ];
}

function readDensity(known: readonly Density[], x: number): Reading | undefined {
  let title = `λ = ${formatSignificant(x)}`;
  const dots: { y: number; model: number }[] = [];
  const lines = known.flatMap(({ model, row, histogram, edges }) => {
    const bin = bisectRight(edges, x) - 1;
    const [y, from, to] = [histogram.density[bin], edges[bin], edges[bin + 1]];
    if (y === undefined || from === undefined || to === undefined) return [];
    dots.push({ y, model });
    if (known.length === 1) title = `λ from ${formatSignificant(from)} to ${formatSignificant(to)}`;
    const values = Math.round(y * (to - from) * (row.n ?? 0));
    const fits = [
      ['Marchenko-Pastur', row.mp],
      ['power law', row.pl],
    ] as const;
    return [
      {
        model,
        text: `density ${formatSignificant(y)}, ${values} ${values === 1 ? 'eigenvalue' : 'eigenvalues'}`,
      },
      ...fits.flatMap(([name, fit]) => {
        const value = fit && valueAt(fit.curve, x);
        return value ? [{ text: `${name}: ${formatSignificant(value)}` }] : [];
      }),
    ];
  });
  return lines.length === 0 ? undefined : { title, lines, x, dots };
}
