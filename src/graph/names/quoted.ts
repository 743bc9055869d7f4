/** A string literal without a character that moves the cursor of a terminal or reorders a line; JSON leaves some. */
export function quoted(text: string): string {
  const unitText = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return JSON.stringify(text).replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (character) =>
    character.split('').map(unitText).join(''),
  );
}
