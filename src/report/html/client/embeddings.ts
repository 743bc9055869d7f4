/** Figures of the embeddings over the depth of the network. */
export const EMBEDDINGS = `
/** Which figure each plot shows. @type {Record<string, number>} */
const embeddingMetric = {};

/** @param {string} plot @returns {PlotSpec|undefined} */
function embeddingSpec(plot) {
  const page = DATA.embeddings;
  const at = embeddingMetric[plot];
  const metric = at === undefined ? undefined : page?.metrics[at];
  if (!page || at === undefined || metric === undefined) return undefined;
  const n = page.values.length;
  const models = DATA.models.map((_, model) => model).filter(isShown);
  const curves = models.map((model) => {
    const known = page.values.flatMap(({ rows }, k) => {
      const value = rows[model]?.v[at];
      return typeof value === 'number' ? [{ x: k + 1, y: value }] : [];
    });
    return { model, known };
  });
  const all = curves.flatMap(({ known }) => known.map(({ y }) => y));
  if (all.length === 0) return undefined;
  const positive = all.filter((value) => value > 0);
  const [least, most] = [Math.min(...positive), Math.max(...all)];
  const isPercent = metric.format === 'percent';
  const isLog = !isPercent && positive.length > 0 && most / least > 50;
  /** @type {Axis} */
  const y = isLog
    ? { log: true, from: least / 1.4, to: most * 1.4, label: metric.header }
    : { log: false, from: 0, to: (isPercent ? Math.min(1, most * 1.08) : most * 1.08) || 1, label: metric.header, ...(isPercent && { unit: /** @type {const} */ ('percent') }) };
  return {
    name: 'embedding-' + plot,
    title: metric.header + ' of the embeddings over the depth of the network',
    height: 300,
    x: { log: false, isWhole: true, from: 1, to: Math.max(2, n), label: 'values, from input to output' },
    y,
    series: curves.map(({ model, known }) => ({
      kind: /** @type {const} */ ('points'), xs: known.map(({ x }) => x), ys: known.map((one) => one.y), model,
    })),
    stops: page.values.map((_, k) => k + 1),
    read: (x) => {
      const k = Math.max(0, Math.min(n - 1, Math.round(x) - 1));
      const value = page.values[k];
      if (value === undefined) return undefined;
      const shown = models.filter((model) => value.rows[model]);
      return {
        title: (k + 1) + '. ' + value.label,
        lines: [
          ...shown.map((model) => ({ model, text: metric.header + ' ' + (value.rows[model]?.t[at] || '–') })),
          { text: value.about },
        ],
        x: k + 1,
        dots: shown.flatMap((model) => {
          const one = value.rows[model]?.v[at];
          return typeof one === 'number' ? [{ y: one, model }] : [];
        }),
      };
    },
  };
}

function drawEmbeddings() {
  for (const plot of Object.keys(embeddingMetric)) {
    const spec = embeddingSpec(plot);
    const host = byId('embedding-' + plot);
    if (spec === undefined) host.replaceChildren(el('p', { class: 'none' }, 'Nothing to draw.'));
    else drawPlot(host, spec);
  }
}

function attachEmbeddings() {
  for (const select of document.querySelectorAll('select[data-embedding]')) {
    if (!(select instanceof HTMLSelectElement)) continue;
    const plot = select.getAttribute('data-embedding') || '';
    embeddingMetric[plot] = Number(select.value);
    select.addEventListener('change', () => {
      embeddingMetric[plot] = Number(select.value);
      drawEmbeddings();
    });
  }
  drawEmbeddings();
}
`;
