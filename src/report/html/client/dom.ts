import { nameParts } from '../../text/text.js';
import { seriesClass } from '../series.js';

/** Attributes of an element; those that are undefined or false are left out. */
type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;

const SVG = 'http://www.w3.org/2000/svg';

/**
 * The element of an id, of the kind that the page has there.
 *
 * @throws Error where the page and its script do not belong together
 */
export function byId<E extends Element = HTMLElement>(id: string, kind?: new () => E): E {
  const found = document.getElementById(id);
  if (!(found instanceof (kind ?? HTMLElement))) throw new Error(`there is no #${id} of that kind`);
  return found as Element as E;
}

/** The data of the page. */
export function pageData<Data>(): Data {
  return JSON.parse(byId('data').textContent ?? '') as Data;
}

function fill(element: Element, attributes: Attributes, children: readonly (Node | string)[]): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false)
      element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children);
}

export function el<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Attributes = {},
  ...children: readonly (Node | string)[]
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  fill(element, attributes, children);
  return element;
}

export function svg<Name extends keyof SVGElementTagNameMap>(
  name: Name,
  attributes: Attributes = {},
  ...children: readonly (Node | string)[]
): SVGElementTagNameMap[Name] {
  const element = document.createElementNS(SVG, name);
  fill(element, attributes, children);
  return element;
}

/** A name that breaks behind its slashes and dots where it is too long for a line. */
export function breakable(name: string): Node[] {
  return nameParts(name).flatMap((part, index) => [...(index > 0 ? [el('wbr')] : []), new Text(part)]);
}

/** The line of a model, as it is drawn in the plots. */
export function swatch(model: number, marks = ''): SVGElement {
  return svg(
    'svg',
    { class: `swatch ${seriesClass(model)} ${marks}`.trim(), viewBox: '0 0 22 10', 'aria-hidden': 'true' },
    svg('path', { class: 'line', d: 'M1 5H21' }),
  );
}

function debounced(milliseconds: number, work: () => void): () => void {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, milliseconds);
  };
}

/** A line of text about a model. */
export interface Line {
  readonly text: string;
  readonly model?: number | undefined;
}

/** Text beside the pointer. */
export const tip = {
  show(x: number, y: number, title: string, lines: readonly Line[]): void {
    const box = byId('tip');
    box.replaceChildren(
      el('strong', {}, ...breakable(title)),
      ...lines.map(({ text, model }) =>
        el('div', {}, ...(model === undefined ? [] : [swatch(model)]), el('span', {}, text)),
      ),
    );
    box.hidden = false;
    const { width, height } = box.getBoundingClientRect();
    const left = x + 14 + width > document.documentElement.clientWidth ? x - width - 14 : x + 14;
    box.style.left = `${Math.max(4, left)}px`;
    box.style.top = `${Math.max(4, Math.min(y - height / 2, window.innerHeight - height - 4))}px`;
  },
  hide(): void {
    byId('tip').hidden = true;
  },
};

/** Tells a screen reader. */
export function say(text: string): void {
  byId('live').textContent = text;
}

export function onSwitch(name: string, work: (value: string, checked: boolean) => void): void {
  for (const input of document.querySelectorAll<HTMLInputElement>(`input[name="${name}"]`)) {
    input.addEventListener('change', () => work(input.value, input.checked));
  }
}

/** Calls `draw` with each new width of an element, and once now. */
export function onWidth(host: HTMLElement, draw: () => void): void {
  let width = -1;
  const redraw = (): void => {
    if (host.clientWidth === width) return;
    width = host.clientWidth;
    draw();
  };
  new ResizeObserver(debounced(60, redraw)).observe(host);
  redraw();
}

/** What all pages have: the switch of the colours, and the button that prints. */
export function attachPage(): void {
  attachTheme();
  byId('print').addEventListener('click', () => window.print());
}

/** Dark or light, as asked for; without a wish the system's. */
function attachTheme(): void {
  const button = byId('theme');
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const isDark = (): boolean =>
    (document.documentElement.getAttribute('data-theme') ?? (dark.matches ? 'dark' : 'light')) === 'dark';
  const show = (): void => {
    button.textContent = isDark() ? 'Light' : 'Dark';
    button.setAttribute('aria-label', `Switch to ${isDark() ? 'light' : 'dark'} colours`);
  };
  button.addEventListener('click', () => {
    document.documentElement.setAttribute('data-theme', isDark() ? 'light' : 'dark');
    show();
  });
  dark.addEventListener('change', show);
  show();
}
