export {
  type BatchesOptions,
  orderedBatches,
  shuffledBatches,
  shuffledOrder,
  splitDataset,
} from './batches.js';
export { tensorDataset } from './dataset.js';
export { inputSpecs } from './input-specs.js';
export { datasetSplits, openDataset } from './open.js';
export { type Augmentation, type DatasetOptions, type InputSpec, SPLITS, type Split } from './options.js';
export { dataSources } from './recognize.js';
