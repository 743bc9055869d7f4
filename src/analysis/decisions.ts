import { ancestors, type Model, type Node, ValueInfo, valuesRead } from '../graph/index.js';
import { partOf } from '../runtime/part.js';
import { fedInputs } from '../runtime/random-inputs.js';
import type { RuntimeTensor, Session } from '../runtime/session.js';
import { Comparison, type OutputComparison } from './output-comparison.js';

/** Operators whose outputs jump where their floating-point inputs move a little. */
const DECIDING: ReadonlySet<string> = new Set([
  ...['ArgMax', 'ArgMin', 'TopK', 'NonMaxSuppression', 'Unique', 'NonZero'],
  ...['Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual', 'Equal'],
  ...['Round', 'Floor', 'Ceil', 'Sign', 'Mod', 'Cast', 'QuantizeLinear', 'DynamicQuantizeLinear'],
]);

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
  /** The inputs of the first model, sample by sample. */
  readonly samples: Iterable<Tensors>;
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
 * @returns undefined where the second does not have those nodes by what they read and make, where no decision
 *   differs, or where something else differs too
 */
export async function compareDecided(
  a: Model,
  b: Model,
  names: readonly string[],
  { tolerance, samples, openA, openB }: DecisionOptions,
): Promise<{ decisions: Decisions; outputs: OutputComparison[] } | undefined> {
  const deciding = decidingNodes(ancestors(a.graph.nodes, names), a);
  const made = new Set(deciding.flatMap(madeBy));
  const isComputed = (name: string): boolean => a.graph.producer(name) !== undefined;
  const read = new Set(deciding.flatMap((node) => node.inputs).filter(isComputed));
  const isShared = (name: string): boolean => b.graph.producer(name) !== undefined;
  if (made.size === 0 || ![...made, ...read].every(isShared)) return undefined;
  const compared = [...new Set([...names, ...read])];
  const asked = compared.filter((name) => !made.has(name));
  const comparisons = new Map<string, Comparison>();
  const otherwise = new Set<string>();
  await using first = await openA(partOf(a, [...new Set([...compared, ...made])]));
  await using alone = await openB(partOf(b, [...made]));
  // Its inputs need types, which the first run tells.
  let forced: Session | undefined;
  await using _ = { [Symbol.asyncDispose]: async () => await forced?.[Symbol.asyncDispose]() };
  for (const feeds of samples) {
    const fromA = await runOn(first, feeds);
    const own = await runOn(alone, feeds);
    for (const name of made) if (!isSame(fromA[name], own[name])) otherwise.add(name);
    const given = Object.entries(fromA).filter(([name]) => made.has(name));
    forced ??= await openB(
      partOf(b, asked, {
        given: given.map(([name, { type, shape }]) =>
          ValueInfo.tensor(
            name,
            type,
            shape.map(() => undefined),
          ),
        ),
      }),
    );
    const decided = Object.fromEntries(given);
    const fromB = { ...decided, ...(await runOn(forced, { ...feeds, ...decided })) };
    for (const name of compared) {
      const [left, right] = [fromA[name], fromB[name]];
      if (left === undefined || right?.shape.join() !== left.shape.join()) return undefined;
      const comparison = comparisons.get(name) ?? new Comparison(name, left.type, tolerance);
      comparison.add(left, right);
      comparisons.set(name, comparison);
    }
  }
  const results = new Map([...comparisons].map(([name, comparison]) => [name, comparison.result()]));
  const agrees = [...results.values()].every(({ passed }) => passed);
  if (otherwise.size === 0 || !agrees) return undefined;
  const isOther = (node: Node): boolean => madeBy(node).some((name) => otherwise.has(name));
  const others = deciding.filter(isOther);
  const isFirst = (node: Node): boolean =>
    !ancestors(a.graph.nodes, node.inputs).some((before) => others.includes(before));
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
  const taken = session.inputs.flatMap(({ name }) => {
    const tensor = feeds[name];
    return tensor === undefined ? [] : [[name, tensor] as const];
  });
  return await session.run(Object.fromEntries(taken));
}

/** Those that decide on what the inputs hold. What depends on their shapes alone is the same in both models. */
function decidingNodes(nodes: readonly Node[], model: Model): Node[] {
  const moving = new Set(fedInputs(model.graph).map(({ name }) => name));
  return nodes.filter((node) => {
    if (['Shape', 'Size'].includes(node.opType)) return false;
    if (![...valuesRead(node.proto)].some((name) => moving.has(name))) return false;
    for (const name of madeBy(node)) moving.add(name);
    return node.domain === '' && DECIDING.has(node.opType);
  });
}

function madeBy(node: Node): string[] {
  return node.outputs.filter((name) => name !== '');
}

function isSame(a: RuntimeTensor | undefined, b: RuntimeTensor | undefined): boolean {
  if (a === undefined || b?.shape.join() !== a.shape.join()) return false;
  return a.data.every((value: unknown, index: number) => Object.is(value, b.data[index]));
}
