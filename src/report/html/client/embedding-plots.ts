import { extent } from 'd3-array';
import type { Axis } from '../axis.js';
import type { EmbeddingMetricData } from '../types.js';
import { byId, el } from './dom.js';
import { drawPlot } from './plot.js';
import type { PlotSpec } from './plot-spec.js';
import { data, shownModels } from './state.js';

/** Which metric each plot shows. */
const chosen = new Map<string, number>();

/** The metric that a plot of the embeddings shows. */
export function embeddingMetric(plot: string): EmbeddingMetricData | undefined {
  return data.embeddings?.metrics[chosen.get(plot) ?? -1];
}

/** Values whose largest is this many times the smallest are read on a logarithmic axis. */
const WIDE = 50;

function axisOf(values: readonly number[], { header: label, format }: EmbeddingMetricData): Axis {
  const [, most = 1] = extent(values);
  const [least = 0] = extent(values.filter((value) => value > 0));
  if (format === 'percent') {
    return { log: false, from: 0, to: Math.min(1, most * 1.08) || 1, label, unit: 'percent' };
  }
  if (least > 0 && most / least > WIDE) return { log: true, from: least / 1.4, to: most * 1.4, label };
  return { log: false, from: 0, to: most * 1.08 || 1, label };
}

/** A metric of the embeddings over the depth of the network; undefined where no model that is shown has it. */
function embeddingPlot(plot: string): PlotSpec | undefined {
  const at = chosen.get(plot) ?? -1;
  const metric = embeddingMetric(plot);
  const values = data.embeddings?.values ?? [];
  if (metric === undefined) return undefined;
  const models = shownModels();
  const series = models.map((model) => {
    const known = values.flatMap(({ rows }, k) => {
      const y = rows[model]?.v[at];
      return typeof y === 'number' ? [{ x: k + 1, y }] : [];
    });
    return {
      kind: 'points' as const,
      xs: known.map(({ x }) => x),
      ys: known.map(({ y }) => y),
      model,
    };
  });
  const all = series.flatMap(({ ys }) => ys);
  if (all.length === 0) return undefined;
  return {
    name: `embedding-${plot}`,
    title: `${metric.header} of the embeddings over the depth of the network`,
    height: 300,
    x: {
      log: false,
      isWhole: true,
      from: 1,
      to: Math.max(2, values.length),
      label: 'values, from input to output',
    },
    y: axisOf(all, metric),
    series,
    stops: values.map((_, k) => k + 1),
    read: (x) => {
      const k = Math.max(0, Math.min(values.length - 1, Math.round(x) - 1));
      const value = values[k];
      if (value === undefined) return undefined;
      const shown = models.filter((model) => value.rows[model]);
      const ofModels = shown.map((model) => ({
        model,
        text: `${metric.header} ${value.rows[model]?.t[at] || '–'}`,
      }));
      return {
        title: `${k + 1}. ${value.label}`,
        lines: [...ofModels, { text: value.about }],
        x: k + 1,
        dots: shown.flatMap((model) => {
          const y = value.rows[model]?.v[at];
          return typeof y === 'number' ? [{ y, model }] : [];
        }),
      };
    },
  };
}

export function drawEmbeddings(): void {
  for (const plot of chosen.keys()) {
    const spec = embeddingPlot(plot);
    const host = byId(`embedding-${plot}`);
    if (spec === undefined) host.replaceChildren(el('p', { class: 'none' }, 'Nothing to draw.'));
    else drawPlot(host, spec);
  }
}

export function attachEmbeddings(): void {
  for (const select of document.querySelectorAll<HTMLSelectElement>('select[data-embedding]')) {
    const plot = select.dataset.embedding ?? '';
    chosen.set(plot, Number(select.value));
    select.addEventListener('change', () => {
      chosen.set(plot, Number(select.value));
      drawEmbeddings();
    });
  }
}
