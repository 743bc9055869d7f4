import { ModelError } from './errors.js';
import { createMessage, fromBigInt, toBigInt, toNumber } from './proto/codec.js';
import type { AttributeProto, GraphProto } from './proto/schema.js';
import { Tensor } from './tensor/tensor.js';

/** AttributeProto.type -> the field that then holds the value. */
export const ATTRIBUTE_FIELDS = {
  1: 'f',
  2: 'i',
  3: 's',
  4: 't',
  5: 'g',
  6: 'floats',
  7: 'ints',
  8: 'strings',
  9: 'tensors',
  10: 'graphs',
  11: 'sparse_tensor',
  12: 'sparse_tensors',
  13: 'tp',
  14: 'type_protos',
} as const satisfies Record<number, keyof AttributeProto>;
export type AttributeField = (typeof ATTRIBUTE_FIELDS)[keyof typeof ATTRIBUTE_FIELDS];

/**
 * The value of an attribute to be made: integers are `{ int: 1 }` / `{ ints: [1, 2] }`, floats `{ float: 0.5 }`,
 * since a JavaScript number does not say which it is.
 */
export type AttributeValue =
  | { readonly int: number | bigint }
  | { readonly ints: readonly (number | bigint)[] }
  | { readonly float: number }
  | { readonly floats: readonly number[] }
  | { readonly string: string }
  | { readonly strings: readonly string[] }
  | { readonly tensor: Tensor }
  | { readonly graph: GraphProto };

/** The attributes of a node, as a file has them. */
export type AttributeProtos = AttributeProto[];

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function makeAttribute(name: string, value: AttributeValue): AttributeProto {
  const fields = ((): AttributeProto => {
    if ('int' in value) return { type: 2, i: fromBigInt(value.int) };
    if ('ints' in value) return { type: 7, ints: value.ints.map(fromBigInt) };
    if ('float' in value) return { type: 1, f: value.float };
    if ('floats' in value) return { type: 6, floats: [...value.floats] };
    if ('string' in value) return { type: 3, s: encoder.encode(value.string) };
    if ('strings' in value) return { type: 8, strings: value.strings.map((text) => encoder.encode(text)) };
    if ('tensor' in value) return { type: 4, t: value.tensor.proto };
    return { type: 5, g: value.graph };
  })();
  return createMessage('AttributeProto', { name, ...fields });
}

/**
 * The attributes of a node or function, read by name and kind; a default stands in for one that is absent.
 *
 * @example
 * const [top = 0, left = 0, bottom = 0, right = 0] = conv.attributes.ints('pads') ?? [];
 * const group = conv.attributes.int('group', 1);
 */
export class Attributes {
  readonly #list: readonly AttributeProto[];
  readonly #owner: string;

  constructor(list: readonly AttributeProto[], owner: string) {
    this.#list = list;
    this.#owner = owner;
  }

  has(name: string): boolean {
    return this.#find(name) !== undefined;
  }

  names(): string[] {
    return this.#list.map((attribute) => attribute.name ?? '');
  }

  /** An integer; one beyond ±(2^53 - 1) as that (see `bigints`). */
  int(name: string, absent: number): number {
    const attribute = this.#find(name, 'i');
    return attribute === undefined ? absent : toNumber(attribute.i);
  }

  /** Integers; those beyond ±(2^53 - 1) as that: INT64_MAX as an end still lies behind every end. */
  ints(name: string): number[] | undefined {
    return this.#find(name, 'ints')?.ints?.map(toNumber);
  }

  /** The same with all of their bits, for what is written into a model again. */
  bigints(name: string): bigint[] | undefined {
    return this.#find(name, 'ints')?.ints?.map(toBigInt);
  }

  float(name: string, absent: number): number {
    return this.#find(name, 'f')?.f ?? absent;
  }

  floats(name: string): number[] | undefined {
    return this.#find(name, 'floats')?.floats;
  }

  string(name: string, absent: string): string {
    const bytes = this.#find(name, 's')?.s;
    return bytes === undefined ? absent : decoder.decode(bytes);
  }

  strings(name: string): string[] | undefined {
    return this.#find(name, 'strings')?.strings?.map((bytes) => decoder.decode(bytes));
  }

  tensor(name: string): Tensor | undefined {
    const tensor = this.#find(name, 't')?.t;
    return tensor && new Tensor(tensor);
  }

  /** True when the value is the attribute of the function that the node stands in, and so not known here. */
  isReference(name: string): boolean {
    return Boolean(this.#find(name)?.ref_attr_name);
  }

  #find(name: string, field?: AttributeField): AttributeProto | undefined {
    const attribute = this.#list.find((candidate) => candidate.name === name);
    if (attribute === undefined || field === undefined) return attribute;
    if (attribute.ref_attr_name) {
      throw new ModelError(`attribute '${name}' refers to the function's '${attribute.ref_attr_name}'`, {
        node: this.#owner,
      });
    }
    const type = attribute.type ?? 0;
    // IR versions before 2 have no type: then the field that is set counts.
    if (type !== 0 && (ATTRIBUTE_FIELDS as Readonly<Record<number, string>>)[type] !== field) {
      throw new ModelError(`attribute '${name}' is not of the kind '${field}' that the operator needs`, {
        node: this.#owner,
      });
    }
    return attribute;
  }
}
