export { withComputedConstants } from '../../analysis/affine/computed.js';
export { isRefusal, REFUSAL_KINDS, type Refusal, type RefusalKind } from '../../analysis/affine/refusal.js';
export type { Cost, Target } from './cost.js';
export { constantsOfRegion, type FoldedWeights, foldRegion } from './fold.js';
export { findIdentities, removeIdentity } from './identities.js';
export { type Probe, probeRegion } from './probe.js';
export type { FoundRegions, RefusedRegion, Region } from './region.js';
export { type FindOptions, findRegions } from './regions.js';
export { describeRefusal, describeRegion, type RefusalReport, type RegionReport } from './report.js';
