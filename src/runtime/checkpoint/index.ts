export { type OpenOptions, openCheckpoint } from './open.js';
export type { Checkpoint, Config, RangeReader, StoredTensor } from './types.js';
