import { ancestors, type FloatType, isFloatType, type Model } from '../../graph/index.js';
import { partOf } from '../../runtime/session/part.js';
import type { RuntimeTensor, Session } from '../../runtime/types.js';
import { areComparable, inWidthOf } from './float-widths.js';
import { Comparison } from './output-comparison.js';
import { movingNodes, stepOf } from './rounding.js';

/** Where two models part: the first inner value, in the order of the first model's nodes, that is past the tolerance. */
export interface Divergence {
  /** Undefined where all inner values that were compared agree. */
  readonly value: string | undefined;
  /** The nodes that make it in the first and in the second model. */
  readonly nodes: readonly [DivergingNode, DivergingNode] | undefined;
  /** As OutputComparison has them. */
  readonly relativeDifference: number;
  readonly tolerance: number;
  /** Inner values of the same name and shape in both that come before it, or all. */
  readonly agreeing: number;
}

/** A node of one of the models. */
export interface DivergingNode {
  readonly name: string;
  readonly opType: string;
}

/** Inner values that are fetched in one run. */
const AT_ONCE = 16;

/**
 * Compares what two models compute inside, on one sample: the values that nodes of both make under the same name.
 *
 * @param options.names outputs of the first model: what they do not depend on is left out
 */
export async function firstDivergence(
  a: Model,
  b: Model,
  options: {
    readonly names: readonly string[];
    readonly feeds: Readonly<Record<string, RuntimeTensor>>;
    readonly tolerance: number | undefined;
    readonly coarsest: FloatType;
    readonly openA: (part: Model) => Promise<Session>;
    readonly openB: (part: Model) => Promise<Session>;
  },
): Promise<Divergence> {
  const { names, feeds, tolerance, coarsest, openA, openB } = options;
  const values = movingNodes(ancestors(a.graph.nodes, names), a).flatMap((node) =>
    node.outputs.filter((name) => name !== '' && b.graph.producer(name) !== undefined),
  );
  const found = { relativeDifference: 0, tolerance: tolerance ?? 0 };
  let agreeing = 0;
  for (let from = 0; from < values.length; from += AT_ONCE) {
    const part = values.slice(from, from + AT_ONCE);
    const [left, right] = [await valuesOf(a, part, feeds, openA), await valuesOf(b, part, feeds, openB)];
    for (const name of part) {
      const [one, other] = [left[name], right[name]];
      if (one === undefined || other === undefined || !areComparable(one.type, other.type)) continue;
      if (one.shape.join() !== other.shape.join()) continue;
      const step = isFloatType(one.type) ? stepOf(a, name, one.type) : 0;
      const comparison = new Comparison(name, one.type, tolerance, step, { otherType: other.type, coarsest });
      comparison.add(one, other);
      const result = comparison.result();
      found.tolerance = result.tolerance;
      if (result.passed) {
        agreeing += 1;
        continue;
      }
      return {
        value: name,
        nodes: [nodeOf(a, name), nodeOf(b, name)],
        relativeDifference: result.relativeDifference,
        tolerance: result.tolerance,
        agreeing,
      };
    }
  }
  return { ...found, value: undefined, nodes: undefined, agreeing };
}

function nodeOf(model: Model, value: string): DivergingNode {
  const node = model.graph.producer(value);
  return { name: node?.name || value, opType: node?.opType ?? '' };
}

/** Those of the values that are tensors. */
async function valuesOf(
  model: Model,
  names: readonly string[],
  feeds: Readonly<Record<string, RuntimeTensor>>,
  open: (part: Model) => Promise<Session>,
): Promise<Readonly<Record<string, RuntimeTensor>>> {
  await using session = await open(partOf(model, names));
  const tensors = session.outputs.filter(({ type }) => type !== undefined).map(({ name }) => name);
  if (tensors.length === 0) return {};
  const given = session.inputs.flatMap(({ name, type }) => {
    const feed = feeds[name];
    return feed === undefined ? [] : [[name, inWidthOf(type, feed)] as const];
  });
  return await session.run(Object.fromEntries(given), { outputs: tensors });
}
