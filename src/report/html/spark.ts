import { html, type Markup } from './markup.js';
import { seriesClass } from './series.js';

const POINTS = 32;
const WIDTH = 68;
const HEIGHT = 20;

/** The spectrum, relative to its largest value, as a shape of the height of a line of text. */
export function spark(values: readonly number[] | undefined, model: number): Markup {
  const largest = values?.[0] ?? 0;
  if (values === undefined || !(largest > 0)) return html``;
  const count = Math.min(POINTS, values.length);
  const points = Array.from({ length: count }, (_, k) => {
    const index = count === 1 ? 0 : Math.round((k * (values.length - 1)) / (count - 1));
    const x = count === 1 ? WIDTH : (k * WIDTH) / (count - 1);
    return `${x.toFixed(1)} ${(HEIGHT - 1 - ((HEIGHT - 2) * (values[index] ?? 0)) / largest).toFixed(1)}`;
  });
  const d = `M0 ${HEIGHT}${count === 1 ? 'V1' : ''}L${points.join('L')}V${HEIGHT}Z`;
  return html`<svg class="spark ${seriesClass(model)}" viewBox="0 0 ${WIDTH} ${HEIGHT}" aria-hidden="true"><path d="${d}"/></svg>`;
}
