import { COMMANDS } from '../../src/cli/commands.js';
import { flagOf, isRepeated } from '../../src/cli/shell/described.js';
import {
  defaultText,
  type OptionDescriptor,
  type OptionDescriptors,
  takenText,
} from '../../src/graph/option-descriptors.js';
import { RECIPE_OPTIONS } from '../../src/passes/expand/recipe.js';
import { LIBRARY } from './library-options.js';

export interface DescribedCommand {
  readonly name: string;
  readonly usage: string;
  readonly options: OptionDescriptors;
}

/** Every command with the descriptors of its options. */
export async function describedCommands(): Promise<DescribedCommand[]> {
  const commands = await Promise.all(
    COMMANDS.map(async ({ usage, load }) => ({ usage, options: (await load()).options })),
  );
  return commands.map(({ usage, options }) => ({ name: usage.split(' ', 1).join(), usage, options }));
}

/** docs/options.md */
export async function optionsPage(): Promise<string> {
  const parts = (await describedCommands()).map(
    ({ name, usage, options }) => `## ${name}\n\n    onnx-overparam ${usage}\n\n${optionsTable(options)}\n`,
  );
  return `<!-- Made from the descriptors of the options. After a change: UPDATE=1 npx vitest run test/cli/options.test.ts -->

# Options

Every option of every command. "Library" is the key of the same option of the library's function, where it has one; its
range and default are the same there. An option that may repeat is a list in the library.

${parts.join('\n')}
## Recipes

Keys of a rule of \`expand --recipe\` (\`parseRecipe\`): \`[{ "match": "layer1.*", "depth": 3 }]\`. Of the rules that match a
node, the first applies; for keys that it does not set, the options of \`expand\` apply.

${table(
  ['key', 'takes', 'default', 'meaning'],
  Object.entries(RECIPE_OPTIONS).map(([key, option]) => [`\`${key}\``, ...facts(option)]),
)}
`;
}

function optionsTable(options: OptionDescriptors): string {
  return table(
    ['option', 'library', 'takes', 'default', 'meaning'],
    Object.entries(options).map(([key, option]) => {
      const names = [
        `\`--${flagOf(key, option)}\``,
        ...(option.alias === undefined ? [] : [aliasOf(option.alias)]),
      ];
      const isLibrary = LIBRARY.some(({ options: own }) => own[key] === option);
      return [names.join(', '), isLibrary ? `\`${key}\`` : '', ...facts(option)];
    }),
  );
}

function aliasOf(alias: string): string {
  return `\`${alias.length === 1 ? '-' : '--'}${alias}\``;
}

function facts(option: OptionDescriptor): string[] {
  const taken = option.kind === 'flag' ? '' : takenText(option);
  const usual = defaultText(option);
  return [taken, usual ?? '', `${option.help}${isRepeated(option) ? '; may repeat' : ''}`];
}

function table(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(columns), line(columns.map(() => '---')), ...rows.map(line)].join('\n');
}
