import type { Check, StudyRow } from '../../study/study.js';
import { html, Markup, scriptJson } from '../html/markup.js';
import { madeLine, pageHead } from '../html/page-head.js';
import { STUDY_SCRIPT_OF_PAGE } from '../html/page-scripts.js';
import { STYLES } from '../html/styles.js';
import { failedTexts, figure, type StudyResultView, settingsText, testText } from './document.js';
import { plotSvg } from './plot-svg.js';

/** Options of renderStudyPage. */
export interface StudyPageOptions {
  /** Stands in the heading as it is. The library never asks for the time: the same runs give the same bytes. */
  readonly date?: string | undefined;
  /** Version of the tool, for the heading. */
  readonly version?: string | undefined;
}

const OWN_STYLES = `${STYLES}
.plot.study { max-width: 100%; height: auto; }
.plot.study .paper-ground { fill: none; }
.plot.study .series text { fill: var(--muted); }
.plot.study .interval { stroke: var(--c); stroke-width: 1.2; }
.plot.study .published .line { stroke-dasharray: 2 3; }
.plot.study .published .dot { fill: var(--ground); stroke: var(--c); }
.plot.study .dot { stroke: var(--c); }
.verdict { font-weight: 650; }
.checks { list-style: none; padding: 0; margin: 8px 0; font-size: 14px; }
.checks li { padding: 1px 0; }
.figures-grid { display: grid; gap: 22px 28px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 560px), 1fr)); margin-top: 14px; }
.frame-table table { width: 100%; }
tbody tr { cursor: default; }
@media print { .figures-grid { display: block; } figure { break-inside: avoid; } }
`;

/**
 * Studies as one HTML file that needs nothing else: what was asked, what holds, curves with their intervals beside the published
 * ones, kernels, spectra, every figure in a table. Every plot can be saved as SVG and PNG; without JavaScript all is there but
 * that.
 *
 * @throws RangeError where there is none
 * @example
 * const result = await runStudy('init', { seeds: 8 });
 * await writeFile('init.html', renderStudyPage([result]));
 */
export function renderStudyPage(results: readonly StudyResultView[], options: StudyPageOptions = {}): string {
  if (results.length === 0) throw new RangeError('a page needs at least one study');
  const [first] = results;
  const title =
    results.length === 1 ? (first?.report.study.title ?? '') : 'The low-rank simplicity bias, measured';
  return html`${pageHead({ title: `Study: ${title}`, styles: OWN_STYLES, script: STUDY_SCRIPT_OF_PAGE, hasImages: true })}
<body>
<header>
<div class="bar top">
<div>
<p class="eyebrow">Study</p>
<h1>${title}</h1>
<p class="meta">${madeLine(options)}</p>
</div>
<div class="controls screen"><button type="button" id="theme">Dark</button><button type="button" id="print">Print</button></div>
</div>
${results.length > 1 && overview(results)}
</header>
<main>
${results.map((result) => section(result, results.length > 1))}
</main>
<footer><p>Bands and bars are intervals of 95 % of the mean over the seeds, by Student's t. Dashed curves with open marks are published ones. p values are corrected by Holm's procedure within a study.</p></footer>
<div id="tip" hidden></div>
<div id="live" class="hidden-text" role="status" aria-live="polite"></div>
<script type="application/json" id="data">${new Markup(scriptJson({}))}</script>
<script>${new Markup(STUDY_SCRIPT_OF_PAGE)}</script>
</body>
</html>
`.text;
}

function overview(results: readonly StudyResultView[]): Markup {
  return html`<div class="frame-table"><table><thead><tr><th scope="col" class="plain left">study</th><th scope="col" class="plain left">question</th><th scope="col" class="plain left">verdict</th><th scope="col" class="plain">runs</th></tr></thead><tbody>
${results.map(
  ({ report: { study, verdict, runs } }) =>
    html`<tr><th scope="row"><a href="#${study.name}">${study.name}</a></th><td class="left">${study.question}</td><td class="left verdict">${verdict}</td><td>${runs.length}</td></tr>`,
)}</tbody></table></div>`;
}

function section({ header, report }: StudyResultView, isOneOfMany: boolean): Markup {
  const { study, verdict, checks, tests, notes, failed, missing, plots, rows, quick } = report;
  const facts: readonly (readonly [string, string])[] = [
    ['runs', String(report.runs.length)],
    ['seeds', String(header.seeds)],
    ['processor', header.processor],
    ['versions', `${header.tool}, onnxruntime ${header.onnxruntime}, Node ${header.node}`],
    ['command', header.command],
    ...(header.data.length === 0 ? [] : [['data', header.data.join(', ')] as const]),
  ];
  return html`<section id="${study.name}">
${isOneOfMany && html`<h2>${study.title}</h2>`}
<p>${study.question} <span class="small">${study.source}</span></p>
<p>Verdict: <span class="verdict">${verdict}</span>${quick && ' (quick: fewer seeds, smaller runs)'}${missing > 0 && `, ${missing} runs of the plan are missing`}. <span class="small">It holds when: ${study.criterion}.</span></p>
<ul class="checks">${checks.map(check)}</ul>
${tests.length > 0 && html`<ul class="plain">${tests.map((test) => html`<li>${testText(test)}</li>`)}</ul>`}
${notes.map((note) => html`<p>${note}</p>`)}
<div class="figures-grid">${plots.map(
    (plot) =>
      html`<figure><figcaption class="bar"><h3>${plot.title}</h3><div class="controls screen"><button type="button" class="quiet" data-save="svg" data-name="${study.name}-${plot.name}">SVG<span class="hidden-text"> of ${plot.title}: download</span></button><button type="button" class="quiet" data-save="png" data-name="${study.name}-${plot.name}">PNG<span class="hidden-text"> of ${plot.title}: download</span></button></div></figcaption>
<div class="plots">${new Markup(plotSvg(plot))}</div></figure>`,
  )}</div>
${
  failed.length > 0 &&
  html`<details><summary>Runs that did not converge: ${failed.length}, not in the means</summary><ul class="plain">${failedTexts(failed).map((text) => html`<li>${text}</li>`)}</ul></details>`
}
<details><summary>All figures</summary>
<div class="frame-table"><table><thead><tr><th scope="col" class="plain left">setting</th><th scope="col" class="plain left">metric</th><th scope="col" class="plain">mean</th><th scope="col" class="plain">95 %</th><th scope="col" class="plain">n</th></tr></thead><tbody>
${rows.map(row)}</tbody></table></div></details>
<details><summary>What is measured, and how it was made</summary><dl class="definitions">${Object.entries(
    study.metrics,
  ).map(
    ([key, text]) => html`<dt>${key}</dt><dd>${text}</dd>`,
  )}${facts.map(([key, text]) => html`<dt>${key}</dt><dd>${text}</dd>`)}</dl>
${
  (study.deviations ?? []).length > 0 &&
  html`<ul class="plain">${(study.deviations ?? []).map((text) => html`<li>${text}</li>`)}</ul>`
}</details>
</section>`;
}

function check({ text, holds }: Check): Markup {
  return html`<li>${holds === undefined ? '?' : holds ? '✓' : '✗'} ${text}</li>`;
}

function row({ settings, metric, mean, low, high, n }: StudyRow): Markup {
  return html`<tr><th scope="row">${settingsText(settings)}</th><td class="left">${metric}</td><td>${figure(mean)}</td><td>${figure(low)} … ${figure(high)}</td><td>${n}</td></tr>
`;
}
