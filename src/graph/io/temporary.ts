import { readdir, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { randomHex, sha256 } from './digest.js';

const hex = (value: number): string => value.toString(16).padStart(8, '0');
let host: string | undefined;
const hostDigest = (): string => (host ??= sha256().update(hostname()).digest('hex').slice(0, 8));
const NAME = /^\..+\.([0-9a-f]{8})([0-9a-f]{8})[0-9a-f]{8}\.tmp$/s;

/** Of the target's name; with the rest it stays within what file systems allow. */
const LONGEST = 50;

/** A name beside the target for what becomes it. It tells the machine and the process that write it. */
export function temporaryName(target: string, id: number = process.pid): string {
  const own = `${hostDigest()}${hex(id)}${randomHex(4)}`;
  return join(dirname(target), `.${basename(target).slice(0, LONGEST)}.${own}.tmp`);
}

/** Removes the temporary files and directories that processes of this machine left in a directory when they were killed. */
export async function clearTemporaries(directory: string): Promise<void> {
  const names = await readdir(directory).catch(() => []);
  for (const name of names) {
    const [, machine, process] = NAME.exec(name) ?? [];
    if (machine !== hostDigest() || process === undefined || isRunning(Number.parseInt(process, 16)))
      continue;
    await rm(join(directory, name), { recursive: true, force: true }).catch(() => undefined);
  }
}

function isRunning(id: number): boolean {
  try {
    process.kill(id, 0);
    return true;
  } catch (error) {
    // EPERM: it is another user's.
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}
