import { quoted } from './names/quoted.js';
import { createMessage, fromBigInt, toNumber } from './proto/codec.js';
import type { TypeProto, ValueInfoProto } from './proto/schema.js';
import { DATA_TYPES, type DataType, dataTypeOf } from './tensor/data-type.js';

/** A dimension: a size, the name of a symbolic one, or undefined where nothing is known. */
export type Dimension = number | string | undefined;

/**
 * Name, type and shape of a graph's input, output or inner value.
 *
 * @example
 * model.graph.addOutput(ValueInfo.tensor('features', 'float32', ['batch', 512]));
 */
export class ValueInfo {
  readonly proto: ValueInfoProto;

  constructor(proto: ValueInfoProto) {
    this.proto = proto;
  }

  static tensor(name: string, type: DataType, shape?: readonly Dimension[]): ValueInfo {
    const dims = shape?.map((dim) =>
      createMessage(
        'DimensionProto',
        dim === undefined
          ? {}
          : typeof dim === 'string'
            ? { dim_param: dim }
            : { dim_value: fromBigInt(dim) },
      ),
    );
    return new ValueInfo(
      createMessage('ValueInfoProto', {
        name,
        type: createMessage('TypeProto', {
          tensor_type: createMessage('TensorTypeProto', {
            elem_type: DATA_TYPES[type].code,
            ...(dims && { shape: createMessage('TensorShapeProto', { dim: dims }) }),
          }),
        }),
      }),
    );
  }

  get name(): string {
    return this.proto.name ?? '';
  }

  get kind(): 'tensor' | 'sparse' | 'sequence' | 'map' | 'optional' | 'opaque' | 'unknown' {
    const type = this.proto.type;
    if (type?.tensor_type) return 'tensor';
    if (type?.sparse_tensor_type) return 'sparse';
    if (type?.sequence_type) return 'sequence';
    if (type?.map_type) return 'map';
    if (type?.optional_type) return 'optional';
    if (type?.opaque_type) return 'opaque';
    return 'unknown';
  }

  /** The element type of a tensor; undefined for other kinds and where it is not said. */
  get dataType(): DataType | undefined {
    const type = this.proto.type;
    const code = (type?.tensor_type ?? type?.sparse_tensor_type)?.elem_type;
    return code === undefined ? undefined : dataTypeOf(code);
  }

  /** The shape of a tensor; undefined where not even the rank is known. A size that no tensor can have says nothing. */
  get shape(): readonly Dimension[] | undefined {
    const type = this.proto.type;
    const dims = (type?.tensor_type ?? type?.sparse_tensor_type)?.shape;
    if (dims === undefined) return undefined;
    return (dims.dim ?? []).map((dim) => {
      if (dim.dim_value === undefined) return dim.dim_param || undefined;
      const size = toNumber(dim.dim_value);
      return Math.abs(size) < Number.MAX_SAFE_INTEGER ? size : undefined;
    });
  }

  /** The type, readable: `float32[batch, 3, 224, 224]`, `sequence(int64[?])`. */
  toString(): string {
    return typeText(this.proto.type);
  }
}

/** The name of a symbolic dimension, in quotes where it would move the cursor of a terminal or reorder a line. */
function dimensionText(name = ''): string {
  return /[\p{Cc}\p{Cf}\u2028\u2029]/u.test(name) ? quoted(name) : name || '?';
}

export function typeText(type: TypeProto | undefined): string {
  if (type === undefined) return '?';
  const tensor = type.tensor_type ?? type.sparse_tensor_type;
  if (tensor !== undefined) {
    const name = dataTypeOf(tensor.elem_type ?? 0) ?? `type ${tensor.elem_type}`;
    const dims = tensor.shape?.dim?.map((dim) =>
      dim.dim_value !== undefined ? String(dim.dim_value) : dimensionText(dim.dim_param),
    );
    const shape = tensor.shape === undefined ? '' : `[${(dims ?? []).join(', ')}]`;
    return `${type.sparse_tensor_type ? 'sparse ' : ''}${name}${shape}`;
  }
  if (type.sequence_type) return `sequence(${typeText(type.sequence_type.elem_type)})`;
  if (type.optional_type) return `optional(${typeText(type.optional_type.elem_type)})`;
  if (type.map_type) {
    return `map(${dataTypeOf(type.map_type.key_type ?? 0)}, ${typeText(type.map_type.value_type)})`;
  }
  if (type.opaque_type) return `opaque(${type.opaque_type.domain ?? ''}.${type.opaque_type.name ?? ''})`;
  return '?';
}
