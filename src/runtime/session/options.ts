import type { OptionDescriptors } from '../../graph/option-descriptors.js';

/** Of random inputs. */
export const RANDOM_INPUT_OPTIONS = {
  seed: { kind: 'integer', min: 0, default: 0, help: 'seed of random inputs' },
  dims: {
    kind: 'dims',
    min: 0,
    flag: 'dim',
    defaultHelp: '1',
    help: 'size of an open dimension of random inputs: name=4 or x[1]=4',
  },
} as const satisfies OptionDescriptors;

/** Of every session. */
export const SESSION_OPTIONS = {
  threads: {
    kind: 'integer',
    min: 1,
    max: 1024,
    defaultHelp: 'one per core',
    help: 'threads of one operator on the CPU',
  },
} as const satisfies OptionDescriptors;

/** Of what runs on a GPU. */
export const DEVICE_OPTION = {
  device: { kind: 'integer', min: 0, default: 0, help: 'which GPU' },
} as const satisfies OptionDescriptors;

/** Of `benchModels`. */
export const BENCH_OPTIONS = {
  batches: {
    kind: 'integers',
    min: 1,
    flag: 'batch',
    help: 'first dimension of random inputs; for a benchmark, several: 1,8,32',
  },
  runs: { kind: 'integer', min: 1, max: 1_000_000, default: 30, help: 'timed runs of a benchmark' },
  warmup: {
    kind: 'integer',
    min: 0,
    max: 1_000_000,
    default: 3,
    help: 'untimed runs of a benchmark, between the first and the timed ones',
  },
} as const satisfies OptionDescriptors;
