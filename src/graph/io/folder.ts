import { mkdirSync, type Stats, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { ModelError, messageOf } from '../errors.js';

/**
 * Makes a folder, and those above it that are missing; nothing where it is there.
 *
 * One after the other, because `recursive` of Node's mkdir never ends under /proc, which has folders and takes none.
 *
 * @param use what the folder is to hold, for the message: 'a checkpoint'
 * @throws ModelError where a file stands in its place, or it cannot be made
 * @example
 * makeFolder('runs/first', 'a checkpoint');
 */
export function makeFolder(path: string, use: string): void {
  const missing: string[] = [];
  for (let at = resolve(path); ; at = dirname(at)) {
    const found = foundAt(at);
    if (found?.isDirectory() === true) break;
    if (found !== undefined) {
      const where = at === resolve(path) ? 'is' : `cannot be made: '${at}' is`;
      throw new ModelError(`${where} a file, and ${use} is a folder; name another`, { file: path });
    }
    missing.unshift(at);
    if (dirname(at) === at) break;
  }
  for (const folder of missing) {
    try {
      mkdirSync(folder);
    } catch (error) {
      // Another process may have made it meanwhile.
      if (foundAt(folder)?.isDirectory() === true) continue;
      throw new ModelError(`cannot be made: ${messageOf(error)}`, { file: path }, { cause: error });
    }
  }
}

/** What stands at a path; undefined where nothing does, and where one of those above is a file. */
function foundAt(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}
