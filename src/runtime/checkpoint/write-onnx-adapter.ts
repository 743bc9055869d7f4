import { DATA_TYPES, ModelError } from '../../graph/index.js';
import type { RuntimeTensor } from '../types.js';
import { ADAPTER_IDENTIFIER } from './recognize.js';

/** Of the elements of a tensor. */
const ALIGNMENT = 16;

/**
 * An `.onnx_adapter` of tensors (onnxruntime, onnxruntime/lora/adapter_format/adapter_schema.fbs): what a model takes its adapters' inputs
 * from.
 *
 * @throws ModelError for tensors of text
 */
export function onnxAdapter(
  tensors: ReadonlyMap<string, RuntimeTensor>,
  { adapterVersion = 1, modelVersion = 1 } = {},
): Uint8Array {
  const file = new Forward();
  const root = file.offset();
  file.bytes(Buffer.from(ADAPTER_IDENTIFIER));
  // Tables point back to what says where their fields are; everything else points forward.
  const rootFields = file.vtable([4, 8, 12, 16], 20);
  const parameterFields = file.vtable([4, 8, 12, 16], 20);
  file.point(root, file.at);
  file.table(rootFields);
  for (const value of [1, adapterVersion, modelVersion]) file.int32(value);
  const list = file.offset();
  file.point(list, file.at);
  file.int32(tensors.size);
  const places = [...tensors].map(() => file.offset());
  for (const [index, [name, { type, shape, data }]] of [...tensors].entries()) {
    if (Array.isArray(data)) throw new ModelError('an adapter holds no text', { tensor: name });
    file.align(4);
    file.point(places[index] as number, file.at);
    file.table(parameterFields);
    const [text, dims] = [file.offset(), file.offset()];
    file.int32(DATA_TYPES[type].code);
    const elements = file.offset();
    const encoded = Buffer.from(name);
    file.point(text, file.at);
    file.int32(encoded.length);
    file.bytes(Buffer.concat([encoded, Buffer.alloc(1)]));
    file.align(8, 4);
    file.point(dims, file.at);
    file.int32(shape.length);
    for (const dim of shape) file.int64(dim);
    file.align(ALIGNMENT, 4);
    file.point(elements, file.at);
    file.int32(data.byteLength);
    file.bytes(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  file.align(4);
  return file.done();
}

/** FlatBuffers written from front to back. */
class Forward {
  readonly #parts: Uint8Array[] = [];
  readonly #offsets = new Map<number, number>();
  at = 0;

  bytes(part: Uint8Array): void {
    this.#parts.push(part);
    this.at += part.length;
  }

  int32(value: number): void {
    const part = Buffer.alloc(4);
    part.writeInt32LE(value);
    this.bytes(part);
  }

  int64(value: number): void {
    const part = Buffer.alloc(8);
    part.writeBigInt64LE(BigInt(value));
    this.bytes(part);
  }

  /** So that what follows `ahead` bytes on is at a multiple. */
  align(multiple: number, ahead = 0): void {
    const rest = (this.at + ahead) % multiple;
    if (rest !== 0) this.bytes(Buffer.alloc(multiple - rest));
  }

  /** Where fields stand in a table of a size. */
  vtable(fields: readonly number[], size: number): number {
    const at = this.at;
    const part = Buffer.alloc(4 + 2 * fields.length);
    part.writeUInt16LE(part.length, 0);
    part.writeUInt16LE(size, 2);
    for (const [index, field] of fields.entries()) part.writeUInt16LE(field, 4 + 2 * index);
    this.bytes(part);
    return at;
  }

  table(vtable: number): void {
    this.int32(this.at - vtable);
  }

  /** An offset that `point` is to fill. */
  offset(): number {
    const at = this.at;
    this.int32(0);
    return at;
  }

  point(offset: number, target: number): void {
    this.#offsets.set(offset, target - offset);
  }

  done(): Uint8Array {
    const all = Buffer.concat(this.#parts);
    for (const [at, value] of this.#offsets) all.writeUInt32LE(value, at);
    return all;
  }
}
