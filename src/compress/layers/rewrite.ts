import { linearBias } from '../../affine/linear-bias.js';
import type { LinearSite } from '../../affine/linear-site.js';
import { factorizedMetadata } from '../../affine/note.js';
import { explicitPads } from '../../affine/operators/conv.js';
import {
  type AttributeProtos,
  type FloatType,
  type Model,
  ModelError,
  makeAttribute,
  type NodeSpec,
  narrow,
  Tensor,
} from '../../graph/index.js';
import type { Matrix } from '../../linalg/matmul.js';
import { factorAttributes, needsZeroBias } from '../../passes/expand/write.js';
import { asConstants, editWith, scratchTensor } from '../../passes/rewrite/placement.js';
import { behindIdentity, removeUnread } from '../../passes/rewrite/weight-source.js';
import { type Cut, factorSizes } from '../factors/forms.js';
import type { Layer } from './layers.js';

/** A layer, and what takes its place. */
export interface Rewrite {
  readonly layer: Layer;
  readonly cut: Cut;
  /** In the order of application, outputs x (inputs * taps). */
  readonly factors: readonly Matrix[];
  /** The whole bias of each node that gets another one, by its label. */
  readonly biases?: ReadonlyMap<string, Float64Array> | undefined;
}

/** Whether a node's bias can be given by one number an output. */
export function takesBias({ node, op }: LinearSite): boolean {
  return op !== 'MatMul' && !linearBias(node).isOpen;
}

/**
 * Puts the factors of a weight in the place of each node that reads it. Bias, alpha and beta stay on the last; the factors are stored
 * once. Their nodes say in their metadata what they stand for, so that `collapse` leaves them.
 *
 * @returns the names of the nodes
 * @throws ModelError where the pads of a convolution depend on a size that is not known
 */
export async function rewriteLayer(
  model: Model,
  { layer, cut, factors, biases }: Rewrite,
): Promise<string[]> {
  const { site } = layer;
  const type = site.weight.dataType as FloatType;
  const sizes = factorSizes(layer, cut);
  const stored = behindIdentity(site.weight);
  const plans = layer.sites.map((one) => attributesOf(one, cut));
  const tensors: Tensor[] = [];
  for (const [i, { data }] of factors.entries()) {
    const { shape, data: values } = site.factorOfOutIn(
      data as Float64Array,
      sizes[i] as (typeof sizes)[number],
    );
    const name = model.freshName(`${stored.value}/factor/${i}`);
    tensors.push(await scratchTensor(model, name, type, shape, values));
  }
  const made: string[] = [];
  for (const [index, one] of layer.sites.entries()) {
    const { node } = one;
    const bias = biases?.get(node.label);
    const own =
      bias && Tensor.of(model.freshName(`${node.label}/bias`), type, [bias.length], narrow(type, bias));
    const zero = needsZeroBias(one)
      ? Tensor.of(model.freshName(`${node.label}/zero`), type, [1], narrow(type, new Float64Array(1)))
      : undefined;
    let value = one.data;
    const insertNodes = tensors.map((weight, factor): NodeSpec => {
      const isLast = factor === tensors.length - 1;
      const name = isLast && node.name !== '' ? node.name : model.freshName(`${node.label}/factor/${factor}`);
      const output = isLast ? (node.outputs[0] ?? '') : model.freshName(`${node.label}/factor/${factor}/out`);
      const data = one.weightInput === 0 ? [weight.name, value] : [value, weight.name];
      const rest = isLast ? (own ? [own.name] : node.inputs.slice(2)) : zero ? [zero.name] : [];
      value = output;
      const note = factorizedMetadata({
        site: node.label,
        form: cut.form,
        ranks: cut.ranks,
        factor,
        of: tensors.length,
      });
      return {
        ...(isLast && { template: node.proto }),
        opType: one.op,
        name,
        inputs: [...data, ...rest],
        outputs: [output],
        metadata: { ...(isLast && Object.fromEntries(node.metadata)), ...note },
        attributeProtos: attributesWith(plans[index]?.[factor] ?? [], isLast && own !== undefined),
      };
    });
    made.push(...insertNodes.map(({ name = '' }) => name));
    // What another node of the layer brought along already is there.
    const added = [...(index === 0 ? tensors : []), ...(own ? [own] : []), ...(zero ? [zero] : [])];
    editWith(asConstants(stored.graph, added), stored.graph, node, { removeNodes: [node], insertNodes });
  }
  removeUnread(layer.sites.map(({ weight }) => weight));
  dropUnreadBiases(model, layer);
  return made;
}

/** A bias that is whole takes no factor. */
function attributesWith(own: AttributeProtos, hasBias: boolean): AttributeProtos {
  return hasBias ? own.filter(({ name }) => name !== 'beta') : own;
}

function dropUnreadBiases({ graph }: Model, { sites }: Layer): void {
  for (const { node } of sites) {
    const bias = node.inputs[2] ?? '';
    if (
      graph.initializers.has(bias) &&
      !graph.isOutput(bias) &&
      !graph.isInput(bias) &&
      graph.uses(bias).length === 0
    )
      graph.removeInitializer(bias);
  }
}

/** The attributes of the nodes of a cut. */
function attributesOf(site: LinearSite, { form }: Cut): readonly AttributeProtos[] {
  if (form === 'matrices' || form === 'channel')
    return [
      factorAttributes(site, { isFirst: true, isLast: false }),
      factorAttributes(site, { isFirst: false, isLast: true }),
    ];
  const own = site.node.proto.attribute ?? [];
  const pointwise = [makeAttribute('kernel_shape', { ints: site.kernel.map(() => 1) })];
  if (form === 'tucker') return [pointwise, own, pointwise];
  return [0, 1].map((axis) => alongAxis(site, axis));
}

/** What a convolution does along one axis alone. */
function alongAxis({ node, kernel }: LinearSite, axis: number): AttributeProtos {
  const pads = explicitPads(node.proto.attribute ?? [], kernel, node);
  if ('reason' in pads) throw new ModelError(pads.reason, { node: node.label });
  const ones = kernel.map(() => 1);
  const only = (values: readonly number[], usual: number): number[] =>
    values.map((value, i) => (i % kernel.length === axis ? value : usual));
  return [
    makeAttribute('kernel_shape', { ints: only(kernel, 1) }),
    makeAttribute('pads', { ints: only(pads, 0) }),
    makeAttribute('strides', { ints: only(node.attributes.ints('strides') ?? ones, 1) }),
    makeAttribute('dilations', { ints: only(node.attributes.ints('dilations') ?? ones, 1) }),
  ];
}
