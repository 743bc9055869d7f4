import type { Composition } from '../../affine/compose.js';
import { strideVolume } from '../../affine/map/geometry.js';
import { isReadOnlyByNodes, storedParts } from '../../affine/match/copies.js';
import { type Region, sizesAfter } from '../../affine/match/region.js';
import { type ConstantValue, type Graph, ModelError, type Node } from '../../graph/index.js';
import { ValueKeys } from '../../graph/names/value-keys.js';
import type { Skipped } from '../../graph/skipped.js';
import { constantsOfRegion } from './fold.js';
import type { Probe } from './probe.js';

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

/** What collapse returns: what was folded, and what was skipped and why. */
export interface CollapseAccount {
  readonly rewritten: readonly CollapsedChain[];
  readonly skipped: readonly Skipped[];
  /** Calls of the model's own functions that were replaced by their nodes, since what is folded goes through them. */
  readonly inlined: readonly string[];
}

export type Probed = Pick<CollapsedChain, 'probe' | 'unprobed'>;

/** What a probe told, or why it could not be run: what is folded is right all the same. */
export async function probed(run: () => Promise<Probe>): Promise<Probed> {
  try {
    return { probe: (await run()).relativeDifference };
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
  /** The regions that were replaced, by the nodes that stand for each. */
  readonly made = new Map<Node, CollapsedChain>();
  /** Constants of the model as it was, and those that were made of them. */
  readonly #counted = new Set<string>();
  /** Constants that what was made reads, by what they are made of. */
  readonly #told = new Set<string>();

  /** A constant that is not to be counted any more. */
  see(graph: Graph, value: string): void {
    this.#counted.add(this.keys.of(graph, value));
  }

  /** Elements of constants that go with some nodes, those that were not counted yet. */
  count(constants: readonly ConstantValue[], going: ReadonlySet<Node>): number {
    let sum = 0;
    for (const constant of constants) {
      const key = this.keys.of(constant.graph, constant.value);
      if (!this.#counted.has(key) && isReadOnlyByNodes(constant, going)) sum += storedSize(constant);
      this.#counted.add(key);
    }
    return sum;
  }

  /**
   * Elements of the constants that a region becomes, without those that were told already, or that others read. Asked before
   * the region is replaced.
   */
  tell(
    region: Region,
    { bias: made }: Composition,
    going: ReadonlySet<Node>,
  ): { readonly weight: number; readonly bias: number } {
    const { weight, bias } = sizesAfter(region);
    const { kept, chain, graph, keys, target } = region;
    const once = (name: string, size: number): number => {
      const isNew = !this.#told.has(name);
      this.#told.add(name);
      return isNew ? size : 0;
    };
    const keptSize = (value: string, constant: ConstantValue | undefined): number =>
      constant && isReadOnlyByNodes(constant, going)
        ? once(this.keys.of(graph, value), sizeOf(constant.shape))
        : 0;
    const biasSize = ((): number => {
      if (made === undefined) return 0;
      if (made.kind === 'kept') return keptSize(made.value, kept.bias?.constant ?? chain?.bias);
      return once(`bias ${keys.all()}`, bias);
    })();
    // Of a normalization that keeps its statistics they are told, too.
    const statistics = target.main === 'BatchNormalization' ? 2 * weight : 0;
    return { weight: once(keys.weight(), weight + statistics), bias: biasSize };
  }
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

function storedSize(constant: ConstantValue): number {
  return storedParts(constant).reduce((sum, [, size]) => sum + size, 0);
}

/** What a region is made of: nodes of the model as it came, and regions that were folded before. */
export interface Parts extends Pick<CollapsedChain, 'from' | 'fromOps'> {
  /** Regions all of whose nodes this one takes in. */
  readonly taken: readonly CollapsedChain[];
  /** Elements of constants, and multiply-adds, before anything was folded. */
  readonly parametersBefore: number;
  readonly multiplyAddsBefore: number;
  /** True where some of its nodes were made by folding. */
  readonly isMade: boolean;
}

/** Tells what the nodes of a region were in the model as it came; counts their constants. */
export function partsOf(region: Region, ledger: Ledger, going: ReadonlySet<Node>): Parts {
  const { nodes, before } = region;
  const counts = new Map<CollapsedChain, number>();
  for (const node of nodes) {
    const account = ledger.made.get(node);
    if (account !== undefined) counts.set(account, (counts.get(account) ?? 0) + 1);
  }
  const from: string[] = [];
  const fromOps: string[] = [];
  const taken = new Set<CollapsedChain>();
  const own = new Set<Node>();
  let multiplyAddsBefore = before.multiplyAdds;
  for (const node of nodes) {
    const made = ledger.made.get(node);
    // Of two nodes that a region became one may go on alone.
    const account = made !== undefined && (counts.get(made) ?? 0) >= made.nodesAfter ? made : undefined;
    if (account === undefined) own.add(node);
    if (made === undefined) {
      from.push(node.label);
      fromOps.push(node.opType);
    }
    if (account === undefined || taken.has(account)) continue;
    taken.add(account);
    from.push(...account.from);
    fromOps.push(...account.fromOps);
    multiplyAddsBefore +=
      (account.multiplyAddsBefore - account.multiplyAddsAfter) * positionsOf(region, node);
  }
  const counted = ledger.count(
    constantsOfRegion(region, (node) => own.has(node)),
    going,
  );
  return {
    from,
    fromOps,
    taken: [...taken],
    parametersBefore: [...taken].reduce((sum, one) => sum + one.parametersBefore, counted),
    multiplyAddsBefore,
    isMade: counts.size > 0,
  };
}

/** Positions of the output of a region's node for one of the region's. */
function positionsOf({ measures, expression }: Region, node: Node): number {
  const own = measures.find((measure) => measure.node === node)?.volume ?? 1;
  return strideVolume(expression.geometry) / own;
}
