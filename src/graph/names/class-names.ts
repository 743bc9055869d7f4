import { createMessage } from '../proto/codec.js';
import type { Model } from '../types.js';

/** The metadata_props key of the names of the classes, in the order of the labels, as a JSON list. */
const KEY = 'onnx-overparam.classes';

/**
 * The names of the classes that a model tells apart, in the order of their labels, as `train` keeps them; undefined where it has none.
 *
 * @example
 * console.log(classNames(model)?.[3]); // 'cat'
 */
export function classNames(model: Model): readonly string[] | undefined {
  const text = (model.proto.metadata_props ?? []).find(({ key }) => key === KEY)?.value;
  if (text === undefined) return undefined;
  try {
    const names: unknown = JSON.parse(text);
    return Array.isArray(names) && names.every((name) => typeof name === 'string') ? names : undefined;
  } catch {
    return undefined;
  }
}

/** Keeps the names of the classes in a model; the same names again change nothing. */
export function keepClassNames(model: Model, names: readonly string[]): void {
  const before = model.proto.metadata_props ?? [];
  const value = JSON.stringify(names);
  if (before.some((entry) => entry.key === KEY && entry.value === value)) return;
  model.proto.metadata_props = [
    ...before.filter(({ key }) => key !== KEY),
    createMessage('StringStringEntryProto', { key: KEY, value }),
  ];
  model.countRevision();
}
