import { DEFAULT_MEMORY_LIMIT, setMemoryLimit } from '../../graph/limits/memory-limit.js';
import type { OptionDescriptors } from '../../graph/option-descriptors.js';
import { FORMATS } from '../../report/text/render.js';

const GIB = 2 ** 30;

/** Sets what `--memory-limit` says. */
export function limitMemory({ memoryLimit }: { readonly memoryLimit?: number | undefined }): void {
  setMemoryLimit((memoryLimit ?? DEFAULT_MEMORY_LIMIT / GIB) * GIB);
}

/** What every command takes. */
export const COMMON_OPTIONS = {
  format: { kind: 'choice', choices: FORMATS, help: 'how to print the result', defaultHelp: 'table' },
  quiet: {
    kind: 'flag',
    default: false,
    alias: 'q',
    help: 'no notes, no progress, and no summary unless --format asks for it',
  },
  memoryLimit: {
    kind: 'number',
    above: 0,
    default: DEFAULT_MEMORY_LIMIT / GIB,
    help: 'GiB that a computed constant, an unpacked file, an image or a random input may take',
  },
  config: {
    kind: 'text',
    writes: true,
    defaultHelp: '.onnx-overparam.yaml in the working directory, if there is one',
    help: 'YAML file of options by command, which those of the command line replace',
  },
  verbose: { kind: 'flag', default: false, help: 'list everything; stack traces of errors' },
} as const satisfies OptionDescriptors;

/** Where a command writes. */
export const FILE_OPTIONS = {
  output: { kind: 'text', alias: 'o', writes: true, help: 'file to write, - for standard output' },
  overwrite: { kind: 'flag', default: false, writes: true, help: 'replace the output file if it exists' },
} as const satisfies OptionDescriptors;

/** What a command that writes a model takes. */
export const OUTPUT_OPTIONS = {
  ...FILE_OPTIONS,
  dataFile: {
    kind: 'text',
    writes: true,
    defaultHelp: 'only what was external or passes 2 GiB, in <output>.data',
    help: 'put the weights into a new file of this name beside the output',
  },
  dryRun: { kind: 'flag', default: false, help: 'print what would be done, write nothing' },
} as const satisfies OptionDescriptors;

/** What a command takes that needs weights to be constant. */
export const FIX_INPUTS_OPTIONS = {
  fixInputs: {
    kind: 'flag',
    help: 'make constants of weights that are also inputs, and remove those inputs',
  },
} as const satisfies OptionDescriptors;
