/** One place of a pattern: any run of characters, or one character out of some. */
type Part = '*' | ((character: string) => boolean);

/**
 * A test of names by a pattern of the shell: `*` stands for any run of characters (slashes too, since the names of nodes
 * are full of them), `?` for one, `[a-z]` for one of some, `[!a-z]` for one of all others; a backslash takes the
 * character behind it for itself. The whole name has to match, in upper and lower case as written.
 *
 * @throws RangeError for an empty pattern, a bracket without its end, and a backslash at the end
 * @example
 * globMatcher('layer[1-3].*')('layer2.0.conv1'); // true
 */
export function globMatcher(pattern: string): (name: string) => boolean {
  const parts = parse(pattern);
  return (name) => matches(parts, [...name]);
}

/** The pattern that matches a name and no other. */
export function escapeGlob(name: string): string {
  return name.replace(/[*?[\]\\]/g, (character) => `\\${character}`);
}

function parse(pattern: string): Part[] {
  if (pattern === '') throw new RangeError('a pattern must not be empty');
  const parts: Part[] = [];
  const characters = [...pattern];
  for (let at = 0; at < characters.length; at += 1) {
    const character = characters[at] as string;
    if (character === '*') parts.push('*');
    else if (character === '?') parts.push(() => true);
    else if (character === '[') {
      // A bracket that stands first is one of the set.
      const start = at + (characters[at + 1] === '!' || characters[at + 1] === '^' ? 2 : 1);
      const end = characters.indexOf(']', start + 1);
      if (end < 0) throw new RangeError(`'${pattern}' has a [ without its ]; write \\[ for the character`);
      parts.push(characterSet(characters.slice(start, end), start > at + 1));
      at = end;
    } else {
      const literal = character === '\\' ? characters[++at] : character;
      if (literal === undefined) throw new RangeError(`'${pattern}' ends in a backslash`);
      parts.push((other) => other === literal);
    }
  }
  return parts;
}

function characterSet(members: readonly string[], isNegated: boolean): (character: string) => boolean {
  const ranges: (readonly [from: string, to: string])[] = [];
  for (let at = 0; at < members.length; at += 1) {
    const from = members[at] as string;
    const to = members[at + 1] === '-' ? members[at + 2] : undefined;
    ranges.push([from, to ?? from]);
    if (to !== undefined) at += 2;
  }
  return (character) => ranges.some(([from, to]) => from <= character && character <= to) !== isNegated;
}

/** Goes back to the last star only, so that no pattern takes more than their lengths' product of steps. */
function matches(parts: readonly Part[], name: readonly string[]): boolean {
  let part = 0;
  let at = 0;
  let star = -1;
  let from = 0;
  while (at < name.length) {
    const current = parts[part];
    if (current === '*') {
      star = part;
      part += 1;
      from = at;
    } else if (current?.(name[at] as string)) {
      part += 1;
      at += 1;
    } else if (star >= 0) {
      part = star + 1;
      from += 1;
      at = from;
    } else return false;
  }
  while (parts[part] === '*') part += 1;
  return part === parts.length;
}
