import { execFileSync, spawn } from 'node:child_process';
import { linkSync, mkdirSync, renameSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { expect, test } from 'vitest';
import {
  FileSource,
  modelToBytes,
  readModel,
  readText,
  readWhole,
  saveModel,
} from '../../../src/graph/index.js';
import { buildModel, floats } from '../../support/build.js';
import { scratchDirectory } from '../../support/scratch-directory.js';

const directory = scratchDirectory('pipe');

const model = () =>
  buildModel({
    inputs: [['x', 'float32', [2, 600]]],
    outputs: [['y', 'float32', [2, 3]]],
    nodes: [{ opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }],
    initializers: [floats('w', [600, 3])],
  });

test.skipIf(process.platform === 'win32')(
  'a pipe is read to its end; one without a writer is refused',
  async () => {
    const pipe = join(directory, 'pipe');
    execFileSync('mkfifo', [pipe]);
    await expect(readModel(pipe)).rejects.toThrow(/pipe: is a pipe that nothing writes into$/);
    const file = join(directory, 'm.onnx');
    await saveModel(model(), file);
    // The shell's end is open before the pipe is read.
    const writer = spawn('bash', [
      '-c',
      `exec 3<>"${pipe}"; echo ready; sleep 0.2; cat "${file}" >&3; sleep 0.2`,
    ]);
    await new Promise((resolve) => writer.stdout.once('data', resolve));
    expect(modelToBytes(await readModel(pipe))).toEqual(modelToBytes(model()));
    expect(() => new FileSource(pipe)).toThrow('is a pipe, not a file');
  },
);

test.skipIf(process.platform === 'win32')('a device is no file', async () => {
  await expect(readModel('/dev/zero')).rejects.toThrow('/dev/zero: is a device, not a file');
  await expect(readWhole('/dev/zero')).rejects.toThrow('/dev/zero: is a device, not a file');
});

test('texts come from files and pipes, and of those that cannot be texts it is said why', async () => {
  const file = join(directory, 'recipe.json');
  writeFileSync(file, '\uFEFF{"depth": 3}');
  expect(await readText(file)).toBe('{"depth": 3}');
  await expect(readText(join(directory, 'none'))).rejects.toThrow(/none: no such file$/);
  await expect(readText(directory)).rejects.toThrow(/is a directory, not a file$/);
  const long = join(directory, 'long.json');
  writeFileSync(long, '');
  truncateSync(long, 2 ** 32);
  await expect(readText(long)).rejects.toThrow(/has 4294967296 bytes, too many for a file of text/);
});

test.skipIf(process.platform === 'win32')('texts of devices and pipes', async () => {
  await expect(readText('/dev/zero')).rejects.toThrow('/dev/zero: is a device, not a file');
  const pipe = join(directory, 'text');
  execFileSync('mkfifo', [pipe]);
  await expect(readText(pipe)).rejects.toThrow(/is a pipe that nothing writes into$/);
  const writer = spawn('bash', ['-c', `exec 3<>"${pipe}"; echo ready; sleep 0.2; echo cat >&3; sleep 0.2`]);
  await new Promise((resolve) => writer.stdout.once('data', resolve));
  expect(await readText(pipe)).toBe('cat\n');
});

test('a model that is a link may have data beside the file that it leads to, as in a cache of blobs', async () => {
  const snapshot = join(directory, 'snapshots', 'abc');
  const blobs = join(directory, 'blobs');
  for (const folder of [snapshot, blobs]) mkdirSync(folder, { recursive: true });
  const { data = '' } = await saveModel(model(), join(snapshot, 'm.onnx'), { external: 'always' });
  for (const [index, path] of [join(snapshot, 'm.onnx'), data].entries()) {
    const blob = join(blobs, `digest${index}`);
    renameSync(path, blob);
    symlinkSync(join('..', '..', 'blobs', basename(blob)), path);
  }
  const read = await readModel(join(snapshot, 'm.onnx'));
  expect(read.graph.initializers.get('w')?.floats()[599]).toBe(599);
  // The model itself is no link here, so that its data lies in neither of its folders.
  const real = join(directory, 'real');
  mkdirSync(real);
  linkSync(join(blobs, 'digest0'), join(real, 'm.onnx'));
  symlinkSync(join(blobs, 'digest1'), join(real, basename(data)));
  const other = await readModel(join(real, 'm.onnx'));
  expect(() => other.graph.initializers.get('w')?.bytes()).toThrow(/link that leads out/);
});

test("a location that turns back within the model's folder is read", async () => {
  const home = join(directory, 'turns');
  mkdirSync(join(home, 'sub'), { recursive: true });
  const path = join(home, 'm.onnx');
  const { data = '' } = await saveModel(model(), path, { external: 'always' });
  const name = `sub/../sub/g.bin`;
  renameSync(data, join(home, 'sub', 'g.bin'));
  const read = await readModel(path);
  for (const entry of read.graph.initializers.get('w')?.proto.external_data ?? []) {
    if (entry.key === 'location') entry.value = name;
  }
  writeFileSync(path, modelToBytes(read));
  const again = await readModel(path);
  expect(again.graph.initializers.get('w')?.floats()[5]).toBe(5);
});
