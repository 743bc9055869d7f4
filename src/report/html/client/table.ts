/** Sorting, filtering and the short form of the table, which stands in the page as it is. */
export const TABLE = String.raw`
/** @typedef {{column: string, descending: boolean}} Order */
/** @type {Order|undefined} */
let order;

/** What a row is sorted by. @param {number} index @param {string} column @returns {number|string|undefined} */
function sortValue(index, column) {
  const layer = DATA.layers[index];
  if (layer === undefined || column === 'depth') return index;
  if (column === 'label') return layer.label;
  const by = byId('sort-by');
  const which = by instanceof HTMLSelectElement ? by.value : '0';
  /** @param {Row|null|undefined} row */
  const valueOf = (row) => {
    if (!row) return undefined;
    if (column === 'op') return row.op;
    if (column === 'matrix') return row.dims[0] * row.dims[1];
    if (column === 'params') return row.params;
    const value = row.v[Number(column)];
    return value === 'inf' ? Infinity : (value ?? undefined);
  };
  if (which !== 'change') return valueOf(layer.rows[Number(which)]);
  const [first, last] = [valueOf(layer.rows[0]), valueOf(layer.rows.at(-1))];
  return typeof first === 'number' && typeof last === 'number' ? last - first : undefined;
}

function arrangeTable() {
  const body = byId('weights').querySelector('tbody');
  if (body === null) return;
  const rows = [...body.rows];
  const column = order?.column || 'depth';
  const sign = order?.descending ? -1 : 1;
  const keyed = rows.map((row) => {
    const index = Number(row.dataset.index);
    return { row, index, value: sortValue(index, column) };
  });
  keyed.sort((a, b) => {
    // What has no value comes last, whatever the direction.
    if (a.value === undefined || b.value === undefined || Number.isNaN(a.value) || Number.isNaN(b.value)) {
      const [noA, noB] = [a, b].map(({ value }) => value === undefined || Number.isNaN(value));
      return Number(noA) - Number(noB) || a.index - b.index;
    }
    if (typeof a.value === 'string' && typeof b.value === 'string') {
      return sign * a.value.localeCompare(b.value, 'en', { numeric: true }) || a.index - b.index;
    }
    return a.value === b.value ? a.index - b.index : sign * (a.value < b.value ? -1 : 1);
  });
  body.append(...keyed.map(({ row }) => row));
  for (const head of byId('weights').querySelectorAll('th[data-column]')) {
    const isOrder = order !== undefined && head.getAttribute('data-column') === order.column;
    if (isOrder) head.setAttribute('aria-sort', order?.descending ? 'descending' : 'ascending');
    else head.removeAttribute('aria-sort');
  }
}

function filterTable() {
  const input = byId('filter');
  const wanted = (input instanceof HTMLInputElement ? input.value : '').toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  const rows = [...byId('weights').querySelectorAll('tbody tr')];
  for (const row of rows) {
    if (!(row instanceof HTMLElement)) continue;
    const layer = DATA.layers[Number(row.dataset.index)];
    const text = layer ? [layer.label, layer.subtitle, ...layer.rows.map((one) => one ? one.op + ' ' + one.dims.join('x') + ' ' + (one.problem || '') : '')].join(' ').toLowerCase() : '';
    row.hidden = !wanted.every((word) => text.includes(word));
    if (!row.hidden) shown += 1;
  }
  byId('shown').textContent = shown === rows.length ? rows.length + ' weights' : shown + ' of ' + rows.length + ' weights';
}

function attachTable() {
  const table = byId('weights');
  table.addEventListener('click', (event) => {
    if (!(event.target instanceof Element)) return;
    const head = event.target.closest('th[data-column]');
    if (head !== null) {
      const column = head.getAttribute('data-column') || 'depth';
      // Figures: the largest first; names: in order. The third click is the order of the network again.
      const first = head.hasAttribute('data-number');
      if (order?.column !== column) order = { column, descending: first };
      else if (order.descending === first) order = { column, descending: !first };
      else order = undefined;
      arrangeTable();
      say(order === undefined ? 'order of the network' : 'sorted by ' + (head.textContent || '').trim());
      return;
    }
    const row = event.target.closest('tr[data-index]');
    if (row instanceof HTMLElement && String(getSelection()) === '') {
      event.preventDefault();
      choose(Number(row.dataset.index), { scroll: true });
    }
  });
  table.addEventListener('pointermove', (event) => {
    const cell = event.target instanceof Element ? event.target.closest('[data-tip]') : null;
    if (cell === null) return tip.hide();
    tip.show(event.clientX, event.clientY, cell.getAttribute('data-tip-title') || '', [{ text: cell.getAttribute('data-tip') || '' }]);
  });
  table.addEventListener('pointerleave', () => tip.hide());
  table.addEventListener('focusin', (event) => {
    const cell = event.target instanceof Element && event.target.matches(':focus-visible') ? event.target.closest('[data-tip]') : null;
    if (cell === null) return tip.hide();
    const frame = cell.getBoundingClientRect();
    tip.show(frame.right - 10, frame.bottom + 24, cell.getAttribute('data-tip-title') || '', [{ text: cell.getAttribute('data-tip') || '' }]);
  });
  table.addEventListener('focusout', () => tip.hide());
  byId('filter').addEventListener('input', filterTable);
  byId('sort-by').addEventListener('change', arrangeTable);
  for (const input of document.querySelectorAll('input[name=columns]')) {
    input.addEventListener('change', () => {
      if (input instanceof HTMLInputElement && input.checked) table.classList.toggle('brief', input.value === 'brief');
    });
  }
  filterTable();
}
`;
