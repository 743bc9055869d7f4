import { type Model, type Node, type Tensor, withNodes } from '../../../../graph/index.js';
import { operatorName } from '../../../../graph/registry.js';
import { Shapes } from '../../../../graph/shapes/shapes.js';
import { ownRuleOf } from '../../rules/index.js';
import { ATTENTION } from './attention.js';
import { Emit, floatTypeOf } from './emit.js';
import { EXPERTS } from './experts.js';
import { type Decomposition, SIMPLE } from './simple.js';

/** Before it, operators that stand in for fused ones have other forms. */
const OLDEST = 13;

const DECOMPOSITIONS: Readonly<Record<string, Decomposition>> = { ...SIMPLE, ...ATTENTION, ...EXPERTS };

/**
 * The model with standard operators in place of fused ones that have a gradient through them: normalizations with a skip, the activations
 * of com.microsoft, rotary positions, attention, experts, and products with weights in blocks of few bits, which stay as they are. Nodes in a form
 * that is not taken apart (with a past, say) are left. The model itself where it has none.
 */
export function defused(model: Model): Model {
  const { graph } = model;
  if (model.opset() < OLDEST || !graph.nodes.some((node) => decompositionOf(node) !== undefined))
    return model;
  const type = floatTypeOf(model);
  const shapes = new Shapes(graph);
  const constants: Tensor[] = [];
  const nodes = graph.nodes.flatMap((node) => {
    const emit = new Emit(node, shapes, type);
    if (decompositionOf(node)?.(emit) !== true) return [node.proto];
    constants.push(...emit.constants);
    return emit.nodes;
  });
  return constants.length === 0 && nodes.length === graph.nodes.length
    ? model
    : withNodes(model, nodes, constants);
}

function decompositionOf(node: Node): Decomposition | undefined {
  const name = operatorName(node);
  if (ownRuleOf(node) !== undefined) return undefined;
  return Object.hasOwn(DECOMPOSITIONS, name) ? DECOMPOSITIONS[name] : undefined;
}
