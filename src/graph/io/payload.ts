import type { PayloadField, TensorProto } from '../proto/schema.js';
import type { ByteSource } from './source.js';

/** The content of one numeric data field of a tensor, as it stands on the wire, read on demand. */
export interface Payload {
  readonly field: PayloadField;
  readonly source: ByteSource;
}

let lastId = 0;
const payloads = new WeakMap<TensorProto, ReadonlyMap<number, Payload>>();

/** Gives a tensor its data fields (none: `[]`). Ids are unique in the process, so tensors may change models. */
export function setPayloads(tensor: TensorProto, list: readonly Payload[]): void {
  const entries = list.map((payload) => [nextId(), payload] as const);
  payloads.set(tensor, new Map(entries));
  if (entries.length > 0) tensor.payload_ids = entries.map(([id]) => id);
  else delete tensor.payload_ids;
}

/** Binds the ids that the scanner wrote to their payloads, after decoding. */
export function bindPayloads(tensor: TensorProto, table: ReadonlyMap<number, Payload>): void {
  const ids = tensor.payload_ids ?? [];
  const bound = new Map<number, Payload>();
  for (const id of ids) {
    const payload = table.get(id);
    if (payload !== undefined) bound.set(id, payload);
  }
  payloads.set(tensor, bound);
}

/** id -> payload of a tensor's data fields. */
export function payloadsOf(tensor: TensorProto): ReadonlyMap<number, Payload> {
  return payloads.get(tensor) ?? new Map();
}

export function nextId(): number {
  lastId += 1;
  return lastId;
}
