import { type Graph, makeNode, type Node, type NodeProto, specOf } from '../../../graph/index.js';

/**
 * A node in inference form: files that were written for training have BatchNormalization and Dropout in another. The
 * node as it is where it has one form only.
 */
export function inferring(node: Node): NodeProto {
  const spec = specOf(node.proto);
  if (isTrainingNorm(node)) {
    const attributeProtos = (spec.attributeProtos ?? []).filter(({ name }) => name !== 'training_mode');
    return makeNode({ ...spec, outputs: spec.outputs.slice(0, 1), attributeProtos });
  }
  if (node.is('Dropout') && spec.inputs.length > 2)
    return makeNode({ ...spec, inputs: spec.inputs.slice(0, 2) });
  return node.proto;
}

/**
 * Brings the BatchNormalization of files that were written for training into the form of all others, so that one rule
 * decides by the mode what they normalize by and how their statistics move. Those whose new statistics something reads,
 * or that have momentum 0 as the gradient itself writes them, stay.
 */
export function settleNorms(graph: Graph): void {
  for (const node of graph.nodes) {
    if (!isTrainingNorm(node) || node.attributes.float('momentum', 0.9) === 0) continue;
    const isRead = node.outputs.slice(1).some((name) => graph.uses(name).length > 0 || graph.isOutput(name));
    if (isRead) continue;
    const spec = specOf(inferring(node));
    graph.edit({ removeNodes: [node], insertNodes: [{ ...spec, name: node.name }] });
  }
}

function isTrainingNorm(node: Node): boolean {
  return node.is('BatchNormalization') && node.attributes.int('training_mode', 0) !== 0;
}
