import { type ByteSource, byteLengthOf, dataTypeOf, ModelError, messageOf } from '../../graph/index.js';
import type { StoredTensor } from './types.js';

const PARAMETERS = 3;
const [NAME, DIMS, TYPE, DATA] = [0, 1, 2, 3];

/**
 * The tensors of an `.onnx_adapter`: a FlatBuffers table of format, adapter and model version and parameters, each with name, dims,
 * data type (numbered as in TensorProto) and bytes (onnxruntime, onnxruntime/lora/adapter_format/adapter_schema.fbs).
 *
 * @throws ModelError for files that are damaged
 */
export function onnxAdapterTensors(source: ByteSource): Map<string, StoredTensor> {
  const bytes = source.read(0, source.length);
  const tensors = new Map<string, StoredTensor>();
  try {
    const file = new FlatBuffer(bytes);
    for (const table of file.tables(file.field(file.root, PARAMETERS))) {
      const name = file.text(file.field(table, NAME));
      const typeAt = file.field(table, TYPE);
      const dataType = dataTypeOf(typeAt === undefined ? 0 : file.int32(typeAt));
      const shape = file.int64s(file.field(table, DIMS));
      const data = file.bytes(file.field(table, DATA));
      if (dataType === undefined || !shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0)) {
        throw new ModelError('its type or shape is unknown', { tensor: name });
      }
      const needed = byteLengthOf(
        dataType,
        shape.reduce((product, dim) => product * dim, 1),
      );
      if (needed !== data.length) {
        throw new ModelError(`its data has ${data.length} bytes, but its shape needs ${needed}`, {
          tensor: name,
        });
      }
      tensors.set(name, {
        name,
        dataType,
        shape,
        owner: data,
        key: '',
        bytes: async (start = 0, length = data.length) => data.subarray(start, start + length),
      });
    }
  } catch (error) {
    if (error instanceof RangeError) {
      throw new ModelError(`the adapter is damaged: ${messageOf(error)}`, {}, { cause: error });
    }
    throw error;
  }
  return tensors;
}

/** What reading takes of FlatBuffers' layout: tables with a vtable of 16-bit offsets, vectors with a 32-bit length. */
class FlatBuffer {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly root: number;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.root = this.#view.getUint32(0, true);
  }

  /** Where a field of a table stands; undefined where it has its default. */
  field(table: number, index: number): number | undefined {
    const vtable = table - this.#view.getInt32(table, true);
    const slot = 4 + 2 * index;
    if (slot >= this.#view.getUint16(vtable, true)) return undefined;
    const offset = this.#view.getUint16(vtable + slot, true);
    return offset === 0 ? undefined : table + offset;
  }

  int32(at: number): number {
    return this.#view.getInt32(at, true);
  }

  text(at: number | undefined): string {
    return new TextDecoder().decode(this.bytes(at));
  }

  bytes(at: number | undefined): Uint8Array {
    const [start, length] = this.#vector(at, 1);
    return this.#bytes.subarray(start, start + length);
  }

  int64s(at: number | undefined): number[] {
    const [start, length] = this.#vector(at, 8);
    return Array.from({ length }, (_, i) => Number(this.#view.getBigInt64(start + 8 * i, true)));
  }

  tables(at: number | undefined): number[] {
    const [start, length] = this.#vector(at, 4);
    return Array.from({ length }, (_, i) => start + 4 * i + this.#view.getUint32(start + 4 * i, true));
  }

  #vector(at: number | undefined, width: number): [start: number, length: number] {
    if (at === undefined) return [0, 0];
    const vector = at + this.#view.getUint32(at, true);
    const length = this.#view.getUint32(vector, true);
    if (vector + 4 + length * width > this.#bytes.length)
      throw new RangeError('a vector ends behind the file');
    return [vector + 4, length];
  }
}
