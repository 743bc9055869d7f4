import { fstatSync, realpathSync, type Stats, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { UsageError } from './errors.js';
import type { Io } from './io.js';

const STDIO = '-';

/** A file that a command writes, by the option that names it. */
export interface Output {
  readonly option: string;
  readonly path: string;
}

/** The outputs that are files, of options as the command line gives them. */
export function outputsOf(options: Readonly<Record<string, string | undefined>>): readonly Output[] {
  return Object.entries(options).flatMap(([option, path]) =>
    path === undefined || path === '' || path === STDIO ? [] : [{ option, path }],
  );
}

/**
 * Holds what a command writes against what it reads, before it does either.
 *
 * @throws UsageError where an output, or the file that standard output goes to, is an input under whatever name, and where
 *   two outputs are one file
 */
export function keepApart(outputs: readonly Output[], inputs: readonly (string | undefined)[], io: Io): void {
  for (const [index, { option, path }] of outputs.entries()) {
    const twin = outputs.slice(0, index).find((other) => placeOf(other.path) === placeOf(path));
    if (twin !== undefined) throw new UsageError(`${twin.option} and ${option} name one file, ${path}`);
  }
  const written = outputs.map(({ option, path }) => ({ name: `${option} ${path}`, status: statusOf(path) }));
  written.push({ name: 'standard output', status: outputStatus(io) });
  const existing = written.filter(({ status }) => status?.isFile());
  if (existing.length === 0) return;
  for (const input of inputs) {
    if (input === undefined || input === STDIO) continue;
    const status = statusOf(input);
    const hit = existing.find((file) => isSame(file.status, status));
    if (hit === undefined) continue;
    throw new UsageError(`${hit.name} would destroy the input ${input}; name another file`);
  }
}

/**
 * @param isOwn whether a file of that name is one that is kept in the folder
 * @throws UsageError where an output would be one of those files
 */
export function keepOutside(
  outputs: readonly Output[],
  folder: string,
  isOwn: (name: string) => boolean,
): void {
  for (const { option, path } of outputs) {
    const place = placeOf(path);
    if (dirname(place) === placeOf(folder) && isOwn(basename(place)))
      throw new UsageError(`${option} ${path} is a file of the checkpoint in ${folder}; name another file`);
  }
}

/** Where a file is or will be, without links. File systems of Windows and macOS take upper and lower case for the same. */
function placeOf(path: string): string {
  const place = realPlaceOf(path);
  return process.platform === 'linux' ? place : place.toLowerCase();
}

function realPlaceOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    try {
      return join(realpathSync(dirname(path)), basename(path));
    } catch {
      return resolve(path);
    }
  }
}

function statusOf(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}

function outputStatus({ stdout }: Io): Stats | undefined {
  if (stdout.fd === undefined) return undefined;
  try {
    return fstatSync(stdout.fd);
  } catch {
    return undefined;
  }
}

/** One regular file; that a device is read and written harms nothing. */
function isSame(a: Stats | undefined, b: Stats | undefined): boolean {
  return a?.isFile() === true && b?.isFile() === true && a.ino === b.ino && a.dev === b.dev;
}
