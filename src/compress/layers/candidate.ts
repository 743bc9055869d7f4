import { type Matrix, matmul } from '../../linalg/matmul.js';
import { evaluateConstant } from '../../runtime/constants/constant.js';
import type { Conditioned } from '../account.js';
import type { Choice } from '../allocation/allocation.js';
import type { Moments } from '../calibration/metric.js';
import type { Cut, LayerSize } from '../factors/forms.js';
import type { Layer } from './layers.js';

/** What is known of a layer before ranks are allocated. */
export interface Candidate {
  readonly layer: Layer;
  readonly size: LayerSize;
  /** The first is the layer as it is. */
  readonly choices: readonly (Choice & { readonly cut: Cut | undefined })[];
  readonly output: Moments | undefined;
  readonly conditioned: Conditioned | undefined;
  readonly spectrum: Float64Array;
  /** Why the layer has no choice but to stay. */
  readonly kept?: string | undefined;
}

/** A layer, and the cut that was chosen for it. */
export interface Outcome extends Candidate {
  readonly cut: Cut | undefined;
  readonly predicted: number;
  /** Of its nodes in onnxruntime, as they were and with the cut. */
  readonly microseconds?: { readonly before: number; readonly after: number } | undefined;
}

/** The weight of a layer as outputs x (inputs * taps), in float64. */
export async function weightOf({ site, rows, columns }: Layer): Promise<Matrix> {
  const tensor = await evaluateConstant(site.weight.graph, site.weight.value);
  const { inputs, outputs, kernel } = site;
  return {
    rows,
    columns,
    data: Float64Array.from(site.outInOf(tensor.floats(), { inputs, outputs, kernel })),
  };
}

export async function timesVector(a: Matrix, vector: Float64Array): Promise<Float64Array> {
  const { data } = await matmul(a, { rows: vector.length, columns: 1, data: vector });
  return Float64Array.from(data);
}

/** (W - W') mean: what the outputs lose on the average. */
export async function shiftOf(weight: Matrix, product: Matrix, mean: Float64Array): Promise<Float64Array> {
  const [before, after] = [await timesVector(weight, mean), await timesVector(product, mean)];
  return before.map((value, i) => value - (after[i] as number));
}
