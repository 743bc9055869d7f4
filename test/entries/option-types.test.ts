import { expectTypeOf, test } from 'vitest';
import type { EMBEDDING_OPTIONS } from '../../src/analysis/embeddings/options.js';
import type { RANK_OPTIONS } from '../../src/analysis/report/options.js';
import type { VERIFY_OPTIONS } from '../../src/analysis/verify/options.js';
import type { EmbeddingOptions, RankReportOptions, VerifyOptions } from '../../src/entries/analysis.js';
import type { GradientOptions } from '../../src/entries/gradient.js';
import type { CollapseOptions, ExpandOptions } from '../../src/entries/passes.js';
import type { BenchOptions, RandomInputOptions, SessionOptions } from '../../src/entries/runtime.js';
import type { DatasetOptions, TrainOptions } from '../../src/entries/training.js';
import type { OptionDescriptors, OptionValue } from '../../src/graph/option-descriptors.js';
import type { COLLAPSE_OPTIONS } from '../../src/passes/collapse/options.js';
import type { EXPAND_OPTIONS } from '../../src/passes/expand/options.js';
import type { GRADIENT_OPTIONS } from '../../src/passes/gradient/options.js';
import type {
  BENCH_OPTIONS,
  RANDOM_INPUT_OPTIONS,
  SESSION_OPTIONS,
} from '../../src/runtime/session/options.js';
import type { DATA_OPTIONS } from '../../src/training/data/options.js';
import type { TRAIN_OPTIONS } from '../../src/training/options.js';

/** Keys of descriptors that options do not have, or have for values of another type. */
type Wrong<Options, D extends OptionDescriptors> = {
  [Key in keyof D]: Key extends keyof Options
    ? [OptionValue<D[Key]>] extends [Options[Key]]
      ? never
      : Key
    : Key;
}[keyof D];

// Checked by the compiler: nothing of it runs.
test('the types of options have what their descriptors describe', () => {
  expectTypeOf<Wrong<ExpandOptions, typeof EXPAND_OPTIONS>>().toBeNever();
  expectTypeOf<Wrong<CollapseOptions, typeof COLLAPSE_OPTIONS>>().toBeNever();
  expectTypeOf<Wrong<RankReportOptions, typeof RANK_OPTIONS>>().toBeNever();
  expectTypeOf<Wrong<EmbeddingOptions, typeof EMBEDDING_OPTIONS>>().toBeNever();
  expectTypeOf<Wrong<VerifyOptions, typeof VERIFY_OPTIONS>>().toBeNever();
  expectTypeOf<Wrong<SessionOptions, typeof SESSION_OPTIONS>>().toBeNever();
  expectTypeOf<Wrong<RandomInputOptions, typeof RANDOM_INPUT_OPTIONS>>().toBeNever();
  expectTypeOf<Wrong<BenchOptions, typeof BENCH_OPTIONS>>().toBeNever();
  expectTypeOf<Wrong<GradientOptions, typeof GRADIENT_OPTIONS>>().toEqualTypeOf<'freeze'>();
  expectTypeOf<Wrong<DatasetOptions, typeof DATA_OPTIONS>>().toBeNever();
  expectTypeOf<Wrong<TrainOptions, typeof TRAIN_OPTIONS>>().toBeNever();
});
