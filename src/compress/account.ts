import type { Skipped } from '../graph/skipped.js';
import type { DivergenceKind } from './calibration/divergence.js';
import type { Form } from './factors/forms.js';
import type { PlannedLayer } from './options.js';

/** What the calibration data leaves open of a layer. */
export interface Conditioned {
  /** Directions of the inputs that no sample has anything in: dead channels, or too few samples. */
  readonly missing: number;
  readonly of: number;
  /** Vectors that were looked at. */
  readonly vectors: number;
}

/** One layer, and what became of it. */
export interface CompressedLayer {
  /** The label of its node; of a shared weight, of the first. */
  readonly layer: string;
  readonly op: string;
  /** Nodes that share the weight. */
  readonly nodes: readonly string[];
  readonly rows: number;
  readonly columns: number;
  /** 'keep' of one that stays as it is, 'bits' of one whose weight is in a few bits, with a branch of the rank that `ranks` says. */
  readonly form: Form | 'keep' | 'bits';
  readonly ranks: readonly number[];
  /** The full rank: the smaller side. */
  readonly rankBefore: number;
  /** What the cut adds to the divergence, by itself; without data ½ ‖ΔW‖² / ‖W‖². */
  readonly predicted: number;
  readonly parametersBefore: number;
  readonly parametersAfter: number;
  readonly multiplyAddsBefore: number;
  readonly multiplyAddsAfter: number;
  /** Time of its nodes in onnxruntime, in microseconds, for one sample; undefined where it was not measured. */
  readonly microsecondsBefore: number | undefined;
  readonly microsecondsAfter: number | undefined;
  /** Why it had to stay as it is; undefined where a budget decided. */
  readonly reason: string | undefined;
  readonly conditioned: Conditioned | undefined;
  /** Singular values of the weight, weighed by inputs and curvature where there is data: what is cut off is the end of them. */
  readonly spectrum: Float64Array;
}

/** The whole model before and after. */
export interface Totals {
  /** Elements of all floating-point tensors of the file. */
  readonly parametersBefore: number;
  readonly parametersAfter: number;
  /** Of the linear layers of the main graph, for one sample. */
  readonly multiplyAddsBefore: number;
  readonly multiplyAddsAfter: number;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** Time of the result over that of the original, run in turns; undefined where it was not measured. */
  readonly latency: number | undefined;
}

/** A point of the trade-off: what it would keep, and what that would add to the divergence. */
export interface CurvePoint {
  readonly params: number;
  readonly macs: number;
  readonly predicted: number;
}

/** What compress did, or in a dry run would do. */
export interface CompressAccount {
  readonly layers: readonly CompressedLayer[];
  readonly skipped: readonly Skipped[];
  readonly total: Totals;
  readonly curve: readonly CurvePoint[];
  /** What outputs are compared by; undefined without data: then errors are relative to weights. */
  readonly divergence: DivergenceKind | undefined;
  /** Samples that were calibrated on. */
  readonly samples: number;
  /** What all cuts together should add to the divergence from the original. */
  readonly predicted: number;
  /** The divergence from the original that the result has on the calibration samples; undefined without data and of a dry run. */
  readonly measured: number | undefined;
  /** The choices, to be edited and given back. */
  readonly plan: readonly PlannedLayer[];
  /** What could not be used, and why. */
  readonly notes: readonly string[];
}
