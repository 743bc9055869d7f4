import type { EmbeddingMetrics } from '../analysis/embeddings/embedding-metrics.js';
import { embeddingMetrics } from '../analysis/embeddings/embedding-metrics.js';
import { type Model, ModelError, traitsOf } from '../graph/index.js';
import { gram, type Matrix } from '../linalg/index.js';
import { symmetricEigen, symmetricEigenvalues } from '../linalg/kernels/index.js';
import { openSession, type RuntimeTensor } from '../runtime/index.js';
import { partOf } from '../runtime/session/part.js';
import type { RunPictures } from './study.js';

/**
 * A value of an MLP for some samples, samples x features.
 *
 * @param value its name; default the first output
 */
export async function valueFor(model: Model, inputs: RuntimeTensor, value?: string): Promise<Matrix> {
  const name = value ?? model.graph.outputs[0]?.name ?? '';
  const part = value === undefined ? model : partOf(model, [value]);
  await using session = await openSession(part, { threads: 1 });
  const { [name]: tensor } = await session.run({ [part.graph.inputs[0]?.name ?? 'x']: inputs });
  if (tensor === undefined || !(tensor.data instanceof Float32Array))
    throw new ModelError(`'${name}' is no tensor of float32`);
  const [rows = 0] = tensor.shape;
  return { rows, columns: tensor.data.length / Math.max(1, rows), data: Float64Array.from(tensor.data) };
}

/** What the last layer of a network reads: the penultimate features. */
export function penultimate(model: Model): string {
  const last = model.graph.nodes.findLast((node) => traitsOf(node).matrices !== undefined)?.inputs[0];
  if (last === undefined) throw new ModelError('the network has no linear layers', { file: model.path });
  return last;
}

/** The figures of embeddings, samples x features. Undefined where they are not finite. */
export async function embeddingFigures(
  embeddings: Matrix,
  labels?: ArrayLike<number>,
): Promise<EmbeddingMetrics | undefined> {
  if (!embeddings.data.every(Number.isFinite)) return undefined;
  const { rows, columns } = embeddings;
  const classes = labels && { of: labels, count: Math.max(...Array.from(labels)) + 1 };
  return embeddingMetrics(await gram(embeddings, 'rows'), rows, columns, classes);
}

/** The kernel 1 - cos(h_i, h_j) of embeddings and its spectrum, as the pages draw them. */
export async function kernelPictures(
  embeddings: Matrix,
  name: string,
  labels?: ArrayLike<number>,
): Promise<RunPictures> {
  const { rows: n } = embeddings;
  const products = await gram(embeddings, 'rows');
  const norms = Float64Array.from({ length: n }, (_, i) => Math.sqrt(products[i * (n + 1)] as number) || 1);
  const cosines = products.map(
    (value, at) => value / ((norms[Math.floor(at / n)] as number) * (norms[at % n] as number)),
  );
  const order = labels === undefined ? clustered(cosines, n) : byClass(labels, n);
  const bytes = Uint8Array.from({ length: n * n }, (_, at) => {
    const cosine = cosines[(order[Math.floor(at / n)] as number) * n + (order[at % n] as number)] as number;
    return Math.round((Math.max(0, Math.min(2, 1 - cosine)) / 2) * 255);
  });
  const distances = cosines.map((value, at) => (at % (n + 1) === 0 ? 0 : 1 - value));
  const spectrum = [...symmetricEigenvalues(distances, n)].map(Math.abs).sort((a, b) => b - a);
  return {
    kernels: { [name]: { ...shrunk(bytes, n), top: 2 } },
    spectra: {
      [name]: spectrum
        .slice(0, SHOWN)
        .filter((value) => value > NOISE * (spectrum[0] as number))
        .map((value) => Number(value.toPrecision(5))),
    },
  };
}

/** Rows of a picture; larger kernels are drawn by means of squares, so that files of runs stay small. */
const MOST_ROWS = 64;

/** A square of bytes of at most so many rows. */
function shrunk(bytes: Uint8Array, n: number): { readonly size: number; readonly bytes: string } {
  const step = Math.max(1, Math.ceil(n / MOST_ROWS));
  const size = Math.ceil(n / step);
  const small = Uint8Array.from({ length: size * size }, (_, at) => {
    const [row, column] = [step * Math.floor(at / size), step * (at % size)];
    const [bottom, right] = [Math.min(n, row + step), Math.min(n, column + step)];
    let sum = 0;
    for (let i = row; i < bottom; i += 1)
      for (let j = column; j < right; j += 1) sum += bytes[i * n + j] as number;
    return Math.floor(sum / ((bottom - row) * (right - column)));
  });
  return { size, bytes: Buffer.from(small).toString('base64') };
}

/** Eigenvalues of a kernel that are drawn. */
const SHOWN = 64;
/** Below this share of the largest they are rounding of float32. */
const NOISE = 1e-7;

function byClass(labels: ArrayLike<number>, n: number): number[] {
  return Array.from({ length: n }, (_, i) => i).sort(
    (a, b) => (labels[a] as number) - (labels[b] as number) || a - b,
  );
}

/** Samples along the first principal component of their directions, so that alike ones stand together. */
function clustered(cosines: Float64Array, n: number): number[] {
  const means = Float64Array.from({ length: n }, (_, i) => {
    let sum = 0;
    for (let j = 0; j < n; j += 1) sum += cosines[i * n + j] as number;
    return sum / n;
  });
  const mean = means.reduce((sum, value) => sum + value, 0) / n;
  const centred = cosines.map(
    (value, at) => value - (means[Math.floor(at / n)] as number) - (means[at % n] as number) + mean,
  );
  const { vectors } = symmetricEigen(centred, n);
  const first = vectors.subarray((n - 1) * n, n * n);
  return Array.from({ length: n }, (_, i) => i).sort((a, b) => (first[a] as number) - (first[b] as number));
}

/** The mean of the squared differences of outputs from targets. */
export function meanSquare(outputs: Matrix, targets: RuntimeTensor): number {
  const { data } = outputs;
  const wanted = targets.data as Float32Array;
  let sum = 0;
  for (let i = 0; i < data.length; i += 1) sum += ((data[i] as number) - (wanted[i] as number)) ** 2;
  return sum / data.length;
}

/** A tensor of samples x features as a matrix. */
export function matrixOf({ shape, data }: RuntimeTensor): Matrix {
  const [rows = 0] = shape;
  const values = Float64Array.from(data as Float32Array);
  return { rows, columns: values.length / Math.max(1, rows), data: values };
}

/** The share of rows whose largest value stands at its label. */
export function accuracyOf({ columns, data }: Matrix, labels: readonly number[]): number {
  const right = labels.filter((label, i) => {
    const row = [...data.subarray(i * columns, (i + 1) * columns)];
    return row.indexOf(Math.max(...row)) === label;
  });
  return right.length / labels.length;
}
