export const BAR_LEVELS: readonly string[] = [...'▁▂▃▄▅▆▇█'];
/** Of the same number, from little ink to much. */
export const ASCII_LEVELS: readonly string[] = [...'.:-=+*#@'];

/** A bar for each value, from the least to the most; a blank for one that is not there. */
export function levelsOf(
  values: readonly (number | undefined)[],
  {
    levels,
    least,
    most,
  }: { readonly levels: readonly string[]; readonly least: number; readonly most: number },
): string {
  return values
    .map((value) => {
      if (value === undefined || !Number.isFinite(value)) return ' ';
      const share = most > least ? (value - least) / (most - least) : 0.5;
      return levels[Math.round(share * (levels.length - 1))] ?? ' ';
    })
    .join('');
}
