import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  diffModels,
  type GraphProto,
  type Model,
  ModelError,
  modelToBytes,
  OptionError,
  readModel,
  Tensor,
  ValueInfo,
} from '../../src/graph/index.js';
import { expand } from '../../src/passes/expand/expand.js';
import type { RuntimeTensor } from '../../src/runtime/index.js';
import { splitDataset, tensorDataset } from '../../src/training/data/index.js';
import { DivergenceError } from '../../src/training/divergence.js';
import type { EpochRecord, TrainEvent } from '../../src/training/events.js';
import type { TrainOptions } from '../../src/training/options.js';
import { planTraining } from '../../src/training/plan.js';
import { type Training, type TrainResult, train } from '../../src/training/train.js';
import { CNN, MLP } from '../passes/gradient/networks.js';
import { scratchDirectory } from '../support/scratch-directory.js';
import { blobs } from './blobs.js';

const directory = scratchDirectory('train');
let count = 0;
function folder(): string {
  count += 1;
  return join(directory, String(count));
}

const mlp = (): Model => MLP('float32');
const data = (model: Model, seed = 0, size = 100) => blobs(model, { size, classes: 4, seed, spread: 0.7 });

async function eventsOf(training: Training): Promise<TrainEvent[]> {
  const events: TrainEvent[] = [];
  for await (const event of training) events.push(event);
  return events;
}

/** Trains until a number of chunks is done, and stops then. */
async function stoppedAfter(chunks: number, model: Model, options: TrainOptions): Promise<TrainResult> {
  const controller = new AbortController();
  const training = train(model, data(model), { ...options, signal: controller.signal });
  let seen = 0;
  for await (const event of training) {
    if (event.kind === 'progress') seen += 1;
    if (seen === chunks) controller.abort();
  }
  return training.result();
}

/** Everything but the clock. */
function figures(history: readonly EpochRecord[]): unknown {
  return history.map(({ seconds: _, ...rest }) => rest);
}

const bytesOf = (model: Model): Buffer => Buffer.from(modelToBytes(model));

const CASES: readonly [string, () => Model, TrainOptions][] = [
  ['MLP with Adam', mlp, { learningRate: 0.02, emaDecay: 0.9, warmup: 0.5 }],
  [
    'CNN with BatchNormalization and SGD',
    CNN,
    {
      optimizer: 'sgd',
      optimizerOptions: { momentum: 0.9, nesterov: true },
      clipNorm: 1,
      weightDecay: 0.01,
      learningRate: 0.05,
    },
  ],
];

describe.each(CASES)('%s', (_, build, options) => {
  const all = (model: Model): TrainOptions => ({
    batch: 8,
    epochs: 4,
    seed: 3,
    validation: data(model, 1),
    ...options,
  });

  test('learns, and changes nothing of the model but weights', async () => {
    const model = build();
    const before = await readModel(modelToBytes(model));
    const training = train(model, data(model), all(model));
    const events = await eventsOf(training);
    const result = await training.result();
    expect(result.model).toBe(model);
    const [first, last] = [result.history[0]!, result.history.at(-1)!];
    expect(last.validation!.loss).toBeLessThan(0.9 * first.validation!.loss);
    expect(last.training!.loss).toBeLessThan(0.9 * result.history[1]!.training!.loss);
    expect(last.training!.curve).toHaveLength(12);
    expect(events[0]?.kind).toBe('start');
    expect(events.at(-1)).toMatchObject({
      kind: 'done',
      summary: { reason: 'epochs', epochs: 4, steps: 48 },
    });
    const changed = diffModels(before, model).map(({ path }) => path);
    expect(changed.length).toBeGreaterThan(0);
    for (const path of changed) expect(path).toMatch(/^graph\.initializer\['.*'\]/);
    expect(diffModels(before, model, { weights: 'ignore' })).toEqual([]);
  });

  test('stopped at the end of an epoch or in the middle, and resumed, ends in the same bits', async () => {
    const whole = build();
    const through = await train(whole, data(whole), all(whole)).result();
    for (const chunks of [1, 5]) {
      const checkpoint = { directory: folder() };
      const first = await stoppedAfter(chunks, build(), { ...all(whole), checkpoint });
      expect(first.reason).toBe('aborted');
      expect(first.steps).toBeGreaterThan(0);
      expect(first.steps).toBeLessThan(48);
      const model = build();
      const rest = train(model, data(model), { ...all(whole), checkpoint, resume: true });
      const [start] = await eventsOf(rest);
      expect(start).toMatchObject({ kind: 'start', resumed: { step: first.steps } });
      expect(Buffer.compare(bytesOf(model), bytesOf(whole))).toBe(0);
      const { history } = await rest.result();
      expect(figures(history)).toEqual(figures(through.history));
    }
  });
});

test.each([
  'lbfgs',
  'cma-es',
  'random-search',
] as const)('%s: two epochs and three more are five', async (optimizer) => {
  const checkpoint = { directory: folder() };
  const five = mlp();
  await train(five, data(five), { optimizer, epochs: 5 }).result();
  await train(mlp(), data(five), { optimizer, epochs: 2, checkpoint }).result();
  const model = mlp();
  const options = { optimizer, epochs: 5, checkpoint, resume: true } as const;
  const { history } = await train(model, data(model), options).result();
  expect(history.map(({ step }) => step)).toEqual([0, 1, 2, 3, 4, 5]);
  expect(history.at(-1)!.training!.loss).toBeLessThan(history[1]!.training!.loss);
  expect(Buffer.compare(bytesOf(model), bytesOf(five))).toBe(0);
  const validated = await train(mlp(), data(five), {
    optimizer,
    epochs: 1,
    validation: data(five, 1),
  }).result();
  expect(validated.history.at(-1)!.validation).toMatchObject({ loss: expect.any(Number) });
});

test('two epochs and two more are four, where the schedule is constant', async () => {
  const model = mlp();
  const base = { batch: 8, schedule: { kind: 'constant' }, validation: data(model, 1) } as const;
  const checkpoint = { directory: folder() };
  const four = mlp();
  await train(four, data(four), { ...base, epochs: 4 }).result();
  await train(mlp(), data(model), { ...base, epochs: 2, checkpoint }).result();
  const { history } = await train(model, data(model), {
    ...base,
    epochs: 4,
    checkpoint,
    resume: true,
  }).result();
  expect(history.map(({ epoch }) => epoch)).toEqual([0, 1, 2, 3, 4]);
  expect(Buffer.compare(bytesOf(model), bytesOf(four))).toBe(0);
});

test('the result has the weights of the best epoch, and patience ends the training', async () => {
  const model = mlp();
  // So high a rate that the loss goes up and down.
  const options = { batch: 10, epochs: 30, learningRate: 0.3, patience: 3, validation: data(model, 1) };
  const training = train(model, data(model), { ...options, monitor: 'loss' });
  const improved = (await eventsOf(training)).filter((event) => event.kind === 'improved');
  const { reason, history, best, epochs } = await training.result();
  expect(reason).toBe('patience');
  const losses = history.slice(1).map(({ validation }) => validation!.loss);
  expect(best?.validation?.loss).toBe(Math.min(...losses));
  expect(epochs).toBe(best!.epoch + 3);
  expect(improved.at(-1)).toMatchObject({ epoch: best!.epoch, value: best!.validation!.loss });
  // Trained no further, the model computes that very loss.
  const again = await train(model, data(model), { ...options, epochs: 1, monitor: 'loss' }).result();
  expect(again.history[0]?.validation?.loss).toBeCloseTo(best!.validation!.loss, 5);
});

test('globs choose what is trained; the rest stays to the bit', async () => {
  const model = mlp();
  const before = new Map([...model.graph.initializers].map(([name, tensor]) => [name, [...tensor.floats()]]));
  const options = { epochs: 1, batch: 8, only: ['w*'], freeze: ['w2'] };
  const plan = planTraining(model, data(model), options);
  expect(plan.weights.map(({ name }) => name)).toEqual(['w1', 'w3']);
  expect(plan.frozen).toEqual(['b1', 'w2', 'b2', 'b3']);
  const { history } = await train(model, data(model), options).result();
  for (const [name, numbers] of before) {
    const isSame = [...model.graph.initializers.get(name)!.floats()].every((x, i) => x === numbers[i]);
    expect(isSame, name).toBe(!['w1', 'w3'].includes(name));
  }
  expect(history.at(-1)?.ranks.map(({ weight }) => weight)).toEqual(['w1', 'w3']);
});

test('ranks of an expanded model are those of its chains, too', async () => {
  const model = mlp();
  await model.apply(expand({ depth: 2 }));
  const { history } = await train(model, data(model), { epochs: 1, batch: 8 }).result();
  for (const { ranks } of history) {
    expect(ranks.map(({ role }) => role)).toEqual([
      'product',
      'factor',
      'factor',
      'product',
      'factor',
      'factor',
      'product',
      'factor',
      'factor',
    ]);
    expect(ranks.filter(({ role }) => role === 'product').map(({ weight }) => weight)).toEqual([
      'w1',
      'w2',
      'w3',
    ]);
  }
});

test('from scratch: other weights than the model has, the same for the same seed', async () => {
  const start = async (seed: number, source = mlp()): Promise<Buffer> => {
    await train(source, data(source), {
      epochs: 1,
      batch: 100,
      learningRate: 0,
      fromScratch: true,
      seed,
    }).result();
    return bytesOf(source);
  };
  const other = mlp();
  other.graph.setInitializer(Tensor.of('w1', 'float32', [12, 16], new Float32Array(192)));
  expect(Buffer.compare(await start(1), await start(1, other))).toBe(0);
  expect(Buffer.compare(await start(1), await start(2))).not.toBe(0);
});

test('a matrix that is one number throughout is told, unless training begins from scratch', () => {
  const model = mlp();
  model.graph.setInitializer(
    Tensor.of(
      'w2',
      'float32',
      model.graph.initializers.get('w2')!.shape,
      new Float32Array(model.graph.initializers.get('w2')!.size).fill(0.1),
    ),
  );
  expect(planTraining(model, data(model)).filled).toEqual(['w2']);
  expect(planTraining(model, data(model), { fromScratch: true }).filled).toEqual([]);
});

test('a training that diverges names the step and the layer, and leaves the model as it was', async () => {
  const model = mlp();
  const bytes = bytesOf(model);
  const training = train(model, data(model), { optimizer: 'sgd', learningRate: 1e38, batch: 8, epochs: 3 });
  const error = await training.result().then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(DivergenceError);
  expect((error as DivergenceError).step).toBeGreaterThan(1);
  const { message, origin, weight } = error as DivergenceError;
  expect(message).toMatch(
    /^node '(.*)': training diverged in step \d \(epoch 1\): the first value that is not finite is '\1', which Gemm computes;/,
  );
  expect(origin).toMatchObject({ kind: 'forward', opType: 'Gemm' });
  expect(weight).toBe('w1');
  expect(Buffer.compare(bytesOf(model), bytes)).toBe(0);
  await expect(training.result()).rejects.toBe(error);
});

test('soft targets: probabilities that are 1 and 0 train as labels do, to the bit', async () => {
  const size = 40;
  const x = {
    type: 'float32',
    shape: [size, 12],
    data: Float32Array.from({ length: 12 * size }, (_, i) => Math.sin(i)),
  } as const;
  const labels = Array.from({ length: size }, (_, i) => i % 5);
  const hot = labels.flatMap((label) => Array.from({ length: 5 }, (_, of) => (of === label ? 1 : 0)));
  const weights = async (y: RuntimeTensor, options: TrainOptions = {}, from = {}): Promise<Buffer> => {
    const model = mlp();
    const samples = tensorDataset({ x, y }, from);
    await train(model, samples, { loss: 'cross-entropy', batch: 8, epochs: 2, ...options }).result();
    return bytesOf(model);
  };
  const hard = { type: 'int64', shape: [size], data: BigInt64Array.from(labels, BigInt) } as const;
  const soft = { type: 'float32', shape: [size, 5], data: Float32Array.from(hot) } as const;
  const whole = { type: 'int64', shape: [size, 5], data: BigInt64Array.from(hot, BigInt) } as const;
  const expected = await weights(hard);
  expect(Buffer.compare(await weights(soft), expected)).toBe(0);
  expect(Buffer.compare(await weights(whole, {}, { targetType: 'value' }), expected)).toBe(0);
  const model = mlp();
  (model.proto.graph as GraphProto).output = [ValueInfo.tensor('y', 'float32', ['n', 5]).proto];
  const declared = await readModel(modelToBytes(model));
  await expect(train(declared, tensorDataset({ x, y: whole })).result()).rejects.toThrow(
    "the target 'y' is int64[5] a sample, but a label is one number",
  );
});

test('a sample that is no number is named, in the training and in the validation data', async () => {
  const model = mlp();
  const size = 60;
  const x = Float32Array.from({ length: 12 * size }, (_, i) => Math.sin(i));
  x[12 * 41 + 3] = Number.NaN;
  const spoilt = tensorDataset({
    x: { type: 'float32', shape: [size, 12], data: x },
    y: { type: 'int64', shape: [size], data: new BigInt64Array(size) },
  });
  const said = 'sample 41 of the data (from 0) has NaN or infinite values, in x';
  await expect(train(model, spoilt, { batch: 6, epochs: 1 }).result()).rejects.toThrow(said);
  await expect(train(model, data(model), { batch: 6, validation: spoilt }).result()).rejects.toThrow(said);
  // By its number in the data, whatever part of it that is in.
  const parts = splitDataset(spoilt, 0.5, 2);
  const results = await Promise.allSettled(parts.map((part) => train(mlp(), part, { batch: 6 }).result()));
  const reasons = results.flatMap((result) => (result.status === 'rejected' ? [String(result.reason)] : []));
  expect(reasons).toEqual([expect.stringContaining(said)]);
});

test('a loop that is left early ends the training', async () => {
  const model = mlp();
  const training = train(model, data(model), { batch: 8 });
  for await (const event of training) if (event.kind === 'progress') break;
  await expect(training.result()).rejects.toThrow('the training was left before its end');
});

describe('is refused', () => {
  const refused = async (
    options: TrainOptions,
    message: string | RegExp,
    kind: typeof ModelError | typeof OptionError = ModelError,
  ): Promise<void> => {
    const model = mlp();
    const error = await train(model, data(model), { batch: 8, epochs: 1, ...options })
      .result()
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(kind);
    expect((error as Error).message).toMatch(message);
  };

  test.each<[string, TrainOptions, string]>([
    ['a glob that matches nothing', { freeze: ['conv*'] }, "freeze: 'conv*' matches no trainable weight"],
    ['everything frozen', { freeze: ['*'] }, 'nothing is left to train'],
  ])('%s', (_, options, message) => refused(options, message));

  test.each<[string, TrainOptions, string]>([
    ['no epochs', { epochs: 0 }, 'epochs must be an integer ≥ 1 and ≤ 1000000, is 0'],
    ['half a sample', { batch: 0.5 }, 'batch must be an integer'],
    ['a warm-up longer than the training', { warmup: 2 }, 'warmup must be below the 1 epochs, is 2'],
    ['a search by batches', { optimizer: 'lbfgs', batch: 10 }, 'batch must be left out: lbfgs takes all 100'],
    [
      'a search with a schedule',
      { optimizer: 'cma-es', batch: undefined, schedule: { kind: 'cosine' } },
      'schedule must be',
    ],
    [
      'a search of averages',
      { optimizer: 'lbfgs', batch: undefined, emaDecay: 0.9 },
      'emaDecay cannot be used with lbfgs',
    ],
    ['an unknown loss', { loss: 'hinge' as never }, 'loss must be one of cross-entropy'],
    ['an unknown optimizer', { optimizer: 'adan' as never }, 'optimizer must be one of sgd, adam'],
    ['no place to go on from', { resume: true }, 'resume needs the directory of the checkpoint'],
    ['a decay of 1', { emaDecay: 1 }, 'emaDecay must be a number ≥ 0 and < 1'],
  ])('an option out of range: %s', (_, options, message) => refused(options, message, OptionError));

  test('a directory without a checkpoint, with a damaged one, or with one of other settings', async () => {
    const empty = folder();
    await refused({ resume: true, checkpoint: { directory: empty } }, 'has no checkpoint to go on from');
    mkdirSync(empty);
    writeFileSync(join(empty, 'checkpoint.json'), '{"kind": "onnx-ov');
    await refused({ resume: true, checkpoint: { directory: empty } }, 'is damaged: it is not JSON');
    const model = mlp();
    const checkpoint = { directory: folder() };
    await train(model, data(model), { batch: 8, epochs: 1, checkpoint }).result();
    await refused({ resume: true, checkpoint, learningRate: 0.5 }, 'learningRate was 0.001 and is 0.5');
    await refused(
      { resume: true, checkpoint, freeze: ['w2', 'b*'] },
      "other weights are trained: 'b1' and 3 more no longer",
    );
    await refused(
      { resume: true, checkpoint, validation: data(model, 1) },
      'it was validated on 0 samples and would be on 100',
    );
    const said = async (other: Model, samples = data(other)): Promise<string> =>
      train(other, samples, { batch: 8, epochs: 1, checkpoint, resume: true })
        .result()
        .then(String, (error: Error) => error.message);
    expect(await said(model, data(model, 0, 90))).toMatch('the data had 100 samples and has 90');
    expect(await said(CNN())).toMatch("the model is another: the checkpoint has the weight 'w1', and it has");
    const other = mlp();
    other.graph.setInitializer(Tensor.of('b1', 'float32', [1, 16], new Float32Array(16)));
    expect(await said(other)).toMatch("the weight 'b1' was float32[16] and is float32[1, 16]");
    const [state] = readdirSync(checkpoint.directory).filter((name) => name.startsWith('state-'));
    const file = join(checkpoint.directory, state!);
    const [bytes, index] = [readFileSync(file), join(checkpoint.directory, 'checkpoint.json')];
    writeFileSync(file, bytes.subarray(0, -1));
    await refused({ resume: true, checkpoint, epochs: 2 }, 'is damaged: it is cut short');
    const flipped = Buffer.from(bytes);
    flipped[flipped.length - 1] = (flipped.at(-1) ?? 0) ^ 1;
    writeFileSync(file, flipped);
    await refused({ resume: true, checkpoint, epochs: 2 }, 'is damaged or of another checkpoint');
    writeFileSync(file, bytes);
    const text = readFileSync(index, 'utf8');
    const saved = JSON.parse(text) as { readonly tally: object; readonly settings: object };
    for (const tally of [{ epoch: -1 }, { epoch: 0 }, { step: -1 }, { step: 1.5 }, { epoch: 1e300 }]) {
      writeFileSync(index, JSON.stringify({ ...saved, tally: { ...saved.tally, ...tally } }));
      await refused({ resume: true, checkpoint, epochs: 2 }, 'is damaged: it has no position');
    }
    for (const change of [
      { tally: { ...saved.tally, seconds: -1 } },
      { history: [] },
      { digest: undefined },
    ]) {
      writeFileSync(index, JSON.stringify({ ...saved, ...change }));
      await refused({ resume: true, checkpoint, epochs: 2 }, 'is damaged: it was changed');
    }
    for (const name of ['constructor', '__proto__', 'toString']) {
      const settings = JSON.stringify(saved.settings).replace('{', `{"${name}": 1,`);
      const { digest: _, ...rest } = JSON.parse(
        JSON.stringify({ ...saved, settings: 0 }).replace('"settings":0', `"settings":${settings}`),
      );
      const digest = createHash('sha256')
        .update(JSON.stringify(rest, undefined, 1))
        .digest('hex');
      writeFileSync(index, JSON.stringify({ ...rest, digest }));
      await refused({ resume: true, checkpoint, epochs: 2 }, `${name} was 1 and is none`);
    }
  });
});
