import type { Graph, Model } from '../graph/index.js';

/** Gives `base`, or `base_2`, `base_3` …, and takes it. */
export type FreshName = (base: string) => string;

/** Names as model.freshName would give them, without taking them: for a dry run. */
export function imaginedNames(model: Model): FreshName {
  const names = new Set<string>();
  for (const graph of [model.graph, ...model.functions, ...model.trainingGraphs]) {
    for (const name of graph.names()) names.add(name);
  }
  return (base) => {
    let name = base;
    for (let count = 2; names.has(name); count += 1) name = `${base}_${count}`;
    names.add(name);
    return name;
  };
}

/** The names of the factors of `base`, in nodes and weights. */
export function factorName(base: string, index: number): string {
  return `${base}/overparam/${index}`;
}

/** What a name by factorName was made of, whatever freshName put behind it; undefined for another name. */
export function stemOf(name: string): string | undefined {
  return /^(.*)\/overparam\/\d+(?:_\d+)?$/.exec(name)?.[1];
}

/** Values are told apart by their name within a graph; subgraphs and functions may each have one of that name. */
export class ValueKeys {
  readonly #graphs = new Map<Graph, number>();

  of(graph: Graph, value: string): string {
    let number = this.#graphs.get(graph);
    if (number === undefined) {
      number = this.#graphs.size;
      this.#graphs.set(graph, number);
    }
    return JSON.stringify([number, value]);
  }
}
