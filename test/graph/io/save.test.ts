import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, join, resolve } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { type ByteSource, modelToBytes, readModel, saveModel, Tensor } from '../../../src/graph/index.js';
import { temporaryName } from '../../../src/graph/io/temporary.js';
import { wildModels } from '../../support/arbitraries.js';
import { buildModel, floats } from '../../support/build.js';
import { directoryForEach, scratchDirectory } from '../../support/scratch-directory.js';

const root = scratchDirectory('graph-save');
let directory = root;
directoryForEach(root, (made) => {
  directory = made;
});

const small = () =>
  buildModel({
    inputs: [['x', 'float32', [4]]],
    outputs: [['y', 'float32', [4]]],
    nodes: [{ opType: 'Add', inputs: ['x', 'w'], outputs: ['y'] }],
    initializers: [floats('w', [4])],
  });

/** A weight whose bytes come from a function, a piece at a time. */
function streamed(length: number, onRead: (offset: number) => void): Tensor {
  const source: ByteSource = {
    length,
    read: (offset, count) => {
      onRead(offset);
      return new Uint8Array(count).fill(1);
    },
  };
  return Tensor.of('big', 'uint8', [length], source);
}

describe('the target', () => {
  test('is refused where it exists, and replaced with overwrite', async () => {
    const path = join(directory, 'm.onnx');
    await saveModel(small(), path);
    const before = readFileSync(path);
    await expect(saveModel(small(), path)).rejects.toThrow(
      `${path}: exists already; pass \`overwrite: true\` to replace it`,
    );
    expect(readFileSync(path)).toEqual(before);
    writeFileSync(path, 'something else');
    chmodSync(path, 0o666);
    await saveModel(small(), path, { overwrite: true });
    expect(readFileSync(path)).toEqual(before);
    expect(statSync(path).mode & 0o777).toBe(0o666);
    expect(readdirSync(directory)).toEqual(['m.onnx']);
  });

  test('must be a file in a directory that exists', async () => {
    await expect(saveModel(small(), directory, { overwrite: true })).rejects.toThrow(
      /is a directory; name a file/,
    );
    await expect(saveModel(small(), join(directory, 'none', 'm.onnx'))).rejects.toThrow(
      /its directory does not exist/,
    );
  });

  test('is followed through a link', async () => {
    const [path, link] = [join(directory, 'm.onnx'), join(directory, 'link.onnx')];
    writeFileSync(path, 'old');
    symlinkSync('m.onnx', link);
    await saveModel(small(), link, { overwrite: true });
    expect(Buffer.compare(readFileSync(path), modelToBytes(small()))).toBe(0);
    expect(readdirSync(directory).sort()).toEqual(['link.onnx', 'm.onnx']);
  });

  test('can be the file that the model is read from', async () => {
    const path = join(directory, 'm.onnx');
    await saveModel(small(), path);
    const model = await readModel(path);
    model.graph.setInitializer(floats('v', [1], () => 9));
    await saveModel(model, path, { overwrite: true });
    expect([...((await readModel(path)).graph.initializers.get('w')?.floats() ?? [])]).toEqual([0, 1, 2, 3]);
    expect([...(model.graph.initializers.get('w')?.floats() ?? [])]).toEqual([0, 1, 2, 3]);
  });
});

describe('an interrupted save', () => {
  test.each([
    ['the old content', true],
    ['nothing', false],
  ])('leaves %s and no temporary file', async (_, exists) => {
    const path = join(directory, 'm.onnx');
    if (exists) writeFileSync(path, 'old');
    for (const external of ['never', 'always'] as const) {
      const controller = new AbortController();
      const model = buildModel({
        nodes: [],
        initializers: [
          streamed(40 << 20, (offset) => {
            if (offset > 16 << 20) controller.abort();
          }),
        ],
      });
      const save = saveModel(model, path, { overwrite: true, signal: controller.signal, external });
      await expect(save).rejects.toMatchObject({ name: 'AbortError' });
      expect(readdirSync(directory)).toEqual(exists ? ['m.onnx'] : []);
      if (exists) expect(readFileSync(path, 'utf8')).toBe('old');
    }
  });

  test('also before its first byte, and with a reason of any kind', async () => {
    const path = join(directory, 'm.onnx');
    await expect(saveModel(small(), path, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      name: 'AbortError',
    });
    await expect(saveModel(small(), path, { signal: AbortSignal.abort(null) })).rejects.toBe(null);
    expect(readdirSync(directory)).toEqual([]);
  });

  test('by a source that fails', async () => {
    const path = join(directory, 'm.onnx');
    const tensor = streamed(20 << 20, (offset) => {
      if (offset > 0) throw new Error('gone');
    });
    await expect(saveModel(buildModel({ nodes: [], initializers: [tensor] }), path)).rejects.toThrow('gone');
    expect(readdirSync(directory)).toEqual([]);
  });

  const mounted = join(root, 'tiny');
  mkdirSync(mounted);
  const canMount =
    process.getuid?.() === 0 &&
    spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', mounted]).status === 0;
  afterAll(() => {
    if (canMount) spawnSync('umount', ['-l', mounted]);
  });

  test.skipIf(!canMount)('by a full disk (needs root and mount)', async () => {
    const path = join(mounted, 'm.onnx');
    const model = buildModel({ nodes: [], initializers: [streamed(1 << 20, () => undefined)] });
    for (const external of ['never', 'always'] as const) {
      await expect(saveModel(model, path, { external })).rejects.toThrow(
        /no space left: the file needs \d+ bytes/,
      );
      expect(readdirSync(mounted)).toEqual([]);
    }
    await saveModel(small(), path);
    await expect(saveModel(model, path, { overwrite: true })).rejects.toThrow(/no space left/);
    expect(Buffer.compare(readFileSync(path), modelToBytes(small()))).toBe(0);
  });

  test.each(['SIGINT', 'SIGKILL'] as const)('by %s: the target keeps its bytes', async (signal) => {
    const path = join(directory, 'm.onnx');
    await saveModel(small(), path);
    const before = readFileSync(path);
    // 200 MB in pieces of 8 MiB; says when it is well under way, and then goes slowly.
    const script = join(directory, 'child.ts');
    writeFileSync(
      script,
      `
      import { saveModel, Tensor } from ${JSON.stringify(resolve('src/graph/index.ts'))};
      import { buildModel } from ${JSON.stringify(resolve('test/support/build.ts'))};
      const controller = new AbortController();
      process.on('SIGINT', () => controller.abort());
      const source = {
        length: 200e6,
        read(offset: number, length: number) {
          if (offset > 60e6) process.stdout.write('half\\n');
          if (offset > 60e6) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
          return new Uint8Array(length).fill(2);
        },
      };
      const model = buildModel({ nodes: [], initializers: [Tensor.of('w', 'uint8', [200e6], source)] });
      saveModel(model, ${JSON.stringify(path)}, { overwrite: true, signal: controller.signal }).then(
        () => process.exit(0),
        (error) => process.exit(error.name === 'AbortError' ? 130 : 1),
      );
      `,
    );
    const child = spawn(process.execPath, ['--import', 'tsx', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let killed = false;
    child.stdout.on('data', () => {
      if (!killed) child.kill(signal);
      killed = true;
    });
    const [code, by] = await new Promise<[number | null, string | null]>((done) => {
      child.on('exit', (status, reason) => done([status, reason]));
    });
    expect([code, by]).toEqual(signal === 'SIGKILL' ? [null, 'SIGKILL'] : [130, null]);
    expect(readFileSync(path)).toEqual(before);
    const left = readdirSync(directory).filter((name) => name !== 'child.ts' && name !== 'm.onnx');
    if (signal === 'SIGINT') expect(left).toEqual([]);
    else for (const name of left) expect(name).toMatch(/^\.m\.onnx\.[0-9a-f]+\.tmp$/);
  });
});

describe('temporary files', () => {
  test('of a process that ended are removed by the next save, of one that runs stay', async () => {
    const ended = temporaryName(join(directory, 'x.onnx'), spawnSync(process.execPath, ['-e', '']).pid);
    const running = temporaryName(join(directory, 'm.onnx'), process.pid);
    const strange = join(directory, '.m.onnx.0123456789ab.tmp');
    for (const file of [ended, running, strange]) writeFileSync(file, 'half');
    await saveModel(small(), join(directory, 'm.onnx'));
    expect(readdirSync(directory).sort()).toEqual([basename(strange), basename(running), 'm.onnx'].sort());
  });

  test('have names that file systems allow', async () => {
    const path = join(directory, `${'ü'.repeat(120)}.onnx`);
    await saveModel(small(), path);
    expect(readdirSync(directory).length).toBe(1);
  });
});

test('a file that appears while the model is written is not replaced', async () => {
  const path = join(directory, 'm.onnx');
  const tensor = streamed(20 << 20, (offset) => {
    if (offset > 0) writeFileSync(path, 'of another');
  });
  const model = buildModel({ nodes: [], initializers: [tensor] });
  for (const external of ['never', 'always'] as const) {
    rmSync(path, { force: true });
    await expect(saveModel(model, path, { external })).rejects.toThrow(
      /exists already; pass `overwrite: true`/,
    );
    expect(readFileSync(path, 'utf8')).toBe('of another');
    expect(readdirSync(directory)).toEqual(['m.onnx']);
  }
});

describe('saving does not change the model', () => {
  /** Every own property, enumerable or not. */
  const picture = (value: unknown): unknown => {
    if (ArrayBuffer.isView(value))
      return `bytes ${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('hex')}`;
    if (Array.isArray(value)) return value.map(picture);
    if (typeof value !== 'object' || value === null) return Object.is(value, -0) ? '-0' : String(value);
    const keys = Reflect.ownKeys(value).map(String).sort();
    return keys.map((key) => [key, picture((value as Record<string, unknown>)[key])]);
  };

  test('whatever the form', async () => {
    await fc.assert(
      fc.asyncProperty(wildModels(), async (bytes) => {
        const model = await readModel(bytes);
        const before = [picture(model.proto), Buffer.from(modelToBytes(model)).toString('hex')];
        const path = join(directory, 'm.onnx');
        for (const external of ['auto', 'always'] as const)
          await saveModel(model, path, { overwrite: true, external });
        expect([picture(model.proto), Buffer.from(modelToBytes(model)).toString('hex')]).toEqual(before);
        expect(model.changed).toBe(false);
      }),
      { seed: 7, numRuns: 20 },
    );
  });

  test('when weights move to an external file', async () => {
    const model = await readModel(
      modelToBytes(buildModel({ nodes: [], initializers: [floats('w', [1000])] })),
    );
    const before = [picture(model.proto), Buffer.from(modelToBytes(model)).toString('hex')];
    await saveModel(model, join(directory, 'm.onnx'), { external: 'always' });
    expect([picture(model.proto), Buffer.from(modelToBytes(model)).toString('hex')]).toEqual(before);
    expect((await readModel(join(directory, 'm.onnx'))).graph.initializers.get('w')?.isExternal).toBe(true);
  });
});

test('memory stays small while a model of 300 MB is read, copied and saved', async () => {
  const path = join(directory, 'big.onnx');
  const weights = Array.from({ length: 30 }, (_, index) => {
    const source: ByteSource = {
      length: 10e6,
      read: (_offset, length) => new Uint8Array(length).fill(index),
    };
    return Tensor.of(`w${index}`, 'float32', [2_500_000], source);
  });
  await saveModel(buildModel({ nodes: [], initializers: weights }), path);
  const script = join(directory, 'child.ts');
  writeFileSync(
    script,
    `
    import { readModel, saveModel } from ${JSON.stringify(resolve('src/graph/index.ts'))};
    async function main() {
      const small = await readModel(${JSON.stringify(join(directory, 'small.onnx'))});
      globalThis.gc!();
      const before = process.memoryUsage().rss;
      const model = await readModel(${JSON.stringify(path)});
      const shapes = [...model.graph.initializers.values()].map((tensor) => tensor.byteLength);
      const element = model.graph.initializers.get('w7')!.elements(1000, 1);
      const read = process.memoryUsage().rss - before;
      console.log(JSON.stringify({ read, count: shapes.length, element: new Uint8Array(element.buffer)[0], small: small.graph.nodes.length }));
    }
    main();
    `,
  );
  await saveModel(small(), join(directory, 'small.onnx'));
  const child = spawnSync(process.execPath, ['--expose-gc', '--import', 'tsx', script], { encoding: 'utf8' });
  const {
    read,
    count: tensors,
    element,
  } = JSON.parse(child.stdout) as { read: number; count: number; element: number };
  expect([tensors, element]).toEqual([30, 7]);
  expect(read).toBeLessThan(30 << 20);
});
