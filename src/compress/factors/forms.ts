import { type FactorSize, taps } from '../../affine/linear-site.js';

/**
 * How a weight is factorized:
 *
 * - `matrices`: a matrix product as two, of rank R
 * - `channel`: a convolution as one of the same kernel with R channels, then 1 x 1
 * - `spatial`: as one of kh x 1 with R channels, then 1 x kw
 * - `tucker`: as 1 x 1 to R1 channels, the kernel from R1 to R2, and 1 x 1 (Tucker-2)
 */
export const FORMS = ['matrices', 'channel', 'spatial', 'tucker'] as const;
/** An element of FORMS. */
export type Form = (typeof FORMS)[number];

/** One way to cut a weight down. */
export interface Cut {
  readonly form: Form;
  /** [R], of `tucker` [R1, R2]. */
  readonly ranks: readonly number[];
}

export const isSameCut = (a: Cut, b: Cut): boolean => a.form === b.form && a.ranks.join() === b.ranks.join();

/** The sizes that costs follow from. */
export interface LayerSize extends FactorSize {
  /** Spatial extents of the input and output of one sample; [rows] of a matrix product. */
  readonly inputPlaces: readonly number[];
  readonly outputPlaces: readonly number[];
}

/** The forms that a weight of a size can take. */
export function formsOf({ kernel }: FactorSize): readonly Form[] {
  if (kernel.length === 0) return ['matrices'];
  if (taps(kernel) === 1) return ['channel'];
  const isFlat = kernel.length === 2 && kernel.every((extent) => extent > 1);
  return isFlat ? ['channel', 'spatial', 'tucker'] : ['channel', 'tucker'];
}

/** The sizes of the factors of a cut, in the order of application. */
export function factorSizes({ inputs, outputs, kernel }: FactorSize, { form, ranks }: Cut): FactorSize[] {
  const [first = 0, second = 0] = ranks;
  const ones = kernel.map(() => 1);
  switch (form) {
    case 'matrices':
    case 'channel':
      return [
        { inputs, outputs: first, kernel },
        { inputs: first, outputs, kernel: ones },
      ];
    case 'spatial': {
      const [height = 1, width = 1] = kernel;
      return [
        { inputs, outputs: first, kernel: [height, 1] },
        { inputs: first, outputs, kernel: [1, width] },
      ];
    }
    case 'tucker':
      return [
        { inputs, outputs: first, kernel: ones },
        { inputs: first, outputs: second, kernel },
        { inputs: second, outputs, kernel: ones },
      ];
  }
}

const elementsOf = ({ inputs, outputs, kernel }: FactorSize): number => inputs * outputs * taps(kernel);

/** Elements of the factors of a cut; of the weight itself without one. */
export function parametersOf(layer: FactorSize, cut: Cut | undefined): number {
  if (cut === undefined) return elementsOf(layer);
  return factorSizes(layer, cut).reduce((sum, size) => sum + elementsOf(size), 0);
}

/** Multiply-adds of one sample. */
export function multiplyAddsOf(layer: LayerSize, cut: Cut | undefined): number {
  const { inputPlaces, outputPlaces } = layer;
  const out = taps(outputPlaces);
  if (cut === undefined) return elementsOf(layer) * out;
  const sizes = factorSizes(layer, cut);
  const places = sizes.map((_, i) => {
    if (cut.form === 'tucker') return i === 0 ? taps(inputPlaces) : out;
    if (cut.form === 'spatial' && i === 0) return (outputPlaces[0] ?? 1) * (inputPlaces[1] ?? 1);
    return out;
  });
  return sizes.reduce((sum, size, i) => sum + elementsOf(size) * (places[i] as number), 0);
}

/** Ranks on a grid: the multiples of a number up to a limit, at most so many, denser where they are small. */
export function rankGrid(limit: number, multiple: number, most: number): number[] {
  const steps = Math.floor(limit / multiple);
  if (steps < 1) return multiple > 1 && limit >= 1 ? [limit] : [];
  if (steps <= most) return Array.from({ length: steps }, (_, i) => (i + 1) * multiple);
  const ratio = steps ** (1 / (most - 1));
  const all = Array.from({ length: most }, (_, i) => Math.round(ratio ** i));
  const distinct = new Set<number>();
  let last = 0;
  for (const step of all) {
    last = Math.min(steps, Math.max(step, last + 1));
    distinct.add(last * multiple);
  }
  return [...distinct];
}
