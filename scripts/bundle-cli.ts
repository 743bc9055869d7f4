/**
 * Bundles the command line into dist/bin, each command in files of its own: Node takes longer to find and load a hundred small modules
 * than most commands take to work. For the same reason small modules that many commands share stand in one file, and so does
 * all that is loaded whatever the command. LICENSES.txt holds the licences of all packages in the bundle.
 */
import { join, relative } from 'node:path';
import { type ModuleInfo, rolldown } from 'rolldown';
import { licences, NATIVE, ROOT, SOURCES, writeFolder } from './bundled-files.js';

const OUT = join(ROOT, 'dist/bin');
const ENTRY = join(ROOT, 'src/cli/main.ts');

/** A module goes to the common file when at least so many dynamic imports lead to it, and its text is no longer. */
const COMMON = { imports: 10, characters: 30_000 } as const;

/** Parts of Node that take a millisecond and more to load; they stay with what needs them. */
const SLOW =
  /^(node:)?(assert|child_process|crypto|fs\/promises|https?|readline|stream|v8|vm|worker_threads|zlib)\b/;

type InfoOf = (id: string) => ModuleInfo | null;

/** A module and all that it imports, not counting dynamic imports. */
function closure(id: string, infoOf: InfoOf, seen = new Set<string>()): Set<string> {
  const info = infoOf(id);
  if (info === null || info.code === null || seen.has(id)) return seen;
  seen.add(id);
  for (const imported of info.importedIds) closure(imported, infoOf, seen);
  return seen;
}

/** The file in which a module stands with others: `shell` what every command needs, `common` small ones that many need. */
function filesOf(ids: readonly string[], infoOf: InfoOf): ReadonlyMap<string, 'shell' | 'common'> {
  const files = new Map<string, 'shell' | 'common'>();
  for (const id of closure(ENTRY, infoOf)) files.set(id, 'shell');
  // The entry waits for the command, which imports the shell: in one file, each would wait for the other.
  files.delete(ENTRY);
  const lazy = ids.filter((id) => (infoOf(id)?.dynamicImporters.length ?? 0) > 0);
  const imports = new Map<string, number>();
  for (const id of lazy.flatMap((from) => [...closure(from, infoOf)])) {
    imports.set(id, (imports.get(id) ?? 0) + 1);
  }
  const isCommon = (id: string): boolean => {
    const info = infoOf(id);
    if (info === null || info.code === null || info.code.length > COMMON.characters) return false;
    if (lazy.includes(id) || (imports.get(id) ?? 0) < COMMON.imports) return false;
    return info.importedIds.every(
      (imported) => files.has(imported) || (infoOf(imported)?.code == null && !SLOW.test(imported)),
    );
  };
  // A module follows those that it imports, so that the common file brings nothing along.
  for (let grown = true; grown; ) {
    const found = ids.filter((id) => id !== ENTRY && !files.has(id) && isCommon(id));
    for (const id of found) files.set(id, 'common');
    grown = found.length > 0;
  }
  return files;
}

/** Writes the files that changed and removes those that are no longer part of it. */
export async function bundleCli(ofPage: readonly string[]): Promise<void> {
  const ids: string[] = [];
  let files: ReturnType<typeof filesOf> | undefined;
  const group = (name: 'shell' | 'common') => ({
    debugName: name,
    priority: name === 'shell' ? 2 : 1,
    name: (id: string, chunks: { getModuleInfo: InfoOf }) => {
      files ??= filesOf(ids, (one) => chunks.getModuleInfo(one));
      return files.get(id) === name ? name : null;
    },
  });
  const bundle = await rolldown({
    cwd: ROOT,
    input: { 'onnx-overparam': ENTRY },
    platform: 'node',
    transform: { target: 'node20' },
    external: [...NATIVE, /^node:/],
    resolve: {
      alias: {
        'ml-matrix': join(ROOT, SOURCES['ml-matrix']),
        'string-width': join(ROOT, 'src/cli/shell/string-width.ts'),
      },
    },
    plugins: [{ name: 'module-ids', moduleParsed: ({ id }) => void ids.push(id) }],
  });
  const { output } = await bundle.generate({
    format: 'esm',
    comments: false,
    chunkFileNames: '[name]-[hash].js',
    codeSplitting: { groups: [group('shell'), group('common')] },
  });
  await bundle.close();
  const bundled = output.flatMap((file) => (file.type === 'chunk' ? file.moduleIds : []));
  const texts = new Map(
    output.map((file) => [file.fileName, file.type === 'chunk' ? file.code : `${file.source}`]),
  );
  texts.set('LICENSES.txt', licences([...bundled.map((id) => relative(ROOT, id)), ...ofPage]));
  writeFolder(OUT, texts);
}
