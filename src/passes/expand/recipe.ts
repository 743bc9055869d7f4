import { LINEAR_OPS, type LinearOp } from '../../affine/linear-sites.js';
import {
  CHAIN_DEFAULTS,
  type ChainOptions,
  EXPAND_INITS,
  effectiveSize,
  isInterval,
  RESIDUAL_MODES,
} from './chain-options.js';

/** Settings for the sites whose node's name matches; what a rule does not set, the options of `expand` do. */
export interface RecipeRule extends ChainOptions {
  /** Glob on the node's name. */
  readonly match: string;
  /** Only nodes of this operator. */
  readonly op?: LinearOp;
  /** The sites stay as they are. */
  readonly skip?: boolean;
}

/** Rules in their order: of those that match a site, the first holds. */
export type Recipe = readonly RecipeRule[];

/** What is wrong with a recipe begins with where: `[2].depth`. */
type Check = (value: unknown, at: string) => unknown;

const KEYS = {
  match: (value, at) => text(value, at) || wrong(at, 'a pattern', value),
  op: (value, at) => {
    const found = LINEAR_OPS.find((op) => op.toLowerCase() === String(value).toLowerCase());
    return found ?? wrong(at, `one of ${LINEAR_OPS.join(', ')}`, value);
  },
  skip: flag,
  depth: (value, at) =>
    number(value, at, 'a whole number of at least 1', (n) => Number.isInteger(n) && n >= 1),
  width: positive,
  init: (value, at) =>
    EXPAND_INITS.find((init) => init === value) ?? wrong(at, `one of ${EXPAND_INITS.join(', ')}`, value),
  gain: positive,
  noise: (value, at) => number(value, at, 'a number of at least 0', (n) => n >= 0),
  allowLossy: flag,
  kernelSizes: (value, at) => {
    const lists = Array.isArray(value) && value.length > 0 && !Array.isArray(value[0]) ? [value] : value;
    if (!Array.isArray(lists)) return wrong(at, 'a list of kernels, or of such lists', value);
    const made = lists.map((list, i) => kernels(list, lists === value ? `${at}[${i}]` : at));
    const sizes = made.map(effectiveSize);
    const twice = sizes.find((size, i) => sizes.indexOf(size) < i);
    if (twice !== undefined) throw new RangeError(`${at} has two lists that compose to a kernel of ${twice}`);
    return made;
  },
  residual: flag,
  residualIntervals: (value, at) => {
    const list = Array.isArray(value) && value.length > 0 ? value : [value];
    return list.map((interval, i) =>
      number(
        interval,
        list === value ? `${at}[${i}]` : at,
        'a whole number of at least 1, or -1 for the whole chain',
        isInterval,
      ),
    );
  },
  residualMode: (value, at) =>
    RESIDUAL_MODES.find((mode) => mode === value) ?? wrong(at, `one of ${RESIDUAL_MODES.join(', ')}`, value),
  batchNorm: flag,
} as const satisfies Record<keyof RecipeRule, Check>;

/**
 * A recipe out of what a JSON or YAML file holds: a list of rules, or an object with such a list under `recipe`, as
 * `expand --dry-run --format json` prints it.
 *
 * @throws RangeError that begins with the place: `[2].depth must be a whole number of at least 1, not "3"`
 * @example
 * expand({ recipe: parseRecipe(JSON.parse(await readFile('recipe.json', 'utf8'))) });
 */
export function parseRecipe(value: unknown): Recipe {
  const isWrapped = isObject(value) && Array.isArray(value.recipe);
  const rules = isWrapped ? value.recipe : value;
  if (!Array.isArray(rules)) {
    throw new RangeError(
      `a recipe is a list of rules, [{ "match": "layer1.*", "depth": 3 }], not ${shown(value)}`,
    );
  }
  return rules.map((rule, i) => parseRule(rule, `${isWrapped ? 'recipe' : ''}[${i}]`));
}

function parseRule(rule: unknown, at: string): RecipeRule {
  if (!isObject(rule)) return wrong(at, 'an object such as { "match": "layer1.*", "depth": 3 }', rule);
  const made: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(rule)) {
    if (!Object.hasOwn(KEYS, key)) {
      throw new RangeError(`${at}.${key} is no setting; there are ${Object.keys(KEYS).join(', ')}`);
    }
    made[key] = KEYS[key as keyof RecipeRule](value, `${at}.${key}`);
  }
  if (made.match === undefined)
    throw new RangeError(`${at}.match is missing: the names that the rule is for`);
  return made as unknown as RecipeRule;
}

/** The pattern that matches a name and no other. */
function escaped(name: string): string {
  return name.replace(/[*?[\]\\]/g, (character) => `\\${character}`);
}

/** The rule that gives one site what it was given. */
export function ruleOf(name: string, settings: Required<ChainOptions> | undefined): RecipeRule {
  const match = escaped(name);
  if (settings === undefined) return { match, skip: true };
  const { depth, width, init, gain, noise, allowLossy, kernelSizes } = settings;
  const { residual, residualIntervals, residualMode, batchNorm } = settings;
  return {
    match,
    depth,
    width,
    init,
    ...(gain !== undefined && { gain }),
    ...(noise !== CHAIN_DEFAULTS.noise && { noise }),
    ...(allowLossy && { allowLossy }),
    ...(kernelSizes.length > 0 && { kernelSizes }),
    ...(residual && { residual, residualIntervals, residualMode }),
    ...(batchNorm && { batchNorm }),
  };
}

function kernels(value: unknown, at: string): readonly number[] {
  if (!Array.isArray(value) || value.length === 0)
    return wrong(at, 'a list of kernels such as [3, 3]', value);
  return value.map((size, i) =>
    number(size, `${at}[${i}]`, 'a whole number of at least 1', (n) => Number.isInteger(n) && n >= 1),
  );
}

function number(value: unknown, at: string, what: string, fits: (value: number) => boolean): number {
  return typeof value === 'number' && Number.isFinite(value) && fits(value) ? value : wrong(at, what, value);
}

function positive(value: unknown, at: string): number {
  return number(value, at, 'a positive number', (n) => n > 0);
}

function text(value: unknown, at: string): string {
  return typeof value === 'string' ? value : wrong(at, 'a text', value);
}

function flag(value: unknown, at: string): boolean {
  return typeof value === 'boolean' ? value : wrong(at, 'true or false', value);
}

function wrong(at: string, what: string, value: unknown): never {
  throw new RangeError(`${at} must be ${what}, not ${shown(value)}`);
}

function shown(value: unknown): string {
  const json = JSON.stringify(value) ?? String(value);
  return json.length > 60 ? `${json.slice(0, 57)}…` : json;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
