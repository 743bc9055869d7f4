import { taps } from '../../affine/linear-site.js';
import { decompose, norm2 } from '../../linalg/decompose.js';
import { type Matrix, matmul } from '../../linalg/matmul.js';
import {
  type Conditioning,
  covarianceOf,
  MetricRoot,
  type Moments,
  solveRight,
} from '../calibration/metric.js';
import { type Cut, type Form, formsOf, type LayerSize, parametersOf, rankGrid } from './forms.js';

/** A cut, and what it costs in exactness. */
export interface CutError {
  readonly cut: Cut;
  /** ½ tr(H ΔW G ΔWᵀ), in units of the loss where H was measured; without data ½ ‖ΔW‖² / ‖W‖². */
  readonly error: number;
}

/** What is known of the inputs and of the loss's curvature at the outputs of a layer. */
export interface LayerMetrics {
  readonly input?: Moments | undefined;
  /** E[g gᵀ] of the gradients at the output, times the places of a sample. */
  readonly output?: Moments | undefined;
  /** The bias takes up what the mean of the inputs loses. */
  readonly isCentred: boolean;
  /**
   * E[x x'ᵀ], of what the layer read before anything was cut and what it reads now: W E[x x'ᵀ] E[x' x'ᵀ]⁻¹ is then what is cut.
   */
  readonly cross?: Float64Array | undefined;
}

/** Share of the mean eigenvalue that is added to each: of inputs, and of curvatures, which few samples tell. */
const INPUT_DAMPING = 1e-4;
const OUTPUT_DAMPING = 1e-2;
/** Points of a curve that is computed cut by cut. */
const GRID = 8;

const EPSILON_FLOAT64 = 2 ** -52;
/** A = P diag(s) Qᵀ with both sides as matrices. */
interface Svd {
  readonly values: Float64Array;
  /** rows x rank. */
  readonly left: Matrix;
  /** rank x columns. */
  readonly right: Matrix;
}

async function svd(a: Matrix): Promise<Svd> {
  const found = await decompose(
    { rows: a.rows, columns: a.columns, load: () => a },
    EPSILON_FLOAT64,
    'never',
  );
  const ones = found.values.map(() => 1);
  return { values: found.values, left: await found.left(ones), right: await found.right(ones) };
}

const columnsOf = ({ rows, columns, data }: Matrix, count: number): Matrix => {
  const out = new Float64Array(rows * count);
  for (let i = 0; i < rows; i += 1)
    for (let j = 0; j < Math.min(count, columns); j += 1)
      out[i * count + j] = data[i * columns + j] as number;
  return { rows, columns: count, data: out };
};

const rowsOf = ({ columns, data }: Matrix, count: number): Matrix => {
  const out = new Float64Array(count * columns);
  out.set(data.subarray(0, count * columns));
  return { rows: count, columns, data: out };
};

/** Sums of squares from each place to the end. */
function tails(values: Float64Array): Float64Array {
  const sums = new Float64Array(values.length + 1);
  for (let i = values.length - 1; i >= 0; i -= 1)
    sums[i] = (sums[i + 1] as number) + (values[i] as number) ** 2;
  return sums;
}

/**
 * Cuts one weight down in each of its forms, so that ½ tr(H (W − W') G (W − W')ᵀ) is small: the error of the layer's output over the
 * inputs that it sees (G = E[x xᵀ], the whitening of SVD-LLM, arXiv 2403.07378), weighed by how the loss curves at the output
 * (H = E[g gᵀ], the Kronecker-factored Gauss-Newton matrix of Martens & Grosse, arXiv 1503.05671, and for convolutions Grosse & Martens,
 * arXiv 1602.01407). With both the best W' of rank R is the truncated SVD of H^½ W G^½, brought back.
 *
 * `spatial` and `tucker` begin with the same for the matrix or modes that they cut, by the marginals of G; the last factor that has
 * a kernel is then the least-squares solution under the whole of G.
 */
export class Factorizer {
  readonly #size: LayerSize;
  readonly #weight: Matrix;
  readonly #input: MetricRoot | undefined;
  readonly #output: MetricRoot | undefined;
  /** Of the inputs, damped as the root is. */
  readonly #gram: Float64Array | undefined;
  readonly #scale: number;
  #whole: Promise<Svd> | undefined;
  #spatial: Promise<{ readonly svd: Svd; readonly input: MetricRoot | undefined }> | undefined;
  #modes: Promise<{ readonly input: Svd; readonly root: MetricRoot | undefined }> | undefined;

  private constructor(
    size: LayerSize,
    weight: Matrix,
    roots: { readonly input: MetricRoot | undefined; readonly output: MetricRoot | undefined },
    gram: Float64Array | undefined,
    scale: number,
  ) {
    this.#size = size;
    this.#weight = weight;
    this.#input = roots.input;
    this.#output = roots.output;
    this.#gram = gram;
    this.#scale = scale;
  }

  /** @param weight outputs x (inputs * taps) */
  static async of(size: LayerSize, weight: Matrix, metrics: LayerMetrics): Promise<Factorizer> {
    const { input, output, isCentred, cross } = metrics;
    const moments = input && (isCentred ? covarianceOf(input) : input);
    const root = moments && (await MetricRoot.of(moments.gram, moments.size, INPUT_DAMPING));
    const outputRoot = output && (await MetricRoot.of(output.gram, output.size, OUTPUT_DAMPING));
    const gram = moments?.gram.slice();
    if (gram !== undefined && root !== undefined && moments !== undefined)
      for (let i = 0; i < moments.size; i += 1)
        gram[i * moments.size + i] = (gram[i * moments.size + i] as number) + root.conditioning.damping;
    const wanted =
      cross === undefined || moments === undefined ? weight : await fitted(weight, moments, cross);
    // Without data errors are relative to the weight, with inputs alone to the output.
    let scale = 0.5;
    if (output === undefined) {
      const whole = root === undefined ? wanted : await root.times(wanted);
      const square = norm2(whole.data) ** 2;
      scale = square > 0 ? 0.5 / square : 0.5;
    }
    return new Factorizer(size, wanted, { input: root, output: outputRoot }, gram, scale);
  }

  /** What is cut: the weight, or what fits the inputs of now. */
  get weight(): Matrix {
    return this.#weight;
  }

  /** Singular values of the whitened weight, descending. */
  async spectrum(): Promise<Float64Array> {
    return (await this.#svd()).values;
  }

  get conditioning(): Conditioning | undefined {
    return this.#input?.conditioning;
  }

  /** The cuts of every form, or of those that are asked for, that have fewer parameters than the weight. */
  async curve(multiple: number, forms: readonly Form[] = []): Promise<CutError[]> {
    const found: CutError[] = [];
    const before = parametersOf(this.#size, undefined);
    for (const form of formsOf(this.#size)) {
      if (forms.length > 0 && form !== 'matrices' && !forms.includes(form)) continue;
      for (const point of await this.#curveOf(form, multiple))
        if (parametersOf(this.#size, point.cut) < before) found.push(point);
    }
    return found;
  }

  async #curveOf(form: Form, multiple: number): Promise<CutError[]> {
    switch (form) {
      case 'matrices':
      case 'channel': {
        const left = tails((await this.#svd()).values);
        const most = Math.min(this.#size.outputs, this.#weight.columns) - 1;
        return rankGrid(most, multiple, 64).map((rank) => ({
          cut: { form, ranks: [rank] },
          error: this.#scale * (left[Math.min(rank, left.length - 1)] as number),
        }));
      }
      case 'spatial': {
        const [height = 1, width = 1] = this.#size.kernel;
        const { inputs, outputs } = this.#size;
        const most = Math.min(inputs * height, outputs * width) - 1;
        // Beyond this it has more elements than the kernel.
        const useful = Math.floor((inputs * outputs * height * width) / (inputs * height + outputs * width));
        return this.#measured(
          rankGrid(Math.min(most, useful), multiple, GRID).map((rank) => ({ form, ranks: [rank] })),
        );
      }
      case 'tucker':
        return this.#measured(await this.#tuckerCuts(multiple));
    }
  }

  async #measured(cuts: readonly Cut[]): Promise<CutError[]> {
    const found: CutError[] = [];
    for (const cut of cuts) found.push({ cut, error: await this.errorOf(await this.product(cut)) });
    return found;
  }

  /** Pairs of ranks that drop about the same share in both modes. */
  async #tuckerCuts(multiple: number): Promise<Cut[]> {
    const { inputs, outputs } = this.#size;
    const input = tails((await this.#inputModes()).input.values);
    const output = tails((await this.#svd()).values);
    const rankFor = (sums: Float64Array, share: number, most: number): number => {
      const all = sums[0] as number;
      let rank = sums.findIndex((sum) => sum <= share * all);
      if (rank < 0) rank = sums.length - 1;
      return Math.max(1, Math.min(most, Math.max(multiple, Math.round(rank / multiple) * multiple)));
    };
    const cuts = new Map<string, Cut>();
    for (let i = 0; i < GRID; i += 1) {
      const share = 0.7 * 0.5 ** (1.2 * i);
      for (const tilt of [1, 0.3, 3]) {
        const ranks = [rankFor(input, share * tilt, inputs), rankFor(output, share / tilt, outputs)];
        if ((ranks[0] as number) < inputs || (ranks[1] as number) < outputs)
          cuts.set(ranks.join(), { form: 'tucker', ranks });
      }
    }
    const before = parametersOf(this.#size, undefined);
    return [...cuts.values()].filter((cut) => parametersOf(this.#size, cut) < 0.9 * before);
  }

  /** ½ tr(H ΔW G ΔWᵀ) of a weight in the place of this one. */
  async errorOf(product: Matrix): Promise<number> {
    const { rows, columns, data } = this.#weight;
    const difference = Float64Array.from(data, (value, i) => value - (product.data[i] as number));
    const whitened = await this.#whiten({ rows, columns, data: difference });
    return this.#scale * norm2(whitened.data) ** 2;
  }

  /** The product of the factors of a cut, as the weight is laid out. */
  async product(cut: Cut): Promise<Matrix> {
    const factors = await this.factors(cut);
    const [first, second, third] = factors as [Matrix, Matrix, Matrix | undefined];
    switch (cut.form) {
      case 'matrices':
      case 'channel':
        return matmul(second, first);
      case 'spatial':
        return matmul(second, this.#spread(first, cut.ranks[0] ?? 0));
      case 'tucker': {
        const core = third === undefined ? second : await matmul(third, second);
        return matmul(core, channelSpread(first, taps(this.#size.kernel)));
      }
    }
  }

  /** The factors of a cut in the order of application, each outputs x (inputs * taps), of even size. */
  async factors(cut: Cut): Promise<Matrix[]> {
    const [rank = 1, second = 1] = cut.ranks;
    switch (cut.form) {
      case 'matrices':
      case 'channel': {
        const { values, left, right } = await this.#svd();
        const b = await this.#unwhitenRight(rowsOf(right, rank));
        const a = await this.#unwhitenLeft(scaled(columnsOf(left, rank), values));
        return balanced([b, a]);
      }
      case 'spatial': {
        const { svd: parts, input } = await this.#spatialSvd();
        const whitened = rowsOf(parts.right, rank);
        const b = input === undefined ? whitened : await input.timesInverse(whitened);
        return balanced([b, await this.#refit(this.#weight, this.#spread(b, rank))]);
      }
      case 'tucker': {
        const { input, root } = await this.#inputModes();
        const whitened = rowsOf(input.right, rank);
        const v = root === undefined ? whitened : await root.timesInverse(whitened);
        const basis = columnsOf((await this.#svd()).left, second);
        const target = await matmul(basis, await this.#leftWhiten(this.#weight), { transposeA: true });
        const core = await this.#refit(target, channelSpread(v, taps(this.#size.kernel)));
        return balanced([v, core, await this.#unwhitenLeft(basis)]);
      }
    }
  }

  /** X with the least (Y − X T) G (Y − X T)ᵀ. */
  async #refit(y: Matrix, t: Matrix): Promise<Matrix> {
    const n = t.columns;
    const tg = this.#gram === undefined ? t : await matmul(t, { rows: n, columns: n, data: this.#gram });
    const system = await matmul(tg, t, { transposeB: true });
    const right = await matmul(y, tg, { transposeB: true });
    return solveRight(right, Float64Array.from(system.data), t.rows);
  }

  #svd(): Promise<Svd> {
    this.#whole ??= this.#whiten(this.#weight).then(svd);
    return this.#whole;
  }

  /** Of the matrix (outputs, width) x (inputs, height), by the marginal of the inputs over the columns of the window. */
  #spatialSvd(): Promise<{ readonly svd: Svd; readonly input: MetricRoot | undefined }> {
    this.#spatial ??= (async () => {
      const { inputs, outputs, kernel } = this.#size;
      const [height = 1, width = 1] = kernel;
      const left = await this.#leftWhiten(this.#weight);
      const rows = outputs * width;
      const columns = inputs * height;
      const data = new Float64Array(rows * columns);
      for (let o = 0; o < outputs; o += 1)
        for (let ci = 0; ci < columns; ci += 1)
          for (let j = 0; j < width; j += 1)
            data[(o * width + j) * columns + ci] = left.data[(o * columns + ci) * width + j] as number;
      const matrix = { rows, columns, data };
      const gram = this.#gram && marginal(this.#gram, { outer: columns, inner: width });
      const input = gram && (await MetricRoot.of(gram, columns, 0));
      return { svd: await svd(input === undefined ? matrix : await input.times(matrix)), input };
    })();
    return this.#spatial;
  }

  /** The input channels' side of the weight as (outputs, taps) x inputs. */
  #inputModes(): Promise<{ readonly input: Svd; readonly root: MetricRoot | undefined }> {
    this.#modes ??= (async () => {
      const { inputs, outputs, kernel } = this.#size;
      const size = taps(kernel);
      const left = await this.#leftWhiten(this.#weight);
      const data = new Float64Array(left.data.length);
      for (let o = 0; o < outputs; o += 1)
        for (let c = 0; c < inputs; c += 1)
          for (let t = 0; t < size; t += 1)
            data[(o * size + t) * inputs + c] = left.data[(o * inputs + c) * size + t] as number;
      const gram = this.#gram && marginal(this.#gram, { outer: inputs, inner: size });
      const root = gram && (await MetricRoot.of(gram, inputs, 0));
      const matrix = { rows: outputs * size, columns: inputs, data };
      return { input: await svd(root === undefined ? matrix : await root.times(matrix)), root };
    })();
    return this.#modes;
  }

  /** A kernel height x 1 of R channels as a matrix (R, width) x (inputs, height, width): what it makes at each column. */
  #spread(first: Matrix, rank: number): Matrix {
    const [height = 1, width = 1] = this.#size.kernel;
    const columns = this.#size.inputs * height;
    const data = new Float64Array(rank * width * columns * width);
    for (let r = 0; r < rank; r += 1)
      for (let j = 0; j < width; j += 1) {
        const row = (r * width + j) * columns * width;
        for (let ci = 0; ci < columns; ci += 1)
          data[row + ci * width + j] = first.data[r * columns + ci] as number;
      }
    return { rows: rank * width, columns: columns * width, data };
  }

  async #whiten(a: Matrix): Promise<Matrix> {
    const left = await this.#leftWhiten(a);
    return this.#input === undefined ? left : await this.#input.times(left);
  }

  async #leftWhiten(a: Matrix): Promise<Matrix> {
    return this.#output === undefined ? a : await this.#output.transposeTimes(a);
  }

  async #unwhitenLeft(a: Matrix): Promise<Matrix> {
    return this.#output === undefined ? a : await this.#output.inverseTransposeTimes(a);
  }

  async #unwhitenRight(a: Matrix): Promise<Matrix> {
    return this.#input === undefined ? a : await this.#input.timesInverse(a);
  }
}

/**
 * W (C + δ I) (G + δ I)⁻¹: what gives from the inputs of now what W gave from those of before. Without a change of the inputs this is W,
 * and the fewer samples there are for the inputs, the less it moves away from it.
 */
async function fitted(weight: Matrix, { gram, size, count }: Moments, cross: Float64Array): Promise<Matrix> {
  const [damped, system] = [cross.slice(), gram.slice()];
  let trace = 0;
  for (let i = 0; i < size; i += 1) trace += gram[i * size + i] as number;
  const ridge = Math.max(INPUT_DAMPING, size / Math.max(1, count)) * (trace / size || 1);
  for (let i = 0; i < size; i += 1) {
    const at = i * size + i;
    damped[at] = (damped[at] as number) + ridge;
    system[at] = (system[at] as number) + ridge;
  }
  const target = await matmul(weight, { rows: size, columns: size, data: damped });
  return solveRight(target, system, size);
}

/** diag over the inner places, summed: of x (outer, inner) the Gram matrix of the outer part. */
function marginal(
  gram: Float64Array,
  { outer, inner }: { readonly outer: number; readonly inner: number },
): Float64Array {
  const n = outer * inner;
  const out = new Float64Array(outer * outer);
  for (let i = 0; i < outer; i += 1)
    for (let j = 0; j < outer; j += 1) {
      let sum = 0;
      for (let t = 0; t < inner; t += 1) sum += gram[(i * inner + t) * n + j * inner + t] as number;
      out[i * outer + j] = sum;
    }
  return out;
}

/** A matrix rank x inputs as (rank, taps) x (inputs, taps): the same at each tap. */
function channelSpread({ rows, columns, data }: Matrix, size: number): Matrix {
  const out = new Float64Array(rows * size * columns * size);
  for (let r = 0; r < rows; r += 1)
    for (let t = 0; t < size; t += 1) {
      const row = (r * size + t) * columns * size;
      for (let c = 0; c < columns; c += 1) out[row + c * size + t] = data[r * columns + c] as number;
    }
  return { rows: rows * size, columns: columns * size, data: out };
}

function scaled({ rows, columns, data }: Matrix, factors: Float64Array): Matrix {
  const out = new Float64Array(data.length);
  for (let i = 0; i < rows; i += 1)
    for (let j = 0; j < columns; j += 1)
      out[i * columns + j] = (data[i * columns + j] as number) * (factors[j] ?? 0);
  return { rows, columns, data: out };
}

/** Brings factors to one root mean square, so that half precision holds each as well as the others. */
function balanced(factors: readonly Matrix[]): Matrix[] {
  const sizes = factors.map(({ data }) => norm2(data) / Math.sqrt(Math.max(1, data.length)));
  if (sizes.some((size) => !(size > 0))) return [...factors];
  const even = Math.exp(sizes.reduce((sum, size) => sum + Math.log(size), 0) / sizes.length);
  return factors.map((factor, i) => {
    const gain = even / (sizes[i] as number);
    return { ...factor, data: Float64Array.from(factor.data, (value) => value * gain) };
  });
}
