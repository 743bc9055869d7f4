import { ancestors, createNode, type Model, makeNode } from '../../graph/index.js';
import { assemble } from './assemble.js';
import { Builder } from './builder.js';
import { appendLoss } from './losses.js';
import { probe, settledInputs } from './prepare/infer-shapes.js';
import { inferring } from './prepare/inference-form.js';
import { inlinedFor } from './prepare/inline.js';
import { rebatched } from './prepare/rebatch.js';
import { upgraded } from './prepare/upgrade.js';
import {
  checkGradientOptions,
  type Gradient,
  type GradientOptions,
  lossOf,
  predictionOf,
} from './request.js';
import { Values } from './values.js';

/** A model that computes a loss, without gradients. */
export type LossModel = Pick<Gradient, 'model' | 'loss' | 'prediction' | 'target' | 'weights'>;

/**
 * A new model that computes the loss of a model's output in inference form: for validation. The given model stays as
 * it is. Sizes are baked in, as in `gradient`.
 *
 * @param options.wrt initializers that become inputs, weights and running statistics; default none
 * @throws OptionError and ModelError as `gradient` does
 * @example
 * const { model: validation, loss } = await lossModel(model, { loss: 'cross-entropy', batch: 64 });
 */
export async function lossModel(
  model: Model,
  options: Pick<GradientOptions, 'loss' | 'output' | 'batch' | 'dims' | 'wrt'>,
): Promise<LossModel> {
  const loss = lossOf(options.loss);
  checkGradientOptions(options);
  const inputs = settledInputs(model, options);
  const base = await upgraded(await rebatched(await inlinedFor(model, inputs), inputs), inputs);
  const { graph } = base;
  const prediction = predictionOf(base, options.output, loss.kind);
  const probed = await probe(base, inputs, [prediction]);
  const build = new Builder((name) => base.freshName(name));
  build.scope = 'loss';
  const values = new Values(graph, probed.shapes, build, new Map());
  const forward = ancestors(graph.nodes, [prediction]);
  for (const node of forward) values.follow(node);
  const targetName = base.freshName('target');
  const piece = appendLoss(build, values.of(prediction), loss, targetName);
  const lossNodes = build.nodes.splice(0).map((spec) => createNode(makeNode(spec), graph));
  return assemble({
    base,
    inputs,
    build,
    forward: {
      protos: [...forward.map(inferring), ...lossNodes.map(({ proto }) => proto)],
      rewritten: new Map(),
      state: [],
    },
    piece,
    prediction: values.of(prediction),
    valueNamed: (name) => values.of(name),
    found: new Map(),
    products: new Map(),
    wrt: options.wrt ?? [],
    options,
  });
}
