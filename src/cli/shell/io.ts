import type { Readable, Writable } from 'node:stream';

type Terminal = Writable & { readonly isTTY?: boolean; readonly columns?: number };

/** What a command reads and writes. */
export interface Io {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Terminal;
  readonly stderr: Terminal;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** The reader of our output has gone (`| head`); nobody is left to be told. */
export class ReaderGone extends Error {}

/** Resolves when the stream has taken the text. */
export function write(stream: Writable, content: string | Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(content, (error) => {
      if (!error) resolve();
      else reject((error as NodeJS.ErrnoException).code === 'EPIPE' ? new ReaderGone() : error);
    });
  });
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
