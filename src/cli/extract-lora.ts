import { ModelError } from '../graph/errors.js';
import type { Model } from '../graph/types.js';
import { checkExtractOptions, EXTRACT_LORA_OPTIONS } from '../passes/lora/options.js';
import type { Checkpoint } from '../runtime/checkpoint/types.js';
import type { Command } from './shell/command.js';
import type { Given } from './shell/described.js';
import { onFile, UsageError } from './shell/errors.js';
import { nameOf, summarize } from './shell/files.js';
import type { Io } from './shell/io.js';
import { COMMON_OPTIONS, OUTPUT_OPTIONS } from './shell/options.js';
import { keepApart, outputsOf } from './shell/outputs.js';
import { ProgressLine } from './shell/progress.js';
import { loadSource } from './shell/source.js';

const { dataFile: _, ...FILES } = OUTPUT_OPTIONS;
const OPTIONS = {
  ...EXTRACT_LORA_OPTIONS,
  ...FILES,
  output: {
    ...FILES.output,
    help: 'folder for adapter_model.safetensors and adapter_config.json (PEFT), or a file that ends in .onnx_adapter',
  },
  ...COMMON_OPTIONS,
};

type Arguments = Given<typeof OPTIONS> & { readonly base: string; readonly tuned?: string };

export const extractLoraCommand: Command<Arguments> = {
  options: OPTIONS,
  builder: (parser) =>
    parser
      .positional('base', {
        type: 'string',
        demandOption: true,
        describe: 'model or checkpoint before; alone: a model with adapters of its own',
      })
      .positional('tuned', { type: 'string', describe: 'the same after training' })
      .example(
        '$0 extract-lora base/ tuned/ -o adapter/',
        'PEFT adapters, each of the rank that its change has',
      )
      .example('$0 extract-lora base.onnx tuned.onnx -o style.onnx_adapter --rank 16', 'for onnxruntime')
      .example('$0 extract-lora base/ tuned/ --dry-run', 'ranks and errors alone')
      .example('$0 extract-lora trained.onnx -o adapter/', 'the adapters of expand --lora after training'),
  handler: async (args, io) => {
    checkExtractOptions(args);
    const { base, tuned, output, dryRun, overwrite } = args;
    if (!dryRun && (output === undefined || output === '' || output === '-'))
      throw new UsageError('no output: pass -o <folder>, -o <file>.onnx_adapter, or --dry-run');
    const { adapterFiles, assertAdapterWritable, writeAdapter } = await import(
      '../passes/lora/adapter-file.js'
    );
    const target = dryRun ? undefined : output;
    const outputs =
      target === undefined ? [] : adapterFiles(target).flatMap((path) => outputsOf({ '--output': path }));
    keepApart(outputs, [base, tuned], io);
    if (tuned === undefined && (args.only !== undefined || args.rank !== undefined))
      throw new UsageError(
        '--rank and --only go with two models: adapters of a model are written as they are',
      );
    if (target !== undefined) await assertAdapterWritable(target, { overwrite });
    const first = await loadSource(base, io, { ...args, fixInputs: true, outputs });
    if (tuned === undefined) return ownAdapters(first, target, args, io);
    const second = await loadSource(tuned, io, { ...args, fixInputs: true, outputs });
    const { extractLora } = await import('../passes/lora/extract-lora.js');
    const { loraDocument } = await import('../report/lora.js');
    const progress = new ProgressLine(io, args);
    try {
      const { rank = 'auto', only } = args;
      const found = await onFile(nameOf(tuned), () =>
        extractLora(first, second, {
          rank: rank === 'auto' ? rank : Number(rank),
          only,
          onProgress: ({ done, total, what }) => progress.update({ done, total, what, share: done / total }),
        }),
      );
      if (found.adapters.length === 0 && !dryRun) {
        throw new ModelError(
          `no adapter can be made, and nothing was written: ${found.skipped[0]?.reason ?? 'no weight of one has a namesake in the other'}`,
          { file: nameOf(tuned) },
        );
      }
      if (target !== undefined) {
        const { fanInFanOut } = found;
        await writeAdapter(target, found.adapters, { base: first.path, fanInFanOut, overwrite });
      }
      progress.clear();
      await summarize(
        loraDocument(found, { output: target, verbose: args.verbose }),
        { ...args, output: target },
        io,
      );
    } finally {
      progress.clear();
    }
    return 0;
  },
};

/** Writes the adapters that a model holds. */
async function ownAdapters(
  source: Model | Checkpoint,
  target: string | undefined,
  args: Arguments,
  io: Io,
): Promise<number> {
  const file = nameOf(args.base);
  if (!('graph' in source)) throw new UsageError('of a checkpoint two are compared: extract-lora base tuned');
  const { modelAdapters } = await import('../passes/lora/read-adapter.js');
  const { writeModelAdapters } = await import('../passes/lora/write-model-adapters.js');
  const { ownAdaptersDocument } = await import('../report/lora.js');
  const found = await onFile(file, () => modelAdapters(source));
  if (found.adapters.length === 0)
    throw new ModelError(
      `no adapters: ${found.skipped[0]?.reason ?? 'it has none of expand --lora; pass the model before training first'}`,
      { file },
    );
  if (target !== undefined)
    await writeModelAdapters(target, source, { adapters: found.adapters, overwrite: args.overwrite });
  const document = ownAdaptersDocument(found, { output: target, verbose: args.verbose, model: source.path });
  await summarize(document, { ...args, output: target }, io);
  return 0;
}
