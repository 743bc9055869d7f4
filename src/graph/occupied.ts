import { ModelError } from './errors.js';
import type { Model } from './types.js';

/** Two calls on one model that would disturb each other: the second is refused, or the first finds the model changed. */
export class BusyError extends ModelError {
  override readonly code = 'ERR_BUSY';
}

/** What edits a model. */
const EDITORS = new WeakMap<Model, string>();

type Storage = {
  getStore(): ReadonlySet<Model> | undefined;
  run<T>(store: ReadonlySet<Model>, work: () => T): T;
};

let isOneByOne = false;

/**
 * Says that this thread never makes two calls at once: nobody can disturb anybody, and who calls whom is not followed, which
 * would cost a short command of Node 20 a tenth of its time. A program's choice, not a library's.
 */
export function callOneByOne(): void {
  isOneByOne = true;
}

/** Tells which call a call is made from. A browser has none: a pass that applies passes to its model is refused there. */
const CALLS: Storage | undefined = (() => {
  if (typeof process === 'undefined') return undefined;
  const hooks = process.getBuiltinModule?.('node:async_hooks');
  return hooks && new hooks.AsyncLocalStorage<ReadonlySet<Model>>();
})();

/**
 * Keeps a model for what edits it, until it is disposed of. Passes may apply others to the model that they are given.
 *
 * @param what it is, for the call that comes second
 * @throws BusyError where another call is editing the model
 */
export function occupy(model: Model, what: string): Disposable {
  if (isOneByOne || CALLS?.getStore()?.has(model)) return { [Symbol.dispose]: () => undefined };
  const other = EDITORS.get(model);
  if (other !== undefined) {
    throw new BusyError(
      `is in the hands of ${other}, which ${what} would disturb; wait for the one before the other, or give one of them a clone`,
      { file: model.path },
    );
  }
  EDITORS.set(model, what);
  return { [Symbol.dispose]: () => void EDITORS.delete(model) };
}

/** Does what edits a model; see occupy. */
export async function editing<T>(model: Model, what: string, work: () => Promise<T>): Promise<T> {
  using _held = occupy(model, what);
  return await (CALLS === undefined || isOneByOne
    ? work()
    : CALLS.run(new Set([...(CALLS.getStore() ?? []), model]), work));
}

/**
 * Does what reads models for some time.
 *
 * @throws BusyError where one of them was edited meanwhile: what was found would be of neither state
 */
export async function reading<T>(models: readonly Model[], what: string, work: () => Promise<T>): Promise<T> {
  const before = models.map(({ revision }) => revision);
  const result = await work();
  const edited = models.find(({ revision }, index) => revision !== before[index]);
  if (edited === undefined) return result;
  throw new BusyError(
    `was edited during ${what}, whose result would be of neither state; wait for the one before the other, or give one of them a clone`,
    { file: edited.path },
  );
}
