/**
 * Bundles the scripts of the pages and of threads, the library (bundle-library.ts), and the command line into dist/bin, each
 * command in files of its own: Node takes longer to find and load a hundred small modules than most commands take to work.
 * `npm run build:bundles`; the tests do it too, so that they run what is shipped.
 *
 * LICENSES.txt holds the licences of all packages in the bundle.
 */
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { bundleLibrary } from './bundle-library.js';
import { bundlePage } from './bundle-page.js';
import { bundleThreads } from './bundle-threads.js';
import { licences, NATIVE, ROOT, SOURCES, writeChanged } from './bundled-files.js';

const OUT = join(ROOT, 'dist/bin');

// Packages of CommonJS ask for Node's own modules by a `require` that modules do not have.
const BANNER = `import { createRequire as requireOf } from 'node:module';
let requireHere;
const require = (name) => (requireHere ??= requireOf(import.meta.url))(name);`;

/** Writes the files that changed and removes those that are no longer part of it. */
async function bundleCli(ofPage: readonly string[]): Promise<void> {
  const { outputFiles, metafile } = await build({
    absWorkingDir: ROOT,
    bundle: true,
    platform: 'node',
    target: 'node20',
    write: false,
    entryPoints: { 'onnx-overparam': 'src/cli/main.ts' },
    outdir: OUT,
    splitting: true,
    format: 'esm',
    chunkNames: '[name]-[hash]',
    external: [...NATIVE],
    alias: { ...SOURCES, 'string-width': './src/cli/shell/string-width.ts' },
    banner: { js: BANNER },
    metafile: true,
  });
  const files = new Map(outputFiles.map(({ path, text }) => [path, text]));
  files.set(join(OUT, 'LICENSES.txt'), licences([...Object.keys(metafile.inputs), ...ofPage]));
  mkdirSync(OUT, { recursive: true });
  for (const [path, text] of files) writeChanged(path, text);
  for (const name of readdirSync(OUT)) {
    if (!files.has(join(OUT, name))) rmSync(join(OUT, name));
  }
}

/** What vitest calls before the tests. */
export async function setup(): Promise<void> {
  const [ofPage] = await Promise.all([bundlePage(), bundleThreads()]);
  await Promise.all([bundleCli(ofPage), bundleLibrary(ofPage)]);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await setup();
