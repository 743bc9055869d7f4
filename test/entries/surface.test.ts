import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ENTRIES, exportsOf, isValue, programOf, ROOT, typesNamedBy } from './surface.js';

describe('the entries', () => {
  const program = programOf();
  const all = new Map([...ENTRIES.keys()].map((entry) => [entry, exportsOf(program, entry)] as const));
  const symbols = new Set([...all.values()].flatMap((names) => [...names.values()]));

  test('are those of package.json', () => {
    const { exports } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
    const { './package.json': _, './browser': browser, ...entries } = exports;
    expect(browser).toEqual({ types: './dist/browser/index.d.ts', default: './dist/browser/graph.js' });
    const named = Object.keys(entries).map((key) => key.replace('.', 'onnx-overparam'));
    expect(named.sort()).toEqual([...ENTRIES.keys()].sort());
    for (const [key, { types, default: file }] of Object.entries<Record<string, string>>(entries)) {
      const name = key.replace(/^\.\/?/, '') || 'index';
      const folder = name === 'index' ? '' : 'entries/';
      expect([types, file]).toEqual([`./dist/${folder}${name}.d.ts`, `./dist/lib/${name}.js`]);
    }
  });

  test('export every type that a public declaration names', () => {
    const missing = [...symbols].flatMap((symbol) =>
      [...typesNamedBy(program, symbol)]
        .filter((type) => !symbols.has(type))
        .map((type) => `${type.name}, of ${symbol.name}`),
    );
    expect(missing).toEqual([]);
  });

  test('have each value once', () => {
    const values = [...all.values()].flatMap((names) =>
      [...names].flatMap(([name, symbol]) => (isValue(symbol) ? name : [])),
    );
    expect(values.filter((name, index) => values.indexOf(name) !== index)).toEqual([]);
  });

  test('have what the table for those who used the old exports says', () => {
    const table = readFileSync(join(ROOT, 'docs/migrating.md'), 'utf8');
    const rows = [...table.matchAll(/^\| `(\w+)` \| (value|type) \| `([\w/-]+)` \|$/gm)];
    expect(rows.length).toBeGreaterThan(300);
    const wrong = rows.filter(([, name = '', kind, entry = '']) => {
      const symbol = all.get(entry)?.get(name);
      return symbol === undefined || (kind === 'value' && !isValue(symbol));
    });
    expect(wrong.map(([row]) => row)).toEqual([]);
  });
});
