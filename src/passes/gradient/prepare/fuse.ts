import type { Graph, Node } from '../../../graph/index.js';
import { constantTensor } from '../../../runtime/index.js';

/**
 * Puts LayerNormalization where a model spells it out (as exporters for operator sets before 17 do), so that its
 * gradient takes one rule instead of eight: (x - mean) / sqrt(mean((x - mean)^2) + eps) * scale + bias, over the
 * last axis. onnxruntime does the same for inference, but not where the gradient reads what lies between.
 *
 * @param kept values that must stay
 * @returns how many were found
 */
export function fuse(graph: Graph, kept: ReadonlySet<string>): number {
  let count = 0;
  for (const node of graph.nodes) {
    if (!node.is('Sqrt')) continue;
    const found = match(graph, node, kept);
    if (found === undefined) continue;
    graph.edit({
      removeNodes: found.nodes,
      insertNodes: [
        {
          opType: 'LayerNormalization',
          name: found.last.name || graph.model.freshName(`${found.last.label}/LayerNormalization`),
          inputs: [found.x, found.scale, found.bias],
          outputs: found.last.outputs,
          attributes: { axis: { int: -1 }, epsilon: { float: found.epsilon } },
        },
      ],
    });
    count += 1;
  }
  return count;
}

interface Found {
  readonly nodes: readonly Node[];
  readonly last: Node;
  readonly x: string;
  readonly scale: string;
  readonly bias: string;
  readonly epsilon: number;
}

function match(graph: Graph, root: Node, kept: ReadonlySet<string>): Found | undefined {
  const made = (value: string | undefined, ...ops: string[]): Node | undefined => {
    const node = graph.producer(value ?? '');
    return node?.is(...ops) ? node : undefined;
  };
  const added = made(root.inputs[0], 'Add');
  const variance = sideOf(added, (name) => made(name, 'ReduceMean'));
  const square = made(variance?.inputs[0], 'Pow', 'Mul');
  const squared = made(square?.inputs[0], 'Sub');
  const x = squared?.inputs[0];
  const mean = made(squared?.inputs[1], 'ReduceMean');
  const divided = readerOf(graph, root, 'Div');
  const centered = made(divided?.inputs[0], 'Sub');
  const scaled = divided && readerOf(graph, divided, 'Mul');
  const last = scaled && readerOf(graph, scaled, 'Add');
  if (
    !added ||
    !variance ||
    !square ||
    !squared ||
    !x ||
    !mean ||
    !divided ||
    !centered ||
    !scaled ||
    !last
  ) {
    return undefined;
  }
  if (divided.inputs[1] !== root.outputs[0] || mean.inputs[0] !== x || centered.inputs[0] !== x)
    return undefined;
  // Some exporters subtract twice, once for either use.
  const other = made(centered.inputs[1], 'ReduceMean');
  if (other === undefined || other.inputs[0] !== x) return undefined;
  const isSquare = square.is('Mul')
    ? square.inputs[0] === square.inputs[1]
    : numberOf(graph, square.inputs[1]) === 2;
  const epsilon = numberOf(graph, added.inputs[added.inputs[0] === variance.outputs[0] ? 1 : 0]);
  if (
    !isSquare ||
    epsilon === undefined ||
    ![mean, other, variance].every((node) => isOverLast(graph, node))
  ) {
    return undefined;
  }
  const scale = vector(graph, scaled.inputs[scaled.inputs[0] === divided.outputs[0] ? 1 : 0]);
  const bias = vector(graph, last.inputs[last.inputs[0] === scaled.outputs[0] ? 1 : 0]);
  if (scale === undefined || bias === undefined || scale.length !== bias.length || scale.length < 2)
    return undefined;
  const nodes = [
    ...new Set([mean, other, squared, centered, square, variance, added, root, divided, scaled, last]),
  ];
  const isInner = nodes.every((node) => {
    if (node === last) return true;
    const value = node.outputs[0] ?? '';
    return (
      !kept.has(value) && !graph.isOutput(value) && graph.uses(value).every((use) => nodes.includes(use.node))
    );
  });
  return isInner ? { nodes, last, x, scale: scale.name, bias: bias.name, epsilon } : undefined;
}

function sideOf(node: Node | undefined, find: (value: string) => Node | undefined): Node | undefined {
  return node?.inputs.map(find).find((found) => found !== undefined);
}

/** The one node of an operator that reads a node's output. */
function readerOf(graph: Graph, node: Node, op: string): Node | undefined {
  const uses = graph.uses(node.outputs[0] ?? '');
  const [use] = uses;
  return uses.length === 1 && use?.node.is(op) && use.node.graph === graph ? use.node : undefined;
}

function numberOf(graph: Graph, value: string | undefined): number | undefined {
  const tensor = constantTensor(graph, value ?? '');
  if (tensor === undefined || tensor.size !== 1) return undefined;
  return Number(tensor.array()[0]);
}

function isOverLast(graph: Graph, node: Node): boolean {
  const tensor = constantTensor(graph, node.inputs[1] ?? '');
  // Of another number for the last axis the rank would have to be known.
  return node.attributes.int('keepdims', 1) === 1 && tensor?.size === 1 && Number(tensor.array()[0]) === -1;
}

function vector(graph: Graph, value: string | undefined): { name: string; length: number } | undefined {
  const tensor = graph.initializers.get(value ?? '');
  return tensor?.shape.length === 1 ? { name: tensor.name, length: tensor.size } : undefined;
}
