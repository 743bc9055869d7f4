/** The names of the factors of `base`, in nodes and weights. */
export function factorName(base: string, index: number): string {
  return `${base}/overparam/${index}`;
}

/** What a name by factorName was made of, whatever freshName put behind it; undefined for another name. */
export function stemOf(name: string): string | undefined {
  return /^(.*)\/overparam\/\d+(?:_\d+)?$/.exec(name)?.[1];
}
