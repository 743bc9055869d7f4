import type { OptionDescriptors } from '../../graph/option-descriptors.js';
import type { Command } from '../shell/command.js';
import type { Given } from '../shell/described.js';
import { checkOutput, loadModel, MODEL, nameOf, summarize, writeModel } from '../shell/files.js';
import { COMMON_OPTIONS, OUTPUT_OPTIONS } from '../shell/options.js';
import { outputsOf } from '../shell/outputs.js';
import { onModel } from '../shell/provider-options.js';

const OPTIONS = {
  inputs: {
    kind: 'texts',
    flag: 'from',
    defaultHelp: 'the inputs of the model',
    help: 'value where the part begins',
  },
  outputs: {
    kind: 'texts',
    flag: 'to',
    defaultHelp: 'the outputs of the model',
    help: 'value where the part ends',
  },
  ...OUTPUT_OPTIONS,
  ...COMMON_OPTIONS,
} as const satisfies OptionDescriptors;

type Arguments = Given<typeof OPTIONS> & { readonly model: string };

export const extractCommand: Command<Arguments> = {
  options: OPTIONS,
  builder: (parser) =>
    parser
      .positional('model', MODEL)
      .example('$0 extract model.onnx --to features -o trunk.onnx', 'up to a value')
      .example('$0 extract model.onnx --from features -o head.onnx', 'from a value on'),
  handler: async (args, io) => {
    const output = await checkOutput(args, io);
    const { extract } = await import('../../passes/rewrite/extract.js');
    const { extractDocument } = await import('../../report/graph/documents.js');
    const outputs = outputsOf({ '--output': output });
    const model = await loadModel(args.model, io, { ...args, outputs, inPlace: output });
    const made = await onModel(nameOf(args.model), () =>
      extract(model, { inputs: args.inputs, outputs: args.outputs }),
    );
    if (output !== undefined) await writeModel(made.model, output, args, io);
    await summarize(extractDocument(nameOf(args.model), made, output), { ...args, output }, io);
    return 0;
  },
};
