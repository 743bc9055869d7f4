import { ModelError } from '../errors.js';
import { type Payload, payloadsOf, setPayloads } from '../io/payload.js';
import { type ByteSource, type FileRange, MemorySource } from '../io/source.js';
import { copyUnknownFields, createMessage, fromBigInt, toNumber, toNumbers } from '../proto/codec.js';
import type { TensorProto } from '../proto/schema.js';
import {
  byteLengthOf,
  DATA_TYPES,
  type DataType,
  dataTypeOf,
  type FloatType,
  isFloatType,
} from './data-type.js';
import {
  bfloat16ToFloat32,
  float16ToFloat32,
  float32ToBfloat16,
  float32ToFloat16,
  roundToOdd,
} from './float16.js';

/** The typed array that holds the elements of each type as they are stored; sub-byte types stay packed. */
export interface NativeArrays {
  undefined: Uint8Array;
  float32: Float32Array;
  float64: Float64Array;
  float16: Uint16Array;
  bfloat16: Uint16Array;
  int8: Int8Array;
  int16: Int16Array;
  int32: Int32Array;
  int64: BigInt64Array;
  uint8: Uint8Array;
  uint16: Uint16Array;
  uint32: Uint32Array;
  uint64: BigUint64Array;
  bool: Uint8Array;
  string: Uint8Array;
  complex64: Float32Array;
  complex128: Float64Array;
  float8e4m3fn: Uint8Array;
  float8e4m3fnuz: Uint8Array;
  float8e5m2: Uint8Array;
  float8e5m2fnuz: Uint8Array;
  float8e8m0: Uint8Array;
  float4e2m1: Uint8Array;
  uint4: Uint8Array;
  int4: Uint8Array;
  uint2: Uint8Array;
  int2: Uint8Array;
}
/** The typed array that holds the elements of some data type; see NativeArrays. */
export type NativeArray = NativeArrays[DataType];

const ARRAY_OF = {
  undefined: Uint8Array,
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
  string: Uint8Array,
  complex64: Float32Array,
  complex128: Float64Array,
  float8e4m3fn: Uint8Array,
  float8e4m3fnuz: Uint8Array,
  float8e5m2: Uint8Array,
  float8e5m2fnuz: Uint8Array,
  float8e8m0: Uint8Array,
  float4e2m1: Uint8Array,
  uint4: Uint8Array,
  int4: Uint8Array,
  uint2: Uint8Array,
  int2: Uint8Array,
} as const satisfies { [T in DataType]: new (buffer: ArrayBuffer, offset?: number) => NativeArrays[T] };

const external = new WeakMap<TensorProto, () => ByteSource>();

/** Says where the bytes of an external tensor are; asked when they are first read. */
export function bindExternal(tensor: TensorProto, open: () => ByteSource): void {
  external.set(tensor, open);
}

const EXTERNAL = 1;

/**
 * A constant of a model. Name, type and shape are known without reading its bytes; those come on demand,
 * whole or by range of elements, from whichever field or file holds them.
 *
 * @example
 * const tensor = Tensor.of('w', 'float32', [2, 3], new Float32Array(6));
 * console.log(tensor.name, tensor.dataType, tensor.shape, tensor.byteLength); // 'w', 'float32', [2, 3], 24
 */
export class Tensor {
  readonly proto: TensorProto;

  constructor(proto: TensorProto) {
    this.proto = proto;
  }

  /**
   * A new tensor.
   *
   * @param data elements in row-major order, in the type's own array (fp16 and bf16 as bits in a Uint16Array),
   *   or a source of the bytes that raw_data would hold.
   * @throws ModelError when the data does not fill the shape.
   * @example
   * Tensor.of('w', 'float32', [2, 3], new Float32Array(6));
   */
  static of<T extends DataType>(
    name: string,
    type: T,
    shape: readonly number[],
    data: NativeArrays[T] | ByteSource,
  ): Tensor {
    const proto = createMessage('TensorProto', {
      dims: shape.map(fromBigInt),
      data_type: DATA_TYPES[type].code,
      name,
    });
    const source = ArrayBuffer.isView(data)
      ? new MemorySource(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
      : data;
    const tensor = new Tensor(proto);
    setPayloads(proto, [{ field: 'raw_data', source }]);
    if (source.length !== tensor.byteLength) {
      throw new ModelError(
        `${source.length} bytes do not fill the shape [${shape.join(', ')}] of ${type}, which needs ${tensor.byteLength}`,
        { tensor: name },
      );
    }
    return tensor;
  }

  get name(): string {
    return this.proto.name ?? '';
  }

  /** The element type. Throws ModelError for a code that this ONNX does not have. */
  get dataType(): DataType {
    const code = this.proto.data_type ?? 0;
    const type = dataTypeOf(code);
    if (type === undefined)
      throw new ModelError(`its element type ${code} is unknown`, { tensor: this.name });
    return type;
  }

  get shape(): readonly number[] {
    const dims = (this.proto.dims ?? []).map(toNumber);
    // Of nothing there may be any number.
    if (dims.some((dim) => Math.abs(dim) === Number.MAX_SAFE_INTEGER) && !dims.includes(0)) {
      throw new ModelError(`its shape [${this.proto.dims?.join(', ')}] is impossible`, { tensor: this.name });
    }
    return dims;
  }

  /** Number of elements; 1 for a scalar. */
  get size(): number {
    return this.shape.reduce((product, dim) => product * dim, 1);
  }

  /** Bytes of the elements in raw_data form, whatever field holds them. */
  get byteLength(): number {
    return byteLengthOf(this.dataType, this.size);
  }

  get isExternal(): boolean {
    return this.proto.data_location === EXTERNAL;
  }

  /**
   * The bytes in raw_data form, without decoding, where the storage has that form: raw_data, an external file,
   * float_data of float32, double_data of float64. Undefined where it has not.
   */
  get rawSource(): ByteSource | undefined {
    if (this.isExternal) return this.#externalSource();
    const payload = this.#payload();
    if (payload === undefined) return this.size === 0 ? new MemorySource(new Uint8Array(0)) : undefined;
    const field = payload.field;
    const isRaw =
      field === 'raw_data' ||
      (field === 'float_data' && (this.dataType === 'float32' || this.dataType === 'complex64')) ||
      (field === 'double_data' && (this.dataType === 'float64' || this.dataType === 'complex128'));
    return isRaw ? payload.source : undefined;
  }

  /** All bytes, in raw_data form: little-endian, row-major. */
  bytes(): Uint8Array {
    const source = this.rawSource;
    if (source === undefined) return this.#decodeTyped();
    this.#checkLength(source.length);
    return source.read(0, source.length);
  }

  /** All elements, in the array of their type. */
  array(): NativeArray {
    return asArray(this.dataType, this.bytes());
  }

  /** Elements `start` to `start + count` in row-major order, reading only their bytes where the storage allows. */
  elements(start: number, count: number): NativeArray {
    const type = this.dataType;
    const [from, length] = this.#bytesOf(start, count);
    const source = this.rawSource;
    if (source === undefined) return asArray(type, this.#decodeTyped().slice(from, from + length));
    this.#checkLength(source.length);
    return asArray(type, source.read(from, length));
  }

  /** Where the bytes of elements `start` to `start + count` stand in a file in raw_data form; undefined where they do not. */
  inFile(start = 0, count = this.size): FileRange | undefined {
    const source = this.rawSource;
    if (source?.inFile === undefined) return undefined;
    this.#checkLength(source.length);
    return source.inFile(...this.#bytesOf(start, count));
  }

  #bytesOf(start: number, count: number): [from: number, length: number] {
    const type = this.dataType;
    const bits = DATA_TYPES[type].bits;
    if (bits < 8) throw new ModelError(`elements of ${type} cannot be read by range`, { tensor: this.name });
    if (start < 0 || count < 0 || start + count > this.size) {
      throw new ModelError(`elements ${start} to ${start + count} were asked for, but it has ${this.size}`, {
        tensor: this.name,
      });
    }
    return [(start * bits) / 8, (count * bits) / 8];
  }

  /**
   * The elements of a float tensor as float32, or as float64 where they are stored so.
   *
   * @throws ModelError when the type is not one of float32, float64, float16, bfloat16.
   */
  floats(start = 0, count = this.size): Float32Array | Float64Array {
    const type = this.dataType;
    if (!isFloatType(type))
      throw new ModelError(`is ${type}, not a floating-point tensor`, { tensor: this.name });
    const whole = start === 0 && count === this.size;
    return widen(type, (whole ? this.array() : this.elements(start, count)) as NativeArrays[FloatType]);
  }

  /**
   * The integers of a tensor (a shape, axes, bounds) as numbers; those beyond ±(2^53 - 1) become that, which as a
   * position lies behind every end all the same. `array` keeps all bits.
   */
  integers(): number[] {
    return toNumbers(this.array());
  }

  /** A tensor of strings, each as its UTF-8 bytes. */
  static ofStrings(name: string, shape: readonly number[], strings: readonly Uint8Array[]): Tensor {
    const { code } = DATA_TYPES.string;
    const dims = shape.map(fromBigInt);
    return new Tensor(
      createMessage('TensorProto', { dims, data_type: code, string_data: [...strings], name }),
    );
  }

  /** A tensor of the same content under another name. The data is shared, not copied. */
  renamed(name: string): Tensor {
    const { payload_ids: _ids, ...fields } = this.proto;
    const proto = createMessage('TensorProto', { ...fields, name });
    copyUnknownFields(this.proto, proto);
    setPayloads(proto, [...payloadsOf(this.proto).values()]);
    const open = external.get(this.proto);
    if (open !== undefined) external.set(proto, open);
    return new Tensor(proto);
  }

  /**
   * A tensor of the same name, type and shape, with the same documentation and metadata, and other elements.
   *
   * @throws ModelError when the data does not fill the shape
   */
  withData(data: NativeArray | ByteSource): Tensor {
    const fresh = Tensor.of(this.name, this.dataType, this.shape, data as never);
    const { doc_string, metadata_props } = this.proto;
    if (doc_string !== undefined) fresh.proto.doc_string = doc_string;
    if (metadata_props !== undefined) fresh.proto.metadata_props = metadata_props;
    copyUnknownFields(this.proto, fresh.proto);
    return fresh;
  }

  /**
   * Throws ModelError when the bytes that are stored do not fill the shape. Reads nothing, except of integer
   * types in typed fields, whose count only decoding tells.
   */
  checkData(): void {
    if (this.dataType === 'string') {
      this.#checkCount(this.proto.string_data?.length ?? 0, 'strings');
      return;
    }
    if (this.size < 0 || !Number.isSafeInteger(this.size)) {
      throw new ModelError(`its shape [${this.shape.join(', ')}] is impossible`, { tensor: this.name });
    }
    const source = this.rawSource;
    if (source !== undefined) this.#checkLength(source.length);
    else if (this.dataType !== 'undefined' || this.size > 1) this.#decodeTyped();
  }

  #externalSource(): ByteSource {
    const open = external.get(this.proto);
    if (open === undefined) {
      throw new ModelError(
        'its data is in an external file, but the model was read from bytes; read it by its path, or give a directory',
        { tensor: this.name },
      );
    }
    return open();
  }

  #payload(): Payload | undefined {
    const all = [...payloadsOf(this.proto).values()];
    // Some exporters write an empty raw_data beside the typed field that holds the elements.
    return (
      all.find((payload) => payload.source.length > 0) ?? all.find((payload) => payload.field === 'raw_data')
    );
  }

  #checkLength(length: number): void {
    if (length === this.byteLength) return;
    throw new ModelError(
      `its data has ${length} bytes, but its shape [${this.shape.join(', ')}] of ${this.dataType} needs ${this.byteLength}`,
      { tensor: this.name },
    );
  }

  #checkCount(count: number, what: string): void {
    if (count === this.size) return;
    throw new ModelError(
      `its data has ${count} ${what}, but its shape [${this.shape.join(', ')}] needs ${this.size}`,
      { tensor: this.name },
    );
  }

  /** raw_data form of int32_data, int64_data, uint64_data (varints) and of float_data in an odd type. */
  #decodeTyped(): Uint8Array {
    const type = this.dataType;
    const payload = this.#payload();
    const bytes = new Uint8Array(this.byteLength);
    if (payload === undefined) {
      if (type === 'undefined' && this.size <= 1) return bytes;
      this.#checkCount(0, 'elements');
      return bytes;
    }
    if (payload.field !== DATA_TYPES[type].field) {
      throw new ModelError(
        `its ${type} elements stand in the field ${payload.field}, which holds other types`,
        {
          tensor: this.name,
        },
      );
    }
    const bits = DATA_TYPES[type].bits;
    const perValue = bits < 8 ? 8 / bits : 1;
    const width = Math.max(1, bits / 8);
    const wire = payload.source.read(0, payload.source.length);
    let count = 0;
    for (let position = 0; position < wire.length; count += 1) {
      let low = 0;
      let high = 0;
      let shift = 0;
      for (; ; shift += 7) {
        const byte = wire[position];
        if (byte === undefined || shift > 63) {
          throw new ModelError(`its ${payload.field} is malformed`, { tensor: this.name });
        }
        position += 1;
        const part = byte & 0x7f;
        if (shift < 28) low |= part << shift;
        else if (shift === 28) {
          low |= part << 28;
          high |= part >> 4;
        } else high |= part << (shift - 32);
        if (byte < 0x80) break;
      }
      const offset = count * width;
      for (let i = 0; i < width && offset + i < bytes.length; i += 1) {
        bytes[offset + i] = i < 4 ? (low >>> (8 * i)) & 0xff : (high >>> (8 * (i - 4))) & 0xff;
      }
    }
    const needed = Math.ceil(this.size / perValue);
    if (count !== needed) this.#checkCount(count * perValue, 'elements');
    return bytes;
  }
}

/** The bytes as the typed array of an element type; copied only where they are not aligned. */
export function asArray<T extends DataType>(type: T, bytes: Uint8Array): NativeArrays[T] {
  const TypedArray = ARRAY_OF[type] as unknown as {
    readonly BYTES_PER_ELEMENT: number;
    new (buffer: ArrayBufferLike, offset: number, length: number): NativeArrays[T];
  };
  const width = TypedArray.BYTES_PER_ELEMENT;
  const aligned = bytes.byteOffset % width === 0 ? bytes : new Uint8Array(bytes);
  return new TypedArray(aligned.buffer, aligned.byteOffset, Math.floor(aligned.length / width));
}

/**
 * Elements of a float type as float32; float64 stays float64.
 *
 * @example
 * widen('float16', Uint16Array.of(0x3c00, 0x2e66)); // Float32Array [1, 0.0999755859375]
 */
export function widen(type: FloatType, array: NativeArrays[FloatType]): Float32Array | Float64Array {
  switch (type) {
    case 'float16':
      return float16ToFloat32(array as Uint16Array);
    case 'bfloat16':
      return bfloat16ToFloat32(array as Uint16Array);
    default:
      return array as Float32Array | Float64Array;
  }
}

/**
 * float32 or float64 numbers as the elements of a float type, rounded once.
 *
 * @example
 * narrow('float16', Float32Array.of(1, 0.1)); // Uint16Array [0x3c00, 0x2e66], the bits
 */
export function narrow<T extends FloatType>(type: T, values: Float32Array | Float64Array): NativeArrays[T] {
  switch (type) {
    case 'float64':
      return (values instanceof Float64Array ? values : Float64Array.from(values)) as NativeArrays[T];
    case 'float32':
      return (values instanceof Float32Array ? values : Float32Array.from(values)) as NativeArrays[T];
    case 'float16':
      return float32ToFloat16(roundToOdd(values)) as NativeArrays[T];
    default:
      return float32ToBfloat16(roundToOdd(values)) as NativeArrays[T];
  }
}
