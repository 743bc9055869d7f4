import { existsSync, readFileSync } from 'node:fs';

/** Of this package. */
export function version(): string {
  const { version: text } = JSON.parse(readFileSync(packageJson(), 'utf8')) as { version: string };
  return text;
}

/** Wherever this module lies: in src or in a bundle. */
function packageJson(): URL {
  let folder = new URL('.', import.meta.url);
  while (!existsSync(new URL('package.json', folder))) {
    const parent = new URL('..', folder);
    if (parent.href === folder.href) break;
    folder = parent;
  }
  return new URL('package.json', folder);
}
