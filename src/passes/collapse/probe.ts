import {
  type FloatType,
  type Graph,
  type Model,
  type NativeArrays,
  type Node,
  type NodeSpec,
  narrow,
  type Tensor,
  ValueInfo,
  widen,
} from '../../graph/index.js';
import { opsetsOf } from '../../graph/opsets.js';
import { Random } from '../../runtime/random.js';
import { evaluateConstant } from '../../runtime/session/constant.js';
import { openSession } from '../../runtime/session/session.js';
import { buildModel } from '../../runtime/session/small-model.js';
import type { RuntimeTensor, SessionOptions } from '../../runtime/types.js';

/** Where probes run. */
export type ProbePlace = Pick<SessionOptions, 'providers' | 'device'>;

/** Nodes and what they would become, which read the same value and make the same. */
export interface Comparison {
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
export async function compareNodes(
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
