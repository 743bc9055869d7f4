import type { Command } from './command.js';
import { onFile, UsageError } from './errors.js';
import { loadModel, nameOf, print } from './files.js';
import { type CommonArguments, commonOptions, dimensions, number } from './options.js';

interface Arguments extends CommonArguments {
  readonly a: string;
  readonly b: string;
  readonly samples: number | undefined;
  readonly tolerance: number | undefined;
  readonly seed: number | undefined;
  readonly dim: string | readonly string[] | undefined;
}

export const verifyCommand: Command<Arguments> = {
  usage: 'verify <a> <b>',
  describe: 'run two models on the same random inputs and compare their outputs',
  builder: (parser) =>
    commonOptions(
      parser
        .positional('a', { type: 'string', demandOption: true, describe: 'ONNX file, - for standard input' })
        .positional('b', { type: 'string', demandOption: true, describe: 'the one to hold against it' })
        .option('samples', {
          type: 'number',
          requiresArg: true,
          describe: 'random inputs to try (default: 3)',
        })
        .option('tolerance', {
          type: 'number',
          requiresArg: true,
          describe: 'largest max |Δ| / max |a| that passes (default: 1e-4; more for outputs in 16 bits)',
        })
        .option('seed', { type: 'number', requiresArg: true, describe: 'of the inputs (default: 0)' })
        .option('dim', {
          type: 'string',
          requiresArg: true,
          describe: 'name=size of a symbolic dimension (default: 1); may repeat',
        }),
    )
      .example('$0 verify model.onnx expanded.onnx', 'exit 0 where they agree, 1 where not')
      .example('$0 verify a.onnx b.onnx --dim batch=4 --samples 10', 'a batch of four, ten times'),
  handler: async (args, io) => {
    const samples = number(args.samples, '--samples', { min: 1, whole: true });
    const tolerance = number(args.tolerance, '--tolerance', { min: 0, above: true });
    const seed = number(args.seed, '--seed', { min: 0, whole: true });
    const dims = dimensions(args.dim);
    if (args.a === '-' && args.b === '-')
      throw new UsageError('only one of the models can come from standard input');
    const { verifyModels } = await import('../analysis/verify.js');
    const { verifyDocument } = await import('../report/verify.js');
    const a = await loadModel(args.a, io, args);
    const b = await loadModel(args.b, io, args);
    const verification = await onFile(`${nameOf(args.a)}, ${nameOf(args.b)}`, () =>
      verifyModels(a, b, { samples, tolerance, seed, dims }),
    );
    if (!args.quiet) {
      const names = { a: nameOf(args.a), b: nameOf(args.b) };
      await print(verifyDocument(verification, names), args, io);
    }
    return verification.passed ? 0 : 1;
  },
};
