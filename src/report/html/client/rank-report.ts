/** The script of the page of a rank report. */
import type { DensityScale } from '../types.js';
import { choose, chooseNeighbour, fromAddress, largest, showChosen } from './choice.js';
import { drawDetail } from './detail.js';
import { attachPage, byId, onSwitch, onWidth } from './dom.js';
import { attachEmbeddings, drawEmbeddings, embeddingMetric } from './embedding-plots.js';
import { attachOverview, drawOverview } from './overview.js';
import type { SpectrumScale } from './spectrum.js';
import { data, state } from './state.js';
import { attachDownloads } from './svg-file.js';
import { attachTable } from './table.js';

function attachSwitches(): void {
  onSwitch('spectrum', (value) => {
    state.spectrum = value as SpectrumScale;
    drawDetail();
  });
  onSwitch('density', (value) => {
    state.density = value as DensityScale;
    drawDetail();
  });
  onSwitch('relative', (_, checked) => {
    state.relative = checked;
    drawDetail();
  });
  onSwitch('model', (value, checked) => {
    if (checked) state.hidden.delete(Number(value));
    else state.hidden.add(Number(value));
    draw();
  });
  const metric = byId('metric', HTMLSelectElement);
  metric.addEventListener('change', () => {
    state.metric = Number(metric.value);
    drawOverview();
  });
}

function attachChoice(): void {
  const select = byId('layer', HTMLSelectElement);
  select.addEventListener('change', () => choose(Number(select.value)));
  byId('previous').addEventListener('click', () => chooseNeighbour(-1));
  byId('next').addEventListener('click', () => chooseNeighbour(1));
  attachOverview((index, focus) => choose(index, { focus }));
  attachTable((index) => choose(index, { scroll: true }));
  addEventListener('hashchange', () => {
    const index = fromAddress();
    if (index < 0) return;
    state.layer = index;
    showChosen();
    byId('detail').scrollIntoView();
  });
}

/** The plot that a button saves, by what is shown of it. */
function savedPlot(button: string): { plot: string; file: string[] } {
  const named = (plot: string, of: string | undefined): { plot: string; file: string[] } => ({
    plot,
    file: [data.file, of ?? '', plot],
  });
  if (button === 'overview') return named(button, data.metrics[state.metric]?.key);
  if (button.startsWith('embedding-')) {
    return named(button, embeddingMetric(button.slice('embedding-'.length))?.key);
  }
  const scale = button === 'spectrum' ? state.spectrum : state.density;
  return named(`${button}-${scale}`, data.layers[state.layer]?.key);
}

function draw(): void {
  drawOverview();
  showChosen();
  drawEmbeddings();
}

function start(): void {
  attachPage();
  attachEmbeddings();
  attachDownloads(savedPlot);
  if (data.layers.length === 0) {
    drawEmbeddings();
    return;
  }
  const named = fromAddress();
  state.layer = named < 0 ? largest() : named;
  attachSwitches();
  attachChoice();
  onWidth(byId('overview'), draw);
  if (named >= 0) byId('detail').scrollIntoView();
  document.documentElement.dataset.ready = 'true';
}

start();
