import {
  type Graph,
  Model,
  ModelError,
  makeNode,
  type Node,
  specOf,
  type Tensor,
} from '../../graph/index.js';
import { createMessage } from '../../graph/proto/codec.js';
import type { GraphProto, NodeProto } from '../../graph/proto/schema.js';
import { constantTensor } from '../../runtime/index.js';

/**
 * The model with the branch that is taken in place of every If whose condition is a constant. The model itself where
 * there is none.
 *
 * @throws ModelError for a branch with subgraphs of its own
 */
export function inlined(model: Model): Model {
  const { graph } = model;
  if (!graph.nodes.some((node) => branchOf(node) !== undefined)) return model;
  const constants: Tensor[] = [];
  const nodes = graph.nodes.flatMap((node): NodeProto[] => {
    const branch = branchOf(node);
    return branch === undefined ? [node.proto] : spliced(node, branch, constants);
  });
  const proto = graph.proto as GraphProto;
  return new Model(
    createMessage('ModelProto', {
      ...model.proto,
      graph: createMessage('GraphProto', {
        ...proto,
        node: nodes,
        initializer: [...(proto.initializer ?? []), ...constants.map((tensor) => tensor.proto)],
      }),
    }),
  );
}

/** The graph that an If runs, where that is certain. */
function branchOf(node: Node): Graph | undefined {
  if (!node.is('If')) return undefined;
  const condition = constantTensor(node.graph, node.inputs[0] ?? '');
  if (condition === undefined || condition.size !== 1) return undefined;
  const name = Number(condition.array()[0]) === 0 ? 'else_branch' : 'then_branch';
  const index = (node.proto.attribute ?? [])
    .filter(({ g }) => g)
    .findIndex((attribute) => attribute.name === name);
  return node.subgraphs[index];
}

function spliced(node: Node, branch: Graph, constants: Tensor[]): NodeProto[] {
  const { model } = node.graph;
  const deep = branch.nodes.find((inner) => inner.subgraphs.length > 0);
  if (deep !== undefined) {
    throw new ModelError(`stands in a branch of If '${node.label}' and has a subgraph; inline the If first`, {
      file: model.path,
      node: deep.label,
    });
  }
  const names = new Map<string, string>();
  const own = [...branch.initializers.keys(), ...branch.nodes.flatMap((inner) => inner.outputs)];
  for (const name of own) if (name !== '') names.set(name, model.freshName(`${node.label}/${name}`));
  const renamed = (name: string): string => names.get(name) ?? name;
  for (const [name, tensor] of branch.initializers) constants.push(tensor.renamed(renamed(name)));
  const copies = branch.nodes.map((inner) =>
    makeNode({
      ...specOf(inner.proto),
      name: model.freshName(`${node.label}/${inner.label}`),
      inputs: inner.inputs.map(renamed),
      outputs: inner.outputs.map(renamed),
    }),
  );
  const results = branch.outputs.map((output, index) =>
    makeNode({ opType: 'Identity', inputs: [renamed(output.name)], outputs: [node.outputs[index] ?? ''] }),
  );
  return [...copies, ...results.filter((result) => result.output?.[0] !== '')];
}
