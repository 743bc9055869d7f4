/** The script of the page of trainings: curves over the epochs, of several runs over each other. */
import { leastIndex, max } from 'd3-array';
import { formatCount, formatNumber, formatSignificant } from '../../text/text.js';
import { type Axis, axisAround } from '../axis.js';
import type { CurveName, Curve as CurveOfRun, MetricData, TrainPageData } from '../types.js';
import { attachPage, breakable, byId, el, onSwitch, onWidth, pageData, say } from './dom.js';
import { drawPlot } from './plot.js';
import type { Reading } from './plot-spec.js';
import { attachDownloads } from './svg-file.js';

const data = pageData<TrainPageData>();

const state = {
  /** Runs that the reader switched off. */
  hidden: new Set<number>(),
  isLog: false,
  /** Index of the weight; -1 is the mean of all. */
  weight: -1,
  metric: 0,
};

interface Plot {
  readonly title: string;
  readonly label: string;
  readonly unit?: 'percent';
  readonly parts: readonly { readonly curve: CurveName; readonly mark?: string; readonly word: string }[];
}

const PLOTS: Readonly<Record<string, Plot>> = {
  loss: {
    title: 'Loss',
    label: 'loss',
    parts: [
      { curve: 'loss', mark: 'train', word: 'training' },
      { curve: 'validationLoss', word: 'validation' },
    ],
  },
  accuracy: {
    title: 'Accuracy',
    label: 'share that is right',
    unit: 'percent',
    parts: [
      { curve: 'accuracy', mark: 'train', word: 'training' },
      { curve: 'validationAccuracy', word: 'validation' },
    ],
  },
  rate: {
    title: 'Learning rate',
    label: 'learning rate',
    parts: [{ curve: 'rate', word: 'learning rate' }],
  },
  norm: {
    title: 'Norm of the gradients',
    label: 'mean norm',
    parts: [{ curve: 'norm', word: 'norm of the gradients' }],
  },
};

function shownRuns(): number[] {
  return data.runs.map((_, run) => run).filter((run) => !state.hidden.has(run));
}

function epochAxis(): Axis {
  const to = Math.max(1, max(data.runs, ({ epochs }) => epochs) ?? 1);
  return { log: false, from: 0, to, label: 'epoch', isWhole: true };
}

/** Points further than this from an epoch are not read as its. */
const NEAR = 0.51;

/** The point of a curve nearest to x. */
function nearest({ xs, ys }: CurveOfRun, x: number): { x: number; y: number } | undefined {
  const k = leastIndex(xs, (a, b) => Math.abs(a - x) - Math.abs(b - x)) ?? -1;
  const [at, y] = [xs[k], ys[k]];
  return at === undefined || y === undefined || Math.abs(at - x) > NEAR ? undefined : { x: at, y };
}

interface Line {
  readonly run: number;
  readonly mark: string;
  readonly word: string;
  readonly curve: CurveOfRun;
}

/** What is drawn in one plot. */
interface Drawing {
  readonly name: string;
  readonly title: string;
  readonly lines: readonly Line[];
  readonly y: Axis;
  readonly format: MetricData['format'];
}

function drawLines(host: HTMLElement, { name, title, lines, y, format }: Drawing): void {
  const stops = [...new Set(lines.flatMap(({ curve }) => curve.xs))].sort((a, b) => a - b);
  const isOne = data.runs.length === 1;
  drawPlot(host, {
    name,
    title,
    height: 270,
    x: epochAxis(),
    y,
    stops,
    series: lines.map(({ run, mark, curve }) => ({ kind: 'points', ...curve, model: run, mark })),
    rules: shownRuns().flatMap((run) => {
      const best = data.runs[run]?.best;
      return best === undefined ? [] : [{ axis: 'x', at: best, text: 'best', model: run }];
    }),
    read: (at): Reading | undefined => {
      const stop = stops[leastIndex(stops, (a, b) => Math.abs(a - at) - Math.abs(b - at)) ?? -1];
      if (stop === undefined) return undefined;
      const found = lines.flatMap(({ run: model, word, curve }) => {
        const point = nearest(curve, stop);
        return point === undefined ? [] : [{ ...point, model, word }];
      });
      return {
        title: `epoch ${formatSignificant(stop)}`,
        lines: found.map(({ model, word, y: value }) => {
          const run = isOne ? '' : `${data.runs[model]?.name ?? ''}, `;
          return { text: `${run}${word} ${formatNumber(value, format)}`, model };
        }),
        x: stop,
        dots: found.filter(({ x }) => x === stop),
      };
    },
  });
}

function nothing(text: string): HTMLElement {
  return el('p', { class: 'none' }, text);
}

function drawCurves(): void {
  for (const [name, { title, label, unit, parts }] of Object.entries(PLOTS)) {
    const host = document.getElementById(`plot-${name}`);
    if (host === null) continue;
    const lines = parts.flatMap(({ curve, mark = '', word }) =>
      shownRuns().flatMap((run): Line[] => {
        const found = data.runs[run]?.curves[curve];
        return found === undefined || found.xs.length === 0 ? [] : [{ run, mark, word, curve: found }];
      }),
    );
    const values = lines.flatMap(({ curve: { ys, lows = [], highs = [] } }) => [...ys, ...lows, ...highs]);
    if (values.length === 0) {
      host.replaceChildren(nothing('Nothing to draw'));
      continue;
    }
    const log = state.isLog && name === 'loss' && values.some((value) => value > 0);
    const format = unit ?? 'significant3';
    drawLines(host, { name, title, lines, y: axisAround(values, label, { unit, log }), format });
  }
}

/** A figure of the chosen weight, or the mean of all, over the epochs. */
function drawRanks(): void {
  const host = document.getElementById('plot-rank');
  const metric = data.metrics[state.metric];
  if (host === null || metric === undefined) return;
  const weight = data.weights[state.weight];
  const isMean = weight === undefined;
  const format = isMean ? 'percent' : metric.format;
  const lines = shownRuns().flatMap((run): Line[] => {
    const one = weight?.runs[run];
    const curve = isMean
      ? data.runs[run]?.curves.mean
      : one && {
          xs: one.xs,
          ys: one.ys[state.metric] ?? [],
          ...(one.bands && {
            lows: one.bands.lows[state.metric] ?? [],
            highs: one.bands.highs[state.metric] ?? [],
          }),
        };
    if (!curve || curve.xs.length === 0) return [];
    return [{ run, mark: '', word: isMean ? 'mean' : metric.header, curve }];
  });
  const label = isMean ? 'mean effective rank / max' : metric.header;
  const shapes = new Set(weight?.runs.flatMap((run) => run?.matrix ?? []));
  byId('rank-title').replaceChildren(...breakable(weight?.label ?? 'Effective rank, mean of all weights'));
  byId('rank-what').textContent = isMean
    ? 'Each weight counts by its elements, a chain as the one layer that it folds to.'
    : [weight.note, [...shapes].join(' and ')].filter(Boolean).join(', ');
  const values = lines.flatMap(({ curve: { ys, lows = [], highs = [] } }) => [...ys, ...lows, ...highs]);
  if (values.length === 0) {
    host.replaceChildren(nothing('The runs that are shown have no such weight'));
  } else {
    const unit = format === 'percent' ? format : undefined;
    drawLines(host, { name: 'rank', title: label, lines, y: axisAround(values, label, { unit }), format });
  }
  for (const row of document.querySelectorAll<HTMLElement>('#weights tbody tr')) {
    row.classList.toggle('current', Number(row.dataset.index) === state.weight);
  }
}

function chooseWeight(index: number, aloud: boolean): void {
  state.weight = Math.max(-1, Math.min(data.weights.length - 1, index));
  byId('weight', HTMLSelectElement).value = String(state.weight);
  byId('metric', HTMLSelectElement).disabled = state.weight < 0;
  drawRanks();
  if (!aloud) return;
  const place = `weight ${formatCount(state.weight + 1)} of ${formatCount(data.weights.length)}`;
  say(`${byId('rank-title').textContent}, ${place}`);
}

function attachRanks(): void {
  const select = byId('weight', HTMLSelectElement);
  select.addEventListener('change', () => chooseWeight(Number(select.value), false));
  const metric = byId('metric', HTMLSelectElement);
  metric.addEventListener('change', () => {
    state.metric = Number(metric.value);
    drawRanks();
  });
  byId('previous').addEventListener('click', () => chooseWeight(state.weight - 1, true));
  byId('next').addEventListener('click', () => chooseWeight(state.weight + 1, true));
  for (const row of document.querySelectorAll<HTMLElement>('#weights tbody tr')) {
    row.addEventListener('click', (event) => {
      event.preventDefault();
      chooseWeight(Number(row.dataset.index), true);
      byId('ranks').scrollIntoView({ block: 'nearest' });
    });
  }
}

function start(): void {
  attachPage();
  attachDownloads((plot) => ({ plot, file: [data.file, plot] }));
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
  if (hasRanks) attachRanks();
  onWidth(byId('curves'), () => {
    drawCurves();
    if (hasRanks) chooseWeight(state.weight, false);
  });
  document.documentElement.dataset.ready = 'true';
}

start();
