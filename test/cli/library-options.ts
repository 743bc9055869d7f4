import { embeddingReport } from '../../src/analysis/embeddings/embeddings.js';
import { EMBEDDING_OPTIONS } from '../../src/analysis/embeddings/options.js';
import { RANK_OPTIONS } from '../../src/analysis/report/options.js';
import { rankReport } from '../../src/analysis/report/rank-report.js';
import { VERIFY_OPTIONS } from '../../src/analysis/verify/options.js';
import { verifyModels } from '../../src/analysis/verify/verify.js';
import type { OptionDescriptors } from '../../src/graph/option-descriptors.js';
import { collapse } from '../../src/passes/collapse/collapse.js';
import { COLLAPSE_OPTIONS } from '../../src/passes/collapse/options.js';
import { expand } from '../../src/passes/expand/expand.js';
import { EXPAND_OPTIONS } from '../../src/passes/expand/options.js';
import { benchModels } from '../../src/runtime/session/bench.js';
import { BENCH_OPTIONS } from '../../src/runtime/session/options.js';
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
  { name: 'collapse', options: COLLAPSE_OPTIONS, call: collapse },
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
];
