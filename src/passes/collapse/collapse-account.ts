import { type ConstantValue, type Graph, ModelError, type Node } from '../../graph/index.js';
import type { Skipped } from '../../graph/skipped.js';
import { ValueKeys } from '../../graph/value-keys.js';
import type { Probe } from './probe-region.js';

/**
 * A chain or affine region that became one node (or two, where its shape demands it). Each node of the model stands in
 * one of these at most: a region tells of a chain in it by the nodes that the chain was.
 */
export interface CollapsedChain {
  readonly node: string;
  /** What it became: operators in the order of application, ' + ' between them; empty where it did nothing. */
  readonly op: string;
  /** How many nodes these are. */
  readonly nodesAfter: number;
  /** Names of the nodes that it was. */
  readonly from: readonly string[];
  /** Their operators. */
  readonly fromOps: readonly string[];
  /** Whether the nodes said that they are a chain, or were found to be one, or to be an affine region. */
  readonly by: 'metadata' | 'structure' | 'region';
  /** Elements of all constants of the nodes (weights, biases, statistics), without those that an entry before has. */
  readonly parametersBefore: number;
  /** The same of what they became. */
  readonly parametersAfter: number;
  /** Multiply-adds for one position of the output (for one row, of matrices). */
  readonly multiplyAddsBefore: number;
  readonly multiplyAddsAfter: number;
  /** True where a BatchNormalization in training mode was folded, with its running statistics. */
  readonly usesRunningStatistics?: boolean;
  /**
   * Largest relative difference of a probe in onnxruntime, with `explain`; where a chain was folded first and then
   * its region, the sum of both.
   */
  readonly probe?: number;
  /** Why the probe could not be run. */
  readonly unprobed?: string;
}

export interface CollapseAccount {
  readonly rewritten: readonly CollapsedChain[];
  readonly skipped: readonly Skipped[];
}

export type Probed = Pick<CollapsedChain, 'probe' | 'unprobed'>;

/** What a probe told, or why it could not be run: what is folded is right all the same. */
export async function probed(run: () => Promise<number | Probe>): Promise<Probed> {
  try {
    const result = await run();
    return { probe: typeof result === 'number' ? result : result.relativeDifference };
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return { unprobed: error.message };
  }
}

/** The probes of what was folded in steps, added up. */
export function summed(parts: readonly Probed[]): Probed {
  const unprobed = parts.find((part) => part.unprobed !== undefined)?.unprobed;
  if (unprobed !== undefined) return { unprobed };
  const probes = parts.map(({ probe }) => probe).filter((probe) => probe !== undefined);
  return probes.length === 0 ? {} : { probe: probes.reduce((sum, probe) => sum + probe, 0) };
}

/** What was counted and made so far. */
export class Ledger {
  readonly keys = new ValueKeys();
  /** The chains and regions that were replaced, by the nodes that stand for each. */
  readonly made = new Map<Node, CollapsedChain>();
  readonly #counted = new Set<string>();

  /** A constant that is not to be counted any more. */
  see(graph: Graph, value: string): void {
    this.#counted.add(this.keys.of(graph, value));
  }

  /** Elements of constants that were not counted yet. */
  count(constants: readonly ConstantValue[]): number {
    let sum = 0;
    for (const { graph, value, shape } of constants) {
      const key = this.keys.of(graph, value);
      if (!this.#counted.has(key)) sum += shape.reduce((product, dim) => product * dim, 1);
      this.#counted.add(key);
    }
    return sum;
  }
}
