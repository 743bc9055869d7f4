import type { OptionDescriptors } from '../../graph/option-descriptors.js';
import type { Command } from '../shell/command.js';
import type { Given } from '../shell/described.js';
import { MODEL, nameOf, print, readGiven } from '../shell/files.js';
import { write } from '../shell/io.js';
import { COMMON_OPTIONS } from '../shell/options.js';

const OPTIONS = {
  nodes: {
    kind: 'patterns',
    flag: 'node',
    help: 'nodes whose name or operator matches, with the types of what they read and make',
  },
  depth: { kind: 'integer', min: 0, defaultHelp: 'all', help: 'subgraphs to print inside of each other' },
  weights: { kind: 'flag', default: false, help: 'also what weights hold: values, or a digest of many' },
  ...COMMON_OPTIONS,
} as const satisfies OptionDescriptors;

type Arguments = Given<typeof OPTIONS> & { readonly model: string };

export const printCommand: Command<Arguments> = {
  options: OPTIONS,
  builder: (parser) =>
    parser
      .positional('model', MODEL)
      .example('$0 print model.onnx', 'the same text for the same model, everywhere')
      .example("$0 print model.onnx --node 'layer1.*' --node Gemm", 'some nodes')
      .example('$0 print model.onnx --depth 0', 'without the bodies of loops and branches'),
  handler: async (args, io) => {
    const { printModel } = await import('../../graph/print.js');
    const { printDocument } = await import('../../report/graph/documents.js');
    const model = await readGiven(args.model, io);
    const { nodes, depth, weights } = args;
    const text = printModel(model, { nodes, depth, weights });
    if (args.format === undefined || args.format === 'table') await write(io, text);
    else await print(printDocument(nameOf(args.model), model, text), args, io);
    return 0;
  },
};
