import type { ProductPlace } from '../linalg/index.js';
import { COLLAPSE_OPTIONS } from '../passes/collapse/options.js';
import type { Command } from './shell/command.js';
import type { Given } from './shell/described.js';
import { checkOutput, loadModel, MODEL, nameOf, summarize, writeModel } from './shell/files.js';
import { tell } from './shell/io.js';
import { COMMON_OPTIONS, FIX_INPUTS_OPTIONS, OUTPUT_OPTIONS } from './shell/options.js';
import { outputsOf } from './shell/outputs.js';
import { ProgressLine } from './shell/progress.js';
import {
  onModel,
  PROVIDER_OPTIONS,
  preference,
  productPlace,
  providersOf,
} from './shell/provider-options.js';

const OPTIONS = {
  ...COLLAPSE_OPTIONS,
  ...PROVIDER_OPTIONS,
  ep: {
    ...PROVIDER_OPTIONS.ep,
    help: 'execution provider of the products, in float64 (cuda, cpu), and of the comparison with --explain',
  },
  ...FIX_INPUTS_OPTIONS,
  ...OUTPUT_OPTIONS,
  ...COMMON_OPTIONS,
};

type Arguments = Given<typeof OPTIONS> & { readonly model: string };

export const collapseCommand: Command<Arguments> = {
  options: OPTIONS,
  builder: (parser) =>
    parser
      .positional('model', MODEL)
      .example('$0 collapse trained.onnx -o deploy.onnx', 'fold everything that folds exactly')
      .example('$0 collapse trained.onnx -o deploy.onnx --chains-only', 'undo expand, and nothing more')
      .example('$0 collapse trained.onnx --dry-run --explain', 'what it would fold, and how well'),
  handler: async (args, io) => {
    const output = await checkOutput(args, io);
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
      if (output !== undefined) await writeModel(model, output, args, io);
      progress.clear();
      if (!args.quiet && places.list !== undefined) await tell(io, placeText(places.list, products));
      const document = collapseDocument(account, { output, verbose: args.verbose || explain });
      await summarize(document, { ...args, output }, io);
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
