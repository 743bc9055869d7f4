export { withComputedConstants } from '../../affine/computed.js';
export type { Cost, Target } from '../../affine/match/cost.js';
export type { FoundRegions, RefusedRegion, Region } from '../../affine/match/region.js';
export { type FindOptions, findRegions } from '../../affine/match/regions.js';
export { isRefusal, REFUSAL_KINDS, type Refusal, type RefusalKind } from '../../affine/refusal.js';
export { constantsOfRegion, type FoldedWeights, foldRegion } from '../collapse/fold-region.js';
export { findIdentities, removeIdentity } from '../collapse/identities.js';
export { findPaddings, removePadding } from '../collapse/paddings.js';
export { type Probe, probeRegion } from '../collapse/probe-region.js';
export {
  describeRefusal,
  describeRegion,
  type RefusalReport,
  type RegionReport,
} from '../collapse/region-report.js';
