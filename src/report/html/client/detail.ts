/** The spectrum of one weight, in all models. */
export const DETAIL = String.raw`
/** @param {number} index @returns {{model: number, row: Row, s: number[]}[]} */
function spectraOf(index) {
  return (DATA.layers[index]?.rows || []).flatMap((row, model) =>
    row !== null && row.s !== undefined && row.s.length > 0 && isShown(model) ? [{ model, row, s: row.s }] : [],
  );
}

/** Index of the k-th value that the page has. @param {Row} row @param {number} k */
function indexOf(row, k) {
  return row.i === undefined ? k : (row.i[k] ?? k);
}

/** Share of the energy up to each value. @param {Row} row @returns {number[]} */
function energyOf(row) {
  if (row.e !== undefined) return row.e;
  const s = row.s || [];
  const largest = s[0] || 1;
  let sum = 0;
  const sums = s.map((value) => (sum += (value / largest) ** 2));
  return sums.map((value) => (sum === 0 ? 0 : value / sum));
}

/** Position of the last value at or before an index. @param {Row} row @param {number} at */
function placeOf(row, at) {
  const size = (row.s || []).length;
  if (row.i === undefined) return Math.max(0, Math.min(size - 1, at));
  let [low, high] = [0, size - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((row.i[middle] || 0) <= at) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** @param {string} key */
function metricIndex(key) {
  return DATA.metrics.findIndex((metric) => metric.key === key);
}

const KINDS = ['linear', 'log', 'energy'];
/** @type {Record<string, string>} */
const KIND_TITLES = { linear: 'Singular values', log: 'Singular values, log-log', energy: 'Cumulative energy' };

/** @param {string} kind @returns {PlotSpec|undefined} */
function spectrumSpec(kind) {
  const spectra = spectraOf(state.layer);
  const layer = DATA.layers[state.layer];
  if (spectra.length === 0 || layer === undefined) return undefined;
  const isLog = kind === 'log';
  const isEnergy = kind === 'energy';
  const longest = Math.max(...spectra.map(({ row }) => row.n || 0));
  const unit = spectra.map(({ s }) => (state.relative && !isEnergy ? s[0] || 1 : 1));
  const curves = spectra.map(({ row, s }, at) => (isEnergy ? energyOf(row) : s.map((value) => value / (unit[at] || 1))));
  const all = curves.flat();
  const positive = all.filter((value) => value > 0);
  const top = Math.max(...all, 0) || 1;
  // Values at the rounding of the largest are no information; they would take all the room.
  const floor = Math.max(Math.min(...positive), top * 1e-9);
  const rank = metricIndex('effectiveRank');
  /** @type {Rule[]} */
  const rules = isEnergy
    ? [['rank90', 0.9], ['rank99', 0.99]].map(([key, at]) => {
        const ranks = spectra.map(({ row }) => row.t[metricIndex(String(key))] || '–');
        return { axis: 'y', at: Number(at), text: 100 * Number(at) + '% in the first ' + ranks.join(' / ') };
      })
    : spectra.flatMap(({ model, row }) => {
        const value = finite(row, rank);
        return value === undefined ? [] : [{ axis: 'x', at: value, text: 'eff. rank ' + (row.t[rank] || ''), model }];
      });
  return {
    name: 'spectrum-' + kind,
    title: (KIND_TITLES[kind] || '') + ' of ' + layer.label,
    height: 320,
    x: isLog
      ? { log: true, from: 1, to: Math.max(2, longest), label: 'index i' }
      : { log: false, from: isEnergy ? 0 : 1, to: Math.max(2, longest), label: 'index i' },
    y: isEnergy
      ? { log: false, from: 0, to: 1, label: 'share of Σ s²', unit: 'percent' }
      : isLog
        ? { log: true, from: floor * 0.85, to: top * 1.2, label: state.relative ? 'sᵢ / s₁' : 'singular value sᵢ' }
        : { log: false, from: 0, to: top * 1.04, label: state.relative ? 'sᵢ / s₁' : 'singular value sᵢ' },
    series: spectra.map(({ model, row, s }, at) => {
      const xs = s.map((_, k) => indexOf(row, k) + 1);
      const ys = curves[at] || [];
      return isEnergy
        ? { kind: /** @type {const} */ ('points'), xs: [0, ...xs], ys: [0, ...ys], model }
        : { kind: /** @type {const} */ ('points'), xs, ys, model };
    }),
    rules,
    stops: Array.from({ length: Math.min(longest, 400) }, (_, k) => 1 + Math.round((k * (longest - 1)) / Math.max(1, Math.min(longest, 400) - 1))),
    read: (x) => {
      const at = Math.max(1, Math.min(longest, Math.round(x)));
      const energies = spectra.map(({ row }) => energyOf(row));
      /** @type {{text: string, model?: number}[]} */
      const lines = [];
      const dots = [];
      for (const [order, { model, row, s }] of spectra.entries()) {
        if (at > (row.n || 0)) continue;
        const k = placeOf(row, at - 1);
        const value = s[k] || 0;
        const energy = (energies[order] || [])[k] || 0;
        lines.push({
          model,
          text: 's = ' + significant(value) + ', ' + significant(value / (s[0] || 1)) + ' of s₁, energy ' + (100 * energy).toFixed(1) + '%',
        });
        dots.push({ y: isEnergy ? energy : value / (unit[order] || 1), model });
      }
      return { title: 'i = ' + at, lines, x: at, dots };
    },
  };
}

/** Edges of the bins. @param {Histogram} histogram @param {boolean} isLog */
function edgesOf(histogram, isLog) {
  return Array.from({ length: histogram.density.length + 1 }, (_, k) => {
    const at = histogram.from + k * histogram.width;
    return isLog ? 10 ** at : at;
  });
}

/** @param {string} kind @returns {PlotSpec|undefined} */
function densitySpec(kind) {
  const isLog = kind === 'log';
  const layer = DATA.layers[state.layer];
  const known = spectraOf(state.layer).flatMap(({ model, row, s }) => {
    const histogram = isLog ? row.log : row.lin;
    return histogram === undefined ? [] : [{ model, row, s, histogram, edges: edgesOf(histogram, isLog) }];
  });
  if (known.length === 0 || layer === undefined) return undefined;
  const low = Math.min(...known.map(({ edges }) => edges[0] || 0));
  const high = Math.max(...known.map(({ edges }) => edges.at(-1) || 0));
  const densities = known.flatMap(({ histogram }) => histogram.density.filter((value) => value > 0));
  const most = Math.max(...densities);
  const isAlone = DATA.models.length === 1;
  /** @type {Series[]} */
  const all = known.map(({ model, histogram, edges }) => ({ kind: 'area', xs: edges, ys: histogram.density, model }));
  let peak = most;
  for (const { model, row } of known) {
    if (row.mp !== undefined) {
      const [xs, ys] = row.mp.curve;
      all.push({ kind: 'line', xs, ys, model, mark: isAlone ? 'mp alone' : 'mp' });
      // A square matrix has an infinite density at 0.
      peak = Math.max(peak, Math.min(1.3 * most, ys.reduce((top, value) => Math.max(top, value), 0)));
    }
    if (row.pl !== undefined) all.push({ kind: 'line', xs: row.pl.curve[0], ys: row.pl.curve[1], model, mark: isAlone ? 'pl alone' : 'pl' });
  }
  return {
    name: 'density-' + kind,
    title: 'Density of the eigenvalues of ' + layer.label + (isLog ? ', log-log' : ''),
    height: 320,
    x: isLog ? { log: true, from: low, to: high * 1.05, label: 'eigenvalue λ = s²' } : { log: false, from: low, to: high, label: 'eigenvalue λ = s²' },
    y: isLog
      ? { log: true, from: Math.max(Math.min(...densities), most * 1e-7) * 0.5, to: peak * 2, label: 'density ρ(λ)' }
      : { log: false, from: 0, to: peak * 1.06, label: 'density ρ(λ)' },
    series: all,
    rug: known
      .filter(({ s }) => s.length <= 128)
      .map(({ model, s }) => ({ model, values: s.map((value) => value * value).filter((value) => value >= low && value <= high) })),
    rules: known.flatMap(({ model, histogram }) => {
      if (isLog || histogram.beyond === 0) return [];
      return [{ axis: /** @type {const} */ ('x'), at: high, text: histogram.beyond + ' beyond →', model }];
    }),
    stops: (known[0]?.edges || []).slice(0, -1).map((from, k) => (from + (known[0]?.edges[k + 1] || from)) / 2),
    read: (x) => {
      /** @type {{text: string, model?: number}[]} */
      const lines = [];
      const dots = [];
      let title = 'λ = ' + significant(x);
      for (const { model, row, histogram, edges } of known) {
        const bin = edges.findIndex((edge, k) => x >= edge && x < (edges[k + 1] ?? -Infinity));
        const density = histogram.density[bin];
        if (density === undefined) continue;
        const [from, to] = [edges[bin] || 0, edges[bin + 1] || 0];
        if (known.length === 1) title = 'λ from ' + significant(from) + ' to ' + significant(to);
        const values = Math.round(density * (to - from) * (row.n || 0));
        lines.push({ model, text: 'density ' + significant(density) + ', ' + values + (values === 1 ? ' eigenvalue' : ' eigenvalues') });
        dots.push({ y: density, model });
        for (const [fit, name] of /** @type {[Fit|undefined, string][]} */ ([[row.mp, 'Marchenko-Pastur'], [row.pl, 'power law']])) {
          const value = fit && valueAt(fit.curve, x);
          if (value) lines.push({ text: name + ': ' + significant(value) });
        }
      }
      return lines.length === 0 ? undefined : { title, lines, x, dots };
    },
  };
}

/** @param {[number[], number[]]} curve @param {number} x */
function valueAt([xs, ys], x) {
  const k = xs.findIndex((at) => at > x);
  if (k <= 0) return undefined;
  const [x0, x1, y0, y1] = [xs[k - 1] || 0, xs[k] || 0, ys[k - 1] || 0, ys[k] || 0];
  return y0 + ((x - x0) / (x1 - x0 || 1)) * (y1 - y0);
}

function drawDetail() {
  const layer = DATA.layers[state.layer];
  if (layer === undefined) return;
  byId('detail-title').textContent = layer.label;
  const row = layer.rows.find((one) => one !== null);
  byId('detail-what').textContent = row
    ? [layer.subtitle, row.op, row.dims.join(' × '), count(row.params) + ' parameters', 'weight ' + (state.layer + 1) + ' of ' + DATA.layers.length].filter(Boolean).join(' · ')
    : '';
  const select = byId('layer');
  if (select instanceof HTMLSelectElement) select.value = String(state.layer);
  drawProblems(layer);
  drawFigures(layer);
  for (const kind of KINDS) drawInto('spectrum-' + kind, spectrumSpec(kind), kind === state.spectrum);
  for (const kind of ['linear', 'log']) drawInto('density-' + kind, densitySpec(kind), kind === state.density);
  drawFits(layer);
}

/** @param {string} id @param {PlotSpec|undefined} spec @param {boolean} isShownNow */
function drawInto(id, spec, isShownNow) {
  const host = byId(id);
  host.classList.toggle('off', !isShownNow);
  if (spec === undefined) return host.replaceChildren(el('p', { class: 'none' }, 'No spectrum to draw.'));
  drawPlot(host, spec);
}

/** @param {Layer} layer */
function drawProblems(layer) {
  const lines = [];
  for (const [model, row] of layer.rows.entries()) {
    const name = DATA.models.length > 1 ? DATA.models[model]?.name + ': ' : '';
    if (row === null) lines.push(name + 'has no weight of this name');
    else if (row.problem) lines.push(name + 'no spectrum, ' + row.problem);
    else if (row.s === undefined) lines.push(name + 'the report was made without spectra');
  }
  const dims = new Set(layer.rows.flatMap((row) => (row ? row.dims.join(' × ') : [])));
  if (dims.size > 1) lines.push('the shapes differ: ' + layer.rows.map((row) => (row ? row.dims.join(' × ') : '–')).join(' and '));
  byId('detail-problems').replaceChildren(...lines.map((line) => el('p', { class: 'warning' }, line)));
}

/** Figures that stand above the plots; the table has them all. */
const KEYS = ['effectiveRank', 'effectiveRankRatio', 'stableRank', 'numericalRank', 'rank99', 'conditionNumber', 'alpha', 'mpSpikes'];

/** @param {Layer} layer */
function drawFigures(layer) {
  const keys = KEYS.map(metricIndex).filter((at) => at >= 0);
  byId('detail-figures').replaceChildren(
    ...keys.map((at) =>
      el('div', { title: DATA.metrics[at]?.definition },
        el('dt', {}, DATA.metrics[at]?.header || ''),
        ...layer.rows.flatMap((row, model) =>
          isShown(model) ? [el('dd', {}, ...(DATA.models.length > 1 ? [swatch(model)] : []), row?.t[at] || '–')] : []),
      ),
    ),
  );
}

/** @param {Layer} layer */
function drawFits(layer) {
  const isAlone = DATA.models.length === 1;
  const lines = layer.rows.flatMap((row, model) => {
    if (row === null || row.s === undefined || !isShown(model)) return [];
    const name = isAlone ? '' : (DATA.models[model]?.name || '') + ', ';
    return [
      fitLine(model, 'mp', name + 'Marchenko-Pastur', row.mp, row.mpNone, isAlone),
      fitLine(model, 'pl', name + 'power law', row.pl, row.plNone, isAlone),
    ];
  });
  byId('fits').replaceChildren(...lines);
}

/** @param {number} model @param {string} mark @param {string} name @param {Fit|undefined} fit @param {string|undefined} none @param {boolean} isAlone */
function fitLine(model, mark, name, fit, none, isAlone) {
  const picture = swatch(model);
  picture.setAttribute('class', 'swatch ' + series(model) + ' ' + mark + (isAlone ? ' alone' : ''));
  return el('li', {}, picture, el('span', {}, name + ': ' + (fit ? fit.text.replace(/ (=|±) /g, '\u00a0$1\u00a0') : 'no fit, ' + (none || 'unknown reason'))));
}
`;
