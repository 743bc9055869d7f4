import { OptionError } from './option-descriptors.js';
import type { Node } from './types.js';

/** Something that was added at run time; disposing of it takes it away again. */
export interface Definition extends Disposable {
  readonly name: string;
}

/** What programs add at run time to a table of this library: rules of operators, metrics, optimizers, formats. */
export class Registry<Entry> {
  readonly #entries = new Map<string, { readonly entry: Entry }>();
  readonly #kind: string;
  readonly #isTaken: (name: string) => boolean;

  /**
   * @param kind what an entry is called in errors, with its article
   * @param isTaken names that the library has entries for itself
   */
  constructor(kind: string, isTaken: (name: string) => boolean) {
    this.#kind = kind;
    this.#isTaken = isTaken;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(name: string): Entry | undefined {
    return this.#entries.get(name)?.entry;
  }

  entries(): (readonly [name: string, entry: Entry])[] {
    return [...this.#entries].map(([name, { entry }]) => [name, entry] as const);
  }

  /** @throws OptionError for an empty name and one that is taken */
  define(name: string, entry: Entry): Definition {
    if (typeof name !== 'string' || !/^[^\s]+$/.test(name))
      throw new OptionError('name', `must be a name without spaces, is '${name}'`);
    if (this.#isTaken(name) || this.#entries.has(name)) {
      const whose = this.#entries.has(name)
        ? 'was defined before; dispose of that definition first'
        : 'is built in';
      throw new OptionError('name', `'${name}': ${this.#kind} of this name ${whose}`);
    }
    const held = { entry };
    this.#entries.set(name, held);
    return {
      name,
      [Symbol.dispose]: () => {
        if (this.#entries.get(name) === held) this.#entries.delete(name);
      },
    };
  }
}

/** An operator as definitions name it: `Round`, or `com.acme.Swish` for those of other domains. */
export function operatorName({ domain, opType }: Pick<Node, 'domain' | 'opType'>): string {
  return domain === '' ? opType : `${domain}.${opType}`;
}
