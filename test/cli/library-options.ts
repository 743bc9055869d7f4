import { COMPARE_OPTIONS, compareModels } from '../../src/analysis/diff/compare-models.js';
import { embeddingReport } from '../../src/analysis/embeddings/embeddings.js';
import { EMBEDDING_OPTIONS } from '../../src/analysis/embeddings/options.js';
import { RANK_OPTIONS } from '../../src/analysis/report/options.js';
import { rankReport } from '../../src/analysis/report/rank-report.js';
import { VERIFY_OPTIONS } from '../../src/analysis/verify/options.js';
import { verifyModels } from '../../src/analysis/verify/verify.js';
import { compress } from '../../src/compress/compress.js';
import { COMPRESS_OPTIONS } from '../../src/compress/options.js';
import { evaluateModels } from '../../src/evaluate/evaluate.js';
import { EVALUATE_OPTIONS } from '../../src/evaluate/options.js';
import type { OptionDescriptors } from '../../src/graph/option-descriptors.js';
import { collapse } from '../../src/passes/collapse/collapse.js';
import { COLLAPSE_OPTIONS } from '../../src/passes/collapse/options.js';
import { convertFloats } from '../../src/passes/convert/convert.js';
import { CONVERT_OPTIONS } from '../../src/passes/convert/options.js';
import { expand } from '../../src/passes/expand/expand.js';
import { EXPAND_OPTIONS } from '../../src/passes/expand/options.js';
import { gradient } from '../../src/passes/gradient/index.js';
import { GRADIENT_OPTIONS, LOSS_FIELDS } from '../../src/passes/gradient/options.js';
import { addAdapters } from '../../src/passes/lora/add-adapters.js';
import { ADD_ADAPTERS_OPTIONS } from '../../src/passes/lora/options.js';
import { benchModels } from '../../src/runtime/session/bench.js';
import { BENCH_OPTIONS } from '../../src/runtime/session/options.js';
import { newNetwork } from '../../src/study/networks.js';
import { NETWORK_OPTIONS } from '../../src/study/options.js';
import { STUDY_OPTIONS } from '../../src/study/study-options.js';
import { runStudy } from '../../src/study/sweep/run-study.js';
import { openDataset, tensorDataset } from '../../src/training/data/index.js';
import { AUGMENT_OPTIONS, DATA_OPTIONS } from '../../src/training/data/options.js';
import { DIVERSE_OPTIONS } from '../../src/training/diverse/options.js';
import { trainDiverse } from '../../src/training/diverse/train-diverse.js';
import { RANK_PRUNING_OPTIONS } from '../../src/training/low-rank/options.js';
import { TRAIN_OPTIONS } from '../../src/training/options.js';
import { train } from '../../src/training/train.js';
import { buildModel, floats } from '../support/build.js';

/** A function of the library whose options are described. */
export interface LibraryOptions {
  readonly name: string;
  readonly options: OptionDescriptors;
  /** Calls it with one option: throws, or rejects, where that is out of range. */
  readonly call: (options: object) => unknown;
  /** Options that others need to go with. */
  readonly with?: Readonly<Record<string, object>>;
}

const MODEL = buildModel({
  inputs: [['x', 'float32', ['n', 4]]],
  outputs: [['y', 'float32', ['n', 3]]],
  nodes: [{ opType: 'MatMul', name: 'fc', inputs: ['x', 'w'], outputs: ['y'] }],
  initializers: [floats('w', [4, 3], (i) => i)],
});

const DATA = tensorDataset({
  x: { type: 'float32', shape: [2, 4], data: new Float32Array(8) },
  y: { type: 'int64', shape: [2], data: new BigInt64Array(2) },
});

// `freeze` is of the command; by a glob, `wrt` names what it does not match.
const { freeze: _, ...GRADIENT } = GRADIENT_OPTIONS;
// An integer is a target too: the index of a column.
const { target: __, ...OPEN } = DATA_OPTIONS;

export const LIBRARY: readonly LibraryOptions[] = [
  {
    name: 'expand',
    options: EXPAND_OPTIONS,
    call: expand,
    with: {
      gain: { init: 'fresh:normal' },
      residualIntervals: { residual: true },
      residualMode: { residual: true },
    },
  },
  { name: 'addAdapters', options: ADD_ADAPTERS_OPTIONS, call: addAdapters },
  { name: 'collapse', options: COLLAPSE_OPTIONS, call: collapse },
  { name: 'compress', options: COMPRESS_OPTIONS, call: (options) => compress({ dryRun: true, ...options }) },
  { name: 'verifyModels', options: VERIFY_OPTIONS, call: (options) => verifyModels(MODEL, MODEL, options) },
  { name: 'rankReport', options: RANK_OPTIONS, call: (options) => rankReport(MODEL, options) },
  {
    name: 'embeddingReport',
    options: EMBEDDING_OPTIONS,
    call: (options) => embeddingReport(MODEL, {}, options),
  },
  {
    name: 'benchModels',
    options: BENCH_OPTIONS,
    call: (options) => benchModels([{ name: 'a', model: MODEL }], options),
  },
  {
    name: 'evaluateModels',
    options: EVALUATE_OPTIONS,
    call: (options) => evaluateModels([{ name: 'a', model: MODEL }], DATA, options),
  },
  {
    name: 'compareModels',
    options: COMPARE_OPTIONS,
    call: (options) => compareModels(MODEL, MODEL, options),
  },
  {
    name: 'convertFloats',
    options: CONVERT_OPTIONS,
    call: (options) => convertFloats(MODEL, 'float16', options),
  },
  { name: 'newNetwork', options: NETWORK_OPTIONS, call: (options) => newNetwork('mlp', options) },
  { name: 'runStudy', options: STUDY_OPTIONS, call: (options) => runStudy('init', options) },
  { name: 'train', options: TRAIN_OPTIONS, call: (options) => train(MODEL, DATA, options).result() },
  {
    name: 'train: rankPruning',
    options: RANK_PRUNING_OPTIONS,
    call: (rankPruning) => train(MODEL, DATA, { rankPruning }).result(),
  },
  {
    name: 'trainDiverse',
    options: DIVERSE_OPTIONS,
    call: (options) => trainDiverse(MODEL, DATA, { diverse: 2, epochs: 1, ...options }),
    with: { alignment: { diverse: 2 } },
  },
  { name: 'gradient', options: GRADIENT, call: (options) => gradient(MODEL, { loss: 'sum', ...options }) },
  {
    name: 'gradient: loss',
    options: LOSS_FIELDS,
    call: (loss) => gradient(MODEL, { loss: { kind: 'cross-entropy', ...loss } }),
  },
  { name: 'openDataset', options: OPEN, call: (options) => openDataset('no such folder', options) },
  {
    name: 'openDataset: augment',
    options: AUGMENT_OPTIONS,
    call: (augment) => openDataset('no such folder', { augment }),
  },
];
