import { byId, onSwitch, say, tip } from './dom.js';
import { matches, nextOrder, type Order, ordered } from './order.js';
import { data } from './state.js';

let order: Order | undefined;

function rowsOf(table: Element): HTMLTableRowElement[] {
  return [...table.querySelectorAll<HTMLTableRowElement>('tbody tr')];
}

function arrangeTable(): void {
  const table = byId('weights', HTMLTableElement);
  const rows = new Map(rowsOf(table).map((row) => [Number(row.dataset.index), row]));
  const by = byId('sort-by', HTMLSelectElement).value;
  table.tBodies[0]?.append(...ordered(data.layers, order, by).flatMap((index) => rows.get(index) ?? []));
  for (const head of table.querySelectorAll<HTMLElement>('th[data-column]')) {
    if (head.dataset.column !== order?.column) head.removeAttribute('aria-sort');
    else head.setAttribute('aria-sort', order?.descending ? 'descending' : 'ascending');
  }
}

function filterTable(): void {
  const search = byId('filter', HTMLInputElement).value;
  const rows = rowsOf(byId('weights'));
  let shown = 0;
  for (const row of rows) {
    const layer = data.layers[Number(row.dataset.index)];
    row.hidden = layer !== undefined && !matches(layer, search);
    if (!row.hidden) shown += 1;
  }
  byId('shown').textContent =
    shown === rows.length ? `${rows.length} weights` : `${shown} of ${rows.length} weights`;
}

/** The cell whose explanation is asked for. */
function explained(target: EventTarget | null): HTMLElement | null {
  return target instanceof Element ? target.closest<HTMLElement>('[data-tip]') : null;
}

function explain(cell: HTMLElement, x: number, y: number): void {
  tip.show(x, y, cell.dataset.tipTitle ?? '', [{ text: cell.dataset.tip ?? '' }]);
}

/** Sorting, filtering, the short form and the explanations of the table, which stands in the page as it is. */
export function attachTable(choose: (index: number) => void): void {
  const table = byId('weights');
  table.addEventListener('click', (event) => {
    if (!(event.target instanceof Element)) return;
    const head = event.target.closest<HTMLElement>('th[data-column]');
    if (head !== null) {
      order = nextOrder(order, head.dataset.column ?? 'depth', head.dataset.number !== undefined);
      arrangeTable();
      say(order === undefined ? 'order of the network' : `sorted by ${head.dataset.tipTitle ?? ''}`);
      return;
    }
    const row = event.target.closest<HTMLElement>('tr[data-index]');
    // A reader who selects text chooses nothing.
    if (row === null || String(getSelection()) !== '') return;
    event.preventDefault();
    choose(Number(row.dataset.index));
  });
  table.addEventListener('pointermove', ({ target, clientX, clientY }) => {
    const cell = explained(target);
    if (cell === null) tip.hide();
    else explain(cell, clientX, clientY);
  });
  table.addEventListener('pointerleave', () => tip.hide());
  table.addEventListener('focusin', ({ target }) => {
    const cell = target instanceof Element && target.matches(':focus-visible') ? explained(target) : null;
    if (cell === null) return tip.hide();
    const frame = cell.getBoundingClientRect();
    explain(cell, frame.right - 10, frame.bottom + 24);
  });
  table.addEventListener('focusout', () => tip.hide());
  byId('filter').addEventListener('input', filterTable);
  byId('sort-by').addEventListener('change', arrangeTable);
  onSwitch('columns', (value, checked) => {
    if (checked) table.classList.toggle('brief', value === 'brief');
  });
  filterTable();
}
