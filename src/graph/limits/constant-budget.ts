import { ConstantSearch, isConstant } from '../constants/constants.js';
import { byteLengthOf } from '../tensor/data-type.js';
import type { Model, Node } from '../types.js';
import { assertFits } from './memory-limit.js';

/**
 * Throws where one of the values that nodes make of constants alone takes more memory than the limit allows. Told from shapes:
 * nothing is computed.
 *
 * @throws ModelError naming the value and the node that makes it
 */
export function assertConstantsFit(nodes: Iterable<Node>, model: Model): void {
  const search = new ConstantSearch();
  for (const node of nodes) {
    if (node.is('Constant')) continue;
    for (const output of node.outputs) {
      const found = output === '' ? undefined : search.find(node.graph, output);
      if (found === undefined || !isConstant(found) || found.dataType === 'string') continue;
      const size = found.shape.reduce((product, dim) => product * dim, 1);
      const where = { file: model.path, node: node.label, tensor: output };
      assertFits(byteLengthOf(found.dataType, size), 'what it computes of constants', where);
    }
  }
}
