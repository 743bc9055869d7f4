import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { matches, nextOrder, ordered } from '../../../../src/report/html/client/order.js';
import type { LayerData, RowData } from '../../../../src/report/html/types.js';

const row = (v: RowData['v'][number], op = 'Conv'): RowData => ({
  op,
  dims: [2, 3],
  params: 6,
  v: [v],
  t: [''],
});
const layer = (label: string, ...rows: LayerData['rows']): LayerData => ({
  label,
  subtitle: '',
  key: label,
  rows,
});

describe('the order of the weights', () => {
  const value = fc.oneof(fc.double({ min: -9, max: 9, noNaN: true }), fc.constantFrom('inf' as const, null));

  it('has every weight once, by value, what has none last, ties as in the network', () => {
    fc.assert(
      fc.property(fc.array(value, { maxLength: 12 }), fc.boolean(), (values, descending) => {
        const layers = values.map((one, index) => layer(`w${index}`, row(one)));
        const found = ordered(layers, { column: '0', descending }, '0');
        expect([...found].sort((a, b) => a - b)).toEqual(values.map((_, index) => index));
        const keys = found.map((index) => (values[index] === 'inf' ? Infinity : values[index]));
        const known = keys.filter((key): key is number => typeof key === 'number');
        expect(keys.slice(known.length).every((key) => key === null)).toBe(true);
        for (let k = 1; k < known.length; k += 1) {
          const step = descending ? known[k - 1]! - known[k]! : known[k]! - known[k - 1]!;
          expect(step >= 0 || Number.isNaN(step)).toBe(true);
          if (known[k] === known[k - 1]) expect(found[k]).toBeGreaterThan(found[k - 1]!);
        }
      }),
    );
  });

  it('is that of names with numbers, of sizes, of another model, of the change', () => {
    const layers = [
      layer('w10', row(1, 'Gemm'), row(5)),
      layer('w9', row(4), row(2)),
      layer('w1', null, row(9)),
      layer('w2', row('inf'), row('inf')),
    ];
    const by = (column: string, which = '0', descending = false): number[] =>
      ordered(layers, { column, descending }, which);
    expect(ordered(layers, undefined, '0')).toEqual([0, 1, 2, 3]);
    expect(by('label')).toEqual([2, 3, 1, 0]);
    expect(by('op')).toEqual([1, 3, 0, 2]);
    expect(by('params')).toEqual([0, 1, 3, 2]);
    expect(by('0', '1', true)).toEqual([3, 2, 0, 1]);
    // A change from infinite to infinite is none.
    expect(by('0', 'change', true)).toEqual([0, 1, 2, 3]);
  });

  it('turns with each click on a heading, and is the network again after the third', () => {
    const first = nextOrder(undefined, '0', true);
    const second = nextOrder(first, '0', true);
    expect([first, second, nextOrder(second, '0', true)]).toEqual([
      { column: '0', descending: true },
      { column: '0', descending: false },
      undefined,
    ]);
    expect(nextOrder(second, 'label', false)).toEqual({ column: 'label', descending: false });
  });
});

it('a search finds words in names, operators, shapes and problems, in any order and case', () => {
  const one = layer('Net.Block0', { ...row(1), problem: 'the weight is empty' });
  for (const search of ['', 'block0 conv', '2x3 NET', 'empty  ']) expect(matches(one, search)).toBe(true);
  for (const search of ['gemm', 'block0 gemm', '3x2']) expect(matches(one, search)).toBe(false);
});
