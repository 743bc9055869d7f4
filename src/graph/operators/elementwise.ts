import { each, type Family } from './traits.js';

const UNARY = { shape: 'first', elementwise: true } as const;
const BROADCAST = { shape: 'broadcast', elementwise: true } as const;

/** Operators that treat each element by itself: functions, arithmetic, comparisons, logic. */
export const ELEMENTWISE = {
  ...each(
    [
      ...([
        'Abs',
        'Acos',
        'Acosh',
        'Asin',
        'Asinh',
        'Atan',
        'Atanh',
        'Cos',
        'Cosh',
        'Sin',
        'Sinh',
        'Tan',
      ] as const),
      ...([
        'Erf',
        'Exp',
        'HardSigmoid',
        'LeakyRelu',
        'Log',
        'Neg',
        'Reciprocal',
        'Softplus',
        'Softsign',
        'Sqrt',
      ] as const),
    ],
    UNARY,
  ),
  ...each(['Celu', 'Elu', 'Gelu', 'HardSwish', 'Mish', 'Relu', 'Swish'], { ...UNARY, gain: Math.SQRT2 }),
  Clip: { ...UNARY, gain: Math.SQRT2, rewritten: [11] },
  PRelu: { ...UNARY, gain: Math.sqrt(2 / (1 + 0.25 ** 2)), weights: [1] },
  Selu: { ...UNARY, gain: 3 / 4 },
  Sigmoid: { ...UNARY, gain: 1 },
  Tanh: { ...UNARY, gain: 5 / 3 },
  // These jump at a threshold.
  ...each(['Shrink', 'ThresholdedRelu'], { ...UNARY, decides: true }),
  ...each(['Ceil', 'Floor', 'Round', 'Sign'], { ...UNARY, decides: true, flat: true }),
  ...each(['IsInf', 'IsNaN', 'Not'], { ...UNARY, flat: true }),
  BitwiseNot: UNARY,
  BitCast: { ...UNARY, decides: true },
  ...each(['Cast', 'CastLike'], { ...UNARY, decides: true }),
  Identity: { ...UNARY, moves: true },
  Dropout: { ...UNARY, rewritten: [12] },

  ...each(['Div', 'Max', 'Mean', 'Min', 'Pow', 'Sub', 'Sum', 'Where'], BROADCAST),
  ...each(['Add', 'Mul'], { ...BROADCAST, weights: [0, 1] }),
  Mod: { ...BROADCAST, decides: true },
  ...each(['Equal', 'Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual'], {
    ...BROADCAST,
    decides: true,
    flat: true,
  }),
  ...each(['And', 'Or', 'Xor'], { ...BROADCAST, flat: true }),
  ...each(['BitShift', 'BitwiseAnd', 'BitwiseOr', 'BitwiseXor', 'StringConcat'], BROADCAST),
} satisfies Family;
