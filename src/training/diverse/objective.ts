import { buildModel } from '../../graph/build.js';
import { type Model, ModelError, type NodeSpec, specOf, Tensor } from '../../graph/index.js';
import { checkOptions, defaultsOf } from '../../graph/option-descriptors.js';
import { gradient, trainableWeights } from '../../passes/gradient/index.js';
import { outputShape } from '../../passes/gradient/output-shape.js';
import { settledInputs } from '../../passes/gradient/prepare/infer-shapes.js';
import { inlined } from '../../passes/gradient/prepare/inline.js';
import { upgraded } from '../../passes/gradient/prepare/upgrade.js';
import { predictionOf } from '../../passes/gradient/request.js';
import { fedInputs, type RuntimeTensor } from '../../runtime/index.js';
import { DIVERSE_OPTIONS, type DiverseOptions } from './options.js';

/** Added to squared norms, so that a gradient of zero is aligned with none. */
const FLOOR = 1e-12;

/** A loss of several models together, as a model of its own. */
export interface DiverseObjective {
  /** With the output `loss`, a scalar, and the inputs `samples` and `targets`; weights are named m0/…, m1/…, … */
  readonly model: Model;
  /** float32 [batch, …] */
  readonly samples: string;
  /** Probabilities of the classes, float32 [batch, classes]. */
  readonly targets: string;
  readonly loss: string;
  readonly classes: number;
  /** Weights of all models, to be trained. */
  readonly weights: readonly string[];
  /** The weights of one of the models, under its own names. */
  weightsOf(index: number, all: ReadonlyMap<string, RuntimeTensor>): Map<string, RuntimeTensor>;
}

/**
 * The loss Σ CE_i + λ Σ_{i≠j} mean_x cos²(∇_x g_i, ∇_x g_j) of several models of one architecture, g the largest logit of a sample
 * less the mean of its logits: models whose input gradients are aligned rely on the same features (Teney et al., "Evading the Simplicity Bias", CVPR 2022, arXiv
 * 2105.05612). Gradients of this loss are second derivatives: the gradient pass is applied to its own result.
 *
 * The squared cosine stands for the similarity of the paper: tried and rejected was the product ∇g_i · ∇g_j, which has no lower
 * bound (on a collage of images it went to -3e8 within 300 steps, and accuracy to chance).
 *
 * @param members models of one graph, with weights of their own
 * @param batch samples a step, which is baked in
 * @throws OptionError for options out of range; ModelError for models that do not take one float input or make classes;
 *   GradientError for operators without a gradient
 * @example
 * const [first, second] = [await readModel('a.onnx'), await readModel('b.onnx')];
 * const { model, loss, weights } = await diverseObjective([first, second], 64, { diverse: 2, alignment: 0.1 });
 * await using engine = await openEngine(model, { loss: 'sum', output: loss, wrt: weights, batch: 64, optimizer: optimizer('adam') });
 */
export async function diverseObjective(
  members: readonly Model[],
  batch: number,
  options: DiverseOptions,
): Promise<DiverseObjective> {
  const { alignment } = { ...defaultsOf(DIVERSE_OPTIONS), ...checkOptions(DIVERSE_OPTIONS, options) };
  const plain = await Promise.all(
    members.map(async (member) => {
      const base = inlined(member);
      return base.opset() < 18 ? await upgraded(base, settledInputs(base, { batch })) : base;
    }),
  );
  const [first] = plain;
  if (first === undefined || plain.length < 2) throw new ModelError('takes two models at least');
  const [input, more] = fedInputs(first.graph);
  const shape = await outputShape(first, { batch });
  const [, classes = 0] = shape;
  if (input?.dataType !== 'float32' || more !== undefined)
    throw new ModelError('must have one input, of float32, to be trained with others', { file: first.path });
  if (shape.length !== 2 || classes < 2)
    throw new ModelError(`must make [batch, classes] to be trained with others, not [${shape.join(', ')}]`, {
      file: first.path,
    });
  const prediction = predictionOf(first, undefined, 'cross-entropy');
  const own = trainableWeights(first.graph, prediction);
  const dims = (input.shape ?? []).slice(1).map(Number);
  const named = (index: number, name: string): string =>
    name === '' ? '' : name === input.name ? `m${index}/input` : `m${index}/${name}`;
  const inputs = plain.map((_, index) => [named(index, input.name), 'float32', [batch, ...dims]] as const);
  const logits = plain.map((_, index) => named(index, prediction));

  const axes = Tensor.of('diverse/axis', 'int64', [1], BigInt64Array.of(1n));
  const flat = { keepdims: { int: 0 } };
  const tops = logits.flatMap((logit, index): NodeSpec[] => [
    {
      opType: 'ReduceMax',
      inputs: [logit, axes.name],
      outputs: [`diverse/largest/${index}`],
      attributes: flat,
    },
    {
      opType: 'ReduceMean',
      inputs: [logit, axes.name],
      outputs: [`diverse/mean/${index}`],
      attributes: flat,
    },
    {
      opType: 'Sub',
      inputs: [`diverse/largest/${index}`, `diverse/mean/${index}`],
      outputs: [`diverse/top/${index}`],
    },
  ]);
  const sum: NodeSpec = {
    opType: 'Sum',
    inputs: plain.map((_, index) => `diverse/top/${index}`),
    outputs: ['diverse/tops'],
  };
  const forward = buildModel({
    inputs,
    outputs: [['diverse/tops', 'float32', [batch]]],
    nodes: [...plain.flatMap((member, index) => membersNodes(member, index, named)), ...tops, sum],
    initializers: [
      axes,
      ...plain.flatMap(({ graph }, index) =>
        [...graph.initializers.values()].map((tensor) => tensor.renamed(named(index, tensor.name))),
      ),
    ],
    opset: first.opset(),
    ir: Math.max(8, first.irVersion),
  });
  const made = await gradient(forward, {
    loss: 'sum',
    output: 'diverse/tops',
    wrt: inputs.map(([name]) => name),
    weights: 'constants',
    dropout: 'inference',
    batchNorm: 'inference',
  });
  const slopes = inputs.map(([name]) => made.gradients.get(name) ?? '');
  const [samples, targets, loss] = [input.name, 'diverse/targets', 'diverse/loss'];
  const nodes: NodeSpec[] = [
    ...inputs.map(([name]): NodeSpec => ({ opType: 'Identity', inputs: [samples], outputs: [name] })),
    ...made.model.graph.nodes.map((node) => specOf(node.proto)),
    ...lossNodes(logits, slopes, { targets, loss }),
  ];
  const scalar = (name: string, value: number): Tensor =>
    Tensor.of(name, 'float32', [], Float32Array.of(value));
  const model = buildModel({
    inputs: [
      [samples, 'float32', [batch, ...dims]],
      [targets, 'float32', [batch, classes]],
    ],
    outputs: [[loss, 'float32', []]],
    nodes,
    initializers: [
      ...[...made.model.graph.initializers.values()].filter(({ name }) => name !== axes.name),
      scalar('diverse/alignment', (2 * alignment) / batch),
      scalar('diverse/mean', -1 / batch),
      scalar('diverse/floor', FLOOR),
      axes,
      Tensor.of('diverse/flat', 'int64', [2], BigInt64Array.of(BigInt(batch), -1n)),
    ],
    opset: made.model.opset(),
    ir: made.model.irVersion,
  });
  return {
    model,
    samples,
    targets,
    loss,
    classes,
    weights: plain.flatMap((_, index) => own.map((name) => named(index, name))),
    weightsOf: (index, all) =>
      new Map(
        own.flatMap((name) => {
          const tensor = all.get(named(index, name));
          return tensor === undefined ? [] : [[name, tensor] as const];
        }),
      ),
  };
}

/** The nodes of a member under names of its own. */
function membersNodes(
  { graph, path }: Model,
  index: number,
  named: (index: number, name: string) => string,
): NodeSpec[] {
  return graph.nodes.map((node) => {
    if ((node.proto.attribute ?? []).some(({ g }) => g != null))
      throw new ModelError('has nodes with graphs of their own, which cannot be trained with others', {
        file: path,
        node: node.label,
      });
    const spec = specOf(node.proto);
    return {
      ...spec,
      name: `m${index}/${node.label}`,
      inputs: node.inputs.map((name) => named(index, name)),
      outputs: node.outputs.map((name) => named(index, name)),
    };
  });
}

/** Σ CE + λ Σ_{i≠j} mean of the products of input gradients. */
function lossNodes(
  logits: readonly string[],
  slopes: readonly string[],
  { targets, loss }: { readonly targets: string; readonly loss: string },
): NodeSpec[] {
  const nodes: NodeSpec[] = [];
  const add = (
    opType: string,
    inputs: readonly string[],
    attributes: NodeSpec['attributes'] = {},
  ): string => {
    const output = `diverse/${opType}_${nodes.length}`;
    nodes.push({ opType, inputs, outputs: [output], attributes });
    return output;
  };
  const all = { keepdims: { int: 0 } };
  const terms = logits.map((logit) => {
    const likely = add('Mul', [add('LogSoftmax', [logit], { axis: { int: 1 } }), targets]);
    return add('Mul', [add('ReduceSum', [likely], all), 'diverse/mean']);
  });
  const flat = slopes.map((slope) => add('Reshape', [slope, 'diverse/flat']));
  const dot = (a: string, b: string): string => add('ReduceSum', [add('Mul', [a, b]), 'diverse/axis'], all);
  const squares = flat.map((slope) => add('Add', [dot(slope, slope), 'diverse/floor']));
  for (const [i, a] of flat.entries()) {
    for (const [j, b] of flat.entries()) {
      if (j <= i) continue;
      const product = dot(a, b);
      const sizes = add('Mul', [squares[i] as string, squares[j] as string]);
      const cosine = add('Div', [add('Mul', [product, product]), sizes]);
      terms.push(add('Mul', [add('ReduceSum', [cosine], all), 'diverse/alignment']));
    }
  }
  nodes.push({ opType: 'Sum', inputs: terms, outputs: [loss] });
  return nodes;
}

/**
 * Labels as probabilities, which are 0 or 1: labels x classes.
 *
 * @example
 * oneHot(BigInt64Array.of(1n, 0n), 2); // [0, 1, 1, 0]
 */
export function oneHot(labels: ArrayLike<bigint>, classes: number): Float32Array {
  const made = new Float32Array(labels.length * classes);
  for (let i = 0; i < labels.length; i += 1) made[i * classes + Number(labels[i])] = 1;
  return made;
}
