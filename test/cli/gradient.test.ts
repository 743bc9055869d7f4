import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run } from '../../src/cli/run.js';
import { check, readModel, saveModel } from '../../src/graph/index.js';
import { openSession, randomInputs } from '../../src/runtime/index.js';
import { CNN, MLP } from '../passes/gradient/networks.js';
import { buildModel, floats } from '../support/build.js';

let directory = '';
const path = (name: string): string => join(directory, name);

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'onnx-overparam-gradient-'));
  await saveModel(MLP('float32'), path('mlp.onnx'));
  await saveModel(CNN(), path('cnn.onnx'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Without what changes with the directory and with how gradients are written. */
const anonymous = (text: string): string => text.replace(directory, '').replace(/[\d,]+ nodes/g, 'N nodes');

async function cli(...args: readonly string[]) {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const code = await run(args, { stdin, stdout, stderr, env: { COLUMNS: '100' } });
  const text = (stream: PassThrough): string => (stream.read() as Buffer | null)?.toString() ?? '';
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

test('writes a graph that runs, and says what goes in and comes out', async () => {
  const { code, stdout, stderr } = await cli(
    'gradient',
    path('mlp.onnx'),
    '--batch',
    '3',
    '-o',
    path('step.onnx'),
  );
  expect([code, stderr]).toEqual([0, '']);
  expect(anonymous(stdout)).toMatchInlineSnapshot(`
    "by  role    shape     elements  output
    ──  ──────  ────────  ────────  ───────
    w1  weight  [12, 16]       192  grad/w1
    b1  weight  [16]            16  grad/b1
    w2  weight  [16, 16]       256  grad/w2
    b2  weight  [16]            16  grad/b2
    w3  weight  [16, 5]         80  grad/w3
    b3  weight  [5]              5  grad/b3

    Takes 'x' float32 [3, 12], the target 'target' int64 [3].
    The weights are inputs by their names (6), to be fed step by step.
    Gives the loss 'loss' (cross-entropy), the prediction 'y' and 6 tensors as above.
    N nodes compute the gradient of the loss by 565 parameters.
    Written to /step.onnx.
    "
  `);
  const step = await readModel(path('step.onnx'));
  expect(check(step)).toEqual([]);
  await using session = await openSession(step);
  const results = await session.run(randomInputs(step));
  expect(Object.keys(results)).toContain('grad/w1');
  expect(results['grad/w1']!.shape).toEqual([12, 16]);
});

test('--wrt, --freeze, --weights and the loss choose what the graph has', async () => {
  const args = ['gradient', path('cnn.onnx'), '--dry-run', '--format', 'json', '--batch', '2'] as const;
  const json = async (...more: readonly string[]) => JSON.parse((await cli(...args, ...more)).stdout);
  const all = await json();
  expect(all).toMatchObject({
    output: null,
    loss: { kind: 'cross-entropy' },
    weightsAre: 'inputs',
    unreached: [],
  });
  const byRole = (role: string, from: typeof all): string[] =>
    from.gradients
      .filter((row: { role: string }) => row.role === role)
      .map((row: { name: string }) => row.name);
  expect(byRole('running statistic', all)).toEqual(['m1', 'v1', 'm2', 'v2']);
  expect(byRole('weight', all)).toHaveLength(10);
  const some = await json('--freeze', 'c*', '--freeze', 'g?', '--batch-norm', 'inference');
  expect(byRole('weight', some)).toEqual(['h1', 'h2', 'b3', 'w', 'b']);
  expect(byRole('running statistic', some)).toEqual([]);
  const image = await json('--wrt', 'x', '--loss', 'sum', '--weights', 'constants');
  expect(image.gradients[0]).toMatchObject({ name: 'x', role: 'input', shape: [2, 2, 9, 9] });
  expect(image).toMatchObject({ weightsAre: 'constants', target: null });
  const soft = await json('--soft-targets', '--smoothing', '0.1');
  expect(soft.inputs.find(({ name }: { name: string }) => name === soft.target)).toMatchObject({
    type: 'float32',
    shape: [2, 4],
  });
});

test('--training-info writes the model with an algorithm in it', async () => {
  const { code, stdout, stderr } = await cli(
    'gradient',
    path('cnn.onnx'),
    '--batch',
    '4',
    '--training-info',
    '--optimizer',
    'sgd',
    '--momentum',
    '0.9',
    '-o',
    path('trainable.onnx'),
  );
  expect([code, stderr]).toEqual([0, '']);
  expect(anonymous(stdout)).toMatchInlineSnapshot(`
    "updated         where      shape
    ──────────────  ─────────  ────────────
    c1              model      [6, 2, 3, 3]
    g1              model      [6]
    h1              model      [6]
    c2              model      [6, 1, 3, 3]
    g2              model      [6]
    h2              model      [6]
    c3              model      [8, 6, 1, 1]
    b3              model      [8]
    w               model      [4, 8]
    b               model      [4]
    m1              model      [6]
    v1              model      [6]
    m2              model      [6]
    v2              model      [6]
    momentum/c1     algorithm  [6, 2, 3, 3]
    momentum/g1     algorithm  [6]
    momentum/h1     algorithm  [6]
    momentum/c2     algorithm  [6, 1, 3, 3]
    momentum/g2     algorithm  [6]
    momentum/h2     algorithm  [6]
    momentum/c3     algorithm  [8, 6, 1, 1]
    momentum/b3     algorithm  [8]
    momentum/w      algorithm  [4, 8]
    momentum/b      algorithm  [4]
    training/steps  algorithm  []

    The model was raised from operator set 17 to 18.
    The algorithm (cross-entropy, sgd) has N nodes and takes over what 1 node of the model compute.
    It takes the model's inputs and 'target'; the learning rate is the initializer 'learning_rate'.
    Sizes are baked in: feed the batch that it was made for.
    Written to /trainable.onnx.
    "
  `);
  const model = await readModel(path('trainable.onnx'));
  expect(check(model)).toEqual([]);
  expect(model.proto.training_info).toHaveLength(1);
});

describe('wrong options: exit 2 and what to do', () => {
  test.each([
    [['--loss', 'mse', '--smoothing', '0.1'], '--smoothing goes with --loss cross-entropy'],
    [['--delta', '2'], '--delta goes with --loss huber'],
    [['--smoothing', '1'], '--smoothing must be a number ≥ 0 and < 1, is 1'],
    [['--lr', '0.1'], '--lr goes with --training-info'],
    [['--weight-decay', '0.1'], '--weight-decay goes with --training-info'],
    [['--training-info', '--weights', 'constants'], '--weights goes without --training-info'],
    [
      ['--training-info', '--optimizer', 'adam', '--momentum', '0.9'],
      '--momentum goes with --optimizer sgd, rmsprop, muon',
    ],
    [['--training-info', '--nesterov'], '--nesterov goes with --optimizer sgd and --momentum'],
    [['--batch', '0'], '--batch must be an integer ≥ 1, is 0'],
    [['--wrt', ''], "--wrt must be a pattern of names such as 'layer1.*', is ''"],
    [['--loss', 'hinge'], '--loss must be one of'],
  ])('%j', async (args, message) => {
    const { code, stdout, stderr } = await cli('gradient', path('mlp.onnx'), '--dry-run', ...args);
    expect(stderr).toContain(`error: ${message}`);
    expect([code, stdout]).toEqual([2, '']);
  });
});

describe('what does not work: exit 1 and why', () => {
  test('a gradient that a node stops from all of the weights', async () => {
    const model = buildModel({
      inputs: [['x', 'float32', [2, 3]]],
      outputs: [['y', 'float32']],
      nodes: [
        { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['h'] },
        { opType: 'Round', inputs: ['h'], outputs: ['y'], name: '/q' },
      ],
      initializers: [floats('w', [3, 2], (index) => index)],
    });
    await saveModel(model, path('round.onnx'));
    const { code, stdout, stderr } = await cli('gradient', path('round.onnx'), '--loss', 'mse', '--dry-run');
    expect(stderr).toContain("no gradient flows through Round '/q': its derivative is zero");
    expect([code, stdout]).toEqual([1, '']);
  });
  test.each([
    [['--batch', '2', '--freeze', '*'], 'nothing is left to differentiate by'],
    [['--batch', '2', '--prediction', 'z'], "has no output 'z'; its outputs are 'y'"],
    [
      [],
      "dimension 0 of input 'x' is open (batch), and a gradient has fixed sizes; give it with --dim 'batch=16' or --batch 16, say",
    ],
    [['--training-info'], "dimension 0 of input 'x' is open (batch)"],
    [['--batch', '2', '--dim', 'other=2'], "no input has an open dimension 'other'"],
  ])('%j', async (args, message) => {
    const { code, stdout, stderr } = await cli(
      'gradient',
      path('mlp.onnx'),
      '-o',
      path('never.onnx'),
      ...args,
    );
    expect(stderr).toContain(message);
    expect([code, stdout]).toEqual([1, '']);
  });
});
