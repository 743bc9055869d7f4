import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { installation } from '../../src/runtime/session/onnxruntime.js';

const MAIN = resolve('dist/bin/onnx-overparam.js');

function cli(args: readonly string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return new Promise((done) => {
    const child = spawn(process.execPath, [MAIN, ...args], { env: { ...process.env, COLUMNS: '80' } });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    child.on('close', (code) => done({ code, stdout, stderr }));
    child.stdin.end();
  });
}

const foreign = process.platform === 'win32' ? 'coreml' : 'directml';
const hasCuda =
  process.platform === 'linux' &&
  existsSync(join(installation().libraries, 'libonnxruntime_providers_cuda.so'));

describe('doctor', () => {
  test('the CPU works, at a rate; what this platform has not is said and gives 1 where it was asked for', async () => {
    const good = await cli(['doctor', '--ep', 'cpu', '--format', 'json']);
    expect(good.code).toBe(0);
    expect(JSON.parse(good.stdout)).toMatchObject({
      kind: 'doctor',
      platform: `${process.platform}-${process.arch}`,
      providers: [{ provider: 'cpu', loads: true, proof: { size: expect.any(Number) } }],
    });
    const bad = await cli(['doctor', '--ep', foreign]);
    expect([bad.code, bad.stderr]).toEqual([1, '']);
    expect(bad.stdout).toContain('onnxruntime-node has it on');
    for (const line of bad.stdout.split('\n')) expect([...line].length).toBeLessThanOrEqual(80);
  });

  test.skipIf(hasCuda || process.platform !== 'linux')(
    'CUDA that is not installed: which library, and the command',
    async () => {
      const { code, stdout } = await cli(['doctor', '--ep', 'cuda']);
      expect(code).toBe(1);
      expect(stdout).toContain('libonnxruntime_providers_cuda.so');
      expect(stdout).toContain('onnx-overparam doctor --install cuda');
    },
  );

  test.skipIf(hasCuda)('the download is announced with its size, and not made without a yes', async () => {
    const { code, stderr } = await cli(['doctor', '--install', 'cuda']);
    expect(code).toBe(2);
    expect(stderr).toContain('some 300 MB');
    expect(stderr).toContain('pass --yes');
  });

  test.each([
    [['doctor', '--yes'], '--yes goes with --install'],
    [['doctor', '--install', 'rocm'], '--install must be one of cuda'],
    [['doctor', '--ep', 'gpu'], '--ep must be one of auto'],
  ])('a wrong command line: %j', async (args, message) => {
    const { code, stderr } = await cli(args);
    expect(stderr).toContain(`error: ${message}`);
    expect(code).toBe(2);
  });
});
