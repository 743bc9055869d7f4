import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { atomicWrite } from '../../src/graph/index.js';
import { openCheckpoint } from '../../src/runtime/checkpoint/index.js';
import { type RuntimeTensor, safetensors } from '../../src/runtime/index.js';
import { runCli } from '../support/run-cli.js';
import { scratchDirectory } from '../support/scratch-directory.js';

const directory = scratchDirectory('extract-lora-cli');
const BASE = 'test/reference/checkpoints/llama/model-00002-of-00003.safetensors';

async function cli(args: readonly string[]) {
  const { code, out, err } = await runCli(['extract-lora', ...args]);
  return { code, stdout: out, stderr: err };
}

/** The base with one direction more in each matrix. */
async function tuned(): Promise<string> {
  const path = join(directory, 'tuned.safetensors');
  const source = await openCheckpoint(BASE);
  if ('onnx' in source) throw new Error('no checkpoint');
  using checkpoint = source;
  const tensors = new Map<string, RuntimeTensor>();
  for (const { name, shape, bytes } of checkpoint.tensors.values()) {
    const data = new Float32Array((await bytes()).slice().buffer);
    const [, columns = 1] = shape;
    if (shape.length === 2)
      for (const at of data.keys())
        data[at] = (data[at] ?? 0) + 0.1 * Math.sin(1 + Math.floor(at / columns)) * Math.cos(at % columns);
    tensors.set(name, { type: 'float32', shape, data });
  }
  await atomicWrite(path, safetensors(tensors), { overwrite: true });
  return path;
}

describe('extract-lora', () => {
  test('writes a PEFT adapter of the rank that was trained', async () => {
    const [path, output] = [await tuned(), join(directory, 'adapter')];
    const { code, stdout } = await cli([BASE, path, '-o', output, '-q', '--format', 'json']);
    expect(code).toBe(0);
    const { adapters } = JSON.parse(stdout);
    expect(adapters.length).toBeGreaterThan(3);
    for (const { rank, error } of adapters) expect([rank, error < 1e-5]).toEqual([1, true]);
    const config = JSON.parse(readFileSync(join(output, 'adapter_config.json'), 'utf8'));
    expect(config).toMatchObject({ peft_type: 'LORA', r: 1, lora_alpha: 1 });
    expect(await cli([BASE, path, '-o', output])).toMatchObject({ code: 1 });
    expect(await cli([BASE, path, '-o', output, '--overwrite'])).toMatchObject({ code: 0 });
  });

  test('writes nothing on a dry run, or where nothing changed', async () => {
    const output = join(directory, 'none');
    expect(await cli([BASE, await tuned(), '--dry-run'])).toMatchObject({ code: 0 });
    const { code, stderr } = await cli([BASE, BASE, '-o', output]);
    expect([code, stderr]).toEqual([1, expect.stringMatching(/did not change/)]);
    expect(existsSync(output)).toBe(false);
    expect(await cli([BASE, BASE])).toMatchObject({ code: 2 });
    expect(await cli([BASE, BASE, '-o', output, '--rank', 'x'])).toMatchObject({ code: 2 });
  });
});
