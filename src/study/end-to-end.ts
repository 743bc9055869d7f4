import { spectrumMetrics } from '../analysis/spectra/metrics.js';
import { type Model, ModelError } from '../graph/index.js';
import { type Matrix, matmul } from '../linalg/index.js';
import { smallSingularValues } from '../linalg/kernels/index.js';

/** The one matrix, outputs x inputs, that the layers of a linear MLP without biases multiply out to, in float64. */
export async function endToEnd(model: Model): Promise<Matrix> {
  let product: Matrix | undefined;
  for (const { shape, data } of layersOf(model)) {
    const [rows = 0, columns = 0] = shape;
    const layer = { rows, columns, data };
    product = product === undefined ? layer : await matmul(layer, product);
  }
  if (product === undefined) throw new ModelError('the network has no layers');
  return product;
}

function* layersOf(model: Model): Generator<{ shape: readonly number[]; data: Float64Array }> {
  for (const node of model.graph.nodes) {
    const weight = model.graph.initializers.get(node.inputs[1] ?? '');
    if (node.opType !== 'Gemm' || weight === undefined || node.inputs.length > 2)
      throw new ModelError(`${node.opType} '${node.label}' is no linear layer without a bias`);
    yield { shape: weight.shape, data: Float64Array.from(weight.array() as Float32Array) };
  }
}

/** Singular values, descending. */
export function singularValuesOf({ rows, columns, data }: Matrix): Float64Array {
  return smallSingularValues(Float64Array.from(data), rows, columns).sort().reverse();
}

/** The entropy of a matrix's singular values, in nats, and its exponential. */
export function rankOfMatrix(matrix: Matrix): {
  readonly spectralEntropy: number;
  readonly effectiveRank: number;
} {
  const { rows, columns } = matrix;
  // Jacobi resolves all of them.
  const { spectralEntropy, effectiveRank } = spectrumMetrics(singularValuesOf(matrix), {
    rows,
    columns,
    resolution: 0,
  });
  return { spectralEntropy, effectiveRank };
}
