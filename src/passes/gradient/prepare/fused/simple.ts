import type { Emit } from './emit.js';

/** Puts standard nodes in place of a fused one; false where it has a form that is not taken apart. */
export type Decomposition = (emit: Emit) => boolean;

/** y = x / sqrt(mean(x²) + ε) · scale over the last axis (Zhang & Sennrich 2019, arXiv 1910.07467). */
function rms(emit: Emit, x: string, scale: string, epsilon: number): string {
  const squares = emit.lastMean(emit.mul(x, x));
  const inverse = emit.op('Reciprocal', [emit.op('Sqrt', [emit.add(squares, emit.float(epsilon))])]);
  return emit.mul(emit.mul(x, inverse), scale);
}

const rmsNormalization: Decomposition = (emit) => {
  const { attributes, outputs } = emit.node;
  // Over more axes, or with its deviation as an output, which only training in onnxruntime asks for.
  if (attributes.int('axis', -1) !== -1 || outputs.slice(1).some(Boolean)) return false;
  emit.output(0, rms(emit, emit.needed(0), emit.needed(1), attributes.float('epsilon', 1e-5)));
  return true;
};

/** input + skip (+ bias), normalized; the sum is the fourth output. */
function skip(normalize: (emit: Emit, sum: string, epsilon: number) => string, bias: number): Decomposition {
  return (emit) => {
    const { attributes, outputs } = emit.node;
    if (outputs[1] || outputs[2]) return false;
    const both = emit.add(emit.needed(0), emit.needed(1));
    const added = emit.input(bias);
    const sum = added === undefined ? both : emit.add(both, added);
    emit.output(0, normalize(emit, sum, attributes.float('epsilon', 1e-12)));
    emit.output(3, sum);
    return true;
  };
}

function layerNorm(emit: Emit, x: string, epsilon: number): string {
  const beta = emit.input(3);
  return emit.op('LayerNormalization', [x, emit.needed(2), ...(beta === undefined ? [] : [beta])], {
    axis: { int: -1 },
    epsilon: { float: epsilon },
  });
}

const ROOT_2_OVER_PI = Math.sqrt(2 / Math.PI);

/** 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))) (Hendrycks & Gimpel 2016, arXiv 1606.08415). */
const fastGelu: Decomposition = (emit) => {
  const bias = emit.input(1);
  const x = bias === undefined ? emit.needed(0) : emit.add(emit.needed(0), bias);
  const cubed = emit.scale(emit.mul(emit.mul(x, x), x), 0.044715);
  const inner = emit.op('Tanh', [emit.scale(emit.add(x, cubed), ROOT_2_OVER_PI)]);
  emit.output(0, emit.mul(emit.scale(x, 0.5), emit.add(inner, emit.float(1))));
  return true;
};

/** 0.5 x (1 + erf(x / √2)). */
const gelu: Decomposition = (emit) => {
  const bias = emit.input(1);
  const x = bias === undefined ? emit.needed(0) : emit.add(emit.needed(0), bias);
  const inner = emit.op('Erf', [emit.scale(x, Math.SQRT1_2)]);
  emit.output(0, emit.mul(emit.scale(x, 0.5), emit.add(inner, emit.float(1))));
  return true;
};

/** x · sigmoid(alpha x). */
const quickGelu: Decomposition = (emit) => {
  const x = emit.needed(0);
  const gate = emit.op('Sigmoid', [emit.scale(x, emit.node.attributes.float('alpha', 1.702))]);
  emit.output(0, emit.mul(x, gate));
  return true;
};

/**
 * x Wᵀ of a weight in blocks of 2, 4 or 8 bits (com.microsoft.MatMulNBits), which stays as it is: its numbers are computed from its
 * bytes, low bits first, and no gradient is taken for them.
 */
const matMulNBits: Decomposition = (emit) => {
  const { attributes } = emit.node;
  const bits = attributes.int('bits', 4);
  const [n, k, block] = [attributes.int('N', 0), attributes.int('K', 0), attributes.int('block_size', 0)];
  if (emit.input(4) !== undefined || ![2, 4, 8].includes(bits) || n < 1 || k < 1 || block < 1) return false;
  const blocks = Math.ceil(k / block);
  const values = emit.cast(unpack(emit, emit.needed(1), bits, [n, blocks, block]));
  const packedZeros = emit.input(3);
  const each = Math.ceil((blocks * bits) / 8) * (8 / bits);
  const isFloat = packedZeros !== undefined && isFloatConstant(emit, packedZeros);
  const zeros =
    packedZeros === undefined
      ? emit.float(2 ** (bits - 1))
      : isFloat
        ? emit.reshape(emit.frozen(packedZeros), [n, blocks, 1])
        : emit.reshape(emit.last(emit.cast(unpack(emit, packedZeros, bits, [n, each])), 0, blocks), [
            n,
            blocks,
            1,
          ]);
  const scales = emit.reshape(emit.frozen(emit.needed(2)), [n, blocks, 1]);
  const dense = emit.mul(emit.op('Sub', [values, zeros]), scales);
  const weight = emit.last(emit.reshape(dense, [n, blocks * block]), 0, k);
  const product = emit.op('MatMul', [emit.needed(0), emit.transpose(weight, [1, 0])]);
  const bias = emit.input(5);
  emit.output(0, bias === undefined ? product : emit.add(product, bias));
  return true;
};

function isFloatConstant(emit: Emit, value: string): boolean {
  const { graph } = emit.node;
  return /float/.test(graph.initializers.get(value)?.dataType ?? '');
}

/** The elements of bytes as int32, the lowest bits first. */
function unpack(emit: Emit, packed: string, bits: number, shape: readonly number[]): string {
  const whole = emit.reshape(emit.toInt(packed, 6), [-1, 1]);
  if (bits === 8) return emit.reshape(whole, shape);
  const parts = Array.from({ length: 8 / bits }, (_, index) => {
    const shifted = index === 0 ? whole : emit.op('Div', [whole, emit.int32(2 ** (bits * index))]);
    return emit.op('Mod', [shifted, emit.int32(2 ** bits)]);
  });
  return emit.reshape(emit.concat(parts), shape);
}

export const SIMPLE: Readonly<Record<string, Decomposition>> = {
  RMSNormalization: rmsNormalization,
  SimplifiedLayerNormalization: rmsNormalization,
  'com.microsoft.SimplifiedLayerNormalization': rmsNormalization,
  'com.microsoft.SkipLayerNormalization': skip(layerNorm, 4),
  'com.microsoft.SkipSimplifiedLayerNormalization': skip(
    (emit, sum, epsilon) => rms(emit, sum, emit.needed(2), epsilon),
    3,
  ),
  'com.microsoft.FastGelu': fastGelu,
  'com.microsoft.Gelu': gelu,
  'com.microsoft.BiasGelu': gelu,
  'com.microsoft.QuickGelu': quickGelu,
  'com.microsoft.MatMulNBits': matMulNBits,
};
