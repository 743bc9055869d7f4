/**
 * Bundles the scripts of the pages, the threads of the kernels, and the command line into dist/bin, each command in
 * files of its own: Node takes longer to find and load a hundred small modules than most commands take to work.
 * `npm run build:cli`; the tests do it too, so that they run what is shipped.
 *
 * LICENSES.txt holds the licences of all packages in the bundle.
 */
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, build } from 'esbuild';
import { bundlePage } from './bundle-page.js';
import { packagesOf, writeChanged } from './bundled-files.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const OUT = join(ROOT, 'dist/bin');

// Packages of CommonJS ask for Node's own modules by a `require` that modules do not have.
const BANNER = `import { createRequire as requireOf } from 'node:module';
const require = requireOf(import.meta.url);`;

const COMMON = {
  absWorkingDir: ROOT,
  bundle: true,
  platform: 'node',
  target: 'node20',
  write: false,
} as const satisfies BuildOptions;

/** Writes the files that changed and removes those that are no longer part of it. */
export async function bundleCli(): Promise<void> {
  const ofPage = await bundlePage();
  const { outputFiles, metafile } = await build({
    ...COMMON,
    entryPoints: { 'onnx-overparam': 'src/cli/main.ts' },
    outdir: OUT,
    splitting: true,
    format: 'esm',
    chunkNames: '[name]-[hash]',
    // Native code; and what is CommonJS and imported when needed, where esbuild loses the names that it exports.
    external: ['onnxruntime-node', 'sharp', 'yaml'],
    alias: { 'string-width': './src/cli/shell/string-width.ts' },
    banner: { js: BANNER },
    metafile: true,
  });
  const files = new Map(outputFiles.map(({ path, text }) => [path, text]));
  files.set(join(OUT, 'LICENSES.txt'), licences([...Object.keys(metafile.inputs), ...ofPage]));
  write(files);
  write(await kernelThreads());
  for (const name of readdirSync(OUT)) {
    if (!files.has(join(OUT, name))) rmSync(join(OUT, name));
  }
}

/** What the threads of the kernels run, each one file of CommonJS: as modules they take half as long again to start. */
async function kernelThreads(): Promise<Map<string, string>> {
  const { outputFiles } = await build({
    ...COMMON,
    entryPoints: ['src/linalg/kernels/worker.ts', 'src/linalg/kernels/recruit.ts'],
    outdir: join(ROOT, 'dist/linalg/kernels'),
    outExtension: { '.js': '.cjs' },
    format: 'cjs',
    define: { 'import.meta.url': 'URL_OF_THIS_FILE' },
    banner: { js: "const URL_OF_THIS_FILE = require('node:url').pathToFileURL(__filename).href;" },
  });
  return new Map(outputFiles.map(({ path, text }) => [path, text]));
}

function write(files: ReadonlyMap<string, string>): void {
  for (const [path, text] of files) {
    mkdirSync(dirname(path), { recursive: true });
    writeChanged(path, text);
  }
}

/** Of the packages that the files are from. */
function licences(files: readonly string[]): string {
  return packagesOf(files)
    .map(({ name, version, license, text }) => `${name} ${version} (${license})\n\n${text}\n`)
    .join(`\n${'-'.repeat(80)}\n\n`);
}

/** What vitest calls before the tests. */
export const setup = bundleCli;

if (process.argv[1] === fileURLToPath(import.meta.url)) await bundleCli();
