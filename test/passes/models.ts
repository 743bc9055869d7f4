import {
  type AttributeValue,
  type FloatType,
  type Model,
  modelToBytes,
  type NodeSpec,
  narrow,
  readModel,
  Tensor,
} from '../../src/graph/index.js';
import { Random } from '../../src/runtime/random.js';
import { buildModel, type ModelSpec } from '../support/build.js';

/** A seeded weight of variance 1 / (its columns). */
export function weight(
  name: string,
  shape: readonly number[],
  type: FloatType = 'float32',
  scale = 1,
): Tensor {
  const size = shape.reduce((product, dim) => product * dim, 1);
  const fan = Math.max(
    1,
    shape.slice(1).reduce((product, dim) => product * dim, 1),
  );
  const values = new Random(7, name).fillNormal(new Float64Array(size));
  return Tensor.of(
    name,
    type,
    shape,
    narrow(
      type,
      values.map((value) => (scale * value) / Math.sqrt(fan)),
    ),
  );
}

/** A weight of a given rank: exactly in float64, to the rounding of its elements in float32. */
export function lowRank(
  name: string,
  rows: number,
  columns: number,
  rank: number,
  type: 'float32' | 'float64' = 'float32',
): Tensor {
  const random = new Random(11, name);
  const short = (value: number): number => Math.round(16 * value) / 16;
  const left = random.fillNormal(new Float64Array(rows * rank)).map(short);
  const right = random.fillNormal(new Float64Array(rank * columns)).map(short);
  const data = Float64Array.from({ length: rows * columns }, (_, at) => {
    const [i, j] = [Math.floor(at / columns), at % columns];
    let sum = 0;
    for (let l = 0; l < rank; l += 1) sum += left[i * rank + l]! * right[l * columns + j]!;
    return sum;
  });
  return Tensor.of(name, type, [rows, columns], narrow(type, data));
}

export interface Layer {
  readonly opType: 'Gemm' | 'MatMul' | 'Conv' | 'ConvTranspose';
  readonly x: readonly number[];
  readonly y: readonly number[];
  readonly weight: Tensor;
  readonly bias?: Tensor | undefined;
  readonly isWeightLeft?: boolean;
  readonly attributes?: Readonly<Record<string, AttributeValue>>;
}

/** A model of one linear node, `layer`, between the input x and the output y. */
export function oneLayer(layer: Layer, rest: Partial<ModelSpec> = {}): Model {
  const { weight: w, bias } = layer;
  const type = w.dataType;
  return buildModel({
    inputs: [['x', type, layer.x]],
    outputs: [['y', type, layer.y]],
    nodes: [
      {
        opType: layer.opType,
        name: 'layer',
        inputs: [...(layer.isWeightLeft ? [w.name, 'x'] : ['x', w.name]), ...(bias ? [bias.name] : [])],
        outputs: ['y'],
        attributes: layer.attributes ?? {},
      },
    ],
    initializers: [w, ...(bias ? [bias] : [])],
    ...rest,
  });
}

/** Gemm, MatMul and Conv nodes one behind the other, with what stands between them. */
export function stack(
  x: readonly (number | string)[],
  nodes: readonly NodeSpec[],
  initializers: readonly Tensor[],
  rest: Partial<ModelSpec> = {},
): Model {
  return buildModel({
    inputs: [['x', 'float32', x]],
    outputs: [['y', 'float32']],
    nodes,
    initializers,
    ...rest,
  });
}

export function copyOf(model: Model): Promise<Model> {
  return readModel(modelToBytes(model));
}

export function opsOf(model: Model): string[] {
  return model.graph.nodes.map((node) => node.opType);
}

export function valuesOf(model: Model, name: string): Float32Array | Float64Array {
  const tensor = model.graph.initializers.get(name);
  if (tensor === undefined) throw new Error(`no initializer '${name}'`);
  return tensor.floats();
}

/** ‖a - b‖ / ‖a‖. */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let difference = 0;
  let square = 0;
  for (let i = 0; i < a.length; i += 1) {
    difference += (a[i]! - b[i]!) ** 2;
    square += a[i]! ** 2;
  }
  return a.length !== b.length ? Number.POSITIVE_INFINITY : Math.sqrt(difference / (square || 1));
}
