import type { OptionDescriptors } from '../../graph/option-descriptors.js';
import type { Command } from '../shell/command.js';
import type { Given } from '../shell/described.js';
import { checkOutput, loadModel, MODEL, nameOf, summarize, writeModel } from '../shell/files.js';
import { COMMON_OPTIONS, OUTPUT_OPTIONS } from '../shell/options.js';
import { outputsOf } from '../shell/outputs.js';
import { onModel } from '../shell/provider-options.js';

const OPTIONS = { ...OUTPUT_OPTIONS, ...COMMON_OPTIONS } as const satisfies OptionDescriptors;

type Arguments = Given<typeof OPTIONS> & { readonly model: string };

export const inferCommand: Command<Arguments> = {
  options: OPTIONS,
  builder: (parser) =>
    parser
      .positional('model', MODEL)
      .example('$0 infer model.onnx -o typed.onnx', 'types and shapes of all values')
      .example('$0 infer model.onnx -o typed.onnx --verbose', 'and those that no rule tells'),
  handler: async (args, io) => {
    const output = await checkOutput(args, io);
    const { infer } = await import('../../passes/rewrite/infer.js');
    const { inferDocument } = await import('../../report/graph/infer.js');
    const outputs = outputsOf({ '--output': output });
    const model = await loadModel(args.model, io, { ...args, outputs, inPlace: output });
    const [account] = await onModel(nameOf(args.model), () => model.apply(infer()));
    if (output !== undefined) await writeModel(model, output, args, io);
    await summarize(
      inferDocument(nameOf(args.model), account, output, args.verbose),
      { ...args, output },
      io,
    );
    return 0;
  },
};
