/** Curves of a training over its epochs, of several runs over each other. */
export const TRAINING = `
/** @typedef {{xs: number[], ys: number[]}} Curve */
/** @typedef {{name: string, curves: Record<string, Curve>, best?: number, epochs: number}} RunData */
/** @typedef {{key: string, label: string, note: string, runs: ({matrix: string, xs: number[], ys: number[][]}|null)[]}} Weight */
/** @typedef {{key: string, header: string, format: string}} RankMetric */
/** @typedef {{runs: RunData[], metrics: RankMetric[], weights: Weight[], file: string}} TrainingData */

/** @type {TrainingData} */
const DATA = JSON.parse(byId('data').textContent || '');

const state = {
  /** @type {Set<number>} Runs that the reader switched off. */
  hidden: new Set(),
  isLog: false,
  /** Index of the weight; -1 is the mean of all. */
  weight: -1,
  metric: 0,
};

/** @typedef {{curve: string, mark: string, word: string}} Part */
/** @type {Record<string, {title: string, label: string, unit?: 'percent', parts: Part[]}>} */
const PLOTS = {
  loss: {
    title: 'Loss', label: 'loss',
    parts: [{ curve: 'loss', mark: 'train', word: 'training' }, { curve: 'validationLoss', mark: '', word: 'validation' }],
  },
  accuracy: {
    title: 'Accuracy', label: 'share that is right', unit: 'percent',
    parts: [{ curve: 'accuracy', mark: 'train', word: 'training' }, { curve: 'validationAccuracy', mark: '', word: 'validation' }],
  },
  rate: { title: 'Learning rate', label: 'learning rate', parts: [{ curve: 'rate', mark: '', word: 'learning rate' }] },
  norm: { title: 'Norm of the gradients', label: 'mean norm', parts: [{ curve: 'norm', mark: '', word: 'norm of the gradients' }] },
};

/** @returns {number[]} */
function shownRuns() {
  return DATA.runs.map((_, run) => run).filter((run) => !state.hidden.has(run));
}

/** The axis of epochs. @returns {Axis} */
function epochAxis() {
  return { log: false, from: 0, to: Math.max(1, ...DATA.runs.map(({ epochs }) => epochs)), label: 'epoch', isWhole: true };
}

/** Room for some values. @param {number[]} values @param {string} label @param {'percent'|undefined} unit @param {boolean} isLog @returns {Axis} */
function valueAxis(values, label, unit, isLog) {
  const known = isLog ? values.filter((value) => value > 0) : values;
  const [least, most] = [Math.min(...known), Math.max(...known)];
  if (isLog) return { log: true, from: least * 0.9, to: Math.max(most * 1.1, least * 1.2), label };
  const room = (most - least || Math.abs(most) || 1) * 0.06;
  const from = unit === 'percent' ? Math.max(0, least - room) : least > 0 && least - room < 0.25 * most ? 0 : least - room;
  /** @type {Axis} */
  const axis = { log: false, from, to: unit === 'percent' ? Math.min(1, most + room) : most + room, label };
  return unit === undefined ? axis : { ...axis, unit };
}

/** @param {Curve} curve @param {number} x */
function nearest(curve, x) {
  let best = -1;
  for (const [index, at] of curve.xs.entries()) {
    if (best < 0 || Math.abs(at - x) < Math.abs((curve.xs[best] || 0) - x)) best = index;
  }
  return best;
}

/** @typedef {{run: number, mark: string, word: string, curve: Curve}} Line */

/** @param {HTMLElement} host @param {string} name @param {string} title @param {Line[]} lines @param {Axis} y @param {(value: number) => string} text */
function drawLines(host, name, title, lines, y, text) {
  const stops = [...new Set(lines.flatMap(({ curve }) => curve.xs))].sort((a, b) => a - b);
  const isOne = DATA.runs.length === 1;
  drawPlot(host, {
    name, title, height: 270, x: epochAxis(), y, stops,
    series: lines.map(({ run, mark, curve }) => ({ kind: 'points', xs: curve.xs, ys: curve.ys, model: run, mark })),
    rules: shownRuns().flatMap((run) => {
      const best = DATA.runs[run]?.best;
      return best === undefined ? [] : [{ axis: 'x', at: best, text: 'best', model: run }];
    }),
    read: (at) => {
      const stop = stops.reduce((found, one) => (Math.abs(one - at) < Math.abs(found - at) ? one : found), stops[0] ?? 0);
      const found = lines.flatMap((line) => {
        const index = nearest(line.curve, stop);
        const value = line.curve.ys[index];
        return value === undefined || Math.abs((line.curve.xs[index] || 0) - stop) > 0.51 ? [] : [{ line, value, x: line.curve.xs[index] }];
      });
      if (found.length === 0) return undefined;
      return {
        title: 'epoch ' + significant(stop),
        lines: found.map(({ line, value }) => ({
          text: (isOne ? '' : (DATA.runs[line.run]?.name || '') + ', ') + line.word + ' ' + text(value), model: line.run,
        })),
        x: stop,
        dots: found.filter(({ x }) => x === stop).map(({ line, value }) => ({ y: value, model: line.run })),
      };
    },
  });
}

/** @param {number} value @param {string} format */
function textOf(value, format) {
  if (format === 'percent') return (100 * value).toFixed(1) + '%';
  if (format === 'fixed1') return value.toFixed(1);
  return format === 'fixed2' ? value.toFixed(2) : significant(value);
}

function drawCurves() {
  for (const [name, plot] of Object.entries(PLOTS)) {
    const host = document.getElementById('plot-' + name);
    if (host === null) continue;
    const lines = plot.parts.flatMap(({ curve, mark, word }) =>
      shownRuns().flatMap((run) => {
        const found = DATA.runs[run]?.curves[curve];
        return found === undefined || found.xs.length === 0 ? [] : [{ run, mark, word, curve: found }];
      }));
    const values = lines.flatMap(({ curve }) => curve.ys);
    if (values.length === 0) {
      host.replaceChildren(el('p', { class: 'none' }, 'Nothing to draw'));
      continue;
    }
    const isLog = state.isLog && name === 'loss' && values.some((value) => value > 0);
    const format = plot.unit === 'percent' ? 'percent' : '';
    drawLines(host, name, plot.title, lines, valueAxis(values, plot.label, plot.unit, isLog), (value) => textOf(value, format));
  }
}

function drawRanks() {
  const host = document.getElementById('plot-rank');
  const metric = DATA.metrics[state.metric];
  if (host === null || metric === undefined) return;
  const weight = DATA.weights[state.weight];
  const isMean = weight === undefined;
  const format = isMean ? 'percent' : metric.format;
  const lines = shownRuns().flatMap((run) => {
    const one = weight?.runs[run];
    const curve = isMean ? DATA.runs[run]?.curves.mean : one && { xs: one.xs, ys: one.ys[state.metric] || [] };
    return curve === undefined || curve === null || curve.xs.length === 0 ? [] : [{ run, mark: '', word: isMean ? 'mean' : metric.header, curve }];
  });
  const label = isMean ? 'mean effective rank / max' : metric.header;
  byId('rank-title').textContent = isMean ? 'Effective rank, mean of all weights' : weight.label;
  byId('rank-what').textContent = isMean
    ? 'Each weight counts by its elements, a chain as the one layer that it folds to.'
    : [weight.note, [...new Set(weight.runs.flatMap((run) => run?.matrix || []))].join(' and ')].filter((part) => part !== '').join(', ');
  const values = lines.flatMap(({ curve }) => curve.ys);
  if (values.length === 0) host.replaceChildren(el('p', { class: 'none' }, 'The runs that are shown have no such weight'));
  else drawLines(host, 'rank', label, lines, valueAxis(values, label, format === 'percent' ? 'percent' : undefined, false), (value) => textOf(value, format));
  for (const row of document.querySelectorAll('#weights tbody tr')) {
    row.classList.toggle('current', Number(row.getAttribute('data-index')) === state.weight);
  }
}

/** @param {number} index @param {boolean} aloud */
function chooseWeight(index, aloud) {
  state.weight = Math.max(-1, Math.min(DATA.weights.length - 1, index));
  const select = byId('weight');
  if (select instanceof HTMLSelectElement) select.value = String(state.weight);
  const metric = byId('metric');
  if (metric instanceof HTMLSelectElement) metric.disabled = state.weight < 0;
  drawRanks();
  if (aloud) say(byId('rank-title').textContent + ', weight ' + count(state.weight + 1) + ' of ' + count(DATA.weights.length));
}

function start() {
  attachTheme();
  byId('print').addEventListener('click', () => window.print());
  onSwitch('run', (value, checked) => {
    if (checked) state.hidden.delete(Number(value));
    else state.hidden.add(Number(value));
    drawCurves();
    drawRanks();
  });
  onSwitch('scale', (value) => {
    state.isLog = value === 'log';
    drawCurves();
  });
  const hasRanks = document.getElementById('plot-rank') !== null;
  if (hasRanks) {
    const select = byId('weight');
    select.addEventListener('change', () => {
      if (select instanceof HTMLSelectElement) chooseWeight(Number(select.value), false);
    });
    const metric = byId('metric');
    metric.addEventListener('change', () => {
      if (metric instanceof HTMLSelectElement) state.metric = Number(metric.value);
      drawRanks();
    });
    byId('previous').addEventListener('click', () => chooseWeight(state.weight - 1, true));
    byId('next').addEventListener('click', () => chooseWeight(state.weight + 1, true));
    for (const row of document.querySelectorAll('#weights tbody tr')) {
      row.addEventListener('click', (event) => {
        event.preventDefault();
        chooseWeight(Number(row.getAttribute('data-index')), true);
        byId('ranks').scrollIntoView({ block: 'nearest' });
      });
    }
  }
  for (const button of document.querySelectorAll('button[data-download]')) {
    button.addEventListener('click', () => {
      const name = button.getAttribute('data-download') || '';
      const plot = document.querySelector('[data-plot="' + name + '"]');
      if (plot instanceof SVGElement) download(plot, [DATA.file, name].join('-'));
    });
  }
  let width = 0;
  const host = byId('curves');
  const draw = () => {
    width = host.clientWidth;
    drawCurves();
    if (hasRanks) chooseWeight(state.weight, false);
  };
  new ResizeObserver(debounced(60, () => {
    if (host.clientWidth !== width) draw();
  })).observe(host);
  draw();
  document.documentElement.dataset.ready = 'true';
}

start();
`;
