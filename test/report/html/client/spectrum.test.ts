import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  densityPlot,
  edgesOf,
  energyOf,
  placeOf,
  spectrumPlot,
  valueAt,
} from '../../../../src/report/html/client/spectrum.js';
import { pageOf } from '../../../../src/report/html/page-data.js';
import type { LayerData } from '../../../../src/report/html/types.js';
import { brokenRow, reportOf, rowOf } from '../spectra.js';

const spectra = fc
  .array(fc.double({ min: 0, max: 1e3, noNaN: true }), { minLength: 1, maxLength: 40 })
  .map((values) => values.sort((a, b) => b - a));

describe('the energy', () => {
  it('is the share of the sum of the squares up to each value', () => {
    fc.assert(
      fc.property(spectra, (s) => {
        const total = s.reduce((sum, value) => sum + value ** 2, 0);
        const energy = energyOf({ s });
        fc.pre(total > 1e-200);
        let sum = 0;
        for (const [k, value] of s.entries()) {
          sum += value ** 2;
          expect(energy[k]).toBeCloseTo(sum / total, 9);
        }
      }),
    );
    expect(energyOf({ s: [0, 0] })).toEqual([0, 0]);
    expect(energyOf({ s: [2, 1], e: [0.5, 0.7] })).toEqual([0.5, 0.7]);
  });
});

describe('a thinned spectrum', () => {
  it('is read at the last value that the page has at or before an index', () => {
    const indices = fc.uniqueArray(fc.nat(200), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(indices, fc.nat(220), (some, at) => {
        const i = [0, ...some.filter((k) => k > 0).sort((a, b) => a - b)];
        const place = placeOf({ i, s: i.map(() => 1) }, at);
        expect(place).toBe(i.findLastIndex((index) => index <= at));
      }),
    );
    expect(placeOf({ s: [3, 2, 1] }, 7)).toBe(2);
  });
});

describe('a curve', () => {
  it('is straight between its points and nothing beyond them', () => {
    const curve = { xs: [1, 2, 4], ys: [10, 20, 0] };
    expect([0.5, 1, 1.5, 2, 3, 4.5].map((x) => valueAt(curve, x))).toEqual([
      undefined,
      10,
      15,
      20,
      10,
      undefined,
    ]);
  });

  it('has bins of equal widths in the value or in its logarithm', () => {
    const histogram = { from: -1, width: 1, density: [1, 2, 3], beyond: 0 };
    expect(edgesOf(histogram, false)).toEqual([-1, 0, 1, 2]);
    expect(edgesOf(histogram, true)).toEqual([0.1, 1, 10, 100]);
  });
});

describe('the plots of a weight', () => {
  const reports = [[rowOf('w', 12, 20), brokenRow('bad')], [rowOf('w', 16, 20)]].map((rows) =>
    reportOf(rows),
  );
  const page = pageOf(reports.map((report, index) => ({ name: `${index}.onnx`, report })));
  const layers = page.layers.map(({ data, ...name }): LayerData => ({ ...name, rows: data }));
  const metricIndex = (key: string): number => page.metrics.findIndex((metric) => metric.key === key);
  const all = { isShown: () => true, metricIndex, relative: false };

  it('have a curve for each model that is shown, and read what they draw', () => {
    const layer = layers[0]!;
    for (const scale of ['linear', 'log', 'energy'] as const) {
      const spec = spectrumPlot(scale, layer, all)!;
      expect(spec.series.map(({ model }) => model)).toEqual([0, 1]);
      for (const stop of spec.stops) {
        const { dots, lines } = spec.read(stop)!;
        expect(dots).toHaveLength(stop <= 12 ? 2 : 1);
        expect(lines.map(({ model }) => model)).toEqual(dots.map(({ model }) => model));
        for (const { y, model } of dots) {
          const { xs, ys } = spec.series[model]!;
          expect(ys[xs.indexOf(stop)]).toBe(y);
        }
      }
    }
    const one = spectrumPlot('linear', layer, { ...all, isShown: (model) => model === 1, relative: true })!;
    expect(one.series.map(({ model, ys }) => [model, ys[0]])).toEqual([[1, 1]]);
    expect(one.rules?.map(({ model }) => model)).toEqual([1]);
  });

  it('have the densities that the page has, and count their eigenvalues', () => {
    const spec = densityPlot('linear', layers[0]!, all)!;
    const areas = spec.series.filter(({ kind }) => kind === 'area');
    expect(areas.map(({ model }) => model)).toEqual([0, 1]);
    for (const { xs, ys } of areas) expect(xs).toHaveLength(ys.length + 1);
    expect(spec.read(spec.x.to + 1)).toBeUndefined();
    expect(spec.read(spec.stops[0]!)?.lines[0]?.text).toMatch(/^density .*, \d+ eigenvalues?$/);
  });

  it('are none where no model has a spectrum', () => {
    for (const scale of ['linear', 'log'] as const) {
      expect(spectrumPlot(scale, layers[1]!, all)).toBeUndefined();
      expect(densityPlot(scale, layers[1]!, all)).toBeUndefined();
      expect(densityPlot(scale, layers[0]!, { isShown: () => false })).toBeUndefined();
    }
  });
});
