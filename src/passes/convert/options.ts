import type { OptionDescriptors } from '../../graph/option-descriptors.js';

/** Floating-point types that models are converted to. */
export const CONVERT_TYPES = ['float32', 'float16', 'bfloat16'] as const;
/** A floating-point type that models are converted to. */
export type ConvertType = (typeof CONVERT_TYPES)[number];

/** Options of convertFloats. */
export interface ConvertOptions {
  /** Inputs and outputs keep their types; default false. */
  readonly keepIo?: boolean | undefined;
  /** Globs on operators and nodes that stay in float32. */
  readonly exclude?: readonly string[] | undefined;
}

/** The options of `convertFloats` that one value describes. */
export const CONVERT_OPTIONS = {
  keepIo: { kind: 'flag', default: false, help: 'inputs and outputs keep their types' },
  exclude: { kind: 'patterns', help: 'operators and nodes that stay in float32' },
} as const satisfies OptionDescriptors;
