/** Axes, lines, areas, a cursor with values, and the download of a plot. */
export const PLOT = String.raw`
/** @typedef {{log: boolean, from: number, to: number, label: string, unit?: 'percent',
 *   isWhole?: boolean}} Axis */
/** @typedef {{kind: 'line'|'area'|'points', xs: ArrayLike<number>, ys: ArrayLike<number>, model: number,
 *   mark?: string}} Series */
/** @typedef {{axis: 'x'|'y', at: number, text: string, model?: number}} Rule */
/** @typedef {{title: string, lines: {text: string, model?: number}[], x: number, dots: {y: number, model: number}[]}} Reading */
/** @typedef {{name: string, title: string, height: number, x: Axis, y: Axis, series: Series[], rules?: Rule[],
 *   rug?: {values: number[], model: number}[], stops: number[], read: (x: number) => Reading|undefined}} PlotSpec */

const SUPERSCRIPTS = '⁰¹²³⁴⁵⁶⁷⁸⁹';

/** @param {number} exponent */
function power(exponent) {
  const digits = [...String(Math.abs(exponent))].map((digit) => SUPERSCRIPTS[Number(digit)]).join('');
  return '10' + (exponent < 0 ? '⁻' : '') + digits;
}

/** @param {Axis} axis @param {number} most @returns {{at: number, text: string}[]} */
function ticksOf(axis, most) {
  return axis.log ? logTicks(axis, most) : linearTicks(axis, most);
}

/** @param {Axis} axis @param {number} most */
function linearTicks(axis, most) {
  const span = axis.to - axis.from;
  const raw = span / Math.max(2, most);
  const unit = 10 ** Math.floor(Math.log10(raw));
  const nice = unit * ([1, 2, 2.5, 5, 10].find((factor) => factor * unit >= raw * 0.999) || 10);
  const step = axis.isWhole ? Math.max(1, Math.ceil(nice)) : nice;
  const ticks = [];
  for (let k = Math.ceil(axis.from / step - 1e-9); k * step <= axis.to + step * 1e-9; k += 1) {
    const at = k * step;
    ticks.push({ at, text: tickText(at, step, axis) });
  }
  return ticks;
}

/** @param {number} at @param {number} step @param {Axis} axis */
function tickText(at, step, axis) {
  if (axis.unit === 'percent') return Math.round(at * 1000) / 10 + '%';
  if (at === 0) return '0';
  const size = Math.max(Math.abs(axis.from), Math.abs(axis.to));
  if (size >= 1e5 || size < 1e-3) return significant(Number(at.toPrecision(6)));
  return String(Number(at.toFixed(Math.max(0, 2 - Math.floor(Math.log10(step))))));
}

/** @param {Axis} axis @param {number} most */
function logTicks(axis, most) {
  const [low, high] = [Math.log10(axis.from), Math.log10(axis.to)];
  const ticks = [];
  const decades = high - low;
  const every = Math.max(1, Math.ceil(decades / most));
  const between = decades < 1.2 ? [1, 1.5, 2, 3, 5, 7] : decades < 2.6 ? [1, 2, 5] : [1];
  for (let exponent = Math.floor(low); exponent <= Math.ceil(high); exponent += 1) {
    if (exponent % every !== 0) continue;
    for (const factor of between) {
      const at = factor * 10 ** exponent;
      if (Math.log10(at) < low - 1e-9 || Math.log10(at) > high + 1e-9) continue;
      const isPlain = exponent >= -2 && exponent <= 3;
      const text = isPlain
        ? String(Number(at.toPrecision(2)))
        : factor === 1
          ? power(exponent)
          : factor + '·' + power(exponent);
      ticks.push({ at, text });
    }
  }
  return ticks;
}

/** @param {Axis} axis @param {number} start @param {number} end */
function scaleOf(axis, start, end) {
  const map = axis.log ? Math.log10 : /** @param {number} value */ (value) => value;
  const [from, to] = [map(axis.from), map(axis.to)];
  const ratio = (end - start) / (to - from || 1);
  return {
    /** @param {number} value */
    to: (value) => start + (map(value) - from) * ratio,
    /** @param {number} pixel */
    back: (pixel) => {
      const value = from + (pixel - start) / ratio;
      return axis.log ? 10 ** value : value;
    },
  };
}

/** @param {number} value */
function px(value) {
  return String(Math.round(value * 100) / 100);
}

/** @param {HTMLElement} host @param {PlotSpec} spec */
function drawPlot(host, spec) {
  const width = Math.max(280, Math.round(host.parentElement?.clientWidth || 560));
  const { height } = spec;
  const yTicks = ticksOf(spec.y, Math.floor(height / 48));
  const widest = yTicks.reduce((most, { text }) => Math.max(most, text.length), 1);
  const [left, right, top, bottom] = [28 + 7 * widest, width - 14, 14, height - 44];
  const x = scaleOf(spec.x, left, right);
  const y = scaleOf(spec.y, bottom, top);
  const root = svg('svg', {
    class: 'plot', width, height, viewBox: '0 0 ' + width + ' ' + height, tabindex: '0', role: 'img',
    'aria-label': spec.title + '. Arrow keys read values.', 'data-plot': spec.name,
  });
  root.append(svg('title', {}, spec.title));
  const grid = svg('g', { class: 'axis' });
  let lastLabel = -Infinity;
  for (const { at, text } of ticksOf(spec.x, Math.floor((right - left) / 62))) {
    const px0 = px(x.to(at));
    grid.append(svg('path', { class: 'grid', d: 'M' + px0 + ' ' + top + 'V' + bottom }));
    const half = text.length * 3.3;
    if (x.to(at) - half < lastLabel + 6) continue;
    lastLabel = x.to(at) + half;
    grid.append(svg('text', { x: px0, y: bottom + 16, 'text-anchor': 'middle' }, text));
  }
  for (const { at, text } of yTicks) {
    const py = px(y.to(at));
    grid.append(svg('path', { class: 'grid', d: 'M' + left + ' ' + py + 'H' + right }));
    grid.append(svg('text', { x: left - 6, y: py, dy: '0.35em', 'text-anchor': 'end' }, text));
  }
  grid.append(
    svg('path', { class: 'frame', d: 'M' + left + ' ' + top + 'V' + bottom + 'H' + right }),
    svg('text', { class: 'label', x: px((left + right) / 2), y: height - 8, 'text-anchor': 'middle' }, spec.x.label),
    svg('text', {
      class: 'label', x: 12, y: px((top + bottom) / 2), 'text-anchor': 'middle',
      transform: 'rotate(-90 12 ' + px((top + bottom) / 2) + ')',
    }, spec.y.label),
  );
  root.append(grid);
  const clip = 'clip-' + spec.name;
  root.append(svg('clipPath', { id: clip }, svg('rect', { x: px(left), y: top - 6, width: px(right - left + 6), height: bottom - top + 6 })));
  const body = svg('g', { 'clip-path': 'url(#' + clip + ')' });
  for (const one of spec.series) body.append(...drawSeries(one, x, y, spec, bottom));
  for (const { values, model } of spec.rug || []) {
    const path = values.map((value) => 'M' + px(x.to(value)) + ' ' + bottom + 'v-7').join('');
    body.append(svg('g', { class: series(model) }, svg('path', { class: 'rug', d: path })));
  }
  root.append(body);
  drawRules(root, spec, x, y, { left, right, top, bottom });
  const cursor = svg('g', { class: 'cursor', visibility: 'hidden' });
  root.append(cursor);
  attachCursor(root, spec, cursor, x, y, { left, right, top, bottom });
  host.replaceChildren(root);
}

/** @typedef {{to: (value: number) => number, back: (pixel: number) => number}} Scale */
/** @typedef {{left: number, right: number, top: number, bottom: number}} Box */

/** @param {Series} one @param {Scale} x @param {Scale} y @param {PlotSpec} spec @param {number} bottom */
function drawSeries(one, x, y, spec, bottom) {
  const group = svg('g', { class: series(one.model) + (one.mark ? ' ' + one.mark : '') });
  if (one.kind === 'area') {
    // Steps: xs are the edges of the bins, one more than ys.
    let steps = 'M' + px(x.to(one.xs[0] || spec.x.from)) + ' ' + bottom;
    for (let k = 0; k < one.ys.length; k += 1) {
      const value = one.ys[k] || 0;
      const py = spec.y.log && value <= 0 ? bottom : Math.min(bottom, y.to(value));
      const from = one.xs[k] || 0;
      steps += 'L' + px(x.to(spec.x.log ? from : Math.max(from, spec.x.from))) + ' ' + px(py);
      steps += 'H' + px(x.to(one.xs[k + 1] || 0));
    }
    steps += 'V' + bottom;
    group.append(svg('path', { class: 'area', d: steps + 'Z' }), svg('path', { class: 'line', d: steps }));
    return [group];
  }
  let d = '';
  const dots = [];
  for (let k = 0; k < one.xs.length; k += 1) {
    const [vx, vy] = [one.xs[k] || 0, one.ys[k] || 0];
    if ((spec.x.log && vx <= 0) || (spec.y.log && vy <= 0)) continue;
    const at = px(x.to(vx)) + ' ' + px(y.to(vy));
    d += (d === '' ? 'M' : 'L') + at;
    if (one.xs.length <= 40 && one.kind === 'points') {
      dots.push(svg('circle', { class: 'dot', cx: px(x.to(vx)), cy: px(y.to(vy)), r: 2.6 }));
    }
  }
  if (d !== '') group.append(svg('path', { class: 'line', d }), ...dots);
  return [group];
}

/** @param {SVGElement} root @param {PlotSpec} spec @param {Scale} x @param {Scale} y @param {Box} box */
function drawRules(root, spec, x, y, box) {
  /** @type {number[]} */
  const ends = [];
  for (const { axis, at, text, model } of spec.rules || []) {
    const isX = axis === 'x';
    const range = isX ? spec.x : spec.y;
    if (!(at >= range.from && at <= range.to)) continue;
    const pixel = isX ? x.to(at) : y.to(at);
    const group = svg('g', { class: 'rule ' + (model === undefined ? '' : series(model)) });
    if (isX) {
      const wide = text.length * 5.9 + 8;
      const isLeft = pixel + wide > box.right;
      const [start, end] = isLeft ? [pixel - wide, pixel] : [pixel, pixel + wide];
      let row = 0;
      while (row < ends.length && start < (ends[row] || 0)) row += 1;
      ends[row] = end;
      group.append(
        svg('path', { d: 'M' + px(pixel) + ' ' + box.top + 'V' + box.bottom }),
        svg('text', {
          x: px(pixel + (isLeft ? -5 : 5)), y: box.top + 10 + 14 * row, 'text-anchor': isLeft ? 'end' : 'start',
        }, text),
      );
    } else {
      group.append(
        svg('path', { d: 'M' + box.left + ' ' + px(pixel) + 'H' + box.right }),
        svg('text', { x: px(box.right - 4), y: px(pixel + 13), 'text-anchor': 'end' }, text),
      );
    }
    root.append(group);
  }
}

/** @param {SVGElement} root @param {PlotSpec} spec @param {SVGElement} cursor @param {Scale} x @param {Scale} y @param {Box} box */
function attachCursor(root, spec, cursor, x, y, box) {
  let stop = -1;
  /** @param {number} at @param {boolean} aloud */
  const show = (at, aloud) => {
    const reading = spec.read(at);
    if (reading === undefined) return hide();
    const pixel = x.to(reading.x);
    cursor.replaceChildren(
      svg('path', { class: 'crosshair', d: 'M' + px(pixel) + ' ' + box.top + 'V' + box.bottom }),
      ...reading.dots
        .filter((dot) => (spec.y.log ? dot.y > 0 : true))
        .map((dot) =>
          svg('g', { class: series(dot.model) }, svg('circle', { class: 'dot', cx: px(pixel), cy: px(y.to(dot.y)), r: 4 })),
        ),
    );
    cursor.setAttribute('visibility', 'visible');
    const frame = root.getBoundingClientRect();
    const middle = reading.dots[0] ? y.to(reading.dots[0].y) : (box.top + box.bottom) / 2;
    tip.show(frame.left + pixel, frame.top + Math.max(box.top, Math.min(box.bottom, middle)), reading.title, reading.lines);
    if (aloud) say([reading.title, ...reading.lines.map(({ text }) => text)].join(', '));
  };
  const hide = () => {
    cursor.setAttribute('visibility', 'hidden');
    tip.hide();
  };
  root.addEventListener('pointermove', (event) => {
    const at = event.clientX - root.getBoundingClientRect().left;
    if (at < box.left - 8 || at > box.right + 8) return hide();
    show(x.back(Math.max(box.left, Math.min(box.right, at))), false);
  });
  root.addEventListener('pointerleave', hide);
  root.addEventListener('blur', hide);
  root.addEventListener('keydown', (event) => {
    const { stops } = spec;
    const leap = Math.max(1, Math.round(stops.length / 10));
    /** @type {Record<string, number>} */
    const moves = {
      ArrowRight: stop + 1, ArrowLeft: stop - 1, PageDown: stop + leap, PageUp: stop - leap, Home: 0, End: stops.length - 1,
    };
    const next = moves[event.key];
    if (event.key === 'Escape') return hide();
    if (next === undefined || stops.length === 0) return;
    event.preventDefault();
    stop = Math.max(0, Math.min(stops.length - 1, next));
    show(stops[stop] || 0, true);
  });
}

/** What a drawing program needs to show a plot without the style sheet of this page. */
const PRESENTATION = [
  'fill', 'fill-opacity', 'stroke', 'stroke-width', 'stroke-dasharray', 'stroke-linejoin', 'stroke-linecap',
  'stroke-opacity', 'opacity', 'font-family', 'font-size', 'font-weight', 'visibility', 'paint-order',
];

/** @type {Record<string, string>} */
const DEFAULTS = {
  'fill-opacity': '1', 'stroke-opacity': '1', opacity: '1', 'stroke-dasharray': 'none', 'stroke-linejoin': 'miter',
  'stroke-linecap': 'butt', visibility: 'visible', 'paint-order': 'normal', 'font-weight': '400',
};

/** The plot as a file of its own, in the colours of paper. @param {SVGElement} plot @returns {string} */
function standalone(plot) {
  const html = document.documentElement;
  const theme = html.getAttribute('data-theme');
  html.setAttribute('data-theme', 'light');
  const copy = /** @type {SVGElement} */ (plot.cloneNode(true));
  const from = [plot, ...plot.querySelectorAll('*')];
  const to = [copy, ...copy.querySelectorAll('*')];
  for (const [index, element] of from.entries()) {
    const style = getComputedStyle(element);
    const target = to[index];
    if (target === undefined || ['title', 'clipPath'].includes(target.tagName)) continue;
    for (const name of PRESENTATION) {
      const value = style.getPropertyValue(name);
      if (value === '' || value === DEFAULTS[name]) continue;
      if (name.startsWith('font') && target !== copy && target.tagName !== 'text') continue;
      target.setAttribute(name, value);
    }
    for (const name of ['class', 'id', 'tabindex', 'role', 'aria-label', 'aria-pressed', 'data-layer', 'data-plot']) target.removeAttribute(name);
  }
  if (theme === null) html.removeAttribute('data-theme');
  else html.setAttribute('data-theme', theme);
  for (const gone of copy.querySelectorAll('[visibility=hidden], [data-mark=chosen]')) gone.remove();
  copy.setAttribute('xmlns', SVG);
  return '<?xml version="1.0" encoding="UTF-8"?>\n' + new XMLSerializer().serializeToString(copy) + '\n';
}

/** @param {SVGElement} plot @param {string} name */
function download(plot, name) {
  const url = URL.createObjectURL(new Blob([standalone(plot)], { type: 'image/svg+xml' }));
  const link = el('a', { href: url, download: name.replace(/[^\p{L}\p{N}._-]+/gu, '_').replace(/^_+|_+$/g, '') + '.svg' });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
`;
