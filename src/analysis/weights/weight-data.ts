import {
  type ConstantValue,
  type DataType,
  type FileRange,
  type FloatType,
  type Graph,
  isFloatType,
  ModelError,
  messageOf,
  type Node,
  quantizedStorage,
  type Tensor,
} from '../../graph/index.js';
import type { ThinFactor } from '../../linalg/thin-product.js';

/** Whether an exporter numbered a weight (onnx::Conv_193): then the node's name is the one that means something. */
export function isNumbered(weight: string): boolean {
  return /^(onnx::\w+|\d+)$/.test(weight);
}

/** The elements of a tensor of weights, and how to read them. */
export interface WeightData {
  /** What a person knows it by: the initializer behind an Identity, Transpose or Cast. */
  readonly name: string;
  readonly shape: readonly number[];
  /** As it is stored: int8, say, for a quantized weight whose elements are read as floats. */
  readonly dataType: DataType;
  /** Data of one owner and key are the same. */
  readonly owner: unknown;
  readonly key: string;
  /** True where what is read is the transpose of the matrix: its singular values are the same. */
  readonly isTransposed: boolean;
  /** Elements `start` to `start + count` in row-major order; all of them unless given. */
  read(start?: number, count?: number): Promise<ReadElements>;
  /** Where these elements stand in a file as `read` gives them, for another thread to read; undefined where they do not. */
  inFile?(start?: number, count?: number): StoredElements | undefined;
  /** Where it is the product of two thin matrices, those: its spectrum is computed without it. */
  factors?(): Promise<readonly [left: ThinFactor, right: ThinFactor]>;
}

/** Elements of a weight as they lie in a file, for threads that read them there. */
export interface StoredElements {
  readonly file: FileRange;
  readonly type: FloatType;
}

/** Elements of a weight in memory. */
export interface ReadElements {
  readonly data: Float32Array | Float64Array;
  /** True where nothing else holds the array, so that it may be handed to a thread. */
  readonly isOwn: boolean;
}

/** Operators through which a matrix keeps its elements as they are stored. */
function isAsStored({ path, root, dataType }: ConstantValue): boolean {
  return root?.dataType === dataType && path.every((step) => step.is('Constant', 'Identity'));
}

/** As isAsStored, or transposed: then a matrix keeps its singular values. */
function isView({ path, root, dataType }: ConstantValue): boolean {
  if (root?.dataType !== dataType) return false;
  return path.every(
    (step) => step.is('Constant', 'Identity') || (step.is('Transpose') && root.shape.length === 2),
  );
}

/**
 * A constant floating-point weight.
 *
 * @param isWhole true where the matrix is all of the tensor, so that a transposed view need not be transposed
 */
export function constantData(constant: ConstantValue, node: Node, isWhole = true): WeightData {
  const { graph, value, shape, root, path } = constant;
  const stored = storedType(constant);
  const base = { name: root?.name || value, shape, dataType: stored };
  if (root !== undefined && (isWhole ? isView(constant) : isAsStored(constant))) {
    const isTransposed = path.filter((step) => step.is('Transpose')).length % 2 === 1;
    return {
      ...base,
      owner: root.proto,
      key: '',
      isTransposed,
      read: async (start = 0, count = root.size) => ({
        data: root.floats(start, count),
        isOwn: isFresh(root),
      }),
      inFile: (start, count) => {
        const type = root.dataType;
        const file = isFloatType(type) ? root.inFile(start, count) : undefined;
        return file && { file, type: type as FloatType };
      },
    };
  }
  const tensorOf = remembered(() => evaluated(graph, value, node, base.name));
  return {
    ...base,
    name: root?.name || quantizedStorage(constant)?.stored?.name || value,
    owner: graph.proto,
    key: value,
    isTransposed: false,
    read: async (start, count) => {
      const tensor = await tensorOf();
      return start === undefined
        ? { data: tensor.floats(), isOwn: isFresh(tensor) }
        : { data: tensor.floats(start, count), isOwn: false };
    },
  };
}

/** The type of a constant's elements where they are stored; of a quantized one, of its integers. */
function storedType(constant: ConstantValue): DataType {
  return quantizedStorage(constant)?.stored?.dataType ?? constant.dataType;
}

/** The value of a constant expression; its error says whose weight it is. */
export async function evaluated(graph: Graph, value: string, node: Node, name: string): Promise<Tensor> {
  const { evaluateConstant } = await import('../../runtime/constants/constant.js');
  try {
    return await evaluateConstant(graph, value);
  } catch (error) {
    const where = { node: node.label, tensor: name };
    const what = error instanceof ModelError ? error.what : messageOf(error);
    // Where onnxruntime computed it, this is said already.
    const problem = what.replace(/^could not be computed: /, '');
    throw new ModelError(`its weight could not be computed: ${problem}`, where, { cause: error });
  }
}

/** Computes once for the parts that are taken one after the other, as long as there is memory for it. */
export function remembered<T extends object>(make: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined;
  let known: WeakRef<T> | undefined;
  return async () => {
    const value = known?.deref();
    if (value !== undefined) return value;
    running ??= make().finally(() => {
      running = undefined;
    });
    const made = await running;
    known = new WeakRef(made);
    return made;
  };
}

/** True where every read makes a new array; memory that the model holds must not be handed over. */
function isFresh(tensor: Tensor): boolean {
  if (tensor.size === 0) return false;
  const [first, second] = [tensor.floats(0, 1), tensor.floats(0, 1)];
  return first.buffer !== second.buffer;
}
