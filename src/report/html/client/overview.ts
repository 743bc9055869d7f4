/** One metric over the depth of the network, with the sizes of the weights below. */
export const OVERVIEW = `
/** @param {Row|null|undefined} row @param {number} metric */
function finite(row, metric) {
  const value = row?.v[metric];
  return typeof value === 'number' ? value : undefined;
}

function drawOverview() {
  const host = byId('overview');
  const metric = DATA.metrics[state.metric];
  const models = DATA.models.map((_, model) => model).filter(isShown);
  const n = DATA.layers.length;
  if (metric === undefined || n === 0) return host.replaceChildren();
  const known = DATA.layers.flatMap(({ rows }) => models.flatMap((model) => finite(rows[model], state.metric) ?? []));
  const isPercent = metric.format === 'percent';
  const [least, most] = [Math.min(...known), Math.max(...known)];
  const isLog = !isPercent && least > 0 && most / least > 50;
  /** @type {Axis} */
  const axis = isPercent
    ? { log: false, from: 0, to: 1, label: metric.header, unit: 'percent' }
    : isLog
      ? { log: true, from: 10 ** Math.floor(Math.log10(least)), to: 10 ** Math.ceil(Math.log10(most) + 1e-9), label: metric.header }
      : { log: false, from: Math.min(0, known.length ? least : 0), to: (known.length ? most : 1) * 1.06 || 1, label: metric.header };
  if (known.length === 0) axis.log = false;

  const ticks = ticksOf(axis, 5);
  const left = 24 + 6.8 * ticks.reduce((widest, { text }) => Math.max(widest, text.length), 1);
  const room = host.clientWidth || 900;
  // Room for what the lines of the means are.
  const right = isPercent ? 52 : 12;
  const step = Math.min(130, Math.max((room - left - right) / n, models.length > 1 ? 4 + 4 * models.length : 8));
  const width = Math.round(left + right + n * step);
  const hasBlocks = DATA.blocks.length > 0;
  const [top, bottom] = [16, 236];
  const [sizeTop, sizeBottom] = [258, 296];
  const height = sizeBottom + (hasBlocks ? 62 : 44);
  const y = scaleOf(axis, bottom, top);
  const title = definitionOf(metric) + ', along the ' + n + ' weights of the network';
  const root = svg('svg', {
    class: 'plot overview', width, height, viewBox: '0 0 ' + width + ' ' + height, role: 'group',
    'aria-label': title + '. Arrow keys go from weight to weight, Enter shows one.', 'data-plot': 'overview',
  });
  root.append(svg('title', {}, title));
  const back = svg('g', { class: 'axis' });
  for (const [index, block] of DATA.blocks.entries()) {
    const [from, wide] = [left + block.from * step, block.count * step];
    if (index % 2 === 0) back.append(svg('rect', { class: 'band', x: px(from), y: top - 6, width: px(wide), height: sizeBottom - top + 6 }));
    back.append(svg('text', { x: px(from + wide / 2), y: sizeBottom + 32, 'text-anchor': 'middle' }, fits(block.label, wide) ? block.label : fits(block.short, wide) ? block.short : ''));
  }
  for (const { at, text } of ticks) {
    const py = px(y.to(at));
    back.append(
      svg('path', { class: 'grid', d: 'M' + px(left) + ' ' + py + 'H' + px(width - right) }),
      svg('text', { x: px(left - 6), y: py, dy: '0.35em', 'text-anchor': 'end' }, text),
    );
  }
  back.append(
    svg('text', {
      class: 'label', x: 12, y: px((top + bottom) / 2), 'text-anchor': 'middle',
      transform: 'rotate(-90 12 ' + px((top + bottom) / 2) + ')',
    }, metric.header === 'of max' ? 'effective rank / max' : metric.header),
    svg('text', { x: px(left - 6), y: (sizeTop + sizeBottom) / 2, dy: '0.35em', 'text-anchor': 'end' }, 'params'),
    svg('path', { class: 'frame', d: 'M' + px(left) + ' ' + sizeBottom + 'H' + px(width - right) }),
    svg('text', { class: 'label', x: px((left + width - right) / 2), y: height - 6, 'text-anchor': 'middle' }, 'weights, from input to output'),
  );
  root.append(back);

  const sizes = DATA.layers.map(({ rows }) => rows.find((row) => row !== null)?.params || 0);
  const largest = Math.max(1, ...sizes);
  const smallest = Math.max(1, Math.min(...sizes));
  const gap = Math.min(10, Math.max(1, step * 0.22));
  const every = Math.ceil(34 / step);
  for (const [index, layer] of DATA.layers.entries()) {
    const x0 = left + index * step;
    const group = svg('g', {
      class: 'hit', role: 'button', 'data-layer': index, tabindex: index === state.layer ? '0' : '-1',
      'aria-label': layer.label + ': ' + models.map((model) => nameAnd(model, layer.rows[model])).join('; '),
      'aria-pressed': index === state.layer ? 'true' : 'false',
    });
    group.append(svg('rect', { class: 'target', x: px(x0), y: top - 6, width: px(step), height: sizeBottom - top + 6 }));
    const wide = (step - gap) / models.length;
    for (const [order, model] of models.entries()) {
      const row = layer.rows[model];
      const from = x0 + gap / 2 + order * wide;
      const mark = svg('g', { class: series(model) });
      const value = finite(row, state.metric);
      if (value !== undefined) {
        if (axis.log) {
          const [cx, cy] = [px(from + wide / 2), px(y.to(value))];
          mark.append(svg('path', { class: 'stem', d: 'M' + cx + ' ' + bottom + 'V' + cy }), svg('circle', { class: 'dot', cx, cy, r: Math.min(4.5, Math.max(2, wide / 2)) }));
        } else {
          const [a, b] = [y.to(Math.max(value, 0)), y.to(Math.min(value, 0))];
          mark.append(svg('rect', { class: 'bar', x: px(from), y: px(a), width: px(Math.max(1, wide - (models.length > 1 ? 0.6 : 0))), height: px(Math.max(0.6, b - a)) }));
        }
      } else if (row) {
        mark.append(svg('text', { class: 'missing', x: px(from + wide / 2), y: bottom - 4, 'text-anchor': 'middle' }, row.v[state.metric] === 'inf' ? '∞' : '×'));
      }
      group.append(mark);
    }
    // Logarithmic, or the small ones would vanish; the smallest still shows.
    const share = 0.12 + (0.88 * Math.log((sizes[index] || 1) / smallest)) / (Math.log(largest / smallest) || 1);
    const tall = sizes[index] ? Math.max(1.5, share * (sizeBottom - sizeTop)) : 0;
    group.append(svg('rect', { class: 'size', x: px(x0 + gap / 2), y: px(sizeBottom - tall), width: px(step - gap), height: px(tall) }));
    root.append(group);
    const isNamed = step >= 56;
    if (isNamed || index === 0 || (index + 1) % every === 0) {
      back.append(
        svg('text', { class: 'tick', x: px(x0 + step / 2), y: sizeBottom + 15, 'text-anchor': 'middle' },
          isNamed ? fitting(layer.label, step) : String(index + 1)),
      );
    }
  }
  if (isPercent) drawMeans(root, models, y, left, width - right);
  const chosen = svg('rect', { class: 'chosen', id: 'chosen', 'data-mark': 'chosen', y: top - 6, height: sizeBottom - top + 6, width: px(step), x: px(left + state.layer * step), rx: 3 });
  if (state.layer < 0) chosen.setAttribute('visibility', 'hidden');
  root.append(chosen);
  host.replaceChildren(root);
}

/** @param {SVGElement} root @param {number[]} models @param {Scale} y @param {number} from @param {number} to */
function drawMeans(root, models, y, from, to) {
  let last = Infinity;
  const sorted = models
    .map((model) => ({ model, ratio: DATA.models[model]?.ratio || 0 }))
    .sort((a, b) => a.ratio - b.ratio);
  for (const { model, ratio } of sorted) {
    const at = y.to(ratio);
    const text = Math.min(at, last - (models.length > 1 ? 13 : 26));
    last = text;
    const mark = svg('g', { class: 'rule mean ' + series(model) }, svg('path', { d: 'M' + px(from) + ' ' + px(at) + 'H' + px(to + 4) }));
    if (sorted.length === 1) mark.append(svg('text', { x: px(to + 8), y: px(text - 5) }, 'mean'));
    mark.append(svg('text', { x: px(to + 8), y: px(text), dy: sorted.length === 1 ? '0.75em' : '0.35em' }, (100 * ratio).toFixed(1) + '%'));
    root.append(mark);
  }
}

/** @param {Metric} metric */
function definitionOf(metric) {
  return metric.key === 'effectiveRankRatio' ? 'Effective rank as a share of the largest possible' : metric.header;
}

/** @param {number} model @param {Row|null|undefined} row */
function nameAnd(model, row) {
  const name = DATA.models.length > 1 ? (DATA.models[model]?.name || '') + ': ' : '';
  return name + (row ? row.problem ? 'no spectrum, ' + row.problem : row.t[state.metric] || '–' : 'not in this model');
}

/** @param {string} text @param {number} width */
function fits(text, width) {
  return text.length * 6.6 + 4 <= width;
}

/** As much of a name as there is room for. @param {string} text @param {number} width */
function fitting(text, width) {
  if (fits(text, width)) return text;
  const most = Math.floor((width - 4) / 6.6);
  const head = Math.ceil((most - 1) * 0.55);
  return text.slice(0, head) + '…' + text.slice(text.length - (most - 1 - head));
}

function attachOverview() {
  const host = byId('overview');
  /** @param {EventTarget|null} target */
  const layerOf = (target) => {
    const group = target instanceof Element ? target.closest('[data-layer]') : null;
    return group === null ? -1 : Number(group.getAttribute('data-layer'));
  };
  /** @param {number} index @param {number} x @param {number} y */
  const describe = (index, x, y) => {
    const layer = DATA.layers[index];
    if (layer === undefined) return tip.hide();
    const metric = DATA.metrics[state.metric];
    const row = layer.rows.find((one) => one !== null);
    tip.show(x, y, (index + 1) + '. ' + layer.label, [
      ...DATA.models.flatMap((_, model) =>
        isShown(model) ? [{ model, text: nameAnd(model, layer.rows[model]) + (layer.rows[model]?.t[state.metric] !== undefined ? ' ' + (metric?.header || '') : '') }] : []),
      ...(row ? [{ text: row.op + ', ' + row.dims.join(' × ') + ', ' + count(row.params) + ' parameters' }] : []),
    ]);
  };
  host.addEventListener('pointermove', (event) => describe(layerOf(event.target), event.clientX, event.clientY));
  host.addEventListener('pointerleave', () => tip.hide());
  host.addEventListener('focusout', () => tip.hide());
  host.addEventListener('click', (event) => {
    const index = layerOf(event.target);
    if (index >= 0) choose(index, { focus: false });
  });
  host.addEventListener('focusin', (event) => {
    const index = layerOf(event.target);
    if (index < 0 || !(event.target instanceof Element) || !event.target.matches(':focus-visible')) return;
    const frame = event.target.getBoundingClientRect();
    describe(index, frame.right, frame.top + 60);
  });
  host.addEventListener('keydown', (event) => {
    const index = layerOf(event.target);
    if (index < 0) return;
    /** @type {Record<string, number>} */
    const moves = { ArrowRight: index + 1, ArrowDown: index + 1, ArrowLeft: index - 1, ArrowUp: index - 1, Home: 0, End: DATA.layers.length - 1 };
    if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      byId('detail-title').focus();
      return;
    }
    const next = moves[event.key];
    if (next === undefined) return;
    event.preventDefault();
    choose(Math.max(0, Math.min(DATA.layers.length - 1, next)), { focus: true });
  });
}

/** The mark of the chosen weight moves without drawing the rest again. */
function markChosen() {
  const host = byId('overview');
  for (const group of host.querySelectorAll('[data-layer]')) {
    const isChosen = Number(group.getAttribute('data-layer')) === state.layer;
    group.setAttribute('tabindex', isChosen ? '0' : '-1');
    group.setAttribute('aria-pressed', isChosen ? 'true' : 'false');
    if (!isChosen) continue;
    const target = group.querySelector('.target');
    const chosen = document.getElementById('chosen');
    chosen?.setAttribute('x', target?.getAttribute('x') || '0');
    chosen?.setAttribute('visibility', 'visible');
    const x = Number(target?.getAttribute('x'));
    if (x < host.scrollLeft + 40 || x > host.scrollLeft + host.clientWidth - 40) host.scrollLeft = x - host.clientWidth / 2;
  }
}
`;
