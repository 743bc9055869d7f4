import type { Command } from './command.js';
import { onFile } from './errors.js';
import { checkOutput, loadModel, nameOf, print, writeModel } from './files.js';
import {
  type CommonArguments,
  commonOptions,
  number,
  type OutputArguments,
  once,
  outputOptions,
} from './options.js';
import { ProgressLine } from './progress.js';

interface Arguments extends CommonArguments, OutputArguments {
  readonly model: string;
  readonly depth: number | undefined;
  readonly width: number | undefined;
  readonly init: 'balanced' | 'identity' | undefined;
  readonly seed: number | undefined;
}

export const expandCommand: Command<Arguments> = {
  usage: 'expand <model>',
  describe: 'replace linear layers by chains of linear layers, same function',
  builder: (parser) =>
    commonOptions(
      outputOptions(
        parser
          .positional('model', {
            type: 'string',
            demandOption: true,
            describe: 'ONNX file, - for standard input',
          })
          .option('depth', { type: 'number', requiresArg: true, describe: 'layers per chain (default: 2)' })
          .option('width', {
            type: 'number',
            requiresArg: true,
            describe: 'hidden width relative to the outputs (default: 1)',
          })
          .option('init', {
            choices: ['balanced', 'identity'] as const,
            requiresArg: true,
            describe:
              'balanced: factors of equal spectra; identity: the weight and identities (default: balanced)',
          })
          .option('seed', { type: 'number', requiresArg: true, describe: 'of random weights (default: 0)' }),
      ),
    )
      .example('$0 expand model.onnx -o expanded.onnx --depth 3', 'chains of three layers')
      .example('$0 expand model.onnx --dry-run', 'which layers, and what it would cost'),
  handler: async (args, io) => {
    const depth = number(args.depth, '--depth', { min: 1, whole: true });
    const width = number(args.width, '--width', { min: 0, above: true });
    const seed = number(args.seed, '--seed', { min: 0, whole: true });
    const init = once(args.init, '--init');
    const output = await checkOutput({ ...args, output: once(args.output, '--output') }, io);
    const { expand } = await import('../passes/expand.js');
    const { expandDocument } = await import('../report/passes.js');
    const model = await loadModel(args.model, io, args);
    const progress = new ProgressLine(io, args);
    const pass = expand({
      ...(depth !== undefined && { depth }),
      ...(width !== undefined && { width }),
      ...(init !== undefined && { init }),
      ...(seed !== undefined && { seed }),
      dryRun: args.dryRun,
      onProgress: progress.update,
    });
    try {
      const [account] = await onFile(nameOf(args.model), () => model.apply(pass));
      if (output !== undefined) await writeModel(model, output, args.overwrite, io);
      progress.clear();
      if (!args.quiet)
        await print(expandDocument(account, { output, verbose: args.verbose }), { ...args, output }, io);
    } finally {
      progress.clear();
    }
    return 0;
  },
};
