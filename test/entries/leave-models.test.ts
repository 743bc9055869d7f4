import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';
import * as analysis from '../../src/entries/analysis.js';
import * as compressing from '../../src/entries/compress.js';
import * as evaluation from '../../src/entries/evaluate.js';
import * as extending from '../../src/entries/extend.js';
import * as differentiation from '../../src/entries/gradient.js';
import * as graph from '../../src/entries/graph.js';
import * as passes from '../../src/entries/passes.js';
import * as reports from '../../src/entries/report.js';
import * as runtime from '../../src/entries/runtime.js';
import * as training from '../../src/entries/training.js';
import * as verbs from '../../src/index.js';
import { floats } from '../support/build.js';
import { ENTRIES, programOf, valuesOf } from './surface.js';

/** What edits the model that it is given; everything else that takes one leaves it as it is. */
const EDITORS: Readonly<Record<string, (model: verbs.Model) => unknown>> = {
  ownWeights: (model) => differentiation.ownWeights(model, 'y'),
  replaceHead: (model) => verbs.replaceHead(model, { outputs: 5 }),
  train: (model) => verbs.train(model, data(), { ...TRAIN, untie: ['w'] }).result(),
};

const TRAIN = { epochs: 1, batch: 4, loss: 'mse', ranks: false } as const;
const STEP = { loss: 'mse', batch: 4 } as const;
const SGD = training.optimizer('sgd');
const PREPARED = { ...TRAIN, untie: ['*'], fromScratch: true, optimizer: 'sgd' } as const;
const HEAD = { ...TRAIN, loss: 'cross-entropy', head: 2 } as const;

const READERS: Readonly<Record<string, (model: verbs.Model) => unknown>> = {
  alignNames: (model) => graph.alignNames(model, model.clone()),
  assertValid: (model) => graph.assertValid(model),
  benchModels: (model) => verbs.benchModels([{ name: 'a', model }], { runs: 1, warmup: 0 }),
  check: (model) => verbs.check(model),
  classNames: (model) => graph.classNames(model),
  compareModels: (model) => verbs.compareModels(model, model.clone()),
  convertFloats: (model) => verbs.convertFloats(model, 'float16'),
  decayedWeights: (model) => training.decayedWeights(model.graph, ['w', 'b']),
  deltaReport: (model) => verbs.deltaReport(model, model.clone()),
  describeTraining: async (model) => {
    await training.describeTraining(model, data(), PREPARED);
    await training.describeTraining(model, labels(), HEAD);
  },
  diffModels: (model) => verbs.diffModels(model, model.clone()),
  distilled: (model) => training.distilled(data(), model, { loss: 'mse' }),
  diverseObjective: (model) =>
    training.diverseObjective([model, model.clone()], 4, { diverse: 2, alignment: 0.5 }),
  trainDiverse: async (model) => {
    // It has a BatchNormalization, and that is told; test/training/diverse.test.ts trains others.
    const made = training.trainDiverse(model, labels(), { diverse: 2, epochs: 1, batch: 4 });
    await expect(made).rejects.toThrow(/BatchNormalization/);
  },
  embeddingReport: (model) => verbs.embeddingReport(model, { seed: 0 }, { samples: 4 }),
  evaluateConstant: (model) => runtime.evaluateConstant(model.graph, 'q'),
  evaluateModels: (model) => verbs.evaluateModels([{ name: 'a', model }], data()),
  extract: (model) => verbs.extract(model, { inputs: ['u'] }),
  extractLora: (model) => verbs.extractLora(model, model.clone(), { rank: 1 }),
  findConstant: (model) => graph.findConstant(model.graph, 'q'),
  findLinearSites: (model) => analysis.findLinearSites(model),
  findMatches: (model) => extending.findMatches(model.graph, { op: 'MatMul', inputs: [{ op: 'Tanh' }] }),
  findWeights: (model) => analysis.findWeights(model),
  gradient: (model) => verbs.gradient(model, STEP),
  headProducts: (model) => analysis.headProducts(model),
  inlinedFunctions: (model) => passes.inlinedFunctions(model),
  inputSpecs: (model) => training.inputSpecs(model),
  inspectModel: (model) => verbs.inspectModel(model, { runtime: true }),
  linearSite: (model) => analysis.linearSite(model.graph.nodes.at(-1) as graph.Node, 'MatMul'),
  lossModel: (model) => differentiation.lossModel(model, STEP),
  matchNode: (model) => extending.matchNode(model.graph.nodes.at(-1) as graph.Node, { op: 'MatMul' }),
  modelAdapters: (model) => passes.modelAdapters(model),
  modelToBytes: (model) => verbs.modelToBytes(model),
  openEngine: async (model) => {
    await using _engine = await training.openEngine(model, { ...STEP, optimizer: SGD });
  },
  openSearchEngine: async (model) => {
    const options = { loss: 'mse', batch: 4, batchNorm: 'inference', wrt: ['m', 'v'] } as const;
    await using _engine = await training.openSearchEngine(model, {
      ...options,
      search: training.search('random-search'),
    });
  },
  openSession: async (model) => {
    await using _session = await verbs.openSession(model);
  },
  planTraining: (model) => {
    training.planTraining(model, data(), PREPARED);
    training.planTraining(model, labels(), HEAD);
  },
  predictSamples: async (model) => {
    for await (const _sample of evaluation.predictSamples(model, data(), { top: 1 }));
  },
  printDocument: (model) => reports.printDocument('a', model, verbs.printModel(model)),
  printModel: (model) => verbs.printModel(model, { weights: true }),
  raiseIr: (model) => passes.raiseIr(model, 10),
  raiseOpset: (model) => passes.raiseOpset(model, 20),
  randomInputs: (model) => runtime.randomInputs(model),
  rankRecipe: (model) => passes.rankRecipe(model),
  rankReport: (model) => verbs.rankReport(model, { extras: true }),
  estimateReport: (model) => analysis.estimateReport(model, { exactBelow: 4 }),
  rankReportWithRegions: (model) => passes.rankReportWithRegions(model),
  runModel: (model) => verbs.runModel(model, runtime.randomInputs(model)),
  sampleFeeds: (model) => training.sampleFeeds(model, data(), 2),
  saveModel: (model) => verbs.saveModel(model, join(mkdtempSync(join(tmpdir(), 'leave-')), 'out.onnx')),
  selectWrt: (model) => differentiation.selectWrt(model, { loss: 'mse', freeze: ['b'] }),
  trainableWeights: (model) => differentiation.trainableWeights(model.graph, 'y'),
  trainedRankPruning: (model) => training.trainedRankPruning(model, ['k', 'm']),
  trainingStep: async (model) => {
    const { model: trainable } = await training.withTrainingInfo(model, {
      ...STEP,
      optimizer: SGD,
      learningRate: 0.1,
    });
    const before = verbs.modelToBytes(trainable);
    training.trainingStep(trainable);
    expect(verbs.modelToBytes(trainable)).toEqual(before);
  },
  verifyModels: (model) => verbs.verifyModels(model, model.clone(), { samples: 1 }),
  weightsOfStore: (model) => analysis.weightsOfStore(model),
  writeModelAdapters: async (model) => {
    // It has none, and that is told.
    await expect(passes.writeModelAdapters('none', model)).rejects.toThrow(/no adapters/);
  },
  withTrainingInfo: (model) =>
    training.withTrainingInfo(model, { ...STEP, optimizer: SGD, learningRate: 0.1 }),
};

const CUT = [{ layer: 'first', form: 'matrices', ranks: [1] }] as const;

/** Passes, and the same as a dry run where there is one. */
const PASSES: Readonly<Record<string, readonly verbs.Pass<unknown>[]>> = {
  addAdapters: [verbs.addAdapters({ rank: 1 }), verbs.addAdapters({ rank: 1, dryRun: true })],
  collapse: [
    verbs.collapse(),
    verbs.collapse({ dryRun: true }),
    verbs.collapse({ dryRun: true, explain: true }),
  ],
  compress: [compressing.compress({ plan: CUT }), compressing.compress({ plan: CUT, dryRun: true })],
  expand: [verbs.expand(), verbs.expand({ dryRun: true }), verbs.expand({ dryRun: true, init: 'balanced' })],
  fixDims: [passes.fixDims({ n: 4 })],
  fixInputs: [verbs.fixInputs()],
  infer: [verbs.infer()],
  inlineWeights: [passes.inlineWeights()],
};

/**
 * A model with something to do for all of them: a weight that calls of a function share, a bias that Identity repeats, a
 * weight that is an input, a chain, a BatchNormalization, and a weight that a Constant node holds.
 */
function sample(): verbs.Model {
  const linear = (name: string, inputs: string[], output: string): graph.NodeSpec => ({
    opType: 'Linear',
    domain: 'own',
    name,
    inputs,
    outputs: [output],
  });
  return verbs.buildModel({
    inputs: [
      ['x', 'float32', ['n', 3]],
      ['k', 'float32', [3, 3]],
    ],
    outputs: [['y', 'float32', ['n', 3]]],
    nodes: [
      { opType: 'Identity', inputs: ['b'], outputs: ['b2'] },
      linear('one', ['x', 'w', 'b'], 'h'),
      { opType: 'Tanh', inputs: ['h'], outputs: ['t'] },
      linear('two', ['t', 'w', 'b2'], 'u'),
      { opType: 'MatMul', inputs: ['u', 'k'], outputs: ['c'], name: 'listed' },
      { opType: 'MatMul', inputs: ['c', 'm'], outputs: ['d'], name: 'first' },
      { opType: 'MatMul', inputs: ['d', 'm2'], outputs: ['e'], name: 'second' },
      { opType: 'BatchNormalization', inputs: ['e', 'scale', 'shift', 'mean', 'var'], outputs: ['f'] },
      { opType: 'Tanh', inputs: ['f'], outputs: ['g'] },
      {
        opType: 'Constant',
        inputs: [],
        outputs: ['q'],
        attributes: { value: { tensor: floats('', [3, 3], Math.cos) } },
      },
      { opType: 'MatMul', inputs: ['g', 'q'], outputs: ['r'], name: 'held' },
      { opType: 'Tanh', inputs: ['r'], outputs: ['s'] },
      { opType: 'MatMul', inputs: ['s', 'v'], outputs: ['y'], name: 'last' },
    ],
    initializers: [
      floats('w', [3, 3], Math.sin),
      floats('b', [3], () => 0),
      floats('k', [3, 3], (i) => Math.sin(2 * i + 1)),
      floats('m', [3, 3], (i) => Math.sin(3 * i + 1)),
      floats('v', [3, 3], (i) => Math.sin(7 * i + 1)),
      floats('m2', [3, 3], (i) => Math.sin(5 * i + 1)),
      ...['scale', 'shift', 'mean', 'var'].map((name) => floats(name, [3], (i) => 1 + i / 2)),
    ],
    opset: { '': 18, own: 1 },
    functions: [
      {
        domain: 'own',
        name: 'Linear',
        inputs: ['x', 'w', 'b'],
        outputs: ['y'],
        opset: 18,
        nodes: [{ opType: 'Gemm', name: 'gemm', inputs: ['x', 'w', 'b'], outputs: ['y'] }],
      },
    ],
  });
}

const x = Float32Array.from({ length: 24 }, (_, i) => Math.sin(i));
const data = (): verbs.Dataset =>
  verbs.tensorDataset({
    x: { type: 'float32', shape: [8, 3], data: x },
    y: { type: 'float32', shape: [8, 3], data: x },
  });
const labels = (): verbs.Dataset =>
  verbs.tensorDataset({
    x: { type: 'float32', shape: [8, 3], data: x },
    y: { type: 'int64', shape: [8], data: BigInt64Array.from(x.subarray(0, 8), (_, i) => BigInt(i % 2)) },
  });

/** True where the bytes or the count of edits changed. */
async function edits(act: (model: verbs.Model) => unknown): Promise<boolean> {
  const model = sample();
  const [before, revision] = [verbs.modelToBytes(model), model.revision];
  await act(model);
  return model.revision !== revision || Buffer.compare(before, verbs.modelToBytes(model)) !== 0;
}

describe('what is given a model leaves it as it is', () => {
  test('all of them stand here', () => {
    const program = programOf();
    const takers = [...ENTRIES.keys()].flatMap((entry) =>
      valuesOf(program, entry).flatMap(({ name, declarations = [] }) =>
        declarations
          .filter(ts.isFunctionDeclaration)
          .filter(({ parameters }) =>
            /\b(Model|EvaluatedModel|Graph|WeightStore|Node)\b/.test(
              parameters.map(({ type }) => type?.getText()).join(),
            ),
          )
          .map(() => name),
      ),
    );
    const made = [...ENTRIES.keys()].flatMap((entry) =>
      valuesOf(program, entry)
        .filter(({ declarations = [] }) =>
          declarations.some(
            (one) => ts.isFunctionDeclaration(one) && /^Pass</.test(one.type?.getText() ?? ''),
          ),
        )
        .map(({ name }) => name),
    );
    expect([...new Set(takers)].sort()).toEqual([...Object.keys(READERS), ...Object.keys(EDITORS)].sort());
    expect([...new Set(made)].sort()).toEqual(Object.keys(PASSES));
  });

  test.each(Object.entries(READERS))('%s', async (_name, act) => expect(await edits(act)).toBe(false));

  test.each(Object.entries(EDITORS))('but for %s', async (_name, act) => expect(await edits(act)).toBe(true));
});

describe('a pass edits a model just where it says so', () => {
  const all = Object.entries(PASSES).flatMap(([name, list]) =>
    list.map((pass, i) => [name, i, pass] as const),
  );

  test.each(all)('%s (%i)', async (_name, i, pass) => {
    expect(pass.inPlace).toBe(i === 0);
    // No weight of the sample is in another file.
    const isIdle = pass.name === 'inline-weights';
    expect(await edits((model) => model.apply(pass))).toBe(pass.inPlace && !isIdle);
  });
});
