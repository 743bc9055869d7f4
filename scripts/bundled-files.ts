import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** The sources of packages that are one large module of CommonJS otherwise, of which a bundle then has what it uses. */
export const SOURCES = { 'ml-matrix': './node_modules/ml-matrix/src/index.js' } as const;

/** Packages that no bundle has in it: native code; and what is CommonJS and imported when needed, where esbuild loses the names that it exports. */
export const NATIVE = ['onnxruntime-node', 'sharp', 'yaml'] as const;

export interface BundledPackage {
  readonly name: string;
  readonly version: string;
  readonly license: string;
  /** Its licence; empty where it brings none. */
  readonly text: string;
}

/** The packages that bundled files are from, by name. */
export function packagesOf(files: readonly string[]): readonly BundledPackage[] {
  const folders = files.flatMap((file) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file) ?? []);
  return [...new Set(folders)].sort().map((folder) => {
    const { name, version, license } = JSON.parse(
      readFileSync(join(ROOT, folder, 'package.json'), 'utf8'),
    ) as Record<'name' | 'version' | 'license', string>;
    const file = readdirSync(join(ROOT, folder)).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file === undefined ? '' : readFileSync(join(ROOT, folder, file), 'utf8').trim();
    return { name, version, license, text };
  });
}

/** The licences of the packages that bundled files are from, as one text. */
export function licences(files: readonly string[]): string {
  return packagesOf(files)
    .map(({ name, version, license, text }) => `${name} ${version} (${license})\n\n${text}\n`)
    .join(`\n${'-'.repeat(80)}\n\n`);
}

/** Writes a file whose text changed, so that others keep their time. */
export function writeChanged(path: string, text: string): void {
  if (!existsSync(path) || readFileSync(path, 'utf8') !== text) writeFileSync(path, text);
}

/** Makes a folder hold these files, by name, and no others: writes those that changed and removes those that are no longer part of it. */
export function writeFolder(folder: string, texts: ReadonlyMap<string, string>): void {
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of texts) writeChanged(join(folder, name), text);
  for (const name of readdirSync(folder)) if (!texts.has(name)) rmSync(join(folder, name));
}
