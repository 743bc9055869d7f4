import type { Command } from './command.js';
import { onFile } from './errors.js';
import { checkOutput, loadModel, nameOf, print, writeModel } from './files.js';
import { type CommonArguments, commonOptions, type OutputArguments, once, outputOptions } from './options.js';
import { ProgressLine } from './progress.js';

interface Arguments extends CommonArguments, OutputArguments {
  readonly model: string;
}

export const collapseCommand: Command<Arguments> = {
  usage: 'collapse <model>',
  describe: 'multiply chains of linear layers out to single layers',
  builder: (parser) =>
    commonOptions(
      outputOptions(
        parser.positional('model', {
          type: 'string',
          demandOption: true,
          describe: 'ONNX file, - for standard input',
        }),
      ),
    )
      .example('$0 collapse trained.onnx -o deploy.onnx', 'undo expand after training')
      .example('$0 collapse trained.onnx --dry-run', 'which chains it finds'),
  handler: async (args, io) => {
    const output = await checkOutput({ ...args, output: once(args.output, '--output') }, io);
    const { collapse } = await import('../passes/collapse.js');
    const { collapseDocument } = await import('../report/passes.js');
    const model = await loadModel(args.model, io, args);
    const progress = new ProgressLine(io, args);
    try {
      const pass = collapse({ dryRun: args.dryRun, onProgress: progress.update });
      const [account] = await onFile(nameOf(args.model), () => model.apply(pass));
      if (output !== undefined) await writeModel(model, output, args.overwrite, io);
      progress.clear();
      if (!args.quiet)
        await print(collapseDocument(account, { output, verbose: args.verbose }), { ...args, output }, io);
    } finally {
      progress.clear();
    }
    return 0;
  },
};
