import {
  assertFits,
  constantNodeTensor,
  isFloatType,
  type Model,
  type Node,
  narrow,
  Tensor,
} from '../../../graph/index.js';
import { constantTensor } from '../../../runtime/index.js';
import { product } from '../shapes.js';
import { weightPlaces } from '../weights.js';
import { inlined } from './inline.js';

/**
 * Makes initializers of the weights that nodes hold (Constant, ConstantOfShape, a vector behind Identity that stands for
 * two), so that each can be trained and takes its new numbers. Names stay; what else nodes hold does too.
 *
 * @param output the value that the loss reads
 * @returns the names of the new initializers
 * @example
 * const [output] = model.graph.outputs;
 * if (output) console.log(ownWeights(model, output.name)); // what trainableWeights names now, and did not before
 */
export function ownWeights(model: Model, output: string): string[] {
  const { graph } = model;
  const found: string[] = [];
  // Of what functions read, where the main graph holds it.
  for (const name of weightPlaces(inlined(model).graph, output, (node) => ownTensor(node) !== undefined)) {
    const node = graph.producer(name);
    const tensor = node && ownTensor(node);
    if (node === undefined || tensor === undefined || !isFloatType(tensor.dataType)) continue;
    graph.edit({ removeNodes: [node], setInitializers: [tensor.renamed(name)] });
    found.push(name);
  }
  return found;
}

/**
 * The tensor of a node that only holds one: of Constant, in which some exporters keep weights, and of Identity on a
 * vector, by which PyTorch's exporter writes vectors that happen to be equal (a bias and a running mean, both zero)
 * only once, though they are trained apart; of ConstantOfShape, where files leave their weights out. Matrices that share their numbers are taken to be tied.
 */
export function ownTensor(node: Node): Tensor | undefined {
  if (node.is('Constant')) return constantNodeTensor(node);
  if (node.is('ConstantOfShape')) return filledTensor(node);
  if (!node.is('Identity') || node.graph.isOutput(node.outputs[0] ?? '')) return undefined;
  const tensor = node.graph.initializers.get(node.inputs[0] ?? '');
  return tensor !== undefined && tensor.shape.length <= 1 ? tensor : undefined;
}

/** What ConstantOfShape makes of a constant shape, if floats. */
function filledTensor(node: Node): Tensor | undefined {
  const sizes = constantTensor(node.graph, node.inputs[0] ?? '');
  const value = node.attributes.tensor('value');
  const type = value?.dataType ?? 'float32';
  if (sizes === undefined || !isFloatType(type)) return undefined;
  const shape = sizes.integers();
  const where = { file: node.graph.model.path, node: node.label, tensor: node.outputs[0] };
  assertFits(8 * product(shape), 'the weight that it makes', where);
  const numbers = new Float64Array(product(shape)).fill(value?.floats()[0] ?? 0);
  return Tensor.of('', type, shape, narrow(type, numbers));
}
