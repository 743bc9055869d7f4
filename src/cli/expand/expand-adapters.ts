import { ModelError } from '../../graph/errors.js';
import { PatternError } from '../../graph/names/glob.js';
import { described } from '../../graph/option-descriptors.js';
import type { AddAdaptersAccount } from '../../passes/lora/add-adapters.js';
import { ADD_ADAPTERS_OPTIONS, LORA_SETTINGS, type LoraSettings } from '../../passes/lora/options.js';
import type { ReadAdapters } from '../../passes/lora/read-adapter.js';
import type { Given } from '../shell/described.js';
import { onFile } from '../shell/errors.js';
import { checkOutput, loadModel, nameOf, summarize, writeModel } from '../shell/files.js';
import type { Io } from '../shell/io.js';
import type { COMMON_OPTIONS, FIX_INPUTS_OPTIONS, OUTPUT_OPTIONS } from '../shell/options.js';
import { keepApart, outputsOf } from '../shell/outputs.js';
import { ProgressLine } from '../shell/progress.js';
import type { EXPAND_ARGUMENTS } from './expand-options.js';

type Arguments = Given<
  typeof EXPAND_ARGUMENTS & typeof FIX_INPUTS_OPTIONS & typeof OUTPUT_OPTIONS & typeof COMMON_OPTIONS
> & {
  readonly model: string;
};

const SELECTION = Object.fromEntries(
  Object.entries(ADD_ADAPTERS_OPTIONS).filter(([key]) => !Object.hasOwn(LORA_SETTINGS, key)),
) as Omit<typeof ADD_ADAPTERS_OPTIONS, keyof typeof LORA_SETTINGS>;

/** What expand does with --lora and --adapter: adapters beside the layers. */
export async function addAdaptersTo(args: Arguments, settings: LoraSettings, io: Io): Promise<number> {
  const output = await checkOutput(args, io);
  const outputs = outputsOf({ '--output': output });
  keepApart(outputs, [args.adapter], io);
  const { addAdapters } = await import('../../passes/lora/add-adapters.js');
  const { adaptersDocument } = await import('../../report/lora.js');
  const given = args.adapter === undefined ? undefined : await adaptersAt(args.adapter, io);
  const progress = new ProgressLine(io, args);
  const model = await loadModel(args.model, io, { ...args, outputs, inPlace: output });
  try {
    const pass = addAdapters({
      ...described(SELECTION, args),
      ...settings,
      adapters: given?.adapters,
      dryRun: args.dryRun,
      onProgress: progress.update,
    });
    const [made] = await onFile(nameOf(args.model), () => model.apply(pass));
    const account = { ...made, skipped: [...(given?.skipped ?? []), ...made.skipped] };
    refuseNothing(account, args);
    if (output !== undefined) await writeModel(model, output, args, io);
    progress.clear();
    await summarize(adaptersDocument(account, { output, verbose: args.verbose }), { ...args, output }, io);
  } finally {
    progress.clear();
  }
  return 0;
}

async function adaptersAt(path: string, io: Io): Promise<ReadAdapters> {
  const { openCheckpoint } = await import('../../runtime/checkpoint/open.js');
  const { readAdapters } = await import('../../passes/lora/read-adapter.js');
  const source = await openCheckpoint(path, { endpoint: io.env.HF_ENDPOINT, token: io.env.HF_TOKEN });
  if ('onnx' in source)
    throw new ModelError(
      'is no adapter: a PEFT folder, adapter_model.safetensors or an .onnx_adapter is wanted',
      {
        file: nameOf(path),
      },
    );
  using checkpoint = source;
  return await onFile(nameOf(path), () => readAdapters(checkpoint));
}

/** PatternError where a pattern names nothing, ModelError where nothing that could be written would differ from the model. */
function refuseNothing(
  { rewritten, skipped, unapplied, unmatched }: AddAdaptersAccount,
  args: Arguments,
): void {
  const names = [...rewritten, ...skipped].map(({ node }) => node);
  for (const option of ['only', 'exclude'] as const) {
    const pattern = args[option]?.find((text) => unmatched.includes(text));
    if (pattern !== undefined) throw new PatternError(option, pattern, 'layer', names, undefined);
  }
  if (rewritten.length > 0 || args.dryRun) return;
  const [first, left] = [skipped[0], unapplied[0]];
  const reason = left === undefined ? first?.reason : `'${left.module}': ${left.reason}`;
  throw new ModelError(
    `no adapter can be put beside a layer, and nothing was written: ${reason ?? 'it has no layers'}`,
    {
      file: nameOf(args.model),
    },
  );
}
