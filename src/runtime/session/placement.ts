import { type ExecutionProvider, providerOf } from '../providers/providers.js';

/** One node of the graph that onnxruntime ran: of the optimized graph, in which nodes may be fused or added. */
export interface PlacedNode {
  readonly name: string;
  readonly op: string;
  /** One of EXECUTION_PROVIDERS, or what onnxruntime calls one that is none of them. */
  readonly provider: ExecutionProvider | string;
  /** How often it ran; more than once in the body of a Loop. */
  readonly runs: number;
  /** Milliseconds of all its runs on the calling thread. A GPU may still be at work when they are over. */
  readonly milliseconds: number;
}

/** What one provider ran. */
export interface ProviderUse {
  readonly provider: ExecutionProvider | string;
  readonly nodes: number;
  readonly milliseconds: number;
  /** Nodes of each operator, the most frequent first. */
  readonly operators: Readonly<Record<string, number>>;
}

/** Which provider ran which node, as onnxruntime's own profile tells it: as far as that could be had. */
export interface Placement {
  /** Why it is not known who ran the nodes; they are then missing. */
  readonly problem?: string | undefined;
  readonly nodes: readonly PlacedNode[];
  /** The provider of the most nodes first. */
  readonly uses: readonly ProviderUse[];
  /** Copies between the memories of two providers that onnxruntime put in. */
  readonly copies: number;
}

export interface ProfileEvent {
  readonly cat?: string;
  readonly name?: string;
  /** Microseconds. */
  readonly dur?: number;
  readonly args?: {
    readonly provider?: string | undefined;
    readonly op_name?: string | undefined;
    readonly node_index?: string | undefined;
  };
}

const SUFFIX = '_kernel_time';
const COPIES = ['MemcpyFromHost', 'MemcpyToHost'];

export function unknownPlacement(problem: string): Placement {
  return { problem, nodes: [], uses: [], copies: 0 };
}

/** The nodes in a profile, each once. */
export function placementOf(events: readonly ProfileEvent[]): Placement {
  const nodes = new Map<string, { -readonly [Key in keyof PlacedNode]: PlacedNode[Key] }>();
  let copies = 0;
  for (const { cat, name = '', dur = 0, args = {} } of events) {
    if (cat !== 'Node' || !name.endsWith(SUFFIX) || args.provider === undefined) continue;
    const op = args.op_name ?? '?';
    const key = `${name} ${args.node_index} ${op}`;
    const known = nodes.get(key);
    if (known !== undefined) {
      known.runs += 1;
      known.milliseconds += dur / 1000;
    } else if (COPIES.includes(op)) {
      copies += 1;
    } else {
      nodes.set(key, {
        name: name.slice(0, -SUFFIX.length),
        op,
        provider: providerOf(args.provider),
        runs: 1,
        milliseconds: dur / 1000,
      });
    }
  }
  const list = [...nodes.values()];
  return { nodes: list, uses: usesOf(list), copies };
}

function usesOf(nodes: readonly PlacedNode[]): ProviderUse[] {
  const uses = [...new Set(nodes.map(({ provider }) => provider))].map((provider) => {
    const own = nodes.filter((node) => node.provider === provider);
    return {
      provider,
      nodes: own.length,
      milliseconds: own.reduce((sum, node) => sum + node.milliseconds, 0),
      operators: countOperators(own),
    };
  });
  return uses.sort((a, b) => b.nodes - a.nodes);
}

/** Nodes of each operator, the most frequent first. */
export function countOperators(nodes: readonly PlacedNode[]): Record<string, number> {
  const counts = new Map<string, number>();
  for (const { op } of nodes) counts.set(op, (counts.get(op) ?? 0) + 1);
  return Object.fromEntries([...counts].sort(([, a], [, b]) => b - a));
}
