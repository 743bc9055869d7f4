import { ancestors, createNode, type Model, makeNode } from '../../graph/index.js';
import { findActivity, stoppingNodes, ZeroGradientError } from './activity.js';
import { assemble } from './assemble.js';
import { Builder } from './builder.js';
import { rewriteForward } from './forward.js';
import { appendLoss } from './losses.js';
import { fuse } from './prepare/fuse.js';
import { probe, settledInputs } from './prepare/infer-shapes.js';
import { settleNorms } from './prepare/inference-form.js';
import { inlinedFor } from './prepare/inline.js';
import { rebatched } from './prepare/rebatch.js';
import { unrolled } from './prepare/recurrent.js';
import { upgraded } from './prepare/upgrade.js';
import {
  checkGradientOptions,
  checkWrt,
  type Gradient,
  type GradientOptions,
  lossOf,
  predictionOf,
  structuralInputs,
} from './request.js';
import { sweep } from './sweep.js';
import type { MatrixProduct, Mode } from './types.js';
import type { Value } from './value.js';
import { smallConstant, Values } from './values.js';
import { trainableWeights } from './weights.js';

/** See gradient, which loads this when it is called. */
export async function differentiate(model: Model, options: GradientOptions): Promise<Gradient> {
  const loss = lossOf(options.loss);
  checkGradientOptions(options);
  const inputs = settledInputs(model, options);
  const plain = await upgraded(await rebatched(await inlinedFor(model, inputs), inputs), inputs);
  const prediction = predictionOf(plain, options.output, loss.kind);
  const wrt = options.wrt ?? trainableWeights(plain.graph, prediction);
  const base = await unrolled(plain, inputs, prediction);
  const { graph } = base;
  settleNorms(graph);
  fuse(graph, new Set([...wrt, prediction]));
  const types = checkWrt(graph, wrt);
  // Before the model is run for its shapes: what cannot be done is said at once.
  const rough = findActivity(graph.nodes, wrt, prediction, model.path);
  const numbersOf = rough.nodes.flatMap(({ node, rule }) => structuralInputs(node, rule));
  const touched = rough.nodes
    .flatMap(({ node }) => [...node.inputs, ...node.outputs])
    .filter((name) => name !== '');
  const probed = await probe(base, inputs, touched, numbersOf, [prediction]);

  const build = new Builder((name) => base.freshName(name), options);
  const values = new Values(graph, probed.shapes, build, types);
  for (const { node } of rough.nodes) values.follow(node);
  build.scope = 'loss';
  const targetName = base.freshName('target');
  const piece = appendLoss(build, values.of(prediction), loss, targetName);
  if (piece.target !== undefined) build.values.set(targetName, piece.target);
  const lossNodes = build.nodes.splice(0).map((spec) => createNode(makeNode(spec), graph));
  const nodes = [...ancestors(graph.nodes, [prediction]), ...lossNodes];
  const activity = findActivity(nodes, wrt, piece.loss.name, model.path);

  const mode: Mode = { batchNorm: options.batchNorm ?? 'training', dropout: options.dropout ?? 'training' };
  const numbers = (name: string): readonly number[] | undefined =>
    probed.numbers.get(name) ?? smallConstant(build, name);
  const forward = rewriteForward({ nodes, activity, build, mode, values, numbers });
  const gradientOf = await sweep(
    { build, activity, rewritten: forward.rewritten, valueNamed: (name) => values.of(name), numbers },
    piece.loss,
  );
  const found = new Map<string, Value>();
  for (const name of wrt) {
    const value = gradientOf(name);
    if (value !== undefined) found.set(name, value);
  }
  const stopping = new Set(found.size > 0 ? [] : stoppingNodes(nodes, wrt, prediction).values());
  if (stopping.size > 0) throw new ZeroGradientError([...stopping], model.path);
  return assemble({
    base,
    inputs,
    build,
    forward,
    piece,
    prediction: values.of(prediction),
    valueNamed: (name) => values.of(name),
    found,
    products: productsOf(build, found, (name) => values.of(name)),
    wrt,
    options,
  });
}

/** The gradients that a Gemm without a summand makes. */
function productsOf(
  build: Builder,
  found: ReadonlyMap<string, Value>,
  valueNamed: (name: string) => Value,
): Map<string, MatrixProduct> {
  const makers = new Map(build.nodes.map((node) => [node.outputs[0], node]));
  const products = new Map<string, MatrixProduct>();
  for (const [name, { name: made }] of found) {
    const { opType, inputs, attributes } = makers.get(made) ?? {};
    const [left, right, summand] = inputs ?? [];
    if (opType !== 'Gemm' || left === undefined || right === undefined || summand !== undefined) continue;
    if (attributes?.alpha !== undefined) continue;
    const [transA, transB] = [attributes?.transA !== undefined, attributes?.transB !== undefined];
    products.set(name, { left: valueNamed(left), right: valueNamed(right), transA, transB });
  }
  return products;
}
