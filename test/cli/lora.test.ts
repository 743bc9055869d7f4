import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { readModel } from '../../src/graph/index.js';
import { openCheckpoint } from '../../src/runtime/checkpoint/index.js';
import { runCli } from '../support/run-cli.js';
import { scratchDirectory } from '../support/scratch-directory.js';

const directory = scratchDirectory('lora-cli');
const at = (name: string): string => join(directory, name);

async function cli(...args: readonly string[]) {
  const { code, out, err } = await runCli(args);
  return { code, stdout: out, stderr: err };
}

async function weights(file: string) {
  const model = await readModel(at(file));
  return new Map([...model.graph.initializers].map(([name, tensor]) => [name, tensor.bytes()]));
}

beforeAll(async () => {
  const rows = Array.from({ length: 60 }, (_, i) => {
    const label = i % 3;
    const numbers = Array.from({ length: 6 }, (_, j) => (j % 3 === label ? 1 : 0) + Math.sin(7 * i + j) / 5);
    return [...numbers.map((value) => value.toFixed(4)), label].join(',');
  });
  writeFileSync(at('data.csv'), ['a,b,c,d,e,f,label', ...rows].join('\n'));
  await cli('new', 'mlp', '--inputs', '6', '--outputs', '3', '--width', '8', '-o', at('base.onnx'), '-q');
});

describe('adapters from start to end', () => {
  test.each(['zero', 'pissa'])('init %s: only they train, and fold into the weights', async (init) => {
    const [lora, trained, merged] = ['lora', 'trained', 'merged'].map((name) =>
      at(`${init}-${name}.onnx`),
    ) as [string, string, string];
    const made = await cli(
      'expand',
      at('base.onnx'),
      '-o',
      lora,
      '--lora',
      '2',
      '--lora-alpha',
      '4',
      '--lora-init',
      init,
    );
    expect(made).toMatchObject({ code: 0, stdout: expect.stringMatching(/3 layers got adapters/) });
    expect((await cli('verify', at('base.onnx'), lora)).code).toBe(0);
    const train = await cli(
      'train',
      lora,
      '--data',
      at('data.csv'),
      '--target',
      'label',
      '--epochs',
      '2',
      '--lr',
      '0.05',
      '-o',
      trained,
    );
    expect([train.code, train.stdout]).toEqual([0, expect.stringMatching(/adapters alone are trained/)]);
    const [before, after] = [await weights(`${init}-lora.onnx`), await weights(`${init}-trained.onnx`)];
    for (const [name, bytes] of before) {
      const isFactor = /lora_[AB]\.weight$/.test(name);
      if (isFactor) expect(after.get(name), name).not.toEqual(bytes);
      else expect(after.get(name), name).toEqual(bytes);
    }
    if (init === 'zero')
      for (const [name, bytes] of await weights('base.onnx')) expect(after.get(name), name).toEqual(bytes);
    expect((await cli('collapse', trained, '-o', merged, '-q')).code).toBe(0);
    expect((await cli('verify', trained, merged)).code).toBe(0);
    expect([...(await weights(`${init}-merged.onnx`)).keys()]).toEqual([
      ...(await weights('base.onnx')).keys(),
    ]);
  });

  test('a trained adapter goes to PEFT and comes back', async () => {
    const folder = at('peft');
    const written = await cli('extract-lora', at('zero-trained.onnx'), '-o', folder, '--format', 'json');
    expect(written.code).toBe(0);
    expect(JSON.parse(written.stdout).adapters).toMatchObject([{ rank: 2, scale: 2 }, {}, {}]);
    expect(JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))).toMatchObject({
      r: 2,
      lora_alpha: 4,
    });
    const applied = await cli('expand', at('base.onnx'), '--adapter', folder, '-o', at('applied.onnx'));
    expect(applied.code).toBe(0);
    expect((await cli('verify', at('zero-trained.onnx'), at('applied.onnx'))).code).toBe(0);
    expect((await cli('extract-lora', at('base.onnx'), '-o', at('none'))).code).toBe(1);
    expect((await cli('expand', at('base.onnx'), '--adapter', at('base.onnx'), '--dry-run')).code).toBe(1);
  });

  test('an .onnx_adapter has the factors under the names of the inputs', async () => {
    const model = at('inputs.onnx');
    await cli('expand', at('base.onnx'), '-o', model, '--lora', '2', '--lora-inputs');
    const [first, ...inputs] = (await readModel(model)).graph.inputs.map(({ name }) => name);
    expect(first).toBe('x');
    expect((await cli('extract-lora', model, '-o', at('a.onnx_adapter'))).code).toBe(0);
    const source = await openCheckpoint(at('a.onnx_adapter'));
    if ('onnx' in source) throw new Error('no checkpoint');
    using checkpoint = source;
    expect([...checkpoint.tensors.keys()].sort()).toEqual([...inputs].sort());
  });
});
