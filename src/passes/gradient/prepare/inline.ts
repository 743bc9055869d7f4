import { type Copying, copyNode, nameOutputs } from '../../../graph/edit/copy-nodes.js';
import { inlinedExcept } from '../../../graph/edit/inline-functions.js';
import { inSingle, usesType } from '../../../graph/edit/single-precision.js';
import {
  type Graph,
  type Model,
  makeNode,
  type Node,
  type Tensor,
  type ValueInfo,
  withNodes,
} from '../../../graph/index.js';
import type { NodeProto } from '../../../graph/proto/schema.js';
import { constantTensor } from '../../../runtime/index.js';
import { followsData } from '../request.js';
import { ownRuleOf } from '../rules/index.js';
import { defused } from './fused/index.js';
import { probe } from './infer-shapes.js';

/**
 * The model as nodes of one graph: its functions in place of their calls, and the branch that is taken in place of every If
 * whose condition is a constant, in branches too. Standard operators stand in place of fused ones. The model itself where it has none of these.
 *
 * @throws ModelError as `inlinedFunctions`
 */
export function inlined(model: Model): Model {
  const plain = inlinedExcept(
    model,
    ({ domain = '', op_type: opType = '' }) => ownRuleOf({ domain, opType }) !== undefined,
  );
  // The CPU has no kernels for bfloat16, and float32 holds all of its numbers.
  const single = usesType(plain, 'bfloat16') ? inSingle(plain, false, ['bfloat16']).model : plain;
  return defused(withBranches(single, new Map()));
}

/**
 * The same, where sizes are settled: also of every If whose condition follows from them (exporters write a Squeeze of a
 * dimension that may be 1 so).
 *
 * @param inputs with settled sizes
 */
export async function inlinedFor(model: Model, inputs: readonly ValueInfo[]): Promise<Model> {
  let current = inlined(model);
  for (;;) {
    const { graph } = current;
    const conditions = graph.nodes
      .filter((node) => node.is('If') && !followsData(graph, node.inputs[0] ?? ''))
      .map((node) => node.inputs[0] ?? '');
    if (conditions.length === 0) return current;
    const { numbers } = await probe(current, inputs, [], conditions);
    const known = new Map([...numbers].map(([name, [taken]]) => [name, taken !== 0] as const));
    const next = withBranches(current, known);
    if (next === current) return current;
    current = next;
  }
}

/** @param conditions what is known besides constants */
function withBranches(model: Model, conditions: ReadonlyMap<string, boolean>): Model {
  let current = model;
  while (current.graph.nodes.some((node) => branchOf(node, conditions) !== undefined))
    current = once(current, conditions);
  return current;
}

function once(model: Model, conditions: ReadonlyMap<string, boolean>): Model {
  const { graph } = model;
  const constants: Tensor[] = [];
  const nodes = graph.nodes.flatMap((node): NodeProto[] => {
    const branch = branchOf(node, conditions);
    return branch === undefined ? [node.proto] : spliced(node, branch, constants);
  });
  return withNodes(model, nodes, constants);
}

/** The graph that an If runs, where that is certain. */
function branchOf(node: Node, conditions: ReadonlyMap<string, boolean>): Graph | undefined {
  if (!node.is('If')) return undefined;
  const condition = node.inputs[0] ?? '';
  const tensor = constantTensor(node.graph, condition);
  const taken = tensor?.size === 1 ? Number(tensor.array()[0]) !== 0 : conditions.get(condition);
  if (taken === undefined) return undefined;
  const index = (node.proto.attribute ?? [])
    .filter(({ g }) => g)
    .findIndex(({ name }) => name === (taken ? 'then_branch' : 'else_branch'));
  return node.subgraphs[index];
}

function spliced(node: Node, branch: Graph, constants: Tensor[]): NodeProto[] {
  const { model } = node.graph;
  const copying: Copying = { label: node.label, fresh: (name) => model.freshName(name) };
  const names = new Map<string, string>();
  for (const [name, tensor] of branch.initializers) {
    const own = model.freshName(`${node.label}/${name}`);
    names.set(name, own);
    constants.push(tensor.renamed(own));
  }
  const inner = branch.nodes.map(({ proto }) => proto);
  nameOutputs(inner, names, copying);
  const copies = inner.map((one) => copyNode(one, names, copying));
  const results = branch.outputs.flatMap(({ name }, index): NodeProto[] => {
    const output = node.outputs[index] ?? '';
    if (output === '') return [];
    return [makeNode({ opType: 'Identity', inputs: [names.get(name) ?? name], outputs: [output] })];
  });
  return [...copies, ...results];
}
