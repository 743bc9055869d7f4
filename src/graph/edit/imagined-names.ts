import { namesOf } from '../names/fresh-names.js';
import type { Model } from '../types.js';

/** Gives `base`, or `base_2`, `base_3` …, and takes it. */
export type FreshName = (base: string) => string;

/** Names as model.freshName would give them, without taking them: for a dry run and for models that are only looked at. */
export function imaginedNames(model: Model): FreshName {
  const names = namesOf(model);
  return (base) => names.take(base);
}
