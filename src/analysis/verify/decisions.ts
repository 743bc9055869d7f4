import { ancestors, isFloatType, type Model, type Node, ValueInfo, valuesRead } from '../../graph/index.js';
import { partOf } from '../../runtime/session/part.js';
import type { RuntimeTensor, Session } from '../../runtime/types.js';
import { isSameNode, isSameTensor } from './carriers.js';
import { inWidthOf } from './float-widths.js';
import { Comparison, type OutputComparison } from './output-comparison.js';
import { addRounding, isDeciding, movingNodes, stepOf } from './rounding.js';

/** What rounding decides otherwise in the second of two models. */
export interface Decisions {
  /** The nodes of it, as far as no other such node comes before them. */
  readonly nodes: readonly { readonly name: string; readonly opType: string }[];
  /** How many nodes were made to decide as in the first model. */
  readonly forced: number;
  /** The largest difference of what they decide on, relative to the largest value of each. */
  readonly relativeDifference: number;
}

type Tensors = Readonly<Record<string, RuntimeTensor>>;

export interface DecisionOptions {
  /** As for Comparison. */
  readonly tolerance: number | undefined;
  /** Of the samples, at least one. */
  readonly seeds: readonly number[];
  /** The inputs of the first model in a sample. */
  readonly feedsOf: (seed: number) => Tensors;
  /** Opens a part of each model on what that runs on. */
  readonly openA: (part: Model) => Promise<Session>;
  readonly openB: (part: Model) => Promise<Session>;
}

/**
 * Compares two models while the second takes the decisions of the first: which boxes are the best, which pixels lie
 * above a threshold. Where scores tie but for rounding, two models that compute the same function decide otherwise,
 * and their outputs have nothing in common. So what each deciding node makes becomes an input of the second model,
 * given as the first computed it; and what that node reads has to agree as the outputs have to. Node after node, the
 * models then agree up to what rounding decides.
 *
 * @param names outputs of both
 * @returns undefined where the second does not have the same nodes, where no decision differs, or where something
 *   else differs too
 */
export async function compareDecided(
  a: Model,
  b: Model,
  names: readonly string[],
  { tolerance, seeds, feedsOf, openA, openB }: DecisionOptions,
): Promise<{ decisions: Decisions; outputs: OutputComparison[] } | undefined> {
  const deciding = movingNodes(ancestors(a.graph.nodes, names), a).filter(isDeciding);
  const made = new Set(deciding.flatMap(madeBy));
  const all = deciding.flatMap((node) => [...valuesRead(node.proto)]);
  const read = new Set(all.filter((name) => a.graph.producer(name) !== undefined));
  const isShared = (name: string): boolean => b.graph.producer(name) !== undefined;
  const constants = all.filter((name) => a.graph.initializers.has(name));
  const areSame =
    deciding.every((node) => madeBy(node).every((name) => isSameNode(node, b.graph.producer(name)))) &&
    constants.every((name) => isSameTensor(a.graph.initializers.get(name), b.graph.initializers.get(name)));
  if (made.size === 0 || !areSame || ![...read].every(isShared)) return undefined;
  const compared = [...new Set([...names, ...read])];
  const asked = compared.filter((name) => !made.has(name));
  const comparisons = new Map<string, Comparison>();
  const otherwise = new Set<string>();
  /** What the first decided in each sample, and what it computes. */
  const fromA: Tensors[] = [];
  {
    await using first = await openA(partOf(a, [...new Set([...compared, ...made])]));
    for (const seed of seeds) fromA.push(await runOn(first, feedsOf(seed)));
  }
  {
    await using alone = await openB(partOf(b, [...made]));
    for (const [sample, seed] of seeds.entries()) {
      const own = await runOn(alone, feedsOf(seed));
      for (const name of made) if (!isSame(fromA[sample]?.[name], own[name])) otherwise.add(name);
    }
  }
  if (otherwise.size === 0) return undefined;
  const given = Object.entries(fromA[0] ?? {})
    .filter(([name]) => made.has(name))
    .map(([name, { type, shape }]) => ValueInfo.tensor(name, type, Array(shape.length).fill(undefined)));
  const decisionsIn = (outputs: Tensors = {}): Tensors =>
    Object.fromEntries(Object.entries(outputs).filter(([name]) => made.has(name)));
  {
    await using second = await openB(partOf(b, asked, { given }));
    for (const [sample, seed] of seeds.entries()) {
      const decided = decisionsIn(fromA[sample]);
      const fromB = { ...decided, ...(await runOn(second, { ...feedsOf(seed), ...decided })) };
      for (const name of compared) {
        const [left, right] = [fromA[sample]?.[name], fromB[name]];
        if (left === undefined || right?.shape.join() !== left.shape.join()) return undefined;
        const step = isFloatType(left.type) ? stepOf(a, name, left.type) : 0;
        const comparison = comparisons.get(name) ?? new Comparison(name, left.type, tolerance, step);
        comparison.add(left, right);
        comparisons.set(name, comparison);
      }
    }
  }
  const past = new Map([...comparisons].filter(([, comparison]) => comparison.isNearby()));
  if (tolerance === undefined && past.size > 0) {
    const decided = seeds.map((seed, sample) => ({
      seed,
      feeds: feedsOf(seed),
      fixed: decisionsIn(fromA[sample]),
    }));
    await addRounding(partOf(a, [...past.keys()], { given }), openA, decided, past);
  }
  const results = new Map([...comparisons].map(([name, comparison]) => [name, comparison.result()]));
  const agrees = [...results.values()].every(({ passed }) => passed);
  if (!agrees) return undefined;
  const isOther = (node: Node): boolean => madeBy(node).some((name) => otherwise.has(name));
  const others = deciding.filter(isOther);
  const isFirst = (node: Node): boolean =>
    !ancestors(a.graph.nodes, [...valuesRead(node.proto)]).some((before) => others.includes(before));
  return {
    decisions: {
      nodes: others
        .filter(isFirst)
        .map(({ name, opType, outputs: [output = ''] }) => ({ name: name || output, opType })),
      forced: deciding.length,
      relativeDifference: Math.max(...[...read].map((name) => results.get(name)?.relativeDifference ?? 0)),
    },
    outputs: names.flatMap((name) => results.get(name) ?? []),
  };
}

/** All outputs of a session, on those of the inputs that it takes. */
async function runOn(session: Session, feeds: Tensors): Promise<Tensors> {
  const taken = session.inputs.flatMap(({ name, type }) => {
    const tensor = feeds[name];
    return tensor === undefined ? [] : [[name, inWidthOf(type, tensor)] as const];
  });
  return await session.run(Object.fromEntries(taken));
}

function madeBy(node: Node): string[] {
  return node.outputs.filter((name) => name !== '');
}

function isSame(a: RuntimeTensor | undefined, b: RuntimeTensor | undefined): boolean {
  if (a === undefined || b?.shape.join() !== a.shape.join()) return false;
  return a.data.every((value: unknown, index: number) => Object.is(value, b.data[index]));
}
