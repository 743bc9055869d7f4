/**
 * Bundles the graph library for browsers, dist/browser/graph.js: one file, without Node's modules. What works with files is
 * in it and throws. LICENSES.txt holds the licences of all packages in the bundle.
 */
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
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
    onResolve({ filter: /^node:/ }, () => ({ path: 'node', namespace: 'node', sideEffects: false }));
    onLoad({ filter: /.*/, namespace: 'node' }, () => ({
      contents: standIn(),
      resolveDir: ROOT,
      loader: 'ts',
    }));
    // protobufjs asks for it to read .proto files.
    onResolve({ filter: /^fs$/ }, () => ({ path: 'fs', namespace: 'nothing' }));
    onLoad({ filter: /.*/, namespace: 'nothing' }, () => ({ contents: 'module.exports = null;' }));
  },
};

/** All names that the graph library takes of Node's modules. */
function standIn(): string {
  const files = readdirSync(join(ROOT, 'src/graph'), { recursive: true, encoding: 'utf8' });
  const names = files
    .filter((file) => file.endsWith('.ts'))
    .flatMap((file) => [
      ...readFileSync(join(ROOT, 'src/graph', file), 'utf8').matchAll(/^import {([^}]*)} from 'node:/gm),
    ])
    .flatMap(([, list = '']) => list.split(','))
    .map((name) => name.trim())
    .filter((name) => name !== '' && !name.startsWith('type '));
  const known = readFileSync(STAND_IN, 'utf8');
  const others = [...new Set(names)].filter((name) => !known.includes(`export const ${name} =`));
  return [
    `import { missing } from ${JSON.stringify(STAND_IN)};`,
    `export * from ${JSON.stringify(STAND_IN)};`,
    ...others.map((name) => `export const ${name} = missing('${name}');`),
  ].join('\n');
}

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
