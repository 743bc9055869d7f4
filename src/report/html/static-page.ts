import { html, type Part } from './markup.js';
import { madeLine, type PageMade, pageHead } from './page-head.js';
import { STYLES } from './styles.js';

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
  made: PageMade,
): string {
  const styles = `${STYLES}${content.styles ?? ''}`;
  const title = `${content.kind}: ${content.title}`;
  return html`${pageHead({ title, styles })}
<body>
<header>
<p class="eyebrow">${content.kind}</p>
<h1>${content.heading}</h1>
<p class="meta">${madeLine(made)}</p>
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
