/**
 * Bundles the library into dist/lib, a file for each entry and those that they share: Node takes several times as long to
 * find and load its modules one by one. The types are those that tsc writes (`npm run build:types`). LICENSES.txt holds the
 * licences of all packages in the bundle.
 */
import { readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';
import { licences, NATIVE, ROOT, SOURCES, writeFolder } from './bundled-files.js';

const OUT = join(ROOT, 'dist/lib');

/** The sources of the entries: `index` and those of its sub-paths. */
export const ENTRIES: Readonly<Record<string, string>> = {
  index: 'src/index.ts',
  ...Object.fromEntries(
    readdirSync(join(ROOT, 'src/entries')).map((file) => [basename(file, '.ts'), `src/entries/${file}`]),
  ),
};

/** protobufjs asks for it to read .proto files, which nothing here does; the bundle shall have no `require`. */
const withoutFs: Plugin = {
  name: 'without-fs',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^fs$/ }, ({ kind }) =>
      kind === 'require-call' ? { path: 'fs', namespace: 'without-fs' } : undefined,
    );
    onLoad({ filter: /.*/, namespace: 'without-fs' }, () => ({ contents: 'module.exports = null;' }));
  },
};

/** Writes the files that changed and removes those that are no longer part of it. */
export async function bundleLibrary(ofPage: readonly string[]): Promise<void> {
  const { outputFiles, metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: ENTRIES,
    outdir: OUT,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    splitting: true,
    chunkNames: '[name]-[hash]',
    external: [...NATIVE],
    alias: SOURCES,
    plugins: [withoutFs],
    write: false,
    metafile: true,
  });
  const files = new Map(outputFiles.map(({ path, text }) => [basename(path), text]));
  files.set('LICENSES.txt', licences([...Object.keys(metafile.inputs), ...ofPage]));
  writeFolder(OUT, files);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await bundleLibrary([]);
