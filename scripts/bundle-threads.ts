/**
 * Bundles what runs in threads and processes of its own, and the builds of the kernels, each to a text in a module beside
 * the sources that start it: a program that is bundled with this library has no files of it. Git does not keep the
 * modules; their types stand beside them, in .d.ts.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';
import { NATIVE, ROOT, SOURCES, writeChanged } from './bundled-files.js';

const KERNELS = 'linalg/kernels';
const BUILDS = { KERNELS: 'kernels.wasm', FUSED_KERNELS: 'kernels-fused.wasm' } as const;

/** A text for a module of its own. */
interface Script {
  readonly module: string;
  readonly name: string;
  readonly entry: string;
  /** Modules of texts that it does not need. */
  readonly without: readonly string[];
}

/** In the order in which they have one another in them. A thread of kernels is sent those that the one which starts it compiled. */
const SCRIPTS: readonly Script[] = [
  {
    module: 'runtime/providers/probe-script.js',
    name: 'PROBE_SCRIPT',
    entry: 'runtime/providers/load-probe.ts',
    without: ['probe-script.js'],
  },
  {
    module: `${KERNELS}/threads/recruit-script.js`,
    name: 'RECRUIT_SCRIPT',
    entry: `${KERNELS}/threads/recruit.ts`,
    without: ['builds.js', 'recruit-script.js'],
  },
  {
    module: `${KERNELS}/threads/worker-script.js`,
    name: 'WORKER_SCRIPT',
    entry: `${KERNELS}/threads/worker.ts`,
    without: ['builds.js'],
  },
  {
    module: 'training/engine/engine-script.js',
    name: 'ENGINE_SCRIPT',
    entry: 'training/engine/engine-worker.ts',
    without: [],
  },
  {
    module: 'study/sweep/study-script.js',
    name: 'STUDY_SCRIPT',
    entry: 'study/sweep/worker.ts',
    without: [],
  },
];

/** Writes the modules. */
export async function bundleThreads(): Promise<void> {
  const builds = Object.entries(BUILDS).map(([name, file]) => {
    const bytes = readFileSync(join(ROOT, 'dist', KERNELS, file));
    return [name, bytes.toString('base64')] as const;
  });
  writeModule(`${KERNELS}/builds.js`, builds);
  for (const script of SCRIPTS) writeModule(script.module, [[script.name, await bundled(script)]]);
}

function writeModule(path: string, texts: readonly (readonly [name: string, text: string])[]): void {
  const lines = texts.map(([name, text]) => `export const ${name} = ${JSON.stringify(text)};\n`);
  writeChanged(join(ROOT, 'src', path), lines.join(''));
}

/** One file of CommonJS: as modules they take half as long again to start. */
async function bundled({ entry, without }: Script): Promise<string> {
  const { outputFiles } = await build({
    absWorkingDir: ROOT,
    entryPoints: [join('src', entry)],
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    external: [...NATIVE],
    alias: SOURCES,
    define: { 'import.meta.url': 'undefined' },
    plugins: without.map(emptied),
    write: false,
  });
  return outputFiles[0]?.text ?? '';
}

/** A module of CommonJS, whose names are looked up when it runs. */
function emptied(file: string): Plugin {
  const filter = new RegExp(`/${file.replace('.', '[.]')}$`);
  return {
    name: `without ${file}`,
    setup({ onResolve, onLoad }) {
      onResolve({ filter }, () => ({ path: file, namespace: file }));
      onLoad({ filter: /.*/, namespace: file }, () => ({ contents: 'module.exports = {};' }));
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await bundleThreads();
