/**
 * What train() of `onnx-overparam` is made of: data, optimizers, schedules, engines, checkpoints, training_info.
 *
 * @example
 * import { openDataset, readModel, train } from 'onnx-overparam';
 * import { inputSpecs } from 'onnx-overparam/training';
 *
 * const model = await readModel('model.onnx');
 * await using data = await openDataset('mnist', { split: 'train', inputs: inputSpecs(model) });
 * await train(model, data, { epochs: 5 }).result();
 *
 * @module onnx-overparam/training
 */

export type { ChainSteps } from '../passes/gradient/options.js';
export type { Tally } from '../training/checkpoint.js';
export { type Checkpoint, readCheckpoint, writeCheckpoint } from '../training/checkpoint.js';
export { WEIGHT_DECAY_KINDS, type WeightDecayKind } from '../training/choices.js';
export {
  type Augmentation,
  type BatchesOptions,
  type DatasetOptions,
  datasetSplits,
  type InputSpec,
  orderedBatches,
  SPLITS,
  type Split,
  shuffledBatches,
  shuffledOrder,
} from '../training/data/index.js';
export { inputSpecs } from '../training/data/input-specs.js';
export { describeTraining, type StepFigures } from '../training/describe.js';
export { type DistillOptions, distilled } from '../training/distill.js';
export { DivergenceError } from '../training/divergence.js';
export { type DiverseObjective, diverseObjective, oneHot } from '../training/diverse/objective.js';
export type { DiverseOptions } from '../training/diverse/options.js';
export {
  type DiverseProgress,
  type DiverseResult,
  type TrainDiverseOptions,
  trainDiverse,
} from '../training/diverse/train-diverse.js';
export { type EngineOptions, openEngine } from '../training/engine/engine.js';
export type { EngineSpec } from '../training/engine/engine-spec.js';
export type { PenaltyContext, StepOptions } from '../training/engine/step.js';
export type {
  EpochRecord,
  Monitor,
  RankFigures,
  Resumed,
  StopReason,
  TiedWeight,
  TrainEvent,
  TrainedWeight,
  TrainingFigures,
  TrainPlan,
  TrainSummary,
} from '../training/events.js';
export { type RankPruning, trainedRankPruning } from '../training/low-rank/low-rank.js';
export {
  PRUNED_FORMS,
  type PrunedForm,
  RANK_PRUNING_DEFAULTS,
  type RankPruningOptions,
} from '../training/low-rank/options.js';
export { type Thresholded, thresholded } from '../training/low-rank/singular-threshold.js';
export type { AdagradOptions } from '../training/optimizers/adagrad.js';
export type { AdamOptions } from '../training/optimizers/adam.js';
export type { Optimizer } from '../training/optimizers/index.js';
export {
  OPTIMIZER_NAMES,
  OPTIMIZERS,
  type OptimizerName,
  type OptimizerOptions,
  optimizer,
} from '../training/optimizers/index.js';
export type { MuonOptions } from '../training/optimizers/muon.js';
export type {
  OptimizerRule,
  ProductContext,
  Update,
  UpdateContext,
} from '../training/optimizers/optimizer-rule.js';
export type { RmspropOptions } from '../training/optimizers/rmsprop.js';
export type { OneCycle } from '../training/optimizers/schedule.js';
export {
  learningRates,
  SCHEDULE_KINDS,
  type Schedule,
  type ScheduleOptions,
  type ScheduleShape,
  schedule,
} from '../training/optimizers/schedule.js';
export type { SgdOptions } from '../training/optimizers/sgd.js';
export { decayedWeights } from '../training/optimizers/weight-decay.js';
export {
  type CheckpointOptions,
  TRAIN_DEFAULTS,
  type TrainerOptions,
  type TrainOptions,
} from '../training/options.js';
export { planTraining } from '../training/plan.js';
export { sampleFeeds } from '../training/sample-feeds.js';
export type { CmaEsOptions } from '../training/search/cma-es.js';
export {
  type LbfgsOptions,
  type RandomSearchOptions,
  SEARCH_NAMES,
  SEARCHES,
  type Search,
  type SearchName,
  type SearchOptions,
  search,
} from '../training/search/index.js';
export { openSearchEngine, type SearchEngineOptions } from '../training/search/search-engine.js';
export type {
  Objective,
  Part,
  Position,
  SearchContext,
  SearchRule,
  Slope,
} from '../training/search/search-rule.js';
export type { Training, TrainResult } from '../training/train.js';
export {
  type TrainingInfo,
  type TrainingInfoAccount,
  type TrainingInfoOptions,
  type TrainingStep,
  trainingStep,
  withTrainingInfo,
} from '../training/training-info.js';
export type {
  Batch,
  BatchOptions,
  Chunk,
  ChunkResult,
  Dataset,
  DivergenceOrigin,
  Engine,
  Evaluation,
  Field,
  PrunedWeight,
  TrainingState,
} from '../training/types.js';
export { FRESH_INITS, type FreshStart } from '../training/weights/fresh-weights.js';
