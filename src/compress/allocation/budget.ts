import { OptionError } from '../../graph/option-descriptors.js';
import type { CurvePoint } from '../account.js';
import { type Cut, isSameCut } from '../factors/forms.js';
import type { Candidate } from '../layers/candidate.js';
import type { PlannedLayer } from '../options.js';
import { allocate, costsOf, errorOf } from './allocation.js';

/** What budgets are of, in the order of the costs of a choice. Latency is in µs. */
export const RESOURCES = ['params', 'macs', 'size', 'latency'] as const;
export type Resource = (typeof RESOURCES)[number];

/** What the whole model has of each resource. */
export type Before = Readonly<Record<Resource, number>>;

/** Shares that are to be kept. */
export type Shares = Partial<Record<Resource, number | undefined>>;

/** Shares of the parameters at which the trade-off is drawn. */
const CURVE = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1] as const;

const placeOf = (resource: Resource): number => RESOURCES.indexOf(resource);
const askedOf = (shares: Shares): Resource[] => RESOURCES.filter((key) => shares[key] !== undefined);

/** What a neighbour of an allocation keeps, over what that keeps: the one side, and the other, of which at least this much is put back. */
const NEIGHBOURS = [0.85, 1.15] as const;

/** What all that is not a candidate has of a resource. */
function fixedOf(candidates: readonly Candidate[], before: Before, resource: Resource): number {
  const k = placeOf(resource);
  return before[resource] - candidates.reduce((sum, { choices }) => sum + (choices[0]?.costs[k] ?? 0), 0);
}

/** One choice a candidate, within all budgets; undefined where that cannot be. */
export function allocated(
  candidates: readonly Candidate[],
  before: Before,
  shares: Shares,
): number[] | undefined {
  const asked = askedOf(shares);
  const layers = candidates.map(({ choices }) =>
    choices.map(({ costs, error }) => ({ error, costs: asked.map((key) => costs[placeOf(key)] as number) })),
  );
  const budgets = asked.map((key) => (shares[key] ?? 1) * before[key] - fixedOf(candidates, before, key));
  return budgets.some((budget) => budget <= 0) ? undefined : allocate(layers, budgets);
}

/** The error for budgets that cannot be reached: what can be. */
export function unreachable(candidates: readonly Candidate[], before: Before, shares: Shares): OptionError {
  const asked = askedOf(shares);
  const least = asked.map((key) => {
    const k = placeOf(key);
    const sum = candidates.reduce(
      (all, { choices }) => all + Math.min(...choices.map(({ costs }) => costs[k] as number)),
      fixedOf(candidates, before, key),
    );
    return `${key} ${(Math.ceil((1000 * sum) / before[key]) / 1000).toFixed(3)}`;
  });
  return new OptionError(
    asked[0] as string,
    `cannot be reached: with every layer at its least, ${least.join(', ')} is kept; allow more layers, or a larger share`,
  );
}

/** What all choices together leave of a resource, as a share. */
export function keptOf(
  candidates: readonly Candidate[],
  before: Before,
  picks: readonly number[],
  resource: Resource,
): number {
  const costs = costsOf(
    candidates.map(({ choices }) => choices),
    picks,
  );
  return (fixedOf(candidates, before, resource) + (costs[placeOf(resource)] ?? 0)) / before[resource];
}

/**
 * Allocations on both sides of one, on the way that budgets take when all of them are drawn tighter or wider; fewer where there are
 * none or they are the same.
 *
 * @param shares whose resources are drawn; of the time and without any it is multiply-adds and parameters
 */
export function neighboursOf(
  candidates: readonly Candidate[],
  before: Before,
  picks: readonly number[],
  shares: Shares,
): number[][] {
  const asked = askedOf({ ...shares, latency: undefined });
  const drawn: readonly Resource[] =
    asked.length > 0 ? asked : [shares.latency === undefined ? 'params' : 'macs'];
  const kept = drawn.map((key) => keptOf(candidates, before, picks, key));
  const found: number[][] = [];
  for (const factor of NEIGHBOURS) {
    const own = kept.map((share, k) => [drawn[k], Math.min(factor * share, (1 + share) / 2)] as const);
    const other = allocated(candidates, before, Object.fromEntries(own));
    if (other?.some((pick, i) => pick !== picks[i])) found.push(other);
  }
  return found;
}

/**
 * The trade-off between parameters and error.
 *
 * @param predict what layers lose together, from the sum of what each loses
 */
export function curveOf(
  candidates: readonly Candidate[],
  before: Before,
  predict: (sum: number) => number,
): CurvePoint[] {
  const points: CurvePoint[] = [];
  const choices = candidates.map(({ choices: all }) => all);
  for (const share of CURVE) {
    const picks = allocated(candidates, before, { params: share });
    if (picks === undefined) break;
    const sum = errorOf(choices, picks);
    points.push({
      params: keptOf(candidates, before, picks, 'params'),
      macs: keptOf(candidates, before, picks, 'macs'),
      predicted: predict(sum),
    });
  }
  return points;
}

/**
 * The choices that a plan names.
 *
 * @throws OptionError for a layer that is none of the candidates
 */
export function planned(candidates: readonly Candidate[], plan: readonly PlannedLayer[]): number[] {
  const unknown = plan.find(({ layer }) => !candidates.some((one) => one.layer.name === layer));
  if (unknown !== undefined)
    throw new OptionError('plan', `names '${unknown.layer}', which is no layer that can be factorized`);
  return candidates.map(({ layer, choices }) => {
    const own = plan.find((one) => one.layer === layer.name);
    if (own === undefined || own.form === 'keep') return 0;
    return choices.findIndex(({ cut }) => cut !== undefined && isSameCut(cut, own as Cut));
  });
}
