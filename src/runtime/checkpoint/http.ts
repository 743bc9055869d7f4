import { ModelError, messageOf } from '../../graph/index.js';
import type { RangeReader } from './types.js';

export interface RemoteOptions {
  /** Sent as a bearer token, to the host of `tokenHost` alone. */
  readonly token?: string | undefined;
  readonly tokenHost?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

const MOST_REDIRECTS = 5;
const MOST_TRIES = 4;
/** Milliseconds before the second try; each further one waits twice as long. */
const PAUSE = 250;
/** Milliseconds that a server may take to begin its answer. */
const PATIENCE = 60_000;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
const AGAIN = new Set([408, 429, 500, 502, 503, 504]);

/** The bytes of a file on a server, read by HTTP range requests (RFC 9110, 14): nothing is stored, and no more is asked for. */
export class HttpReader implements RangeReader {
  readonly url: string;
  readonly length: number;
  readonly #options: RemoteOptions;
  readonly #version: string | null;

  private constructor(url: string, length: number, version: string | null, options: RemoteOptions) {
    this.url = url;
    this.length = length;
    this.#version = version;
    this.#options = options;
  }

  /**
   * Asks for the first bytes of a file, which tells its size.
   *
   * @throws ModelError for servers that cannot be reached, refuse, or answer without ranges
   */
  static async open(url: string, options: RemoteOptions = {}): Promise<HttpReader> {
    const response = await ask(url, { range: 'bytes=0-7' }, options);
    const length = totalOf(response, url);
    await response.body?.cancel();
    return new HttpReader(url, length, versionOf(response), options);
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    if (offset < 0 || length < 0 || offset + length > this.length) {
      throw new ModelError(
        `bytes ${offset} to ${offset + length} were asked for, but there are ${this.length}`,
        {
          file: this.url,
        },
      );
    }
    const bytes = new Uint8Array(length);
    let done = 0;
    // A connection may break off; the rest is asked for again.
    for (let tries = 0; done < length; tries += 1) {
      const range = `bytes=${offset + done}-${offset + length - 1}`;
      const response = await ask(this.url, { range }, this.#options);
      if (totalOf(response, this.url) !== this.length || versionOf(response) !== this.#version) {
        await response.body?.cancel();
        throw new ModelError('the file was changed on its server while it was being read; read it again', {
          file: this.url,
        });
      }
      try {
        for await (const chunk of response.body ?? []) {
          const part = chunk.subarray(0, length - done);
          bytes.set(part, done);
          done += part.length;
        }
      } catch (error) {
        this.#options.signal?.throwIfAborted();
        if (tries + 1 >= MOST_TRIES) throw unreachable(this.url, error);
        await pause(tries);
        continue;
      }
      if (done < length && tries + 1 >= MOST_TRIES) {
        throw new ModelError('the server sent less than it was asked for', { file: this.url });
      }
    }
    return bytes;
  }
}

/** A whole small file; undefined where there is none. */
export async function fetchText(
  url: string,
  most: number,
  options: RemoteOptions = {},
): Promise<string | undefined> {
  const response = await ask(url, {}, options, true);
  if (response.status === 404) {
    await response.body?.cancel();
    return undefined;
  }
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > most)
      throw new ModelError(`has more than ${most} bytes, too many for a JSON file`, { file: url });
    parts.push(chunk);
  }
  return Buffer.concat(parts).toString('utf8');
}

/** The answer to a request, behind redirects. The token goes to its own host alone, also there. */
async function ask(
  url: string,
  headers: Readonly<Record<string, string>>,
  options: RemoteOptions,
  mayMiss = false,
): Promise<Response> {
  for (let tries = 0; ; tries += 1) {
    const last = tries + 1 >= MOST_TRIES;
    let response: Response;
    try {
      response = await followed(url, headers, options);
    } catch (error) {
      options.signal?.throwIfAborted();
      if (error instanceof ModelError || last)
        throw error instanceof ModelError ? error : unreachable(url, error);
      await pause(tries);
      continue;
    }
    if (response.ok || (mayMiss && response.status === 404)) return response;
    await response.body?.cancel();
    if (last || !AGAIN.has(response.status)) throw refusal(response, url);
    await pause(tries);
  }
}

async function followed(
  url: string,
  headers: Readonly<Record<string, string>>,
  { token, tokenHost, signal }: RemoteOptions,
): Promise<Response> {
  let at = new URL(url);
  for (let redirects = 0; redirects <= MOST_REDIRECTS; redirects += 1) {
    const isOwn = token !== undefined && at.origin === tokenHost;
    const patience = AbortSignal.timeout(PATIENCE);
    // The limit is on the beginning of an answer, not on all of it.
    const begun = new AbortController();
    const abort = (): void => begun.abort(patience.aborted ? patience.reason : signal?.reason);
    patience.addEventListener('abort', abort);
    signal?.addEventListener('abort', abort);
    const response = await fetch(at, {
      headers: {
        ...headers,
        // A packed answer would have other ranges.
        'accept-encoding': 'identity',
        ...(isOwn && { authorization: `Bearer ${token}` }),
      },
      redirect: 'manual',
      signal: begun.signal,
    }).finally(() => patience.removeEventListener('abort', abort));
    if (!REDIRECTS.has(response.status)) return response;
    await response.body?.cancel();
    const next = response.headers.get('location');
    if (next === null) throw new ModelError('the server redirects to nowhere', { file: url });
    const target = new URL(next, at);
    if (target.protocol !== 'https:' && target.protocol !== at.protocol) {
      throw new ModelError(`the server redirects to ${target.protocol}//, which is not followed`, {
        file: url,
      });
    }
    at = target;
  }
  throw new ModelError(`the server redirects more than ${MOST_REDIRECTS} times`, { file: url });
}

/** Bytes of the whole file, which an answer to a range tells. */
function totalOf(response: Response, url: string): number {
  const [, total] = /^bytes \d+-\d+\/(\d+)$/.exec(response.headers.get('content-range') ?? '') ?? [];
  if (response.status !== 206 || total === undefined) {
    void response.body?.cancel();
    throw new ModelError(
      'the server answers no range requests, and all of the file is not fetched; download it and name the copy',
      { file: url },
    );
  }
  return Number(total);
}

function versionOf(response: Response): string | null {
  return response.headers.get('etag') ?? response.headers.get('last-modified');
}

function refusal({ status, statusText }: Response, url: string): ModelError {
  const hint =
    status === 401 || status === 403
      ? '; it may need a token (HF_TOKEN), or your account has no access'
      : status === 404
        ? '; check the name and the revision'
        : '';
  return new ModelError(`the server answers ${status} ${statusText}`.trim() + hint, { file: url });
}

function unreachable(url: string, error: unknown): ModelError {
  const cause = error instanceof Error && error.cause !== undefined ? `: ${messageOf(error.cause)}` : '';
  return new ModelError(`cannot be fetched: ${messageOf(error)}${cause}`, { file: url }, { cause: error });
}

function pause(tries: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, PAUSE * 2 ** tries));
}
