import type { ModelComparison } from '../../analysis/diff/compare-models.js';
import { baseName, breakable, html } from '../html/markup.js';
import type { PageMade } from '../html/page-head.js';
import { staticPage } from '../html/static-page.js';
import { counted, formatSignificant } from '../text/text.js';

/** Options of renderDiffPage. */
export interface DiffPageOptions extends PageMade {
  /** What the models are called. */
  readonly a: string;
  readonly b: string;
}

const STYLES = `
#differences td { white-space: normal; overflow-wrap: anywhere; text-align: left; font-family: var(--mono); font-size: 12px; }
#differences tbody tr { cursor: default; }
#differences tbody th { max-width: 420px; white-space: normal; overflow-wrap: anywhere; }
`;

/**
 * The differences between two models as one HTML file without scripts.
 *
 * @example
 * await writeFile('diff.html', renderDiffPage(await compareModels(a, b), { a: 'a.onnx', b: 'b.onnx' }));
 */
export function renderDiffPage(comparison: ModelComparison, options: DiffPageOptions): string {
  const { differences, renamed, same } = comparison;
  const [a, b] = [baseName(options.a), baseName(options.b)];
  return staticPage(
    {
      kind: 'Difference of models',
      title: `${a} and ${b}`,
      heading: html`${breakable(a)} → ${breakable(b)}`,
      styles: STYLES,
      lead: html`<p class="lead">${same ? 'The models are the same.' : `${counted(differences.length, 'difference')}.`} ${renamed.length > 0 && `${counted(renamed.length, 'other name')} of the same things are not among them.`}</p>`,
      main: [
        differences.length > 0 &&
          html`<section><div class="scroll"><table id="differences"><thead><tr><th scope="col" class="plain left">where</th><th scope="col" class="plain left">what</th><th scope="col" class="plain left">${a}</th><th scope="col" class="plain left">${b}</th><th scope="col" class="plain">‖b - a‖ / ‖a‖</th></tr></thead><tbody>
${differences.map(
  ({ path, kind, before = '', after = '', relativeNorm }) =>
    html`<tr><th scope="row">${breakable(path)}</th><td>${kind}</td><td>${before}</td><td>${after}</td><td>${relativeNorm === undefined ? '' : formatSignificant(relativeNorm)}</td></tr>
`,
)}</tbody></table></div></section>`,
        renamed.length > 0 &&
          html`<section><details><summary>Other names</summary><ul class="plain">${renamed.map(({ kind, before, after }) => html`<li>${kind} ${breakable(before)} is ${breakable(after)}</li>`)}</ul></details></section>`,
      ],
      footer:
        'Where the same things stand in the same places, names of inner values, weights and nodes are no differences.',
    },
    options,
  );
}
