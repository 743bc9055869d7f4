import type { NodeProto } from '../proto/schema.js';
import { valuesRead } from '../subgraphs.js';

/** Positions of nodes that read each other's values in a circle, and the strongly connected group of each node. */
export interface Cycles {
  /** Each as positions in the order in which values flow; one per group of nodes that has any. */
  readonly cycles: readonly (readonly number[])[];
  readonly group: readonly number[];
}

/** Finds the cycles of a list of nodes, in time linear in nodes and edges (Tarjan 1972, without recursion). */
export function cyclesOf(nodes: readonly NodeProto[]): Cycles {
  const edges = readersOf(nodes);
  const count = nodes.length;
  const order = new Int32Array(count).fill(-1);
  const low = new Int32Array(count);
  const group = new Array<number>(count).fill(-1);
  const next = new Int32Array(count);
  const stack: number[] = [];
  const cycles: number[][] = [];
  let clock = 0;
  let groups = 0;
  for (let root = 0; root < count; root += 1) {
    if ((order[root] as number) >= 0) continue;
    const path = [root];
    while (path.length > 0) {
      const at = path[path.length - 1] as number;
      if ((order[at] as number) < 0) {
        order[at] = low[at] = clock;
        clock += 1;
        stack.push(at);
      }
      const readers = edges[at] as readonly number[];
      const edge = next[at] as number;
      if (edge < readers.length) {
        next[at] = edge + 1;
        const to = readers[edge] as number;
        if ((order[to] as number) < 0) path.push(to);
        else if (group[to] === -1) low[at] = Math.min(low[at] as number, order[to] as number);
        continue;
      }
      path.pop();
      const parent = path[path.length - 1];
      if (parent !== undefined) low[parent] = Math.min(low[parent] as number, low[at] as number);
      if (low[at] !== order[at]) continue;
      let size = 0;
      for (let member = -1; member !== at; size += 1) {
        member = stack.pop() as number;
        group[member] = groups;
      }
      if (size > 1 || readers.includes(at)) cycles.push(cycleFrom(at, edges, group));
      groups += 1;
    }
  }
  return { cycles: cycles.sort((a, b) => (a[0] as number) - (b[0] as number)), group };
}

/** The shortest way from a node back to itself within its group. */
function cycleFrom(start: number, edges: readonly (readonly number[])[], group: readonly number[]): number[] {
  const from = new Map<number, number>();
  const queue = [start];
  for (const at of queue) {
    for (const to of edges[at] as readonly number[]) {
      if (to === start) {
        const path = [at];
        while (path[0] !== start) path.unshift(from.get(path[0] as number) as number);
        return path;
      }
      if (group[to] === group[start] && !from.has(to)) {
        from.set(to, at);
        queue.push(to);
      }
    }
  }
  return [start];
}

/** For each node the nodes that read its values, directly or from a subgraph. */
function readersOf(nodes: readonly NodeProto[]): number[][] {
  const makers = new Map<string, number>();
  for (const [position, node] of nodes.entries()) {
    for (const output of node.output ?? [])
      if (output !== '' && !makers.has(output)) makers.set(output, position);
  }
  const readers: number[][] = nodes.map(() => []);
  for (const [position, node] of nodes.entries()) {
    for (const value of valuesRead(node)) {
      const maker = makers.get(value);
      if (maker !== undefined) readers[maker]?.push(position);
    }
  }
  return readers;
}
