import {
  assertFits,
  type ByteSource,
  byteLengthOf,
  DATA_TYPES,
  type DataType,
  ModelError,
} from '../../graph/index.js';
import { listZip, readZipMember, type ZipMember } from '../io/zip.js';
import { PersistentId, PickleCall, PickleGlobal, readPickle } from './pickle.js';
import type { StoredTensor } from './types.js';

/** Element types of PyTorch's storages, and of its dtypes. */
const STORAGES: Readonly<Record<string, DataType>> = {
  FloatStorage: 'float32',
  DoubleStorage: 'float64',
  HalfStorage: 'float16',
  BFloat16Storage: 'bfloat16',
  LongStorage: 'int64',
  IntStorage: 'int32',
  ShortStorage: 'int16',
  CharStorage: 'int8',
  ByteStorage: 'uint8',
  BoolStorage: 'bool',
};
const DTYPES: Readonly<Record<string, DataType>> = {
  float32: 'float32',
  float64: 'float64',
  float16: 'float16',
  bfloat16: 'bfloat16',
  int64: 'int64',
  int32: 'int32',
  int16: 'int16',
  int8: 'int8',
  uint8: 'uint8',
  uint16: 'uint16',
  uint32: 'uint32',
  uint64: 'uint64',
  bool: 'bool',
  float8_e4m3fn: 'float8e4m3fn',
  float8_e5m2: 'float8e5m2',
  float8_e4m3fnuz: 'float8e4m3fnuz',
  float8_e5m2fnuz: 'float8e5m2fnuz',
  float8_e8m0fnu: 'float8e8m0',
};

/** What builds tensors, and what stands beside them in checkpoints and builds nothing else. */
const GLOBALS = new Set([
  'collections.OrderedDict',
  'collections.defaultdict',
  'torch._utils._rebuild_tensor',
  'torch._utils._rebuild_tensor_v2',
  'torch._utils._rebuild_tensor_v3',
  'torch._utils._rebuild_parameter',
  'torch._utils._rebuild_parameter_with_state',
  'torch.Size',
  'torch.device',
  'torch.storage.UntypedStorage',
  'torch.storage.TypedStorage',
  'builtins.set',
  '_codecs.encode',
]);

function isAllowed(name: string): boolean {
  if (GLOBALS.has(name)) return true;
  const [, last = ''] = /^torch\.(\w+)$/.exec(name) ?? [];
  return Object.hasOwn(STORAGES, last) || Object.hasOwn(DTYPES, last);
}

/** Dictionaries of a training checkpoint that hold the model's own tensors. */
const MODEL_KEYS = ['state_dict', 'model_state_dict', 'model', 'module', 'net', 'weights'];
const MOST_DEPTH = 8;
/** Entries that are looked at: a pickle may name one list many times in another, and that in a third. */
const MOST_ENTRIES = 1_000_000;

/** A tensor as the pickle describes it. */
interface Described {
  readonly storage: string;
  readonly type: DataType;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

/**
 * The tensors of a checkpoint that torch.save wrote (a ZIP archive, PyTorch 1.6 and later): tensors only. The pickle in it is read
 * as data by readPickle, which runs nothing, and the elements by range.
 *
 * @throws ModelError for archives that are damaged, or whose pickle asks for more than tensors need
 */
export function pytorchTensors(source: ByteSource): {
  readonly tensors: Map<string, StoredTensor>;
  readonly notes: string[];
} {
  const members = new Map(listZip(source).map((member) => [member.name, member]));
  const pickle = [...members.values()].find(({ name }) => /^([^/]*\/)?data\.pkl$/.test(name));
  if (pickle === undefined) {
    throw new ModelError('is a zip archive without data.pkl, so none that torch.save wrote');
  }
  const root = pickle.name.slice(0, -'data.pkl'.length);
  const order = members.get(`${root}byteorder`);
  if (order !== undefined && Buffer.from(readZipMember(source, order)).toString() === 'big') {
    throw new ModelError('its tensors are big-endian; save it on a little-endian machine');
  }
  assertFits(pickle.size, 'its pickle');
  const notes: string[] = [];
  const described = new Map<string, Described>();
  collect(modelOf(readPickle(readZipMember(source, pickle), { allows: isAllowed }), notes), described);
  const tensors = new Map<string, StoredTensor>();
  for (const [name, tensor] of described) {
    const member = members.get(`${root}data/${tensor.storage}`);
    if (member === undefined) throw new ModelError('its elements are not in the archive', { tensor: name });
    tensors.set(name, storedTensor(name, tensor, member, source));
  }
  return { tensors, notes };
}

/** The model's tensors where a training checkpoint holds more. */
function modelOf(content: unknown, notes: string[]): unknown {
  if (!(content instanceof Map)) return content;
  const key = MODEL_KEYS.find((one) => content.get(one) instanceof Map);
  if (key === undefined) return content;
  const others = [...content.keys()].filter((one) => one !== key).map(String);
  if (others.length > 0) notes.push(`of its entries, '${key}' was taken; not ${others.join(', ')}`);
  return content.get(key);
}

/** The tensors in nested dictionaries and lists, by the path to them. */
function collect(content: unknown, into: Map<string, Described>): void {
  let entries = 0;
  const visit = (value: unknown, path: string, depth: number): void => {
    if (depth > MOST_DEPTH) return;
    entries += 1;
    if (entries > MOST_ENTRIES)
      throw new ModelError(`its pickle has more than ${MOST_ENTRIES} entries, which no checkpoint needs`);
    const tensor = describedBy(value, path);
    if (tensor !== undefined) into.set(path, tensor);
    else if (value instanceof Map || Array.isArray(value)) {
      for (const [key, item] of value.entries()) visit(item, path ? `${path}.${key}` : `${key}`, depth + 1);
    }
  };
  visit(content, '', 0);
}

/** The tensor that a call rebuilds; undefined for other things. */
function describedBy(value: unknown, name: string): Described | undefined {
  if (!(value instanceof PickleCall)) return undefined;
  const { callee, args } = value;
  if (callee.startsWith('torch._utils._rebuild_parameter')) return describedBy(args[0], name);
  if (!callee.startsWith('torch._utils._rebuild_tensor')) return undefined;
  const bad = (what: string): ModelError =>
    new ModelError(`its pickle is damaged: ${what}`, { tensor: name });
  const [persistent, offset, shape, strides] = args;
  const id = persistent instanceof PersistentId ? persistent.id : undefined;
  if (!Array.isArray(id) || id[0] !== 'storage') throw bad('it has no storage');
  const given = callee.endsWith('_v3') ? args[6] : id[1];
  if (!(given instanceof PickleGlobal)) throw bad('its storage has no type');
  const last = given.name.slice('torch.'.length);
  const table = callee.endsWith('_v3') ? DTYPES : STORAGES;
  const type = Object.hasOwn(table, last) ? table[last] : undefined;
  if (type === undefined) throw new ModelError(`its type ${given.name} is not read`, { tensor: name });
  const isCounts = (list: unknown): list is number[] =>
    Array.isArray(list) && list.every((one) => Number.isSafeInteger(one) && one >= 0);
  const dims = shape instanceof PickleCall ? shape.args[0] : shape;
  if (!isCounts(dims) || !isCounts(strides) || dims.length !== strides.length || !isCounts([offset])) {
    throw bad('its shape is none');
  }
  return { storage: String(id[2]), type, offset: offset as number, shape: dims, strides };
}

function storedTensor(
  name: string,
  { type, offset, shape, strides }: Described,
  member: ZipMember,
  source: ByteSource,
): StoredTensor {
  const width = DATA_TYPES[type].bits / 8;
  const size = shape.reduce((product, dim) => product * dim, 1);
  // Elements of the storage from the first to the last that the tensor has.
  const span =
    size === 0 ? 0 : shape.reduce((last, dim, axis) => last + (dim - 1) * (strides[axis] as number), 1);
  if (!Number.isSafeInteger(span) || !Number.isSafeInteger(size) || (offset + span) * width > member.size) {
    throw new ModelError(`its elements go beyond those of its storage`, { tensor: name });
  }
  if (!isPacked(shape, strides)) assertFits(byteLengthOf(type, size), 'its elements', { tensor: name });
  const isStored = member.method === 0 && member.packed === member.size;
  const range = (from: number, length: number): Uint8Array =>
    isStored
      ? source.read(member.start + from, length)
      : readZipMember(source, member).slice(from, from + length);
  const base = { name, dataType: type, shape, owner: member, key: `${type} ${offset} ${shape} ${strides}` };
  if (!isPacked(shape, strides)) {
    const bytes = async (start = 0, length = size * width): Promise<Uint8Array> =>
      gathered(range(offset * width, span * width), shape, strides, width).slice(start, start + length);
    return { ...base, bytes };
  }
  return {
    ...base,
    bytes: async (start = 0, length = size * width) => range(offset * width + start, length),
    inFile: (start, length) =>
      isStored ? source.inFile?.(member.start + offset * width + start, length) : undefined,
  };
}

/** Whether the elements stand one after the other in row-major order. */
function isPacked(shape: readonly number[], strides: readonly number[]): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
    const dim = shape[axis] as number;
    if (dim !== 1 && strides[axis] !== expected) return false;
    expected *= dim;
  }
  return true;
}

/** A view with other strides (a transposed one), in row-major order. */
function gathered(
  bytes: Uint8Array,
  shape: readonly number[],
  strides: readonly number[],
  width: number,
): Uint8Array {
  const size = shape.reduce((product, dim) => product * dim, 1);
  const result = new Uint8Array(size * width);
  const index = shape.map(() => 0);
  let from = 0;
  for (let to = 0; to < size; to += 1) {
    for (let byte = 0; byte < width; byte += 1)
      result[to * width + byte] = bytes[from * width + byte] as number;
    for (let axis = shape.length - 1; axis >= 0; axis -= 1) {
      from += strides[axis] as number;
      index[axis] = (index[axis] as number) + 1;
      if ((index[axis] as number) < (shape[axis] as number)) break;
      from -= (index[axis] as number) * (strides[axis] as number);
      index[axis] = 0;
    }
  }
  return result;
}
