/**
 * Bundles the command line into dist/bin, each command in files of its own: Node takes longer to find and load a hundred small
 * modules than most commands take to work. `npm run build:cli`; the tests do it too, so that they run what is shipped.
 *
 * LICENSES.txt holds the licences of all packages in the bundle.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const OUT = join(ROOT, 'dist/bin');

// Packages of CommonJS ask for Node's own modules by a `require` that modules do not have.
const BANNER = `import { createRequire as requireOf } from 'node:module';
const require = requireOf(import.meta.url);`;

/** Writes the files that changed and removes those that are no longer part of it. */
export async function bundleCli(): Promise<void> {
  const { outputFiles, metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: { 'onnx-overparam': 'src/cli/main.ts' },
    outdir: OUT,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    // Flat: what finds files by import.meta.url is two levels below the root here as in src and dist.
    chunkNames: '[name]-[hash]',
    // Native code; and what is CommonJS and imported when needed, where esbuild loses the names that it exports.
    external: ['onnxruntime-node', 'sharp', 'yaml'],
    alias: { 'string-width': './src/cli/string-width.ts' },
    banner: { js: BANNER },
    metafile: true,
    write: false,
  });
  const files = new Map(outputFiles.map(({ path, text }) => [path, text]));
  files.set(join(OUT, 'LICENSES.txt'), licences(Object.keys(metafile.inputs)));
  mkdirSync(OUT, { recursive: true });
  for (const [path, text] of files) {
    if (!existsSync(path) || readFileSync(path, 'utf8') !== text) writeFileSync(path, text);
  }
  for (const name of readdirSync(OUT)) {
    if (!files.has(join(OUT, name))) rmSync(join(OUT, name));
  }
}

/** Of the packages that the files are from. */
function licences(files: readonly string[]): string {
  const packages = files.flatMap((file) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file) ?? []);
  return [...new Set(packages)]
    .sort()
    .map((folder) => {
      const { name, version, license } = JSON.parse(
        readFileSync(join(ROOT, folder, 'package.json'), 'utf8'),
      ) as Record<'name' | 'version' | 'license', string>;
      const file = readdirSync(join(ROOT, folder)).find((entry) => /^licen[cs]e/i.test(entry));
      const text = file === undefined ? '' : readFileSync(join(ROOT, folder, file), 'utf8').trim();
      return `${name} ${version} (${license})\n\n${text}\n`;
    })
    .join(`\n${'-'.repeat(80)}\n\n`);
}

/** What vitest calls before the tests. */
export const setup = bundleCli;

if (process.argv[1] === fileURLToPath(import.meta.url)) await bundleCli();
