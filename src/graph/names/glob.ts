import { ModelError } from '../errors.js';

type Token = '*' | ((character: string) => boolean);

/**
 * A pattern of names: `*` is any text, `?` any character, `[abc]` and `[a-z]` one of these, `[!abc]` none of them, and
 * `\` takes the next character as it is. The whole name must match; `/` and `.` are nothing special. A `[` that no `]`
 * closes is itself, and so is one of the brackets in `lstm.W[forward,i]`: a set has no commas. A name that is
 * spelled like the pattern matches always.
 *
 * @example
 * glob('layer?.*.weight')('layer1.0.conv1.weight'); // true
 */
export function glob(pattern: string): (name: string) => boolean {
  const tokens = tokensOf([...pattern]);
  return (name) => name === pattern || matches(tokens, [...name]);
}

/** In time of the product of both lengths at most: only the last `*` is ever tried again. */
function matches(tokens: readonly Token[], name: readonly string[]): boolean {
  let [t, n] = [0, 0];
  let [star, from] = [-1, 0];
  while (n < name.length) {
    const token = tokens[t];
    if (token === '*') {
      star = t;
      from = n;
      t += 1;
    } else if (token?.(name[n] as string)) {
      t += 1;
      n += 1;
    } else if (star >= 0) {
      from += 1;
      t = star + 1;
      n = from;
    } else return false;
  }
  return tokens.slice(t).every((token) => token === '*');
}

function tokensOf(characters: readonly string[]): Token[] {
  const tokens: Token[] = [];
  for (let i = 0; i < characters.length; i += 1) {
    const character = characters[i] as string;
    const set = character === '[' ? setAt(characters, i) : undefined;
    if (set !== undefined) {
      tokens.push(set.token);
      i = set.end;
    } else if (character === '*') tokens.push('*');
    else if (character === '?') tokens.push(() => true);
    else {
      if (character === '\\' && i + 1 < characters.length) i += 1;
      const wanted = characters[i];
      tokens.push((found) => found === wanted);
    }
  }
  return tokens;
}

function setAt(
  characters: readonly string[],
  start: number,
): { readonly token: Token; readonly end: number } | undefined {
  const isNegated = characters[start + 1] === '!' || characters[start + 1] === '^';
  const from = start + (isNegated ? 2 : 1);
  // A ] that comes first is one of the set.
  const end = characters.indexOf(']', from + 1);
  if (end < 0) return undefined;
  const members = characters.slice(from, end);
  if (members.includes(',')) return undefined;
  const ranges: [low: string, high: string][] = [];
  for (let i = 0; i < members.length; i += 1) {
    const [low = '', dash, high] = members.slice(i, i + 3);
    const isRange = dash === '-' && high !== undefined;
    ranges.push(isRange ? [low, high] : [low, low]);
    if (isRange) i += 2;
  }
  const has = (found: string): boolean => ranges.some(([low, high]) => low <= found && found <= high);
  return { token: (found) => has(found) !== isNegated, end };
}

/** A pattern of names that matches nothing, though an option asks for what it matches. */
export class PatternError extends ModelError {
  override readonly code = 'ERR_PATTERN';
  /** Key of the option. */
  readonly option: string;
  readonly pattern: string;
  /** The message without the option and the pattern: 'matches no trainable weight; there are: fc1, fc2'. */
  readonly reason: string;

  /**
   * @param what it should match, in the singular
   * @param names what it could have matched
   */
  constructor(
    option: string,
    pattern: string,
    what: string,
    names: readonly string[],
    file: string | undefined,
  ) {
    const list =
      names.length === 0
        ? 'there is none'
        : `there are: ${names.slice(0, MOST).join(', ')}${names.length > MOST ? ` and ${names.length - MOST} more` : ''}`;
    const reason = `matches no ${what}; ${list}`;
    super(`${option}: '${pattern}' ${reason}`, { file });
    this.option = option;
    this.pattern = pattern;
    this.reason = reason;
  }
}

const MOST = 8;

/**
 * Whether a name is one of those that patterns of an option match.
 *
 * @throws PatternError for the first pattern that matches none of the names
 */
export function matching(
  patterns: readonly string[],
  names: readonly string[],
  told: { readonly option: string; readonly what: string; readonly file: string | undefined },
): (name: string) => boolean {
  const tests = patterns.map((pattern) => {
    const test = glob(pattern);
    if (names.some(test)) return test;
    throw new PatternError(told.option, pattern, told.what, names, told.file);
  });
  return (name) => tests.some((test) => test(name));
}
