import { gridOf } from '../../affine/map/geometry.js';
import type { Region } from '../../affine/match/region.js';
import {
  type FloatType,
  type Graph,
  type Model,
  type NativeArrays,
  type Node,
  type NodeSpec,
  narrow,
  Tensor,
  ValueInfo,
  widen,
} from '../../graph/index.js';
import { opsetsOf } from '../../graph/opsets.js';
import { RELABELLING } from '../../graph/shapes/relabelling.js';
import type { Floats } from '../../linalg/floats.js';
import { evaluateConstant } from '../../runtime/constants/constant.js';
import { Random } from '../../runtime/random.js';
import { openSession } from '../../runtime/session/session.js';
import { buildModel } from '../../runtime/session/small-model.js';
import type { RuntimeTensor, SessionOptions } from '../../runtime/types.js';
import { type Product, Products } from './product.js';
import { foldedNodes } from './write.js';

/** Where probes run. */
export type ProbePlace = Pick<SessionOptions, 'providers' | 'device'>;

const BATCH = 2;

/** How a region's nodes and what they become compare on one random input. */
export interface Probe {
  /** Shape of the input. */
  readonly shape: readonly number[];
  /** max |Δ| / max |y|. */
  readonly relativeDifference: number;
}

/**
 * Runs a region's nodes and the node that they would become in onnxruntime, on the same normal random input: a batch
 * of two, with odd sizes along windows. Whatever the place has no kernel for, the CPU runs.
 * BatchNormalization runs in inference form. Call it before foldRegion.
 *
 * @param computed what the region multiplies out to, if that is known already
 *
 * @throws ModelError where onnxruntime does not run an operator in the region's element type
 */
export async function probeRegion(
  region: Region,
  place: ProbePlace = {},
  seed = 0,
  computed?: Product,
): Promise<Probe> {
  const { source, output, frame, nodes, graph } = region;
  const shape = inputShape(region);
  const { composition, weight } = computed ?? (await new Products().of(region));
  const tensor = (name: string, dims: readonly number[], data: Floats): Tensor =>
    Tensor.of(name, frame.type, dims, narrow(frame.type, data));
  let count = 0;
  const fresh = (base: string): string => {
    count += 1;
    return `probe/${count}/${base}`;
  };
  const constants = [weight.renamed('probe/weight')];
  const { bias } = composition;
  if (bias?.kind === 'new') constants.push(tensor('probe/bias', bias.shape, bias.values));
  // A bias that differs from row to row, or is computed, stays as it is: the same number stands for it in both.
  if (bias?.kind === 'kept' && region.kept.bias?.constant === undefined && region.kept.bias !== undefined)
    constants.push(tensor(bias.value, [1], new Float64Array(1)));
  const comparison = {
    graph,
    source,
    output,
    type: frame.type,
    shape,
    before: nodes,
    after: foldedNodes(region, composition, {
      node: 'probe',
      weight: 'probe/weight',
      bias: bias && (bias.kind === 'new' ? 'probe/bias' : bias.value),
      fresh,
    }),
    constants,
  };
  return { shape, relativeDifference: await compareNodes(comparison, place, seed) };
}

/** Where axes are relabelled sizes may have to be what they are. */
function inputShape(region: Region): number[] {
  const { shape, nodes, head } = region;
  if (head.length > 0) return arrangedShape(region);
  const chosen = freeShape(region);
  if (!nodes.some((node) => node.is(...RELABELLING))) return chosen;
  return chosen.map((size, axis) => {
    const known = shape?.[axis];
    return typeof known === 'number' ? known : size;
  });
}

/** Of a source that is given other axes first: what the graph does not tell makes up for the channels. */
function arrangedShape({ shape = [], expression, frame }: Region): number[] {
  const [, ...rest] = shape;
  if (frame.axis === 'channel')
    return shape.map((size, axis) => (typeof size === 'number' ? size : 2 + 9 * axis));
  const known = rest.reduce<number>((product, size) => product * (typeof size === 'number' ? size : 1), 1);
  let missing = expression.geometry.inputs / known;
  return shape.map((size, axis) => {
    if (typeof size === 'number') return size;
    if (axis === 0) return BATCH;
    const chosen = missing;
    missing = 1;
    return chosen;
  });
}

function freeShape({ frame, expression }: Region): number[] {
  const { inputs, isTransposed, stride, groups, upsampling } = expression.geometry;
  if (frame.axis === 'channel') {
    const { extents, dilations } = gridOf(expression.geometry);
    const sizes = extents.map((extent, axis) => {
      if (upsampling !== undefined) return 11 + 2 * axis;
      const least = (extent - 1) * (dilations[axis] ?? 1) + 2 * (stride[axis] ?? 1);
      return Math.max(11 + 2 * axis, least + ((least + 1) % 2));
    });
    return [BATCH, inputs, ...sizes];
  }
  if (isTransposed) return [inputs, BATCH];
  if (frame.batch !== undefined) {
    const own = inputs / groups;
    return [...frame.batch, ...(frame.axis === 'last' ? [3, own] : [own, 5])];
  }
  const rank = Math.max(2, frame.rank ?? (frame.axis === 'left' ? 3 : 2));
  const outer = [BATCH, ...Array.from({ length: rank - 2 }, (_, axis) => 3 + 2 * axis)];
  return frame.axis === 'last' ? [...outer, inputs] : [...outer.slice(0, -1), inputs, 5];
}

/** Nodes and what they would become, which read the same value and make the same. */
interface Comparison {
  readonly graph: Graph;
  readonly source: string;
  readonly output: string;
  readonly type: FloatType;
  /** Of the source. */
  readonly shape: readonly number[];
  readonly before: readonly Node[];
  readonly after: readonly NodeSpec[];
  /** Constants that only `after` reads, and what stands in for values that are no constants. */
  readonly constants: readonly Tensor[];
}

/** Runs both in onnxruntime on the same normal random input; max |Δ| / max |y|. */
async function compareNodes(
  { graph, source, output, type, shape, before, after, constants }: Comparison,
  place: ProbePlace = {},
  seed = 0,
): Promise<number> {
  const size = shape.reduce((product, dim) => product * dim, 1);
  const values = new Random(seed, output).fillNormal(new Float64Array(size));
  const feed: RuntimeTensor = { type, shape, data: narrow(type, values) };
  const given = new Map(constants.map((tensor) => [tensor.name, tensor]));
  const modelOf = async (
    nodes: readonly (Node['proto'] | NodeSpec)[],
    read: readonly string[],
    made: ReadonlySet<string>,
  ): Promise<Model> => {
    const initializers: Tensor[] = [];
    for (const name of new Set(read)) {
      if (name === '' || name === source || made.has(name)) continue;
      initializers.push(given.get(name) ?? (await evaluateConstant(graph, name)));
    }
    const inputs = [ValueInfo.tensor(source, type, shape)];
    return buildModel({ nodes, inputs, outputs: [output], initializers, opset: opsetsOf(graph) });
  };
  const original = await modelOf(
    before.map(forInference),
    before.flatMap((node) => node.inputs),
    new Set(before.flatMap((node) => node.outputs)),
  );
  const rewritten = await modelOf(
    after,
    after.flatMap((node) => node.inputs),
    new Set(after.flatMap((node) => node.outputs)),
  );
  const [was, is] = [await run(original, source, feed, place), await run(rewritten, source, feed, place)];
  return difference(floatsOf(was[output]), floatsOf(is[output]));
}

/**
 * As written: onnxruntime's own rewriting would fuse some of the same nodes (and multiplies float64 by float32, or
 * makes pads that it refuses then: MatMulScaleFusion and PadFusion of 1.30).
 */
async function run(
  model: Model,
  source: string,
  feed: RuntimeTensor,
  place: ProbePlace,
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

function floatsOf(tensor: RuntimeTensor | undefined): Float32Array | Float64Array {
  if (tensor === undefined || !ArrayBuffer.isView(tensor.data))
    throw new Error('onnxruntime returned no output');
  return widen(tensor.type as FloatType, tensor.data as NativeArrays[FloatType]);
}

/**
 * max |a - b| / max |a| over what is finite in a: what overflows within the nodes, and not in what they become, is no
 * difference. Infinite where b is not finite and a is, or the sizes differ; NaN where nothing of a is finite.
 */
function difference(a: Float32Array | Float64Array, b: Float32Array | Float64Array): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let most = 0;
  let largest = 0;
  let count = 0;
  for (let i = 0; i < a.length; i += 1) {
    const [was, is] = [a[i] as number, b[i] as number];
    if (!Number.isFinite(was)) continue;
    if (!Number.isFinite(is)) return Number.POSITIVE_INFINITY;
    count += 1;
    most = Math.max(most, Math.abs(was - is));
    largest = Math.max(largest, Math.abs(was));
  }
  if (count === 0) return Number.NaN;
  return most === 0 ? 0 : most / largest;
}
