import type { ConstantValue, KnownConstants, Node } from '../../graph/index.js';
import { type Floats, swapped } from '../../linalg/floats.js';
import { evaluateConstant } from '../../runtime/constants/constant.js';
import { isNumber, isZero, readVector } from '../map/channel-vector.js';
import type { Geometry } from '../map/geometry.js';
import { identityAt, wrongAxis } from '../map/place.js';
import type { AffineValues, MatrixLayout } from '../map/values.js';
import { type Refusal, refuse } from '../refusal.js';
import type { MapOperator, Mixing } from '../rule.js';
import { biasOf, elements, floatOperand, withBias } from './operand.js';

interface Product {
  readonly node: Node;
  readonly input: string;
  /** On axis 'last' the data stands on the left of the weight: x W; on 'left' on its right: W x. */
  readonly mixing: Mixing;
  /** How the weight stands: rows are outputs, or inputs. */
  readonly layout: MatrixLayout;
  readonly isInputTransposed?: boolean;
  /** Of a batch of matrices: how many, axis by axis. */
  readonly batch?: readonly number[];
}

export function gemm(node: Node, constants: KnownConstants): MapOperator | Refusal {
  const weight = floatOperand(node, 1, constants);
  if ('kind' in weight) return weight;
  if (weight.shape.length !== 2) return notTwo(node, weight);
  const { attributes } = node;
  const layout = attributes.int('transB', 0) === 1 ? 'out-in' : 'in-out';
  const outputs = weight.shape[layout === 'out-in' ? 0 : 1] ?? 0;
  const [alpha, beta] = [attributes.float('alpha', 1), attributes.float('beta', 1)];
  return product({
    node,
    input: node.inputs[0] ?? '',
    mixing: { weight, axis: 'last', ...biasOf(node, weight, outputs, constants), alpha, beta },
    layout,
    isInputTransposed: attributes.int('transA', 0) === 1,
  });
}

export function matmul(node: Node, constants: KnownConstants): MapOperator | Refusal | undefined {
  const [left, right] = [floatOperand(node, 0, constants), floatOperand(node, 1, constants)];
  const isRight = !('kind' in right);
  // With two constants it is one itself; with none it is a product of two values.
  if (isRight === !('kind' in left)) return undefined;
  const weight = isRight ? right : left;
  if ('kind' in weight) return undefined;
  return weight.shape.length === 2 ? matmulBy(node, weight, isRight) : notTwo(node, weight);
}

/** A MatMul with a batch of constant matrices, each of which multiplies a part of the input of its own. */
export function batchedMatmul(node: Node, weight: ConstantValue, isRight: boolean): MapOperator {
  return matmulBy(node, weight, isRight, weight.shape.slice(0, -2));
}

function matmulBy(
  node: Node,
  weight: ConstantValue,
  isRight: boolean,
  batch?: readonly number[],
): MapOperator {
  return product({
    node,
    input: node.inputs[isRight ? 0 : 1] ?? '',
    mixing: { weight, axis: isRight ? 'last' : 'left', bias: undefined, alpha: 1, beta: 1 },
    layout: isRight ? 'in-out' : 'out-in',
    ...(batch && { batch }),
  });
}

function notTwo(node: Node, { shape }: ConstantValue): Refusal {
  return refuse('operand', `'${node.label}' has a weight of shape [${shape.join(', ')}], not two dimensions`);
}

function product(own: Product): MapOperator {
  const { node, input, mixing, layout, isInputTransposed = false, batch } = own;
  const { weight, axis, bias, openBias, alpha, beta } = mixing;
  const [rows = 0, columns = 0] = weight.shape.slice(-2);
  const groups = batch?.reduce((count, dim) => count * dim, 1) ?? 1;
  const [perOutput, perInput] = layout === 'out-in' ? [rows, columns] : [columns, rows];
  const [inputs, outputs] = [perInput * groups, perOutput * groups];
  return {
    node,
    data: [input],
    constants: withBias(mixing),
    mixing,
    channels: inputs,
    details: {
      factors: { weight, axis, alpha, layout, isInputTransposed, batch },
      summands: { bias, openBias, beta },
    },
    geometry: (_, place) => {
      const { axes, rank, frame } = place;
      if (!axes.has(axis) || (node.is('Gemm') && rank !== undefined && rank !== 2)) return wrongAxis(node);
      if ((batch ?? []).join() !== (frame.batch ?? []).join())
        return refuse(
          'operand',
          `'${node.label}' has batches of another shape, [${(batch ?? []).join(', ')}]`,
        );
      // A Gemm that must have a bias may have one zero.
      const hasBias = bias !== undefined && !(isNumber(bias) && isZero(bias));
      return {
        ...identityAt(place, inputs),
        outputs,
        groups,
        hasBias,
        isShifted: hasBias,
        isOpen: openBias !== undefined,
        isTransposed: isInputTransposed,
      };
    },
    values: (geometry, { isUnscaled }) => productValues(own, geometry, isUnscaled ? 1 : alpha),
    work: () => elements(weight) / groups,
  };
}

async function productValues(
  { mixing, layout, batch }: Product,
  geometry: Geometry,
  alpha: number,
): Promise<AffineValues> {
  const { weight, bias: own, beta } = mixing;
  const { groups, inputs, outputs, hasBias } = geometry;
  const bias = own && hasBias ? (await readVector(own, outputs)).map((value) => beta * value) : undefined;
  const tensor = await evaluateConstant(weight.graph, weight.value);
  if (batch !== undefined) {
    const stored = tensor.floats();
    const kernel = layout === 'out-in' ? stored : swapped(stored, groups, inputs / groups, outputs / groups);
    return { geometry, kernel, layout: 'out-in', bias };
  }
  if (alpha !== 1)
    return { geometry, kernel: Float64Array.from(tensor.floats(), (value) => alpha * value), layout, bias };
  const columns = layout === 'out-in' ? inputs : outputs;
  let kernel: Floats | undefined;
  return {
    geometry,
    layout,
    bias,
    // A large one that is multiplied row by row is never read as a whole.
    get kernel() {
      kernel ??= tensor.floats();
      return kernel;
    },
    rows: (start, count) =>
      kernel?.subarray(start * columns, (start + count) * columns) ??
      tensor.floats(start * columns, count * columns),
  };
}
