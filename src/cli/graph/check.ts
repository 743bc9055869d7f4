import type { Inspection } from '../../analysis/check/inspect.js';
import type { OptionDescriptors } from '../../graph/option-descriptors.js';
import type { Command } from '../shell/command.js';
import type { Given } from '../shell/described.js';
import { MODEL, nameOf, readGiven, summarize } from '../shell/files.js';
import { COMMON_OPTIONS } from '../shell/options.js';

const OPTIONS = {
  skipRuntime: { kind: 'flag', default: false, help: 'our own rules only: leave onnxruntime out' },
  ...COMMON_OPTIONS,
} as const satisfies OptionDescriptors;

type Arguments = Given<typeof OPTIONS> & { readonly model: string };

export const checkCommand: Command<Arguments> = {
  options: OPTIONS,
  builder: (parser) =>
    parser
      .positional('model', MODEL)
      .example('$0 check model.onnx', 'exit 0 where it is sound and onnxruntime loads it, 1 where not'),
  handler: async (args, io) => {
    const { inspectModel } = await import('../../analysis/check/inspect.js');
    const { checkDocument } = await import('../../report/graph/documents.js');
    const model = await readGiven(args.model, io);
    const inspection: Inspection = await inspectModel(model, { runtime: !args.skipRuntime });
    await summarize(checkDocument(nameOf(args.model), inspection), args, io);
    return inspection.sound ? 0 : 1;
  },
};
