import { formatCount } from '../../text/text.js';
import type { FitData, LayerData } from '../types.js';
import { breakable, byId, el, swatch } from './dom.js';
import { drawPlot } from './plot.js';
import type { PlotSpec } from './plot-spec.js';
import { DENSITY_SCALES, densityPlot, SPECTRUM_SCALES, spectrumPlot } from './spectrum.js';
import { data, isShown, metricIndex, state } from './state.js';

/** The spectrum of the chosen weight, in all models. */
export function drawDetail(): void {
  const layer = data.layers[state.layer];
  if (layer === undefined) return;
  byId('detail-title').replaceChildren(...breakable(layer.label));
  const row = layer.rows.find((one) => one !== null);
  const about = row && [
    layer.subtitle,
    row.op,
    row.dims.join(' × '),
    `${formatCount(row.params)} parameters`,
    `weight ${state.layer + 1} of ${data.layers.length}`,
  ];
  byId('detail-what').textContent = about?.filter(Boolean).join(' · ') ?? '';
  byId('layer', HTMLSelectElement).value = String(state.layer);
  drawProblems(layer);
  drawFigures(layer);
  const options = { isShown, metricIndex, relative: state.relative };
  for (const scale of SPECTRUM_SCALES) {
    drawInto(`spectrum-${scale}`, spectrumPlot(scale, layer, options), scale === state.spectrum);
  }
  for (const scale of DENSITY_SCALES) {
    drawInto(`density-${scale}`, densityPlot(scale, layer, options), scale === state.density);
  }
  drawFits(layer);
}

function drawInto(id: string, spec: PlotSpec | undefined, isChosen: boolean): void {
  const host = byId(id);
  host.classList.toggle('off', !isChosen);
  if (spec === undefined) host.replaceChildren(el('p', { class: 'none' }, 'No spectrum to draw.'));
  else drawPlot(host, spec);
}

/** Why a model has no spectrum of the weight. */
function drawProblems({ rows }: LayerData): void {
  const lines = rows.flatMap((row, model) => {
    const name = data.models.length > 1 ? `${data.models[model]?.name}: ` : '';
    if (row === null) return [`${name}has no weight of this name`];
    if (row.problem) return [`${name}no spectrum, ${row.problem}`];
    return row.s === undefined ? [`${name}the report was made without spectra`] : [];
  });
  const shapes = rows.map((row) => row?.dims.join(' × '));
  if (new Set(shapes.filter((shape) => shape !== undefined)).size > 1) {
    lines.push(`the shapes differ: ${shapes.map((shape) => shape ?? '–').join(' and ')}`);
  }
  byId('detail-problems').replaceChildren(...lines.map((line) => el('p', { class: 'warning' }, line)));
}

/** Figures that stand above the plots; the table has them all. */
const FIGURES = [
  'effectiveRank',
  'effectiveRankRatio',
  'stableRank',
  'numericalRank',
  'rank99',
  'conditionNumber',
  'alpha',
  'mpSpikes',
];

function drawFigures({ rows }: LayerData): void {
  const isAlone = data.models.length === 1;
  byId('detail-figures').replaceChildren(
    ...FIGURES.flatMap((key) => {
      const at = metricIndex(key);
      const metric = data.metrics[at];
      if (metric === undefined) return [];
      const values = rows.flatMap((row, model) =>
        isShown(model) ? [el('dd', {}, ...(isAlone ? [] : [swatch(model)]), row?.t[at] || '–')] : [],
      );
      return [el('div', { title: metric.definition }, el('dt', {}, metric.header), ...values)];
    }),
  );
}

function drawFits({ rows }: LayerData): void {
  const isAlone = data.models.length === 1;
  const lines = rows.flatMap((row, model) => {
    if (row?.s === undefined || !isShown(model)) return [];
    const name = isAlone ? '' : `${data.models[model]?.name ?? ''}, `;
    const line = (mark: string, law: string, fit: FitData | undefined, none = 'unknown reason'): Element => {
      // Equations stay in one line.
      const text = fit ? fit.text.replace(/ (=|±) /g, '\u00a0$1\u00a0') : `no fit, ${none}`;
      const picture = swatch(model, isAlone ? `${mark} alone` : mark);
      return el('li', {}, picture, el('span', {}, `${name}${law}: ${text}`));
    };
    return [line('mp', 'Marchenko-Pastur', row.mp, row.mpNone), line('pl', 'power law', row.pl, row.plNone)];
  });
  byId('fits').replaceChildren(...lines);
}
