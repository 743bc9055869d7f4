import type { Emit } from './emit.js';
import type { Decomposition } from './simple.js';

/** What is no number of float16, and keeps exp at zero. */
const LOWEST = -65504;

interface Positions {
  /** Cosines and sines of each token: batch (or 1) x tokens x 1 x half of what is rotated. */
  readonly cos: string;
  readonly sin: string;
  readonly isInterleaved: boolean;
  /** Elements of a head that are rotated; 0 for all. */
  readonly rotated: number;
}

/** Turns pairs of elements of batch x tokens x heads x size by the angle of their position (Su et al. 2021, arXiv 2104.09864). */
function rotate(
  emit: Emit,
  x: string,
  { cos, sin, isInterleaved, rotated }: Positions,
  size: number,
): string {
  const turned = rotated > 0 ? rotated : size;
  const part = turned === size ? x : emit.last(x, 0, turned);
  const half = turned / 2;
  const [a, b] = isInterleaved
    ? [emit.last(part, 0, turned, 2), emit.last(part, 1, turned, 2)]
    : [emit.last(part, 0, half), emit.last(part, half, turned)];
  const first = emit.op('Sub', [emit.mul(a, cos), emit.mul(b, sin)]);
  const second = emit.add(emit.mul(b, cos), emit.mul(a, sin));
  const both = isInterleaved
    ? emit.reshape(
        emit.concat([
          emit.op('Unsqueeze', [first, emit.ints([-1])]),
          emit.op('Unsqueeze', [second, emit.ints([-1])]),
        ]),
        [0, 0, 0, turned],
      )
    : emit.concat([first, second]);
  return turned === size ? both : emit.concat([both, emit.last(x, turned, size)]);
}

/** Rows of a cache by positions of batch x tokens, with an axis for the heads. */
function cached(emit: Emit, cache: string, positions: string): string {
  const index = emit.op('Unsqueeze', [positions, emit.ints([-1])]);
  // Not Gather, whose table would be a weight.
  return emit.op('Unsqueeze', [emit.op('GatherND', [emit.frozen(cache), index]), emit.ints([2])]);
}

/** 0, 1, 2 … of one batch. */
function counted(emit: Emit, tokens: string): string {
  return emit.reshape(emit.range(tokens), [1, -1]);
}

/** What is known of a value's shape without running anything. */
function shapeOf(emit: Emit, value: string): readonly (number | undefined)[] | undefined {
  return emit.shapes.of(value)?.map((dim) => (typeof dim === 'number' ? dim : undefined));
}

function rankOf(emit: Emit, value: string): number | undefined {
  return shapeOf(emit, value)?.length;
}

/** The size of a head from a cache of max. positions x half. */
function cacheWidth(emit: Emit, cache: string): number | undefined {
  return emit.node.graph.initializers.get(cache)?.shape.at(-1);
}

const rotaryEmbedding =
  (isContrib: boolean): Decomposition =>
  (emit) => {
    const { attributes } = emit.node;
    const [positionsAt, cosAt, sinAt] = isContrib ? [1, 2, 3] : [3, 1, 2];
    const [x, cos, sin, positions] = [
      emit.needed(0),
      emit.needed(cosAt),
      emit.needed(sinAt),
      emit.input(positionsAt),
    ];
    const rotated = attributes.int('rotary_embedding_dim', 0);
    const heads = attributes.int('num_heads', 0);
    const width = cacheWidth(emit, cos);
    const size = rotated > 0 ? Number.MAX_SAFE_INTEGER : 2 * (width ?? 0);
    if (attributes.int('is_packed_batching', 0) !== 0 || attributes.float('scale', 1) !== 1) return false;
    const rank = heads > 0 ? 3 : rankOf(emit, x);
    // Of three axes the number of heads has to be known, or the size of one.
    if (size === 0 || (rank !== 3 && rank !== 4) || (rank === 3 && heads === 0 && rotated > 0)) return false;
    const isFlat = rank === 3;
    const wide = isFlat
      ? emit.reshape(x, heads > 0 ? [0, 0, heads, -1] : [0, 0, -1, size])
      : emit.transpose(x, [0, 2, 1, 3]);
    let places = positions;
    if (isContrib && positions !== undefined && rankOf(emit, positions) === 1)
      places = emit.add(counted(emit, emit.sizeOf(wide, 1)), positions);
    const row = (cache: string): string =>
      places === undefined
        ? emit.op('Unsqueeze', [emit.frozen(cache), emit.ints([2])])
        : cached(emit, cache, places);
    const isInterleaved = attributes.int('interleaved', 0) !== 0;
    const turned = rotate(emit, wide, { cos: row(cos), sin: row(sin), isInterleaved, rotated }, size);
    emit.output(0, isFlat ? emit.reshape(turned, [0, 0, -1]) : emit.transpose(turned, [0, 2, 1, 3]));
    return true;
  };

/** What attention is computed of: batch x heads x tokens x size, keys and values of fewer heads where queries share them. */
interface Parts {
  readonly q: string;
  readonly k: string;
  readonly v: string;
  readonly heads: number;
  readonly kvHeads: number;
  /** 1 / √size where undefined. */
  readonly scale: number | undefined;
  readonly softcap: number;
  /** Added to the scores, or a mask of booleans. */
  readonly bias: string | undefined;
  /** Where a token may look. */
  readonly allowed: string | undefined;
}

/** softmax(scale q kᵀ + bias) v as batch x tokens x (heads · size) (Vaswani et al. 2017, section 3.2). */
function attend(emit: Emit, { q, k, v, heads, kvHeads, scale, softcap, bias, allowed }: Parts): string {
  const group = heads / kvHeads;
  // Batch x key heads x queries of each x tokens x size: keys and values are broadcast, not repeated.
  const left = group === 1 ? q : emit.op('Reshape', [q, grouped(emit, q, kvHeads, group)]);
  const keys = group === 1 ? k : ungrouped(emit, k, kvHeads);
  const own = group === 1 ? v : ungrouped(emit, v, kvHeads);
  const turned = emit.transpose(keys, group === 1 ? [0, 1, 3, 2] : [0, 1, 2, 4, 3]);
  const factor =
    scale === undefined
      ? emit.op('Reciprocal', [emit.op('Sqrt', [emit.cast(emit.sizeOf(q, 3))])])
      : emit.float(scale);
  let scores = emit.op('MatMul', [emit.mul(left, factor), turned]);
  if (softcap > 0) scores = emit.scale(emit.op('Tanh', [emit.scale(scores, 1 / softcap)]), softcap);
  // Masks are of batch x heads x queries x keys.
  if (group !== 1) scores = emit.op('Reshape', [scores, mergedShape(emit, scores, heads)]);
  if (bias !== undefined) scores = emit.add(scores, bias);
  if (allowed !== undefined) scores = emit.op('Where', [allowed, scores, emit.float(LOWEST)]);
  const weights = emit.op('Softmax', [scores], { axis: { int: -1 } });
  const spread =
    group === 1 ? weights : emit.op('Reshape', [weights, grouped(emit, weights, kvHeads, group)]);
  let mixed = emit.op('MatMul', [spread, own]);
  if (group !== 1) mixed = emit.op('Reshape', [mixed, mergedShape(emit, mixed, heads)]);
  return emit.reshape(emit.transpose(mixed, [0, 2, 1, 3]), [0, 0, -1]);
}

/** [batch, kvHeads, group, tokens, size] of [batch, heads, tokens, size]. */
function grouped(emit: Emit, x: string, kvHeads: number, group: number): string {
  const shape = emit.op('Shape', [x]);
  const part = (from: number, to: number): string =>
    emit.op('Slice', [shape, emit.ints([from]), emit.ints([to]), emit.ints([0])]);
  return emit.concat([part(0, 1), emit.ints([kvHeads, group]), part(2, 4)], 0);
}

/** [batch, kvHeads, 1, tokens, size] of [batch, kvHeads, tokens, size]. */
function ungrouped(emit: Emit, x: string, kvHeads: number): string {
  return emit.op('Reshape', [x, grouped(emit, x, kvHeads, 1)]);
}

/** [batch, heads, rows, columns] of [batch, kvHeads, group, rows, columns]. */
function mergedShape(emit: Emit, x: string, heads: number): string {
  const shape = emit.op('Shape', [x]);
  const part = (from: number, to: number): string =>
    emit.op('Slice', [shape, emit.ints([from]), emit.ints([to]), emit.ints([0])]);
  return emit.concat([part(0, 1), emit.ints([heads]), part(3, 5)], 0);
}

/** Batch x tokens x (heads · size) as batch x heads x tokens x size. */
function byHead(emit: Emit, x: string, heads: number): string {
  return emit.transpose(emit.reshape(x, [0, 0, heads, -1]), [0, 2, 1, 3]);
}

/** Where a query may look at keys: not ahead, and not further back than a window. */
function causal(emit: Emit, q: string, k: string, window = -1): string {
  const rows = emit.reshape(emit.range(emit.sizeOf(q, 2)), [-1, 1]);
  const columns = emit.reshape(emit.range(emit.sizeOf(k, 2)), [1, -1]);
  const behind = emit.op('Not', [emit.op('Less', [rows, columns])]);
  if (window < 0) return behind;
  const near = emit.op('Less', [emit.op('Sub', [rows, columns]), emit.int(window)]);
  return emit.op('And', [behind, near]);
}

/** Attention of operator set 23, without what was before. */
const attention: Decomposition = (emit) => {
  const { attributes, outputs, graph } = emit.node;
  if (emit.input(4) || emit.input(5) || emit.input(6) || outputs.slice(1).some(Boolean)) return false;
  const inputs = [emit.needed(0), emit.needed(1), emit.needed(2)];
  const shapes = inputs.map((input) => shapeOf(emit, input));
  const isFlat = attributes.has('q_num_heads') || shapes[0]?.length === 3;
  const heads = isFlat ? attributes.int('q_num_heads', 0) : (shapes[0]?.[1] ?? 0);
  const kvHeads = isFlat ? attributes.int('kv_num_heads', heads) : (shapes[1]?.[1] ?? 0);
  if (heads < 1 || kvHeads < 1 || heads % kvHeads !== 0) return false;
  const [q, k, v] = inputs.map((x, index) =>
    isFlat ? byHead(emit, x, index === 0 ? heads : kvHeads) : x,
  ) as [string, string, string];
  const mask = emit.input(3);
  const type =
    mask &&
    (graph.initializers.get(mask)?.dataType ?? graph.inputs.find(({ name }) => name === mask)?.dataType);
  const isBoolean =
    type === 'bool' ||
    ['Less', 'LessOrEqual', 'Greater', 'GreaterOrEqual', 'Equal', 'And', 'Or', 'Not'].includes(
      graph.producer(mask ?? '')?.opType ?? '',
    );
  const ahead = attributes.int('is_causal', 0) !== 0 ? causal(emit, q, k) : undefined;
  const allowed = isBoolean && mask ? (ahead ? emit.op('And', [ahead, mask]) : mask) : ahead;
  const scale = attributes.has('scale') ? attributes.float('scale', 1) : undefined;
  const softcap = attributes.float('softcap', 0);
  const bias = isBoolean ? undefined : mask;
  const mixed = attend(emit, { q, k, v, heads, kvHeads, scale, softcap, bias, allowed });
  emit.output(0, isFlat ? mixed : byHead(emit, mixed, heads));
  return true;
};

/** com.microsoft.MultiHeadAttention of three inputs batch x tokens x hidden, without what was before. */
const multiHeadAttention: Decomposition = (emit) => {
  const { attributes, outputs } = emit.node;
  const heads = attributes.int('num_heads', 0);
  const [k, v] = [emit.input(1), emit.input(2)];
  if (k === undefined || v === undefined || emit.input(6) || emit.input(7) || outputs.slice(1).some(Boolean))
    return false;
  if (heads < 1 || rankOf(emit, k) === 4 || rankOf(emit, emit.needed(0)) === 5) return false;
  const inputs = [emit.needed(0), k, v];
  const bias = emit.input(3);
  const width = bias === undefined ? undefined : emit.node.graph.initializers.get(bias)?.shape[0];
  if (bias !== undefined && (width === undefined || width % 3 !== 0)) return false;
  const [q4, k4, v4] = inputs.map((x, index) => {
    const each = (width ?? 0) / 3;
    const shifted = bias === undefined ? x : emit.add(x, emit.last(bias, index * each, (index + 1) * each));
    return byHead(emit, shifted, heads);
  }) as [string, string, string];
  const padding = emit.input(4);
  let added = emit.input(5);
  if (padding !== undefined) {
    // Batch x keys of ones and zeros, or the number of keys of each batch.
    const rank = rankOf(emit, padding);
    if (rank !== 2 && rank !== 1) return false;
    const isKept =
      rank === 2
        ? emit.op('Not', [emit.op('Equal', [emit.toInt(padding, 6), emit.int32(0)])])
        : emit.op('Less', [
            emit.reshape(emit.range(emit.sizeOf(k4, 2)), [1, -1]),
            emit.reshape(emit.toInt(padding, 7), [-1, 1]),
          ]);
    const wide = emit.op('Unsqueeze', [isKept, emit.ints([1, 2])]);
    const filler = emit.float(attributes.float('mask_filter_value', -10000));
    const filled = emit.op('Where', [wide, emit.float(0), filler]);
    added = added === undefined ? filled : emit.add(added, filled);
  }
  const scale = attributes.float('scale', 0);
  emit.output(
    0,
    attend(emit, {
      q: q4,
      k: k4,
      v: v4,
      heads,
      kvHeads: heads,
      scale: scale === 0 ? undefined : scale,
      softcap: 0,
      bias: added,
      allowed: attributes.int('unidirectional', 0) !== 0 ? causal(emit, q4, k4) : undefined,
    }),
  );
  return true;
};

/** com.microsoft.GroupQueryAttention without what was before: each query looks at itself and back. */
const groupQueryAttention: Decomposition = (emit) => {
  const { attributes } = emit.node;
  const heads = attributes.int('num_heads', 0);
  const kvHeads = attributes.int('kv_num_heads', 0);
  const [cos, sin] = [emit.input(7), emit.input(8)];
  const rotates = attributes.int('do_rotary', 0) !== 0;
  if (heads < 1 || kvHeads < 1 || heads % kvHeads !== 0) return false;
  if (emit.input(3) || emit.input(4) || emit.node.inputs.slice(11).some(Boolean)) return false;
  if (attributes.int('smooth_softmax', 0) === 1) return false;
  const isPacked = emit.input(1) === undefined;
  const all = heads + 2 * kvHeads;
  const packed = isPacked ? emit.reshape(emit.needed(0), [0, 0, all, -1]) : undefined;
  const part = (from: number, to: number): string =>
    emit.op('Slice', [packed ?? '', emit.ints([from]), emit.ints([to]), emit.ints([2])]);
  let [q, k, v] = isPacked
    ? [part(0, heads), part(heads, heads + kvHeads), part(heads + kvHeads, all)]
    : [
        emit.reshape(emit.needed(0), [0, 0, heads, -1]),
        emit.reshape(emit.needed(1), [0, 0, kvHeads, -1]),
        emit.reshape(emit.needed(2), [0, 0, kvHeads, -1]),
      ];
  if (rotates) {
    const half = cos === undefined ? undefined : cacheWidth(emit, cos);
    if (cos === undefined || sin === undefined || half === undefined) return false;
    const places = emit.input(9) ?? counted(emit, emit.sizeOf(q, 1));
    const positions: Positions = {
      cos: cached(emit, cos, places),
      sin: cached(emit, sin, places),
      isInterleaved: attributes.int('rotary_interleaved', 0) !== 0,
      rotated: 0,
    };
    [q, k] = [q, k].map((x) => rotate(emit, x, positions, 2 * half)) as [string, string];
  }
  [q, k, v] = [q, k, v].map((x) => emit.transpose(x, [0, 2, 1, 3])) as [string, string, string];
  const scale = attributes.float('scale', 0);
  emit.output(
    0,
    attend(emit, {
      q,
      k,
      v,
      heads,
      kvHeads,
      scale: scale === 0 ? undefined : scale,
      softcap: attributes.float('softcap', 0),
      bias: emit.input(10),
      allowed: causal(emit, q, k, attributes.int('local_window_size', -1)),
    }),
  );
  emit.output(1, k);
  emit.output(2, v);
  return true;
};

export const ATTENTION: Readonly<Record<string, Decomposition>> = {
  RotaryEmbedding: rotaryEmbedding(false),
  'com.microsoft.RotaryEmbedding': rotaryEmbedding(true),
  Attention: attention,
  'com.microsoft.MultiHeadAttention': multiHeadAttention,
  'com.microsoft.GroupQueryAttention': groupQueryAttention,
};
