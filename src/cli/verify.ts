import type { Argv } from 'yargs';
import type { Command } from './shell/command.js';
import { UsageError } from './shell/errors.js';
import { loadModel, nameOf, print } from './shell/files.js';
import { type CommonArguments, commonOptions, dimensions, number, once } from './shell/options.js';
import {
  EP_CHOICES,
  type EpChoice,
  onModel,
  type ProviderArguments,
  preference,
  providerOptions,
  providersOf,
} from './shell/provider-options.js';

interface Arguments extends CommonArguments, ProviderArguments {
  readonly a: string;
  readonly b: string;
  readonly samples: number | undefined;
  readonly tolerance: number | undefined;
  readonly seed: number | undefined;
  readonly dim: string | readonly string[] | undefined;
  readonly referenceEp: EpChoice | undefined;
  readonly strictEp: boolean | undefined;
}

export const verifyCommand: Command<Arguments> = {
  builder: (parser) =>
    commonOptions(
      providerOptions(parser)
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
          describe: 'size of an open dimension, name=4 or x[1]=4 (default: 1); may repeat',
        })
        .option('reference-ep', {
          choices: EP_CHOICES,
          requiresArg: true,
          describe: 'what to run the first model on instead of --ep',
        })
        .option('strict-ep', { type: 'boolean', describe: 'fail if any node falls to the CPU' }),
    )
      .example('$0 verify model.onnx expanded.onnx', 'exit 0 where they agree, 1 where not')
      .example('$0 verify a.onnx b.onnx --dim batch=4 --samples 10', 'a batch of four, ten times')
      .example(
        '$0 verify m.onnx m.onnx --ep cuda --reference-ep cpu',
        'does the GPU compute what the CPU does',
      ) as unknown as Argv<Arguments>,
  handler: async (args, io) => {
    const samples = number(args.samples, '--samples', { min: 1, whole: true });
    const tolerance = number(args.tolerance, '--tolerance', { min: 0, above: true });
    const seed = number(args.seed, '--seed', { min: 0, whole: true });
    const dims = dimensions(args.dim);
    const { list, device } = providersOf(args);
    const providers = list && preference(list);
    const referenceProviders = once(args.referenceEp, '--reference-ep');
    const strict = args.strictEp === true;
    if (strict && (list === undefined || list.includes('cpu'))) {
      throw new UsageError('--strict-ep goes with a provider other than the CPU: --ep cuda, say');
    }
    if (args.a === '-' && args.b === '-')
      throw new UsageError('only one of the models can come from standard input');
    const { verifyModels } = await import('../analysis/verify/verify.js');
    const { verifyDocument } = await import('../report/verify.js');
    const a = await loadModel(args.a, io, args);
    const b = await loadModel(args.b, io, args);
    const verification = await onModel(`${nameOf(args.a)}, ${nameOf(args.b)}`, () =>
      verifyModels(a, b, {
        samples,
        tolerance,
        seed,
        dims,
        providers,
        referenceProviders,
        device,
        strict,
      }),
    );
    if (!args.quiet) {
      const names = { a: nameOf(args.a), b: nameOf(args.b) };
      await print(verifyDocument(verification, names), args, io);
    }
    return verification.passed ? 0 : 1;
  },
};
