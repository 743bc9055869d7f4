import type { Matrix } from '../../linalg/matmul.js';
import type { Moments } from '../calibration/metric.js';
import { shiftOf } from '../layers/candidate.js';
import type { Layer } from '../layers/layers.js';
import type { Factorizer } from './factorizer.js';
import type { Cut } from './forms.js';
import type { Replacement, Trials } from './trial.js';

/** Shares of a layer's parameters at which single layers are tried. */
export const TRIED = [0.7, 0.45, 0.25, 0.12] as const;
/** Elements of all layers' weights up to which what was tried is kept, to be tried together. */
export const MOST_KEPT = 32 << 20;

/** Measured over predicted, at an error. */
export interface Ratio {
  readonly error: number;
  readonly ratio: number;
}

interface Tried extends Replacement {
  readonly measured: number;
}

/**
 * Corrects the errors of cuts by trials of some of them: between those the ratio of measured to predicted is interpolated in the logarithm of
 * the error. What was tried of each layer is then tried of all together, for errors do not quite add up.
 */
export class Corrections {
  readonly #trials: Trials;
  /** By the share that was tried. */
  readonly #kept = new Map<number, Map<Layer, Tried>>();
  readonly #keeps: boolean;

  constructor(trials: Trials, layers: readonly Layer[]) {
    this.#trials = trials;
    this.#keeps = layers.reduce((sum, { rows, columns }) => sum + rows * columns, 0) <= MOST_KEPT;
  }

  /** @param centre of a layer that can shift its outputs: the mean of what the cut loses is added to them */
  async of<C extends { readonly cut: Cut; readonly error: number; readonly costs: readonly number[] }>(
    layer: Layer,
    cuts: readonly C[],
    factorizer: Factorizer,
    centre: { readonly weight: Matrix; readonly input: Moments } | undefined,
  ): Promise<C[]> {
    const whole = layer.rows * layer.columns;
    const known = new Map<string, Ratio>();
    const done = new Map<string, Tried>();
    for (const share of TRIED) {
      const best = cuts
        .filter(({ costs, error }) => (costs[0] as number) <= share * whole && error > 0)
        .reduce<C | undefined>((a, b) => (a === undefined || b.error < a.error ? b : a), undefined);
      if (best === undefined) continue;
      const key = JSON.stringify(best.cut);
      const own = done.get(key) ?? (await this.#try(layer, best.cut, factorizer, centre));
      done.set(key, own);
      known.set(key, { error: best.error, ratio: Math.max(own.measured, 1e-9) / best.error });
      if (this.#keeps) this.#kept.set(share, (this.#kept.get(share) ?? new Map()).set(layer, own));
    }
    const ratios = [...known.values()].sort((a, b) => a.error - b.error);
    return cuts.map((one) => ({ ...one, error: one.error * ratioAt(ratios, one.error) }));
  }

  async #try(
    layer: Layer,
    cut: Cut,
    factorizer: Factorizer,
    centre: { readonly weight: Matrix; readonly input: Moments } | undefined,
  ): Promise<Tried> {
    const product = await factorizer.product(cut);
    const shift = centre && (await shiftOf(centre.weight, product, centre.input.mean));
    const measured = await this.#trials.measure(new Map([[layer, { weight: product, shift }]]));
    const weight = { ...product, data: Float32Array.from(product.data) };
    return { weight, shift, measured };
  }

  /** What all layers lose together over the sum of what each loses, at the sums of the shares that were tried. */
  async together(): Promise<readonly Ratio[]> {
    const found: Ratio[] = [];
    for (const layers of this.#kept.values()) {
      const error = [...layers.values()].reduce((sum, { measured }) => sum + measured, 0);
      if (layers.size < 2 || !(error > 0)) continue;
      found.push({ error, ratio: Math.max(await this.#trials.measure(layers), 1e-9) / error });
    }
    return found.sort((a, b) => a.error - b.error);
  }
}

/** The ratio at an error, between those that are known. */
export function ratioAt(known: readonly Ratio[], error: number): number {
  const [first] = known;
  const last = known.at(-1);
  if (first === undefined || last === undefined) return 1;
  if (error <= first.error) return first.ratio;
  for (const [i, right] of known.entries()) {
    const left = known[i - 1];
    if (left === undefined || error > right.error) continue;
    const t = Math.log(error / left.error) / Math.max(1e-12, Math.log(right.error / left.error));
    return Math.exp((1 - t) * Math.log(left.ratio) + t * Math.log(right.ratio));
  }
  return last.ratio;
}
