import { statfsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { ModelError } from '../../graph/errors.js';
import { sizeText } from '../../graph/limits/memory-limit.js';
import { PatternError } from '../../graph/names/glob.js';
import type { Skipped } from '../../graph/skipped.js';
import type { Model } from '../../graph/types.js';
import type { Progress } from '../../passes/account.js';
import type { ExpandAccount } from '../../passes/expand/account.js';
import { type ExpandOptions, SKIPPED_BY_RECIPE } from '../../passes/expand/options.js';
import type { RankRecipe } from '../../passes/expand/rank-recipe.js';
import type { Command } from '../shell/command.js';
import type { Given } from '../shell/described.js';
import { onFile } from '../shell/errors.js';
import { checkOutput, loadModel, MODEL, nameOf, summarize, warn, writeModel } from '../shell/files.js';
import { COMMON_OPTIONS, FIX_INPUTS_OPTIONS, OUTPUT_OPTIONS } from '../shell/options.js';
import { keepApart, outputsOf } from '../shell/outputs.js';
import { ProgressLine } from '../shell/progress.js';
import { addAdaptersTo } from './expand-adapters.js';
import { adapterSettings, EXPAND_ARGUMENTS, expandOptionsOf } from './expand-options.js';

const OPTIONS = { ...EXPAND_ARGUMENTS, ...FIX_INPUTS_OPTIONS, ...OUTPUT_OPTIONS, ...COMMON_OPTIONS };

type Arguments = Given<typeof OPTIONS> & { readonly model: string };

export const expandCommand: Command<Arguments> = {
  options: OPTIONS,
  builder: (parser) =>
    parser
      .positional('model', MODEL)
      .example('$0 expand model.onnx -o expanded.onnx --depth 3', 'chains of three layers')
      .example('$0 expand model.onnx --dry-run', 'which layers, and what it would cost')
      .example("$0 expand model.onnx -o out.onnx --only 'layer[34].*' --op conv", 'some of them')
      .example('$0 expand model.onnx -o out.onnx --kernel-sizes 5=3,3 --width 4', '5x5 kernels as two of 3x3')
      .example(
        '$0 expand model.onnx -o out.onnx --depth 4 --residual --batch-norm',
        'chains like small ResNets',
      )
      .example('$0 expand trained.onnx -o small.onnx --by-rank', 'after low-rank training: fewer parameters')
      .example(
        '$0 expand model.onnx --dry-run --format json > recipe.json',
        'settings by layer name, to edit',
      )
      .example('$0 expand model.onnx -o out.onnx --recipe recipe.json', 'apply the edited settings')
      .example(
        "$0 expand model.onnx -o lora.onnx --lora 8 --only '*attn*'",
        'low-rank adapters, which train alone trains',
      )
      .example(
        '$0 expand model.onnx -o tuned.onnx --adapter peft/',
        'an adapter of PEFT; collapse merges it',
      ),
  handler: async (args, io) => {
    const adapters = adapterSettings(args);
    if (adapters !== undefined) return addAdaptersTo(args, adapters, io);
    const options = await expandOptionsOf(args);
    const output = await checkOutput(args, io);
    const outputs = outputsOf({ '--output': output });
    keepApart(outputs, [args.recipe], io);
    // Young objects get no more room than they had so far: what is large here are arrays, and it would be 30 MB of the peak.
    process.getBuiltinModule('node:v8').setFlagsFromString('--semi-space-growth-factor=1');
    const { expand } = await import('../../passes/expand/expand.js');
    const { expandDocument } = await import('../../report/passes.js');
    const progress = new ProgressLine(io, args);
    let told: Promise<void> | undefined;
    const onProgress = (state: Progress): void => {
      const { bytes } = state;
      if (bytes !== undefined && output !== undefined && output !== '-') assertRoom(bytes, output);
      const warning = bytes === undefined || args.quiet ? undefined : sizeWarning(bytes, model);
      if (warning !== undefined) told = warn(`${nameOf(args.model)}: ${warning}`, io);
      progress.update(state);
    };
    const passWith = (more: ExpandOptions) =>
      expand({ ...options, ...more, dryRun: args.dryRun, onProgress });
    let pass = passWith({});
    let ranked: RankRecipe | undefined;
    const model = await loadModel(args.model, io, { ...args, outputs, inPlace: output });
    try {
      if (args.byRank) {
        const { rankRecipe } = await import('../../passes/expand/rank-recipe.js');
        ranked = await onFile(nameOf(args.model), () => rankRecipe(model));
        pass = passWith({ recipe: ranked.recipe });
      }
      const [made] = await onFile(nameOf(args.model), () => model.apply(pass));
      await told;
      const account = ranked === undefined ? made : withReasons(made, ranked);
      refuseNothing(account, args);
      if (output !== undefined) await writeModel(model, output, args, io);
      progress.clear();
      await summarize(expandDocument(account, { output, verbose: args.verbose }), { ...args, output }, io);
    } finally {
      progress.clear();
    }
    return 0;
  },
};

/** Weights below this are no news. */
const LARGE = 2 * 2 ** 30;

/** That a small model becomes a large file; undefined where it does not. */
function sizeWarning(bytes: number, model: Model): string | undefined {
  const before = [...model.graph.initializers.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
  if (bytes < LARGE || bytes < 4 * before) return undefined;
  return `the chains take ${sizeText(bytes)}, where the weights took ${sizeText(before)}; a lower --width takes less`;
}

/** @throws ModelError where the disk has no room for weights */
function assertRoom(bytes: number, output: string): void {
  const { bavail, bsize } = statfsSync(dirname(resolve(output)));
  const left = bavail * bsize;
  if (bytes > left)
    throw new ModelError(
      `the chains would take ${sizeText(bytes)}, but its disk has ${sizeText(left)} left; a lower --width takes less`,
      { file: output },
    );
}

/** An account that says why, in place of that its recipe says so. */
function withReasons(account: ExpandAccount, { skipped }: RankRecipe): ExpandAccount {
  const reasons = new Map(skipped.map(({ node, reason }) => [node, reason]));
  const isByRecipe = ({ reason }: Skipped): boolean => reason === SKIPPED_BY_RECIPE;
  return {
    ...account,
    skipped: account.skipped.map((row) =>
      isByRecipe(row) ? { ...row, reason: reasons.get(row.node) ?? row.reason } : row,
    ),
  };
}

/** PatternError where a pattern names nothing, ModelError where nothing that could be written would differ from the model. */
function refuseNothing({ rewritten, skipped, unmatched }: ExpandAccount, args: Arguments): void {
  const names = [...rewritten, ...skipped].map(({ node }) => node);
  for (const option of ['only', 'exclude'] as const) {
    const pattern = args[option]?.find((text) => unmatched.includes(text));
    if (pattern !== undefined) throw new PatternError(option, pattern, 'linear layer', names, undefined);
  }
  const [first] = skipped;
  if (rewritten.length > 0 || args.dryRun || first === undefined) return;
  throw new ModelError(`no layer can be expanded, and nothing was written: ${first.reason}`, {
    file: nameOf(args.model),
    node: first.node,
  });
}
