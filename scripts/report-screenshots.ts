/**
 * Pictures of the HTML report of the demo model, for the documentation: `npx tsx scripts/report-screenshots.ts [data]`.
 * With the demo's data, which `python3 fixtures/train_demo.py --write-data <dir>` draws, that of the embeddings too.
 *
 * Beside the trained model stands a second one with the elements of each weight in random order, so that the
 * comparison shows what training put into the weights. Needs Chromium; nothing is fetched.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { permuteElements } from '../src/analysis/spectra/spectral-extras.js';
import { findLinearSites } from '../src/entries/analysis.js';
import { Tensor } from '../src/entries/graph.js';
import { inputSpecs } from '../src/entries/training.js';
import { embeddingReport, type Model, openDataset, rankReport, readModel } from '../src/index.js';
import { type HtmlReportModel, renderHtmlReport } from '../src/report/html/index.js';
import { type BrowserPage, Chromium, findChromium, type PageOptions } from '../test/report/html/chromium.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const IMAGES = join(ROOT, 'docs/images');
const DEMO = join(ROOT, 'fixtures/shapes.onnx');
const SEED = 0;

/** The same elements of every weight in random order. */
async function shuffled(path: string): Promise<Model> {
  const model = await readModel(path);
  const roots = findLinearSites(model).sites.flatMap(({ weight }) => weight.root ?? []);
  for (const tensor of new Map(roots.map((root) => [root.name, root])).values()) {
    const data = permuteElements(Float32Array.from(tensor.floats()), SEED, tensor.name);
    model.graph.setInitializer(Tensor.of(tensor.name, 'float32', tensor.shape, data));
  }
  return model;
}

async function entry(name: string, model: Model): Promise<HtmlReportModel> {
  return { name, report: await rankReport(model, { spectra: true }), nodes: model.graph.nodes.length };
}

/** With what the model makes of the data, and how far its weights are from the rank of the classes. */
async function embedded(entry: HtmlReportModel, model: Model, path: string): Promise<HtmlReportModel> {
  await using data = await openDataset(path, { split: 'train', inputs: inputSpecs(model) });
  const embeddings = await embeddingReport(model, data);
  const report = await rankReport(model, { spectra: true, rank: embeddings.classes });
  return { ...entry, report: { ...report, embeddings } };
}

interface Picture extends PageOptions {
  readonly name: string;
  readonly html: string;
  /** Run in the page first. */
  readonly before?: string;
  /** Selector of the part to take; the whole page without one. */
  readonly part?: string;
}

async function take(browser: Chromium, directory: string, picture: Picture): Promise<void> {
  const file = join(directory, `${picture.name}.html`);
  writeFileSync(file, picture.html);
  const page = await browser.open(pathToFileURL(file).href, picture);
  if (picture.before !== undefined) await page.evaluate(picture.before);
  await page.evaluate('new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 150)))');
  const image = await page.screenshot(picture.part === undefined ? 'page' : await areaOf(page, picture.part));
  if (page.problems.length > 0) throw new Error(`${picture.name}: ${page.problems.join('\n')}`);
  const path = join(IMAGES, `${picture.name}.png`);
  writeFileSync(path, image);
  console.log(`${path}  ${(image.length / 1024).toFixed(0)} KiB`);
}

async function areaOf(
  page: BrowserPage,
  selector: string,
): Promise<{ x: number; y: number; width: number; height: number }> {
  return page.evaluate(`(() => {
    const { left, top, width, height } = document.querySelector(${JSON.stringify(selector)}).getBoundingClientRect();
    const margin = 16;
    return { x: left + scrollX - margin, y: top + scrollY - margin, width: width + 2 * margin, height: height + 2 * margin };
  })()`);
}

const path = findChromium();
if (path === undefined) {
  console.error('No Chromium here; on Debian: apt-get install chromium');
  process.exit(1);
}
mkdirSync(IMAGES, { recursive: true });
const directory = mkdtempSync(join(tmpdir(), 'report-screenshots-'));
try {
  const trained = await entry('shapes.onnx', await readModel(DEMO));
  const random = await entry('shapes-shuffled.onnx', await shuffled(DEMO));
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  const one = renderHtmlReport([trained], { version });
  const two = renderHtmlReport([trained, random], { version });
  const choose = (...selectors: readonly string[]): string =>
    selectors.map((selector) => `document.querySelector(${JSON.stringify(selector)}).click();`).join('');
  await using browser = new Chromium(path);
  const pictures: readonly Picture[] = [
    { name: 'report-light', html: one },
    { name: 'report-dark', html: one, dark: true },
    { name: 'report-phone', html: one, width: 390, height: 844, scale: 1.5 },
    { name: 'report-compare', html: two },
    {
      name: 'report-log',
      html: two,
      part: '#detail',
      scale: 1.25,
      before: choose('input[name=spectrum][value=log]', 'input[name=density][value=log]'),
    },
  ];
  for (const picture of pictures) await take(browser, directory, picture);
  const [data] = process.argv.slice(2);
  if (data !== undefined) {
    const models = [await embedded(trained, await readModel(DEMO), data)];
    models.push(await embedded(random, await shuffled(DEMO), data));
    const html = renderHtmlReport(models, { version });
    await take(browser, directory, { name: 'report-embeddings', html, part: '#embeddings', scale: 1.25 });
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}
