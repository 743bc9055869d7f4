import { LINEAR_OPS } from '../../affine/linear-site.js';
import {
  checkOption,
  type DescriptorsFor,
  isObject,
  OptionError,
  shown,
  wrong,
} from '../../graph/option-descriptors.js';
import { CHAIN_DEFAULTS, CHAIN_OPTIONS, type ChainOptions, type Recipe, type RecipeRule } from './options.js';

/** The keys of a rule, in their order. */
export const RECIPE_OPTIONS = {
  match: { kind: 'text', help: 'pattern of the names of the nodes that the rule is for' },
  op: { kind: 'choice', choices: LINEAR_OPS, anyCase: true, help: 'only nodes of this operator' },
  skip: { kind: 'flag', help: 'leave these nodes as they are' },
  ...CHAIN_OPTIONS,
} as const satisfies DescriptorsFor<RecipeRule>;

/**
 * A recipe out of what a JSON or YAML file holds: a list of rules, or an object with such a list under `recipe`, as
 * `expand --dry-run --format json` prints it.
 *
 * @param at what comes before the place in messages
 * @throws OptionError that begins with the place: `[2].depth must be an integer ≥ 1, is '3'`
 * @example
 * expand({ recipe: parseRecipe(JSON.parse(await readFile('recipe.json', 'utf8'))) });
 */
export function parseRecipe(value: unknown, at = ''): Recipe {
  const isWrapped = isObject(value) && Array.isArray(value.recipe);
  const rules = isWrapped ? value.recipe : value;
  if (!Array.isArray(rules)) {
    throw new OptionError(
      at === '' ? 'a recipe' : at,
      `must be a list of rules, [{ "match": "layer1.*", "depth": 3 }], is ${shown(value)}`,
    );
  }
  return rules.map((rule, i) => parseRule(rule, `${isWrapped ? `${at}recipe` : at}[${i}]`));
}

function parseRule(rule: unknown, at: string): RecipeRule {
  if (!isObject(rule)) return wrong(at, 'an object such as { "match": "layer1.*", "depth": 3 }', rule);
  const made: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(rule)) {
    const descriptor = Object.hasOwn(RECIPE_OPTIONS, key)
      ? RECIPE_OPTIONS[key as keyof RecipeRule]
      : undefined;
    if (descriptor === undefined) {
      throw new OptionError(
        `${at}.${key}`,
        `is not a setting; there are ${Object.keys(RECIPE_OPTIONS).join(', ')}`,
      );
    }
    made[key] = checkOption(descriptor, value, `${at}.${key}`);
  }
  if (made.match === undefined)
    throw new OptionError(`${at}.match`, 'is missing: the names that the rule is for');
  if (made.match === '') return wrong(`${at}.match`, 'a pattern', made.match);
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
  const written = Object.entries(CHAIN_OPTIONS).filter(([key, descriptor]) => {
    if (descriptor.recipe === 'always') return true;
    if ('needs' in descriptor) return settings[descriptor.needs];
    return !isDefault(key as keyof ChainOptions, settings);
  });
  return { match, ...Object.fromEntries(written.map(([key]) => [key, settings[key as keyof ChainOptions]])) };
}

function isDefault(key: keyof ChainOptions, settings: Required<ChainOptions>): boolean {
  const [value, usual] = [settings[key], CHAIN_DEFAULTS[key]];
  return Array.isArray(value) ? value.length === 0 : value === usual;
}

/** Format of a recipe as text. */
export type RecipeFormat = 'json' | 'yaml';

/**
 * The format that a recipe file's name tells: YAML, which JSON is a part of, unless it ends in `.json`.
 *
 * @example
 * recipeFormat('recipe.yml'); // 'yaml'
 */
export function recipeFormat(file: string): RecipeFormat {
  return file.toLowerCase().endsWith('.json') ? 'json' : 'yaml';
}

/**
 * A recipe out of the text of a JSON or YAML file.
 *
 * @throws RangeError naming the line of a text that is neither; OptionError as parseRecipe
 * @example
 * const recipe = await parseRecipeText('- match: layer1.*\n  depth: 3\n- match: "*"\n  skip: true\n', 'yaml');
 * await model.apply(expand({ recipe }));
 */
export async function parseRecipeText(text: string, format: RecipeFormat): Promise<Recipe> {
  return parseRecipe(format === 'json' ? fromJson(text) : await fromYaml(text));
}

function fromJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new RangeError(`is not JSON: ${(error as Error).message}`, { cause: error });
  }
}

async function fromYaml(text: string): Promise<unknown> {
  const { LineCounter, parseDocument } = await import('yaml');
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { lineCounter, merge: true, prettyErrors: false });
  // Warnings too: an unknown tag would leave a text where something else was meant.
  const [problem] = [...document.errors, ...document.warnings];
  if (problem !== undefined) {
    const { line, col } = lineCounter.linePos(problem.pos[0]);
    throw new RangeError(`is not YAML: line ${line}, column ${col}: ${problem.message}`, { cause: problem });
  }
  try {
    return document.toJS();
  } catch (error) {
    // What its aliases stand for may be without an end, or out of all proportion.
    throw new RangeError(`is not YAML: ${(error as Error).message}`, { cause: error });
  }
}
