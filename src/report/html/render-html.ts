import type { RankReport } from '../../analysis/report/rank-report.js';
import { leftNotes } from '../skipped.js';
import { bestPlace, counted, formatCount, formatNumber, printable, shorten } from '../text/text.js';
import { type EmbeddingsPage, embeddingsSection } from './embeddings.js';
import { baseName, breakable, fileName, html, Markup, scriptJson, swatch, titleOf } from './markup.js';
import { cellOf, type LayerPage, type Page, type PageMetric, pageOf } from './page-data.js';
import { madeLine, pageHead } from './page-head.js';
import { RANK_REPORT_SCRIPT } from './page-scripts.js';
import type { HtmlReportModel } from './report-model.js';
import { spark } from './spark.js';
import { STYLES } from './styles.js';
import type { EmbeddingsData, RankPageData } from './types.js';

/** Options of renderHtmlReport. */
export interface HtmlReportOptions {
  /** Default 'Rank report'. */
  readonly title?: string | undefined;
  /** Stands in the heading as it is. The library never asks for the time: the same reports give the same bytes. */
  readonly date?: string | undefined;
  /** Version of the tool, for the heading. */
  readonly version?: string | undefined;
}

/**
 * Rank reports as one HTML file that needs nothing else: the network over its depth, every figure in a table, and of
 * each weight the singular values, their energy and the density of the eigenvalues with the fits of Marchenko-Pastur
 * and of a power law. Of several models the weights of one name are drawn over each other.
 *
 * Works offline, in light and dark, by keyboard, on paper. Nothing in a model (names of weights, reasons) can become
 * markup, and the page's own policy lets nothing run or load but what this function wrote.
 *
 * @param models reports with spectra; the first gives the order of the weights
 * @throws RangeError where there is no model
 * @example
 * const report = await rankReport(model, { spectra: true });
 * await writeFile('report.html', renderHtmlReport([{ name: 'model.onnx', report }]));
 */
export function renderHtmlReport(
  models: readonly HtmlReportModel[],
  options: HtmlReportOptions = {},
): string {
  if (models.length === 0) throw new RangeError('a report needs at least one model');
  const page = pageOf(models);
  const title = options.title ?? 'Rank report';
  const names = titleOf(
    models.map(({ name }) => name),
    ' · ',
  );
  const document = html`${pageHead({ title: `${title}: ${names}`, styles: STYLES, script: RANK_REPORT_SCRIPT })}
<body>
${header(page, title, options)}
<main>
${overview(page)}
${detail(page)}
${embeddingsSection(page.embeddings)}
${table(page)}
${leftOut(page)}
${definitions(page)}
</main>
<footer><p>Singular values of each weight as a matrix; a convolution is out × (in/group · kernel). Figures of the plots are rounded to five digits.${page.isThinned ? ' Long spectra are drawn by some of their values; figures and densities are those of all.' : ''}</p></footer>
<div id="tip" hidden></div>
<div id="live" class="hidden-text" role="status" aria-live="polite"></div>
<script type="application/json" id="data">${new Markup(scriptJson(dataOf(page)))}</script>
<script>${new Markup(RANK_REPORT_SCRIPT)}</script>
</body>
</html>
`;
  return document.text;
}

function dataOf(page: Page): RankPageData {
  return {
    models: page.models.map(({ name, report }) => ({
      name: printable(baseName(name)),
      ratio: report.total.effectiveRankRatio,
    })),
    metrics: page.metrics.map(({ key, header, format, definition }) => ({ key, header, format, definition })),
    layers: page.layers.map(({ label, subtitle, key, data }) => ({ label, subtitle, key, rows: data })),
    blocks: page.blocks,
    density: page.density,
    ...(page.embeddings && { embeddings: embeddingsData(page.embeddings) }),
    file: fileName(page.models.map(({ name }) => name)),
  };
}

/** Definitions stand in the page as they are. */
function embeddingsData({ metrics, values }: EmbeddingsPage): EmbeddingsData {
  return { metrics: metrics.map(({ key, header, format, plot }) => ({ key, header, format, plot })), values };
}

function header(page: Page, title: string, { date, version }: HtmlReportOptions): Markup {
  const { models } = page;
  return html`<header>
<div class="bar top">
<div>
<p class="eyebrow">${title}</p>
<h1>${breakable(
    titleOf(
      models.map(({ name }) => name),
      ' → ',
    ),
  )}</h1>
<p class="meta">${madeLine({ date, version })}</p>
</div>
<div class="controls screen"><button type="button" id="theme">Dark</button><button type="button" id="print">Print</button></div>
</div>
<ul class="models">${models.map((model, index) => modelCard(model, index, models.length > 1))}</ul>
<noscript><p class="warning">Plots, sorting and filtering need JavaScript. The table below has every figure.</p></noscript>
</header>`;
}

function modelCard({ name, report, nodes }: HtmlReportModel, index: number, isOneOfMany: boolean): Markup {
  const { total } = report;
  const used = report.rows.reduce((sum, row) => sum + row.nodes.length, 0);
  const counts = [
    nodes === undefined ? undefined : counted(nodes, 'node'),
    `${counted(total.weights, 'weight')} in ${counted(used, 'linear node')}`,
    report.notLookedAt.length > 0 && `${counted(report.notLookedAt.length, 'node')} skipped`,
    total.problems > 0 && `${formatCount(total.problems)} without a spectrum`,
  ].filter(Boolean);
  const label = isOneOfMany
    ? html`<label><input type="checkbox" class="screen" name="model" value="${index}" checked>${swatch(index)}<span>${breakable(baseName(name))}</span></label>`
    : html``;
  const figures: readonly (readonly [string, string])[] = [
    ['mean eff. rank / max', formatNumber(total.effectiveRankRatio, 'percent')],
    ['sum of eff. ranks', formatNumber(total.effectiveRank, 'fixed1')],
    ['sum of full ranks', formatCount(total.fullRank)],
    ['sum of num. ranks', formatCount(total.numericalRank)],
    ['parameters', formatCount(total.parameters)],
  ];
  return html`<li>${label}<span class="small">${counts.join(' · ')}</span>
<dl class="figures">${figures.map(([term, value]) => html`<div><dt>${term}</dt><dd>${value}</dd></div>`)}</dl></li>
`;
}

function overview({ metrics, layers }: Page): Markup {
  if (layers.length === 0) {
    return html`<section><h2>Nothing to report on</h2><p class="lead">No linear node of the model has a constant weight.</p></section>`;
  }
  const chosen = metrics.findIndex(({ key }) => key === 'effectiveRankRatio');
  return html`<section aria-labelledby="overview-title">
<div class="bar"><h2 id="overview-title">The network over its depth</h2>
<div class="controls screen"><label class="field">Metric <select id="metric">${metrics.map(
    ({ header, key }, index) =>
      html`<option value="${index}"${index === chosen && new Markup(' selected')}>${key === 'effectiveRankRatio' ? 'eff.rank / max' : header}</option>`,
  )}</select></label><button type="button" class="quiet" data-download="overview">Download SVG</button></div></div>
<p class="lead">One bar a weight, from input to output; below, its parameters on a logarithmic scale. Choose a bar to see its spectrum.</p>
<div id="overview" class="scroll"></div>
</section>`;
}

interface Choice {
  readonly value: string;
  readonly text: string;
}

function radios(name: string, legend: string, choices: readonly Choice[], chosen?: string): Markup {
  return html`<fieldset class="switch screen"><legend>${legend}</legend>${choices.map(
    ({ value, text }) =>
      html`<label><input type="radio" name="${name}" value="${value}"${value === (chosen ?? choices[0]?.value) && new Markup(' checked')}><span>${text}</span></label>`,
  )}</fieldset>`;
}

function detail({ layers, density }: Page): Markup {
  if (layers.length === 0) return html``;
  return html`<section id="detail" aria-labelledby="detail-title">
<div class="bar"><div><h2 id="detail-title" tabindex="-1"></h2><p class="lead" id="detail-what"></p></div>
<div class="controls nav screen"><button type="button" id="previous" aria-label="Previous weight">←</button>
<label class="field"><span class="hidden-text">Weight</span><select id="layer">${layers.map(
    ({ label }, index) => html`<option value="${index}">${index + 1}. ${label}</option>`,
  )}</select></label>
<button type="button" id="next" aria-label="Next weight">→</button></div></div>
<div id="detail-problems"></div>
<dl class="figures" id="detail-figures"></dl>
<div class="pair">
<figure><figcaption class="bar"><h3>Spectrum</h3><div class="controls screen">${radios(
    'spectrum',
    'Scale of the spectrum',
    [
      { value: 'linear', text: 'Linear' },
      { value: 'log', text: 'Log-log' },
      { value: 'energy', text: 'Energy' },
    ],
  )}<label class="check"><input type="checkbox" name="relative" value="1"><span title="Divide by the largest singular value">÷ s₁</span></label><button type="button" class="quiet" data-download="spectrum">SVG<span class="hidden-text"> of the spectrum: download</span></button></div></figcaption>
<div class="plots"><div id="spectrum-linear"></div><div id="spectrum-log" class="off"></div><div id="spectrum-energy" class="off"></div></div></figure>
<figure><figcaption class="bar"><h3>Eigenvalue density</h3><div class="controls screen">${radios(
    'density',
    'Scale of the density',
    [
      { value: 'linear', text: 'Linear' },
      { value: 'log', text: 'Log-log' },
    ],
    density,
  )}<button type="button" class="quiet" data-download="density">SVG<span class="hidden-text"> of the density: download</span></button></div></figcaption>
<div class="plots"><div id="density-linear"></div><div id="density-log" class="off"></div></div>
<ul class="fits" id="fits"></ul></figure>
</div>
</section>`;
}

/** Characters of a name in the table; the middle of longer ones is left out, so that they stay distinct. */
const NAME_WIDTH = 34;

function table(page: Page): Markup {
  const { models, metrics, layers } = page;
  if (layers.length === 0) return html``;
  const isOneOfMany = models.length > 1;
  const place = bestPlace(
    layers.map(({ label }) => label),
    NAME_WIDTH,
  ).place;
  const sortBy = [
    ...models.map(({ name }, index) => ({ value: String(index), text: baseName(name) })),
    ...(isOneOfMany ? [{ value: 'change', text: 'the change, last − first' }] : []),
  ];
  return html`<section aria-labelledby="table-title">
<div class="bar"><h2 id="table-title">All figures</h2>
<div class="controls screen"><label class="field${isOneOfMany ? '' : ' hidden-text'}">Sort by <select id="sort-by"${!isOneOfMany && new Markup(' tabindex="-1" aria-hidden="true"')}>${sortBy.map(
    ({ value, text }) => html`<option value="${value}">${text}</option>`,
  )}</select></label>
${radios('columns', 'Columns', [
  { value: 'brief', text: 'Main columns' },
  { value: 'all', text: 'All columns' },
])}
<label class="field"><span class="hidden-text">Filter</span><input type="search" id="filter" placeholder="Filter: conv 3x3 …" autocomplete="off" spellcheck="false"></label>
<span class="small" id="shown" role="status">${counted(layers.length, 'weight')}</span></div></div>
<div class="frame-table" tabindex="0" role="region" aria-labelledby="table-title"><table id="weights" class="brief">
<thead><tr>${columnHead('label', 'weight', 'name of the weight or, where the exporter only numbered it, of its node', '', 'left')}
<th scope="col" class="plain left">spectrum</th>
${columnHead('op', 'op', 'operators that use the weight', '', 'left')}
${columnHead('matrix', 'matrix', 'rows × columns of the matrix whose spectrum this is', '', 'number')}
${columnHead('params', 'params', 'elements of the weight, without its bias', '', 'number')}
${metrics.map(({ header, definition, unit, isBrief }, index) =>
  columnHead(String(index), header, definition, unit, isBrief ? 'number' : 'number more'),
)}</tr></thead>
<tbody>
${layers.map((layer, index) => tableRow(layer, index, metrics, { isOneOfMany, place }))}</tbody></table></div>
${missing(page)}
</section>`;
}

/** On paper a heading is plain text: what is a button does not repeat on each sheet. */
function columnHead(column: string, name: string, definition: string, unit: string, kind: string): Markup {
  const isNumber = kind.startsWith('number');
  const about = unit === '' ? definition : `${definition} (in units ${unit})`;
  return html`<th scope="col" data-column="${column}"${isNumber && new Markup(' data-number')} class="${isNumber ? kind.slice(7) : kind}" data-tip-title="${name}" data-tip="${about}"><button type="button" class="screen" aria-description="${about}">${name}</button><span class="paper">${name}</span></th>
`;
}

function tableRow(
  { label, subtitle, key, figures }: LayerPage,
  index: number,
  metrics: readonly PageMetric[],
  { isOneOfMany, place }: { readonly isOneOfMany: boolean; readonly place: number },
): Markup {
  const each = (
    of: (figures: NonNullable<LayerPage['figures'][number]>, model: number) => Markup | string,
  ): Markup[] =>
    figures.map((one, model) => {
      const content = one === undefined ? '' : of(one, model);
      return isOneOfMany ? html`<div class="each">${content}</div>` : html`${content}`;
    });
  const cells = metrics.map((metric) => {
    const reasons = new Set(
      figures.flatMap((one) => (one === undefined ? [] : (cellOf(metric, one).reason ?? []))),
    );
    const why = [...reasons].join('; ');
    const classes = [metric.isBrief ? '' : 'more', why === '' ? '' : 'quiet-text'].filter(Boolean).join(' ');
    return html`<td${classes !== '' && html` class="${classes}"`}${why !== '' && html` data-tip-title="No value" data-tip="${why}"`}>${each((one) => cellOf(metric, one).text)}</td>`;
  });
  const problem = figures.some((one) => one?.row.problem !== undefined);
  return html`<tr data-index="${index}"><th scope="row" title="${subtitle === '' ? label : `${label} (${subtitle})`}"><a href="#layer=${encodeURIComponent(wellFormed(key))}">${breakable(shorten(label, NAME_WIDTH, place))}</a>${problem && html` <span class="note">no spectrum</span>`}</th><td class="left">${each(
    ({ row }, model) => html`${isOneOfMany && swatch(model)}${spark(row.singularValues, model)}`,
  )}</td><td class="left">${each(({ row }) => row.ops.join(', '))}</td><td>${each(
    ({ row }) => `${formatCount(row.rows)} × ${formatCount(row.columns)}`,
  )}</td><td>${each(({ row }) => formatCount(row.parameters))}</td>${cells}</tr>
`;
}

/** Half a surrogate pair is no character, and encodeURIComponent refuses it. */
function wellFormed(text: string): string {
  return text.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, '\ufffd');
}

/** Why cells have a dash, each reason once. */
function missing({ metrics, layers, models }: Page): Markup {
  const reasons = new Map<string, { headers: Set<string>; weights: Set<string> }>();
  for (const { label, figures } of layers) {
    for (const one of figures) {
      if (one === undefined) continue;
      for (const metric of metrics) {
        const { reason } = cellOf(metric, one);
        if (reason === undefined) continue;
        const known = reasons.get(reason) ?? { headers: new Set(), weights: new Set() };
        known.headers.add(metric.header);
        known.weights.add(label);
        reasons.set(reason, known);
      }
    }
  }
  const alone = models.length > 1 ? layers.filter(({ figures }) => figures.includes(undefined)).length : 0;
  if (reasons.size === 0 && alone === 0) return html``;
  const several = (names: Set<string>, most: number): string =>
    names.size <= most
      ? [...names].join(', ')
      : `${[...names].slice(0, most - 1).join(', ')} and ${names.size - most + 1} more`;
  return html`<details><summary>Missing values (–)</summary><ul class="plain">${[...reasons].map(
    ([reason, { headers, weights }]) =>
      html`<li>${several(weights, 6)}: ${reason} <span class="small">(${several(headers, 4)})</span></li>`,
  )}${alone > 0 && html`<li>${counted(alone, 'weight')} ${alone === 1 ? 'is' : 'are'} not in every model: the cells of the others are empty</li>`}</ul></details>`;
}

function leftOut({ models }: Page): Markup {
  const some = models.filter(({ report }) => report.notLookedAt.length > 0);
  if (some.length === 0) return html``;
  return html`<section aria-labelledby="left-title"><h2 id="left-title">Skipped</h2>
${some.map(({ name, report }) => leftOfModel(models.length > 1 ? baseName(name) : '', report))}</section>`;
}

function leftOfModel(name: string, { notLookedAt }: RankReport): Markup {
  const lines = leftNotes(notLookedAt, { verb: 'skipped', each: false })
    .slice(1)
    .filter(({ tone }) => tone !== 'aside');
  return html`<p class="lead">${name !== '' && `${name}: `}${counted(notLookedAt.length, 'linear node')} without a constant weight, or of a kind that is not read.</p>
<ul class="plain">${lines.map(({ text }) => html`<li>${text.trim()}</li>`)}</ul>
<details><summary>Each node</summary><ul class="plain">${notLookedAt.map(({ node, op, reason }) => html`<li>${op} ${node}: ${reason}</li>`)}</ul></details>`;
}

function definitions({ metrics: ofWeights, embeddings }: Page): Markup {
  const metrics = [...ofWeights.map((one) => ({ ...one })), ...(embeddings?.metrics ?? [])];
  return html`<section aria-labelledby="definitions-title"><h2 id="definitions-title">What the figures mean</h2>
<p class="lead">In terms of the singular values s₁ ≥ s₂ ≥ … of an m × n matrix W. Columns of the table say the same when pointed at.</p>
<details id="definitions"><summary>Definitions and sources</summary><dl class="definitions">${metrics.map(
    ({ header, definition, source, unit }) =>
      html`<dt>${header}</dt><dd>${definition}${unit !== '' && ` (in units ${unit})`}. <span class="source">${source}</span></dd>`,
  )}</dl></details></section>`;
}
