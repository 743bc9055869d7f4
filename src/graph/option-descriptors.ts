/**
 * Descriptors of options: plain data from which the checks of the library, the keys of recipes, the command line with its
 * help and completion, and the tables in docs/options.md are made. An option is described once, beside the verb that takes it.
 */

/** Bounds of a number; none where absent. */
export interface OptionRange {
  readonly min?: number | undefined;
  /** The number is greater. */
  readonly above?: number | undefined;
  readonly max?: number | undefined;
  /** The number is less. */
  readonly below?: number | undefined;
  /** One value outside of the bounds, and what it stands for. */
  readonly or?: { readonly value: number; readonly means: string };
}

interface Described<Value> {
  /** What it does, as a phrase; its default and choices are added where it is shown. */
  readonly help: string;
  readonly default?: Value | undefined;
  /** The default in words, where it is no constant. */
  readonly defaultHelp?: string;
  /** Its name on the command line, where that is not the key in kebab case. */
  readonly flag?: string;
  /** Another name on the command line. */
  readonly alias?: string;
  /** Heading of the help. */
  readonly group?: string;
  /** A key of recipes; 'always' is written out, 'changed' where it differs from its default. */
  readonly recipe?: 'always' | 'changed';
  /** It names what is written, or allows that: the command line alone says so, no file of options. */
  readonly writes?: true;
  /** Another option, which must be on. */
  readonly needs?: string;
}

export interface FlagOption extends Described<boolean> {
  readonly kind: 'flag';
}
export interface NumberOption extends Described<number>, OptionRange {
  readonly kind: 'number' | 'integer';
}
export interface NumbersOption extends Described<readonly number[]>, OptionRange {
  readonly kind: 'numbers' | 'integers';
}
/** Lists of integers, no two of which are for the same: `5=3,3`. */
export interface ListsOption extends Described<readonly (readonly number[])[]>, OptionRange {
  readonly kind: 'lists';
  /** Numbers in a list, at most. */
  readonly longest: number;
  /** What a list is for, and its name. */
  readonly composed: { readonly of: (list: readonly number[]) => number; readonly name: string };
}
export interface ChoiceOption<Value extends string = string> extends Described<Value> {
  readonly kind: 'choice';
  readonly choices: readonly Value[];
  /** Upper and lower case are the same. */
  readonly anyCase?: boolean;
  /** What the bare name on the command line stands for. */
  readonly bare?: Value;
}
export interface ChoicesOption<Value extends string = string> extends Described<readonly Value[]> {
  readonly kind: 'choices';
  readonly choices: readonly Value[];
  readonly anyCase?: boolean;
}
export interface TextOption extends Described<string> {
  readonly kind: 'text';
}
/** Texts, or patterns of names (see glob). */
export interface TextsOption extends Described<readonly string[]> {
  readonly kind: 'texts' | 'patterns';
}
/** Sizes of dimensions by name. */
export interface DimsOption extends Described<Readonly<Record<string, number>>> {
  readonly kind: 'dims';
  /** The least size, 1 unless given. */
  readonly min?: number;
}

export type OptionDescriptor =
  | FlagOption
  | NumberOption
  | NumbersOption
  | ListsOption
  | ChoiceOption
  | ChoicesOption
  | TextOption
  | TextsOption
  | DimsOption;

/** Descriptors by key. */
export type OptionDescriptors = Readonly<Record<string, OptionDescriptor>>;

/** What an option holds. */
export type OptionValue<D extends OptionDescriptor> = D extends FlagOption
  ? boolean
  : D extends NumberOption
    ? number
    : D extends NumbersOption
      ? readonly number[]
      : D extends ListsOption
        ? readonly (readonly number[])[]
        : D extends ChoiceOption<infer Value>
          ? Value
          : D extends ChoicesOption<infer Value>
            ? readonly Value[]
            : D extends TextOption
              ? string
              : D extends TextsOption
                ? readonly string[]
                : Readonly<Record<string, number>>;

/** The options that descriptors describe. */
export type OptionsOf<D extends OptionDescriptors> = { readonly [Key in keyof D]?: OptionValue<D[Key]> };

/** The descriptors that options must have: `const X = {…} satisfies DescriptorsFor<XOptions>`. */
export type DescriptorsFor<Options> = {
  readonly [Key in keyof Options]-?: DescriptorFor<Exclude<Options[Key], undefined>>;
};

type DescriptorFor<Value> = [Value] extends [boolean]
  ? FlagOption
  : [Value] extends [number]
    ? NumberOption
    : [Value] extends [string]
      ? string extends Value
        ? TextOption
        : ChoiceOption<Value>
      : [Value] extends [readonly (infer Item)[]]
        ? [Item] extends [number]
          ? NumbersOption
          : [Item] extends [string]
            ? string extends Item
              ? TextsOption
              : ChoicesOption<Item>
            : ListsOption
        : DimsOption;

/**
 * An option that is out of range, or does not go with others.
 *
 * @example
 * try {
 *   expand({ depth: 0 });
 * } catch (error) {
 *   if (error instanceof OptionError) console.log(error.option, error.message); // depth must be an integer ≥ 1, is 0
 * }
 */
export class OptionError extends RangeError {
  /** Which kind of error it is, for programs. */
  readonly code = 'ERR_OPTION';
  override readonly name = 'OptionError';
  /** The option, by its key; in a recipe with its place, `[2].depth`. */
  readonly option: string;
  /** The message without the option. Other options stand in it in backticks. */
  readonly problem: string;

  constructor(option: string, problem: string, options?: ErrorOptions) {
    super(`${option} ${problem}`, options);
    this.option = option;
    this.problem = problem;
  }
}

/**
 * Those of the given options that are described, checked. A single value where a list is due becomes a list of one.
 *
 * @param at what comes before the keys in messages
 * @throws OptionError for the first that is out of range
 */
export function checkOptions<D extends OptionDescriptors>(
  descriptors: D,
  options: object,
  at = '',
): OptionsOf<D> {
  const given = options as Readonly<Record<string, unknown>>;
  const checked: Record<string, unknown> = {};
  for (const [key, descriptor] of Object.entries(descriptors)) {
    if (given[key] !== undefined) checked[key] = checkOption(descriptor, given[key], `${at}${key}`);
  }
  return checked as OptionsOf<D>;
}

/** Those of the options that descriptors describe. */
export function described<Options extends object, Key extends keyof Options & string>(
  descriptors: Readonly<Record<Key, OptionDescriptor>>,
  options: Options,
): Pick<Options, Key> {
  const keys = Object.keys(descriptors) as Key[];
  return Object.fromEntries(keys.map((key) => [key, options[key]])) as Pick<Options, Key>;
}

/** @throws OptionError */
export function checkOption(descriptor: OptionDescriptor, value: unknown, at: string): unknown {
  switch (descriptor.kind) {
    case 'flag':
      return typeof value === 'boolean' ? value : wrong(at, 'true or false', value);
    case 'number':
    case 'integer':
      return checkNumber(descriptor, value, at);
    case 'numbers':
    case 'integers': {
      const list = Array.isArray(value) && value.length > 0 ? value : [value];
      return list.map((item, i) => checkNumber(descriptor, item, list === value ? `${at}[${i}]` : at));
    }
    case 'lists':
      return checkLists(descriptor, value, at);
    case 'choice':
      return choiceOf(descriptor, value) ?? wrong(at, `one of ${descriptor.choices.join(', ')}`, value);
    case 'choices': {
      const wanted = `some of ${descriptor.choices.join(', ')}`;
      return [value].flat().map((item) => choiceOf(descriptor, item) ?? wrong(at, wanted, item));
    }
    case 'text':
      return typeof value === 'string' ? value : wrong(at, 'a string', value);
    case 'texts':
      return [value]
        .flat()
        .map((item) => (typeof item === 'string' ? item : wrong(at, 'a list of strings', value)));
    case 'patterns': {
      const wanted = "a pattern of names such as 'layer1.*'";
      return [value]
        .flat()
        .map((item) => (typeof item === 'string' && item !== '' ? item : wrong(at, wanted, item)));
    }
    case 'dims': {
      if (!isObject(value)) return wrong(at, 'sizes of dimensions by name', value);
      const size = { kind: 'integer', min: descriptor.min ?? 1, help: '' } as const;
      return Object.fromEntries(
        Object.entries(value).map(([name, item]) => [name, checkNumber(size, item, `${at}['${name}']`)]),
      );
    }
  }
}

/** Options with what they stand for where they say nothing. */
export type OptionDefaults<D extends OptionDescriptors> = {
  readonly [Key in keyof D]: D[Key] extends { readonly default: infer Value }
    ? Value extends boolean
      ? boolean
      : OptionValue<D[Key]>
    : D[Key] extends FlagOption
      ? boolean
      : D[Key] extends NumbersOption | ListsOption | ChoicesOption | TextsOption
        ? OptionValue<D[Key]>
        : undefined;
};

/** The defaults of options: of a flag false, of a list the empty one, unless the descriptor says otherwise. */
export function defaultsOf<D extends OptionDescriptors>(descriptors: D): OptionDefaults<D> {
  const defaults = Object.entries(descriptors).map(([key, { kind, default: value }]) => {
    const isList = kind === 'choices' || kind.endsWith('s');
    return [key, value ?? (kind === 'flag' ? false : isList && kind !== 'dims' ? [] : undefined)];
  });
  return Object.fromEntries(defaults) as OptionDefaults<D>;
}

/** What an option takes: 'an integer ≥ 1', 'one of none, learn'. */
export function takenText(descriptor: OptionDescriptor): string {
  switch (descriptor.kind) {
    case 'flag':
      return 'true or false';
    case 'number':
    case 'integer':
      return `${descriptor.kind === 'integer' ? 'an integer' : 'a number'}${rangeText(descriptor)}`;
    case 'numbers':
    case 'integers':
      return `${descriptor.kind}${rangeText(descriptor)}`;
    case 'lists':
      return `lists of integers${rangeText(descriptor)}`;
    case 'choice':
      return `one of ${descriptor.choices.join(', ')}`;
    case 'choices':
      return `some of ${descriptor.choices.join(', ')}`;
    case 'text':
      return 'a string';
    case 'texts':
      return 'strings';
    case 'patterns':
      return 'patterns of names';
    case 'dims':
      return 'sizes of dimensions by name';
  }
}

/** The default as it is shown; undefined where there is none to speak of. */
export function defaultText(descriptor: OptionDescriptor): string | undefined {
  const { default: value, defaultHelp } = descriptor;
  if (defaultHelp !== undefined) return defaultHelp;
  if (value === undefined || value === false) return undefined;
  return Array.isArray(value) ? value.join(',') || undefined : String(value);
}

function rangeText({ min, above, max, below, or }: OptionRange): string {
  const bounds = [
    min !== undefined && `≥ ${min}`,
    above !== undefined && `> ${above}`,
    max !== undefined && `≤ ${max}`,
    below !== undefined && `< ${below}`,
  ].filter((text) => text !== false);
  const range = bounds.length === 0 ? '' : ` ${bounds.join(' and ')}`;
  return or === undefined ? range : `${range}, or ${or.value} for ${or.means}`;
}

function checkNumber(
  descriptor: NumberOption | NumbersOption | (OptionRange & { readonly kind: 'integer' }),
  value: unknown,
  at: string,
): number {
  const isInteger = descriptor.kind.startsWith('integer');
  const { min, above, max, below, or } = descriptor;
  const fits =
    typeof value === 'number' &&
    (isInteger ? Number.isSafeInteger(value) : Number.isFinite(value)) &&
    (value === or?.value ||
      (value >= (min ?? Number.NEGATIVE_INFINITY) &&
        value > (above ?? Number.NEGATIVE_INFINITY) &&
        value <= (max ?? Number.POSITIVE_INFINITY) &&
        value < (below ?? Number.POSITIVE_INFINITY)));
  return fits ? value : wrong(at, `${isInteger ? 'an integer' : 'a number'}${rangeText(descriptor)}`, value);
}

function checkLists(descriptor: ListsOption, value: unknown, at: string): number[][] {
  const { longest, composed } = descriptor;
  const lists = Array.isArray(value) && value.length > 0 && !Array.isArray(value[0]) ? [value] : value;
  const wanted = `a list of integers, or of such lists`;
  if (!Array.isArray(lists)) return wrong(at, wanted, value);
  const seen = new Set<number>();
  return lists.map((list: unknown, i) => {
    const place = lists === value ? `${at}[${i}]` : at;
    if (!Array.isArray(list) || list.length === 0)
      return wrong(place, 'a list of integers such as [3, 3]', list);
    const item = { ...descriptor, kind: 'integer' } as const;
    const numbers = list.map((number, j) => checkNumber(item, number, `${place}[${j}]`));
    if (numbers.length > longest)
      throw new OptionError(place, `has ${numbers.length} integers; at most ${longest} are possible`);
    const whole = composed.of(numbers);
    if (seen.has(whole))
      throw new OptionError(at, `has two lists that compose to a ${composed.name} of ${whole}`);
    seen.add(whole);
    return numbers;
  });
}

function choiceOf({ choices, anyCase }: ChoiceOption | ChoicesOption, value: unknown): string | undefined {
  const same = (a: string): boolean =>
    a === value || (anyCase === true && a.toLowerCase() === String(value).toLowerCase());
  return choices.find(same);
}

/** @throws OptionError */
export function wrong(at: string, wanted: string, value: unknown): never {
  throw new OptionError(at, `must be ${wanted}, is ${shown(value)}`);
}

/** A value in a message, cut to what fits a line. */
export function shown(value: unknown): string {
  const text =
    typeof value === 'string'
      ? `'${value}'`
      : typeof value === 'number'
        ? String(value)
        : (JSON.stringify(value) ?? String(value));
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
