import {
  findConstant,
  isConstant,
  isFloatType,
  type Model,
  type Node,
  quantizedStorage,
} from '../graph/index.js';
import { shapesOf } from '../graph/shapes/shapes.js';
import { findLinearSites, type LinearSite, type NotASite } from './linear-sites.js';
import { readChainNote, readPartNote } from './note.js';

/**
 * The linear sites of a model and, besides, MatMul nodes with a batch of constant matrices: those have a group for each
 * matrix of the batch.
 */
export function findExpandableSites(model: Model): {
  readonly sites: readonly LinearSite[];
  readonly others: readonly NotASite[];
} {
  const found = findLinearSites(model);
  const batched: LinearSite[] = [];
  const others: NotASite[] = [];
  for (const other of found.others) {
    const site = other.node.is('MatMul') ? batchedSite(other.node) : undefined;
    if (site === undefined) others.push(other);
    else if ('reason' in site) others.push({ node: other.node, reason: site.reason });
    else batched.push(site);
  }
  if (batched.length === 0) return { sites: found.sites, others };
  const order = new Map([...model.nodes()].map((node, index) => [node, index]));
  const place = ({ node }: LinearSite): number => order.get(node) ?? order.size;
  return { sites: [...found.sites, ...batched].sort((a, b) => place(a) - place(b)), others };
}

/** A MatMul with a constant of three dimensions or more; undefined for others. */
export function batchedSite(node: Node): LinearSite | { readonly reason: string } | undefined {
  const isWeight = (index: number): boolean => {
    const weight = findConstant(node.graph, node.inputs[index] ?? '');
    return isConstant(weight) && isFloatType(weight.dataType) && weight.shape.length > 2;
  };
  const isLeft = isWeight(0);
  if (isLeft === isWeight(1)) return undefined;
  const weightInput = isLeft ? 0 : 1;
  const weight = findConstant(node.graph, node.inputs[weightInput] ?? '');
  if (!isConstant(weight) || quantizedStorage(weight) !== undefined) return undefined;
  if (isConstant(findConstant(node.graph, node.inputs[1 - weightInput] ?? ''))) return undefined;
  const { shape } = weight;
  const rank = shape.length;
  const data = node.inputs[1 - weightInput] ?? '';
  const shapes = shapesOf(node.graph);
  const dataRank = shapes.rank(data);
  // A vector times a batch of matrices is a matrix, which the next batch would take for one. In a chain it was seen to.
  const outputRank = shapes.rank(node.outputs[0] ?? '') ?? 0;
  const isOfChain = readChainNote(node) !== undefined || readPartNote(node) !== undefined;
  const isMatrix = isOfChain || (dataRank === undefined ? outputRank >= rank : dataRank > 1);
  if (!isMatrix) {
    const what =
      dataRank === undefined
        ? `the rank of its data '${data}' is not known`
        : `its data '${data}' is a vector`;
    return { reason: `its weight is batched, of shape [${shape.join(', ')}], and ${what}` };
  }
  const batch = shape.slice(0, -2).reduce((product, dim) => product * dim, 1);
  return {
    node,
    op: 'MatMul',
    weightInput,
    weight,
    orientation: isLeft ? 'out-in' : 'in-out',
    rows: batch * (shape[rank - 2] ?? 0),
    columns: shape[rank - 1] ?? 0,
    groups: Math.max(1, batch),
    kernel: [],
  };
}
