import type { Emit } from './emit.js';
import type { Decomposition } from './simple.js';

/**
 * com.microsoft.MoE: each token by the k experts that its router gives most, y = Σ p_e W2_e f(W1_e x), p the softmax over all
 * experts, or over those k with normalize_routing_weights (Shazeer et al. 2017, arXiv 1701.06538; Mixtral, arXiv 2401.04088). Weights are
 * experts x outputs x inputs, as onnxruntime's CPU kernel reads them. Every expert is computed for every token, and those that were not
 * chosen count nothing.
 */
const moe: Decomposition = (emit) => {
  const { attributes } = emit.node;
  const [x, router, w1, w2] = [emit.needed(0), emit.needed(1), emit.needed(2), emit.needed(4)];
  const [first, second] = [emit.shapes.of(w1), emit.shapes.of(w2)];
  const activate = activations[attributes.string('activation_type', 'relu')];
  // What the CPU kernel has not: a third weight, sparse mixing. Other orders of the axes would be computed as something else.
  if (activate === undefined || emit.input(6) !== undefined || attributes.int('use_sparse_mixer', 0) !== 0)
    return false;
  if (first?.length !== 3 || second?.length !== 3) return false;
  const [experts, width, hidden] = first;
  if (typeof experts !== 'number' || typeof width !== 'number' || typeof hidden !== 'number') return false;
  const isGated = attributes.string('activation_type', 'relu') === 'swiglu';
  const inner = isGated ? width / 2 : width;
  const own = emit.shapes.of(x)?.at(-1);
  if (typeof own === 'number' && own !== hidden) return false;
  const isInterleaved = !isGated || attributes.int('swiglu_fusion', 0) === 1;
  if (!isInterleaved || second[0] !== experts || second[1] !== hidden || second[2] !== inner) return false;

  const gates = gatesOf(emit, router, experts);
  // Of an open size the product tells whether it is that of the weights.
  const last = typeof own === 'number' ? emit.ints([own]) : emit.reshape(emit.sizeOf(x, -1), [1]);
  const rows = emit.op('Reshape', [x, emit.concat([emit.ints([1, -1]), last], 0)]);
  const h = linear(emit, rows, w1, emit.input(3), width);
  const y = linear(emit, activate(emit, h, width), w2, emit.input(5), hidden);
  const mixed = emit.op('MatMul', [gates, emit.transpose(y, [1, 0, 2])]);
  emit.output(0, emit.op('Reshape', [mixed, emit.op('Shape', [x])]));
  return true;
};

/** tokens x 1 x experts: the share of each, 0 of those that were not chosen. */
function gatesOf(emit: Emit, router: string, experts: number): string {
  const { attributes } = emit.node;
  const k = attributes.int('k', 1);
  const shares = emit.op('Softmax', [router], { axis: { int: -1 } });
  const [chosen, indices] = emit.topK(shares, k);
  const isNormalized = attributes.int('normalize_routing_weights', 0) === 1;
  const total = (): string => emit.op('ReduceSum', [chosen, emit.ints([-1])], { keepdims: { int: 1 } });
  const weights = isNormalized ? emit.op('Div', [chosen, total()]) : chosen;
  const numbers = emit.ints(Array.from({ length: experts }, (_, index) => index));
  const places = emit.cast(emit.op('Equal', [emit.op('Unsqueeze', [indices, emit.ints([-1])]), numbers]));
  return emit.op('MatMul', [emit.op('Unsqueeze', [weights, emit.ints([1])]), places]);
}

/** x Wᵀ + b of each expert. */
function linear(emit: Emit, x: string, weight: string, bias: string | undefined, width: number): string {
  const product = emit.op('MatMul', [x, emit.transpose(weight, [0, 2, 1])]);
  return bias === undefined ? product : emit.add(product, emit.reshape(bias, [-1, 1, width]));
}

const swish = (emit: Emit, x: string, alpha: number): string =>
  emit.mul(x, emit.op('Sigmoid', [emit.scale(x, alpha)]));

const activations: Readonly<Record<string, (emit: Emit, x: string, width: number) => string>> = {
  relu: (emit, x) => emit.op('Relu', [x]),
  identity: (_, x) => x,
  silu: (emit, x) => swish(emit, x, 1),
  // The CPU kernel's is the approximation by tanh.
  gelu: (emit, x) => {
    const cubed = emit.scale(emit.mul(emit.mul(x, x), x), 0.044715);
    const inner = emit.op('Tanh', [emit.scale(emit.add(x, cubed), Math.sqrt(2 / Math.PI))]);
    return emit.mul(emit.scale(x, 0.5), emit.add(inner, emit.float(1)));
  },
  swiglu: (emit, x, width) => {
    const { attributes } = emit.node;
    const limit = attributes.float('swiglu_limit', Number.POSITIVE_INFINITY);
    const [gate, value] = [emit.last(x, 0, width, 2), emit.last(x, 1, width, 2)];
    const isLimited = Number.isFinite(limit);
    const low = isLimited ? emit.op('Min', [gate, emit.float(limit)]) : gate;
    const clipped = isLimited ? emit.op('Clip', [value, emit.float(-limit), emit.float(limit)]) : value;
    const shifted = emit.add(clipped, emit.float(attributes.float('activation_beta', 0)));
    return emit.mul(swish(emit, low, attributes.float('activation_alpha', 1)), shifted);
  },
};

export const EXPERTS: Readonly<Record<string, Decomposition>> = { 'com.microsoft.MoE': moe };
