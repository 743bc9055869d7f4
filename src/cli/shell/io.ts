import { fstatSync, writeSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { ModelError, messageOf } from '../../graph/errors.js';
import { type Style, style } from '../../report/text/style.js';
import { printable } from '../../report/text/text.js';

type Terminal = Writable & { readonly isTTY?: boolean; readonly columns?: number; readonly fd?: number };

/** What a command reads and writes. */
export interface Io {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Terminal;
  readonly stderr: Terminal;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Puts the library's words into those of the command line: `depth: 2` is --depth 2. */
  readonly words?: (text: string) => string;
}

/** The reader of our output has gone (`| head`); nobody is left to be told. */
export class ReaderGone extends Error {}

/** One call writes at most 2^31 - 1 bytes. */
const MOST_BYTES = 2 ** 30;

/**
 * Writes all of the content to standard output.
 *
 * @throws ReaderGone where a pipe has no reader any more; ModelError where the content cannot be written
 */
export async function write({ stdout }: Io, content: string | Uint8Array): Promise<void> {
  try {
    const descriptor = fileOf(stdout);
    if (descriptor === undefined) {
      await new Promise<void>((resolve, reject) =>
        stdout.write(content, (error) => (error ? reject(error) : resolve())),
      );
      return;
    }
    // The stream that Node makes of a file takes a write that was cut short for a whole one.
    const bytes = typeof content === 'string' ? Buffer.from(content) : content;
    for (let done = 0; done < bytes.length; ) {
      done += writeSync(descriptor, bytes, done, Math.min(bytes.length - done, MOST_BYTES));
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EPIPE') throw new ReaderGone();
    const what = code === 'ENOSPC' ? 'no space left; the output is not complete' : messageOf(error);
    throw new ModelError(`cannot be written: ${what}`, { file: 'standard output' }, { cause: error });
  }
}

/** The descriptor of a stream that is a file or a device, but no terminal. */
function fileOf({ fd, isTTY }: Terminal): number | undefined {
  if (fd === undefined || isTTY) return undefined;
  const status = fstatSync(fd);
  return status.isFile() || status.isCharacterDevice() ? fd : undefined;
}

/**
 * Says something on stderr, with nothing in it that moves the cursor of a terminal or breaks a line, as names in a file
 * may. All talk goes through here.
 *
 * @param label a first word and its colour
 */
export async function tell(
  io: Io,
  text: string | readonly string[],
  label?: readonly [word: string, colour: Style],
): Promise<void> {
  const { words = (said) => said } = io;
  const lines = [text]
    .flat()
    .map((line) => printable(words(line)))
    .join('\n');
  const first = label === undefined ? '' : `${style(...label, hasColour(io.stderr, io.env))} `;
  await writeTalk(io, `${first}${lines}\n`);
}

/** Text without names, or with printable ones, on stderr. That nobody can hear it does not end the work. */
export async function writeTalk({ stderr }: Io, text: string): Promise<void> {
  await new Promise<void>((resolve) => stderr.write(text, () => resolve()));
}

/** A line of a terminal that the next one takes the place of; without a text it goes away. */
export function writeLive({ stderr }: Io, text = ''): void {
  stderr.write(`\r\u001b[K${printable(text)}`);
}

/** All bytes of a stream. */
export async function readAll(stream: Readable): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk as Uint8Array);
  return Buffer.concat(chunks);
}

/** Cells of a line: of the terminal or, where the output goes elsewhere, what COLUMNS says, or without limit. */
export function lineWidth({ stdout, env }: Io): number {
  if (stdout.isTTY && stdout.columns) return Math.max(40, stdout.columns);
  const columns = Number(env.COLUMNS);
  return columns > 0 ? Math.max(40, columns) : Number.POSITIVE_INFINITY;
}

export function hasColour(stream: Terminal, env: Io['env']): boolean {
  return stream.isTTY === true && !env.NO_COLOR && env.TERM !== 'dumb';
}
