import type { Graph, Model, Node, Use } from '../../graph/index.js';
import { affineOperator, type NormOperator } from '../operators.js';
import type { Link } from './link.js';
import { type ChainNote, type PartNote, readChainNote, readPartNote } from './note.js';

/** A connection that ends behind a factor. */
export interface StepSkip {
  /** The value of the chain that it begins at, counted from its input, 0. */
  readonly from: number;
  /** Its projection; undefined of an identity. */
  readonly projection: Link | undefined;
}

/** A factor of a chain, and what stands between it and the next. */
export interface Step {
  readonly link: Link;
  readonly norm: NormOperator | undefined;
  readonly skips: readonly StepSkip[];
}

/** A chain with connections or normalizations, as its notes tell it. */
export interface StepChain {
  readonly steps: readonly Step[];
  /** All of its nodes, in the order of execution. */
  readonly nodes: readonly Node[];
  readonly output: string;
  /** Axes of its data, where its normalizations tell: then what it multiplies out to is no Gemm. */
  readonly rank: number | undefined;
}

/** Tells which chains of a model have more than factors. */
export class ExtrasIndex {
  readonly #keys = new Map<Graph, Set<string>>();

  constructor(model: Model) {
    for (const node of model.nodes()) {
      const note = readPartNote(node);
      if (note === undefined) continue;
      const keys = this.#keys.get(node.graph) ?? new Set();
      this.#keys.set(node.graph, keys.add(keyOf(note)));
    }
  }

  has(first: Link): boolean {
    return first.note !== undefined && this.#keys.get(first.node.graph)?.has(keyOf(first.note)) === true;
  }
}

function keyOf({ site, weight, of }: ChainNote | PartNote): string {
  return JSON.stringify([site, weight, of]);
}

/** Follows a chain from its first factor. Pure; reads no weights. */
export function followSteps(
  first: Link,
  links: ReadonlyMap<Node, Link>,
): StepChain | { readonly reason: string } {
  const note = first.note as ChainNote;
  const { graph } = first.node;
  const values = [dataOf(first)];
  const steps: Step[] = [];
  const nodes: Node[] = [];
  let rank: number | undefined;
  const isOwn = (other: ChainNote | PartNote | undefined, factor: number): boolean =>
    other !== undefined && keyOf(other) === keyOf(note) && other.factor === factor;
  let link: Link | undefined = first;
  for (let factor = 0; factor < note.of; factor += 1) {
    if (link === undefined) {
      return { reason: `factor ${factor} of ${note.of} does not follow factor ${factor - 1}` };
    }
    let value: string = link.node.outputs[0] ?? '';
    let norm: NormOperator | undefined;
    const turns: (readonly number[])[] = [];
    const skips: StepSkip[] = [];
    nodes.push(link.node);
    for (;;) {
      const own = graph.uses(value).find((use) => {
        const part = readPartNote(use.node);
        return isOwn(part, factor) && part?.part !== 'project';
      });
      if (own === undefined) break;
      const { node } = own;
      const part = readPartNote(node)?.part;
      if (part === 'turn') {
        const turn = turnOf(node, link, turns[0]);
        const isPlaced = skips.length === 0 && turns.length === (norm === undefined ? 0 : 1);
        if (turn === undefined || !isPlaced) return { reason: `'${node.label}' is not where it was` };
        turns.push(turn);
        rank = turn.length;
      } else if (turns.length === 1 && part !== 'norm')
        return { reason: `'${node.label}' is not where it was` };
      else if (part === 'norm') {
        const operator = affineOperator(node);
        if (operator === undefined || operator.kind !== 'norm') {
          const why = operator !== undefined && 'reason' in operator ? `: ${operator.reason}` : '';
          return { reason: `'${node.label}' is no BatchNormalization with constant statistics${why}` };
        }
        if (norm !== undefined || skips.length > 0) return { reason: `'${node.label}' is not where it was` };
        norm = operator;
        if (isLeft(link) && turns.length === 0) rank = 3;
      } else {
        const skip = skipOf(node, own.index);
        if ('reason' in skip) return skip;
        if (skip.projection !== undefined) nodes.push(skip.projection.node);
        skips.push(skip);
      }
      nodes.push(node);
      value = node.outputs[0] ?? '';
    }
    if (turns.length === 1)
      return { reason: `'${link.node.label}' has no Transpose behind its normalization` };
    steps.push({ link, norm, skips });
    values.push(value);
    const next: Use | undefined = graph.uses(value).find((use) => isOwn(readChainNote(use.node), factor + 1));
    link = next && links.get(next.node);
    if (link !== undefined && dataOf(link) !== value) link = undefined;
  }
  return whyOpen(graph, nodes, values) ?? { steps, nodes, output: values.at(-1) ?? '', rank };

  function skipOf(node: Node, index: number): StepSkip | { readonly reason: string } {
    const other = node.inputs[1 - index] ?? '';
    const from = values.indexOf(other);
    const isSum = node.is('Add') && node.inputs.length === 2;
    if (isSum && from >= 0) return { from, projection: undefined };
    const producer = graph.producer(other);
    const projection =
      producer && readPartNote(producer)?.part === 'project' ? links.get(producer) : undefined;
    const start = projection === undefined ? -1 : values.indexOf(dataOf(projection));
    if (!isSum || start < 0) return { reason: `'${node.label}' adds what is no value of the chain` };
    return { from: start, projection };
  }
}

function isLeft({ site }: Link): boolean {
  return site.op === 'MatMul' && site.weightInput === 0;
}

/** The permutation of a Transpose that brings a factor's units to axis 1, or undoes one that did; undefined where it does not. */
function turnOf(node: Node, link: Link, first: readonly number[] | undefined): readonly number[] | undefined {
  const permutation = node.is('Transpose') ? node.attributes.ints('perm') : undefined;
  const rank = permutation?.length ?? 0;
  const wanted = first ? inverseOf(first) : unitsFirst(rank, rank - (isLeft(link) ? 2 : 1));
  return permutation?.join() === wanted.join() ? permutation : undefined;
}

/** The permutation that brings an axis to the place that normalizations take for channels, and keeps the others' order. */
export function unitsFirst(rank: number, axis: number): number[] {
  const [batch = axis, ...others] = Array.from({ length: rank }, (_, at) => at).filter((at) => at !== axis);
  return [batch, axis, ...others];
}

/** The permutation that undoes another. */
export function inverseOf(permutation: readonly number[]): number[] {
  return permutation.map((_, axis) => permutation.indexOf(axis));
}

function dataOf({ node, site }: Link): string {
  return node.inputs[1 - site.weightInput] ?? '';
}

/** The reason for which a chain is not closed: something else reads a value within; undefined where nothing does. */
function whyOpen(
  graph: Graph,
  nodes: readonly Node[],
  values: readonly string[],
): { readonly reason: string } | undefined {
  const own = new Set(nodes);
  for (const node of nodes) {
    for (const output of node.outputs) {
      if (output === '' || output === values.at(-1)) continue;
      if (graph.isOutput(output))
        return { reason: `'${output}', between two factors, is an output of the graph` };
      const other = graph.uses(output).find((use) => !own.has(use.node));
      if (other !== undefined)
        return { reason: `'${output}', between two factors, is read by '${other.node.label}' too` };
    }
  }
  return undefined;
}
