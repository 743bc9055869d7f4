import { EVALUATE_OPTIONS } from '../../evaluate/options.js';
import type { OptionDescriptors } from '../../graph/option-descriptors.js';
import { PAGE_FORMATS } from '../../report/text/render.js';
import { SESSION_OPTIONS } from '../../runtime/session/options.js';
import { DATA_OPTIONS } from '../../training/data/options.js';
import { DATA, SAMPLE_ARGUMENTS } from '../sample-data.js';
import type { Given } from '../shell/described.js';
import { COMMON_OPTIONS, FILE_OPTIONS } from '../shell/options.js';
import { PROVIDER_OPTIONS } from '../shell/provider-options.js';

const LIMITS = { group: 'Limits' } as const;

/** What the command takes. */
export const EVALUATE_ARGUMENTS = {
  ...SAMPLE_ARGUMENTS,
  split: {
    ...DATA_OPTIONS.split,
    default: undefined,
    ...DATA,
    defaultHelp: 'test, or all of data in one piece',
  },
  unlabeled: {
    ...DATA_OPTIONS.unlabeled,
    ...DATA,
    help: 'ignore labels: compare models by their outputs',
  },
  ...EVALUATE_OPTIONS,
  prediction: {
    kind: 'text',
    defaultHelp: 'the first',
    group: 'Measure',
    help: 'output to measure',
  },
  maxDrop: {
    kind: 'number',
    min: 0,
    ...LIMITS,
    help: "exit 1 if accuracy is more than this many points below the first model's: 0.5; without labels, if more decisions differ",
  },
  maxRise: {
    kind: 'text',
    ...LIMITS,
    help: "exit 1 if the loss is more than this above the first model's: 2%",
  },
  shard: {
    kind: 'text',
    help: 'measure only a part of the samples, 2/8, into the folder of -o, for merge; auto: of a Slurm array, auto/64: of an Indexed Job',
  },
  ...FILE_OPTIONS,
  output: {
    ...FILE_OPTIONS.output,
    help: 'file for the report: .json, .csv, .md, .html, .txt; with --shard a folder',
  },
  ...SESSION_OPTIONS,
  ...PROVIDER_OPTIONS,
  ...COMMON_OPTIONS,
  format: { ...COMMON_OPTIONS.format, choices: PAGE_FORMATS },
} as const satisfies OptionDescriptors;

/** The command line, as it is given. */
export type EvaluateArguments = Given<typeof EVALUATE_ARGUMENTS> & {
  readonly model: string;
  readonly others?: readonly string[] | undefined;
};
