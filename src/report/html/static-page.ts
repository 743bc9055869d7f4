import { html, Markup, type Part } from './markup.js';
import { hashOf } from './policy.js';
import { STYLES } from './styles.js';

/** When and by what a page was made. */
export interface PageMade {
  /** Stands in the heading as it is. The library never asks for the time: the same data give the same bytes. */
  readonly date?: string | undefined;
  /** Version of the tool, for the heading. */
  readonly version?: string | undefined;
}

/**
 * A page without scripts, as one file: its own policy lets it load and run nothing.
 *
 * @param content.kind what it is, above the heading
 * @param content.styles rules beside those of all pages
 */
export function staticPage(
  content: {
    readonly kind: string;
    readonly title: string;
    readonly heading: Part;
    readonly styles?: string;
    readonly lead: Part;
    readonly main: Part;
    readonly footer: Part;
  },
  { date, version }: PageMade,
): string {
  const styles = `${STYLES}${content.styles ?? ''}`;
  const policy = `default-src 'none'; style-src '${hashOf(styles)}'; base-uri 'none'; form-action 'none'`;
  const made = [date, version === undefined ? 'onnx-overparam' : `onnx-overparam ${version}`].filter(Boolean);
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>${content.kind}: ${content.title}</title>
<style>${new Markup(styles)}</style>
</head>
<body>
<header>
<p class="eyebrow">${content.kind}</p>
<h1>${content.heading}</h1>
<p class="meta">${made.join(' · ')}</p>
${content.lead}
</header>
<main>
${content.main}
</main>
<footer><p>${content.footer}</p></footer>
</body>
</html>
`.text;
}
