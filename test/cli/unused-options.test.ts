import { writeFileSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import { beforeAll, describe, expect, test } from 'vitest';
import { run } from '../../src/cli/run.js';
import { saveModel } from '../../src/graph/index.js';
import { newNetwork } from '../../src/study/networks.js';
import { scratchDirectory } from '../support/scratch-directory.js';

const directory = scratchDirectory('unused-options');
const MODEL = `${directory}/m.onnx`;
const CLASSES = `${directory}/classes.csv`;
const VALUES = `${directory}/values.csv`;

beforeAll(async () => {
  const model = await newNetwork('mlp', { inputs: [3], outputs: 3, width: 4, depth: 2 });
  await saveModel(model, MODEL);
  const rows = Array.from({ length: 30 }, (_, i) => [Math.sin(i), Math.cos(i), Math.sin(2 * i)]);
  const table = (last: (i: number) => number): string =>
    ['a,b,c,y', ...rows.map((row, i) => [...row, last(i)].join(','))].join('\n');
  writeFileSync(
    CLASSES,
    table((i) => i % 3),
  );
  writeFileSync(
    VALUES,
    table((i) => i / 7),
  );
});

async function tried(words: string): Promise<{ readonly code: number; readonly said: string }> {
  const streams = { stdin: new PassThrough(), stdout: new PassThrough(), stderr: new PassThrough() };
  let said = '';
  streams.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  streams.stdout.resume();
  const argv = words
    .split(' ')
    .map((word) => ({ MODEL, CLASSES, VALUES, OUT: `${directory}/out.onnx` })[word] ?? word);
  const code = await run(argv, { ...streams, env: {} });
  return { code, said };
}

/** Command lines with an option that would change nothing, and what of it is told. */
const IN_VAIN: readonly (readonly [words: string, told: RegExp])[] = [
  ['study init --data CLASSES', /--data is not used by the study init/],
  ['study svt --data CLASSES', /--data is not used by the study svt/],
  ['study simplicity --data CLASSES', /--data is not used by the study simplicity/],
  ['study train --data a/x b/x', /'b\/x' is one argument too many/],
  ['study train --data a/x --data b/x', /two folders or files of the name 'x'/],
  ['study --list --seeds 3', /--list runs nothing.*--seeds/],
  ['study --list --all', /--list runs nothing.*--all/],
  ['study init --list', /--list runs nothing.*init/],
  ['study init --overwrite', /--overwrite.*pass --out/],
  ['study report runs.jsonl --quick', /report runs nothing/],
  ['study report runs.jsonl --threads 2', /report runs nothing/],
  ['study custom plan.yaml --data CLASSES', /custom takes no --data/],
  ['new mlp --kernel 5 -o OUT', /--kernel goes with cnn and resnet/],
  ['new cnn --rank 2 -o OUT', /--rank goes with --init low-rank/],
  ['rank-report MODEL --seed 3', /--seed goes with --randomized/],
  ['train MODEL --data CLASSES --val 0 --monitor loss -o OUT', /--monitor needs samples to validate on/],
  ['train MODEL --data CLASSES --val 0 --patience 2 -o OUT', /--patience needs samples to validate on/],
  ['train MODEL --data VALUES --monitor accuracy -o OUT', /--monitor must be loss: with the loss mse/],
  ['train MODEL --data CLASSES --loss mse --ignore-index 3 -o OUT', /goes with --loss cross-entropy/],
  ['train MODEL --data CLASSES --lr-step 3 -o OUT', /--lr-step goes with --schedule step/],
  ['train MODEL --data CLASSES --population 8 -o OUT', /--population goes with/],
  ['train MODEL --data CLASSES --nesterov -o OUT', /--nesterov goes with/],
  ['train MODEL --data CLASSES --trp-energy 0.1 -o OUT', /--trp-energy goes with --trp/],
  ['train MODEL --data CLASSES --temperature 2 -o OUT', /--temperature goes with --teacher/],
  ['verify MODEL MODEL --split test', /goes with --data/],
  ['verify MODEL MODEL --strict-ep', /--strict-ep goes with/],
  ['run MODEL --random --runs 4', /--runs goes with --bench/],
  ['convert MODEL --keep-io -o OUT', /--keep-io goes with --type/],
  ['expand MODEL --lora-alpha 3 -o OUT', /--lora-alpha goes with --lora/],
];

describe('an option that the rest of a command line makes useless is an error, not ignored', () => {
  test.each(IN_VAIN)('%s', async (words, told) => {
    const { code, said } = await tried(words);
    expect(said).toMatch(told);
    expect(code, said).not.toBe(0);
  });

  test('what uses them takes them', async () => {
    for (const words of [
      'study --list',
      'new cnn --kernel 5 -o OUT --dry-run',
      'new mlp --init low-rank --rank 2 -o OUT --dry-run',
      'rank-report MODEL --seed 3 --randomized',
      'train MODEL --data CLASSES --epochs 1 --monitor loss --dry-run',
    ]) {
      const { code, said } = await tried(words);
      expect(code, `${words}: ${said}`).toBe(0);
    }
  });
});
