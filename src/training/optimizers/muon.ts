import type { Builder } from '../../passes/gradient/builder.js';
import { product } from '../../passes/gradient/shapes.js';
import type { Value } from '../../passes/gradient/value.js';
import { adam } from './adam.js';
import type { BareRule } from './optimizer-rule.js';
import { checkCount, checkShare } from './ranges.js';
import { accumulate, descend, scalarIn, shared } from './scalars.js';

/** Options of Muon. */
export interface MuonOptions {
  /** Of the gradients of matrices; default 0.95. */
  readonly momentum?: number | undefined;
  /** Looks ahead by one step of momentum; default true. */
  readonly nesterov?: boolean | undefined;
  /** Newton-Schulz iterations; default 5. */
  readonly iterations?: number | undefined;
  /** The rate of weights that are no matrices over that of matrices; default 0.015, which is 3e-4 over 0.02. */
  readonly otherRate?: number | undefined;
}

/** Of the quintic iteration, chosen for a steep slope at zero: singular values end between some 0.7 and 1.2. */
const [A, B, C] = [3.4445, -4.775, 2.0315];
const FLOOR = 1e-7;

/**
 * Muon (Jordan et al. 2024, github.com/KellerJordan/Muon) as torch.optim.Muon: the momentum of a matrix is brought near the
 * closest orthogonal matrix, times sqrt(max(1, outputs / inputs)). Convolutions are matrices of their outputs by all the rest.
 * Biases and scales go as Adam, betas 0.9 and 0.95, at a share of the rate, as MuonWithAuxAdam. In the weight's own
 * precision: PyTorch computes the iteration in bfloat16.
 */
export function muon(options: MuonOptions = {}): BareRule {
  const { momentum = 0.95, nesterov = true, iterations = 5, otherRate = 0.015 } = options;
  checkShare(momentum, 'momentum');
  checkCount(iterations, 'iterations', 1);
  checkShare(otherRate, 'otherRate');
  const other = adam({ betas: [0.9, 0.95], epsilon: 1e-10 });
  return {
    slots: ['average', 'square'],
    slotsOf: (shape) => (isMatrix(shape) ? ['average'] : other.slots),
    update: (context) => {
      const { build, parameter, gradient, slots, learningRate } = context;
      const { shape, type } = parameter;
      if (!isMatrix(shape)) {
        const rate = shared(build, `muon ${otherRate} ${learningRate.name}`, () =>
          build.scale(learningRate, otherRate),
        );
        return other.update({ ...context, learningRate: rate });
      }
      // Without its factor 1 - momentum, which the division by the norm takes up.
      const average = accumulate(build, momentum, slots.average ?? gradient, gradient);
      const ahead = nesterov ? build.add(gradient, build.scale(average, momentum)) : average;
      const [rows = 1, columns = 1] = matrixOf(shape);
      const flat = build.reshape(ahead, [rows, columns]);
      const direction = build.reshape(orthogonalized(build, flat, iterations), shape);
      const growth = Math.sqrt(Math.max(1, context.inputsFirst ? columns / rows : rows / columns));
      const rate = build.scale(scalarIn(build, learningRate, type), growth);
      return { parameter: descend(build, parameter, rate, direction), slots: { average } };
    },
  };
}

function matrixOf([rows = 1, ...rest]: readonly number[]): readonly number[] {
  return [rows, product(rest)];
}

function isMatrix(shape: readonly number[]): boolean {
  return matrixOf(shape).every((size) => size > 1);
}

/** X = a X + (b X X' + c (X X')²) X, from the matrix over its Frobenius norm, on its shorter side. */
function orthogonalized(build: Builder, matrix: Value, iterations: number): Value {
  const [rows = 1, columns = 1] = matrix.shape;
  const isTall = rows > columns;
  const norm = build.unary('Sqrt', build.reduce('ReduceSum', build.square(matrix), [0, 1]));
  let x = build.div(matrix, build.binary('Max', norm, build.scalar(matrix.type, FLOOR)));
  for (let i = 0; i < iterations; i += 1) {
    const gram = build.gemm(x, x, isTall, !isTall);
    const polynomial = build.addedGemm(gram, gram, false, false, { alpha: C, beta: B, c: gram });
    x = isTall
      ? build.addedGemm(x, polynomial, false, false, { beta: A, c: x })
      : build.addedGemm(polynomial, x, false, false, { beta: A, c: x });
  }
  return x;
}
