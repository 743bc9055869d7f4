import {
  type FloatType,
  type Model,
  type NativeArrays,
  type Node,
  narrow,
  Tensor,
  ValueInfo,
  widen,
} from '../../graph/index.js';
import { buildModel } from '../../runtime/build.js';
import { evaluateConstant } from '../../runtime/constant.js';
import { Random } from '../../runtime/random.js';
import { openSession, type RuntimeTensor, type SessionOptions } from '../../runtime/session.js';
import { opsetsOf } from '../placement.js';
import { foldedNodes, foldedValues } from './fold.js';
import { gridOf } from './geometry.js';
import type { Region } from './region.js';
import { RELABELLING } from './relabel.js';

type Place = Pick<SessionOptions, 'providers' | 'device'>;

/** How a region's nodes and what they become compare on one random input. */
export interface Probe {
  /** Shape of the input. */
  readonly shape: readonly number[];
  /** max |Δ| / max |y|. */
  readonly relativeDifference: number;
}

const BATCH = 2;

/**
 * Runs a region's nodes and the node that they would become in onnxruntime, on the same normal random input: a batch
 * of two, with odd sizes along windows. Whatever the place has no kernel for, the CPU runs.
 * BatchNormalization runs in inference form. Call it before foldRegion.
 *
 * @throws ModelError where onnxruntime does not run an operator in the region's element type
 */
export async function probeRegion(region: Region, place: Place = {}, seed = 0): Promise<Probe> {
  const { source, output, frame, nodes, graph } = region;
  const shape = inputShape(region);
  const size = shape.reduce((product, dim) => product * dim, 1);
  const values = new Random(seed, output).fillNormal(new Float64Array(size));
  const feed: RuntimeTensor = { type: frame.type, shape, data: narrow(frame.type, values) };
  const opset = opsetsOf(graph);
  const inputs = [ValueInfo.tensor(source, frame.type, shape)];
  const made = new Set(nodes.flatMap((node) => node.outputs));
  const constants = new Set(
    nodes
      .flatMap((node) => node.inputs)
      .filter((input) => input !== '' && input !== source && !made.has(input)),
  );
  const initializers: Tensor[] = [];
  for (const name of constants) initializers.push(await evaluateConstant(graph, name));
  const original = buildModel({
    nodes: nodes.map(forInference),
    inputs,
    outputs: [output],
    initializers,
    opset,
  });

  const folded = await foldedValues(region);
  const tensor = (name: string, dims: readonly number[], data: Float32Array | Float64Array): Tensor =>
    Tensor.of(name, frame.type, dims, narrow(frame.type, data));
  const fresh = (base: string): string => `probe/${base}`;
  const names = { weight: 'probe/weight', bias: folded.bias && 'probe/bias', fresh };
  const { outputs } = region.plan.geometry;
  const rewritten = buildModel({
    nodes: foldedNodes(region, folded, names, 'probe'),
    inputs,
    outputs: [output],
    initializers: [
      tensor('probe/weight', folded.shape, folded.weight),
      ...(folded.bias
        ? [tensor('probe/bias', frame.axis === 'left' ? [outputs, 1] : [outputs], folded.bias)]
        : []),
    ],
    opset,
  });
  const [before, after] = [
    await run(original, source, feed, place),
    await run(rewritten, source, feed, place),
  ];
  return { shape, relativeDifference: difference(floatsOf(before[output]), floatsOf(after[output])) };
}

/**
 * As written: onnxruntime's own rewriting would fuse some of the same nodes (and multiplies float64 by float32, or
 * makes pads that it refuses then: MatMulScaleFusion and PadFusion of 1.30).
 */
async function run(
  model: Model,
  source: string,
  feed: RuntimeTensor,
  place: Place,
): Promise<Record<string, RuntimeTensor>> {
  await using session = await openSession(model, { ...place, optimization: 'disabled' });
  return await session.run({ [source]: feed });
}

/** A node as it runs in inference: without outputs that only training makes. */
function forInference(node: Node): Node['proto'] {
  if (!node.is('BatchNormalization')) return node.proto;
  const attribute = (node.proto.attribute ?? []).filter(
    ({ name }) => name !== 'training_mode' && name !== 'is_test',
  );
  return { ...node.proto, attribute, output: node.outputs.slice(0, 1) };
}

/** Where axes are relabelled sizes may have to be what they are. */
function inputShape(region: Region): number[] {
  const { shape, nodes } = region;
  const chosen = freeShape(region);
  if (!nodes.some((node) => node.is(...RELABELLING))) return chosen;
  return chosen.map((size, axis) => {
    const known = shape?.[axis];
    return typeof known === 'number' ? known : size;
  });
}

function freeShape({ frame, plan }: Region): number[] {
  const { inputs, isTransposed, stride } = plan.geometry;
  if (frame.axis === 'channel') {
    const { extents, dilations } = gridOf(plan.geometry);
    const sizes = extents.map((extent, axis) => {
      const least = (extent - 1) * (dilations[axis] ?? 1) + 2 * (stride[axis] ?? 1);
      return Math.max(11 + 2 * axis, least + ((least + 1) % 2));
    });
    return [BATCH, inputs, ...sizes];
  }
  if (isTransposed) return [inputs, BATCH];
  const rank = Math.max(2, frame.rank ?? (frame.axis === 'left' ? 3 : 2));
  const outer = [BATCH, ...Array.from({ length: rank - 2 }, (_, axis) => 3 + 2 * axis)];
  return frame.axis === 'last' ? [...outer, inputs] : [...outer.slice(0, -1), inputs, 5];
}

function floatsOf(tensor: RuntimeTensor | undefined): Float32Array | Float64Array {
  if (tensor === undefined || !ArrayBuffer.isView(tensor.data))
    throw new Error('onnxruntime returned no output');
  return widen(tensor.type as FloatType, tensor.data as NativeArrays[FloatType]);
}

/** max |a - b| / max |a|; infinite where the sizes differ. */
function difference(a: Float32Array | Float64Array, b: Float32Array | Float64Array): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let most = 0;
  let largest = 0;
  for (let i = 0; i < a.length; i += 1) {
    most = Math.max(most, Math.abs((a[i] as number) - (b[i] as number)));
    largest = Math.max(largest, Math.abs(a[i] as number));
  }
  return most === 0 ? 0 : most / largest;
}
