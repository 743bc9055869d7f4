import type { OptionDescriptors } from '../../graph/option-descriptors.js';
import { FORMATS } from '../../report/text/render.js';

/** What every command takes. */
export const COMMON_OPTIONS = {
  format: { kind: 'choice', choices: FORMATS, help: 'how to print the result', defaultHelp: 'table' },
  quiet: {
    kind: 'flag',
    default: false,
    alias: 'q',
    help: 'no notes, no progress, and no summary unless --format asks for it',
  },
  verbose: { kind: 'flag', default: false, help: 'list everything; stack traces of errors' },
} as const satisfies OptionDescriptors;

/** Where a command writes. */
export const FILE_OPTIONS = {
  output: { kind: 'text', alias: 'o', help: 'file to write, - for standard output' },
  overwrite: { kind: 'flag', default: false, help: 'replace the output file if it exists' },
} as const satisfies OptionDescriptors;

/** What a command that writes a model takes. */
export const OUTPUT_OPTIONS = {
  ...FILE_OPTIONS,
  dryRun: { kind: 'flag', default: false, help: 'say what would be done, write nothing' },
} as const satisfies OptionDescriptors;

/** What a command takes that needs weights to be constant. */
export const FIX_INPUTS_OPTIONS = {
  fixInputs: {
    kind: 'flag',
    help: 'make constants of weights that are also inputs, and remove those inputs',
  },
} as const satisfies OptionDescriptors;
