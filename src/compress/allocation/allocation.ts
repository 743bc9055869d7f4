/** One way to leave a layer. */
export interface Choice {
  /** What it costs of each resource. */
  readonly costs: readonly number[];
  /** What it adds to the loss. */
  readonly error: number;
}

/** Bisections of the multiplier, and mixtures of two or more resources that are tried. */
const BISECTIONS = 60;
const MIXTURES = 13;

/**
 * Picks one choice a layer so that the errors add up to little and no budget is passed: the smallest Lagrangian error + λ cost, which for
 * each λ each layer decides by itself (Shoham & Gersho, "Efficient bit allocation for an arbitrary set of quantizers", 1988), with
 * λ by bisection. What the convex hulls leave over is then spent, on the improvement that is largest for what it costs.
 *
 * @param layers the choices of each
 * @param budgets of each resource, for all layers together
 * @returns the index of each layer's choice; undefined where the least that all cost is over a budget
 */
export function allocate(
  layers: readonly (readonly Choice[])[],
  budgets: readonly number[],
): number[] | undefined {
  let best: { readonly picks: number[]; readonly error: number } | undefined;
  for (const weights of mixtures(budgets.length)) {
    const found = alongMixture(layers, budgets, weights);
    if (found === undefined) continue;
    const picks = filled(layers, budgets, found);
    const error = errorOf(layers, picks);
    if (best === undefined || error < best.error) best = { picks, error };
  }
  return best?.picks;
}

export function errorOf(layers: readonly (readonly Choice[])[], picks: readonly number[]): number {
  return layers.reduce((sum, choices, i) => sum + (choices[picks[i] as number]?.error ?? 0), 0);
}

export function costsOf(layers: readonly (readonly Choice[])[], picks: readonly number[]): number[] {
  const sums: number[] = [];
  for (const [i, choices] of layers.entries())
    for (const [k, cost] of (choices[picks[i] as number]?.costs ?? []).entries())
      sums[k] = (sums[k] ?? 0) + cost;
  return sums;
}

/** Shares of the resources in one price, each resource in units of its budget. */
function mixtures(count: number): number[][] {
  if (count === 0) return [];
  if (count === 1) return [[1]];
  if (count === 2)
    return Array.from({ length: MIXTURES }, (_, i) => [i / (MIXTURES - 1), 1 - i / (MIXTURES - 1)]);
  // Corners, edges and the middle of the simplex.
  const made: number[][] = [new Array<number>(count).fill(1 / count)];
  for (let a = 0; a < count; a += 1)
    for (let b = 0; b <= a; b += 1) {
      const weights = new Array<number>(count).fill(0);
      weights[a] = (weights[a] ?? 0) + 0.5;
      weights[b] = (weights[b] ?? 0) + 0.5;
      made.push(
        weights,
        weights.map((weight) => 0.5 * weight + 0.5 / count),
      );
    }
  return made;
}

function alongMixture(
  layers: readonly (readonly Choice[])[],
  budgets: readonly number[],
  weights: readonly number[],
): number[] | undefined {
  const price = ({ costs }: Choice): number =>
    weights.reduce((sum, weight, k) => sum + (weight * (costs[k] as number)) / (budgets[k] as number), 0);
  const pick = (lambda: number): number[] =>
    layers.map((choices) => {
      let [least, at] = [Number.POSITIVE_INFINITY, 0];
      for (const [i, choice] of choices.entries()) {
        const value =
          lambda === Number.POSITIVE_INFINITY ? price(choice) : choice.error + lambda * price(choice);
        if (value < least) [least, at] = [value, i];
      }
      return at;
    });
  const fits = (picks: readonly number[]): boolean => within(costsOf(layers, picks), budgets);
  if (fits(pick(0))) return pick(0);
  let cheapest = pick(Number.POSITIVE_INFINITY);
  if (!fits(cheapest)) return undefined;
  let [low, high] = [-30, 30];
  for (let i = 0; i < BISECTIONS; i += 1) {
    const middle = (low + high) / 2;
    const picks = pick(10 ** middle);
    if (fits(picks)) [high, cheapest] = [middle, picks];
    else low = middle;
  }
  return cheapest;
}

export function within(costs: readonly number[], budgets: readonly number[]): boolean {
  return budgets.every((budget, k) => (costs[k] ?? 0) <= budget * (1 + 1e-12));
}

/** Takes better choices while the budgets allow it. */
function filled(
  layers: readonly (readonly Choice[])[],
  budgets: readonly number[],
  start: readonly number[],
): number[] {
  const picks = [...start];
  const costs = costsOf(layers, picks);
  for (;;) {
    let best: { readonly layer: number; readonly choice: number; readonly worth: number } | undefined;
    for (const [layer, choices] of layers.entries()) {
      const now = choices[picks[layer] as number] as Choice;
      for (const [choice, other] of choices.entries()) {
        const gain = now.error - other.error;
        if (!(gain > 0)) continue;
        const more = other.costs.map((cost, k) => cost - (now.costs[k] as number));
        if (!budgets.every((budget, k) => (costs[k] as number) + (more[k] as number) <= budget)) continue;
        const price = Math.max(1e-12, ...more.map((cost, k) => cost / (budgets[k] as number)));
        if (best === undefined || gain / price > best.worth) best = { layer, choice, worth: gain / price };
      }
    }
    if (best === undefined) return picks;
    const before = layers[best.layer]?.[picks[best.layer] as number] as Choice;
    const after = layers[best.layer]?.[best.choice] as Choice;
    for (const k of costs.keys())
      costs[k] = (costs[k] as number) + (after.costs[k] as number) - (before.costs[k] as number);
    picks[best.layer] = best.choice;
  }
}
