import { el } from './dom.js';

/** What a drawing program needs to show a plot without the style sheet of this page. */
const PRESENTATION = [
  'fill',
  'fill-opacity',
  'stroke',
  'stroke-width',
  'stroke-dasharray',
  'stroke-linejoin',
  'stroke-linecap',
  'stroke-opacity',
  'opacity',
  'font-family',
  'font-size',
  'font-weight',
  'visibility',
  'paint-order',
];

const DEFAULTS: Readonly<Record<string, string>> = {
  'fill-opacity': '1',
  'stroke-opacity': '1',
  opacity: '1',
  'stroke-dasharray': 'none',
  'stroke-linejoin': 'miter',
  'stroke-linecap': 'butt',
  visibility: 'visible',
  'paint-order': 'normal',
  'font-weight': '400',
};

/** Of the page, and of no use in a drawing. */
const OF_PAGE = ['class', 'id', 'tabindex', 'role', 'aria-label', 'aria-pressed', 'data-layer', 'data-plot'];

/** The plot as a file of its own, in the colours of paper. */
function standalone(plot: SVGElement): string {
  const root = document.documentElement;
  const theme = root.getAttribute('data-theme');
  root.setAttribute('data-theme', 'light');
  const copy = plot.cloneNode(true) as SVGElement;
  const from = [plot, ...plot.querySelectorAll('*')];
  const to = [copy, ...copy.querySelectorAll('*')];
  for (const [index, element] of from.entries()) {
    const style = getComputedStyle(element);
    const target = to[index];
    if (target === undefined || ['title', 'clipPath'].includes(target.tagName)) continue;
    for (const name of PRESENTATION) {
      const value = style.getPropertyValue(name);
      if (value === '' || value === DEFAULTS[name]) continue;
      if (name.startsWith('font') && target !== copy && target.tagName !== 'text') continue;
      target.setAttribute(name, value);
    }
    for (const name of OF_PAGE) target.removeAttribute(name);
  }
  if (theme === null) root.removeAttribute('data-theme');
  else root.setAttribute('data-theme', theme);
  for (const gone of copy.querySelectorAll('[visibility=hidden], [data-mark=chosen]')) gone.remove();
  copy.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
  return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(copy)}\n`;
}

function save(plot: SVGElement, name: string): void {
  const url = URL.createObjectURL(new Blob([standalone(plot)], { type: 'image/svg+xml' }));
  const file = `${name.replace(/[^\p{L}\p{N}._-]+/gu, '_').replace(/^_+|_+$/g, '')}.svg`;
  const link = el('a', { href: url, download: file });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/**
 * The buttons that save a plot.
 *
 * @param chosen what a button stands for: the name of a plot, and the parts of the name of its file
 */
export function attachDownloads(
  chosen: (button: string) => { readonly plot: string; readonly file: readonly string[] },
): void {
  for (const button of document.querySelectorAll<HTMLElement>('button[data-download]')) {
    button.addEventListener('click', () => {
      const { plot, file } = chosen(button.dataset.download ?? '');
      const found = document.querySelector(`[data-plot="${plot}"]`);
      if (found instanceof SVGElement) save(found, file.join('-'));
    });
  }
}
