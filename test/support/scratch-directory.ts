import { accessSync, constants, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach } from 'vitest';

/** A directory for the files of one test file, in memory where the system has such a place; removed at the end. */
export function scratchDirectory(name: string): string {
  const directory = mkdtempSync(join(memoryDirectory() ?? tmpdir(), `${name}-`));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Makes an empty directory in `root` before each test, and tells its path. */
export function directoryForEach(root: string, tell: (directory: string) => void): void {
  let count = 0;
  beforeEach(() => {
    count += 1;
    const directory = join(root, String(count));
    mkdirSync(directory);
    tell(directory);
  });
}

function memoryDirectory(): string | undefined {
  try {
    accessSync('/dev/shm', constants.W_OK | constants.X_OK);
    return '/dev/shm';
  } catch {
    return undefined;
  }
}
