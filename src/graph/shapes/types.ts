import { OUTPUT_TYPES } from '../operators/output-types.js';
import type { StandardOperator } from '../operators/versions.js';
import { opsetOf } from '../opsets.js';
import { type DataType, dataTypeOf } from '../tensor/data-type.js';
import type { Graph, Node } from '../types.js';

/** Attributes that tell the type of the first output, and what it is without them. */
const TYPED_BY: Readonly<Record<string, { readonly attribute: string; readonly otherwise?: DataType }>> = {
  BitCast: { attribute: 'to' },
  Cast: { attribute: 'to' },
  RandomNormal: { attribute: 'dtype', otherwise: 'float32' },
  RandomUniform: { attribute: 'dtype', otherwise: 'float32' },
  RandomNormalLike: { attribute: 'dtype' },
  RandomUniformLike: { attribute: 'dtype' },
  Bernoulli: { attribute: 'dtype' },
  EyeLike: { attribute: 'dtype' },
  Multinomial: { attribute: 'dtype', otherwise: 'int32' },
  BlackmanWindow: { attribute: 'output_datatype', otherwise: 'float32' },
  HammingWindow: { attribute: 'output_datatype', otherwise: 'float32' },
  HannWindow: { attribute: 'output_datatype', otherwise: 'float32' },
  MelWeightMatrix: { attribute: 'output_datatype', otherwise: 'float32' },
  QuantizeLinear: { attribute: 'output_dtype' },
  DequantizeLinear: { attribute: 'output_dtype' },
};

/**
 * The element types of a graph's values, as its operators make them or, where these do not tell, it notes them. Sequences and
 * other values that are no tensors have none.
 */
export function elementTypes(
  graph: Graph,
  around: (value: string) => DataType | undefined = () => undefined,
): ReadonlyMap<string, DataType> {
  const types = new Map<string, DataType>();
  for (const value of [...graph.valueInfo, ...graph.outputs, ...graph.inputs]) {
    if (value.kind === 'tensor' && value.dataType !== undefined) types.set(value.name, value.dataType);
  }
  for (const [name, tensor] of graph.initializers) types.set(name, tensor.dataType);
  const typeOf = (value: string): DataType | undefined =>
    value === '' ? undefined : (types.get(value) ?? around(value));
  for (const node of graph.nodes) {
    if (node.domain !== '') continue;
    for (const [index, output] of node.outputs.entries()) {
      const made = output === '' ? undefined : typeMade(node, index, typeOf);
      if (made !== undefined) types.set(output, made);
    }
  }
  return types;
}

/** The type of one output of a node of the standard; undefined where it does not follow. */
function typeMade(
  node: Node,
  index: number,
  typeOf: (value: string) => DataType | undefined,
): DataType | undefined {
  const { attributes, opType, inputs } = node;
  const code = (attribute: string): DataType | undefined =>
    attributes.has(attribute) ? dataTypeOf(attributes.int(attribute, 0)) : undefined;
  switch (opType) {
    case 'Constant':
      if (attributes.has('value_int') || attributes.has('value_ints')) return 'int64';
      if (attributes.has('value_float') || attributes.has('value_floats')) return 'float32';
      if (attributes.has('value_string') || attributes.has('value_strings')) return 'string';
      return attributes.tensor('value')?.dataType;
    case 'Dropout':
      // Before operator set 10 the mask was of the type of the data.
      return index === 1 && opsetOf(node.graph) >= 10 ? 'bool' : typeOf(inputs[0] ?? '');
    case 'ConstantOfShape':
      return attributes.tensor('value')?.dataType ?? 'float32';
    case 'QuantizeLinear':
      return (inputs[2] ? typeOf(inputs[2]) : undefined) ?? code('output_dtype') ?? 'uint8';
    case 'DequantizeLinear':
      return code('output_dtype') ?? typeOf(inputs[1] ?? '');
    case 'If': {
      const [first, second] = node.subgraphs.map((branch) =>
        elementTypes(branch, typeOf).get(branch.outputs[index]?.name ?? ''),
      );
      return first === second ? first : undefined;
    }
    case 'Loop':
      return node.subgraphs[0] && bodyType(node, node.subgraphs[0], index + 1, typeOf);
    case 'Scan':
      return node.subgraphs[0] && bodyType(node, node.subgraphs[0], index, typeOf);
    default: {
      const by = Object.hasOwn(TYPED_BY, opType) && index === 0 ? TYPED_BY[opType] : undefined;
      const told = by && code(by.attribute);
      if (told !== undefined) return told;
      const rule = Object.hasOwn(OUTPUT_TYPES, opType)
        ? OUTPUT_TYPES[opType as StandardOperator]?.at(
            Math.min(index, (OUTPUT_TYPES[opType as StandardOperator]?.length ?? 1) - 1),
          )
        : undefined;
      if (typeof rule === 'number') return typeOf(inputs[rule] ?? '');
      if (rule !== undefined) return rule;
      // RandomNormalLike and its like take the type of their input.
      return by?.otherwise ?? (by && inputs[0] ? typeOf(inputs[0]) : undefined);
    }
  }
}

/** What a body puts out: its inputs have the types of what the node reads, place by place. */
function bodyType(
  node: Node,
  body: Graph,
  output: number,
  typeOf: (value: string) => DataType | undefined,
): DataType | undefined {
  const places = new Map(body.inputs.map(({ name }, index) => [name, index]));
  const around = (value: string): DataType | undefined => {
    const place = places.get(value);
    return place === undefined ? typeOf(value) : typeOf(node.inputs[place] ?? '');
  };
  return elementTypes(body, around).get(body.outputs[output]?.name ?? '');
}
