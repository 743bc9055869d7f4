import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { logLine, readTrainLog } from '../../../src/report/training/log.js';
import { renderTrainPage } from '../../../src/report/training/page.js';
import type { NamedLog } from '../../../src/report/training/page-data.js';
import type { RankFigures } from '../../../src/training/events.js';
import { scratchDirectory } from '../../support/scratch-directory.js';
import { type BrowserPage, Chromium, findChromium, type PageOptions } from '../html/chromium.js';
import { CONTEXT, eventsOf, rankOf } from './logs.js';

const EVIL = '</script><img src=x onerror="document.title=1">';

function logOf(name: string, ranks: (epoch: number) => readonly RankFigures[]): NamedLog {
  const text = eventsOf(ranks)
    .flatMap((event) => logLine(event, CONTEXT) ?? [])
    .join('');
  return { name, log: readTrainLog(text) };
}

const plain = logOf('plain.jsonl', (epoch) => [rankOf('w', 0.9 - 0.01 * epoch), rankOf(EVIL, 0.5)]);
const chain = logOf('chain.jsonl', (epoch) => [
  rankOf('w', 0.8 - 0.1 * epoch, { role: 'product' }),
  rankOf('w/0', 0.9, { role: 'factor', chain: 'w' }),
  rankOf('w/1', 0.9, { role: 'factor', chain: 'w' }),
]);

describe('the page', () => {
  it('is the same for the same logs, and keeps names text', () => {
    const page = renderTrainPage([plain, chain], { title: EVIL });
    expect(renderTrainPage([plain, chain], { title: EVIL })).toBe(page);
    expect(page).not.toMatch(/<img|<script>alert/);
    expect(page.match(/<\/?script/g)).toHaveLength(4);
    expect(() => renderTrainPage([])).toThrow(RangeError);
  });

  it('has the figures without scripts', () => {
    const page = renderTrainPage([plain, chain]);
    // The mean of the chain run is that of its products, of which there is one.
    expect(page).toContain('80.0% → 50.0%');
    expect(page).toContain('<td>3 best</td>');
    expect(page.split('<script')[0]).not.toMatch(/NaN|undefined|Infinity/);
  });
});

const path = findChromium();
if (path === undefined)
  console.warn('no Chromium in PATH: the page of a training is not tested in a browser');

describe.skipIf(path === undefined)('in a browser', () => {
  const directory = scratchDirectory('train-page');
  let browser: Chromium;
  let opened = 0;
  beforeAll(() => {
    browser = new Chromium(path ?? '');
  });
  afterAll(() => browser[Symbol.asyncDispose]());

  const open = (logs: readonly NamedLog[], options: PageOptions = {}): Promise<BrowserPage> => {
    opened += 1;
    const file = join(directory, `${opened}.html`);
    writeFileSync(file, renderTrainPage(logs));
    return browser.open(pathToFileURL(file).href, options);
  };
  const click = (page: BrowserPage, selector: string): Promise<void> =>
    page.evaluate(`document.querySelector(${JSON.stringify(selector)}).click()`);
  const text = (page: BrowserPage, selector: string): Promise<string> =>
    page.evaluate(`document.querySelector(${JSON.stringify(selector)}).textContent.trim()`);
  const lines = (page: BrowserPage, plot: string): Promise<number> =>
    page.evaluate(`document.querySelectorAll('[data-plot=${plot}] .line').length`);

  it('draws all curves without a complaint, asks for nothing, and keeps names text', async () => {
    for (const dark of [false, true]) {
      const page = await open([plain], { dark });
      expect(await page.evaluate('document.documentElement.dataset.ready')).toBe('true');
      expect(await page.evaluate('document.images.length')).toBe(0);
      expect(
        await page.evaluate('[...document.querySelectorAll("svg.plot")].map((p) => p.dataset.plot)'),
      ).toEqual(['loss', 'accuracy', 'rate', 'norm', 'rank']);
      expect(
        await page.evaluate('[...document.querySelectorAll("svg")].some((p) => p.outerHTML.includes("NaN"))'),
      ).toBe(false);
      expect(page.problems).toEqual([]);
      expect(page.requests).toHaveLength(1);
    }
  });

  it('draws runs over each other, leaves one out when asked to, and reads values by keys', async () => {
    const page = await open([plain, chain]);
    expect([await lines(page, 'loss'), await lines(page, 'rank')]).toEqual([4, 2]);
    await click(page, 'input[name=run][value="0"]');
    expect([await lines(page, 'loss'), await lines(page, 'rank')]).toEqual([2, 1]);
    await click(page, 'input[name=run][value="0"]');
    await page.evaluate('document.querySelector("[data-plot=rank]").focus()');
    await page.press('End');
    expect(await text(page, '#live')).toBe('epoch 3.00, plain.jsonl, mean 68.5%, chain.jsonl, mean 50.0%');
    expect(page.problems).toEqual([]);
  });

  it('shows a weight by a click, by the list and by the arrows, in every figure', async () => {
    const page = await open([plain, chain]);
    await click(page, '#weights tbody tr:nth-child(2)');
    expect(await text(page, '#rank-title')).toBe('w/0');
    expect(await text(page, '#rank-what')).toBe('factor of w, 4 × 6');
    expect(await lines(page, 'rank')).toBe(1);
    await click(page, '#previous');
    expect(await text(page, '#rank-title')).toBe('w');
    expect(await lines(page, 'rank')).toBe(2);
    for (const metric of [0, 1, 2, 3, 4]) {
      await page.evaluate(
        `{ const m = document.querySelector("#metric"); m.value = ${metric}; m.dispatchEvent(new Event("change")); }`,
      );
      expect(await page.evaluate('document.querySelector("#plot-rank svg").outerHTML.includes("NaN")')).toBe(
        false,
      );
    }
    for (let i = 0; i < 3; i += 1) await click(page, '#next');
    expect(await text(page, '#rank-title')).toBe(EVIL);
    await click(page, 'input[name=run][value="0"]');
    expect(await text(page, '#plot-rank')).toBe('The runs that are shown have no such weight');
    expect(page.problems).toEqual([]);
  });

  it('switches the loss to a logarithmic scale, saves a plot, fits a phone, and prints', async () => {
    const page = await open([plain, chain], { width: 360, height: 740 });
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
    const before = await text(page, '[data-plot=loss]');
    await click(page, 'input[name=scale][value=log]');
    expect(await text(page, '[data-plot=loss]')).not.toBe(before);
    const file = await page.evaluate<string>(`new Promise((resolve) => {
      const create = URL.createObjectURL;
      URL.createObjectURL = (blob) => { blob.text().then(resolve); return create(blob); };
      document.querySelector('[data-download=loss]').click();
    })`);
    expect(file).toMatch(/^<\?xml.*<svg [^>]*xmlns=/s);
    expect(file).not.toMatch(/var\(|class=/);
    await click(page, '#theme');
    expect(await page.evaluate('getComputedStyle(document.body).backgroundColor')).toBe('rgb(16, 20, 26)');
    expect((await page.pdf()).subarray(0, 5).toString()).toBe('%PDF-');
    expect(page.problems).toEqual([]);
  });
});
