import type { CompressAccount, CompressedLayer, CurvePoint } from '../compress/account.js';
import { type CompressDocumentOptions, compressDocument } from './compress.js';
import { baseName, breakable, html, type Markup } from './html/markup.js';
import type { PageMade } from './html/page-head.js';
import { staticPage } from './html/static-page.js';

/** What stands in the page of compress besides its account. */
export interface CompressPageOptions extends PageMade {
  /** Name of the model. */
  readonly name: string;
  readonly quality?: CompressDocumentOptions['quality'];
}

const OWN_STYLES = `
.drawn { width: 100%; max-width: 46rem; height: auto; display: block; }
.drawn .axis { stroke: var(--muted); stroke-width: 1; fill: none; }
.drawn text { fill: var(--muted); font-size: 11px; }
.drawn .curve { stroke: currentColor; stroke-width: 1.5; fill: none; }
.drawn .kept { stroke: currentColor; stroke-width: 1.6; fill: none; }
.drawn .gone { stroke: var(--muted); stroke-width: 1.2; fill: none; stroke-dasharray: 2 3; }
.drawn .chosen { fill: currentColor; }
.cuts { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem; }
`;

/** Width, height and margin of a drawing. */
interface Frame {
  readonly width: number;
  readonly height: number;
  readonly margin: number;
}
const CURVE: Frame = { width: 640, height: 260, margin: 46 };
const SPECTRUM: Frame = { width: 260, height: 130, margin: 28 };

/**
 * What compress did, as one HTML file that needs nothing else and no script: the table, the trade-off with the chosen point, and
 * the spectrum of each layer with its cut.
 *
 * @example
 * const [account] = await model.apply(compress({ params: 0.5 }));
 * await writeFile('compress.html', compressPage(account, { name: 'model.onnx' }));
 */
export function compressPage(account: CompressAccount, options: CompressPageOptions): string {
  const { name, quality } = options;
  const { grids, notes } = compressDocument(account, { output: '-', quality });
  const [table] = grids;
  const shown = (table?.headings ?? []).flatMap((heading, at) =>
    heading.only === 'data' ? [] : [{ heading, at }],
  );
  const weighed =
    account.divergence === undefined ? '' : ', weighed by its inputs and by the curvature of the loss';
  const content = {
    kind: 'Compression',
    title: baseName(name),
    heading: breakable(baseName(name)),
    styles: OWN_STYLES,
    lead: notes.slice(0, -1).map(({ text }) => html`<p>${text}</p>`),
    main: html`<section><h2>Trade-off</h2>${curveOf(account)}</section>
<section><h2>Layers</h2><div class="scroll"><table><thead><tr>${shown.map(({ heading }) => html`<th scope="col" title="${heading.definition}">${heading.header}</th>`)}</tr></thead>
<tbody>${(table?.rows ?? []).map(
      (row) => html`<tr>${shown.map(({ at }) => html`<td>${row[at]?.text ?? ''}</td>`)}</tr>
`,
    )}</tbody></table></div></section>
<section><h2>Spectra</h2><p>Singular values of each weight${weighed}, over their place, in powers of ten below the largest. Dotted: what is cut off (of a spatial or Tucker-2 form the cut has no place here).</p>
<div class="cuts">${account.layers.map(spectrumOf)}</div></section>`,
    footer: 'Figures are of the calibration samples unless a part of the data is named.',
  };
  return staticPage(content, options);
}

function curveOf({ curve, total, predicted, layers }: CompressAccount): Markup {
  const isCut = layers.some(({ form }) => form !== 'keep');
  const chosen: CurvePoint | undefined = isCut
    ? {
        params: total.parametersAfter / Math.max(1, total.parametersBefore),
        macs: total.multiplyAddsAfter / Math.max(1, total.multiplyAddsBefore),
        predicted,
      }
    : undefined;
  const all = [...curve, ...(chosen ? [chosen] : [])].filter((point) => point.predicted > 0);
  if (all.length === 0) return html`<p>No trade-off was drawn.</p>`;
  const { width, height, margin } = CURVE;
  const logs = all.map((point) => Math.log10(point.predicted));
  const [low, high] = [Math.floor(Math.min(...logs)), Math.ceil(Math.max(...logs))];
  const x = (share: number): number => margin + share * (width - 2 * margin);
  const y = (value: number): number =>
    height - margin + ((low - Math.log10(value)) / Math.max(1, high - low)) * (height - 2 * margin);
  const path = curve
    .filter((point) => point.predicted > 0)
    .map((point, i) => `${i === 0 ? 'M' : 'L'}${x(point.params).toFixed(1)} ${y(point.predicted).toFixed(1)}`)
    .join('');
  const powers = Array.from({ length: high - low + 1 }, (_, i) => low + i);
  return html`<svg class="drawn" viewBox="0 0 ${width} ${height}" role="img" aria-label="predicted divergence over the share of parameters kept">
<path class="axis" d="M${margin} ${margin}V${height - margin}H${width - margin}"/>
${[0, 0.25, 0.5, 0.75, 1].map((share) => html`<text x="${x(share)}" y="${height - margin + 16}" text-anchor="middle">${share}</text>`)}
${powers.map((power) => html`<text x="${margin - 6}" y="${y(10 ** power) + 4}" text-anchor="end">1e${power}</text>`)}
<text x="${width / 2}" y="${height - 8}" text-anchor="middle">share of the parameters that is kept</text>
<text x="${margin}" y="${margin - 12}">predicted divergence</text>
<path class="curve" d="${path}"/>
${chosen && chosen.predicted > 0 && html`<circle class="chosen" cx="${x(chosen.params).toFixed(1)}" cy="${y(chosen.predicted).toFixed(1)}" r="4"><title>chosen: ${(100 * chosen.params).toPrecision(3)}%, predicted ${chosen.predicted.toPrecision(3)}</title></circle>`}
</svg>`;
}

function spectrumOf({ layer, spectrum, form, ranks }: CompressedLayer): Markup {
  const { width, height, margin } = SPECTRUM;
  const largest = spectrum[0] ?? 0;
  const depth = 6;
  const x = (i: number): number => margin + (i / Math.max(1, spectrum.length - 1)) * (width - 1.3 * margin);
  const y = (value: number): number => {
    const below = largest > 0 && value > 0 ? Math.min(depth, -Math.log10(value / largest)) : depth;
    return margin / 2 + (below / depth) * (height - 1.5 * margin);
  };
  const cut = form === 'matrices' || form === 'channel' ? (ranks[0] ?? spectrum.length) : spectrum.length;
  const line = (from: number, to: number): string =>
    Array.from(
      spectrum.subarray(from, to),
      (value, i) => `${i === 0 ? 'M' : 'L'}${x(from + i).toFixed(1)} ${y(value).toFixed(1)}`,
    ).join('');
  const what = form === 'keep' ? 'stays' : `${form}, rank ${ranks.join(', ')} of ${spectrum.length}`;
  return html`<figure><svg class="drawn" viewBox="0 0 ${width} ${height}" role="img" aria-label="spectrum of ${layer}">
<path class="axis" d="M${margin} ${margin / 2}V${height - margin}H${width - margin / 3}"/>
<text x="${margin - 4}" y="${margin / 2 + 8}" text-anchor="end">0</text><text x="${margin - 4}" y="${height - margin}" text-anchor="end">−${depth}</text>
<path class="kept" d="${line(0, cut)}"/><path class="gone" d="${line(Math.max(0, cut - 1), spectrum.length)}"/>
</svg><figcaption>${breakable(layer)}: ${what}</figcaption></figure>
`;
}
