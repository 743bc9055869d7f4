import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { diffModels, readModel, saveModel } from '../../src/graph/index.js';
import { Random, writeNpz } from '../../src/runtime/index.js';
import { MLP } from '../passes/gradient/networks.js';
import { scratchDirectory } from '../support/scratch-directory.js';

const MAIN = resolve('dist/bin/onnx-overparam.js');
const directory = scratchDirectory('cli-train');
const path = (name: string): string => join(directory, name);

/** Classes that lie around a mean each, in an .npz file. */
function samples(count: number, seed: number): Uint8Array {
  const random = new Random(seed, 'samples');
  const x = new Float32Array(count * 12);
  const y = new BigInt64Array(count);
  for (let sample = 0; sample < count; sample += 1) {
    const label = random.integer(5);
    const mean = new Random('mean', `${label}`);
    y[sample] = BigInt(label);
    for (let i = 0; i < 12; i += 1) x[12 * sample + i] = mean.normal() + 0.5 * random.normal();
  }
  return writeNpz({
    x: { type: 'float32', shape: [count, 12], data: x },
    y: { type: 'int64', shape: [count], data: y },
  });
}

beforeAll(async () => {
  await saveModel(MLP('float32'), path('net.onnx'));
  writeFileSync(path('data.npz'), samples(640, 1));
  writeFileSync(path('other.npz'), samples(100, 2));
});

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function start(
  args: readonly string[],
  onError?: (text: string, child: ChildProcess) => void,
): Promise<Outcome> {
  return new Promise((done) => {
    const child = spawn(process.execPath, [MAIN, ...args], { cwd: directory });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
      onError?.(stderr, child);
    });
    child.on('close', (code) => done({ code, stdout, stderr }));
    child.stdin.end();
  });
}

const train = (...args: readonly string[]): Promise<Outcome> => start(['train', ...args]);

test('trains, writes model, log and page, and says how it went', async () => {
  const { code, stdout, stderr } = await train(
    'net.onnx',
    '--data',
    'data.npz',
    '-o',
    'out.onnx',
    '--epochs',
    '3',
    '--lr',
    '0.01',
    '--log',
    'log.jsonl',
    '--html',
    'log.html',
  );
  expect(stderr.split('\n')[0]?.trim().split(/ {2,}/)).toEqual([
    'epoch',
    'train loss',
    'right',
    'val. loss',
    'right',
    'rate',
    'eff.rank',
    'time',
  ]);
  expect(stderr.trim().split('\n')).toHaveLength(5);
  expect(stdout).toContain('3 epochs, 27 steps');
  expect(stdout).toMatch(/epoch \d, validation: \d+\.\d% right of 64 samples/);
  expect(stdout).toContain('written to out.onnx');
  expect(code).toBe(0);
  const [before, after] = [await readModel(path('net.onnx')), await readModel(path('out.onnx'))];
  expect(diffModels(before, after).map(({ path: place }) => place.replace(/'.*/, ''))).not.toHaveLength(0);
  expect(diffModels(before, after, { weights: 'ignore' })).toEqual([]);
  const events = readFileSync(path('log.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { event: string });
  expect(events[0]?.event).toBe('start');
  expect(events.filter(({ event }) => event === 'epoch')).toHaveLength(4);
  expect(events.at(-1)?.event).toBe('done');
  expect(readFileSync(path('log.html'), 'utf8')).toContain('<title>Training: net.onnx</title>');
  expect(existsSync(path('out.onnx.checkpoint'))).toBe(false);
  const page = await start(['train-log', 'log.jsonl', '-o', 'drawn.html']);
  expect(page).toEqual({ code: 0, stdout: '', stderr: '' });
  expect(readFileSync(path('drawn.html'), 'utf8')).toContain('<title>Training: log.jsonl</title>');
});

test('JSON has the history; test samples of another file are not trained on', async () => {
  const { code, stdout } = await train(
    'net.onnx',
    '--data',
    'data.npz',
    '--val',
    'other.npz',
    '-o',
    'json.onnx',
    '--epochs',
    '1',
    '--format',
    'json',
    '--quiet',
    '--skip-ranks',
  );
  expect([code, (JSON.parse(stdout) as { kind: string; steps: number }).kind]).toEqual([0, 'train']);
  const told = await train(
    'net.onnx',
    '--data',
    'data.npz',
    '--val',
    'other.npz',
    '-o',
    'json2.onnx',
    '--epochs',
    '1',
    '--format',
    'json',
  );
  const report = JSON.parse(told.stdout) as { history: { epoch: number; validation: { samples: number } }[] };
  expect(report.history.map(({ epoch, validation }) => [epoch, validation.samples])).toEqual([
    [0, 100],
    [1, 100],
  ]);
});

test('an expanded model is trained and folded at once', async () => {
  expect((await start(['expand', 'net.onnx', '-o', 'deep.onnx', '--depth', '3', '-q'])).code).toBe(0);
  const { code, stdout } = await train(
    'deep.onnx',
    '--data',
    'data.npz',
    '-o',
    'flat.onnx',
    '--epochs',
    '1',
    '--collapse',
  );
  expect(code).toBe(0);
  expect(stdout).toContain('product');
  const [before, after] = [await readModel(path('net.onnx')), await readModel(path('flat.onnx'))];
  expect(after.graph.nodes.map(({ opType }) => opType)).toEqual(
    before.graph.nodes.map(({ opType }) => opType),
  );
});

test('a teacher and no labels', async () => {
  const { code, stdout } = await train(
    'net.onnx',
    '--data',
    'data.npz',
    '-o',
    'student.onnx',
    '--from-scratch',
    '--teacher',
    'out.onnx',
    '--temperature',
    '2',
    '--epochs',
    '6',
    '--lr',
    '0.01',
  );
  expect(code).toBe(0);
  expect(Number(/validation: (\d+\.\d)% right/.exec(stdout)?.[1])).toBeGreaterThan(60);
});

test('a teacher on data without labels', async () => {
  const count = 200;
  const x = new Random(5, 'unlabeled').fillNormal(new Float64Array(count * 12));
  writeFileSync(
    path('unlabeled.npz'),
    writeNpz({ x: { type: 'float32', shape: [count, 12], data: Float32Array.from(x) } }),
  );
  const args = ['net.onnx', '--data', 'unlabeled.npz', '--from-scratch', '--epochs', '8', '--lr', '0.01'];
  const { code, stdout } = await train(
    ...args,
    '-o',
    'taught.onnx',
    '--teacher',
    'out.onnx',
    '--format',
    'json',
  );
  expect(code).toBe(0);
  const { history } = JSON.parse(stdout) as { history: { validation: { loss: number } }[] };
  expect(history.at(-1)!.validation.loss).toBeLessThan(0.9 * history[0]!.validation.loss);
  const refused = await train(...args, '-o', 'untaught.onnx');
  expect(refused.code).not.toBe(0);
  expect(refused.stderr).toMatch(/no targets|no labels|target/);
});

test('a pruned training says the ranks that it ends with', async () => {
  const { code, stdout } = await train(
    ...['net.onnx', '--data', 'data.npz', '-o', 'pruned.onnx', '--epochs', '2', '--lr', '0.01'],
    ...['--trp', '--trp-energy', '0.3', '--trp-interval', '4', '--nuclear', '0.01'],
  );
  expect(code).toBe(0);
  expect(stdout).toMatch(/w1 has rank [1-9] of 12/);
});

test('Ctrl-C finishes the steps under way, saves, and --resume goes on to the same bytes', async () => {
  const options = ['net.onnx', '--data', 'data.npz', '--epochs', '30', '--lr', '0.01', '--skip-ranks'];
  const whole = await train(...options, '-o', 'whole.onnx');
  expect(whole.code).toBe(0);
  let sent = false;
  const stopped = await start(
    ['train', ...options, '-o', 'again.onnx', '--log', 'again.jsonl'],
    (text, child) => {
      if (sent || text.split('\n').length < 6) return;
      sent = true;
      child.kill('SIGINT');
    },
  );
  expect(stopped.code).toBe(130);
  expect(stopped.stderr).toMatch(
    /stopped in epoch \d+ after \d+ steps; its state is in again.onnx.checkpoint; --resume goes on from there/,
  );
  expect(existsSync(path('again.onnx'))).toBe(false);
  expect(readdirSync(path('again.onnx.checkpoint')).sort()).toContain('checkpoint.json');
  const refused = await train(...options, '-o', 'again.onnx');
  expect([refused.code, refused.stderr]).toEqual([
    2,
    expect.stringContaining('pass --resume to go on from it, or --overwrite'),
  ]);
  const resumed = await train(...options, '-o', 'again.onnx', '--log', 'again.jsonl', '--resume');
  expect(resumed.code).toBe(0);
  expect(Buffer.compare(readFileSync(path('again.onnx')), readFileSync(path('whole.onnx')))).toBe(0);
  expect(existsSync(path('again.onnx.checkpoint'))).toBe(false);
  const log = readFileSync(path('again.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { event: string; epoch: number });
  const epochs = log.filter(({ event }) => event === 'epoch').map(({ epoch }) => epoch);
  expect(epochs).toEqual(Array.from({ length: 31 }, (_, epoch) => epoch));
}, 60_000);

describe('a dry run', () => {
  test('says what would be trained, and writes nothing', async () => {
    const { code, stdout } = await train('net.onnx', '--data', 'data.npz', '--dry-run', '--freeze', 'b*');
    expect(code).toBe(0);
    expect(stdout).toContain('3 weights, 528 parameters; 3 weights frozen');
    expect(stdout).toContain('576 samples, 64 to validate; 10 epochs of 9 steps of 64 samples');
    expect(stdout).toMatch(/one step is a graph of \d+ nodes of \d+ operators/);
  });
});

describe('wrong options: exit 2 and what to do', () => {
  test.concurrent.each<[string[], string]>([
    [
      ['--data', 'data.npz', '-o', 'x.onnx', '--epochs', '0'],
      '--epochs must be an integer ≥ 1 and ≤ 1000000, is 0',
    ],
    [
      ['--data', 'data.npz', '-o', 'x.onnx', '--momentum', '0.9'],
      '--momentum goes with --optimizer sgd, rmsprop, muon',
    ],
    [
      ['--data', 'data.npz', '-o', 'x.onnx', '--nesterov'],
      '--nesterov goes with --optimizer sgd and --momentum',
    ],
    [['--data', 'data.npz', '-o', 'x.onnx', '--trp-energy', '0.1'], '--trp-energy goes with --trp'],
    [['--data', 'data.npz', '-o', 'x.onnx', '--val', '1.5'], '--val must be a share'],
    [['--data', 'data.npz', '-o', 'x.onnx', '--ema', '1'], '--ema must be a number ≥ 0 and < 1, is 1'],
    [
      ['--data', 'data.npz', '-o', 'x.onnx', '--from-scratch=he'],
      "--from-scratch must be one of kaiming, xavier, normal, uniform, is 'he'",
    ],
    [['--data', 'data.npz', '-o', 'x.onnx', '--temperature', '2'], '--temperature goes with --teacher'],
    [['--data', 'data.npz', '-o', 'x.onnx', '--lr-step', '2'], '--lr-step goes with --schedule step'],
    [
      ['--data', 'data.npz', '-o', 'x.onnx', '--train', 'conv*'],
      "--train 'conv*' matches no trainable weight; there are: w1, b1, w2, b2, w3, b3",
    ],
    [['--data', 'data.npz', '-o', 'x.onnx', '--freeze', 'fc?'], "--freeze 'fc?' matches no trainable weight"],
    [
      ['--data', 'data.npz', '-o', 'x.onnx', '--untie', '*'],
      "--untie '*' matches no weight that layers share; there is none",
    ],
    [['--data', 'data.npz', '-o', 'x.onnx', '--head', '0'], '--head must be an integer ≥ 1, is 0'],
    [['--data', 'data.npz'], 'no output: pass -o <file>'],
    [['-o', 'x.onnx'], 'no data: pass --data'],
    [['--data', 'data.npz', '-o', '-', '--resume'], '--resume needs --checkpoint'],
  ])('%j', async (args, message) => {
    const { code, stdout, stderr } = await train('net.onnx', ...args);
    expect(stderr).toContain(`error: ${message}`);
    expect([code, stdout]).toEqual([2, '']);
  });
});

test('what fails is said in a line, exit 1, and leaves no output', async () => {
  mkdirSync(path('empty'));
  for (const [args, message] of [
    [['--data', 'nothing.npz'], 'nothing.npz: no such file or folder'],
    [['--data', 'empty'], 'empty: holds no data that is read'],
    [['--data', 'data.npz', '--optimizer', 'sgd', '--lr', '1e38'], 'training diverged in step'],
    [['--data', 'data.npz', '--resume'], 'has no checkpoint to go on from'],
    [['--data', 'data.npz', '--log', 'other.npz'], 'other.npz: exists already; pass --overwrite'],
  ] as const) {
    const { code, stdout, stderr } = await train('net.onnx', ...args, '-o', 'failed.onnx');
    expect(stderr).toContain(message);
    expect([code, stdout, existsSync(path('failed.onnx'))]).toEqual([1, '', false]);
  }
});

describe('--diverse', () => {
  const own = ['net.onnx', '--data', 'data.npz', '--epochs', '2', '--diverse', '2', '--seed', '4'];

  test('writes models beside one another, which differ, and compares them; the same seed gives the same bytes', async () => {
    const { code, stdout, stderr } = await train(...own, '-o', 'pair.onnx', '--alignment', '1');
    expect([code, stderr]).toEqual([0, expect.stringContaining('2 models, 18 steps together')]);
    expect(stdout).toContain('pair-2.onnx');
    expect(stdout).toContain('equal decisions');
    expect(existsSync(path('pair.onnx'))).toBe(false);
    const [first, second] = [await readModel(path('pair-1.onnx')), await readModel(path('pair-2.onnx'))];
    expect(diffModels(first, second)).not.toEqual([]);
    await train(...own, '-o', 'again.onnx', '--alignment', '1', '-q');
    for (const index of [1, 2])
      expect(readFileSync(path(`again-${index}.onnx`)).equals(readFileSync(path(`pair-${index}.onnx`)))).toBe(
        true,
      );
  });

  test.each([
    [['-o', 'x.onnx', '--resume'], '--resume goes without --diverse'],
    [['-o', 'x.onnx', '--trp'], '--trp goes without --diverse'],
    [['-o', 'x.onnx', '--patience', '2'], '--patience goes without --diverse'],
    [['-o', 'x.onnx', '--teacher', 'net.onnx'], '--teacher goes without --diverse'],
    [['-o', '-'], '--diverse writes several files: pass -o <file>'],
    [['-o', 'taken.onnx'], 'taken-2.onnx: exists already; pass --overwrite'],
  ])('%j is refused: %s', async (args, message) => {
    writeFileSync(path('taken-2.onnx'), 'somebody else');
    const { code, stderr } = await train(...own, ...args);
    // A file that is there is no word of the command line.
    expect([code, stderr]).toEqual([message.includes('exists') ? 1 : 2, expect.stringContaining(message)]);
    expect(readFileSync(path('taken-2.onnx'), 'utf8')).toBe('somebody else');
    expect(existsSync(path('taken-1.onnx'))).toBe(false);
  });

  test('--alignment alone is refused', async () => {
    const { code, stderr } = await train(
      'net.onnx',
      '--data',
      'data.npz',
      '-o',
      'x.onnx',
      '--alignment',
      '1',
    );
    expect([code, stderr]).toEqual([2, expect.stringContaining('--alignment goes with --diverse')]);
  });
});
