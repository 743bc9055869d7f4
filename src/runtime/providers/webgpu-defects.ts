import {
  type AttributeValue,
  type Model,
  makeNode,
  type Node,
  Tensor,
  withNodes,
} from '../../graph/index.js';
import { createMessage } from '../../graph/proto/codec.js';
import type { NodeProto } from '../../graph/proto/schema.js';
import { shapesOf } from '../../graph/shapes/shapes.js';

/** Sizes that decide whether WebGPU computes a convolution right. */
export interface ConvSizes {
  /** Of the input, in all groups. */
  readonly channels: number;
  readonly outputs: number;
  readonly groups: number;
}

/**
 * Does onnxruntime's WebGPU provider compute such a convolution wrong? By what was measured with onnxruntime-node 1.30 on
 * SwiftShader; the error is as large as the result.
 *
 * - Without groups: an output count that 4 divides with an input count, other than 3, that 3 divides and 4 does not. 6 to 16,
 *   9 to 4 and 30 to 8 are wrong, as are strides; 3 to 16, 12 to 8, 6 to 6, 10 to 4 are right.
 * - Groups of at least four outputs each, where the vectors of 4 or 2 outputs that the shader works on reach from one group
 *   into the next. 2 groups of 6 outputs are wrong, 2 of 8 and 3 of 6 are right.
 */
export function isWrongConv({ channels, outputs, groups }: ConvSizes): boolean {
  if (groups < 2) return channels > 3 && channels % 3 === 0 && channels % 4 !== 0 && outputs % 4 === 0;
  const each = outputs / groups;
  const lanes = outputs % 4 === 0 ? 4 : outputs % 2 === 0 ? 2 : 1;
  return each >= 4 && each % lanes !== 0;
}

/**
 * The convolutions of a model that WebGPU would compute wrong.
 *
 * @returns the nodes of the main graph whose weight has a known shape
 */
export function wrongOnWebGpu(model: Model): Node[] {
  return model.graph.nodes.filter((node) => {
    const sizes = sizesOf(node, model);
    return sizes !== undefined && isWrongConv(sizes);
  });
}

/** Undefined for what is no convolution, or one of a weight of unknown shape. */
function sizesOf(node: Node, model: Model): (ConvSizes & { readonly shape: readonly number[] }) | undefined {
  if (!node.is('Conv')) return undefined;
  const dims = shapesOf(model.graph).of(node.inputs[1] ?? '');
  const shape = dims?.filter((dim) => typeof dim === 'number');
  const [outputs, perGroup] = shape ?? [];
  if (shape === undefined || shape.length !== dims?.length || outputs === undefined || perGroup === undefined)
    return undefined;
  const groups = node.attributes.int('group', 1);
  return { channels: perGroup * groups, outputs, groups, shape };
}

const PREFIX = 'onnx-overparam:webgpu:';

/**
 * The same function without the convolutions that WebGPU computes wrong: channels of zeros are added to those without
 * groups, and those with groups are computed group by group. The given model stays as it is; the new one shares its parts.
 *
 * @returns the model itself where nothing is wrong
 */
export function mendedForWebGpu(model: Model): Model {
  const wrong = new Set(wrongOnWebGpu(model));
  if (wrong.size === 0) return model;
  const mended: NodeProto[] = [];
  const constants: Tensor[] = [];
  for (const node of model.graph.nodes) {
    const sizes = wrong.has(node) ? sizesOf(node, model) : undefined;
    if (sizes === undefined) mended.push(node.proto);
    else {
      const made = sizes.groups < 2 ? padded(node, sizes, model) : apart(node, sizes, model);
      mended.push(...made.nodes);
      constants.push(...made.constants);
    }
  }
  return withNodes(model, mended, constants);
}

interface Made {
  readonly nodes: NodeProto[];
  readonly constants: Tensor[];
}

/** A convolution without groups, over channels of zeros besides its own. */
function padded(
  node: Node,
  { channels, shape }: ConvSizes & { shape: readonly number[] },
  model: Model,
): Made {
  const [x = '', w = '', ...bias] = node.inputs;
  const own = `${PREFIX}${node.outputs[0]}`;
  const counts = shape.map(() => 0);
  const pads = [...counts, ...counts.with(1, 4 - (channels % 4))];
  const byInput = model.opset() >= 11;
  const constants = byInput
    ? [Tensor.of(`${own}/pads`, 'int64', [pads.length], BigInt64Array.from(pads, BigInt))]
    : [];
  const pad = (from: string, to: string): NodeProto =>
    makeNode({
      opType: 'Pad',
      name: to,
      inputs: byInput ? [from, `${own}/pads`] : [from],
      outputs: [to],
      attributes: byInput ? {} : { pads: { ints: pads } },
    });
  return {
    nodes: [
      pad(x, `${own}/x`),
      pad(w, `${own}/w`),
      createMessage('NodeProto', { ...node.proto, input: [`${own}/x`, `${own}/w`, ...bias] }),
    ],
    constants,
  };
}

/** A convolution group by group. */
function apart(node: Node, { groups }: ConvSizes, model: Model): Made {
  const own = `${PREFIX}${node.outputs[0]}`;
  const inputs = node.inputs.filter((name) => name !== '');
  const each: Record<string, AttributeValue> = model.opset() >= 18 ? { num_outputs: { int: groups } } : {};
  const indices = Array.from({ length: groups }, (_, group) => group);
  const split = inputs.map((name, index) =>
    makeNode({
      opType: 'Split',
      name: `${own}/split ${index}`,
      inputs: [name],
      outputs: indices.map((group) => `${own}/${index}/${group}`),
      attributes: { axis: { int: index === 0 ? 1 : 0 }, ...each },
    }),
  );
  // Outputs of such a group are no multiple of 4, so that alone it is right.
  const parts = indices.map((group) =>
    createMessage('NodeProto', {
      ...node.proto,
      name: `${own}/${group}`,
      input: inputs.map((_, index) => `${own}/${index}/${group}`),
      output: [`${own}/${group}`],
      attribute: (node.proto.attribute ?? []).filter(({ name }) => name !== 'group'),
    }),
  );
  const concat = makeNode({
    opType: 'Concat',
    name: node.name,
    inputs: indices.map((group) => `${own}/${group}`),
    outputs: node.outputs,
    attributes: { axis: { int: 1 } },
  });
  return { nodes: [...split, ...parts, concat], constants: [] };
}
