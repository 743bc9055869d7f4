import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { beforeAll, expect, test } from 'vitest';
import { saveModel, Tensor } from '../../src/graph/index.js';
import { keepClassNames } from '../../src/graph/names/class-names.js';
import { modelOf } from '../runtime/helpers.js';
import { runCli } from '../support/run-cli.js';
import { scratchDirectory } from '../support/scratch-directory.js';

const directory = scratchDirectory('cli-run-data');
const path = (name: string): string => join(directory, name);
const linesOf = (name: string): string[] => readFileSync(path(name), 'utf8').trim().split('\r\n');

/** The mean of each channel of an image of 2 x 2 pixels: red, green, blue. */
const channelMeans = () =>
  modelOf(
    [
      {
        opType: 'ReduceMean',
        inputs: ['x'],
        outputs: ['y'],
        attributes: { axes: { ints: [2, 3] }, keepdims: { int: 0 } },
      },
    ],
    [['x', 'float32', ['n', 3, 2, 2]]],
    [['y', 'float32', ['n', 3]]],
    [],
  );

beforeAll(async () => {
  const named = channelMeans();
  keepClassNames(named, ['red', 'green', 'blue']);
  await saveModel(named, path('named.onnx'));
  const pick = modelOf(
    [{ opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }],
    [['x', 'float32', ['n', 2]]],
    [['y', 'float32', ['n', 2]]],
    [Tensor.of('w', 'float32', [2, 2], Float32Array.of(0, 1, 1, 0))],
  );
  await saveModel(pick, path('swap.onnx'));
  const colours = { green: [0, 255, 0], red: [255, 0, 51] } as const;
  for (const [name, [r, g, b]] of Object.entries(colours)) {
    mkdirSync(path(`photos/${name}`), { recursive: true });
    const create = { width: 2, height: 2, channels: 3 as const, background: { r, g, b } };
    writeFileSync(path(`photos/${name}/a.png`), await sharp({ create }).png().toBuffer());
  }
  writeFileSync(path('photos/red/b.png'), 'no image');
  writeFileSync(path('table.csv'), 'a,b,y\n1,2,0.5\n3,4,0.25\n');
});

test('images of a folder: names, classes and values, without those that cannot be decoded', async () => {
  const refused = await runCli(['run', path('named.onnx'), '--data', path('photos'), '-o', path('p.csv')]);
  expect([refused.code, refused.err]).toEqual([1, expect.stringContaining(join('red', 'b.png'))]);
  const args = ['--data', path('photos'), '--skip-bad-samples', '--top', '2'];
  const { code, err } = await runCli(['run', path('named.onnx'), ...args, '-o', path('p.csv')]);
  expect([code, err]).toEqual([0, expect.stringContaining('skipped 1 of 3 images')]);
  const [header, ...lines] = linesOf('p.csv');
  expect(header).toBe('sample,target,class1,value1,probability1,class2,value2,probability2');
  const fields = lines.map((line) => line.split(','));
  expect(fields.map((line) => [line[0], line[1], line[2], line[5]])).toEqual([
    [join('green', 'a.png'), 'green', 'green', 'red'],
    [join('red', 'a.png'), 'red', 'red', 'blue'],
  ]);
  // Values of 0 to 1; of (1, 0.2, 0) the softmax is e / (e + e^0.2 + 1).
  expect(fields.map((line) => [Number(line[3]), Number(line[6])])).toEqual([
    [1, 0],
    [1, Math.fround(0.2)],
  ]);
  expect(Number(fields[1]?.[4])).toBeCloseTo(Math.E / (Math.E + Math.exp(0.2) + 1), 6);
});

test('a label is the class that the model calls so, whatever classes the folder lacks', async () => {
  // The folder's own order is green, red: labels 0 and 1, of which the model calls 0 red.
  const args = ['--data', path('photos'), '--skip-bad-samples', '--resamples', '0', '--format', 'json'];
  const { code, out } = await runCli(['evaluate', path('named.onnx'), ...args]);
  expect(code).toBe(0);
  expect(JSON.stringify(JSON.parse(out))).toMatch(/"accuracy":(\{"value":)?1[,}]/);
});

test('numbers of a table, to a file or to standard output', async () => {
  const all = 'sample,target,value1,value2\r\n0,0.5,2,1\r\n1,0.25,4,3\r\n';
  const { code, out } = await runCli([
    'run',
    path('swap.onnx'),
    '--data',
    path('table.csv'),
    '-q',
    '-o',
    '-',
  ]);
  expect([code, out]).toEqual([0, all]);
  const again = await runCli([
    'run',
    path('swap.onnx'),
    '--data',
    path('table.csv'),
    '-o',
    path('t.csv'),
    '--batch',
    '1',
  ]);
  expect([again.code, readFileSync(path('t.csv'), 'utf8')]).toEqual([0, all]);
});

test.each([
  [['--data', 'table.csv'], /pass -o <file>\.csv/],
  [['--data', 'table.csv', '-o', 'x.npz'], /pass -o <file>\.csv/],
  [['--data', 'table.csv', '--random', '-o', 'x.csv'], /--data or --random/],
  [['--random', '--skip-bad-samples'], /--skip-bad-samples goes with --data/],
])('what does not go together: %s', async (args, message) => {
  const { code, err } = await runCli(['run', path('swap.onnx'), ...args]);
  expect(code).toBe(2);
  expect(err).toMatch(message);
});
