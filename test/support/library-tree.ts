import type { ModelProto, Tensor } from '../../src/graph/index.js';
import { payloadsOf } from '../../src/graph/io/payload.js';
import { toBigInt, unknownFields } from '../../src/graph/proto/codec.js';
import type { Int64, TensorProto } from '../../src/graph/proto/schema.js';
import { isMessageName, SCHEMA } from '../../src/graph/proto/schema.js';
import { scalarValues, type Tree, UNKNOWN, type Value } from './wire.js';

/** What the library decoded, as a tree to compare with those of other decoders. */
export function treeOfModel(proto: ModelProto): Tree {
  return treeOf('ModelProto', proto as Record<string, unknown>);
}

export function treeOfTensor(tensor: Tensor): Tree {
  return treeOf('TensorProto', tensor.proto as Record<string, unknown>);
}

function treeOf(message: keyof typeof SCHEMA, fields: Record<string, unknown>): Tree {
  const tree: Tree = {};
  for (const [name, spec] of Object.entries(SCHEMA[message])) {
    const [, type, label] = spec as readonly [number, string, string?];
    const value = fields[name];
    if (value === undefined || name === 'payload_ids') continue;
    const one = (item: unknown): Value =>
      isMessageName(type)
        ? treeOf(type, item as Record<string, unknown>)
        : type === 'int64'
          ? toBigInt(item as Int64)
          : (item as Value);
    tree[name] = label === undefined ? one(value) : (value as unknown[]).map(one);
  }
  if (message === 'TensorProto') {
    for (const { field, source } of payloadsOf(fields as TensorProto).values()) {
      const bytes = source.read(0, source.length);
      tree[field] = field === 'raw_data' ? bytes : scalarValues(TYPE_OF[field], bytes);
    }
  }
  const unknown = unknownFields(fields);
  if (unknown.length > 0) tree[UNKNOWN] = unknown.map((field) => new Uint8Array(field));
  return tree;
}

const TYPE_OF = {
  float_data: 'float',
  int32_data: 'int32',
  int64_data: 'int64',
  double_data: 'double',
  uint64_data: 'uint64',
} as const;
