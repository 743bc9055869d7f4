import { readFile } from 'node:fs/promises';
import type { Argv } from 'yargs';
import { LINEAR_OPS, type LinearOp } from '../affine/linear-sites.js';
import { ModelError } from '../graph/errors.js';
import {
  EXPAND_INITS,
  type ExpandInit,
  isInterval,
  RESIDUAL_MODES,
  type ResidualMode,
} from '../passes/expand/chain-options.js';
import type { ExpandOptions } from '../passes/expand/expand-settings.js';
import type { Recipe } from '../passes/expand/recipe.js';
import { parseRecipeText, recipeFormat } from '../passes/expand/recipe-text.js';
import { UsageError } from './shell/errors.js';
import { number, once } from './shell/options.js';

/** What decides which layers become chains, and of what kind. */
export interface ExpandArguments {
  readonly depth: number | undefined;
  readonly width: number | undefined;
  readonly init: ExpandInit | undefined;
  readonly gain: number | undefined;
  readonly noise: number | undefined;
  readonly allowLossy: boolean | undefined;
  readonly kernelSizes: string | readonly string[] | undefined;
  readonly residual: boolean | undefined;
  readonly residualIntervals: string | undefined;
  readonly residualMode: ResidualMode | undefined;
  readonly batchNorm: boolean | undefined;
  readonly only: string | readonly string[] | undefined;
  readonly exclude: string | readonly string[] | undefined;
  readonly op: string | readonly string[] | undefined;
  readonly minSize: number | undefined;
  readonly byRank: boolean | undefined;
  readonly recipe: string | undefined;
  readonly seed: number | undefined;
}

export function expandOptions<T>(parser: Argv<T>): Argv<T & ExpandArguments> {
  return parser
    .option('depth', { type: 'number', requiresArg: true, describe: 'layers per chain (default: 2)' })
    .option('width', {
      type: 'number',
      requiresArg: true,
      describe: 'hidden width relative to the outputs (default: 1)',
    })
    .option('allow-lossy', {
      type: 'boolean',
      describe: 'a width below the rank: the closest product, with its error',
    })
    .option('kernel-sizes', {
      type: 'string',
      array: true,
      requiresArg: true,
      describe: 'kernels of the factors, for the kernel they compose to: 5=3,3 7=3,3,3',
    })
    .option('residual', {
      type: 'boolean',
      describe: 'residual connections within the chains; the function stays',
    })
    .option('residual-intervals', {
      type: 'string',
      requiresArg: true,
      describe: 'residual connections around 2 layers, or 1,2, or -1 for all (default: 2)',
    })
    .option('residual-mode', {
      choices: RESIDUAL_MODES,
      requiresArg: true,
      describe:
        'where the shapes differ: none, or learn, a projection that begins with zeros (default: none)',
    })
    .option('batch-norm', {
      type: 'boolean',
      describe: 'a BatchNormalization behind each factor; it begins as the identity',
    })
    .option('init', {
      choices: EXPAND_INITS,
      requiresArg: true,
      describe:
        'balanced: factors of equal spectra; identity: the weight and identities; orthogonal: balanced, with hidden units rotated; fresh: random weights, for training from scratch (default: balanced)',
    })
    .option('gain', {
      type: 'number',
      requiresArg: true,
      describe: 'of the last factor of a fresh init (default: that of the activation behind it)',
    })
    .option('noise', {
      type: 'number',
      requiresArg: true,
      describe: 'added to the factors, relative to their elements (default: 0)',
    })
    .option('only', {
      type: 'string',
      requiresArg: true,
      describe: "nodes whose name matches: 'layer1.*', 'fc[12]'; may repeat",
    })
    .option('exclude', { type: 'string', requiresArg: true, describe: 'not those; may repeat' })
    .option('op', {
      type: 'string',
      requiresArg: true,
      describe: 'only some of gemm,matmul,conv,convtranspose',
    })
    .option('min-size', {
      type: 'number',
      requiresArg: true,
      describe: 'only weights of so many elements or more',
    })
    .option('by-rank', {
      type: 'boolean',
      describe:
        'factorize: two layers with as many units between them as the weight has rank, where that is smaller',
    })
    .option('recipe', {
      type: 'string',
      requiresArg: true,
      describe: 'JSON or YAML file with settings by name; --dry-run --format json prints one to start from',
    })
    .option('seed', {
      type: 'number',
      requiresArg: true,
      describe: 'of random weights (default: 0)',
    }) as unknown as Argv<T & ExpandArguments>;
}

/** The options of the pass, or UsageError; ModelError for a recipe file that is none. */
export async function expandOptionsOf(args: ExpandArguments): Promise<ExpandOptions> {
  const depth = number(args.depth, '--depth', { min: 1, whole: true });
  const width = number(args.width, '--width', { min: 0, above: true });
  const gain = number(args.gain, '--gain', { min: 0, above: true });
  const noise = number(args.noise, '--noise', { min: 0 });
  const minSize = number(args.minSize, '--min-size', { min: 0, whole: true });
  const seed = number(args.seed, '--seed', { min: 0, whole: true });
  const init = once(args.init, '--init');
  const residualIntervals = intervals(once(args.residualIntervals, '--residual-intervals'));
  const residualMode = once(args.residualMode, '--residual-mode');
  const file = once(args.recipe, '--recipe');
  if (args.byRank) {
    const other = (['recipe', 'width', 'depth'] as const).find((name) => args[name] !== undefined);
    if (other !== undefined) throw new UsageError(`--by-rank settles what --${other} would`);
  }
  const recipe = file === undefined ? undefined : await readRecipe(file);
  // A recipe says itself which layers have residual connections.
  const impliesResidual =
    recipe === undefined && (residualIntervals !== undefined || residualMode !== undefined);
  return {
    ...(depth !== undefined && { depth }),
    ...(width !== undefined && { width }),
    ...(init !== undefined && { init }),
    ...(gain !== undefined && { gain }),
    ...(noise !== undefined && { noise }),
    ...(minSize !== undefined && { minSize }),
    ...(seed !== undefined && { seed }),
    ...(recipe !== undefined && { recipe }),
    ...(residualIntervals !== undefined && { residualIntervals }),
    ...(residualMode !== undefined && { residualMode }),
    residual: args.residual ?? impliesResidual,
    batchNorm: args.batchNorm === true,
    allowLossy: args.allowLossy === true,
    only: patterns(args.only, '--only'),
    exclude: patterns(args.exclude, '--exclude'),
    ops: operators(args.op),
    kernelSizes: kernelSizes(args.kernelSizes),
  };
}

async function readRecipe(file: string): Promise<Recipe> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new ModelError(code === 'ENOENT' ? 'no such file' : String(code), { file }, { cause: error });
  }
  try {
    return await parseRecipeText(text, recipeFormat(file));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new ModelError(error.message, { file }, { cause: error });
  }
}

function patterns(given: string | readonly string[] | undefined, name: string): readonly string[] {
  const list = given === undefined ? [] : [given].flat();
  if (list.includes('')) throw new UsageError(`${name} needs a pattern of names, such as 'layer1.*'`);
  return list;
}

function operators(given: string | readonly string[] | undefined): readonly LinearOp[] {
  const words = given === undefined ? [] : [given].flat().flatMap((text) => text.split(','));
  return words.map((word) => {
    const op = LINEAR_OPS.find((name) => name.toLowerCase() === word.trim().toLowerCase());
    if (op !== undefined) return op;
    throw new UsageError(`--op must be some of ${LINEAR_OPS.join(',').toLowerCase()}, not '${word}'`);
  });
}

function intervals(given: string | undefined): readonly number[] | undefined {
  if (given === undefined) return undefined;
  const list = given.split(',').map((text) => (text.trim() === '' ? Number.NaN : Number(text)));
  if (list.every(isInterval)) return list;
  throw new UsageError(
    `--residual-intervals must be numbers of layers such as 2 or 1,2, or -1 for all, not '${given}'`,
  );
}

/** `3,3,1` or `5=3,3,1`, each for the kernel that it composes to. */
function kernelSizes(given: string | readonly string[] | undefined): readonly (readonly number[])[] {
  const sizes = new Set<number>();
  return (given === undefined ? [] : [given].flat()).map((text) => {
    const at = text.indexOf('=');
    const list = text
      .slice(at + 1)
      .split(',')
      .map(Number);
    const isList = list.every((kernel) => Number.isSafeInteger(kernel) && kernel >= 1);
    const size = list.reduce((sum, kernel) => sum + kernel - 1, 1);
    if (!isList || at === 0 || (at > 0 && !/^\d+$/.test(text.slice(0, at)))) {
      throw new UsageError(`--kernel-sizes must be kernels such as 3,3 or 5=3,3, not '${text}'`);
    }
    if (at > 0 && Number(text.slice(0, at)) !== size) {
      throw new UsageError(
        `--kernel-sizes ${text}: these compose to a kernel of ${size}, the sum of k - 1, plus 1`,
      );
    }
    if (sizes.has(size)) throw new UsageError(`--kernel-sizes has two lists for kernels of ${size}`);
    sizes.add(size);
    return list;
  });
}
