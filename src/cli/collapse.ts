import type { Argv } from 'yargs';
import type { ProductPlace } from '../linalg/index.js';
import type { Command } from './shell/command.js';
import { checkOutput, loadModel, nameOf, print, writeModel } from './shell/files.js';
import { tell } from './shell/io.js';
import {
  type CommonArguments,
  commonOptions,
  type FixInputsArguments,
  fixInputsOption,
  type OutputArguments,
  once,
  outputOptions,
} from './shell/options.js';
import { outputsOf } from './shell/outputs.js';
import { ProgressLine } from './shell/progress.js';
import {
  onModel,
  type ProviderArguments,
  preference,
  productPlace,
  providerOptions,
  providersOf,
} from './shell/provider-options.js';

interface RegionArguments {
  readonly chainsOnly: boolean;
  readonly force: boolean;
  readonly explain: boolean;
}

interface Arguments
  extends CommonArguments,
    OutputArguments,
    FixInputsArguments,
    ProviderArguments,
    RegionArguments {
  readonly model: string;
}

function regionOptions<T>(parser: Argv<T>): Argv<T & RegionArguments> {
  return parser
    .option('chains-only', {
      type: 'boolean',
      describe: 'fold chains alone, as expand makes them; leave normalizations and branches',
    })
    .option('force', {
      type: 'boolean',
      describe: 'fold regions also where that costs parameters or multiply-adds',
    })
    .option('explain', {
      type: 'boolean',
      describe: 'compare each region with what it becomes, on a random input in onnxruntime',
    }) as unknown as Argv<T & RegionArguments>;
}

export const collapseCommand: Command<Arguments> = {
  builder: (parser) =>
    fixInputsOption(
      regionOptions(
        providerOptions(
          commonOptions(
            outputOptions(
              parser.positional('model', {
                type: 'string',
                demandOption: true,
                describe: 'ONNX file, - for standard input',
              }),
            ),
          ),
          'what runs the products, in float64 (cuda, cpu), and with --explain the comparison (default: cpu)',
        ),
      ),
    )
      .example('$0 collapse trained.onnx -o deploy.onnx', 'fold all that folds exactly')
      .example('$0 collapse trained.onnx -o deploy.onnx --chains-only', 'undo expand, and nothing more')
      .example('$0 collapse trained.onnx --dry-run --explain', 'what it would fold, and how well'),
  handler: async (args, io) => {
    const output = await checkOutput({ ...args, output: once(args.output, '--output') }, io);
    const outputs = outputsOf({ '--output': output });
    const places = providersOf(args);
    const products = await productPlace(places, args.explain === true);
    const probes = { providers: preference(places.list), device: places.device };
    const { collapse } = await import('../passes/collapse/collapse.js');
    const { collapseDocument } = await import('../report/passes.js');
    const model = await loadModel(args.model, io, { ...args, outputs, inPlace: output });
    const progress = new ProgressLine(io, args);
    try {
      const { chainsOnly = false, force = false, explain = false, dryRun } = args;
      const pass = collapse({
        chainsOnly,
        force,
        explain,
        // To be compared chains have to be folded, and then their regions are told as they will be.
        dryRun: dryRun && !explain,
        products,
        probes,
        onProgress: progress.update,
      });
      const [account] = await onModel(nameOf(args.model), () => model.apply(pass));
      if (output !== undefined) await writeModel(model, output, args.overwrite, io);
      progress.clear();
      if (!args.quiet && places.list !== undefined) await tell(io, placeText(places.list, products));
      if (!args.quiet)
        await print(
          collapseDocument(account, { output, verbose: args.verbose || explain }),
          { ...args, output },
          io,
        );
    } finally {
      progress.clear();
    }
    return 0;
  },
};

/** Where the products ran, where that was asked for. */
function placeText(list: readonly string[], products: ProductPlace | undefined): string {
  if (products !== undefined) return `Products ran on ${products.providers.join(', ')}, in float64.`;
  if (list.includes('auto')) return 'Products ran on the CPU: no better provider with float64 loads here.';
  const lacking = list.filter((name) => name !== 'cpu');
  return lacking.length === 0
    ? 'Products ran on the CPU, in float64.'
    : `Products ran on the CPU, for ${lacking.join(', ')} has no float64; regions were compared on ${lacking.join(', ')}.`;
}
