import { type Graph, traitsOf } from '../../graph/index.js';
import { isWeightView } from '../../passes/gradient/weights.js';
import type { WeightDecayKind } from '../choices.js';
import type { BareRule, OptimizerRule, UpdateContext } from './optimizer-rule.js';
import { scalarIn, shared } from './scalars.js';

/**
 * A rule with weight decay d. 'l2': the gradient of the loss with the penalty d / 2 ‖W‖², g + d W, enters the rule, as in
 * torch.optim.SGD and Adam. 'decoupled': the weight shrinks by 1 - rate d beside the rule, as in AdamW (Loshchilov & Hutter,
 * ICLR 2019, algorithm 2, with the rate as PyTorch has it).
 */
export function withDecay(rule: BareRule, kind: WeightDecayKind): OptimizerRule {
  return {
    ...rule,
    update: (context) => rule.update(decayed(context, kind)),
    ...(rule.updateByProduct && {
      updateByProduct: (context) => (context.weightDecay === 0 ? rule.updateByProduct?.(context) : undefined),
    }),
  };
}

function decayed(context: UpdateContext, kind: WeightDecayKind): UpdateContext {
  const { build, parameter, gradient, learningRate, weightDecay } = context;
  if (weightDecay === 0) return context;
  if (kind === 'l2')
    return { ...context, gradient: build.add(gradient, build.scale(parameter, weightDecay)) };
  const { type } = parameter;
  const kept = shared(build, `1 - ${weightDecay} ${learningRate.name} ${type}`, () =>
    build.minus(1, build.scale(scalarIn(build, learningRate, type), weightDecay)),
  );
  return { ...context, parameter: build.mul(parameter, kept) };
}

/**
 * The weights that weight decay is good for: those that a linear layer or an embedding multiplies by. Biases, the scales
 * and shifts of normalizations, slopes and positions, which shrinking would only distort, are not among them. What
 * tells is how the graph uses a weight, not its name or rank: a bias of rank 2 stays a bias.
 *
 * @param weights names of initializers
 * @example
 * decayedWeights(model.graph, model.graph.initializers.keys()); // Set { 'fc1.weight', … }, without 'fc1.bias'
 */
export function decayedWeights(graph: Graph, weights: Iterable<string>): ReadonlySet<string> {
  return new Set([...weights].filter((name) => isMatrix(graph, name)));
}

function isMatrix(graph: Graph, name: string): boolean {
  return graph.uses(name).some(({ node, index }) => {
    if (isWeightView(node)) return index === 0 && isMatrix(node.graph, node.outputs[0] ?? '');
    return traitsOf(node).matrices?.includes(index) === true;
  });
}

/** Those of some weights that have a row an input and a column an output, as MatMul reads them. */
export function inputsFirst(graph: Graph, weights: Iterable<string>): ReadonlySet<string> {
  return new Set([...weights].filter((name) => isInputsFirst(graph, name)));
}

function isInputsFirst(graph: Graph, name: string): boolean {
  return graph.uses(name).some(({ node, index }) => {
    const made = node.outputs[0] ?? '';
    if (node.is('Transpose')) return isMatrix(graph, made) && !isInputsFirst(graph, made);
    if (isWeightView(node)) return index === 0 && isInputsFirst(graph, made);
    if (node.is('Gemm'))
      return index === 0
        ? node.attributes.int('transA', 0) === 1
        : index === 1 && node.attributes.int('transB', 0) !== 1;
    return (node.is('MatMul') || node.is('ConvTranspose')) && index === 1;
  });
}
