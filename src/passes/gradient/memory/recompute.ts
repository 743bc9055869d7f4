import { type Copying, copyNode } from '../../../graph/edit/copy-nodes.js';
import {
  createNode,
  type Graph,
  makeNode,
  type Node,
  type NodeProto,
  traitsOf,
  valuesRead,
} from '../../../graph/index.js';
import { specOf } from '../../../graph/node.js';
import type { Builder } from '../builder.js';
import type { Value } from '../value.js';
import { type BytesOf, peakBytes } from './peak.js';

export interface RecomputeInput {
  /** Those of the forward part in their order, then the others; each is needed. */
  readonly nodes: readonly Node[];
  readonly forward: ReadonlySet<NodeProto>;
  /** Values that leave the graph. */
  readonly outputs: readonly string[];
  /** What is fed and is no weight. */
  readonly fed: readonly string[];
  valueNamed(name: string): Value;
  readonly bytesOf: BytesOf;
  readonly build: Builder;
  fresh(name: string): string;
}

/** More segments than this are not tried. */
const MOST_SEGMENTS = 64;
/** After so many numbers of segments that save no more than fewer did, no more are tried. */
const PATIENCE = 6;

/**
 * The same graph in less memory: of the forward part only the values at a few cuts stay until the backward part needs them. Each
 * segment between two cuts is computed a second time, when the backward part has come to its end (Chen et al., "Training Deep Nets
 * with Sublinear Memory Cost", arXiv 1604.06174, section 3). Costs at most a second forward part. The cuts are those, of
 * 2 to 64 segments, with which the values that nodes make take least at their peak.
 *
 * The second computation begins behind what the backward part has made by then: its inputs pass a Reshape to their own shape,
 * to which empty slices of those values are appended, so that no runtime can begin earlier or share the first computation.
 *
 * What is drawn at random (the output of a Dropout whose factors are not fed) stays.
 *
 * @returns the given nodes where it would save nothing
 */
export function recomputed(input: RecomputeInput): readonly Node[] {
  const { nodes, bytesOf, outputs } = input;
  const plain = peakBytes(nodes, bytesOf, outputs);
  let best: { readonly nodes: readonly Node[]; readonly peak: number } = { nodes, peak: plain };
  let waited = 0;
  const lives = livesOf(input);
  for (const cuts of candidates(input, lives)) {
    const made = inSegments(input, lives, cuts);
    const peak = peakBytes(made, bytesOf, outputs);
    waited += 1;
    if (peak < best.peak) [best, waited] = [{ nodes: made, peak }, 0];
    else if (waited === PATIENCE) break;
  }
  return best.nodes;
}

/** Would a second computation make other values? Dropout draws what it drops, but where its factors are fed. */
function isRandom(node: Node): boolean {
  return traitsOf(node).random === true || node.is('Dropout');
}

/** Where values are made and read in the forward part. */
interface Lives {
  readonly nodes: readonly Node[];
  /** The nodes that are not of it. */
  readonly behind: readonly Node[];
  /** Values that follow the samples, what is fed included. */
  readonly varying: ReadonlySet<string>;
  readonly made: ReadonlyMap<string, number>;
  /** The last node of the forward part that reads it. */
  readonly last: ReadonlyMap<string, number>;
}

function livesOf({ nodes, forward, fed, bytesOf }: RecomputeInput): Lives {
  const own = nodes.filter(({ proto }) => forward.has(proto));
  const varying = new Set(fed);
  const made = new Map<string, number>();
  const last = new Map<string, number>();
  for (const [index, node] of own.entries()) {
    const reads = [...valuesRead(node.proto)];
    // What has to do with sizes alone is alike each time.
    const varies = !node.is('Shape', 'Size') && (isRandom(node) || reads.some((value) => varying.has(value)));
    for (const value of reads) last.set(value, index);
    for (const output of node.outputs.filter((value) => value !== '')) {
      made.set(output, index);
      if (varies && bytesOf(output) !== undefined) varying.add(output);
    }
  }
  const behind = nodes.filter(({ proto }) => !forward.has(proto));
  return { nodes: own, behind, varying, made, last };
}

/** Positions in the forward part at which it may be cut: for each number of segments those of about equal bytes where least passes. */
function candidates({ bytesOf }: RecomputeInput, lives: Lives): readonly (readonly number[])[] {
  const count = lives.nodes.length;
  const [stored, passing] = [new Float64Array(count + 1), new Float64Array(count + 1)];
  const read = new Set(lives.behind.flatMap(({ proto }) => [...valuesRead(proto)]));
  for (const [value, index] of lives.made) {
    if (read.has(value)) stored[index + 1] = (stored[index + 1] ?? 0) + (bytesOf(value) ?? 0);
    for (let at = index + 1; at <= (lives.last.get(value) ?? -1); at += 1)
      passing[at] = (passing[at] ?? 0) + (bytesOf(value) ?? 0);
  }
  for (let at = 1; at <= count; at += 1) stored[at] = (stored[at] ?? 0) + (stored[at - 1] ?? 0);
  const total = stored[count] ?? 0;
  const found = new Map<string, readonly number[]>();
  for (let segments = 2; segments <= Math.min(MOST_SEGMENTS, count); segments += segments < 12 ? 1 : 4) {
    const cuts = new Set<number>();
    for (let k = 1; k < segments; k += 1) {
      const [from, to] = [(k - 0.5) / segments, (k + 0.5) / segments].map((share) => share * total);
      let cut: number | undefined;
      for (let at = 1; at < count; at += 1) {
        const bytes = stored[at] ?? 0;
        if (bytes < (from ?? 0) || bytes > (to ?? 0)) continue;
        if (cut === undefined || (passing[at] ?? 0) < (passing[cut] ?? 0)) cut = at;
      }
      if (cut !== undefined) cuts.add(cut);
    }
    const sorted = [...cuts].sort((a, b) => a - b);
    if (sorted.length > 0) found.set(sorted.join(), sorted);
  }
  return [...found.values()];
}

/** The graph whose forward part is cut at these positions. */
function inSegments(input: RecomputeInput, lives: Lives, cuts: readonly number[]): readonly Node[] {
  const { build, valueNamed } = input;
  const { behind } = lives;
  const segmentOf = segmentsOf(input, lives, cuts);
  const wanted = new Map<number, Set<string>>();
  for (const value of behind.flatMap(({ proto }) => [...valuesRead(proto)])) {
    const segment = segmentOf.get(value);
    if (segment !== undefined) wanted.set(segment, (wanted.get(segment) ?? new Set()).add(value));
  }
  const copying: Copying = { label: 'recompute', fresh: input.fresh };
  /** From what the backward part reads to the second time that it is computed. */
  const names = new Map<string, string>();
  const made: Node[] = [];
  /** What the backward part has made since the last second computation, and has not read yet. */
  let ends = new Set<string>();
  const computeAgain = (segment: number, values: ReadonlySet<string>, graph: Graph): void => {
    build.scope = 'recompute';
    const token = tokenOf(build, [...ends].map(valueNamed));
    if (token === undefined) return;
    ends = new Set();
    const own = new Map<string, string>();
    const copies = neededFor(values, lives, segmentOf, segment).map((node) => {
      for (const value of valuesRead(node.proto)) {
        const stays = segmentOf.get(value) !== segment && lives.varying.has(value);
        if (stays && !own.has(value)) own.set(value, gated(build, valueNamed(value), token).name);
      }
      const inner = new Map(own);
      for (const output of node.outputs.filter((value) => value !== '')) {
        const copy = input.fresh(`recompute/${output}`);
        build.values.set(copy, { ...valueNamed(output), name: copy });
        inner.set(output, copy);
        if (segmentOf.get(output) !== segment) continue;
        own.set(output, copy);
        names.set(output, copy);
      }
      return copyNode(node.proto, inner, copying);
    });
    const gates = build.nodes.splice(0).map(makeNode);
    made.push(...[...gates, ...copies].map((proto) => createNode(proto, graph)));
  };
  for (const node of behind) {
    for (const value of valuesRead(node.proto)) {
      const segment = segmentOf.get(value) ?? -1;
      const values = wanted.get(segment);
      if (values === undefined) continue;
      wanted.delete(segment);
      computeAgain(segment, values, node.graph);
    }
    for (const value of valuesRead(node.proto)) ends.delete(value);
    for (const output of node.outputs) if (output !== '') ends.add(output);
    made.push(reading(node, names, copying));
  }
  return [...lives.nodes, ...made];
}

/** The segment whose second computation makes a value, for those that do not stay. */
function segmentsOf(
  { outputs }: RecomputeInput,
  { nodes, last, varying }: Lives,
  cuts: readonly number[],
): ReadonlyMap<string, number> {
  const segmentAt = (index: number): number => cuts.findLastIndex((cut) => cut <= index) + 1;
  const found = new Map<string, number>();
  for (const [index, node] of nodes.entries()) {
    const segment = segmentAt(index);
    // The last segment is needed at once.
    if (segment === cuts.length || isRandom(node) || node.subgraphs.length > 0) continue;
    for (const value of node.outputs) {
      const passes = segmentAt(last.get(value) ?? index) > segment;
      if (varying.has(value) && !passes && !outputs.includes(value)) found.set(value, segment);
    }
  }
  return found;
}

/** The nodes of a segment that make these values from what stays, in their order. */
function neededFor(
  values: ReadonlySet<string>,
  { nodes, made }: Lives,
  segmentOf: ReadonlyMap<string, number>,
  segment: number,
): readonly Node[] {
  const found = new Set<number>();
  const todo = [...values];
  for (let value = todo.pop(); value !== undefined; value = todo.pop()) {
    const index = segmentOf.get(value) === segment ? made.get(value) : undefined;
    const node = nodes[index ?? -1];
    if (index === undefined || node === undefined || found.has(index)) continue;
    found.add(index);
    todo.push(...valuesRead(node.proto));
  }
  return [...found].sort((a, b) => a - b).flatMap((index) => nodes[index] ?? []);
}

/** An empty int64 vector that cannot be had before these values; undefined where none of them can tell. */
function tokenOf(build: Builder, values: readonly Value[]): Value | undefined {
  const empty = values
    .filter(({ shape }) => shape.length > 0)
    .map((value) => build.cast(build.reshape(build.slice(value, [0], [0], [0]), [0]), 'int64'));
  return empty.length === 0 ? undefined : build.concat(empty, 0);
}

/** A value as it is, which cannot be had before the token. */
function gated(build: Builder, value: Value, token: Value): Value {
  const { shape } = value;
  const sizes = build.concat([token, build.ints(shape)], 0);
  return build.op('Reshape', [value, sizes], shape, { allowzero: { int: 1 } }, value.type);
}

/** A node that reads values under other names. */
function reading(node: Node, names: ReadonlyMap<string, string>, copying: Copying): Node {
  if (![...valuesRead(node.proto)].some((value) => names.has(value))) return node;
  if (node.subgraphs.length > 0) return createNode(copyNode(node.proto, names, copying), node.graph);
  const inputs = node.inputs.map((value) => names.get(value) ?? value);
  return createNode(makeNode({ ...specOf(node.proto), name: node.name, inputs }), node.graph);
}
