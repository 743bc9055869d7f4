import { drawDetail } from './detail.js';
import { byId } from './dom.js';
import { markChosen } from './overview.js';
import { data, state } from './state.js';

/** Shows a weight and writes it into the address. */
export function choose(index: number, options: { focus?: boolean; scroll?: boolean } = {}): void {
  const layer = data.layers[index];
  if (layer === undefined) return;
  state.layer = index;
  history.replaceState(null, '', `#layer=${encodeURIComponent(layer.key)}`);
  showChosen();
  if (options.focus) byId('overview').querySelector<SVGElement>(`[data-layer="${index}"]`)?.focus();
  if (options.scroll) {
    const isCalm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    byId('detail').scrollIntoView({ behavior: isCalm ? 'auto' : 'smooth', block: 'start' });
    byId('detail-title').focus({ preventScroll: true });
  }
}

/** The weight before or after the one that is shown. */
export function chooseNeighbour(step: -1 | 1): void {
  choose(Math.max(0, Math.min(data.layers.length - 1, state.layer + step)));
}

export function showChosen(): void {
  markChosen();
  drawDetail();
  for (const row of byId('weights').querySelectorAll<HTMLElement>('tbody tr')) {
    row.classList.toggle('current', Number(row.dataset.index) === state.layer);
  }
}

/** The weight that the address names, or -1. */
export function fromAddress(): number {
  let [, key = ''] = /^#layer=(.*)$/.exec(location.hash) ?? [];
  if (key === '') return -1;
  try {
    key = decodeURIComponent(key);
  } catch {
    // A sign of percent that stands for itself.
  }
  return data.layers.findIndex((layer) => layer.key === key);
}

/** Of the weights that the most models have a spectrum of, the largest. */
export function largest(): number {
  let best = data.layers.length > 0 ? 0 : -1;
  let [widest, most] = [-1, -1];
  for (const [index, { rows }] of data.layers.entries()) {
    const known = rows.filter((row) => row?.s !== undefined);
    const size = Math.max(0, ...known.map((row) => row?.params ?? 0));
    if (known.length < widest || (known.length === widest && size <= most)) continue;
    [best, widest, most] = [index, known.length, size];
  }
  return best;
}
