import { AGREEMENT_FIGURES, QUALITY_FIGURES } from '../../evaluate/figures.js';
import type { ModelQuality, QualityComparison, QualityReport } from '../../evaluate/types.js';
import { baseName, breakable, html, type Markup, type Part, titleOf } from '../html/markup.js';
import type { PageMade } from '../html/page-head.js';
import { staticPage } from '../html/static-page.js';
import { counted, formatCount, formatNumber } from '../text/text.js';
import { differenceText, figureText, intervalText } from './text.js';

/** Options of renderQualityPage. */
export interface QualityPageOptions extends PageMade {
  /** Where the samples are from. */
  readonly data: string;
}

/** Classes that a matrix is drawn of as cells; of more, those that are confused most are listed. */
const MOST_CELLS = 60;
const MOST_PAIRS = 50;
const SHADES = 10;

const STYLES = `
table.figures tbody tr, .matrix tbody tr { cursor: default; }
.matrix td, .matrix th { padding: 3px 6px; text-align: center; }
.matrix tbody th { text-align: right; }
.matrix td { min-width: 34px; border: 1px solid var(--ground); }
.matrix .right { outline: 1px solid var(--muted); outline-offset: -2px; }
${Array.from({ length: SHADES + 1 }, (_, shade) => `.matrix .h${shade} { background: color-mix(in srgb, var(--s0) ${7 * shade}%, transparent); }`).join('\n')}
`;

/**
 * An evaluation as one HTML file that needs nothing else: every figure with its interval, the confusion matrix of each
 * model, and of several models where they differ. It has no script.
 *
 * @example
 * await writeFile('quality.html', renderQualityPage(quality, { data: 'mnist, test part' }));
 */
export function renderQualityPage(report: QualityReport, options: QualityPageOptions): string {
  const names = report.models.map(({ name }) => baseName(name));
  const { samples, resamples, seed, notes } = report;
  return staticPage(
    {
      kind: 'Evaluation',
      title: titleOf(names, ' · '),
      heading: breakable(titleOf(names, ' and ')),
      styles: STYLES,
      lead: html`<p class="lead">${counted(samples, 'sample')} of ${options.data}. Intervals are the 2.5 and 97.5 percentiles of ${counted(resamples, 'resample')} of the samples (bootstrap, seed ${seed}); those of differences are of paired resamples.</p>
${notes.map((note) => html`<p class="lead">${note}</p>`)}`,
      main: [
        figures(report),
        report.comparisons.map((comparison) => differences(comparison, report)),
        report.models.map((model) => confusion(model)),
        definitions(report),
      ],
      footer: 'Rows of a confusion matrix are labels, columns decisions; shades are shares of a row.',
    },
    options,
  );
}

const head = (names: readonly string[], texts = 1): Markup =>
  html`<thead><tr>${names.map((name, index) => html`<th scope="col" class="plain${index < texts && ' left'}">${name}</th>`)}</tr></thead>`;

function figures({ models, comparisons, top }: QualityReport): Markup {
  const rows = models.flatMap(({ name, figures: own }, index) => {
    const comparison = comparisons[index - 1];
    const quality = QUALITY_FIGURES.flatMap(({ key, header, format }): Markup[] => {
      const estimate = own[key];
      if (estimate === undefined) return [];
      const difference = comparison?.differences[key];
      return [
        html`<tr><th scope="row">${breakable(name)}</th><td class="left">${key === 'topAccuracy' ? `top-${top}` : header}</td><td>${figureText(estimate.value, format)}</td><td>${intervalText(estimate, format)}</td>${comparisons.length > 0 && html`<td>${differenceText(difference?.value, format)}</td><td>${intervalText(difference, format, true)}</td>`}</tr>
`,
      ];
    });
    const agreement = AGREEMENT_FIGURES.flatMap(({ key, header, format }): Markup[] => {
      const estimate = comparison?.agreement[key];
      return estimate === undefined
        ? []
        : [
            html`<tr><th scope="row">${breakable(name)}</th><td class="left">${header}</td><td>${figureText(estimate.value, format)}</td><td>${intervalText(estimate, format)}</td><td></td><td></td></tr>
`,
          ];
    });
    return [...quality, ...agreement];
  });
  const more = comparisons.length > 0 ? ['less the first', '95 % interval of that'] : [];
  return html`<section aria-labelledby="figures-title"><h2 id="figures-title">Figures</h2>
<div class="scroll"><table class="figures">${head(['model', 'figure', 'value', '95 % interval', ...more], 2)}<tbody>
${rows}</tbody></table></div></section>`;
}

function differences(comparison: QualityComparison, { classNames, models }: QualityReport): Markup {
  const { name, classes, samples, unequal, unequalSamples, lost, gained } = comparison;
  const first = models[0]?.name ?? '';
  const label = (value: number | undefined): Part =>
    value === undefined ? '–' : labelText(value, classNames);
  return html`<section><h2>Where ${breakable(name)} differs</h2>
<p class="lead">${counted(unequal, 'decision')} otherwise than ${first}, in ${counted(unequalSamples, 'sample')}; right in ${first} only ${formatCount(lost)}, in ${name} only ${formatCount(gained)}.</p>
${
  classes.length > 0 &&
  html`<div class="frame-table" tabindex="0" role="region" aria-label="Classes that differ"><table class="figures">${head(['class', 'labels', `right in ${first} only`, `right in ${name} only`, 'recall'])}<tbody>
${classes.map(
  (row) =>
    html`<tr><th scope="row">${labelText(row.class, classNames)}</th><td>${formatCount(row.labels)}</td><td>${formatCount(row.lost)}</td><td>${formatCount(row.gained)}</td><td>${differenceText(row.recall, 'share')}</td></tr>
`,
)}</tbody></table></div>`
}
${
  samples.length > 0 &&
  html`<div class="frame-table" tabindex="0" role="region" aria-label="Samples that differ"><table class="figures">${head(['sample', 'label', first, name, 'unequal', 'KL'])}<tbody>
${samples.map(
  (row) =>
    html`<tr><th scope="row">${row.sample}</th><td>${label(row.label)}</td><td>${label(row.first)}</td><td>${label(row.other)}</td><td>${formatCount(row.unequal)} of ${formatCount(row.positions)}</td><td>${formatNumber(row.divergence, 'significant3')}</td></tr>
`,
)}</tbody></table></div>`
}</section>`;
}

function labelText(label: number, names: readonly string[] | undefined): string {
  const name = names?.[label];
  return name === undefined ? String(label) : `${label} ${name}`;
}

function confusion({ name, confusion: matrix, classes = [], nonFinite }: ModelQuality): Markup {
  if (matrix === undefined) return html``;
  const names = classes.some((row) => row.name !== undefined)
    ? classes.map((row) => row.name ?? '')
    : undefined;
  const warning =
    nonFinite > 0 &&
    html`<p class="warning">${counted(nonFinite, 'sample')} with NaN or infinite outputs: they stand in no cell.</p>`;
  const body = matrix.length > MOST_CELLS ? confusedPairs(matrix, names) : cells(matrix, names);
  return html`<section><h2>Confusion matrix of ${breakable(name)}</h2>
${warning}
${body}
<div class="frame-table" tabindex="0" role="region" aria-label="Classes of ${name}"><table class="figures">${head(['class', 'labels', 'recall', 'precision', 'IoU'])}<tbody>
${classes.map(
  (row) =>
    html`<tr><th scope="row">${labelText(row.class, names)}</th><td>${formatCount(row.labels)}</td><td>${shareText(row.recall)}</td><td>${shareText(row.precision)}</td><td>${shareText(row.iou)}</td></tr>
`,
)}</tbody></table></div></section>`;
}

const shareText = (value: number): string => (Number.isNaN(value) ? '–' : figureText(value, 'share'));

function cells(matrix: readonly (readonly number[])[], names: readonly string[] | undefined): Markup {
  const title = (label: number): string => labelText(label, names);
  return html`<div class="frame-table" tabindex="0" role="region" aria-label="Confusion matrix"><table class="matrix"><thead><tr><th scope="col" class="plain">label ↓ decision →</th>${matrix.map((_, label) => html`<th scope="col" class="plain">${title(label)}</th>`)}</tr></thead><tbody>
${matrix.map((row, label) => {
  const all = row.reduce((sum, count) => sum + count, 0);
  return html`<tr><th scope="row">${title(label)}</th>${row.map((count, decision) => {
    const shade = all === 0 ? 0 : Math.ceil((SHADES * count) / all);
    return html`<td class="h${shade}${label === decision && ' right'}">${count === 0 ? '' : formatCount(count)}</td>`;
  })}</tr>
`;
})}</tbody></table></div>`;
}

function confusedPairs(matrix: readonly (readonly number[])[], names: readonly string[] | undefined): Markup {
  const pairs = matrix
    .flatMap((row, label) =>
      row.flatMap((count, decision) => (count > 0 && label !== decision ? [{ label, decision, count }] : [])),
    )
    .sort((a, b) => b.count - a.count || a.label - b.label || a.decision - b.decision);
  return html`<p class="lead">The pairs of ${counted(matrix.length, 'class', 'classes')} that are confused most.</p>
<div class="frame-table" tabindex="0" role="region" aria-label="Confused classes"><table class="figures">${head(['label', 'decision', 'times'])}<tbody>
${pairs.slice(0, MOST_PAIRS).map(
  ({ label, decision, count }) =>
    html`<tr><th scope="row">${labelText(label, names)}</th><td>${labelText(decision, names)}</td><td>${formatCount(count)}</td></tr>
`,
)}</tbody></table></div>`;
}

function definitions({ models, comparisons }: QualityReport): Markup {
  const quality = QUALITY_FIGURES.filter(({ key }) => models[0]?.figures[key] !== undefined);
  const agreement = AGREEMENT_FIGURES.filter(({ key }) => comparisons[0]?.agreement[key] !== undefined);
  return html`<section><details><summary>What the figures mean</summary><dl class="definitions">${[
    ...quality,
    ...agreement,
  ].map(
    ({ header, definition }) => html`<dt>${header}</dt><dd>${definition}</dd>`,
  )}</dl></details></section>`;
}
