import { closeSync, constants, openSync, readSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { ModelError } from '../errors.js';
import { assertFits } from '../limits/memory-limit.js';
import { openErrorText } from './source.js';

const CHUNK = 1 << 20;
const WAIT_MS = 5;

/** Is it a pipe, such as the shell gives for `<(command)`? It can be read once, from its beginning to its end. */
export function isPipe(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFIFO() === true;
}

/**
 * All of a file or a pipe.
 *
 * @throws ModelError for what is missing, a folder or a device, for a pipe that nothing writes into, and for one that brings more
 *   than the memory limit
 */
export async function readWhole(path: string): Promise<Uint8Array> {
  try {
    if (isPipe(path)) return await readPipe(path);
    const status = statSync(path);
    if (!status.isFile() && !status.isDirectory())
      throw new ModelError('is a device, not a file', { file: path });
    return await readFile(path);
  } catch (error) {
    if (error instanceof ModelError) throw error;
    throw new ModelError(openErrorText(error), { file: path }, { cause: error });
  }
}

/** Bytes of a text. More is no recipe and no log, and the engine has no string for it. */
const LONGEST_TEXT = 256 * 2 ** 20;

/**
 * All of a file of text, or of a pipe: recipes, names of classes, logs.
 *
 * @throws ModelError as readWhole, and for more than 256 MiB
 */
export async function readText(path: string): Promise<string> {
  const tooLong = (bytes: number): ModelError =>
    new ModelError(`has ${bytes} bytes, too many for a file of text (${LONGEST_TEXT} at most)`, {
      file: path,
    });
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size > LONGEST_TEXT) throw tooLong(size);
  const bytes = await readWhole(path);
  if (bytes.length > LONGEST_TEXT) throw tooLong(bytes.length);
  return new TextDecoder().decode(bytes);
}

async function readPipe(path: string): Promise<Uint8Array> {
  // To open a pipe waits for its writer, and would wait for ever where there is none.
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const parts: Uint8Array[] = [];
    let length = 0;
    for (;;) {
      const part = new Uint8Array(CHUNK);
      const count = readNow(descriptor, part);
      if (count === undefined) {
        await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
        continue;
      }
      if (count === 0) break;
      parts.push(part.subarray(0, count).slice());
      length += count;
      assertFits(length, 'what comes out of this pipe', { file: path });
    }
    if (length === 0) throw new ModelError('is a pipe that nothing writes into', { file: path });
    return Buffer.concat(parts);
  } finally {
    closeSync(descriptor);
  }
}

/** How many bytes there were; undefined where they are still to come. */
function readNow(descriptor: number, bytes: Uint8Array): number | undefined {
  try {
    return readSync(descriptor, bytes);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return undefined;
    throw error;
  }
}
