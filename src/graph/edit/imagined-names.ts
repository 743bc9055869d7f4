import type { Model } from '../types.js';

/** Gives `base`, or `base_2`, `base_3` …, and takes it. */
export type FreshName = (base: string) => string;

/** Names as model.freshName would give them, without taking them: for a dry run and for models that are only looked at. */
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
