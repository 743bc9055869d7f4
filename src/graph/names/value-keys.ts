import type { Graph } from '../types.js';

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
