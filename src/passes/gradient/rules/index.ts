import type { Node } from '../../../graph/index.js';
import type { Rule } from '../types.js';
import { ARITHMETIC } from './arithmetic.js';
import { CONV } from './conv.js';
import { ELEMENTWISE } from './elementwise.js';
import { INDEXING } from './indexing.js';
import { MATMUL } from './matmul.js';
import { NORM } from './norm.js';
import { POOL } from './pool.js';
import { REDUCE } from './reduce.js';
import { RESAMPLE } from './resample.js';
import { SHAPE } from './shape.js';

/** The standard operators that a gradient passes through. */
export const DIFFERENTIABLE_OPS = [
  'Abs',
  'Add',
  'Asinh',
  'Atan',
  'AveragePool',
  'BatchNormalization',
  'Cast',
  'CastLike',
  'Celu',
  'Clip',
  'Col2Im',
  'Concat',
  'Conv',
  'ConvTranspose',
  'Cos',
  'Cosh',
  'CumSum',
  'DepthToSpace',
  'Div',
  'Dropout',
  'Einsum',
  'Elu',
  'Erf',
  'Exp',
  'Expand',
  'Flatten',
  'Gather',
  'GatherElements',
  'GatherND',
  'Gelu',
  'Gemm',
  'GlobalAveragePool',
  'GlobalMaxPool',
  'GroupNormalization',
  'HardSigmoid',
  'HardSwish',
  'Identity',
  'InstanceNormalization',
  'LayerNormalization',
  'LeakyRelu',
  'Log',
  'LogSoftmax',
  'LRN',
  'MatMul',
  'Max',
  'MaxPool',
  'Mean',
  'Min',
  'Mish',
  'Mul',
  'Neg',
  'Pad',
  'Pow',
  'PRelu',
  'Reciprocal',
  'ReduceL1',
  'ReduceL2',
  'ReduceLogSum',
  'ReduceLogSumExp',
  'ReduceMax',
  'ReduceMean',
  'ReduceMin',
  'ReduceSum',
  'ReduceSumSquare',
  'Relu',
  'Reshape',
  'Resize',
  'ScatterElements',
  'ScatterND',
  'Selu',
  'Sigmoid',
  'Sin',
  'Sinh',
  'Slice',
  'Softmax',
  'Softplus',
  'Softsign',
  'SpaceToDepth',
  'Split',
  'Sqrt',
  'Squeeze',
  'Sub',
  'Sum',
  'Tan',
  'Tanh',
  'ThresholdedRelu',
  'Tile',
  'TopK',
  'Transpose',
  'Trilu',
  'Unsqueeze',
  'Where',
] as const;
export type DifferentiableOp = (typeof DIFFERENTIABLE_OPS)[number];

/** One rule for each operator. */
export const RULES = {
  ...ARITHMETIC,
  ...CONV,
  ...ELEMENTWISE,
  ...INDEXING,
  ...MATMUL,
  ...NORM,
  ...POOL,
  ...REDUCE,
  ...RESAMPLE,
  ...SHAPE,
} satisfies Record<DifferentiableOp, Rule>;

/** Operators whose output does not change with small changes of their input: no gradient passes. */
const CONSTANT_ALMOST_EVERYWHERE = new Set([
  'And',
  'ArgMax',
  'ArgMin',
  'Ceil',
  'Equal',
  'EyeLike',
  'Floor',
  'Greater',
  'GreaterOrEqual',
  'Hardmax',
  'IsInf',
  'IsNaN',
  'Less',
  'LessOrEqual',
  'NonZero',
  'Not',
  'OneHot',
  'Or',
  'Bernoulli',
  'RandomNormalLike',
  'RandomUniformLike',
  'Round',
  'Shape',
  'Sign',
  'Size',
  'Xor',
  'ConstantOfShape',
  'NonMaxSuppression',
]);

/** How a gradient meets a node: by a rule, not at all, or a reason why it can not pass. */
export function ruleOf(node: Node): Rule | 'stops' | { readonly reason: string } {
  if (node.domain === '' && CONSTANT_ALMOST_EVERYWHERE.has(node.opType)) return 'stops';
  const rule: Rule | undefined =
    node.domain === '' && Object.hasOwn(RULES, node.opType)
      ? RULES[node.opType as DifferentiableOp]
      : undefined;
  const name = node.domain === '' ? node.opType : `${node.domain}.${node.opType}`;
  if (rule === undefined) return { reason: `${name} has no gradient here` };
  if (rule.stops?.(node)) return 'stops';
  const reason = rule.refuses?.(node);
  return reason === undefined ? rule : { reason: `${name}: ${reason}` };
}

/** The inputs of a node that its rule passes gradients to. */
export function throughInputs(rule: Rule, node: Node): readonly number[] {
  const all = [...node.inputs.keys()];
  const through = rule.through ?? [0];
  return (through === 'all' ? all : through).filter(
    (index) => index < node.inputs.length && node.inputs[index] !== '',
  );
}
