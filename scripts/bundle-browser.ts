/**
 * Bundles the graph library for browsers, dist/browser/graph.js: one file, without Node's modules. What works with files is
 * in it and throws. LICENSES.txt holds the licences of all packages in the bundle.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';
import { licences, ROOT, writeChanged } from './bundled-files.js';

const OUT = join(ROOT, 'dist/browser');
const STAND_IN = join(ROOT, 'scripts/browser/node.ts');

/** Node's modules give way to one that stands in for all. */
const withoutNode: Plugin = {
  name: 'without-node',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node:/ }, () => ({ path: STAND_IN, sideEffects: false }));
    // protobufjs asks for it to read .proto files.
    onResolve({ filter: /^fs$/ }, () => ({ path: 'fs', namespace: 'nothing' }));
    onLoad({ filter: /.*/, namespace: 'nothing' }, () => ({ contents: 'module.exports = null;' }));
  },
};

/** Writes dist/browser. */
export async function bundleBrowser(): Promise<void> {
  const { outputFiles, metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: { graph: 'src/browser/index.ts' },
    outdir: OUT,
    bundle: true,
    minify: true,
    keepNames: false,
    platform: 'browser',
    target: ['chrome120', 'firefox120', 'safari17'],
    format: 'esm',
    inject: ['scripts/browser/globals.ts'],
    plugins: [withoutNode],
    legalComments: 'none',
    write: false,
    metafile: true,
  });
  mkdirSync(OUT, { recursive: true });
  for (const { path, text } of outputFiles) writeChanged(path, text);
  writeChanged(join(OUT, 'LICENSES.txt'), licences(Object.keys(metafile.inputs)));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await bundleBrowser();
