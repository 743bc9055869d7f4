import { ModelError, messageOf } from '../errors.js';
import { payloadsOf } from '../io/payload.js';
import { toBigInt } from '../proto/codec.js';
import type { Int64, SparseTensorProto, TensorProto } from '../proto/schema.js';
import { DATA_TYPES, dataTypeOf } from '../tensor/data-type.js';
import { Tensor } from '../tensor/tensor.js';

type Finding = readonly [message: string, hint: string];

/** What is wrong with a tensor. Reads none of its data but that of integers in typed fields. */
export function checkTensor(tensor: TensorProto): Finding[] {
  const code = tensor.data_type ?? 0;
  const type = dataTypeOf(code);
  if (type === undefined || type === 'undefined') {
    return [[`its element type ${code} is not one of ONNX`, 'set data_type to that of its data']];
  }
  const shape = checkDims(tensor.dims);
  if (shape !== undefined) return [shape];
  const fields = [...payloadsOf(tensor).values()]
    .filter(({ source }) => source.length > 0)
    .map(({ field }) => field as string);
  if ((tensor.string_data ?? []).length > 0) fields.push('string_data');
  if (tensor.data_location === 1) fields.push('external_data');
  if (fields.length > 1) return [[`its data is in several fields: ${fields.join(', ')}`, 'keep one of them']];
  const [field] = fields;
  if (
    field !== undefined &&
    field !== 'raw_data' &&
    field !== 'external_data' &&
    field !== DATA_TYPES[type].field
  ) {
    return [
      [
        `its ${type} elements are in ${field}, which holds other types`,
        `put them in raw_data or ${DATA_TYPES[type].field}`,
      ],
    ];
  }
  if (type === 'string' && field !== undefined && field !== 'string_data') {
    return [[`its strings are in ${field}`, 'put them in string_data']];
  }
  try {
    new Tensor(tensor).checkData();
    return [];
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    const place = `tensor '${tensor.name ?? ''}': `;
    const text = messageOf(error);
    const [message = text, hint = 'the file is damaged or its weights are missing'] = (
      text.startsWith(place) ? text.slice(place.length) : text
    ).split('; ', 2);
    return [[message, hint]];
  }
}

export function checkSparse(sparse: SparseTensorProto): Finding[] {
  const { values, indices } = sparse;
  if (values === undefined || indices === undefined) {
    return [
      [
        `the sparse tensor has no ${values === undefined ? 'values' : 'indices'}`,
        'add them, or remove the tensor',
      ],
    ];
  }
  const found = [...checkTensor(values), ...checkTensor(indices)];
  const shape = checkDims(sparse.dims);
  if (shape !== undefined) found.push(shape);
  if (found.length > 0) return found;
  const rank = (sparse.dims ?? []).length;
  const [count, ...others] = new Tensor(values).shape;
  const [rows, columns, ...rest] = new Tensor(indices).shape;
  if (count === undefined || others.length > 0)
    found.push(['the values of the sparse tensor are not a list', 'give them the shape [count]']);
  else if (rows !== count || rest.length > 0 || (columns !== undefined && columns !== rank)) {
    found.push([
      `the indices of the sparse tensor have the shape [${new Tensor(indices).shape.join(', ')}]`,
      `give them [${count}] or [${count}, ${rank}]`,
    ]);
  }
  if (dataTypeOf(indices.data_type ?? 0) !== 'int64')
    found.push(['the indices of the sparse tensor are not int64', 'convert them']);
  return found;
}

function checkDims(dims: readonly Int64[] | undefined): Finding | undefined {
  const list = (dims ?? []).map(toBigInt);
  const isPossible =
    list.every((dim) => dim >= 0n) && list.reduce((a, b) => a * b, 1n) <= BigInt(Number.MAX_SAFE_INTEGER);
  return isPossible
    ? undefined
    : [`its shape [${list.join(', ')}] is impossible`, 'set dims to the shape of its data'];
}
