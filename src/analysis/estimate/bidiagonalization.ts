import { type NodeSpec, ValueInfo } from '../../graph/index.js';
import type { Matrix, ProductPlace } from '../../linalg/index.js';
import { productSession } from '../../linalg/matrix.js';
import { kernel } from '../../runtime/session/run-graph.js';
import { buildModel } from '../../runtime/session/small-model.js';
import type { Session } from '../../runtime/types.js';
import { type Quadrature, quadratureOf } from './quadrature.js';

/** Divides what is as good as zero. */
const TINY = 1e-30;

/** A float32 matrix as a tensor. */
export interface Tensor32 {
  readonly type: 'float32';
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/**
 * Golub-Kahan bidiagonalization (Golub & Kahan 1965) of one matrix from several start vectors side by side, each by itself: products
 * of the matrix and its transpose with as many columns, in float32, wherever a provider has them. No vector is made orthogonal to
 * earlier ones: the weights of a quadrature do not need it (Chen & Trogdon, Stability of the Lanczos algorithm on matrices with
 * regular spectral distributions, 2023).
 */
export class Bidiagonalization {
  readonly #session: Session;
  readonly #matrix: Tensor32;
  readonly #state: { v: Tensor32; u: Tensor32; beta: Tensor32 };
  readonly columns: number;
  readonly #quadratures = new Map<string, Quadrature>();
  readonly #alphas: Float32Array[] = [];
  readonly #betas: Float32Array[] = [];

  private constructor(session: Session, matrix: Tensor32, start: Matrix) {
    const [rows = 0, columns = 0] = matrix.shape;
    const { columns: count } = start;
    this.#session = session;
    this.#matrix = matrix;
    this.columns = count;
    this.#state = {
      v: tensorOf(start.data as Float32Array, start.rows, count),
      u: tensorOf(new Float32Array(Math.max(rows, columns) * count), Math.max(rows, columns), count),
      beta: tensorOf(new Float32Array(count), 1, count),
    };
  }

  /**
   * @param start as many rows as the shorter side of the matrix has, a unit vector a column
   */
  static async open(
    matrix: Tensor32,
    start: Matrix,
    place: ProductPlace | undefined,
  ): Promise<Bidiagonalization> {
    return new Bidiagonalization(await stepSession(isTall(matrix), place), matrix, start);
  }

  get steps(): number {
    return this.#alphas.length;
  }

  /** Goes on to that many steps. */
  async advance(steps: number): Promise<void> {
    while (this.steps < steps) {
      const { v, u, beta, alpha } = await this.#session.run({ w: this.#matrix, ...renamed(this.#state) });
      this.#state.v = v as Tensor32;
      this.#state.u = u as Tensor32;
      this.#state.beta = beta as Tensor32;
      this.#alphas.push((alpha as Tensor32).data.slice());
      this.#betas.push(this.#state.beta.data.slice());
    }
  }

  /** ‖W v‖ of a start vector v. */
  norm(column: number): number {
    return this.#alphas[0]?.[column] as number;
  }

  /** Of a start vector, by its first `steps`. */
  quadrature(column: number, steps: number): Quadrature {
    const key = `${column} ${steps}`;
    const known = this.#quadratures.get(key);
    if (known !== undefined) return known;
    const of = (rows: readonly Float32Array[]): number[] =>
      rows.slice(0, steps).map((row) => row[column] as number);
    const made = quadratureOf({ alpha: of(this.#alphas), beta: of(this.#betas) });
    this.#quadratures.set(key, made);
    return made;
  }
}

function renamed({ v, u, beta }: { v: Tensor32; u: Tensor32; beta: Tensor32 }) {
  return { v0: v, u0: u, beta0: beta };
}

function isTall({ shape }: Tensor32): boolean {
  return (shape[0] ?? 0) >= (shape[1] ?? 0);
}

export function tensorOf(data: Float32Array, rows: number, columns: number): Tensor32 {
  return { type: 'float32', shape: [rows, columns], data };
}

/** u = (W v0 - u0 beta0) / alpha, v = (Wᵀ u - v0 alpha) / beta, for the matrix or, where it is wide, its transpose. */
function stepSession(tall: boolean, place: ProductPlace | undefined): Promise<Session> {
  const { key, options } = productSession(place);
  const product = (input: string, output: string, transposed: boolean): NodeSpec => ({
    opType: 'Gemm',
    inputs: ['w', input],
    outputs: [output],
    attributes: { transA: { int: Number(transposed) } },
  });
  const node = (opType: string, inputs: string[], output: string): NodeSpec => ({
    opType,
    inputs,
    outputs: [output],
  });
  /** Norms of the columns, and the columns by them. */
  const normed = (input: string, norm: string, output: string): NodeSpec[] => [
    node('Mul', [input, input], `${input}_squared`),
    {
      opType: 'ReduceSum',
      inputs: [`${input}_squared`, 'axis'],
      outputs: [`${input}_sum`],
      attributes: { keepdims: { int: 1 } },
    },
    node('Sqrt', [`${input}_sum`], norm),
    node('Max', [norm, 'tiny'], `${norm}_divisor`),
    node('Div', [input, `${norm}_divisor`], output),
  ];
  const constant = (output: string, attribute: NonNullable<NodeSpec['attributes']>): NodeSpec => ({
    opType: 'Constant',
    inputs: [],
    outputs: [output],
    attributes: attribute,
  });
  const build = () =>
    buildModel({
      nodes: [
        constant('tiny', { value_float: { float: TINY } }),
        constant('axis', { value_ints: { ints: [0n] } }),
        product('v0', 'wv', !tall),
        node('Mul', ['u0', 'beta0'], 'u_before'),
        node('Sub', ['wv', 'u_before'], 'u_rest'),
        ...normed('u_rest', 'alpha', 'u'),
        product('u', 'wu', tall),
        node('Mul', ['v0', 'alpha'], 'v_before'),
        node('Sub', ['wu', 'v_before'], 'v_rest'),
        ...normed('v_rest', 'beta', 'v'),
      ],
      inputs: ['w', 'v0', 'u0', 'beta0'].map((name) =>
        ValueInfo.tensor(name, 'float32', [undefined, undefined]),
      ),
      outputs: ['v', 'u', 'alpha', 'beta'].map((name) =>
        ValueInfo.tensor(name, 'float32', [undefined, undefined]),
      ),
      opset: 17,
    });
  return kernel(`bidiagonalization ${tall} ${key}`, build, options);
}

/** Wᵀ W x for the columns x, W the matrix or, where it is wide, its transpose. */
export async function normalProduct(
  matrix: Tensor32,
  x: Matrix,
  place: ProductPlace | undefined,
): Promise<Matrix> {
  const tall = isTall(matrix);
  const { key, options } = productSession(place);
  const build = () =>
    buildModel({
      nodes: [
        {
          opType: 'Gemm',
          inputs: ['w', 'x'],
          outputs: ['h'],
          attributes: { transA: { int: Number(!tall) } },
        },
        {
          opType: 'Gemm',
          inputs: ['w', 'h'],
          outputs: ['y'],
          attributes: { transA: { int: Number(tall) } },
        },
      ],
      inputs: ['w', 'x'].map((name) => ValueInfo.tensor(name, 'float32', [undefined, undefined])),
      outputs: [ValueInfo.tensor('y', 'float32', [undefined, undefined])],
      opset: 17,
    });
  const session = await kernel(`normal product ${tall} ${key}`, build, options);
  const { y } = await session.run({
    w: matrix,
    x: tensorOf(x.data as Float32Array, x.rows, x.columns),
  });
  return { rows: x.rows, columns: x.columns, data: (y as Tensor32).data };
}
