import { findConstant, isConstant, type Model, type Node } from '../graph/index.js';

/**
 * Convolutions that onnxruntime's WebGPU provider computes wrong, by what was measured with onnxruntime-node 1.30 on SwiftShader:
 * groups of at least four outputs each, where the vectors of 4 or 2 outputs that the shader works on reach from one group into
 * the next. 2 groups of 6 outputs are wrong, 2 of 8 and 3 of 6 are right; the error is as large as the result.
 *
 * @returns the nodes of the main graph
 */
export function wrongOnWebGpu(model: Model): Node[] {
  return model.graph.nodes.filter((node) => {
    if (!node.is('Conv')) return false;
    const groups = node.attributes.int('group', 1);
    const outputs = outputsOf(node, model);
    if (groups < 2 || outputs === undefined) return false;
    const each = outputs / groups;
    const lanes = outputs % 4 === 0 ? 4 : outputs % 2 === 0 ? 2 : 1;
    return each >= 4 && each % lanes !== 0;
  });
}

function outputsOf(node: Node, { graph }: Model): number | undefined {
  const weight = findConstant(graph, node.inputs[1] ?? '');
  return isConstant(weight) ? weight.shape[0] : undefined;
}
