import { findConstant, type Graph, isConstant, type Model, type Node } from '../../../graph/index.js';
import { Shapes } from '../../../graph/shapes/shapes.js';
import { constantTensor } from '../../../runtime/index.js';
import { nodeOutputAxis } from '../output-axis.js';
import type { StoredUse } from '../types.js';
import type { StoreWeights } from '../weight-store.js';
import type { WeightMatrix } from '../weights.js';
import type { AttentionLayer, AttentionLayers, Projection } from './attention-layer.js';
import { type Found, MOST_STEPS, outputOf, projectionBehind } from './output-projection.js';
import { tracedAttention } from './traced-attention.js';

/** Operators between a projection and its attention that change no spectrum of a head's product, or are noted. */
const PASSED = ['Reshape', 'Transpose', 'Cast', 'Identity', 'Unsqueeze', 'Squeeze', 'Add', 'RotaryEmbedding'];

/** What an attention operator says of its heads. */
interface Described {
  readonly heads: number;
  readonly kvHeads: number;
  readonly isRotary: boolean;
}

/**
 * The attention layers of a model: of its fused operators, Attention of operator set 23, com.microsoft's Attention, MultiHeadAttention and
 * GroupQueryAttention; and of attention in separate operators, as torch.onnx exports it. The projections are found from their inputs and
 * output.
 */
export function modelAttention(model: Model, { weights }: StoreWeights): AttentionLayers {
  const byNode = new Map<unknown, WeightMatrix<StoredUse>[]>();
  for (const weight of weights)
    for (const { node } of weight.uses) byNode.set(node, [...(byNode.get(node) ?? []), weight]);
  const layers: AttentionLayer[] = [];
  const others: AttentionLayers['others'][number][] = [];
  const shapes = new Map<Graph, Shapes>();
  const shapesOf = (graph: Graph): Shapes => {
    const known = shapes.get(graph) ?? new Shapes(graph);
    shapes.set(graph, known);
    return known;
  };
  for (const node of model.nodes()) {
    const described = describe(node);
    const layer =
      described !== undefined
        ? layerOf(node, described, byNode)
        : node.is('Softmax')
          ? tracedAttention(node, byNode, shapesOf(node.graph))
          : undefined;
    if (layer === undefined) continue;
    if ('reason' in layer) others.push({ node, reason: layer.reason });
    else layers.push(layer);
  }
  return { layers, others };
}

function describe(node: Node): Described | undefined {
  const { attributes, domain, opType } = node;
  if (domain === '' && opType === 'Attention') {
    const heads = attributes.int('q_num_heads', 0);
    return { heads, kvHeads: attributes.int('kv_num_heads', heads), isRotary: false };
  }
  if (domain !== 'com.microsoft') return undefined;
  const heads = attributes.int('num_heads', 0);
  switch (opType) {
    case 'GroupQueryAttention':
      return {
        heads,
        kvHeads: attributes.int('kv_num_heads', heads),
        isRotary: attributes.int('do_rotary', 0) !== 0,
      };
    case 'Attention':
    case 'MultiHeadAttention':
      return { heads, kvHeads: heads, isRotary: attributes.int('do_rotary', 0) !== 0 };
    default:
      return undefined;
  }
}

function layerOf(
  node: Node,
  { heads, kvHeads, isRotary }: Described,
  byNode: ReadonlyMap<unknown, readonly WeightMatrix<StoredUse>[]>,
): AttentionLayer | { readonly reason: string } {
  if (heads < 1 || kvHeads < 1 || heads % kvHeads !== 0)
    return { reason: 'it does not say how many heads it has' };
  const output = projectionBehind(node, byNode);
  const own = byNode.get(node);
  const leftOut = isRotary ? ['rotary positions: [qk] is the product for tokens at one position'] : [];
  const layer = { name: node.label, heads, kvHeads };
  const place = (weight: WeightMatrix<StoredUse>, axis: Projection['axis'], at: number, size: number) => ({
    weight,
    axis,
    start: (head: number) => at + head * size,
  });
  if (own !== undefined && own.length === 3) {
    // com.microsoft.Attention has its weight itself, of which queries, keys and values are parts.
    const [q, k, v] = own as [WeightMatrix<StoredUse>, WeightMatrix<StoredUse>, WeightMatrix<StoredUse>];
    const s = q.columns / heads;
    if (!Number.isInteger(s) || v.columns !== q.columns) return { reason: 'its heads have different sizes' };
    const [query, key, value] = [q, k, v].map((weight) => place(weight, 'columns', 0, s)) as [
      Projection,
      Projection,
      Projection,
    ];
    return { ...layer, headSize: s, query, key, value, output: outputOf(output, heads * s, s), leftOut };
  }
  const found = [0, 1, 2].map((input) => projectionBefore(node.graph, node.inputs[input] ?? '', byNode));
  const [q, k, v] = found;
  if (q === undefined) return { reason: 'its queries come from no constant weight' };
  if (q.rotates) leftOut.push('rotary positions: [qk] is the product for tokens at one position');
  const isPacked = !node.inputs[1] && !node.inputs[2];
  const s = q.size / (isPacked ? heads + 2 * kvHeads : heads);
  const { weight, axis } = q;
  if (isPacked && Number.isInteger(s)) {
    const at = (part: number): Projection => place(weight, axis, part * s, s);
    const [query, key, value] = [at(0), at(heads), at(heads + kvHeads)];
    return { ...layer, headSize: s, query, key, value, output: outputOf(output, heads * s, s), leftOut };
  }
  if (k === undefined || v === undefined)
    return { reason: 'its keys or values come from no constant weight' };
  if (!Number.isInteger(s) || k.size !== kvHeads * s || v.size !== kvHeads * s) {
    return { reason: `its projections are not those of ${heads} heads and ${kvHeads} of keys and values` };
  }
  const [query, key, value] = [q, k, v].map((one) => place(one.weight, one.axis, one.start, s)) as [
    Projection,
    Projection,
    Projection,
  ];
  return { ...layer, headSize: s, query, key, value, output: outputOf(output, heads * s, s), leftOut };
}

/** Which of `total` outputs one output of a Split has. */
type Part = (total: number) => { readonly start: number; readonly size: number };

function partOf(node: Node, index: number): Part | undefined {
  const sizes = node.attributes.ints('split') ?? constantTensor(node.graph, node.inputs[1] ?? '')?.integers();
  return (total) => {
    const each = sizes ?? node.outputs.map(() => total / node.outputs.length);
    const start = each.slice(0, index).reduce((sum, size) => sum + size, 0);
    return { start, size: each[index] ?? 0 };
  };
}

/** The linear node that a value comes from. */
function projectionBefore(
  graph: Graph,
  start: string,
  byNode: ReadonlyMap<unknown, readonly WeightMatrix<StoredUse>[]>,
): Found | undefined {
  let value = start;
  let rotates = false;
  let part: Part | undefined;
  for (let step = 0; step < MOST_STEPS; step += 1) {
    const maker = graph.producer(value);
    if (maker === undefined) return undefined;
    const [weight] = byNode.get(maker) ?? [];
    if (weight !== undefined) {
      const axis = nodeOutputAxis(maker);
      const total = weight[axis];
      const { start = 0, size = total } = part?.(total) ?? {};
      return { weight, axis, size, start, rotates };
    }
    if (maker.opType === 'Split' && part === undefined) part = partOf(maker, maker.outputs.indexOf(value));
    else if (!PASSED.includes(maker.opType)) return undefined;
    rotates ||= maker.opType === 'RotaryEmbedding';
    const isData = (input: string): boolean => input !== '' && !isConstant(findConstant(graph, input));
    const [first, ...more] = maker.opType === 'Add' ? maker.inputs.filter(isData) : maker.inputs.slice(0, 1);
    if (first === undefined || more.length > 0) return undefined;
    value = first;
  }
  return undefined;
}
