import { max, min } from 'd3-array';
import { formatCount } from '../../text/text.js';
import { type Axis, axisFromZero, type Scale, scaleOf, type Tick, ticksOf } from '../axis.js';
import { seriesClass } from '../series.js';
import type { LayerData, MetricData, RowData } from '../types.js';
import { byId, svg, tip } from './dom.js';
import { px, roomFor, verticalLabel } from './plot.js';
import { data, finite, shownModels, state } from './state.js';

const [TOP, BOTTOM] = [16, 236];
/** Where the parameters stand. */
const [SIZE_TOP, SIZE_BOTTOM] = [258, 296];
const [MARK_TOP, MARK_HEIGHT] = [TOP - 6, SIZE_BOTTOM - TOP + 6];

/** The overview on the screen. */
interface Frame {
  readonly metric: MetricData;
  readonly models: readonly number[];
  readonly axis: Axis;
  readonly y: Scale;
  readonly left: number;
  readonly right: number;
  /** Width of one weight, and what of it is empty. */
  readonly step: number;
  readonly gap: number;
}

/** One metric over the depth of the network, with the parameters of the weights below. */
export function drawOverview(): void {
  const host = byId('overview');
  const metric = data.metrics[state.metric];
  const n = data.layers.length;
  if (metric === undefined || n === 0) {
    host.replaceChildren();
    return;
  }
  const models = shownModels();
  const known = data.layers.flatMap(({ rows }) =>
    models.flatMap((model) => finite(rows[model], state.metric) ?? []),
  );
  const isPercent = metric.format === 'percent';
  const axis = axisFromZero(known, metric.header, isPercent);
  const ticks = ticksOf(axis, 5);
  const left = roomFor(ticks, 24);
  const room = host.clientWidth || 900;
  // Room for what the lines of the means are.
  const margin = isPercent ? 52 : 12;
  const least = models.length > 1 ? 4 + 4 * models.length : 8;
  const step = Math.min(130, Math.max((room - left - margin) / n, least));
  const width = Math.round(left + margin + n * step);
  const height = SIZE_BOTTOM + (data.blocks.length > 0 ? 62 : 44);
  const right = width - margin;
  const gap = Math.min(10, Math.max(1, step * 0.22));
  const frame = { metric, models, axis, y: scaleOf(axis, BOTTOM, TOP), left, right, step, gap };
  const title = `${titleOf(metric)}, along the ${n} weights of the network`;
  const root = svg('svg', {
    class: 'plot overview',
    width,
    height,
    viewBox: `0 0 ${width} ${height}`,
    role: 'group',
    'aria-label': `${title}. Arrow keys go from weight to weight, Enter shows one.`,
    'data-plot': 'overview',
  });
  const chosen = svg('rect', {
    class: 'chosen',
    id: 'chosen',
    'data-mark': 'chosen',
    x: px(left + Math.max(0, state.layer) * step),
    y: MARK_TOP,
    width: px(step),
    height: MARK_HEIGHT,
    rx: 3,
    visibility: state.layer < 0 && 'hidden',
  });
  root.append(
    svg('title', {}, title),
    drawBack(frame, ticks, height),
    ...drawLayers(frame),
    ...(isPercent ? drawMeans(frame) : []),
    chosen,
  );
  host.replaceChildren(root);
}

/** Grid, blocks and names. */
function drawBack(
  { metric, y, left, right, step }: Frame,
  ticks: readonly Tick[],
  height: number,
): SVGElement {
  const back = svg('g', { class: 'axis' });
  for (const [index, { from, count, label, short }] of data.blocks.entries()) {
    const [x, wide] = [left + from * step, count * step];
    if (index % 2 === 0) {
      back.append(
        svg('rect', { class: 'band', x: px(x), y: MARK_TOP, width: px(wide), height: MARK_HEIGHT }),
      );
    }
    const name = [label, short].find((text) => fits(text, wide)) ?? '';
    back.append(svg('text', { x: px(x + wide / 2), y: SIZE_BOTTOM + 32, 'text-anchor': 'middle' }, name));
  }
  for (const { at, text } of ticks) {
    const py = px(y(at));
    back.append(
      svg('path', { class: 'grid', d: `M${px(left)} ${py}H${px(right)}` }),
      svg('text', { x: px(left - 6), y: py, dy: '0.35em', 'text-anchor': 'end' }, text),
    );
  }
  const sizeMiddle = (SIZE_TOP + SIZE_BOTTOM) / 2;
  back.append(
    verticalLabel(metric.header === 'of max' ? 'effective rank / max' : metric.header, (TOP + BOTTOM) / 2),
    svg('text', { x: px(left - 6), y: sizeMiddle, dy: '0.35em', 'text-anchor': 'end' }, 'params'),
    svg('path', { class: 'frame', d: `M${px(left)} ${SIZE_BOTTOM}H${px(right)}` }),
    svg(
      'text',
      { class: 'label', x: px((left + right) / 2), y: height - 6, 'text-anchor': 'middle' },
      'weights, from input to output',
    ),
  );
  // Every so many weights have their number; where there is room, each its name.
  const every = Math.ceil(34 / step);
  for (const [index, { label }] of data.layers.entries()) {
    const isNamed = step >= 56;
    if (!isNamed && index !== 0 && (index + 1) % every !== 0) continue;
    const attributes = { class: 'tick', x: px(left + (index + 0.5) * step), y: SIZE_BOTTOM + 15 };
    back.append(
      svg(
        'text',
        { ...attributes, 'text-anchor': 'middle' },
        isNamed ? fitting(label, step) : String(index + 1),
      ),
    );
  }
  return back;
}

function drawLayers(frame: Frame): SVGElement[] {
  const { models, left, step, gap } = frame;
  const sizes = data.layers.map(({ rows }) => rows.find((row) => row !== null)?.params ?? 0);
  const largest = Math.max(1, max(sizes) ?? 1);
  const smallest = Math.max(1, min(sizes) ?? 1);
  return data.layers.map((layer, index) => {
    const x = left + index * step;
    const isChosen = index === state.layer;
    const group = svg('g', {
      class: 'hit',
      role: 'button',
      'data-layer': index,
      tabindex: isChosen ? '0' : '-1',
      'aria-label': `${layer.label}: ${models.map((model) => described(model, layer.rows[model])).join('; ')}`,
      'aria-pressed': isChosen ? 'true' : 'false',
    });
    group.append(
      svg('rect', { class: 'target', x: px(x), y: MARK_TOP, width: px(step), height: MARK_HEIGHT }),
      ...drawMarks(frame, layer, x + gap / 2),
    );
    // Logarithmic, or the small ones would vanish; the smallest still shows.
    const size = sizes[index] ?? 0;
    const share =
      0.12 + (0.88 * Math.log(Math.max(1, size) / smallest)) / (Math.log(largest / smallest) || 1);
    const tall = size > 0 ? Math.max(1.5, share * (SIZE_BOTTOM - SIZE_TOP)) : 0;
    group.append(
      svg('rect', {
        class: 'size',
        x: px(x + gap / 2),
        y: px(SIZE_BOTTOM - tall),
        width: px(step - gap),
        height: px(tall),
      }),
    );
    return group;
  });
}

/** A bar a model; on a logarithmic axis, which has no zero, a dot. */
function drawMarks({ models, axis, y, step, gap }: Frame, { rows }: LayerData, x: number): SVGElement[] {
  const wide = (step - gap) / models.length;
  return models.map((model, place) => {
    const row = rows[model];
    const from = x + place * wide;
    const middle = px(from + wide / 2);
    const mark = svg('g', { class: seriesClass(model) });
    const value = finite(row, state.metric);
    if (value === undefined) {
      const missing = { class: 'missing', x: middle, y: BOTTOM - 4, 'text-anchor': 'middle' };
      if (row) mark.append(svg('text', missing, row.v[state.metric] === 'inf' ? '∞' : '×'));
    } else if (axis.log) {
      const cy = px(y(value));
      const r = Math.min(4.5, Math.max(2, wide / 2));
      mark.append(
        svg('path', { class: 'stem', d: `M${middle} ${BOTTOM}V${cy}` }),
        svg('circle', { class: 'dot', cx: middle, cy, r }),
      );
    } else {
      const [upper, lower] = [y(Math.max(value, 0)), y(Math.min(value, 0))];
      mark.append(
        svg('rect', {
          class: 'bar',
          x: px(from),
          y: px(upper),
          width: px(Math.max(1, wide - (models.length > 1 ? 0.6 : 0))),
          height: px(Math.max(0.6, lower - upper)),
        }),
      );
    }
    return mark;
  });
}

function drawMeans({ models, y, left, right }: Frame): SVGElement[] {
  const means = models
    .map((model) => ({ model, ratio: data.models[model]?.ratio ?? 0 }))
    .sort((a, b) => a.ratio - b.ratio);
  const isOne = means.length === 1;
  let last = Infinity;
  return means.map(({ model, ratio }) => {
    const at = y(ratio);
    // Those of equal means stand above each other.
    const middle = Math.min(at, last - (isOne ? 26 : 13));
    last = middle;
    const x = px(right + 8);
    return svg(
      'g',
      { class: `rule mean ${seriesClass(model)}` },
      svg('path', { d: `M${px(left)} ${px(at)}H${px(right + 4)}` }),
      ...(isOne ? [svg('text', { x, y: px(middle - 5) }, 'mean')] : []),
      svg('text', { x, y: px(middle), dy: isOne ? '0.75em' : '0.35em' }, `${(100 * ratio).toFixed(1)}%`),
    );
  });
}

function titleOf({ key, header }: MetricData): string {
  return key === 'effectiveRankRatio' ? 'Effective rank as a share of the largest possible' : header;
}

/** The metric of one weight in words, with the model where there are several. */
function described(model: number, row: RowData | null | undefined): string {
  const name = data.models.length > 1 ? `${data.models[model]?.name ?? ''}: ` : '';
  if (!row) return `${name}not in this model`;
  return name + (row.problem ? `no spectrum, ${row.problem}` : row.t[state.metric] || '–');
}

function fits(text: string, width: number): boolean {
  return text.length * 6.6 + 4 <= width;
}

/** As much of a name as there is room for. */
function fitting(text: string, width: number): string {
  if (fits(text, width)) return text;
  const most = Math.floor((width - 4) / 6.6);
  const head = Math.ceil((most - 1) * 0.55);
  return `${text.slice(0, head)}…${text.slice(text.length - (most - 1 - head))}`;
}

/** Index of the weight that an event is about; -1 where it is about none. */
function layerOf({ target }: Event): number {
  const group = target instanceof Element ? target.closest('[data-layer]') : null;
  return group === null ? -1 : Number(group.getAttribute('data-layer'));
}

function describe(index: number, x: number, y: number): void {
  const layer = data.layers[index];
  if (layer === undefined) {
    tip.hide();
    return;
  }
  const header = data.metrics[state.metric]?.header ?? '';
  const row = layer.rows.find((one) => one !== null);
  const shape = row && `${row.op}, ${row.dims.join(' × ')}, ${formatCount(row.params)} parameters`;
  tip.show(x, y, `${index + 1}. ${layer.label}`, [
    ...shownModels().map((model) => {
      const one = layer.rows[model];
      return { model, text: `${described(model, one)}${one ? ` ${header}` : ''}` };
    }),
    ...(shape ? [{ text: shape }] : []),
  ]);
}

const STEPS: Readonly<Record<string, number>> = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

/** Where a key goes from a weight; undefined for a key that goes nowhere. */
function nextLayer(key: string, index: number): number | undefined {
  if (key === 'Home') return 0;
  if (key === 'End') return data.layers.length - 1;
  const step = STEPS[key];
  return step === undefined ? undefined : Math.max(0, Math.min(data.layers.length - 1, index + step));
}

/** Choosing a weight by pointer and keys. */
export function attachOverview(choose: (index: number, focus: boolean) => void): void {
  const host = byId('overview');
  host.addEventListener('pointermove', (event) => describe(layerOf(event), event.clientX, event.clientY));
  host.addEventListener('pointerleave', () => tip.hide());
  host.addEventListener('focusout', () => tip.hide());
  host.addEventListener('click', (event) => {
    const index = layerOf(event);
    if (index >= 0) choose(index, false);
  });
  host.addEventListener('focusin', (event) => {
    const index = layerOf(event);
    if (index < 0 || !(event.target instanceof Element) || !event.target.matches(':focus-visible')) return;
    const frame = event.target.getBoundingClientRect();
    describe(index, frame.right, frame.top + 60);
  });
  host.addEventListener('keydown', (event) => {
    const index = layerOf(event);
    if (index < 0) return;
    const isChoice = event.key === 'Enter' || event.key === ' ';
    const next = nextLayer(event.key, index);
    if (!isChoice && next === undefined) return;
    event.preventDefault();
    if (isChoice) byId('detail-title').focus();
    else if (next !== undefined) choose(next, true);
  });
}

/** Moves the mark of the chosen weight without drawing the rest again. */
export function markChosen(): void {
  const host = byId('overview');
  for (const group of host.querySelectorAll('[data-layer]')) {
    const isChosen = Number(group.getAttribute('data-layer')) === state.layer;
    group.setAttribute('tabindex', isChosen ? '0' : '-1');
    group.setAttribute('aria-pressed', isChosen ? 'true' : 'false');
    if (!isChosen) continue;
    const x = group.querySelector('.target')?.getAttribute('x') ?? '0';
    const chosen = document.getElementById('chosen');
    chosen?.setAttribute('x', x);
    chosen?.setAttribute('visibility', 'visible');
    const { scrollLeft, clientWidth } = host;
    if (Number(x) < scrollLeft + 40 || Number(x) > scrollLeft + clientWidth - 40) {
      host.scrollLeft = Number(x) - clientWidth / 2;
    }
  }
}
