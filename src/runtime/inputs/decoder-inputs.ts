import { ancestors, type Graph, type Node, type ValueInfo, valuesRead } from '../../graph/index.js';
import { emptyRecord } from '../../graph/record.js';
import { dimKey, isOpen, type OpenDims, sizeIn } from './open-dims.js';

/** Which inputs of a fused attention with a cache say what. */
interface CacheInputs {
  readonly query: number;
  /** [batch, heads, past, size]. */
  readonly past: number;
  /** Tokens of each sequence, the past ones included, less one; exporters sum them out of an attention mask. */
  readonly lengths: number;
  /** Tokens of the longest sequence, the past ones included. */
  readonly total: number;
}

const CACHED: Readonly<Record<string, CacheInputs>> = {
  'com.microsoft.GroupQueryAttention': { query: 0, past: 3, lengths: 5, total: 6 },
  'com.microsoft.SparseAttention': { query: 0, past: 3, lengths: 8, total: 7 },
};

/** What belongs together among the inputs of a decoder. */
export interface DecoderInputs {
  /** Sizes that follow from others: an attention mask is as long as the past and the new tokens. */
  readonly dims: OpenDims;
  /** The value that all elements of an input have. */
  readonly values: ReadonlyMap<string, number>;
}

const NONE: DecoderInputs = { dims: {}, values: new Map() };

/**
 * What the inputs of a model with a cache of keys and values must be for its attention to run: no token is masked, lengths are those
 * of the past and the new tokens together. Found by what reads them; names say nothing.
 *
 * @param given sizes that hold whatever follows from others; open dimensions besides are 1
 */
export function decoderInputs(graph: Graph, inputs: readonly ValueInfo[], given: OpenDims): DecoderInputs {
  const node = graph.nodes.find((one) => cacheOf(one) !== undefined);
  const cache = node && cacheOf(node);
  if (node === undefined || cache === undefined) return NONE;
  const behind = (place: number): ValueInfo[] => inputsBehind(graph, inputs, node.inputs[place] ?? '');
  const counting = new Set([...behind(cache.lengths), ...behind(cache.total)]);
  const sizeOf = (input: ValueInfo | undefined, axis: number): number | undefined => {
    const dim = input?.shape?.[axis];
    if (input === undefined || dim === undefined) return undefined;
    return typeof dim === 'number' && !isOpen(dim) ? dim : (sizeIn(given, input, axis) ?? 1);
  };
  const past = behind(cache.past)[0];
  const isToken = (input: ValueInfo): boolean =>
    !counting.has(input) && input !== past && (input.shape?.length ?? 0) >= 2;
  const total = (sizeOf(past, 2) ?? 0) + (sizeOf(behind(cache.query).find(isToken), 1) ?? 1);
  const dims = emptyRecord<number>();
  const values = new Map<string, number>();
  for (const input of counting) {
    const { name, shape = [] } = input;
    if (name === node.inputs[cache.lengths]) values.set(name, total - 1);
    else if (name === node.inputs[cache.total]) values.set(name, total);
    else if (shape.length === 2) {
      values.set(name, 1);
      if (isOpen(shape[1] ?? 0) && sizeIn(given, input, 1) === undefined) dims[dimKey(input, 1)] = total;
    }
  }
  return { dims, values };
}

function cacheOf(node: Node): CacheInputs | undefined {
  const name = `${node.domain}.${node.opType}`;
  return Object.hasOwn(CACHED, name) ? CACHED[name] : undefined;
}

/** The inputs that a value is made of, in the order of the model. */
function inputsBehind(graph: Graph, inputs: readonly ValueInfo[], value: string): ValueInfo[] {
  if (value === '') return [];
  const read = new Set([value]);
  for (const { proto } of ancestors(graph.nodes, [value])) for (const one of valuesRead(proto)) read.add(one);
  return inputs.filter(({ name }) => read.has(name));
}
