import { type Axis, type Scale, scaleOf, ticksOf } from '../axis.js';
import { seriesClass } from '../series.js';
import { say, svg, tip } from './dom.js';
import type { PlotSpec, Reading, Series } from './plot-spec.js';

interface Box {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

/** A plot on the screen: its scales go from values to pixels. */
interface Frame {
  readonly spec: PlotSpec;
  readonly x: Scale;
  readonly y: Scale;
  readonly box: Box;
}

/** A pixel, to a hundredth. */
export function px(value: number): string {
  return String(Math.round(value * 100) / 100);
}

/** Room for the texts of an axis on the left. */
export function roomFor(ticks: readonly { readonly text: string }[], base: number): number {
  return base + 7 * ticks.reduce((most, { text }) => Math.max(most, text.length), 1);
}

/** The name of a vertical axis, at the left. */
export function verticalLabel(text: string, middle: number): SVGElement {
  const attributes = { class: 'label', x: 12, y: px(middle), 'text-anchor': 'middle' };
  return svg('text', { ...attributes, transform: `rotate(-90 12 ${px(middle)})` }, text);
}

/** Axes, lines, areas, and a cursor with values, in the place of what stands in `host`. */
export function drawPlot(host: HTMLElement, spec: PlotSpec): void {
  const width = Math.max(280, Math.round(host.parentElement?.clientWidth || 560));
  const { height } = spec;
  const yTicks = ticksOf(spec.y, Math.floor(height / 48));
  const box = { left: roomFor(yTicks, 28), right: width - 14, top: 14, bottom: height - 44 };
  const { left, right, top, bottom } = box;
  const frame: Frame = {
    spec,
    x: scaleOf(spec.x, left, right),
    y: scaleOf(spec.y, bottom, top),
    box,
  };
  const root = svg('svg', {
    class: 'plot',
    width,
    height,
    viewBox: `0 0 ${width} ${height}`,
    tabindex: '0',
    role: 'img',
    'aria-label': `${spec.title}. Arrow keys read values.`,
    'data-plot': spec.name,
  });
  const clip = `clip-${spec.name}`;
  const body = svg('g', { 'clip-path': `url(#${clip})` });
  for (const one of spec.series) body.append(drawSeries(one, frame));
  for (const { values, model } of spec.rug ?? []) {
    const path = values.map((value) => `M${px(frame.x(value))} ${bottom}v-7`).join('');
    body.append(svg('g', { class: seriesClass(model) }, svg('path', { class: 'rug', d: path })));
  }
  const cursor = svg('g', { class: 'cursor', visibility: 'hidden' });
  root.append(
    svg('title', {}, spec.title),
    drawAxes(frame, yTicks),
    svg(
      'clipPath',
      { id: clip },
      svg('rect', {
        x: px(left),
        y: top - 6,
        width: px(right - left + 6),
        height: bottom - top + 6,
      }),
    ),
    body,
    ...drawRules(frame),
    cursor,
  );
  attachCursor(root, cursor, frame);
  host.replaceChildren(root);
}

function drawAxes({ spec, x, y, box }: Frame, yTicks: ReturnType<typeof ticksOf>): SVGElement {
  const { left, right, top, bottom } = box;
  const grid = svg('g', { class: 'axis' });
  let lastLabel = -Infinity;
  for (const { at, text } of ticksOf(spec.x, Math.floor((right - left) / 62))) {
    grid.append(svg('path', { class: 'grid', d: `M${px(x(at))} ${top}V${bottom}` }));
    const half = text.length * 3.3;
    if (text === '' || x(at) - half < lastLabel + 6) continue;
    lastLabel = x(at) + half;
    grid.append(svg('text', { x: px(x(at)), y: bottom + 16, 'text-anchor': 'middle' }, text));
  }
  for (const { at, text } of yTicks) {
    const py = px(y(at));
    grid.append(svg('path', { class: 'grid', d: `M${left} ${py}H${right}` }));
    if (text !== '')
      grid.append(svg('text', { x: left - 6, y: py, dy: '0.35em', 'text-anchor': 'end' }, text));
  }
  grid.append(
    svg('path', { class: 'frame', d: `M${left} ${top}V${bottom}H${right}` }),
    svg(
      'text',
      { class: 'label', x: px((left + right) / 2), y: spec.height - 8, 'text-anchor': 'middle' },
      spec.x.label,
    ),
    verticalLabel(spec.y.label, (top + bottom) / 2),
  );
  return grid;
}

type Point = readonly [x: number, y: number];

/** A path of straight lines. */
function pathOf(points: readonly Point[]): string {
  return `M${points.map(([x, y]) => `${px(x)} ${px(y)}`).join('L')}`;
}

/** Whether an axis has a place for a value. */
function isOn({ log }: Axis, value: number): boolean {
  return !log || value > 0;
}

function drawSeries(one: Series, frame: Frame): SVGElement {
  const group = svg('g', { class: [seriesClass(one.model), one.mark].filter(Boolean).join(' ') });
  if (one.kind === 'area') group.append(...drawSteps(one, frame));
  else group.append(...drawBand(one, frame), ...drawLine(one, frame));
  return group;
}

/** The bins of a histogram, between the floor and their values. */
function drawSteps({ xs, ys }: Series, { spec, x, y, box: { bottom } }: Frame): SVGElement[] {
  const top = (value: number): number => (isOn(spec.y, value) ? Math.min(bottom, y(value)) : bottom);
  const edge = (at: number): number => x(spec.x.log ? at : Math.max(at, spec.x.from));
  const bins = ys.flatMap((value, k): Point[] => [
    [edge(xs[k] ?? 0), top(value)],
    [edge(xs[k + 1] ?? 0), top(value)],
  ]);
  const [start, end] = [edge(xs[0] ?? 0), edge(xs[ys.length] ?? 0)];
  const steps = pathOf([[start, bottom], ...bins, [end, bottom]]);
  return [svg('path', { class: 'area', d: `${steps}Z` }), svg('path', { class: 'line', d: steps })];
}

/** What lies between the lows and the highs of a line. */
function drawBand({ xs, lows, highs }: Series, { spec, x, y }: Frame): SVGElement[] {
  if (lows === undefined || highs === undefined || xs.length < 2) return [];
  if (![...lows, ...highs].every((value) => isOn(spec.y, value))) return [];
  const edge = (values: readonly number[]): Point[] => values.map((value, k) => [x(xs[k] ?? 0), y(value)]);
  return [svg('path', { class: 'area', d: `${pathOf([...edge(highs), ...edge(lows).reverse()])}Z` })];
}

/** Curves of more points than this have no dots. */
const MOST_DOTS = 40;

function drawLine({ kind, xs, ys }: Series, { spec, x, y }: Frame): SVGElement[] {
  const points = xs.flatMap((at, k): Point[] => {
    const value = ys[k] ?? 0;
    return isOn(spec.x, at) && isOn(spec.y, value) ? [[x(at), y(value)]] : [];
  });
  if (points.length === 0) return [];
  const dots = kind === 'points' && xs.length <= MOST_DOTS ? points : [];
  return [
    svg('path', { class: 'line', d: pathOf(points) }),
    ...dots.map(([cx, cy]) => svg('circle', { class: 'dot', cx: px(cx), cy: px(cy), r: 2.6 })),
  ];
}

function drawRules({ spec, x, y, box }: Frame): SVGElement[] {
  // Where the texts in each line at the top end.
  const ends: number[] = [];
  return (spec.rules ?? []).flatMap(({ axis, at, text, model }) => {
    const isX = axis === 'x';
    const range = isX ? spec.x : spec.y;
    if (!(at >= range.from && at <= range.to)) return [];
    const group = svg('g', { class: `rule ${model === undefined ? '' : seriesClass(model)}` });
    if (!isX) {
      const py = y(at);
      group.append(
        svg('path', { d: `M${box.left} ${px(py)}H${box.right}` }),
        svg('text', { x: px(box.right - 4), y: px(py + 13), 'text-anchor': 'end' }, text),
      );
      return [group];
    }
    const pixel = x(at);
    const wide = text.length * 5.9 + 8;
    const isLeft = pixel + wide > box.right;
    const [start, end] = isLeft ? [pixel - wide, pixel] : [pixel, pixel + wide];
    const free = ends.findIndex((taken) => start >= taken);
    const row = free < 0 ? ends.length : free;
    ends[row] = end;
    group.append(
      svg('path', { d: `M${px(pixel)} ${box.top}V${box.bottom}` }),
      svg(
        'text',
        {
          x: px(pixel + (isLeft ? -5 : 5)),
          y: box.top + 10 + 14 * row,
          'text-anchor': isLeft ? 'end' : 'start',
        },
        text,
      ),
    );
    return [group];
  });
}

/** Values beside the pointer, and by the arrow keys. */
function attachCursor(root: SVGElement, cursor: SVGElement, { spec, x, y, box }: Frame): void {
  const hide = (): void => {
    cursor.setAttribute('visibility', 'hidden');
    tip.hide();
  };
  const show = (reading: Reading | undefined): void => {
    if (reading === undefined) {
      hide();
      return;
    }
    const pixel = x(reading.x);
    const dots = reading.dots.filter((dot) => isOn(spec.y, dot.y));
    cursor.replaceChildren(
      svg('path', { class: 'crosshair', d: `M${px(pixel)} ${box.top}V${box.bottom}` }),
      ...dots.map((dot) =>
        svg(
          'g',
          { class: seriesClass(dot.model) },
          svg('circle', { class: 'dot', cx: px(pixel), cy: px(y(dot.y)), r: 4 }),
        ),
      ),
    );
    cursor.setAttribute('visibility', 'visible');
    const frame = root.getBoundingClientRect();
    const middle = dots[0] === undefined ? (box.top + box.bottom) / 2 : y(dots[0].y);
    const height = Math.max(box.top, Math.min(box.bottom, middle));
    tip.show(frame.left + pixel, frame.top + height, reading.title, reading.lines);
  };
  root.addEventListener('pointermove', (event) => {
    const at = event.clientX - root.getBoundingClientRect().left;
    if (at < box.left - 8 || at > box.right + 8) return hide();
    show(spec.read(x.invert(Math.max(box.left, Math.min(box.right, at)))));
  });
  root.addEventListener('pointerleave', hide);
  root.addEventListener('blur', hide);
  let stop = -1;
  root.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') return hide();
    const next = stepTo(event.key, stop, spec.stops.length);
    if (next === undefined) return;
    event.preventDefault();
    stop = next;
    const reading = spec.read(spec.stops[stop] ?? 0);
    show(reading);
    if (reading !== undefined) say([reading.title, ...reading.lines.map(({ text }) => text)].join(', '));
  });
}

/** Where a key goes from the place `at` among `count`; undefined for a key that goes nowhere. */
function stepTo(key: string, at: number, count: number): number | undefined {
  const leap = Math.max(1, Math.round(count / 10));
  const moves: Readonly<Record<string, number>> = {
    ArrowRight: at + 1,
    ArrowLeft: at - 1,
    PageDown: at + leap,
    PageUp: at - leap,
    Home: 0,
    End: count - 1,
  };
  const next = moves[key];
  return next === undefined || count === 0 ? undefined : Math.max(0, Math.min(count - 1, next));
}
