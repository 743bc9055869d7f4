/**
 * Bundles the scripts of the HTML pages, src/report/html/client, each to one text in a module that the report imports:
 * beside its sources. The module is JavaScript that git does not keep; its types
 * stand in page-scripts.d.ts.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { packagesOf, ROOT, writeChanged } from './bundled-files.js';

const MODULE = 'report/html/page-scripts.js';
const CLIENT = 'src/report/html/client';
const SCRIPTS = {
  RANK_REPORT_SCRIPT: 'rank-report.ts',
  TRAINING_SCRIPT: 'training.ts',
  STUDY_SCRIPT_OF_PAGE: 'study.ts',
} as const;

/** Writes the module and gives the files that went into it. */
export async function bundlePage(): Promise<readonly string[]> {
  const scripts = await Promise.all(
    Object.entries(SCRIPTS).map(async ([name, file]) => ({ name, ...(await bundled(`${CLIENT}/${file}`)) })),
  );
  const text = scripts
    .map(({ name, script }) => `export const ${name} = ${JSON.stringify(script)};\n`)
    .join('');
  writeChanged(join(ROOT, 'src', MODULE), text);
  return scripts.flatMap(({ inputs }) => inputs);
}

async function bundled(entry: string): Promise<{ script: string; inputs: readonly string[] }> {
  const { outputFiles, metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: [entry],
    tsconfig: `${CLIENT}/tsconfig.json`,
    bundle: true,
    platform: 'browser',
    format: 'iife',
    target: 'es2022',
    charset: 'utf8',
    minify: true,
    write: false,
    metafile: true,
  });
  const inputs = Object.keys(metafile.inputs);
  return { script: `${noticeOf(inputs)}${outputFiles[0]?.text ?? ''}`, inputs };
}

/** Pages are copies of the packages in their script, whose licences ask for their notice in all copies. */
function noticeOf(inputs: readonly string[]): string {
  const notices = new Map<string, string[]>();
  for (const { name, version, text } of packagesOf(inputs)) {
    const copyright = /^Copyright.*$/m.exec(text)?.[0] ?? '';
    const terms = text.replace(copyright, '').trim();
    notices.set(terms, [...(notices.get(terms) ?? []), `${name} ${version}: ${copyright}`]);
  }
  const parts = [...notices].map(([terms, names]) => `${names.join('\n')}\n\n${terms}`);
  return parts.length === 0 ? '' : `/*!\n${parts.join('\n\n')}\n*/\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await bundlePage();
