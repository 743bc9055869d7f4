import { type Graph, makeNode, type NodeProto, traitsOf, ValueInfo, valuesRead } from '../../graph/index.js';
import { Builder } from '../../passes/gradient/builder.js';
import { openSession, type RuntimeTensor } from '../../runtime/index.js';
import type { Chunk, DivergenceOrigin } from '../types.js';
import { bodyOf, dataInputs } from './body.js';
import { singleFeeds, singleModel } from './single.js';
import type { Step } from './step.js';

/** Operators whose outputs are no tensors. */
const NO_TENSOR = /^(Sequence|SplitToSequence|ConcatFromSequence|Optional)/;

/** Does a node only move elements? What comes out is as finite as what goes in, near enough. */
function isMove({ op_type: opType = '', domain = '' }: NodeProto): boolean {
  return traitsOf({ domain, opType }).moves === true;
}

/**
 * Where the numbers that are not finite come from in a step whose loss or gradients are not: the first value in the order
 * of execution from which only such values lead there. (A mask of -Infinity in front of a Softmax does not: what comes
 * out of that is finite.) The step is run again on the CPU, each value with a sum of 0 times its elements
 * behind it, which is 0 or NaN: so activations are freed as in any run.
 *
 * @param graph of the model that is trained, for the names of its nodes
 * @param at the step, and the number of steps before its chunk
 * @param state before the step, in memory
 * @returns undefined where all is finite there
 */
export async function findOrigin(
  graph: Graph,
  step: Step,
  at: { readonly chunk: Chunk; readonly index: number; readonly done: number },
  state: ReadonlyMap<string, RuntimeTensor>,
): Promise<DivergenceOrigin | undefined> {
  const body = bodyOf(step, { nodes: [], constants: [] }, [...step.gradient.gradients.values()]);
  const feeds = singleFeeds(step, at, state);
  const data = new Set(dataInputs(step).map(({ name }) => name));
  const weights = new Map(
    step.carried.flatMap(({ key, kind, from }) => (kind === 'weight' ? [[from, key]] : [])),
  );
  const read = new Set(body.nodes.flatMap((node) => [...valuesRead(node)]));
  const made = body.nodes.flatMap((node) =>
    NO_TENSOR.test(node.op_type ?? '') || isMove(node)
      ? []
      : (node.output ?? []).filter((name) => name !== ''),
  );
  const watched = [...[...data, ...weights.keys()].filter((name) => read.has(name)), ...made];

  const build = new Builder((name) => step.gradient.model.freshName(name));
  build.scope = 'origin';
  const flags = watched.map((name) => {
    const value = build.cast({ name, type: 'bool', shape: [] }, 'float64');
    return build.op('ReduceSum', [build.scale(value, 0)], [], { keepdims: { int: 0 } }).name;
  });
  const model = singleModel(
    step,
    {
      ...body,
      nodes: [...body.nodes, ...build.nodes.map(makeNode)],
      initializers: [...body.initializers, ...build.constants.map(({ proto }) => proto)],
    },
    flags.map((name) => ValueInfo.tensor(name, 'float64', [])),
  );
  // Rewriting a graph of so many nodes takes longer than running it as it is.
  await using session = await openSession(model, { arena: false, optimization: 'disabled' });
  const known = new Set(session.inputs.map(({ name }) => name));
  const results = await session.run(
    Object.fromEntries(Object.entries(feeds).filter(([name]) => known.has(name))),
  );
  const bad = new Set(
    watched.filter((_, index) => Number.isNaN(Number(results[flags[index] ?? '']?.data[0]))),
  );
  for (const node of body.nodes)
    if (isMove(node) && [...valuesRead(node)].some((name) => bad.has(name)))
      for (const name of node.output ?? []) bad.add(name);
  const ends = [step.loss.name, step.gradient.loss, ...step.gradient.gradients.values()];
  const first = firstLeadingTo(ends, body.nodes, bad);
  if (first === undefined) return undefined;
  if (first === step.gradient.target) return { kind: 'target', tensor: first };
  if (data.has(first)) return { kind: 'data', tensor: first };
  const weight = weights.get(first);
  if (weight !== undefined) return { kind: 'weight', tensor: weight };
  const node = graph.producer(first);
  if (node !== undefined) return { kind: 'forward', tensor: first, node: node.label, opType: node.opType };
  // The parts of a step name what they make by the node, or the weight, that they are for.
  const scope = first.slice(0, Math.max(0, first.lastIndexOf('/')));
  const label = scope.replace(/^grad\//, '');
  const of = graph.nodes.find((one) => one.label === label);
  const kind = scope !== label ? 'backward' : scope === 'loss' ? 'loss' : 'forward';
  return { kind, tensor: first, node: of?.label, opType: of?.opType };
}

/** The first of some values, in the order of execution, that leads to one of the ends through such values alone. */
function firstLeadingTo(
  ends: readonly string[],
  nodes: readonly NodeProto[],
  values: ReadonlySet<string>,
): string | undefined {
  const leading = new Set(ends.filter((name) => values.has(name)));
  let first: string | undefined;
  for (const node of nodes.toReversed()) {
    const out = (node.output ?? []).find((name) => leading.has(name));
    if (out === undefined) continue;
    const before = [...valuesRead(node)].filter((name) => values.has(name));
    for (const name of before) leading.add(name);
    first = before[0] ?? out;
  }
  return first;
}
