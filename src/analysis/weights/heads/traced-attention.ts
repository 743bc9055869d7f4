import { findConstant, type Graph, isConstant, type Node } from '../../../graph/index.js';
import type { Shapes } from '../../../graph/shapes/shapes.js';
import { constantTensor } from '../../../runtime/index.js';
import { nodeOutputAxis } from '../output-axis.js';
import type { StoredUse } from '../types.js';
import type { WeightMatrix } from '../weights.js';
import type { AttentionLayer, Projection } from './attention-layer.js';
import { outputOf, projectionBehind } from './output-projection.js';

type ByNode = ReadonlyMap<unknown, readonly WeightMatrix<StoredUse>[]>;
type Reason = { readonly reason: string };

/** Nodes that are looked at between an operand and its projection; more would be no attention. */
const MOST_VISITS = 300;
/** Weights of these are no projections of heads. */
const NO_PROJECTION = /^(Conv|Gather|Einsum|Embed)/;

/**
 * Attention of separate operators, as torch.onnx exports it: softmax(q kᵀ) v. Heads are told by the Reshape that divides the outputs
 * of a projection.
 *
 * @returns undefined where a Softmax belongs to no attention
 */
export function tracedAttention(
  softmax: Node,
  byNode: ByNode,
  shapes: Shapes,
): AttentionLayer | Reason | undefined {
  const { graph } = softmax;
  const scores = scoresBefore(graph, softmax.inputs[0] ?? '');
  const moved = productBehind(graph, softmax.outputs[0] ?? '');
  if (scores === undefined || moved === undefined) return undefined;
  const [q, k, v] = [
    new Trace(byNode, shapes).from(graph, scores.inputs[0] ?? '', -1),
    new Trace(byNode, shapes).from(graph, scores.inputs[1] ?? '', -2),
    new Trace(byNode, shapes).from(graph, moved.inputs[1] ?? '', -1),
  ];
  for (const [name, one] of Object.entries({ queries: q, keys: k, values: v }))
    if ('reason' in one) return { reason: `its ${name} ${one.reason}` };
  const [query, key, value] = [q, k, v] as [Traced, Traced, Traced];
  const size = query.headSize;
  const [heads, kvHeads] = [query.size / size, key.size / size];
  const fits =
    [heads, kvHeads].every((count) => Number.isInteger(count) && count > 0) &&
    heads % kvHeads === 0 &&
    key.headSize === size &&
    value.size === kvHeads * value.headSize;
  if (!fits || value.headSize !== size)
    return { reason: 'its queries, keys and values are not those of heads of one size' };
  const starts = new Set([query, key, value].map(({ weight, start }) => `${weight.name} ${start}`));
  if (starts.size < 3 && new Set([query.weight, key.weight, value.weight]).size < 3)
    return { reason: 'which part of its weight makes queries, keys and values is not known' };
  if (heads > kvHeads && !(key.repeats && value.repeats))
    return { reason: 'it is not known which query heads share a key head' };
  const place = ({ weight, axis, start }: Traced): Projection => ({
    weight,
    axis,
    start: (head) => start + head * size,
  });
  const leftOut = [
    ...(query.rotates || key.rotates
      ? ['rotary positions: [qk] is the product for tokens at one position']
      : []),
    ...(query.normalizes || key.normalizes ? ['the normalization of queries and keys is not in [qk]'] : []),
  ];
  return {
    name: nameOf(softmax, query.weight),
    heads,
    kvHeads,
    headSize: size,
    query: place(query),
    key: place(key),
    value: place(value),
    output: outputOf(projectionBehind(moved, byNode), heads * size, size),
    leftOut,
  };
}

/** The module of the queries, or what the Softmax is called. */
function nameOf({ label }: Node, { name }: WeightMatrix<StoredUse>): string {
  const [, module] = /^(.+)\.[^.]+\.(?:base_layer\.)?weight$/.exec(name) ?? [];
  return module ?? label.replace(/\/Softmax$/, '');
}

const isData = (graph: Graph, value: string): boolean =>
  value !== '' && !isConstant(findConstant(graph, value));

/** The product of two values that a Softmax's input comes from. */
function scoresBefore(graph: Graph, start: string): Node | undefined {
  const found = new Set<Node>();
  const seen = new Set<string>();
  const todo = [start];
  for (let value = todo.pop(); value !== undefined && seen.size < MOST_VISITS; value = todo.pop()) {
    const maker = seen.has(value) ? undefined : graph.producer(value);
    seen.add(value);
    if (maker === undefined) continue;
    if (maker.opType === 'MatMul' && maker.inputs.every((input) => isData(graph, input))) found.add(maker);
    else if (['Add', 'Sub', 'Mul', 'Max', 'Min'].includes(maker.opType)) todo.push(...maker.inputs);
    else if (maker.is('Where')) todo.push(...maker.inputs.slice(1));
    else if (['Div', 'Cast', 'Identity', 'Reshape', 'Clip', 'Tanh'].includes(maker.opType))
      todo.push(maker.inputs[0] ?? '');
  }
  const [only, ...more] = found;
  return more.length > 0 ? undefined : only;
}

/** The product that takes a Softmax's output first. */
function productBehind(graph: Graph, start: string): Node | undefined {
  const found = new Set<Node>();
  const seen = new Set<string>();
  const todo = [start];
  for (let value = todo.pop(); value !== undefined && seen.size < MOST_VISITS; value = todo.pop()) {
    if (seen.has(value)) continue;
    seen.add(value);
    for (const { node } of graph.uses(value)) {
      if (node.is('MatMul') && node.inputs[0] === value && isData(graph, node.inputs[1] ?? ''))
        found.add(node);
      else if (['Cast', 'Identity', 'Dropout', 'Where', 'Reshape', 'Mul'].includes(node.opType))
        todo.push(node.outputs[0] ?? '');
    }
  }
  const [only, ...more] = found;
  return more.length > 0 ? undefined : only;
}

interface Traced {
  readonly weight: WeightMatrix<StoredUse>;
  readonly axis: 'rows' | 'columns';
  /** Of its outputs, those that belong to the operand. */
  readonly start: number;
  readonly size: number;
  readonly headSize: number;
  readonly rotates: boolean;
  readonly normalizes: boolean;
  /** Heads of keys are repeated one by one. */
  readonly repeats: boolean;
}

/** The way from an operand of a product back to its projection. */
interface Way {
  /** Where the axis of the head's elements is, from the end. */
  readonly axis: number;
  readonly headSize: number | undefined;
  /** The last dimensions of what has been divided. */
  readonly widths: readonly (number | undefined)[];
  /** Of what has not been divided into heads, as far as is known: of a head it would be half, for rotary positions. */
  readonly split: { readonly node: Node; readonly index: number } | undefined;
  readonly isSliced: boolean;
  readonly flags: ReadonlySet<'rotates' | 'normalizes' | 'repeats'>;
}

class Trace {
  readonly #byNode: ByNode;
  readonly #shapes: Shapes;
  #visits = 0;

  constructor(byNode: ByNode, shapes: Shapes) {
    this.#byNode = byNode;
    this.#shapes = shapes;
  }

  /** @param axis that of the head's elements, from the end */
  from(graph: Graph, value: string, axis: number): Traced | Reason {
    const start: Way = {
      axis,
      headSize: undefined,
      widths: [],
      split: undefined,
      isSliced: false,
      flags: new Set(),
    };
    return this.#at(graph, value, start) ?? { reason: 'come from no constant weight' };
  }

  #at(graph: Graph, value: string, way: Way): Traced | Reason | undefined {
    this.#visits += 1;
    const maker = graph.producer(value);
    if (maker === undefined || this.#visits > MOST_VISITS) return undefined;
    const [weight] = this.#byNode.get(maker) ?? [];
    if (weight !== undefined)
      return NO_PROJECTION.test(maker.opType) ? undefined : this.#end(maker, weight, way);
    const flagged = (...flags: ('rotates' | 'normalizes' | 'repeats')[]): Way => ({
      ...way,
      flags: new Set([...way.flags, ...flags]),
    });
    const [first = '', second = ''] = maker.inputs;
    switch (maker.opType) {
      case 'Cast':
      case 'Identity':
      case 'Dropout':
      case 'Neg':
      case 'Squeeze':
      case 'Unsqueeze':
        return this.#at(graph, first, way);
      case 'Expand':
        return this.#at(graph, first, flagged('repeats'));
      case 'LayerNormalization':
      case 'RMSNormalization':
      case 'SimplifiedLayerNormalization':
      case 'LpNormalization':
        return this.#at(graph, first, flagged('normalizes'));
      case 'RotaryEmbedding':
        return this.#at(graph, first, flagged('rotates'));
      case 'Transpose':
        return this.#at(graph, first, { ...way, axis: turned(maker, way.axis) });
      case 'Reshape':
        return this.#reshaped(graph, maker, way);
      case 'Slice':
        return this.#at(graph, first, { ...way, isSliced: true });
      case 'Split': {
        const split = { node: maker, index: maker.outputs.indexOf(value) };
        return this.#at(graph, first, { ...way, split, isSliced: way.isSliced || way.split !== undefined });
      }
      case 'Div':
        return this.#at(graph, first, reduces(graph, second) ? flagged('normalizes') : way);
      case 'Add':
      case 'Sub':
      case 'Mul': {
        const inputs = maker.inputs.filter((input) => isData(graph, input));
        const isScaled = maker.is('Mul') && inputs.some((input) => reduces(graph, input));
        return this.#joined(graph, inputs, isScaled ? flagged('normalizes') : way);
      }
      case 'Where':
        return this.#joined(graph, maker.inputs.slice(1), way);
      case 'Concat':
        return this.#joined(graph, maker.inputs, way, 'rotates');
      default:
        return undefined;
    }
  }

  /** Of several values those that come from a projection, which has to be one. */
  #joined(
    graph: Graph,
    values: readonly string[],
    way: Way,
    ofSeveral?: 'rotates',
  ): Traced | Reason | undefined {
    const all = values.flatMap((value) => this.#at(graph, value, way) ?? []);
    const failed = all.find((one) => 'reason' in one);
    if (failed !== undefined) return failed;
    const [first, ...more] = all as Traced[];
    if (first === undefined) return undefined;
    if (more.some(({ weight, start }) => weight !== first.weight || start !== first.start))
      return { reason: 'come from several weights' };
    const any = (key: 'rotates' | 'normalizes' | 'repeats'): boolean =>
      [first, ...more].some((one) => one[key]);
    return {
      ...first,
      rotates: any('rotates') || (ofSeveral === 'rotates' && more.length > 0),
      normalizes: any('normalizes'),
      repeats: any('repeats'),
    };
  }

  #reshaped(graph: Graph, node: Node, way: Way): Traced | Reason | undefined {
    if (way.axis !== -1) return { reason: 'have the elements of a head on an axis that is not the last' };
    const width = lastSize(graph, node, this.#shapes);
    if (width === undefined) return { reason: `come from node '${node.label}', whose sizes are open` };
    const headSize = way.headSize ?? width;
    const next =
      width === headSize
        ? { ...way, headSize, split: undefined, isSliced: false }
        : { ...way, widths: [...way.widths, width] };
    return this.#at(graph, node.inputs[0] ?? '', next);
  }

  #end(maker: Node, weight: WeightMatrix<StoredUse>, way: Way): Traced | Reason {
    const axis = nodeOutputAxis(maker);
    const total = weight[axis];
    if (way.isSliced) return { reason: 'come from a Slice of a projection' };
    const part = way.split === undefined ? { start: 0, size: total } : partOf(way.split, total);
    if (part === undefined) return { reason: 'come from a Split of something else than all features' };
    const { headSize = part.size, flags } = way;
    if (way.axis !== -1) return { reason: 'have the elements of a head on an axis that is not the last' };
    if (way.widths.some((width) => width !== headSize && width !== part.size && width !== total))
      return { reason: 'are reshaped in a way that is not followed' };
    return {
      weight,
      axis,
      ...part,
      headSize,
      rotates: flags.has('rotates'),
      normalizes: flags.has('normalizes'),
      repeats: flags.has('repeats'),
    };
  }
}

/** Where an axis, from the end, is in what a Transpose reads. */
function turned(node: Node, axis: number): number {
  const perm = node.attributes.ints('perm');
  // Without one the axes are reversed, which no exporter writes for heads.
  if (perm === undefined) return Number.NaN;
  return (perm[perm.length + axis] ?? 0) - perm.length;
}

/** The last size that a Reshape makes. */
function lastSize(graph: Graph, node: Node, shapes: Shapes): number | undefined {
  const [, shape = ''] = node.inputs;
  const told = constantTensor(graph, shape)?.integers().at(-1);
  const maker = graph.producer(shape);
  const joined = maker?.is('Concat') ? lastNumber(graph, maker.inputs.at(-1) ?? '') : undefined;
  const made = shapes.of(node.outputs[0] ?? '')?.at(-1);
  return [told, joined, made].find((size): size is number => typeof size === 'number' && size > 0);
}

/** What a constant ends with, behind nodes that keep its numbers. */
function lastNumber(graph: Graph, start: string): number | undefined {
  let value = start;
  for (let step = 0; step < 4; step += 1) {
    const found = constantTensor(graph, value)?.integers().at(-1);
    const maker = graph.producer(value);
    if (found !== undefined || !maker?.is('Unsqueeze', 'Identity', 'Cast', 'Reshape')) return found;
    value = maker.inputs[0] ?? '';
  }
  return undefined;
}

/** Does a value come from a mean or a sum, as a normalization's factor does? */
function reduces(graph: Graph, start: string): boolean {
  let value = start;
  for (let step = 0; step < 6; step += 1) {
    const maker = graph.producer(value);
    if (maker === undefined) return false;
    if (maker.opType.startsWith('Reduce')) return true;
    if (!['Sqrt', 'Reciprocal', 'Add', 'Clip', 'Max', 'Pow', 'Expand', 'Cast'].includes(maker.opType))
      return false;
    value = maker.inputs.find((input) => isData(graph, input)) ?? '';
  }
  return false;
}

/** Which outputs of a projection one output of a Split has; undefined where it divides something else. */
function partOf(
  { node, index }: { readonly node: Node; readonly index: number },
  total: number,
): { readonly start: number; readonly size: number } | undefined {
  const sizes = node.attributes.ints('split') ?? constantTensor(node.graph, node.inputs[1] ?? '')?.integers();
  const each = sizes ?? node.outputs.map(() => total / node.outputs.length);
  if (each.reduce((sum, size) => sum + size, 0) !== total || !each.every(Number.isInteger)) return undefined;
  return { start: each.slice(0, index).reduce((sum, size) => sum + size, 0), size: each[index] ?? 0 };
}
