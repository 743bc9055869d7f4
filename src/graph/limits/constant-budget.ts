import { ConstantSearch, isConstant } from '../constants/constants.js';
import { byteLengthOf } from '../tensor/data-type.js';
import type { Model, Node } from '../types.js';
import { assertFits, fits } from './memory-limit.js';

/**
 * How many times what a file stores its nodes may make of it, all together: 4-bit weights that become floats in a few steps
 * pass, and many constants of a few bytes do not.
 */
const MOST_GROWTH = 32;

/**
 * Throws where one of the values that nodes make of constants alone takes more memory than the limit allows, or all of them
 * together do and are many times what the file stores. Told from shapes: nothing is computed.
 *
 * @throws ModelError naming the value and the node that makes it
 */
export function assertConstantsFit(nodes: Iterable<Node>, model: Model): void {
  const search = new ConstantSearch();
  let total = 0;
  let stored: number | undefined;
  for (const node of nodes) {
    if (node.is('Constant')) continue;
    for (const output of node.outputs) {
      const found = output === '' ? undefined : search.find(node.graph, output);
      if (found === undefined || !isConstant(found) || found.dataType === 'string') continue;
      const size = found.shape.reduce((product, dim) => product * dim, 1);
      const where = { file: model.path, node: node.label, tensor: output };
      const bytes = byteLengthOf(found.dataType, size);
      assertFits(bytes, 'what it computes of constants', where);
      total += bytes;
      if (fits(total)) continue;
      stored ??= storedBytes(model);
      const rest = total - MOST_GROWTH * stored;
      assertFits(rest, 'what it and the nodes before it compute of constants', where);
    }
  }
}

function storedBytes(model: Model): number {
  let sum = 0;
  for (const graph of model.graphs())
    for (const tensor of graph.initializers.values()) sum += tensor.byteLength;
  return sum;
}
