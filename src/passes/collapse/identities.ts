import type { Model, Node } from '../../graph/index.js';
import { windowOf } from '../../graph/operators/window.js';

/**
 * Poolings over windows of one element: exporters write an adaptive pooling so whose input has the size that it asks
 * for (AlexNet and VGG at 224 x 224). Those that make an output of a graph stay, since that has its name.
 */
export function findIdentities(model: Model): Node[] {
  return [model.graph, ...model.functions]
    .flatMap((root) => [...root.walk()])
    .flatMap((graph) => graph.nodes)
    .filter(isIdentity);
}

function isIdentity(node: Node): boolean {
  if (!node.is('AveragePool', 'MaxPool') || node.domain !== '') return false;
  const [output = ''] = node.outputs;
  const { graph, attributes } = node;
  if (node.outputs.slice(1).some((name) => name !== '') || output === '' || graph.isOutput(output))
    return false;
  if (graph.uses(output).some(({ index }) => index < 0)) return false;
  if (attributes.names().some((name) => attributes.isReference(name))) return false;
  const extents = attributes.ints('kernel_shape') ?? [];
  const { strides, pads } = windowOf(node, extents);
  return (
    extents.length > 0 &&
    [...extents, ...strides].every((size) => size === 1) &&
    pads.every((pad) => pad === 0)
  );
}

/** Lets what reads a node's output read its input, and takes the node away. */
export function removeIdentity(node: Node): void {
  const { graph } = node;
  graph.replaceUses(node.outputs[0] ?? '', node.inputs[0] ?? '');
  graph.remove(node);
}
