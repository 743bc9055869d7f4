import { baseName, breakable, fileName, html, Markup, scriptJson, swatch, titleOf } from '../html/markup.js';
import { madeLine, pageHead } from '../html/page-head.js';
import { TRAINING_SCRIPT } from '../html/page-scripts.js';
import { seriesClass } from '../html/series.js';
import { STYLES } from '../html/styles.js';
import type { TrainPageData, WeightData, WeightRun } from '../html/types.js';
import { formatCount, formatNumber, formatSignificant } from '../text/text.js';
import { figureText, meanRatio, type NamedLog, RANK_METRICS, runData, weightsOf } from './page-data.js';
import { duration, settingText } from './summary.js';

/** Options of renderTrainPage. */
export interface TrainPageOptions {
  /** Default 'Training'. */
  readonly title?: string | undefined;
  /** Stands in the heading as it is. The library never asks for the time: the same logs give the same bytes. */
  readonly date?: string | undefined;
  /** Version of the tool, for the heading. */
  readonly version?: string | undefined;
}

const OWN_STYLES = `${STYLES}
.series.train .line { stroke-width: 1.3; stroke-opacity: 0.6; stroke-dasharray: none; }
.series.train .dot { fill-opacity: 0.5; }
svg.course { width: 96px; height: 22px; display: block; }
.course .line { stroke-width: 1.6; }
#epochs { width: 100%; }
@media (max-width: 640px) { #ranks .nav { flex-wrap: wrap; } #ranks .nav .field:first-of-type { flex: 1 1 60%; } }
#weights tbody tr.factor th { padding-left: 22px; color: var(--muted); }
`;

/**
 * Trainings as one HTML file that needs nothing else: loss, accuracy, learning rate and gradient over the epochs, and how
 * much of its rank each weight, and each chain as a whole, uses. Several runs are drawn over each other.
 *
 * Works offline, in light and dark, by keyboard, on paper; figures stand in tables, too. Nothing in a log can become markup.
 *
 * @param logs as readTrainLog gives them, each under a name; the first gives the order of the weights
 * @throws RangeError where there is none
 * @example
 * const log = readTrainLog(await readFile('train.jsonl', 'utf8'));
 * await writeFile('train-log.html', renderTrainPage([{ name: 'model.onnx', log }]));
 */
export function renderTrainPage(logs: readonly NamedLog[], options: TrainPageOptions = {}): string {
  if (logs.length === 0) throw new RangeError('a page needs at least one training');
  const title = options.title ?? 'Training';
  const names = logs.map(({ name }) => baseName(name));
  const weights = weightsOf(logs);
  const runs = logs.map((one, index) => runData({ ...one, name: names[index] ?? '' }));
  const hasAccuracy = runs.some(
    ({ curves }) => curves.accuracy.xs.length + curves.validationAccuracy.xs.length > 0,
  );
  const data: TrainPageData = { runs, metrics: RANK_METRICS, weights, file: fileName(names) };
  return html`${pageHead({ title: `${title}: ${titleOf(names, ' · ')}`, styles: OWN_STYLES, script: TRAINING_SCRIPT })}
<body>
<header>
<div class="bar top">
<div>
<p class="eyebrow">${title}</p>
<h1>${breakable(titleOf(names, ' · '))}</h1>
<p class="meta">${madeLine(options)}</p>
</div>
<div class="controls screen"><button type="button" id="theme">Dark</button><button type="button" id="print">Print</button></div>
</div>
<ul class="models">${logs.map((one, index) => runCard(one, index, logs.length > 1))}</ul>
<noscript><p class="warning">Plots need JavaScript. The tables below have every figure.</p></noscript>
</header>
<main>
${curves(hasAccuracy)}
${ranks(weights, logs)}
${epochs(logs)}
${definitions()}
</main>
<footer><p>Figures of the plots are rounded to five digits. Ranks are of each weight as a matrix; a convolution is out × (in/group · kernel).</p></footer>
<div id="tip" hidden></div>
<div id="live" class="hidden-text" role="status" aria-live="polite"></div>
<script type="application/json" id="data">${new Markup(scriptJson(data))}</script>
<script>${new Markup(TRAINING_SCRIPT)}</script>
</body>
</html>
`.text;
}

function runCard({ name, log }: NamedLog, index: number, isOneOfMany: boolean): Markup {
  const { plan, records, best, context, end } = log;
  const first = records.find(({ epoch }) => epoch === 0);
  const shown = records.find(({ epoch }) => epoch === best) ?? records.at(-1);
  const label = isOneOfMany
    ? html`<label><input type="checkbox" class="screen" name="run" value="${index}" checked>${swatch(index)}<span>${breakable(baseName(name))}</span></label>`
    : html``;
  const figures = shown?.validation ?? shown?.training;
  const what = shown?.validation === undefined ? 'training' : 'validation';
  const rank = (record: typeof shown): string => formatNumber(record && meanRatio(record.ranks), 'percent');
  const items: readonly (readonly [string, string] | false)[] = [
    figures?.accuracy !== undefined && [`${what} accuracy`, formatNumber(figures.accuracy, 'percent')],
    figures !== undefined && [`${what} loss`, formatSignificant(figures.loss)],
    [best === undefined ? 'last epoch' : 'best epoch', `${shown?.epoch ?? 0} of ${plan.epochs}`],
    (shown?.ranks.length ?? 0) > 0 && ['mean eff. rank / max', `${rank(first)} → ${rank(shown)}`],
    ['parameters', formatCount(plan.parameters)],
    ['time', duration(records.reduce((sum, record) => sum + record.seconds, 0))],
  ];
  const settings = Object.entries(plan.settings).map(([key, value]) => settingText(key, value));
  const about = [
    `${baseName(context.data)}, ${formatCount(plan.samples)} samples`,
    `${plan.loss}, ${plan.optimizer} at ${plan.learningRate} (${plan.schedule}), batch ${plan.batch}, seed ${plan.seed}`,
    plan.chains > 0 && `${plan.chains} chains`,
    ...settings,
  ].filter((part) => part !== false);
  const failed = end?.reason === 'failed' ? html`<p class="warning">${end.message}</p>` : html``;
  return html`<li>${label}<span class="small">${about.join(' · ')}</span>${failed}
<dl class="figures">${items.map((item) => item && html`<div><dt>${item[0]}</dt><dd>${item[1]}</dd></div>`)}</dl></li>
`;
}

function plot(name: string, title: string, controls: Markup): Markup {
  return html`<figure><figcaption class="bar"><h3>${title}</h3><div class="controls screen">${controls}<button type="button" class="quiet" data-download="${name}">SVG<span class="hidden-text"> of ${title}: download</span></button></div></figcaption>
<div class="plots"><div id="plot-${name}"></div></div></figure>
`;
}

function curves(hasAccuracy: boolean): Markup {
  const scale = html`<fieldset class="switch screen"><legend>Scale of the loss</legend><label><input type="radio" name="scale" value="linear" checked><span>Linear</span></label><label><input type="radio" name="scale" value="log"><span>Log</span></label></fieldset>`;
  return html`<section id="curves" aria-labelledby="curves-title">
<h2 id="curves-title">Over the epochs</h2>
<p class="lead">Thin and pale: on the batches, while the weights change. Strong: on the validation samples, after each epoch; epoch 0 is the model before training.</p>
<div class="pair">
${plot('loss', 'Loss', scale)}${hasAccuracy && plot('accuracy', 'Accuracy', html``)}${plot('rate', 'Learning rate', html``)}${plot('norm', 'Norm of the gradients', html``)}</div>
</section>`;
}

function ranks(weights: readonly WeightData[], logs: readonly NamedLog[]): Markup {
  if (weights.length === 0) return html``;
  return html`<section id="ranks" aria-labelledby="rank-title">
<div class="bar"><div><h2 id="rank-title">Effective rank</h2><p class="lead" id="rank-what"></p></div>
<div class="controls nav screen"><button type="button" id="previous" aria-label="Previous weight">←</button>
<label class="field"><span class="hidden-text">Weight</span><select id="weight"><option value="-1">Mean of all weights</option>${weights.map(
    ({ label, note }, index) =>
      html`<option value="${index}">${index + 1}. ${label}${note !== '' && ` (${note})`}</option>`,
  )}</select></label>
<button type="button" id="next" aria-label="Next weight">→</button>
<label class="field">Figure <select id="metric">${RANK_METRICS.map(({ header }, index) => html`<option value="${index}">${header}</option>`)}</select></label>
<button type="button" class="quiet" data-download="rank">SVG<span class="hidden-text"> of the ranks: download</span></button></div></div>
<div class="plots"><div id="plot-rank"></div></div>
<div class="frame-table" tabindex="0" role="region" aria-label="Effective rank of each weight"><table id="weights">
<thead><tr><th scope="col" class="plain left">weight</th><th scope="col" class="plain left">over the epochs</th><th scope="col" class="plain">matrix</th><th scope="col" class="plain">effective rank before</th><th scope="col" class="plain">after</th><th scope="col" class="plain">of max</th><th scope="col" class="plain">stable rank after</th></tr></thead>
<tbody>
${weights.map((weight, index) => weightRow(weight, index, logs))}</tbody></table></div>
</section>`;
}

const [RATIO, RANK, STABLE] = [0, 1, 2];

function weightRow({ label, note, runs }: WeightData, index: number, logs: readonly NamedLog[]): Markup {
  const isOneOfMany = logs.length > 1;
  const each = (of: (run: WeightRun, at: number) => Markup | string): Markup[] =>
    runs.map((run, at) => {
      const content = run === null ? '–' : of(run, at);
      return isOneOfMany ? html`<div class="each">${content}</div>` : html`${content}`;
    });
  const first = (values: readonly number[] | undefined): number | undefined => values?.[0];
  /** Of the epoch whose weights the result has. */
  const final = (run: WeightRun, at: number, metric: number): number | undefined => {
    const best = logs[at]?.log.best;
    const place = best === undefined ? -1 : run.xs.indexOf(best);
    return run.ys[metric]?.at(place < 0 ? -1 : place);
  };
  const isFactor = note.startsWith('factor');
  const bounds = boundsOf(runs);
  return html`<tr data-index="${index}"${isFactor && html` class="factor"`}><th scope="row" title="${label}${note !== '' && `, ${note}`}"><a href="#ranks">${breakable(label)}</a></th><td class="left">${each(
    (run, at) => html`${isOneOfMany && swatch(at)}${course(run.ys[RATIO] ?? [], bounds, at)}`,
  )}</td><td>${each((run) => run.matrix)}</td><td>${each((run) => figureText(first(run.ys[RANK]), RANK))}</td><td>${each(
    (run, at) => figureText(final(run, at, RANK), RANK),
  )}</td><td>${each((run, at) => figureText(final(run, at, RATIO), RATIO))}</td><td>${each((run, at) => figureText(final(run, at, STABLE), STABLE))}</td></tr>
`;
}

const [WIDE, HIGH] = [96, 22];

/** The course of the shares of the largest possible rank, on the scale of all runs of the weight. */
function course(values: readonly number[], [least, most]: readonly [number, number], run: number): Markup {
  if (values.length < 2) return html``;
  const points = values.map((value, index) => {
    const x = 1 + ((WIDE - 2) * index) / (values.length - 1);
    return `${x.toFixed(1)} ${(HIGH - 2 - ((HIGH - 4) * (value - least)) / (most - least)).toFixed(1)}`;
  });
  return html`<svg class="course ${seriesClass(run)}" viewBox="0 0 ${WIDE} ${HIGH}" aria-hidden="true"><path class="line" d="M${points.join('L')}"/></svg>`;
}

/** Not so narrow that a change of nothing looks like one. */
function boundsOf(runs: WeightData['runs']): readonly [number, number] {
  const values = runs.flatMap((run) => run?.ys[RATIO] ?? []);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const room = Math.max(0, 0.05 - (most - least)) / 2 + 1e-6;
  return [least - room, most + room];
}

function epochs(logs: readonly NamedLog[]): Markup {
  return html`<section aria-labelledby="epochs-title"><details><summary><span id="epochs-title">Figures of each epoch</span></summary>
<div class="frame-table"><table id="epochs">
<thead><tr>${logs.length > 1 && html`<th scope="col" class="plain left">run</th>`}<th scope="col" class="plain">epoch</th><th scope="col" class="plain">training loss</th><th scope="col" class="plain">accuracy</th><th scope="col" class="plain">validation loss</th><th scope="col" class="plain">accuracy</th><th scope="col" class="plain">learning rate</th><th scope="col" class="plain">gradient norm</th><th scope="col" class="plain">mean eff. rank / max</th><th scope="col" class="plain">seconds</th></tr></thead>
<tbody>
${logs.flatMap(({ name, log }) =>
  log.records.map(
    ({ epoch, training, validation, learningRate, gradientNorm, ranks: rows, seconds }) =>
      html`<tr>${logs.length > 1 && html`<td class="left">${baseName(name)}</td>`}<td>${epoch}${epoch === log.best && ' best'}</td><td>${number(training?.loss)}</td><td>${formatNumber(training?.accuracy ?? undefined, 'percent')}</td><td>${number(validation?.loss)}</td><td>${formatNumber(validation?.accuracy ?? undefined, 'percent')}</td><td>${epoch === 0 ? '–' : number(learningRate)}</td><td>${number(gradientNorm)}</td><td>${formatNumber(meanRatio(rows), 'percent')}</td><td>${seconds.toFixed(1)}</td></tr>
`,
  ),
)}</tbody></table></div></details></section>`;
}

function number(value: number | undefined | null): string {
  return formatNumber(value ?? undefined, 'significant3');
}

function definitions(): Markup {
  return html`<section><details><summary>What the figures mean</summary><dl class="definitions">${RANK_METRICS.map(
    ({ header, definition }) => html`<dt>${header}</dt><dd>${definition}</dd>`,
  )}<dt>a chain as a whole</dt><dd>the one matrix that the linear layers of a chain multiply out to: what the layer is after collapse</dd><dt>mean of all weights</dt><dd>of effective rank / max, each weight counted by its elements, chains as wholes, factors not</dd></dl></details></section>`;
}
