import {
  type ByteSource,
  byteLengthOf,
  type DataType,
  FileSource,
  MemorySource,
  ModelError,
  type NativeArray,
  type OpenFiles,
  RangeSource,
} from '../../graph/index.js';
import {
  listZip,
  type NpyHead,
  type PixelGeometry,
  type PixelLayout,
  readNpy,
  readNpyHead,
  readZipMember,
  type ZipMember,
} from '../../runtime/index.js';
import { at, headOf } from './inflate.js';
import { type InputSpec, SPLITS, type Split } from './options.js';
import { elementsOf, held, readRows } from './rows.js';
import type { Column, Source } from './source.js';

/** An array whose first dimension counts the samples. */
export interface SampleArray extends Column {
  readonly size: number;
  /** Strings, where that is what they are; `read` gives the index of each among `classes` then. */
  readonly classes?: readonly string[];
}

export interface NumpyOptions {
  readonly memory: number;
  /** What closes them. */
  readonly files: OpenFiles;
  readonly layout?: PixelLayout | undefined;
  readonly classNames?: readonly string[] | undefined;
}

/**
 * A .npy file, of which rows are read as they are asked for where it is larger than `memory`.
 *
 * @throws ModelError naming the file, for what is none or is cut short
 */
export function openNpy(path: string, name: string, options: NumpyOptions): SampleArray {
  const source = options.files.add(new FileSource(path));
  return at(path, () => arrayOf(source, name, options));
}

const HEAD = 1 << 16;

function arrayOf(source: ByteSource, name: string, options: NumpyOptions): SampleArray {
  const { memory, layout } = options;
  const head = readNpyHead(headOf(source, HEAD));
  const [size, ...shape] = head.shape;
  if (size === undefined) throw new ModelError('holds a single number, not one value a sample');
  const elements = elementsOf(shape);
  if (head.type === 'string') return textArray(source, name, head, options);
  const length = byteLengthOf(head.type, size * elements);
  if (source.length < head.start + length) {
    const have = source.length - head.start;
    throw new ModelError(
      `is cut short: it has ${have} of the ${length} bytes that [${head.shape.join(', ')}] takes`,
    );
  }
  const pixels = pixelsOf(head.type, shape, layout);
  const column = { name, type: head.type, shape, pixels, size };
  if (head.isFortran && shape.length > 0) {
    if (length > memory) {
      throw new ModelError(
        `is in Fortran order and larger than ${memory} bytes, so samples cannot be read one by one; save numpy.ascontiguousarray of it`,
      );
    }
    const whole = readNpy(source.read(0, source.length)).data as NativeArray;
    const bytes = new MemorySource(new Uint8Array(whole.buffer, whole.byteOffset, whole.byteLength));
    return { ...column, read: (indices) => readRows({ source: bytes, type: head.type, elements }, indices) };
  }
  const rows = {
    source: held(new RangeSource(source, head.start, length), memory),
    type: head.type,
    elements,
    isBigEndian: head.isBigEndian,
  };
  return { ...column, read: (indices) => readRows(rows, indices) };
}

/** Texts are the names of classes. */
function textArray(
  source: ByteSource,
  name: string,
  { shape }: NpyHead,
  { memory, classNames }: NumpyOptions,
): SampleArray {
  if (source.length > memory)
    throw new ModelError(`has more than ${memory} bytes of texts; number the classes`);
  const texts = readNpy(source.read(0, source.length)).data as string[];
  const classes = classNames ?? [...new Set(texts)].sort();
  const labels = labelsOf(texts, classes);
  const [size = 0, ...rest] = shape;
  const bytes = new MemorySource(new Uint8Array(labels.buffer));
  const rows = { source: bytes, type: 'int64' as const, elements: elementsOf(rest) };
  return { name, type: 'int64', shape: rest, size, classes, read: (indices) => readRows(rows, indices) };
}

/**
 * The labels of classes by name.
 *
 * @throws ModelError for a name that is none of the classes
 */
export function labelsOf(texts: readonly string[], classes: readonly string[]): BigInt64Array {
  const labels = new Map(classes.map((text, index) => [text, BigInt(index)]));
  return BigInt64Array.from(texts as readonly unknown[] as readonly bigint[], (text, index) => {
    const label = labels.get(String(text));
    if (label !== undefined) return label;
    throw new ModelError(`sample ${index} is of the class '${text}', which the training data does not have`);
  });
}

/** Types whose arrays hold numbers (not bigints), so that they can be pixels. */
const PIXEL_TYPES: readonly DataType[] = ['uint8', 'uint16', 'int16', 'int32', 'float32', 'float64'];

/** How images lie in samples of this shape, if they can be images. */
export function pixelsOf(
  type: DataType,
  shape: readonly number[],
  layout: PixelLayout | undefined,
): PixelGeometry | undefined {
  if (!PIXEL_TYPES.includes(type)) return undefined;
  const [a, b, c] = shape;
  if (a === undefined || b === undefined) return undefined;
  // Two dimensions of floats may be anything: a sequence of vectors, say.
  if (shape.length === 2)
    return type === 'uint8' ? { channels: 1, height: a, width: b, layout: 'chw' } : undefined;
  if (shape.length !== 3 || c === undefined) return undefined;
  const isChannel = (dim: number): boolean => dim === 1 || dim === 3;
  const chosen = layout ?? (isChannel(a) ? 'chw' : isChannel(c) ? 'hwc' : undefined);
  if (chosen === 'chw') return { channels: a, height: b, width: c, layout: 'chw' };
  if (chosen === 'hwc') return { channels: c, height: a, width: b, layout: 'hwc' };
  return undefined;
}

/**
 * The arrays of a .npz file. Those that lie in it unpacked (numpy.savez) may be larger than `memory`.
 *
 * @throws ModelError naming the file and the array
 */
export function openNpz(path: string, options: NumpyOptions): Map<string, () => SampleArray> {
  const source = options.files.add(new FileSource(path));
  const arrays = new Map<string, () => SampleArray>();
  for (const member of at(path, () => listZip(source))) {
    if (!member.name.endsWith('.npy')) continue;
    const name = member.name.slice(0, -'.npy'.length);
    arrays.set(name, () =>
      at(path, () => {
        try {
          return arrayOf(contentOf(source, member, options.memory), name, options);
        } catch (error) {
          if (!(error instanceof ModelError)) throw error;
          throw new ModelError(`array '${name}': ${error.message}`, {}, { cause: error });
        }
      }),
    );
  }
  if (arrays.size === 0) throw new ModelError('the archive holds no NumPy array', { file: path });
  return arrays;
}

function contentOf(source: ByteSource, member: ZipMember, memory: number): ByteSource {
  if (member.size <= memory) return new MemorySource(readZipMember(source, member));
  if (member.method === 0) return new RangeSource(source, member.start, member.size);
  throw new ModelError(
    `is compressed and larger than ${memory} bytes, so samples cannot be read one by one; save it with numpy.savez or as .npy`,
  );
}

const TARGET_NAMES = ['y', 'labels', 'label', 'targets', 'target'];
const INPUT_NAMES = ['x', 'images', 'image', 'data', 'inputs', 'input', 'features'];
const SPLIT_ENDINGS = {
  train: ['train'],
  validation: ['val', 'valid', 'validation'],
  test: ['test'],
} as const;

/** The splits whose names arrays end in, as in x_train. */
export function splitsOf(names: Iterable<string>): Split[] {
  const all = [...names].map((name) => name.toLowerCase());
  return SPLITS.filter((split) =>
    SPLIT_ENDINGS[split].some((ending) => all.some((name) => name.endsWith(`_${ending}`))),
  );
}

export interface ArraysOptions {
  readonly file: string;
  readonly split?: Split | undefined;
  readonly inputs?: readonly InputSpec[] | undefined;
  readonly target?: string | number | undefined;
  readonly unlabeled?: boolean | undefined;
}

/**
 * Which of the arrays by name are what a model is fed, and which is the target.
 *
 * @throws ModelError where that cannot be told, and where they have different numbers of samples
 */
export function sourceOfArrays(
  arrays: ReadonlyMap<string, () => SampleArray>,
  options: ArraysOptions,
): Source {
  const { file } = options;
  const named = ofSplit(arrays, options.split);
  const names = [...named.keys()];
  const list = names.map((name) => `'${name}'`).join(', ');
  const find = (wanted: readonly string[]): string | undefined =>
    wanted
      .map(
        (name) =>
          names.find((own) => own === name) ?? names.find((own) => own.toLowerCase() === name.toLowerCase()),
      )
      .find((name) => name !== undefined);
  const targetName = options.unlabeled
    ? undefined
    : find(options.target === undefined ? TARGET_NAMES : [String(options.target)]);
  if (options.target !== undefined && targetName === undefined && !options.unlabeled) {
    throw new ModelError(`has no array '${options.target}' for the target; it has ${list}`, { file });
  }
  const others = names.filter((name) => name !== targetName);
  const specs = options.inputs;
  const chosen = (specs ?? []).map(({ name }) => others.find((own) => own === name));
  let inputs: readonly (string | undefined)[];
  if (specs === undefined) {
    const usual = find(INPUT_NAMES);
    inputs = usual === undefined ? others : [usual];
  } else if (chosen.every((name) => name !== undefined)) {
    inputs = chosen;
  } else if (specs.length === 1) {
    inputs = [find(INPUT_NAMES) ?? (others.length === 1 ? others[0] : undefined)];
  } else {
    inputs =
      others.length === specs.length && chosen.every((name) => name === undefined) ? others : [undefined];
  }
  if (inputs.length === 0 || inputs.includes(undefined)) {
    const wanted = specs?.map(({ name }) => `'${name}'`).join(', ') ?? "'x'";
    throw new ModelError(`which array is the input? It has ${list}; name it ${wanted}`, { file });
  }
  const open = (name: string): SampleArray => (named.get(name) as () => SampleArray)();
  const columns = inputs.map((name) => open(name as string));
  const target = targetName === undefined ? undefined : open(targetName);
  const size = columns[0]?.size ?? 0;
  for (const column of [...columns, ...(target ? [target] : [])]) {
    if (column.size === size) continue;
    throw new ModelError(
      `'${column.name}' has ${column.size} samples, but '${columns[0]?.name}' has ${size}; do they belong together?`,
      { file },
    );
  }
  return { size, inputs: columns, target, classes: target?.classes };
}

/** Arrays of a split, without its ending; all of them where none has such an ending. */
function ofSplit<T>(arrays: ReadonlyMap<string, T>, split: Split = 'train'): ReadonlyMap<string, T> {
  if (splitsOf(arrays.keys()).length === 0) return arrays;
  const own = new Map<string, T>();
  for (const [name, array] of arrays) {
    const ending = SPLIT_ENDINGS[split].find((text) => name.toLowerCase().endsWith(`_${text}`));
    if (ending !== undefined) own.set(name.slice(0, -ending.length - 1), array);
  }
  return own;
}

/** A tensor that is in memory already. */
export function arrayInMemory(
  name: string,
  {
    type,
    shape: [size = 0, ...shape],
    data,
  }: { readonly type: DataType; readonly shape: readonly number[]; readonly data: NativeArray },
  layout: PixelLayout | undefined,
): SampleArray {
  const source = new MemorySource(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  const rows = { source, type, elements: elementsOf(shape) };
  return {
    name,
    type,
    shape,
    size,
    pixels: pixelsOf(type, shape, layout),
    read: (indices) => readRows(rows, indices),
  };
}
