/** Choosing a weight, the address, the theme, and the first drawing. */
export const MAIN = `
/** @param {number} index @param {{focus?: boolean, scroll?: boolean}} [options] */
function choose(index, options = {}) {
  const layer = DATA.layers[index];
  if (layer === undefined) return;
  state.layer = index;
  history.replaceState(null, '', '#layer=' + encodeURIComponent(layer.key));
  showChosen();
  if (options.focus) {
    const group = byId('overview').querySelector('[data-layer="' + index + '"]');
    if (group instanceof SVGElement) group.focus();
  }
  if (options.scroll) {
    const isCalm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    byId('detail').scrollIntoView({ behavior: isCalm ? 'auto' : 'smooth', block: 'start' });
    byId('detail-title').focus({ preventScroll: true });
  }
}

function showChosen() {
  markChosen();
  drawDetail();
  for (const row of byId('weights').querySelectorAll('tbody tr')) {
    if (row instanceof HTMLElement) row.classList.toggle('current', Number(row.dataset.index) === state.layer);
  }
}

/** The weight that the address names, or -1. */
function fromAddress() {
  const match = /^#layer=(.*)$/.exec(location.hash);
  if (match === null) return -1;
  let key = match[1] || '';
  try {
    key = decodeURIComponent(key);
  } catch {
    // A sign of percent that stands for itself.
  }
  return DATA.layers.findIndex((layer) => layer.key === key);
}

/** Of the weights that the most models have a spectrum of, the largest. */
function largest() {
  let best = DATA.layers.length > 0 ? 0 : -1;
  let [widest, most] = [-1, -1];
  for (const [index, { rows }] of DATA.layers.entries()) {
    const known = rows.filter((row) => row?.s !== undefined);
    const size = Math.max(0, ...known.map((row) => row?.params || 0));
    if (known.length < widest || (known.length === widest && size <= most)) continue;
    [best, widest, most] = [index, known.length, size];
  }
  return best;
}

function start() {
  attachTheme();
  byId('print').addEventListener('click', () => window.print());
  attachEmbeddings();
  if (DATA.layers.length === 0) return;
  state.layer = fromAddress();
  if (state.layer < 0) state.layer = largest();
  attachOverview();
  attachTable();
  onSwitch('spectrum', (value) => {
    state.spectrum = value;
    drawDetail();
  });
  onSwitch('density', (value) => {
    state.density = value;
    drawDetail();
  });
  onSwitch('relative', (_, checked) => {
    state.relative = checked;
    drawDetail();
  });
  onSwitch('model', (value, checked) => {
    if (checked) state.hidden.delete(Number(value));
    else state.hidden.add(Number(value));
    drawOverview();
    drawDetail();
    drawEmbeddings();
  });
  const metric = byId('metric');
  metric.addEventListener('change', () => {
    state.metric = metric instanceof HTMLSelectElement ? Number(metric.value) : state.metric;
    drawOverview();
  });
  const select = byId('layer');
  select.addEventListener('change', () => {
    if (select instanceof HTMLSelectElement) choose(Number(select.value));
  });
  byId('previous').addEventListener('click', () => choose(Math.max(0, state.layer - 1)));
  byId('next').addEventListener('click', () => choose(Math.min(DATA.layers.length - 1, state.layer + 1)));
  addEventListener('hashchange', () => {
    const index = fromAddress();
    if (index < 0) return;
    state.layer = index;
    showChosen();
    byId('detail').scrollIntoView();
  });
  for (const button of document.querySelectorAll('button[data-download]')) {
    button.addEventListener('click', () => {
      const which = button.getAttribute('data-download') || '';
      const isWhole = which === 'overview' || which.startsWith('embedding-');
      const name = isWhole ? which : which + '-' + (which === 'spectrum' ? state.spectrum : state.density);
      const plot = document.querySelector('[data-plot="' + name + '"]');
      const layer = which === 'overview' ? DATA.metrics[state.metric]?.key : isWhole ? DATA.embeddings?.metrics[embeddingMetric[which.slice(10)] ?? -1]?.key : DATA.layers[state.layer]?.key;
      if (plot instanceof SVGElement) download(plot, [DATA.file, layer, name].join('-'));
    });
  }
  let width = 0;
  const redraw = debounced(60, () => {
    if (byId('overview').clientWidth === width) return;
    width = byId('overview').clientWidth;
    drawOverview();
    drawDetail();
    drawEmbeddings();
  });
  new ResizeObserver(redraw).observe(byId('overview'));
  drawOverview();
  width = byId('overview').clientWidth;
  showChosen();
  if (location.hash.startsWith('#layer=')) byId('detail').scrollIntoView();
  document.documentElement.dataset.ready = 'true';
}

start();
`;
