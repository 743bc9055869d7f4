import { EMBEDDING_METRICS } from '../../analysis/embeddings/embedding-metrics.js';
import type { EmbeddingReport, EmbeddingRow } from '../../analysis/embeddings/embeddings.js';
import { embeddingName, embeddingTitle, rankDistanceHeader, weightDistance } from '../embeddings.js';
import { bestPlace, counted, formatCount, formatNumber, printable, shorten } from '../text/text.js';
import { rounded } from './density.js';
import { baseName, breakable, html, type Markup, swatch } from './markup.js';
import type { HtmlReportModel } from './report-model.js';
import type { EmbeddingData, EmbeddingMetricData, EmbeddingPlot } from './types.js';

/** A figure that is drawn over the depth of the network. */
interface DrawnMetric extends EmbeddingMetricData {
  readonly definition: string;
  readonly source: string;
  readonly unit: string;
}

/** The embeddings of all models of a page. */
export interface EmbeddingsPage {
  /** What was looked at, of each model where that differs. */
  readonly about: string;
  /** Whether several models are drawn over each other. */
  readonly isComparison: boolean;
  readonly models: readonly string[];
  readonly metrics: readonly DrawnMetric[];
  readonly values: readonly EmbeddingData[];
}

/** Those that are drawn, in the order of their choices; the table has all. */
const IN_PLOTS: Readonly<Record<string, EmbeddingPlot>> = {
  gramEffectiveRank: 'rank',
  gramEntropy: 'rank',
  centredEffectiveRank: 'rank',
  centredParticipationRatio: 'rank',
  nc1: 'collapse',
  clusterVariationRatio: 'collapse',
  weightRankDistance: 'collapse',
  clusterVariation: 'collapse',
  totalVariation: 'rank',
  gramEffectiveRankRatio: 'rank',
};

/** Undefined where no model of the page was run on data. */
export function embeddingsPage(models: readonly HtmlReportModel[]): EmbeddingsPage | undefined {
  const reports = models.map(({ report }) => report.embeddings);
  const known = reports.filter((report) => report !== undefined);
  if (known.length === 0) return undefined;
  const hasClasses = known.some(({ classes }) => classes !== undefined);
  const metrics = EMBEDDING_METRICS.filter(({ ofClasses }) => hasClasses || !ofClasses).map(
    ({ key, header, format, definition, source, unit }): DrawnMetric => {
      return { key, header, format, definition, source, unit, plot: IN_PLOTS[key] ?? 'rank' };
    },
  );
  const ranks = new Set(models.flatMap(({ report }) => report.rank ?? []));
  const [rank] = ranks;
  if (hasClasses && ranks.size === 1 && rank !== undefined) {
    const { header, definition, source } = rankDistanceHeader(rank);
    metrics.push({
      key: 'weightRankDistance',
      header,
      format: 'percent',
      definition,
      source,
      unit: '',
      plot: 'collapse',
    });
  }
  const byWeight = models.map(({ report }) => new Map(report.rows.map((row) => [row.weight, row])));
  const figuresOf = (row: EmbeddingRow, model: number): NonNullable<EmbeddingData['rows'][number]> => {
    const values = metrics.map(({ key }) => {
      if (key === 'weightRankDistance') return weightDistance(row, byWeight[model] ?? new Map());
      return row.metrics?.[key as keyof typeof row.metrics];
    });
    return {
      v: values.map((value) => (value === undefined || !Number.isFinite(value) ? null : rounded(value, 6))),
      t: values.map((value, at) => formatNumber(value, metrics[at]?.format ?? 'fixed2')),
    };
  };
  return {
    about: aboutOf(models),
    isComparison: models.length > 1,
    models: models.map(({ name }) => baseName(name)),
    metrics,
    values: matched(reports).map(({ row, rows }) => ({
      label: printable(embeddingName(row)),
      about: printable(
        [row.ops.join(', '), row.shape.join(' × '), `${formatCount(row.features)} features`, row.problem]
          .filter(Boolean)
          .join(' · '),
      ),
      rows: rows.map((one, model) => (one === undefined ? null : figuresOf(one, model))),
    })),
  };
}

function aboutOf(models: readonly HtmlReportModel[]): string {
  const titles = models.flatMap(({ name, report }) =>
    report.embeddings === undefined
      ? []
      : [{ name: baseName(name), title: embeddingTitle(report.embeddings) }],
  );
  const different = new Set(titles.map(({ title }) => title));
  if (different.size === 1) return [...different].join();
  return titles.map(({ name, title }) => `${name}: ${title}`).join('; ');
}

/** A value of all models. */
interface Match {
  readonly row: EmbeddingRow;
  readonly rows: (EmbeddingRow | undefined)[];
}

/**
 * Values of one node or one name in all models, in the order of execution: what only a later model has (what the factors
 * of a chain make, say) stands behind what comes before it there.
 */
function matched(reports: readonly (EmbeddingReport | undefined)[]): readonly Match[] {
  const all: Match[] = [];
  for (const [model, report] of reports.entries()) {
    let last = -1;
    for (const row of report?.rows ?? []) {
      const isOpen = (match: Match): boolean => match.rows[model] === undefined;
      const [node] = row.nodes;
      const byNode =
        node === undefined ? -1 : all.findIndex((match) => isOpen(match) && match.row.nodes[0] === node);
      const at =
        byNode >= 0 ? byNode : all.findIndex((match) => isOpen(match) && match.row.value === row.value);
      if (at >= 0) (all[at] as Match).rows[model] = row;
      else {
        const rows = new Array<EmbeddingRow | undefined>(reports.length).fill(undefined);
        rows[model] = row;
        all.splice(last + 1, 0, { row, rows });
      }
      last = at >= 0 ? at : last + 1;
    }
  }
  return all;
}

const NAME_WIDTH = 34;

/** The section of the page; the plots are drawn by its script. */
export function embeddingsSection(page: EmbeddingsPage | undefined): Markup {
  if (page === undefined) return html``;
  const { metrics, values, about: whole, isComparison, models } = page;
  const place = bestPlace(
    values.map(({ label }) => label),
    NAME_WIDTH,
  ).place;
  const order = Object.keys(IN_PLOTS);
  const figure = (plot: EmbeddingPlot, title: string): Markup => {
    const choices = metrics
      .map(({ key, plot: own, header }, at) => ({ key, own, value: String(at), text: header }))
      .filter(({ own }) => own === plot)
      .sort((a, b) => order.indexOf(a.key) - order.indexOf(b.key));
    if (choices.length === 0) return html``;
    return html`<figure><figcaption class="bar"><h3>${title}</h3><div class="controls screen"><label class="field"><span class="hidden-text">Figure</span><select data-embedding="${plot}">${choices.map(
      ({ value, text }) => html`<option value="${value}">${text}</option>`,
    )}</select></label><button type="button" class="quiet" data-download="embedding-${plot}">SVG<span class="hidden-text"> of ${title}: download</span></button></div></figcaption>
<div class="plots"><div id="embedding-${plot}"></div></div></figure>`;
  };
  return html`<section id="embeddings" aria-labelledby="embeddings-title">
<h2 id="embeddings-title">What the network makes of data</h2>
<p class="lead">${whole}. Each value of a sample is one vector of d features; N samples give the N × N Gram matrix.</p>
${isComparison && html`<p class="legend small">${models.map((name, model) => html`<span>${swatch(model)} ${name}</span>`)}</p>`}
<div class="pair">${figure('rank', 'Rank of the embeddings over depth')}${figure('collapse', 'Collapse of the classes over depth')}</div>
<details><summary>${counted(values.length, 'embedding')}: all figures</summary><div class="frame-table" tabindex="0" role="region" aria-labelledby="embeddings-title"><table>
<thead><tr><th scope="col" class="plain left">value of</th>${isComparison && html`<th scope="col" class="plain"><span class="hidden-text">model</span></th>`}${metrics.map(
    ({ header, definition }) =>
      html`<th scope="col" class="plain" data-tip-title="${header}" data-tip="${definition}">${header}</th>`,
  )}</tr></thead><tbody>
${values.map(
  ({ label, about, rows }, index) =>
    html`<tr><th scope="row" title="${label} ${about}">${index + 1}. ${breakable(shorten(label, NAME_WIDTH, place))}</th>${isComparison && html`<td>${rows.map((_, model) => html`<div class="each">${swatch(model)}</div>`)}</td>`}${metrics.map(
      (_, at) => {
        const cells = rows.map((row) => row?.t[at] ?? '');
        return html`<td>${isComparison ? cells.map((cell) => html`<div class="each">${cell}</div>`) : cells}</td>`;
      },
    )}</tr>
`,
)}</tbody></table></div></details>
</section>`;
}
