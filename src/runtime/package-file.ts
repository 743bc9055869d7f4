import { existsSync } from 'node:fs';

/**
 * The URL of a file of this package, such as `dist/linalg/kernels/worker.cjs`. It does not depend on where the module
 * that asks lies: in src, in dist or in a bundle.
 *
 * @param path relative to the folder that holds package.json
 */
export function packageFile(path: string): URL {
  let folder = new URL('.', import.meta.url);
  while (!existsSync(new URL('package.json', folder))) {
    const parent = new URL('..', folder);
    if (parent.href === folder.href) break;
    folder = parent;
  }
  return new URL(path, folder);
}
