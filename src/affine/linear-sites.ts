import {
  type ConstantValue,
  findConstant,
  type Graph,
  isConstant,
  isFloatType,
  type Model,
  type Node,
  quantizedStorage,
} from '../graph/index.js';
import { windowOf, windowProblem } from '../graph/operators/window.js';
import { shapesOf } from '../graph/shapes/shapes.js';
import { LINEAR_OPS, type LinearOp, LinearSite } from './linear-site.js';
import { readChainNote, readPartNote } from './note.js';

export { LINEAR_OPS, type LinearOp, LinearSite } from './linear-site.js';

/** A node with a linear operator that is not a site, and why. */
export interface NotASite {
  readonly node: Node;
  readonly reason: string;
}

/**
 * Every linear site of a model in the order of execution (those of a subgraph in the place of the node that holds
 * it), in the main graph, in subgraphs and in functions, and every Gemm, MatMul, Conv and ConvTranspose that is none,
 * with the reason. Reads no weights.
 *
 * @throws ModelError where an attribute of a node is of another kind than its operator has
 * @example
 * const { sites, others } = findLinearSites(await readModel('model.onnx'));
 */
export function findLinearSites(model: Model): { sites: LinearSite[]; others: NotASite[] } {
  const sites: LinearSite[] = [];
  const others: NotASite[] = [];
  const visit = (graph: Graph): void => {
    for (const node of graph.nodes) {
      for (const subgraph of node.subgraphs) visit(subgraph);
      const op = LINEAR_OPS.find((name) => node.is(name));
      if (op === undefined) continue;
      const found = linearSite(node, op);
      if ('reason' in found) others.push({ node, reason: found.reason });
      else sites.push(found);
    }
  };
  for (const graph of [model.graph, ...model.functions]) visit(graph);
  return { sites, others };
}

/**
 * The linear site that a node is, or why it is none.
 *
 * @throws ModelError where an attribute of the node is of another kind than its operator has
 * @example
 * const site = linearSite(conv, 'Conv');
 * console.log('reason' in site ? site.reason : [site.rows, site.columns]);
 */
export function linearSite(node: Node, op: LinearOp): LinearSite | { readonly reason: string } {
  const referring = node.attributes.names().find((name) => node.attributes.isReference(name));
  if (referring !== undefined)
    return { reason: `its attribute '${referring}' is an attribute of the function` };
  switch (op) {
    case 'Gemm':
      return gemmSite(node);
    case 'MatMul':
      return matmulSite(node);
    case 'Conv':
    case 'ConvTranspose':
      return convSite(node, op);
  }
}

function gemmSite(node: Node): LinearSite | { readonly reason: string } {
  const weight = weightOf(node, 1);
  if ('reason' in weight) return weight;
  const [rows, columns] = weight.shape;
  if (weight.shape.length !== 2 || rows === undefined || columns === undefined) {
    return { reason: `its weight has the shape [${weight.shape.join(', ')}], not two dimensions` };
  }
  const orientation = node.attributes.int('transB', 0) === 1 ? 'out-in' : 'in-out';
  return new LinearSite({
    node,
    op: 'Gemm',
    weightInput: 1,
    weight,
    orientation,
    rows,
    columns,
    groups: 1,
    kernel: [],
  });
}

function matmulSite(node: Node): LinearSite | { readonly reason: string } {
  const right = weightOf(node, 1);
  const left = weightOf(node, 0);
  const isRight = !('reason' in right);
  const isLeft = !('reason' in left);
  if (isRight && isLeft) return { reason: 'both of its inputs are constants' };
  if (!isRight && !isLeft) {
    return { reason: `no input is a constant weight: ${right.reason}` };
  }
  const weight = isRight ? right : left;
  if ('reason' in weight) return weight;
  if (weight.shape.length !== 2) {
    const what = weight.shape.length < 2 ? 'a vector' : 'batched';
    return { reason: `its weight is ${what}, of shape [${weight.shape.join(', ')}]` };
  }
  const [rows = 0, columns = 0] = weight.shape;
  return new LinearSite({
    node,
    op: 'MatMul',
    weightInput: isRight ? 1 : 0,
    weight,
    orientation: isRight ? 'in-out' : 'out-in',
    rows,
    columns,
    groups: 1,
    kernel: [],
  });
}

function convSite(node: Node, op: 'Conv' | 'ConvTranspose'): LinearSite | { readonly reason: string } {
  const weight = weightOf(node, 1);
  if ('reason' in weight) return weight;
  const [rows = 0, perGroup = 0, ...kernel] = weight.shape;
  if (kernel.length === 0)
    return { reason: `its weight has the shape [${weight.shape.join(', ')}], no kernel` };
  const groups = node.attributes.int('group', 1);
  if (groups < 1 || rows % groups !== 0) {
    return { reason: `its ${rows} channels do not divide into ${groups} groups` };
  }
  const problem = windowProblem(windowOf(node, kernel));
  if (problem !== undefined) return { reason: `it ${problem}` };
  const columns = kernel.reduce((total, extent) => total * extent, perGroup);
  const orientation = op === 'Conv' ? 'out-in' : 'in-out';
  return new LinearSite({ node, op, weightInput: 1, weight, orientation, rows, columns, groups, kernel });
}

function weightOf(node: Node, index: number): ConstantValue | { readonly reason: string } {
  const name = node.inputs[index];
  if (!name) return { reason: `it has no input ${index}` };
  const constant = findConstant(node.graph, name);
  if (!isConstant(constant)) return constant;
  const quantized = quantizedStorage(constant);
  if (quantized !== undefined) return { reason: `its weight is quantized (${quantized.how})` };
  if (!isFloatType(constant.dataType))
    return { reason: `its weight is ${constant.dataType}, not floating-point` };
  return constant;
}

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
  return new LinearSite({
    node,
    op: 'MatMul',
    weightInput,
    weight,
    orientation: isLeft ? 'out-in' : 'in-out',
    rows: batch * (shape[rank - 2] ?? 0),
    columns: shape[rank - 1] ?? 0,
    groups: Math.max(1, batch),
    kernel: [],
  });
}
