import type { Model } from '../types.js';

/** Names that are taken, and others made from them; none is ever free again. */
export class FreshNames {
  readonly #taken: Set<string>;
  /** The count that a base was given last: below it all are taken. */
  readonly #counts = new Map<string, number>();

  /** @param taken taken over, and added to */
  constructor(taken: Set<string>) {
    this.#taken = taken;
  }

  /** Gives `base`, or `base_2`, `base_3` …, and takes it. */
  take(base: string): string {
    let name = base;
    if (this.#taken.has(base)) {
      let count = (this.#counts.get(base) ?? 1) + 1;
      while (this.#taken.has(`${base}_${count}`)) count += 1;
      this.#counts.set(base, count);
      name = `${base}_${count}`;
    }
    this.#taken.add(name);
    return name;
  }

  claim(name: string): void {
    this.#taken.add(name);
  }
}

/** The names of a model: of nodes and values of all its graphs. */
export function namesOf(model: Model): FreshNames {
  const names = new Set<string>();
  for (const graph of [model.graph, ...model.functions, ...model.trainingGraphs])
    for (const name of graph.names()) names.add(name);
  return new FreshNames(names);
}
