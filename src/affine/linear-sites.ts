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

/** Operators whose output is linear in one input, with a weight in the other. */
export const LINEAR_OPS = ['Gemm', 'MatMul', 'Conv', 'ConvTranspose'] as const;
export type LinearOp = (typeof LINEAR_OPS)[number];

/** A node whose output is linear (affine) in one input, with a constant weight. */
export interface LinearSite {
  readonly node: Node;
  readonly op: LinearOp;
  /** Which input is the weight. */
  readonly weightInput: number;
  readonly weight: ConstantValue;
  /**
   * The weight as a matrix of its elements in row-major order. 'out-in': rows are outputs (Conv: out x
   * (in/group * kernel), Gemm with transB, MatMul with the weight on the left). 'in-out': rows are inputs
   * (MatMul with the weight on the right, Gemm without transB, ConvTranspose: in x (out/group * kernel)).
   */
  readonly orientation: 'out-in' | 'in-out';
  readonly rows: number;
  readonly columns: number;
  /** Groups of a convolution; each is `rows / groups` consecutive rows of the matrix. 1 elsewhere. */
  readonly groups: number;
  /** Spatial extents of a convolution's kernel; empty elsewhere. */
  readonly kernel: readonly number[];
}

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

/** The linear site that a node is, or why it is none. */
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
  return { node, op: 'Gemm', weightInput: 1, weight, orientation, rows, columns, groups: 1, kernel: [] };
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
  return {
    node,
    op: 'MatMul',
    weightInput: isRight ? 1 : 0,
    weight,
    orientation: isRight ? 'in-out' : 'out-in',
    rows,
    columns,
    groups: 1,
    kernel: [],
  };
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
  const columns = kernel.reduce((total, extent) => total * extent, perGroup);
  const orientation = op === 'Conv' ? 'out-in' : 'in-out';
  return { node, op, weightInput: 1, weight, orientation, rows, columns, groups, kernel };
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
