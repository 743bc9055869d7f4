import { constants } from 'node:fs';
import { access, type FileHandle, link, open, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ModelError, messageOf } from '../errors.js';
import { type ByteSource, ConcatSource } from './source.js';
import { clearTemporaries, temporaryName } from './temporary.js';

/** Sources are copied in pieces of this size, so that a save needs no memory and can be interrupted. */
const CHUNK = 8 << 20;

/** Options of whatever writes a file. */
export interface WriteOptions {
  /** Replace an existing file. Default false: refuse. */
  readonly overwrite?: boolean | undefined;
  /** Interrupts the write; what was written so far is removed. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Checks that `path` can be written. Call it before long work, so that the work is not lost.
 *
 * @throws ModelError where the file exists (without `overwrite`), or its directory does not exist or is read-only
 * @example
 * await assertWritable('out.onnx');
 * await model.apply(expand({ depth: 3 }));
 * await saveModel(model, 'out.onnx');
 */
export async function assertWritable(path: string, options: WriteOptions = {}): Promise<void> {
  const existing = await stat(path).catch(() => undefined);
  if (existing?.isDirectory()) throw new ModelError('is a directory; name a file', { file: path });
  if (existing?.isFile() && !options.overwrite) {
    throw new NameTaken('exists already; pass `overwrite: true` to replace it', { file: path });
  }
  if (existing !== undefined && !existing.isFile()) return;
  const directory = dirname(path);
  try {
    await access(directory, constants.W_OK | constants.X_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const isFile = (await stat(directory).catch(() => undefined))?.isDirectory() === false;
    throw new ModelError(
      code === 'ENOENT'
        ? 'its directory does not exist; make it first'
        : code === 'ENOTDIR' || isFile
          ? `'${directory}' is a file, not a directory; name another place`
          : 'its directory is not writable',
      { file: path },
      { cause: error },
    );
  }
}

/** A file as the file system knows it, whatever its name. */
export interface FileIdentity {
  readonly dev: number;
  readonly ino: number;
}

/**
 * Writes a file so that its path holds either what it held before or all of the new content: the bytes go to a
 * file beside it, are synced, and take the name in one step. Without `overwrite` a name that another process takes
 * meanwhile stays with that process. Devices and pipes are written directly.
 *
 * @returns which file was written; undefined for a device or a pipe
 * @throws ModelError as assertWritable, where the device is full, and where `signal` interrupts it
 * @example
 * await atomicWrite('names.txt', new MemorySource(new TextEncoder().encode('fc1\nfc2\n')), { overwrite: true });
 */
export async function atomicWrite(
  path: string,
  content: ByteSource,
  options: WriteOptions = {},
): Promise<FileIdentity | undefined> {
  await assertWritable(path, options);
  const existing = await stat(path).catch(() => undefined);
  if (existing !== undefined && !existing.isFile()) {
    const handle = await open(path, 'w');
    try {
      await copy(handle, content, path, options.signal);
    } catch (error) {
      throw writeError(error, path, content.length);
    } finally {
      await handle.close();
    }
    return undefined;
  }
  const target = existing === undefined ? path : await realpath(path);
  await clearTemporaries(dirname(target));
  const temporary = temporaryName(target);
  let written: FileIdentity;
  try {
    const handle = await open(temporary, 'wx', existing?.mode ?? 0o666);
    try {
      // The mode in open is subject to the umask.
      if (existing !== undefined) await handle.chmod(existing.mode & 0o7777).catch(() => undefined);
      await copy(handle, content, path, options.signal);
      await handle.sync();
      written = await handle.stat();
    } finally {
      await handle.close();
    }
    options.signal?.throwIfAborted();
    if (options.overwrite) await rename(temporary, target);
    else await linkNew(temporary, target, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw writeError(error, path, content.length);
  }
  await syncDirectory(dirname(target));
  return written;
}

/** Removes the file of that name, if it is still the same one. */
export async function removeSame(path: string, file: FileIdentity): Promise<void> {
  const now = await stat(path).catch(() => undefined);
  if (now?.ino === file.ino && now.dev === file.dev) await rm(path, { force: true });
}

/** Gives the file its name, and fails where another process took that name meanwhile. */
async function linkNew(temporary: string, target: string, path: string): Promise<void> {
  try {
    await link(temporary, target);
  } catch (error) {
    if (isTaken(error)) throw taken(path, error);
    // A file system without hard links: the name is claimed by an empty file, which the content then replaces.
    const claim = await open(target, 'wx').catch((cause: unknown) => {
      throw isTaken(cause) ? taken(path, cause) : cause;
    });
    await claim.close();
    await rename(temporary, target);
    return;
  }
  await rm(temporary);
}

/** Another process was first to make a file of the name. */
export class NameTaken extends ModelError {
  override readonly code = 'ERR_OUTPUT_EXISTS';
}

function taken(path: string, cause: unknown): NameTaken {
  return new NameTaken('exists already; pass `overwrite: true` to replace it', { file: path }, { cause });
}

function isTaken(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'EEXIST';
}

async function copy(
  handle: FileHandle,
  source: ByteSource,
  path: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (source instanceof ConcatSource) {
    for (const part of source.parts) await copy(handle, part, path, signal);
    return;
  }
  // A piece is written on another thread while the next one is read.
  let writing: Promise<void> | undefined;
  try {
    for (let offset = 0; offset < source.length; offset += CHUNK) {
      signal?.throwIfAborted();
      const bytes = source.read(offset, Math.min(CHUNK, source.length - offset));
      await writing;
      writing = writeAll(handle, bytes);
      // An error is told when the next piece is written.
      writing.catch(() => {});
    }
  } finally {
    await writing;
  }
}

async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) done += (await handle.write(bytes, done)).bytesWritten;
}

async function syncDirectory(directory: string): Promise<void> {
  // Not every platform can open a directory; the rename has happened either way.
  const handle = await open(directory, 'r').catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}

function writeError(error: unknown, path: string, length: number): unknown {
  switch ((error as NodeJS.ErrnoException | undefined)?.code) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new ModelError(
        `no space left: the file needs ${length} bytes; nothing was written`,
        { file: path },
        { cause: error },
      );
    case 'EFBIG':
      return new ModelError(
        `the file system or a limit does not allow ${length} bytes; nothing was written`,
        {
          file: path,
        },
      );
    case undefined:
      return error;
    default:
      return error instanceof ModelError || (error as Error).name === 'AbortError'
        ? error
        : new ModelError(`cannot be written: ${messageOf(error)}`, { file: path }, { cause: error });
  }
}
