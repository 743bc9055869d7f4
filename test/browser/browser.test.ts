import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { describe, expect, test } from 'vitest';
import { check, diffModels, modelToBytes, printModel, readModel } from '../../src/index.js';
import { ROOT } from '../entries/surface.js';
import { scratchDirectory } from '../support/scratch-directory.js';

const directory = scratchDirectory('browser');
const BUNDLE = join(ROOT, 'dist/browser/graph.js');
const CHROMIUM = ['chromium', 'chromium-browser', 'google-chrome'].find(
  (name) => spawnSync(name, ['--version']).status === 0,
);

/** Small models: those of this project and, where they are at hand, of other makers. */
function models(): readonly { readonly name: string; readonly path: string }[] {
  const places = [join(ROOT, 'fixtures'), join(ROOT, '../shared/forms')].filter((place) => existsSync(place));
  return places.flatMap((place) =>
    readdirSync(place, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.onnx'))
      .sort()
      .map((name) => ({ name, path: join(place, name) }))
      .filter(({ path }) => statSync(path).size < 400_000)
      .slice(0, 40),
  );
}

/** What the page does with each model; the same runs here. */
const PROGRAM = `
import { buildModel, check, diffModels, modelToBytes, printModel, readModel, Tensor } from ${JSON.stringify(BUNDLE)};
const MODELS = JSON.parse(document.getElementById('models').textContent);
const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const same = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i]);
async function look({ name, data }) {
  const bytes = bytesOf(data);
  const model = await readModel(bytes);
  const written = modelToBytes(model);
  const edited = model.clone();
  const [node] = edited.graph.nodes;
  edited.graph.renameNode(node, edited.freshName('renamed'));
  edited.graph.setInitializer(Tensor.of(edited.freshName('added'), 'float32', [2], Float32Array.of(1, 2)));
  return {
    name,
    same: same(written, bytes),
    printed: printModel(model, { weights: true }),
    problems: check(model),
    edited: Array.from(modelToBytes(edited)).reduce((sum, byte, i) => (sum + byte * (i + 1)) % 4294967291, 0),
    differences: diffModels(model, edited).map(({ path }) => path),
  };
}
async function main() {
  const found = [];
  for (const one of MODELS) found.push(await look(one));
  const refusals = [];
  for (const act of [() => readModel('file.onnx'), () => readModel(new Uint8Array([1, 2, 3])), () => buildModel({ nodes: [{ opType: 'Relu', inputs: ['a'], outputs: ['b'] }] })]) {
    try { await act(); refusals.push('nothing'); } catch (error) { refusals.push(error.message); }
  }
  return { found, refusals };
}
main().then((result) => JSON.stringify(result), (error) => JSON.stringify({ error: String(error?.stack ?? error) })).then((text) => {
  document.body.innerHTML = '';
  const out = document.createElement('pre');
  out.id = 'result';
  out.textContent = btoa(unescape(encodeURIComponent(text)));
  document.body.append(out);
});
`;

test('the bundle for browsers has at most 150 KB gzipped, and asks for nothing of Node', () => {
  const text = readFileSync(BUNDLE);
  expect(gzipSync(text, { level: 9 }).length).toBeLessThanOrEqual(150_000);
  expect(text.toString()).not.toMatch(/\brequire\(|from"node:|onnxruntime/);
});

describe.skipIf(CHROMIUM === undefined)(
  'in headless Chromium (skipped where no chromium is installed)',
  () => {
    test('models are read, printed, checked, edited, compared and written as in Node', {
      timeout: 120_000,
    }, async () => {
      const list = models().map(({ name, path }) => ({ name, data: readFileSync(path).toString('base64') }));
      expect(list.length).toBeGreaterThan(0);
      const { outputFiles } = await build({
        stdin: { contents: PROGRAM, resolveDir: directory },
        bundle: true,
        format: 'iife',
        write: false,
      });
      const script = (outputFiles[0]?.text ?? '').replaceAll('</script', '<\\/script');
      const page = join(directory, 'page.html');
      writeFileSync(
        page,
        `<!doctype html><meta charset="utf-8"><body><script id="models" type="application/json">${JSON.stringify(list)}</script><script>${script}</script>`,
      );
      const dom = execFileSync(
        CHROMIUM ?? '',
        [
          '--headless',
          '--no-sandbox',
          '--disable-gpu',
          `--user-data-dir=${join(directory, 'profile')}`,
          '--virtual-time-budget=60000',
          '--dump-dom',
          pathToFileURL(page).href,
        ],
        { encoding: 'utf8', maxBuffer: 2 ** 28, stdio: ['ignore', 'pipe', 'ignore'] },
      );
      const [, packed = ''] = /<pre id="result">([^<]*)</.exec(dom) ?? [];
      const result = JSON.parse(Buffer.from(packed, 'base64').toString('utf8'));
      expect(result.error).toBeUndefined();
      expect(result.found.map(({ name }: { name: string }) => name)).toEqual(list.map(({ name }) => name));
      for (const [i, found] of result.found.entries()) {
        const bytes = Buffer.from(list[i]?.data ?? '', 'base64');
        const model = await readModel(bytes);
        expect(found.same, found.name).toBe(Buffer.compare(modelToBytes(model), bytes) === 0);
        expect(found.printed, found.name).toBe(printModel(model, { weights: true }));
        expect(found.problems, found.name).toEqual(JSON.parse(JSON.stringify(check(model))));
        expect(found.differences.length, found.name).toBeGreaterThanOrEqual(2);
        const edited = model.clone();
        edited.graph.renameNode(edited.graph.nodes[0] as never, edited.freshName('renamed'));
        const { Tensor } = await import('../../src/graph/index.js');
        edited.graph.setInitializer(
          Tensor.of(edited.freshName('added'), 'float32', [2], Float32Array.of(1, 2)),
        );
        const sum = modelToBytes(edited).reduce((all, byte, k) => (all + byte * (k + 1)) % 4294967291, 0);
        expect(found.edited, found.name).toBe(sum);
        expect(found.differences).toEqual(diffModels(model, edited).map(({ path }) => path));
      }
      expect(result.found.every(({ same }: { same: boolean }) => same)).toBe(true);
      expect(result.refusals[0]).toMatch(/read models from bytes/);
      expect(result.refusals[1]).toMatch(/not an ONNX model/);
      expect(result.refusals[2]).toMatch(/'a'/);
    });

    test('its SHA-256 is that of Node', async () => {
      const { outputFiles } = await build({
        stdin: {
          contents: "export { process } from './globals.ts'",
          resolveDir: join(ROOT, 'scripts/browser'),
        },
        bundle: true,
        format: 'esm',
        write: false,
      });
      const file = join(directory, 'globals.mjs');
      writeFileSync(file, outputFiles[0]?.text ?? '');
      const { process: shim } = await import(pathToFileURL(file).href);
      for (const length of [0, 1, 55, 56, 63, 64, 65, 1000]) {
        const bytes = Uint8Array.from({ length }, (_, i) => (i * 37) % 256);
        const own = shim.getBuiltinModule('node:crypto').createHash('sha256').update(bytes).digest('hex');
        expect(own).toBe(createHash('sha256').update(bytes).digest('hex'));
      }
    });
  },
);
