import { existsSync, readFileSync } from 'node:fs';
import type { Io } from './io.js';

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

/** The date that a page says. SOURCE_DATE_EPOCH sets it, for bytes that can be made again. */
export function dateOf({ env }: Pick<Io, 'env'>): string {
  const epoch = Number(env.SOURCE_DATE_EPOCH || Number.NaN);
  return new Date(Number.isFinite(epoch) ? 1000 * epoch : Date.now()).toISOString().slice(0, 10);
}
