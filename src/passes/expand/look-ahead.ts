/** The cost of an item that is to be worked on by itself: more than any budget. */
export const ALONE = Number.MAX_SAFE_INTEGER;

interface Work<T, R> {
  /** What an item holds from the time that it is begun until the one behind it is asked for, in the unit of the budget. */
  cost(item: T): number;
  begin(item: T): Promise<R>;
}

/**
 * Work on a list, item by item, that is begun before its turn, as long as what has been begun fits into a budget: threads
 * then have something to do while the results of an earlier item are put to use. An item that does not fit at all is begun
 * when it is its turn.
 *
 * @example
 * await using ahead = new LookAhead(sites, { cost: bytesOf, begin: factorize }, 32 << 20);
 * for (const site of sites) use(site, await ahead.next());
 */
export class LookAhead<T, R> implements AsyncDisposable {
  readonly #items: readonly T[];
  readonly #work: Work<T, R>;
  readonly #budget: number;
  readonly #begun: { readonly cost: number; readonly result: Promise<R> }[] = [];
  #next = 0;
  /** Of the item whose result was given last, and may be in use. */
  #inUse = 0;

  constructor(items: readonly T[], work: Work<T, R>, budget: number) {
    this.#items = items;
    this.#work = work;
    this.#budget = budget;
  }

  /** The result of the next item; rejects where its work did. */
  async next(): Promise<R> {
    this.#inUse = 0;
    this.#beginMore();
    const first = this.#begun.shift();
    if (first === undefined) throw new RangeError('there are no more items');
    this.#inUse = first.cost;
    return await first.result;
  }

  /** Waits for what was begun. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#begun.map(({ result }) => result));
  }

  #beginMore(): void {
    let held = this.#begun.reduce((sum, { cost }) => sum + cost, this.#inUse);
    while (this.#next < this.#items.length) {
      const item = this.#items[this.#next] as T;
      const cost = this.#work.cost(item);
      if (held > 0 && held + cost > this.#budget) return;
      const result = this.#work.begin(item);
      // An error is told when it is the item's turn.
      result.catch(() => {});
      this.#begun.push({ cost, result });
      this.#next += 1;
      held += cost;
    }
  }
}
