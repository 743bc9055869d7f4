import type { Command } from './shell/command.js';

/** What its arguments are, a command's builder and handler agree about. */
type AnyCommand = Command<unknown>;

/** How a command presents itself. Its options and its work are loaded where it is the one chosen: that halves the start. */
export interface CommandEntry {
  /** Name and positionals, as yargs writes them: 'expand <model>'. */
  readonly usage: string;
  readonly describe: string;
  readonly load: () => Promise<AnyCommand>;
}

/** All commands, in the order of --help. */
export const COMMANDS: readonly CommandEntry[] = [
  {
    usage: 'expand <model>',
    describe: 'replace linear layers by chains of linear layers that compute the same function',
    load: async () => (await import('./expand/expand.js')).expandCommand as AnyCommand,
  },
  {
    usage: 'collapse <model>',
    describe: 'fold chains of linear layers, and every other affine region, into single layers',
    load: async () => (await import('./collapse.js')).collapseCommand as AnyCommand,
  },
  {
    usage: 'gradient <model>',
    describe: 'write the graph of a loss and its gradients, in standard operators',
    load: async () => (await import('./gradient.js')).gradientCommand as AnyCommand,
  },
  {
    usage: 'rank-report <model> [others..]',
    describe: 'report the spectrum and ranks of every weight; compare models side by side',
    load: async () => (await import('./rank-report/rank-report.js')).rankReportCommand as AnyCommand,
  },
  {
    usage: 'merge <parts..>',
    describe: 'put together what the shards of one command computed: the same bytes as without shards',
    load: async () => (await import('./merge.js')).mergeCommand as AnyCommand,
  },
  {
    usage: 'extract-lora <base> [tuned]',
    describe: 'what training changed as LoRA adapters, with their error',
    load: async () => (await import('./extract-lora.js')).extractLoraCommand as AnyCommand,
  },
  {
    usage: 'verify <a> <b>',
    describe: 'run two models on the same inputs and compare their outputs',
    load: async () => (await import('./verify.js')).verifyCommand as AnyCommand,
  },
  {
    usage: 'evaluate <model> [others..]',
    describe: 'measure accuracy, loss and more on data, with intervals; show where models differ',
    load: async () => (await import('./evaluate/evaluate.js')).evaluateCommand as AnyCommand,
  },
  {
    usage: 'diff <a> <b>',
    describe: 'what differs between two models: nodes, attributes, weights by norm; names do not matter',
    load: async () => (await import('./graph/diff.js')).diffCommand as AnyCommand,
  },
  {
    usage: 'print <model>',
    describe: 'the graph as text, the same for the same model everywhere',
    load: async () => (await import('./graph/print.js')).printCommand as AnyCommand,
  },
  {
    usage: 'check <model>',
    describe: 'is the file sound, and does onnxruntime load it',
    load: async () => (await import('./graph/check.js')).checkCommand as AnyCommand,
  },
  {
    usage: 'extract <model>',
    describe: 'the part of a model between values, as a model',
    load: async () => (await import('./graph/extract.js')).extractCommand as AnyCommand,
  },
  {
    usage: 'convert <model>',
    describe:
      'another floating-point type, fixed dimensions, a newer operator set, external data, safetensors',
    load: async () => (await import('./graph/convert.js')).convertCommand as AnyCommand,
  },
  {
    usage: 'infer <model>',
    describe: 'types and shapes of all values, as the operators make them',
    load: async () => (await import('./graph/infer.js')).inferCommand as AnyCommand,
  },
  {
    usage: 'new <kind>',
    describe: 'make a network to study: an MLP or a small CNN with random weights',
    load: async () => (await import('./new.js')).newCommand as AnyCommand,
  },
  {
    usage: 'train <model>',
    describe: 'train a model on stock onnxruntime, without changing its graph',
    load: async () => (await import('./train/train.js')).trainCommand as AnyCommand,
  },
  {
    usage: 'compress <model>',
    describe: 'factorize layers to a share of the parameters, by what calibration data shows to matter least',
    load: async () => (await import('./compress.js')).compressCommand as AnyCommand,
  },
  {
    usage: 'train-log <logs..>',
    describe: 'plot the logs of several trainings on one page',
    load: async () => (await import('./train/train-log.js')).trainLogCommand as AnyCommand,
  },
  {
    usage: 'study [study] [files..]',
    describe: "reproduce the papers' observations, or run a plan of your own, with seeds and intervals",
    load: async () => (await import('./study.js')).studyCommand as AnyCommand,
  },
  {
    usage: 'run <model..>',
    describe: 'run a model on the CPU or a GPU; with --bench, compare the speed of several',
    load: async () => (await import('./run-model.js')).runModelCommand as AnyCommand,
  },
  {
    usage: 'doctor',
    describe: 'check which execution providers work here, how fast, and what the others lack',
    load: async () => (await import('./doctor.js')).doctorCommand as AnyCommand,
  },
];
