/** Where in a list the last search ended: passes go through a graph in its order, and find the next thing beside the last. */
const ends = new WeakMap<readonly unknown[], number>();

/** The index of an item, searched from where the last search of the same list ended to both sides; -1 where it is not there. */
export function indexNear<T>(list: readonly T[], isIt: (item: T) => boolean): number {
  const start = Math.min(ends.get(list) ?? 0, Math.max(0, list.length - 1));
  for (let below = start, above = start + 1; below >= 0 || above < list.length; below -= 1, above += 1) {
    for (const at of [below, above]) {
      if (at < 0 || at >= list.length || !isIt(list[at] as T)) continue;
      ends.set(list, at);
      return at;
    }
  }
  return -1;
}
