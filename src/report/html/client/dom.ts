/** Small helpers of any page. Plain JavaScript with JSDoc types, which a test checks. */
export const DOM = String.raw`
/** @typedef {Record<string, string|number|boolean|undefined>} Attributes */

const SVG = 'http://www.w3.org/2000/svg';

/** @param {string} id @returns {HTMLElement} */
function byId(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error('there is no #' + id);
  return found;
}

/** @param {Element} element @param {Attributes} attributes @param {(Node|string)[]} children */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children);
}

/** @param {string} name @param {Attributes} [attributes] @param {...(Node|string)} children @returns {HTMLElement} */
function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  fill(element, attributes, children);
  return element;
}

/** @param {string} name @param {Attributes} [attributes] @param {...(Node|string)} children @returns {SVGElement} */
function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  fill(element, attributes, children);
  return element;
}

/** @param {number} value @returns {string} */
function significant(value) {
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 0.001 && size < 9999.5) return size >= 999.5 ? value.toFixed(0) : value.toPrecision(3);
  const parts = value.toExponential(2).split('e');
  return (parts[0] || '').replace(/\.?0+$/, '') + 'e' + (parts[1] || '').replace('+', '');
}

/** @param {number} value @returns {string} */
function count(value) {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** Marks of the models: not told apart by colour alone. @param {number} model */
function series(model) {
  return 'series m' + (model % 6);
}

/** @param {number} milliseconds @param {() => void} work */
function debounced(milliseconds, work) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, milliseconds);
  };
}

/** Text beside the pointer. */
const tip = {
  /** @param {number} x @param {number} y @param {string} title @param {{text: string, model?: number}[]} lines */
  show(x, y, title, lines) {
    const box = byId('tip');
    box.replaceChildren(
      el('strong', {}, title),
      ...lines.map(({ text, model }) =>
        el('div', {}, ...(model === undefined ? [] : [swatch(model)]), el('span', {}, text)),
      ),
    );
    box.hidden = false;
    const { width, height } = box.getBoundingClientRect();
    const left = x + 14 + width > document.documentElement.clientWidth ? x - width - 14 : x + 14;
    box.style.left = Math.max(4, left) + 'px';
    box.style.top = Math.max(4, Math.min(y - height / 2, window.innerHeight - height - 4)) + 'px';
  },
  hide() {
    byId('tip').hidden = true;
  },
};

/** The line of a model, as it is drawn in the plots. @param {number} model */
function swatch(model) {
  return svg(
    'svg',
    { class: 'swatch ' + series(model), viewBox: '0 0 22 10', 'aria-hidden': 'true' },
    svg('path', { class: 'line', d: 'M1 5H21' }),
  );
}

/** Tells a screen reader. @param {string} text */
function say(text) {
  byId('live').textContent = text;
}

/** @param {string} name @param {(value: string, checked: boolean) => void} work */
function onSwitch(name, work) {
  for (const input of document.querySelectorAll('input[name="' + name + '"]')) {
    if (input instanceof HTMLInputElement) input.addEventListener('change', () => work(input.value, input.checked));
  }
}

/** Dark or light, as asked for; without a wish the system's. */
function attachTheme() {
  const button = byId('theme');
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const isDark = () => (document.documentElement.getAttribute('data-theme') || (dark.matches ? 'dark' : 'light')) === 'dark';
  const show = () => {
    button.textContent = isDark() ? 'Light' : 'Dark';
    button.setAttribute('aria-label', 'Switch to ' + (isDark() ? 'light' : 'dark') + ' colours');
  };
  button.addEventListener('click', () => {
    document.documentElement.setAttribute('data-theme', isDark() ? 'light' : 'dark');
    show();
  });
  dark.addEventListener('change', show);
  show();
}
`;
