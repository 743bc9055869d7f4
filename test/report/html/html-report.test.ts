import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { METRICS } from '../../../src/analysis/spectra/metrics.js';
import { EXTRA_METRICS } from '../../../src/analysis/spectra/spectral-descriptors.js';
import { linearHistogram, logHistogram } from '../../../src/report/html/density.js';
import { renderHtmlReport } from '../../../src/report/html/index.js';
import { escapeHtml, html, scriptJson } from '../../../src/report/html/markup.js';
import { blocksOf, matchLayers } from '../../../src/report/html/match.js';
import { embeddingsOf } from '../embedded.js';
import { brokenRow, reportOf, rowOf } from './spectra.js';

interface Data {
  models: { name: string }[];
  metrics: { key: string }[];
  layers: { label: string; key: string; rows: ({ s?: number[]; i?: number[]; n?: number } | null)[] }[];
  density: string;
}

function dataOf(page: string): Data {
  const json = /<script type="application\/json" id="data">(.*?)<\/script>/s.exec(page)?.[1] ?? '';
  return JSON.parse(json) as Data;
}

const NASTY = [
  '<script>alert(1)</script>',
  '</script><img src=x onerror=alert(1)>',
  '"><svg onload=alert(1)>',
  "it's & <!--",
  'ключ\u2028\u202eevil',
  'half \ud83d a pair',
  '%E0%A4%A',
  '',
];

describe('escaping', () => {
  it('escapes what is filled in, and nothing else', () => {
    expect(html`<b title="${'"\'<>&'}">${['a<', 1, html`<i>${'<'}</i>`]}</b>${undefined}${false}`.text).toBe(
      '<b title="&quot;&#39;&lt;&gt;&amp;">a&lt;1<i>&lt;</i></b>',
    );
    expect(escapeHtml('a\u0000b\u202ec')).toBe('a\ufffdb\ufffdc');
  });

  it('writes JSON that cannot end its element, and that reads back', () => {
    const value = { text: '</script><!--\u2028' };
    expect(scriptJson(value)).not.toMatch(/[<>\u2028]/);
    expect(JSON.parse(scriptJson(value))).toEqual(value);
  });

  it('keeps names of weights, nodes, models and reasons out of the markup', () => {
    const rows = NASTY.map((name, index) =>
      index % 2 === 0 ? rowOf(name, 8, 12, { nodes: NASTY }) : brokenRow(name, `bad ${name}`),
    );
    const report = reportOf(rows, {
      notLookedAt: NASTY.map((name) => ({ node: name, op: name, reason: name })),
    });
    const page = renderHtmlReport(
      NASTY.map((name) => ({ name, report })),
      { title: NASTY[0], date: NASTY[1], version: NASTY[2] },
    );
    expect(page).not.toMatch(/<script>alert|<img|<svg onload|<!--|[\u2028\u202e]/);
    expect(page.match(/<\/?script/g)).toHaveLength(4);
    expect(dataOf(page).layers).toHaveLength(NASTY.length);
  });
});

describe('the page', () => {
  it('is the same for the same reports', () => {
    const render = (): string =>
      renderHtmlReport([{ name: 'a.onnx', report: reportOf([rowOf('w', 16, 24)]) }], { date: '2025-01-31' });
    expect(render()).toBe(render());
    expect(render()).toContain('2025-01-31');
  });

  it('loads and runs nothing but itself', () => {
    const page = renderHtmlReport([{ name: 'a.onnx', report: reportOf([rowOf('w', 16, 24)]) }]);
    const policy = /Content-Security-Policy" content="([^"]*)"/.exec(page)?.[1] ?? '';
    const hash = (tag: string): string => {
      const text = new RegExp(`<${tag}>(.*?)</${tag}>`, 's').exec(page)?.[1] ?? '';
      return `&#39;sha256-${createHash('sha256').update(text).digest('base64')}&#39;`;
    };
    expect(policy).toContain('default-src &#39;none&#39;');
    expect(policy).toContain(`script-src ${hash('script')}`);
    expect(policy).toContain(`style-src ${hash('style')}`);
    expect(page.replaceAll('http://www.w3.org/2000/svg', '')).not.toMatch(/https?:\/\/|@import|url\((?!#)/);
    expect(page).not.toMatch(/ style=| on[a-z]+="/);
  });

  it('shows every weight and every metric', () => {
    const rows = ['a', 'b', 'c/d'].map((name) => rowOf(name, 20, 30));
    const page = renderHtmlReport([{ name: 'a.onnx', report: reportOf(rows), nodes: 1234 }]);
    expect(page).toContain('1,234 nodes');
    for (const { weight, singularValues } of rows) {
      expect(page).toContain(`>${weight}</a>`);
      const layer = dataOf(page).layers.find(({ label }) => label === weight);
      expect(layer?.rows[0]?.s).toHaveLength(singularValues?.length ?? -1);
    }
    const shown = dataOf(page).metrics.map(({ key }) => key);
    expect(shown).toEqual(expect.arrayContaining(METRICS.map(({ key }) => key)));
    // Nothing was compared with random matrices.
    const extra = EXTRA_METRICS.map(({ key }) => key).filter((key) => !key.startsWith('rand'));
    expect(shown).toEqual([...METRICS.map(({ key }) => key), ...extra]);
    for (const { definition } of METRICS) expect(page).toContain(escapeHtml(definition));
  });

  it('says why values are missing', () => {
    const { singularValues: _, ...bare } = rowOf('bare', 9, 9);
    const page = renderHtmlReport([
      {
        name: 'a.onnx',
        report: reportOf([brokenRow('bad'), rowOf('tiny', 3, 50), bare, rowOf('good', 9, 9)]),
      },
    ]);
    expect(page).toContain('bad: no spectrum: 3 NaN of 6 elements');
    expect(page).toMatch(/tiny: only 3 singular values/);
    expect(page).toContain('bare: the report was made without it');
  });

  it('holds up where there is nothing', () => {
    expect(() => renderHtmlReport([])).toThrow(RangeError);
    expect(renderHtmlReport([{ name: 'a.onnx', report: reportOf([]) }])).toContain('Nothing to report on');
    const zero = rowOf('zero', 8, 8, { singularValues: new Array<number>(8).fill(0) });
    const equal = rowOf('equal', 8, 8, { singularValues: new Array<number>(8).fill(2) });
    const page = renderHtmlReport([{ name: 'a.onnx', report: reportOf([zero, equal, rowOf('one', 1, 7)]) }]);
    expect(dataOf(page).layers).toHaveLength(3);
    expect(page.slice(0, page.indexOf('<script>'))).not.toMatch(/NaN|undefined|Infinity/);
  });

  it('stays under 3 MB for a ViT-B/16, and thins what is larger', () => {
    const vit = Array.from({ length: 50 }, (_, i) => rowOf(`encoder.layer_${i}`, 768, 3072));
    const page = renderHtmlReport([{ name: 'vit.onnx', report: reportOf(vit) }]);
    expect(Buffer.byteLength(page)).toBeLessThan(1.5e6);
    const one = rowOf('w', 4096, 4096);
    const many = Array.from({ length: 60 }, (_, i) => ({ ...one, weight: `w${i}` }));
    const large = renderHtmlReport([{ name: 'large.onnx', report: reportOf(many) }]);
    expect(Buffer.byteLength(large)).toBeLessThan(3e6);
    const row = dataOf(large).layers[0]?.rows[0];
    expect(row?.n).toBe(4096);
    expect(row?.s?.length).toBeLessThan(2000);
    expect(row?.i?.[0]).toBe(0);
    expect(row?.i?.at(-1)).toBe(4095);
    expect(row?.s).toHaveLength(row?.i?.length ?? 0);
    expect(large).toContain('Long spectra are drawn by some of their values');
  }, 60_000);
});

describe('weights of several models', () => {
  it('are matched by name, those of one name in order, and the rest follows', () => {
    const a = reportOf([rowOf('x', 4, 4), rowOf('y', 4, 4), rowOf('y', 5, 5)]);
    const b = reportOf([rowOf('y', 6, 6), rowOf('z', 4, 4), rowOf('y', 7, 7)]);
    const layers = matchLayers([a, b]);
    expect(layers.map(({ label, rows }) => [label, ...rows.map((row) => row?.rows)])).toEqual([
      ['x', 4, undefined],
      ['y', 4, 6],
      ['y', 5, 7],
      ['z', undefined, 4],
    ]);
    expect(new Set(layers.map(({ key }) => key)).size).toBe(4);
  });

  it('are matched by their node where the exporter numbered them', () => {
    const row = (weight: string, node: string): ReturnType<typeof rowOf> =>
      rowOf(weight, 4, 4, { nodes: [node] });
    const a = reportOf([row('onnx::Conv_1', '/conv1'), row('onnx::Conv_2', '/conv2')]);
    const b = reportOf([row('onnx::Conv_2', '/conv1'), row('onnx::Conv_3', '/conv2')]);
    const layers = matchLayers([a, b]);
    expect(layers.map(({ label, rows }) => [label, rows[0]?.weight, rows[1]?.weight])).toEqual([
      ['/conv1', 'onnx::Conv_1', 'onnx::Conv_2'],
      ['/conv2', 'onnx::Conv_2', 'onnx::Conv_3'],
    ]);
  });

  it('fall into blocks by the beginning of their names', () => {
    const labels = [
      'stem.w',
      ...[0, 1, 2].flatMap((k) => [`net.layer${k}.a.w`, `net/layer${k}/b/w`]),
      'head.w',
    ];
    expect(blocksOf(labels)).toEqual([
      { label: 'stem', short: '', from: 0, count: 1 },
      { label: 'layer0', short: '0', from: 1, count: 2 },
      { label: 'layer1', short: '1', from: 3, count: 2 },
      { label: 'layer2', short: '2', from: 5, count: 2 },
      { label: 'head', short: '', from: 7, count: 1 },
    ]);
    expect(blocksOf(['a', 'b', 'c'])).toEqual([]);
    expect(blocksOf([])).toEqual([]);
  });
});

describe('histograms', () => {
  const values = Array.from({ length: 400 }, (_, i) => 4 * (1 - i / 400) ** 2 + 1e-6);

  it('hold all values that they do not call beyond', () => {
    for (const edge of [undefined, 1, 4]) {
      const found = linearHistogram([900, 50, ...values], edge);
      if (found === undefined) throw new Error('no histogram');
      const share = found.density.reduce((sum, density) => sum + density * found.width, 0);
      expect(share).toBeCloseTo(1 - found.beyond / 402, 3);
      expect(found.beyond).toBeGreaterThan(0);
    }
    const log = logHistogram(values, 0);
    if (log === undefined) throw new Error('no histogram');
    const share = log.density.reduce(
      (sum, density, k) =>
        sum + density * (10 ** (log.from + (k + 1) * log.width) - 10 ** (log.from + k * log.width)),
      0,
    );
    expect(share).toBeCloseTo(1, 3);
  });

  it('exist where all values are equal, and not where all are zero', () => {
    expect(linearHistogram([2, 2, 2], undefined)?.density.some((density) => density > 0)).toBe(true);
    expect(logHistogram([2, 2, 2], 0)?.density.every(Number.isFinite)).toBe(true);
    expect(linearHistogram([0, 0], undefined)).toBeUndefined();
    expect(logHistogram([0, 0], 0)).toBeUndefined();
  });
});

describe('embeddings of several models', () => {
  const rowsOf = (...values: readonly [value: string, node: string][]) =>
    reportOf([rowOf('w', 4, 4)], {
      embeddings: {
        ...embeddingsOf([]),
        rows: values.map(([value, node]) => ({ ...embeddingsOf(['w']).rows[0]!, value, nodes: [node] })),
      },
    });

  it('are matched by node and by name, and what only one has stands in its place', () => {
    const models = [
      { name: 'a.onnx', report: rowsOf(['h', 'first'], ['y', 'last']) },
      { name: 'b.onnx', report: rowsOf(['p', 'first/0'], ['h', 'first/1'], ['q', 'last/0'], ['z', 'last']) },
    ];
    const data = dataOf(renderHtmlReport(models)) as unknown as {
      embeddings: { values: { label: string; rows: (object | null)[] }[] };
    };
    expect(
      data.embeddings.values.map(({ label, rows }) => [label, ...rows.map((row) => row !== null)]),
    ).toEqual([
      ['first/0', false, true],
      ['first', true, true],
      ['last/0', false, true],
      ['last', true, true],
    ]);
  });

  it('cannot become markup', () => {
    const page = renderHtmlReport([
      { name: NASTY[1]!, report: rowsOf([NASTY[0]!, NASTY[1]!], [NASTY[2]!, NASTY[3]!]) },
    ]);
    expect(page).not.toMatch(/<img|<svg onload|alert\(1\)<\/script>/);
  });
});
