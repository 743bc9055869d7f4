import type { DescriptorsFor } from '../graph/option-descriptors.js';

/** How a study is run. */
export interface StudyRunOptions {
  /** Runs of each setting, with the seeds from 0 on; default what the study asks for. */
  readonly seeds?: number | undefined;
  /** Fewer seeds and smaller runs: a look, not a result. Default false. */
  readonly quick?: boolean | undefined;
  /** Data of the user's own, for the studies that take some: folders as `openDataset` reads them. */
  readonly data?: readonly string[] | undefined;
  /** Run only settings of these values, `network=mlp`; several values of one setting are alternatives. Default all. */
  readonly only?: readonly string[] | undefined;
  /** The part of the runs to make, as `2/4`; default all. */
  readonly shard?: string | undefined;
  /** Runs at a time, each on a thread; default one for each core. */
  readonly threads?: number | undefined;
}

export const STUDY_OPTIONS = {
  seeds: {
    kind: 'integer',
    min: 1,
    max: 100_000,
    defaultHelp: 'what the study asks for',
    help: 'runs of each setting, with seeds from 0 on',
  },
  quick: { kind: 'flag', default: false, help: 'fewer seeds and smaller runs: a look, not a result' },
  data: {
    kind: 'texts',
    help: 'data for the studies that need it: MNIST, Fashion-MNIST or CIFAR files, as train reads them',
  },
  only: {
    kind: 'texts',
    help: 'run only the settings of a value: network=mlp; of several values of one setting any',
  },
  shard: {
    kind: 'text',
    help: 'run only a part: 2/4 is the second of four; auto: of a Slurm array, auto/64: of an Indexed Job',
  },
  threads: {
    kind: 'integer',
    min: 1,
    max: 1024,
    defaultHelp: 'one for each core',
    help: 'parallel runs, each on a thread of its own',
  },
} as const satisfies DescriptorsFor<StudyRunOptions>;
