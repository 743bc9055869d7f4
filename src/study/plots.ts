import type { Evidence, PicturePlot, Plot, PlotSeries, Settings, SettingValue } from './study.js';

/** The means of a metric over a setting that is a number, with their intervals. */
export function seriesOver(
  evidence: Evidence,
  axis: string,
  metric: string,
  settings: Settings,
  name: string,
): PlotSeries {
  const points = evidence
    .settingsOf<number>(axis)
    .map((x) => ({ x, ...evidence.estimate(metric, { ...settings, [axis]: x }) }))
    .filter(({ n }) => n > 0);
  return seriesOf(name, points);
}

/** A mean at a place, with its interval; NaN where one run tells of none. */
interface Estimated {
  readonly x: number;
  readonly mean: number;
  readonly low: number;
  readonly high: number;
}

/** Means with their intervals as a line, from the least x to the largest. */
export function seriesOf(name: string, estimates: readonly Estimated[]): PlotSeries {
  const points = estimates.toSorted((a, b) => a.x - b.x);
  return {
    name,
    xs: points.map(({ x }) => x),
    ys: points.map(({ mean }) => mean),
    lows: points.map(({ low, mean }) => (Number.isNaN(low) ? mean : low)),
    highs: points.map(({ high, mean }) => (Number.isNaN(high) ? mean : high)),
  };
}

/**
 * Kernels and spectra of the first seed over a setting: a row of kernels and a plot of spectra for each value of `by`.
 *
 * @param name of the kernel and the spectrum; default all that the runs have
 */
export function picturesOf(
  evidence: Evidence,
  axis: string,
  settings: Settings,
  by: string,
  name?: string,
): readonly Plot[] {
  return evidence.settingsOf(by).flatMap((value) => {
    const runs = evidence.runs.filter(
      (run) =>
        run.pictures !== undefined &&
        run.settings[by] === value &&
        Object.entries(settings).every(([key, wanted]) => run.settings[key] === wanted),
    );
    const labelled = runs.flatMap(({ settings: own, pictures }) =>
      Object.entries(pictures?.kernels ?? {})
        .filter(([key]) => name === undefined || key === name)
        .map(([key, picture]) => ({ label: labelOf(axis, own[axis], key, name), picture })),
    );
    const spectra = runs.flatMap(({ settings: own, pictures }) =>
      Object.entries(pictures?.spectra ?? {})
        .filter(([key]) => name === undefined || key === name)
        .map(([key, ys]) => ({
          name: labelOf(axis, own[axis], key, name),
          xs: ys.map((_, index) => index + 1),
          ys,
        })),
    );
    const kernels: PicturePlot[] =
      labelled.length === 0
        ? []
        : [
            {
              kind: 'pictures',
              name: `kernel-${value}`,
              title: `Kernels, ${value}, seed 0`,
              pictures: labelled,
            },
          ];
    const lines: Plot[] =
      spectra.length === 0
        ? []
        : [
            {
              kind: 'lines',
              name: `spectrum-${value}`,
              title: `Eigenvalues of the kernel, ${value}, seed 0`,
              x: { label: 'index', log: true },
              y: { label: 'absolute eigenvalue', log: true },
              series: spectra,
            },
          ];
    return [...kernels, ...lines];
  });
}

function labelOf(axis: string, at: SettingValue | undefined, key: string, name: string | undefined): string {
  return `${axis} ${at ?? ''}${name === undefined && key !== 'output' ? `, ${key}` : ''}`;
}
