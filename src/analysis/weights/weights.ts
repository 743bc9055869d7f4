import { type LinearOp, type LinearSite, linearSite } from '../../affine/linear-sites.js';
import { inlineCalls } from '../../graph/edit/inline-functions.js';
import {
  type DataType,
  findConstant,
  type Graph,
  isConstant,
  isFloatType,
  type Model,
  type Node,
  quantizedStorage,
} from '../../graph/index.js';
import { glob } from '../../graph/names/glob.js';
import { sliceElements } from '../spectra/conv-spectrum.js';
import { batched, convGeometry, convolution, fusedWeights, linearOpOf } from './fused-weights.js';
import type { Found, StoredUse, WeightUse, WeightUser } from './types.js';
import { constantData, type ReadElements, type StoredElements } from './weight-data.js';

/** A node with weights that a report does not look at, and why. */
export interface Overlooked<User extends WeightUser = Node> {
  readonly node: User;
  readonly reason: string;
}

/** A weight matrix, and all nodes that use it. */
export interface WeightMatrix<Use extends StoredUse = WeightUse> {
  readonly name: string;
  /** In the order of execution. */
  readonly uses: readonly [Use, ...Use[]];
  readonly shape: readonly number[];
  readonly rows: number;
  readonly columns: number;
  readonly dataType: DataType;
  /** Where it belongs to a chain. */
  readonly chain?: ChainRole | undefined;
}

/** What a weight is in a chain of linear nodes that stands for one. */
export interface ChainRole {
  /** One of the weights that are multiplied, or what they multiply out to. */
  readonly role: 'factor' | 'product';
  /** The weight that the chain stands for. */
  readonly weight: string;
  /** The node that the chain stands for. */
  readonly site: string;
}

/** What is found in a model. */
export interface FoundWeights {
  readonly weights: WeightMatrix[];
  readonly others: Overlooked[];
}

/** The elements of a weight, row-major, m x n: the matrix or, of a transposed view, its transpose, whose spectrum is the same. */
export interface Elements {
  readonly m: number;
  readonly n: number;
  read(): Promise<ReadElements>;
  /** Where they stand in a file, if they do: a thread that reads them there spares this one the work. */
  readonly stored?: StoredElements | undefined;
}

/** The model, or a copy with functions in place of calls that weights are passed to. */
export function withWeightsInSight(model: Model): Model {
  if (model.functions.length === 0) return model;
  const copy = model.clone();
  const calls = inlineCalls(copy, (plain) => {
    const nodes = [plain.graph, ...plain.functions]
      .flatMap((graph) => [...graph.walk()])
      .flatMap((graph) => graph.nodes);
    return nodes.filter((node) => weightsOf(node).uses.length > 0).map((node) => [node]);
  });
  return calls.length === 0 ? model : copy;
}

/** The weight matrices of the nodes of a model, whatever chains they form: those that findWeights finds where there are no chains. */
export function weightsInSight(model: Model): FoundWeights {
  const uses: WeightUse[] = [];
  const others: Overlooked[] = [];
  const visit = (graph: Graph): void => {
    for (const node of graph.nodes) {
      for (const subgraph of node.subgraphs) visit(subgraph);
      const found = weightsOf(node);
      uses.push(...found.uses);
      for (const reason of found.reasons) others.push({ node, reason });
    }
  };
  for (const graph of [model.graph, ...model.functions]) visit(graph);
  return { weights: merged(uses), others };
}

function weightsOf(node: Node): Found {
  const op = linearOpOf(node);
  if (op === undefined) return fusedWeights(node);
  const site = linearSite(node, op);
  if (!('reason' in site)) return { uses: [useOf(site)], reasons: [] };
  return otherLinear(node, op) ?? { uses: [], reasons: [site.reason] };
}

function useOf(site: LinearSite): WeightUse {
  const { node, rows, columns, kernel } = site;
  const data = constantData(site.weight, node);
  const conv = kernel.length > 0 ? convGeometry(node) : undefined;
  return { node, op: node.opType, data, rows, columns, ...(conv && { conv }) };
}

/** Weights of linear operators that are no linear sites: quantized ones, and batches of matrices. */
function otherLinear(node: Node, op: LinearOp): Found | undefined {
  const inputs = op === 'MatMul' ? [1, 0] : [1];
  const found = inputs.map((index) => findConstant(node.graph, node.inputs[index] ?? '')).filter(isConstant);
  const [weight] = found;
  if (weight === undefined || found.length > 1 || !isFloatType(weight.dataType)) return undefined;
  const isQuantized = quantizedStorage(weight) !== undefined;
  const isBatched = op === 'MatMul' && weight.shape.length > 2;
  if (!isQuantized && !isBatched) return undefined;
  const data = constantData(weight, node, !isBatched);
  const outcome = op === 'Conv' || op === 'ConvTranspose' ? convolution(node, data) : batched(node, data);
  return 'reason' in outcome ? { uses: [], reasons: [outcome.reason] } : outcome;
}

/** Uses of one matrix, in the order of the first. */
export function merged<Use extends StoredUse>(uses: readonly Use[]): WeightMatrix<Use>[] {
  const byOwner = new Map<unknown, Map<string, Use[]>>();
  const groups: [Use, ...Use[]][] = [];
  for (const use of uses) {
    const { data, part, rows, columns } = use;
    const dims = [rows, columns].sort((a, b) => a - b);
    const key = JSON.stringify([data.key, dims, part?.start, part?.rowStride, part?.columnStride]);
    const known = byOwner.get(data.owner) ?? new Map<string, Use[]>();
    byOwner.set(data.owner, known);
    const group = known.get(key);
    if (group !== undefined) group.push(use);
    else {
      const fresh: [Use] = [use];
      known.set(key, fresh);
      groups.push(fresh);
    }
  }
  return groups.map((group) => {
    const [{ data, name = data.name, shape = data.shape, rows, columns }] = group;
    return { name, uses: group, shape, rows, columns, dataType: data.dataType };
  });
}

/** Whether a weight's name, or that of a node that uses it, matches one of the globs; of none, all do. */
export function chosenBy(globs: readonly string[]): (weight: WeightMatrix<StoredUse>) => boolean {
  if (globs.length === 0) return () => true;
  const tests = globs.map(glob);
  return (weight) => tests.some((matches) => matches(weight.name) || nodesOf(weight).some(matches));
}

/** The nodes that use a weight: of the product of a chain, the one that it stands for. */
export function nodesOf({ uses, chain }: WeightMatrix<StoredUse>): string[] {
  return chain?.role === 'product' ? [chain.site] : [...new Set(uses.map(({ node }) => node.label))];
}

/** The elements of a weight, none of which is read yet. */
export function elementsOf({ uses: [use] }: WeightMatrix<StoredUse>): Elements {
  const { data: source, part, rows, columns } = use;
  if (part === undefined) {
    const [m, n] = source.isTransposed ? [columns, rows] : [rows, columns];
    return { m, n, read: () => source.read(), stored: source.inFile?.() };
  }
  const size = { m: rows, n: columns };
  if (part.columnStride === 1 && (part.rowStride === columns || rows === 1)) {
    const range = [part.start, rows * columns] as const;
    return { ...size, read: () => source.read(...range), stored: source.inFile?.(...range) };
  }
  return {
    ...size,
    read: async () => {
      const { data } = await source.read();
      return { data: sliceElements(data, { ...part, offset: [] }), isOwn: true };
    },
  };
}
