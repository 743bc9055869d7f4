import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { compress } from '../../src/entries/compress.js';
import { BusyError } from '../../src/entries/graph.js';
import { rankRecipe } from '../../src/entries/passes.js';
import * as verbs from '../../src/index.js';
import { floats } from '../support/build.js';
import { scratchDirectory } from '../support/scratch-directory.js';
import { ROOT } from './surface.js';

const directory = scratchDirectory('calls');

/** Several layers, so that there is something between two of them. */
function sample(scale = 1): verbs.Model {
  const names = ['a', 'b', 'c', 'd'];
  return verbs.buildModel({
    inputs: [['x', 'float32', ['n', 6]]],
    outputs: [['y', 'float32', ['n', 6]]],
    nodes: names.flatMap((name, i) => [
      {
        opType: 'MatMul',
        inputs: [i === 0 ? 'x' : `r${i - 1}`, name],
        outputs: [`h${i}`],
        name: `layer ${name}`,
      },
      { opType: 'Relu', inputs: [`h${i}`], outputs: [i === 3 ? 'y' : `r${i}`] },
    ]),
    initializers: names.map((name, i) => floats(name, [6, 6], (k) => scale * Math.sin(k * (i + 2)))),
  });
}

const x = Float32Array.from({ length: 96 }, (_, i) => Math.sin(i));
const data = (): verbs.Dataset =>
  verbs.tensorDataset({
    x: { type: 'float32', shape: [16, 6], data: x },
    y: { type: 'float32', shape: [16, 6], data: x },
  });

interface Watched {
  readonly signal: AbortSignal;
  readonly onProgress: () => void;
}

/** Every call that may take long, with what ends it and what tells of it. */
const LONG: Readonly<Record<string, (watched: Watched) => Promise<unknown>>> = {
  benchModels: (watched) =>
    verbs.benchModels([{ name: 'a', model: sample() }], { runs: 1, warmup: 0, batches: [1, 2], ...watched }),
  collapse: async (watched) => {
    const model = sample();
    await model.apply(verbs.expand());
    await model.apply(verbs.collapse(watched));
  },
  compareModels: (watched) => verbs.compareModels(sample(), sample(2), watched),
  compress: (watched) =>
    sample().apply(compress({ params: 0.6, data: data(), samples: 8, finetune: 0, ...watched })),
  deltaReport: (watched) => verbs.deltaReport(sample(), sample(2), watched),
  diagnose: (watched) => verbs.diagnose({ providers: ['cpu'], ...watched }),
  embeddingReport: (watched) => verbs.embeddingReport(sample(), { seed: 0 }, { samples: 4, ...watched }),
  evaluateModels: (watched) =>
    verbs.evaluateModels([{ name: 'a', model: sample() }], data(), { batch: 4, ...watched }),
  expand: (watched) => sample().apply(verbs.expand(watched)),
  extractLora: (watched) => verbs.extractLora(sample(), sample(2), { rank: 1, ...watched }),
  rankRecipe: (watched) => rankRecipe(sample(), watched),
  rankReport: (watched) => verbs.rankReport(sample(), watched),
  verifyModels: (watched) => verbs.verifyModels(sample(), sample(), watched),
};

describe.each(Object.entries(LONG))('%s', (_name, call) => {
  test('tells how far it is, and ends with the reason of its signal', async () => {
    const controller = new AbortController();
    const reason = new Error('the caller has had enough');
    const told: number[] = [];
    await expect(call({ signal: AbortSignal.abort(reason), onProgress: () => undefined })).rejects.toBe(
      reason,
    );
    await call({ signal: controller.signal, onProgress: () => void told.push(1) });
    expect(told.length).toBeGreaterThan(0);
  });
});

test('a pass that is ended half way leaves a model that is sound and computes what it did', async () => {
  const model = sample();
  const controller = new AbortController();
  const pass = verbs.expand({
    signal: controller.signal,
    onProgress: ({ done }) => {
      if (done === 2) controller.abort();
    },
  });
  await expect(model.apply(pass)).rejects.toThrow(/aborted/);
  expect(verbs.check(model)).toEqual([]);
  expect((await verbs.verifyModels(sample(), model)).passed).toBe(true);
  await model.apply(verbs.collapse({ chainsOnly: true }));
  expect(model.graph.nodes.length).toBe(8);
});

describe('two calls on one model', () => {
  test('that both edit it: the second is refused, and the first is not disturbed', async () => {
    const model = sample();
    const first = model.apply(verbs.expand());
    await expect(model.apply(verbs.collapse())).rejects.toThrow(BusyError);
    await expect(verbs.train(model, data(), { epochs: 1 }).result()).rejects.toThrow(
      /in the hands of the pass expand/,
    );
    const [account] = await first;
    expect(account.rewritten).toHaveLength(4);
    await expect(model.apply(verbs.collapse())).resolves.toHaveLength(1);
  });

  test('a pass may apply others, and a dry run edits nothing', async () => {
    const model = sample();
    const both: verbs.Pass<unknown> = {
      name: 'both',
      inPlace: true,
      run: async (given) => given.apply(verbs.expand(), verbs.collapse()),
    };
    const first = model.apply(both);
    await model.apply(verbs.expand({ dryRun: true }));
    await expect(model.apply(verbs.expand())).rejects.toMatchObject({ code: 'ERR_BUSY' });
    await first;
  });

  test('one that reads what the other edits says so', async () => {
    const model = sample();
    const report = verbs.rankReport(model);
    model.graph.renameNode(model.graph.nodes[0] as never, 'renamed');
    await expect(report).rejects.toThrow(/was edited during the rank report/);
    await expect(verbs.rankReport(model)).resolves.toBeDefined();
  });

  test('a training keeps its model until it ends, however that is', async () => {
    const model = sample();
    for await (const _event of verbs.train(model, data(), { loss: 'mse', epochs: 1, ranks: false })) {
      await expect(model.apply(verbs.expand())).rejects.toThrow(BusyError);
      break;
    }
    await expect(verbs.train(model, data(), { loss: 'mse', epochs: 0 }).result()).rejects.toThrow(
      verbs.OptionError,
    );
    await expect(model.apply(verbs.expand())).resolves.toHaveLength(1);
  });
});

test('errors are classes with codes', async () => {
  const model = sample();
  const codeOf = async (act: () => unknown): Promise<unknown> => {
    try {
      await act();
    } catch (error) {
      return (error as { code?: unknown }).code;
    }
    return undefined;
  };
  const path = join(directory, 'taken.onnx');
  await verbs.saveModel(model, path);
  expect(await codeOf(() => verbs.expand({ depth: 0 }))).toBe('ERR_OPTION');
  expect(await codeOf(() => verbs.readModel(join(directory, 'none.onnx')))).toMatch(/^E/);
  expect(await codeOf(() => model.graph.remove(model.graph.nodes[0] as never))).toBe('ERR_MODEL');
  expect(await codeOf(() => verbs.saveModel(model, path))).toBe('ERR_OUTPUT_EXISTS');
  expect(await codeOf(() => verbs.train(model, data(), { only: ['no*'] }).result())).toBe('ERR_PATTERN');
  expect(await codeOf(() => verbs.openSession(model, { providers: ['coreml'] as never }))).toMatch(
    /^ERR_(PROVIDER|OPTION)$/,
  );
});

/** What a program does over and over. It prints its threads and its memory on the way, and must end by itself. */
const PROGRAM = `
import { readdirSync } from 'node:fs';
import { buildModel, collapse, embeddingReport, evaluateModels, expand, gradient, openSession, rankReport, runModel, tensorDataset, train, verifyModels } from 'LIB/index.js';
import { Tensor } from 'LIB/graph.js';
const weight = (name) => Tensor.of(name, 'float32', [64, 64], Float32Array.from({ length: 4096 }, (_, i) => Math.sin(i * i) / 8));
const make = () => buildModel({
  inputs: [['x', 'float32', ['n', 64]]], outputs: [['y', 'float32', ['n', 64]]],
  nodes: [
    { opType: 'MatMul', inputs: ['x', 'a'], outputs: ['h'] }, { opType: 'Relu', inputs: ['h'], outputs: ['r'] },
    { opType: 'MatMul', inputs: ['r', 'b'], outputs: ['y'] },
  ],
  initializers: [weight('a'), weight('b')],
});
const x = { type: 'float32', shape: [8, 64], data: new Float32Array(512).fill(0.5) };
const data = () => tensorDataset({ x, y: x });
const CALLS = {
  reports: async () => { const m = make(); await m.apply(expand()); await rankReport(m); await m.apply(collapse()); },
  runs: async () => { const m = make(); await runModel(m, { x }); await verifyModels(m, make(), { samples: 1 }); await evaluateModels([{ name: 'a', model: m }], data()); },
  steps: async () => { const s = await openSession((await gradient(make(), { loss: 'mse', batch: 2 })).model); await s[Symbol.asyncDispose](); },
};
const threads = () => readdirSync('/proc/self/task').length;
const figures = [];
for (const [name, call] of Object.entries(CALLS)) {
  const at = [];
  const count = 200; // The first half lets V8's heap reach its size.
  for (let i = 1; i <= count; i += 1) {
    await call();
    if (i === count / 2 || i === count) { globalThis.gc(); await new Promise((done) => setTimeout(done, 50)); globalThis.gc(); at.push({ threads: threads(), rss: process.memoryUsage.rss() }); }
  }
  figures.push({ name, threads: at.map((one) => one.threads), growth: at[1].rss - at[0].rss });
}
for (let i = 0; i < 3; i += 1) await train(make(), data(), { loss: 'mse', epochs: 1, batch: 4 }).result();
console.log(JSON.stringify(figures));
`;

test.runIf(process.platform === 'linux')(
  '200 repeated calls leak neither threads nor memory, and the process ends by itself',
  { timeout: 180_000 },
  async () => {
    const file = join(directory, 'program.mjs');
    writeFileSync(file, PROGRAM.replaceAll('LIB', pathToFileURL(join(ROOT, 'dist/lib')).href));
    const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', file], {
      timeout: 170_000,
    });
    for (const { name, threads, growth } of JSON.parse(stdout) as {
      name: string;
      threads: [number, number];
      growth: number;
    }[]) {
      expect(threads[1], name).toBeLessThanOrEqual(threads[0]);
      // 100 calls; each holds models of 32 KiB and sessions with as much.
      expect(growth, name).toBeLessThan(12 * 2 ** 20);
    }
  },
);
