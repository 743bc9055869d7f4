import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename, join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ModelError } from '../../../src/graph/index.js';
import { type Checkpoint, type OpenOptions, openCheckpoint } from '../../../src/runtime/checkpoint/index.js';
import { readPickle } from '../../../src/runtime/checkpoint/pickle.js';
import { mayBeCheckpoint } from '../../../src/runtime/checkpoint/recognize.js';
import { writeZip } from '../../../src/runtime/io/zip.js';
import { scratchDirectory } from '../../support/scratch-directory.js';

const FILES = 'test/reference/checkpoints';
const directory = scratchDirectory('open-checkpoint');

async function opened(path: string, options: OpenOptions = {}): Promise<Checkpoint> {
  const source = await openCheckpoint(path, options);
  if ('onnx' in source) throw new Error(`${path} is no checkpoint`);
  return source;
}

describe('what is not read says why', () => {
  test('a pickle that would run something is refused and not run', async () => {
    await expect(openCheckpoint(join(FILES, 'evil.pt'))).rejects.toThrow(/posix\.system.*nothing was run/);
    expect(existsSync('/tmp/onnx-overparam-was-run')).toBe(false);
  });

  test('an index that leads out of its folder', async () => {
    const path = join(directory, 'out.safetensors.index.json');
    writeFileSync(path, JSON.stringify({ weight_map: { w: '../secret.safetensors' } }));
    await expect(openCheckpoint(path)).rejects.toThrow(/no plain name/);
  });

  test.each([
    ['an empty file', '', /cut short/],
    ['a header that is longer than the file', '\xff\xff\xff\x00\x00\x00\x00\x00{}', /cut short/],
    ['no header', `${'\x02\0\0\0\0\0\0\0'}[]`, /not a JSON object/],
  ])('%s', async (name, content, message) => {
    const path = join(directory, `${name.replaceAll(' ', '-')}.safetensors`);
    writeFileSync(path, content, 'latin1');
    await expect(openCheckpoint(path)).rejects.toThrow(message);
    await expect(openCheckpoint(path)).rejects.toThrow(ModelError);
  });

  test('a pipe is not looked into: what is read from it is gone', () => {
    const path = join(directory, 'pipe');
    execFileSync('mkfifo', [path]);
    expect(mayBeCheckpoint(path)).toBe(false);
  });

  test('a folder without tensors', async () => {
    mkdirSync(join(directory, 'empty'));
    await expect(openCheckpoint(join(directory, 'empty'))).rejects.toThrow(/model\.safetensors/);
  });

  test('a ZIP archive that is none of PyTorch', async () => {
    const path = join(directory, 'other.pt');
    writeFileSync(path, writeZip([{ name: 'a.txt', data: new Uint8Array(20) }]));
    await expect(openCheckpoint(path)).rejects.toThrow(/data\.pkl/);
  });

  test('a pickle whose lists hold one another many times', async () => {
    const levels = Array.from(
      { length: 8 },
      (_, i) => `(${`h${String.fromCharCode(i)}`.repeat(200)}lq${String.fromCharCode(i + 1)}`,
    );
    const path = join(directory, 'doubling.pt');
    const data = Buffer.from(`(lq\x00${levels.join('')}.`, 'latin1');
    writeFileSync(path, writeZip([{ name: 'archive/data.pkl', data }]));
    await expect(openCheckpoint(path)).rejects.toThrow(/1000000 entries/);
  });

  test('whatever is damaged in a file, nothing but a ModelError comes of it', async () => {
    const files = ['train.pt', 'q.onnx_adapter', 'llama/model-00001-of-00003.safetensors'];
    const originals = files.map((file) => [file, readFileSync(join(FILES, file))] as const);
    let count = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...originals),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 6 }),
        fc.option(fc.nat(), { nil: undefined }),
        async ([file, bytes], changes, end) => {
          const damaged = Buffer.from(bytes);
          for (const [at, value] of changes) damaged[at % Math.min(damaged.length, 2500)] = value;
          count += 1;
          const path = join(directory, `${count}-${basename(file)}`);
          writeFileSync(path, end === undefined ? damaged : damaged.subarray(0, end % damaged.length));
          try {
            const source = await openCheckpoint(path);
            if ('onnx' in source) return;
            using checkpoint = source;
            for (const tensor of checkpoint.tensors.values()) await tensor.bytes();
          } catch (error) {
            if (!(error instanceof ModelError)) throw error;
          }
        },
      ),
      { numRuns: 150 },
    );
  });

  test('a pickle of any bytes ends', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        try {
          readPickle(bytes, { allows: () => true });
        } catch (error) {
          if (!(error instanceof ModelError)) throw error;
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('over HTTP', () => {
  interface Asked {
    readonly path: string;
    readonly bytes: number;
    readonly token: string | undefined;
    readonly host: string;
  }
  let asked: Asked[] = [];
  let answer: (request: IncomingMessage, response: ServerResponse) => boolean = () => false;
  const servers: Server[] = [];
  let [hub, storage] = ['', ''];

  /** Serves FILES by range; as a hub, below /org/name/resolve/<revision>/, by redirects to the other server. */
  function serve(request: IncomingMessage, response: ServerResponse): void {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost');
    const [, first = 0, last = 0] = (/^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []).map(
      Number,
    );
    const bytes = request.headers.range === undefined ? -1 : last - first + 1;
    const host = `http://${request.headers.host}`;
    asked.push({ path: pathname, bytes, token: request.headers.authorization, host });
    if (answer(request, response)) return;
    const file = join(FILES, pathname.replace(/^\/org\/name\/resolve\/[^/]+/, '/llama'));
    if (!existsSync(file)) {
      response.writeHead(404).end();
    } else if (host === hub && file.endsWith('.safetensors')) {
      response.writeHead(302, { location: `${storage}/llama/${basename(file)}?signature=1` }).end();
    } else if (bytes < 0) {
      response.writeHead(200).end(readFileSync(file));
    } else {
      const content = readFileSync(file);
      response
        .writeHead(206, { 'content-range': `bytes ${first}-${last}/${content.length}`, etag: '"1"' })
        .end(content.subarray(first, last + 1));
    }
  }

  beforeAll(async () => {
    for (let i = 0; i < 2; i += 1) {
      const server = createServer(serve);
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      servers.push(server);
    }
    [hub = '', storage = ''] = servers.map(
      (server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    );
  });
  beforeEach(() => {
    asked = [];
    answer = () => false;
  });
  afterAll(() => {
    for (const server of servers) server.close();
  });

  test('only the header and the tensors that are asked for are fetched', async () => {
    const file = 'llama/model-00001-of-00003.safetensors';
    using checkpoint = await opened(`${storage}/${file}`);
    const whole = readFileSync(join(FILES, file));
    const header = Number(whole.readBigUInt64LE());
    expect(asked.map(({ bytes }) => bytes)).toEqual([8, 8, header]);
    const [tensor] = checkpoint.tensors.values();
    using local = await opened(join(FILES, file));
    expect(await tensor?.bytes()).toEqual(await local.tensors.get(tensor?.name ?? '')?.bytes());
    const size = (await tensor?.bytes(4, 12))?.length;
    expect(size).toBe(12);
    expect(asked.at(-1)?.bytes).toBe(12);
    expect(asked.every(({ token }) => token === undefined)).toBe(true);
  });

  test('hf:// follows the hub, and its token goes to the hub alone', async () => {
    using checkpoint = await opened('hf://org/name@v1', { endpoint: hub, token: 'secret' });
    using local = await opened(join(FILES, 'llama'));
    expect([...checkpoint.tensors.keys()]).toEqual([...local.tensors.keys()]);
    expect(checkpoint.config).toEqual(local.config);
    const name = 'model.layers.1.self_attn.q_proj.weight';
    expect(await checkpoint.tensors.get(name)?.bytes()).toEqual(await local.tensors.get(name)?.bytes());
    const ofHub = asked.filter(({ host }) => host === hub);
    expect(ofHub.every(({ path }) => path.startsWith('/org/name/resolve/v1/'))).toBe(true);
    expect(new Set(ofHub.map(({ token }) => token))).toEqual(new Set(['Bearer secret']));
    const others = asked.filter(({ host }) => host === storage);
    expect(others.length).toBeGreaterThan(3);
    expect(others.every(({ token }) => token === undefined)).toBe(true);
  });

  test('a server that has no ranges is refused, not downloaded from', async () => {
    answer = (_, response) => response.writeHead(200).end('everything') !== undefined;
    await expect(opened(`${storage}/a.safetensors`)).rejects.toThrow(/no range requests/);
  });

  test('what is refused or missing says so', async () => {
    await expect(opened(`${storage}/none.safetensors`)).rejects.toThrow(/404/);
    answer = (_, response) => response.writeHead(403).end() !== undefined;
    await expect(opened('hf://org/name', { endpoint: hub })).rejects.toThrow(/403.*HF_TOKEN/);
    await expect(opened('hf://name')).rejects.toThrow(/expected hf:/);
  });

  test('a connection that breaks off is taken up where it broke', async () => {
    const file = 'llama/model-00002-of-00003.safetensors';
    using checkpoint = await opened(`${storage}/${file}`);
    const tensor = [...checkpoint.tensors.values()].find(({ shape }) => shape.length === 2);
    let broken = 0;
    answer = (request, response) => {
      const [, first = 0, last = 0] = (/^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []).map(
        Number,
      );
      if (broken > 0 || last - first < 500) return false;
      broken += 1;
      const content = readFileSync(join(FILES, file));
      response.writeHead(206, {
        'content-range': `bytes ${first}-${last}/${content.length}`,
        'content-length': last - first + 1,
        etag: '"1"',
      });
      response.write(content.subarray(first, first + 300));
      setTimeout(() => response.destroy(), 50);
      return true;
    };
    using local = await opened(join(FILES, file));
    expect(await tensor?.bytes()).toEqual(await local.tensors.get(tensor?.name ?? '')?.bytes());
    expect(broken).toBe(1);
  });

  test('a file that changes on the server is not mixed with what it was', async () => {
    using checkpoint = await opened(`${storage}/llama/model-00001-of-00003.safetensors`);
    answer = (_, response) =>
      response.writeHead(206, { 'content-range': 'bytes 0-3/13680', etag: '"2"' }).end('xxxx') !== undefined;
    const [tensor] = checkpoint.tensors.values();
    await expect(tensor?.bytes()).rejects.toThrow(/changed on its server/);
  });
});
