import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HtmlReportModel, renderHtmlReport } from '../../../src/report/html/index.js';
import { scratchDirectory } from '../../support/scratch-directory.js';
import { embeddingsOf } from '../embedded.js';
import { type BrowserPage, Chromium, findChromium, type PageOptions } from './chromium.js';
import { brokenRow, reportOf, rowOf } from './spectra.js';

const path = findChromium();
if (path === undefined) console.warn('no Chromium in PATH: the HTML report is not tested in a browser');

const EVIL = '</script><img src=x onerror="document.title=1">';
const ONE = reportOf(
  [
    rowOf('net.block0.a', 24, 40),
    rowOf('net.block0.b', 64, 32, { ops: ['Conv'] }),
    rowOf('net.block1.a', 12, 200, { nodes: ['x', 'y'] }),
    rowOf('net.block1.b', 3, 5),
    brokenRow('net.block2.a', 'the weight is empty'),
    rowOf(EVIL, 20, 20),
  ],
  { notLookedAt: [{ node: 'n', op: 'MatMul', reason: "no input is a constant weight: 'x'" }] },
);
const TWO = reportOf([
  rowOf('net.block0.a', 30, 40),
  rowOf('net.block0.b', 64, 32),
  rowOf('only.here', 9, 9),
]);

describe.skipIf(path === undefined)('in a browser', () => {
  const directory = scratchDirectory('html-report');
  let browser: Chromium;
  let opened = 0;
  beforeAll(() => {
    browser = new Chromium(path ?? '');
  });
  afterAll(() => browser[Symbol.asyncDispose]());

  const open = (
    models: readonly HtmlReportModel[],
    options: PageOptions & { hash?: string } = {},
  ): Promise<BrowserPage> => {
    opened += 1;
    const file = join(directory, `${opened}.html`);
    writeFileSync(file, renderHtmlReport(models));
    return browser.open(pathToFileURL(file).href + (options.hash ?? ''), options);
  };
  const one = [{ name: 'one.onnx', report: ONE }];
  const two = [...one, { name: 'two.onnx', report: TWO }];
  const texts = (page: BrowserPage, selector: string): Promise<string[]> =>
    page.evaluate(
      `[...document.querySelectorAll(${JSON.stringify(selector)})].filter((e) => !e.closest('[hidden]')).map((e) => e.textContent.trim())`,
    );
  const click = (page: BrowserPage, selector: string): Promise<void> =>
    page.evaluate(`document.querySelector(${JSON.stringify(selector)}).click()`);

  it('renders without a complaint, asks for nothing, and keeps names text', async () => {
    for (const dark of [false, true]) {
      const page = await open(one, { dark });
      expect(await page.evaluate('document.documentElement.dataset.ready')).toBe('true');
      expect(await page.evaluate('document.title')).toBe('Rank report: one.onnx');
      expect(await page.evaluate('document.images.length')).toBe(0);
      expect(await texts(page, '#overview [data-layer] .bar')).toHaveLength(5);
      expect(await texts(page, '.plots svg.plot')).toHaveLength(5);
      expect(page.problems).toEqual([]);
      expect(page.requests).toHaveLength(1);
    }
  });

  it('sorts the table by a click on a heading, what has no value last, and back', async () => {
    const page = await open(one);
    const names = (): Promise<string[]> => texts(page, '#weights tbody th a');
    const natural = await names();
    await click(page, '#weights th[data-column="params"] button');
    expect((await names())[0]).toBe('net.block1.a');
    expect(await page.evaluate('document.querySelector("th[aria-sort]").ariaSort')).toBe('descending');
    await click(page, '#weights th[data-column="0"] button');
    const ranks = (await texts(page, '#weights tbody td:nth-child(6)')).map(Number);
    expect(ranks.slice(0, 5)).toEqual([...ranks.slice(0, 5)].sort((a, b) => b - a));
    expect(ranks[5]).toBeNaN();
    await click(page, '#weights th[data-column="0"] button');
    expect((await texts(page, '#weights tbody td:nth-child(6)'))[5]).toBe('–');
    await click(page, '#weights th[data-column="0"] button');
    expect(await names()).toEqual(natural);
    expect(page.problems).toEqual([]);
  });

  it('filters the table and switches its columns', async () => {
    const page = await open(one);
    await page.evaluate(
      '{ const f = document.querySelector("#filter"); f.value = "BLOCK0 conv"; f.dispatchEvent(new Event("input")); }',
    );
    expect(await texts(page, '#weights tbody th a')).toEqual(['net.block0.b']);
    expect(await texts(page, '#shown')).toEqual(['1 of 6 weights']);
    const visible = (): Promise<number> =>
      page.evaluate(
        '[...document.querySelectorAll("thead th")].filter((th) => th.offsetParent !== null).length',
      );
    const brief = await visible();
    await click(page, 'input[name=columns][value=all]');
    expect(await visible()).toBeGreaterThan(brief + 10);
  });

  it('chooses a weight by a click, by keys and by the address, and says why one has no spectrum', async () => {
    const page = await open(one, { hash: '#layer=net.block1.a' });
    const title = async (): Promise<string | undefined> => (await texts(page, '#detail-title'))[0];
    expect(await title()).toBe('net.block1.a');
    await click(page, '#weights tbody tr:nth-child(2) a');
    expect(await title()).toBe('net.block0.b');
    expect(await page.evaluate('location.hash')).toBe('#layer=net.block0.b');
    await page.evaluate('document.querySelector("[data-layer=\\"1\\"]").focus()');
    await page.press('ArrowRight');
    expect(await title()).toBe('net.block1.a');
    await page.press('End');
    expect(await title()).toBe(EVIL);
    await page.press('ArrowLeft');
    expect(await texts(page, '#detail-problems p')).toEqual(['no spectrum, the weight is empty']);
    await page.evaluate('location.hash = "#layer=net.block0.a"; new Promise((done) => setTimeout(done, 50))');
    expect(await title()).toBe('net.block0.a');
    expect(page.problems).toEqual([]);
  });

  it('switches scales and metrics, and reads values by keys and pointer', async () => {
    const page = await open(one, { hash: '#layer=net.block0.a' });
    const shown = (): Promise<string[]> =>
      page.evaluate(
        '[...document.querySelectorAll(".plots svg.plot")].filter((p) => p.getClientRects().length).map((p) => p.dataset.plot)',
      );
    await click(page, 'input[name=density][value=linear]');
    expect(await shown()).toEqual(['spectrum-linear', 'density-linear']);
    await click(page, 'input[name=spectrum][value=energy]');
    await click(page, 'input[name=density][value=log]');
    expect(await shown()).toEqual(['spectrum-energy', 'density-log']);
    await page.evaluate('document.querySelector("[data-plot=spectrum-energy]").focus()');
    await page.press('End');
    expect((await texts(page, '#live'))[0]).toMatch(/^i = 24, s = .* energy 100.0%$/);
    const { x, y } = await page.evaluate<{ x: number; y: number }>(
      '(() => { const b = document.querySelector("[data-plot=density-log]").getBoundingClientRect(); return { x: b.left + b.width / 2, y: b.top + 60 }; })()',
    );
    await page.send('Input.dispatchMouseEvent', { type: 'mouseMoved', x, y });
    expect((await texts(page, '#tip'))[0]).toMatch(/^λ from .* eigenvalue/);
    for (const metric of await page.evaluate<string[]>(
      '[...document.querySelector("#metric").options].map((o) => o.value)',
    )) {
      await page.evaluate(
        `{ const m = document.querySelector("#metric"); m.value = ${metric}; m.dispatchEvent(new Event("change")); }`,
      );
    }
    expect(await page.evaluate('document.querySelector("#overview svg").outerHTML.includes("NaN")')).toBe(
      false,
    );
    expect(page.problems).toEqual([]);
  });

  it('draws two models over each other and leaves one out when asked to', async () => {
    const page = await open(two);
    await click(page, '#weights tbody tr:nth-child(1) a');
    const lines = (): Promise<number> =>
      page.evaluate('document.querySelectorAll("[data-plot=spectrum-linear] .line").length');
    expect(await lines()).toBe(2);
    expect(await texts(page, '#detail-problems p')).toEqual(['the shapes differ: 24 × 40 and 30 × 40']);
    await click(page, 'input[name=model][value="1"]');
    expect(await lines()).toBe(1);
    await page.evaluate(
      '{ const s = document.querySelector("#sort-by"); s.value = "change"; s.dispatchEvent(new Event("change")); }',
    );
    await click(page, '#weights th[data-column="0"] button');
    expect((await texts(page, '#weights tbody th a'))[0]).toBe('net.block0.a');
    expect(page.problems).toEqual([]);
  });

  it('draws what the network makes of data, one figure at a time, and reads values', async () => {
    const weights = ['net.block0.a', 'net.block0.b', 'net.block1.a'];
    const models = [
      { name: 'one.onnx', report: { ...ONE, embeddings: embeddingsOf(weights), rank: 2 } },
      { name: 'two.onnx', report: { ...TWO, embeddings: embeddingsOf(weights.slice(0, 2)), rank: 2 } },
    ];
    const page = await open(models);
    const points = (plot: string): Promise<number> =>
      page.evaluate(
        `document.querySelectorAll('[data-plot=embedding-${plot}] g:not(.cursor) > .dot').length`,
      );
    expect(await points('rank')).toBe(5);
    expect(await points('collapse')).toBe(5);
    await page.evaluate('document.querySelector("[data-plot=embedding-collapse]").focus()');
    await page.press('Home');
    expect((await texts(page, '#live'))[0]).toMatch(/^1\. node of net.block0.a, NC1 0.125, NC1 0.125, Conv/);
    await click(page, 'input[name=model][value="1"]');
    expect(await points('rank')).toBe(3);
    for (const plot of ['rank', 'collapse']) {
      for (const value of await page.evaluate<string[]>(
        `[...document.querySelector("[data-embedding=${plot}]").options].map((o) => o.value)`,
      )) {
        await page.evaluate(
          `{ const s = document.querySelector("[data-embedding=${plot}]"); s.value = ${value}; s.dispatchEvent(new Event("change")); }`,
        );
        expect(await page.evaluate('document.querySelector("#embeddings").outerHTML.includes("NaN")')).toBe(
          false,
        );
      }
    }
    expect(page.problems).toEqual([]);
    const without = await open([
      { name: 'one.onnx', report: { ...ONE, embeddings: embeddingsOf(weights, false) } },
    ]);
    expect(await without.evaluate('document.querySelectorAll("[data-plot^=embedding]").length')).toBe(1);
    expect(without.problems).toEqual([]);
  });

  it('saves a plot as an SVG file of its own', async () => {
    const page = await open(two, { dark: true, hash: '#layer=net.block0.a' });
    const file = await page.evaluate<string>(`new Promise((resolve) => {
      const create = URL.createObjectURL;
      URL.createObjectURL = (blob) => { blob.text().then(resolve); return create(blob); };
      document.querySelector('[data-download=spectrum]').click();
    })`);
    expect(file).toMatch(/^<\?xml.*<svg [^>]*xmlns="http:\/\/www.w3.org\/2000\/svg"/s);
    expect(file).not.toMatch(/var\(|class=/);
    expect(file).toContain('stroke-dasharray="7px, 3px"');
    // In the colours of paper, whatever the page's.
    expect(file).toContain('rgb(11, 98, 184)');
    expect(await page.evaluate('document.documentElement.getAttribute("data-theme")')).toBeNull();
    const parsed = `new DOMParser().parseFromString(${JSON.stringify(file)}, 'image/svg+xml').querySelector('parsererror')`;
    expect(await page.evaluate(`${parsed} === null`)).toBe(true);
  });

  it('fits a phone, switches its colours, and prints', async () => {
    const page = await open(two, { width: 360, height: 740 });
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
    const ground = (): Promise<string> => page.evaluate('getComputedStyle(document.body).backgroundColor');
    expect(await ground()).toBe('rgb(255, 255, 255)');
    await click(page, '#theme');
    expect(await ground()).toBe('rgb(16, 20, 26)');
    await page.send('Emulation.setEmulatedMedia', { media: 'print' });
    expect(await ground()).toBe('rgb(255, 255, 255)');
    const drawn = await page.evaluate(
      '[...document.querySelectorAll(".plots svg.plot")].filter((p) => p.getClientRects().length).length',
    );
    expect(drawn).toBe(5);
    expect((await page.pdf()).subarray(0, 5).toString()).toBe('%PDF-');
  });

  it('tells nine models apart, keeps their title short, and repeats headings of the table on paper', async () => {
    const page = await open(Array.from({ length: 9 }, (_, k) => ({ name: `runs/${k}.onnx`, report: ONE })));
    expect(await texts(page, 'h1')).toEqual(['0.onnx → 1.onnx and 7 more']);
    const strokes = await page.evaluate<string[]>(
      '[...document.querySelectorAll("[data-plot=spectrum-linear] .line")].map((e) => getComputedStyle(e).stroke)',
    );
    expect(new Set(strokes).size).toBe(9);
    // What is a button in a heading is left out where the heading repeats.
    const headings = (): Promise<string[][]> =>
      page.evaluate(
        '["button", ".paper"].map((kind) => [...document.querySelectorAll("#weights thead " + kind)].filter((e) => e.getClientRects().length).map((e) => e.textContent))',
      );
    const [onScreen, none] = await headings();
    await page.send('Emulation.setEmulatedMedia', { media: 'print' });
    expect(await headings()).toEqual([none, onScreen]);
    expect(onScreen?.slice(0, 3)).toEqual(['weight', 'op', 'matrix']);
    expect(page.problems).toEqual([]);
  });

  it('shows its figures without scripts, too', async () => {
    const page = await open(one, { scripts: false });
    const { root } = (await page.send('DOM.getDocument')) as { root: { nodeId: number } };
    const { nodeIds } = (await page.send('DOM.querySelectorAll', {
      nodeId: root.nodeId,
      selector: '#weights tbody tr',
    })) as { nodeIds: number[] };
    expect(nodeIds).toHaveLength(6);
  });
});
