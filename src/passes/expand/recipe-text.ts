import { parseRecipe, type Recipe } from './recipe.js';

export type RecipeFormat = 'json' | 'yaml';

/** The format that a recipe file's name tells: YAML, which JSON is a part of, unless it ends in `.json`. */
export function recipeFormat(file: string): RecipeFormat {
  return file.toLowerCase().endsWith('.json') ? 'json' : 'yaml';
}

/**
 * A recipe out of the text of a JSON or YAML file.
 *
 * @throws RangeError that says what is wrong, and where: the line of a text that is neither, else the rule as parseRecipe
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
