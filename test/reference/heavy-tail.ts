import { readFileSync } from 'node:fs';

/** Figures of heavy_tail.py for one matrix. */
export interface ReferenceFigures {
  readonly rows: number;
  readonly columns: number;
  readonly participation_ratio: number;
  readonly log_norm: number;
  readonly log_spectral_norm: number;
  readonly power_law: {
    readonly alpha: number;
    readonly D: number;
    readonly twoSidedD: number;
    readonly xmin: number;
    readonly sigma: number;
    readonly num_pl_spikes: number;
    readonly alpha_weighted: number;
    readonly log_alpha_norm: number;
  };
  readonly marchenko_pastur: {
    readonly method: 'bulk' | 'median';
    readonly sigma: number;
    readonly bulk_min: number;
    readonly bulk_max: number;
    readonly num_spikes: number;
    readonly mp_softrank: number;
    readonly distance: number;
  };
}

export interface ReferenceSpectrum extends ReferenceFigures {
  readonly singularValues: readonly number[];
  /** Of the matrix with its elements permuted. */
  readonly permuted?: readonly number[];
  readonly rand_distance?: number;
}

export interface ReferenceOperator {
  readonly groups: number;
  readonly size: number;
  readonly count: number;
  readonly step: number;
  readonly everyStep: readonly number[];
}

/** What heavy_tail.py recorded. */
export const HEAVY_TAIL: {
  readonly synthetic: Readonly<Record<string, ReferenceSpectrum>>;
  readonly 'shapes.onnx': {
    readonly matrices: Readonly<Record<string, ReferenceFigures>>;
    readonly operators: Readonly<Record<string, ReferenceOperator>>;
  };
} = JSON.parse(readFileSync(new URL('./heavy-tail.json', import.meta.url), 'utf8'));
