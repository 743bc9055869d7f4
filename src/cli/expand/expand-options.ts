import { ModelError } from '../../graph/errors.js';
import { readText } from '../../graph/io/pipe.js';
import { described, type OptionDescriptors } from '../../graph/option-descriptors.js';
import {
  CHAIN_OPTIONS,
  EXPAND_OPTIONS,
  type ExpandOptions,
  type Recipe,
} from '../../passes/expand/options.js';
import { parseRecipeText, recipeFormat } from '../../passes/expand/recipe.js';
import { LORA_SETTINGS, type LoraSettings } from '../../passes/lora/options.js';
import { flagOf, type Given } from '../shell/described.js';
import { UsageError } from '../shell/errors.js';

const { rank, alpha, init, rsLora, deep, inputs } = LORA_SETTINGS;
const { default: _, ...lora } = rank;
const GROUP = { group: 'Adapters' } as const;

/** Adapters in place of chains. */
const ADAPTER_ARGUMENTS = {
  lora: { ...lora, ...GROUP },
  loraAlpha: { ...alpha, ...GROUP },
  loraInit: { ...init, ...GROUP },
  rsLora: { ...rsLora, ...GROUP },
  deepLora: { ...deep, ...GROUP },
  loraInputs: { ...inputs, ...GROUP },
  adapter: {
    kind: 'text',
    help: 'existing adapters beside the layers of their names: a PEFT folder, adapter_model.safetensors, .onnx_adapter',
    ...GROUP,
  },
} as const satisfies OptionDescriptors;

/** What decides which layers become chains, and of what kind. */
export const EXPAND_ARGUMENTS = {
  ...ADAPTER_ARGUMENTS,
  ...EXPAND_OPTIONS,
  byRank: {
    kind: 'flag',
    help: 'factorize each layer into two, as wide in between as the rank of its weight, if that saves parameters',
  },
  recipe: {
    kind: 'text',
    help: 'JSON or YAML file with settings by layer name; --dry-run --format json prints one to edit',
  },
} as const satisfies OptionDescriptors;

/** The options of the pass, or UsageError; ModelError for a recipe file that is none. */
export async function expandOptionsOf(args: Given<typeof EXPAND_ARGUMENTS>): Promise<ExpandOptions> {
  const { byRank, recipe: file } = args;
  const options = described(EXPAND_OPTIONS, args);
  if (byRank) {
    const other = (['width', 'depth'] as const).find((name) => options[name] !== undefined);
    if (file !== undefined || other !== undefined)
      throw new UsageError(`--by-rank settles what --${file === undefined ? other : 'recipe'} would`);
  }
  if (file !== undefined) return { ...options, recipe: await readRecipe(file) };
  // A recipe says itself which layers have residual connections.
  const impliesResidual = options.residualIntervals !== undefined || options.residualMode !== undefined;
  return { ...options, residual: options.residual ?? impliesResidual };
}

/** The settings of adapters; undefined where chains are asked for. UsageError where both are. */
export function adapterSettings(args: Given<typeof EXPAND_ARGUMENTS>): LoraSettings | undefined {
  const { lora: own, adapter } = args;
  const isGiven = own !== undefined || adapter !== undefined;
  const detail = (['loraAlpha', 'loraInit', 'rsLora', 'deepLora'] as const).find(
    (key) => args[key] !== undefined && args[key] !== false,
  );
  if (!isGiven) {
    const first = detail ?? (args.loraInputs ? 'loraInputs' : undefined);
    if (first !== undefined) throw new UsageError(`--${flagOf(first)} goes with --lora`);
    return undefined;
  }
  if (adapter !== undefined && (own !== undefined || detail !== undefined))
    throw new UsageError(
      `--adapter settles what --${own === undefined ? flagOf(detail ?? 'lora') : 'lora'} would`,
    );
  const chain = [...Object.keys(CHAIN_OPTIONS), 'byRank', 'recipe'].find((key) => {
    const value = (args as Readonly<Record<string, unknown>>)[key];
    return value !== undefined && value !== false;
  });
  const given = own === undefined ? '--adapter' : '--lora';
  if (chain !== undefined)
    throw new UsageError(`${given} makes adapters, not chains: --${flagOf(chain)} does not go with it`);
  const { loraAlpha, loraInit, rsLora: isRs, deepLora, loraInputs } = args;
  return {
    ...(own !== undefined && { rank: own }),
    ...(loraAlpha !== undefined && { alpha: loraAlpha }),
    ...(loraInit !== undefined && { init: loraInit }),
    ...(isRs && { rsLora: true }),
    ...(deepLora && { deep: true }),
    ...(loraInputs && { inputs: true }),
  };
}

async function readRecipe(file: string): Promise<Recipe> {
  const text = await readText(file);
  try {
    return await parseRecipeText(text, recipeFormat(file));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new ModelError(error.message, { file }, { cause: error });
  }
}
