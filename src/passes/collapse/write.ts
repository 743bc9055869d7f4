import type { Composition } from '../../affine/compose.js';
import { type Geometry, type Grid, gridOf } from '../../affine/map/geometry.js';
import type { Rearrangement } from '../../affine/map/rearrange.js';
import { isSpatial } from '../../affine/match/declared.js';
import type { Chain, Region } from '../../affine/match/region.js';
import { decodeAttributes, foldedMetadata } from '../../affine/note.js';
import { explicitPads } from '../../affine/operators/conv.js';
import {
  type AttributeProtos,
  Attributes,
  type AttributeValue,
  copyUnknownFields,
  makeAttribute,
  type Node,
  type NodeProto,
  type NodeSpec,
  Tensor,
} from '../../graph/index.js';
import { opsetOf } from '../../graph/opsets.js';

/** The names that the nodes in the place of a region need. */
export interface FoldedNames {
  /** Of the node that has the numbers. */
  readonly node: string;
  readonly weight: string;
  readonly bias: string | undefined;
  /** A name for a value between two of them. */
  readonly fresh: (base: string) => string;
}

/** The nodes that a region becomes, reading constants of the given names. */
export function foldedNodes(region: Region, composition: Composition, names: FoldedNames): NodeSpec[] {
  const { output, source, head, tail, nodes } = region;
  const { node: label } = names;
  const arranging: NodeSpec[] = [];
  let from = source;
  const present = [...nodes];
  for (const [i, step] of head.entries()) {
    const made = names.fresh(`${source}/${i === head.length - 1 ? 'arranged' : 'turned'}`);
    const at = present.findIndex((node) => node.opType.toLowerCase() === step.kind);
    const [own] = at < 0 ? [] : present.splice(at, 1);
    const name = own?.name ?? stepName(label && `${label}/source`, head, i);
    arranging.push(...rearrangingNodes(region, step, from, names.fresh, { name, outputs: [made] }));
    from = made;
  }
  const rearranging: NodeSpec[] = [];
  let input = output;
  // From the last to the first, so that each knows the value that it makes.
  for (const [i, step] of [...tail.entries()].reverse()) {
    const made = input;
    input = names.fresh(`${output}/${i === 0 ? 'folded' : 'turned'}`);
    const common = { name: stepName(label, tail, i), outputs: [made] };
    rearranging.unshift(...rearrangingNodes(region, step, input, names.fresh, common));
  }
  const ends = { source: from, output: input };
  return [...arranging, ...mapNodes(region, composition, names, ends), ...rearranging];
}

/** A name for one of several nodes; of a kind that comes more than once, with its number. */
function stepName(label: string, steps: readonly Rearrangement[], at: number): string {
  const kind = steps[at]?.kind ?? '';
  const earlier = steps.slice(0, at).filter((step) => step.kind === kind).length;
  return label === '' ? '' : `${label}/${kind}${earlier === 0 ? '' : `_${earlier + 1}`}`;
}

function rearrangingNodes(
  { graph }: Region,
  step: Rearrangement,
  input: string,
  fresh: FoldedNames['fresh'],
  common: Pick<NodeSpec, 'name' | 'outputs'>,
): NodeSpec[] {
  switch (step.kind) {
    case 'transpose': {
      const attributes = { perm: { ints: step.permutation } };
      return [{ ...common, opType: 'Transpose', inputs: [input], attributes }];
    }
    case 'flatten':
      return [{ ...common, opType: 'Flatten', inputs: [input], attributes: { axis: { int: 1 } } }];
    case 'reshape': {
      if (opsetOf(graph) < 5)
        return [
          { ...common, opType: 'Reshape', inputs: [input], attributes: { shape: { ints: step.target } } },
        ];
      const shape = fresh(`${common.outputs[0]}/shape`);
      const tensor = Tensor.of('', 'int64', [step.target.length], BigInt64Array.from(step.target, BigInt));
      return [
        { opType: 'Constant', inputs: [], outputs: [shape], attributes: { value: { tensor } } },
        { ...common, opType: 'Reshape', inputs: [input, shape] },
      ];
    }
  }
}

/** The values that the node with the numbers stands between. */
interface Ends {
  readonly source: string;
  readonly output: string;
}

function mapNodes(
  region: Region,
  composition: Composition,
  names: FoldedNames,
  { source, output }: Ends,
): NodeSpec[] {
  const { carrier, chain } = region;
  const { target } = composition;
  const common = {
    template: withoutName(carrier.proto),
    ...(names.node !== '' && { name: names.node }),
    outputs: [output],
    metadata: foldedMetadata(carrier),
  };
  const inputs = [source, names.weight, ...(names.bias === undefined ? [] : [names.bias])];
  switch (target.main) {
    case 'BatchNormalization': {
      const attributes = { epsilon: { float: carrier.attributes.float('epsilon', Math.fround(1e-5)) } };
      const statistics = carrier.inputs.slice(3, 5);
      return [{ ...common, opType: 'BatchNormalization', inputs: [...inputs, ...statistics], attributes }];
    }
    case 'Conv':
      return [{ ...common, opType: 'Conv', inputs, ...convAttributes(region) }];
    case 'ConvTranspose':
      return [{ ...common, opType: 'ConvTranspose', inputs, ...transposedAttributes(region) }];
    case 'Gemm':
      return [{ ...common, opType: 'Gemm', inputs, ...gemmAttributes(region, composition) }];
    case 'MatMul': {
      const factors = region.frame.axis === 'left' ? [names.weight, source] : [source, names.weight];
      const own = chain && { attributeProtos: carrier.proto.attribute ?? [] };
      const product = { ...common, ...own, opType: 'MatMul', inputs: factors };
      if (names.bias === undefined) return [product];
      const between = names.fresh(`${region.output}/product`);
      return [
        { ...product, outputs: [between] },
        {
          opType: 'Add',
          name: names.node === '' ? '' : `${names.node}/bias`,
          inputs: [between, names.bias],
          outputs: [output],
          ...broadcast(region),
        },
      ];
    }
    default:
      return pointwiseNodes(region, names, { source, output });
  }
}

/** Before operator set 7 nothing was broadcast unless said. */
function broadcast({ graph }: Region): Pick<NodeSpec, 'attributes'> {
  return opsetOf(graph) < 7 ? { attributes: { broadcast: { int: 1 } } } : {};
}

function withoutName(proto: NodeProto): NodeProto {
  const { name: _name, ...copy } = proto;
  copyUnknownFields(proto, copy);
  return copy;
}

function pointwiseNodes(
  { carrier, target }: Region,
  names: FoldedNames,
  { source, output }: Ends,
): NodeSpec[] {
  const metadata = foldedMetadata(carrier);
  const steps = target.operators.filter((opType) => opType === 'Mul' || opType === 'Add');
  let value = source;
  return steps.map((opType, i) => {
    const isLast = i === steps.length - 1;
    const made = isLast ? output : names.fresh(`${output}/product`);
    const suffix = i > 0 ? '/bias' : '';
    const inputs = [value, opType === 'Mul' ? names.weight : (names.bias ?? '')];
    value = made;
    const name = names.node === '' ? '' : `${names.node}${suffix}`;
    return { opType, name, inputs, outputs: [made], metadata };
  });
}

type NodeAttributes = Pick<NodeSpec, 'attributes' | 'attributeProtos'>;

/** The attributes of a node that was there where the window is still its own, so that it keeps what it leaves to defaults. */
function convAttributes({ expression, carrier, chain }: Region): NodeAttributes {
  const { geometry } = expression;
  const grid = gridOf(geometry);
  const kernel = chain === undefined ? carrier : kernelOf(chain);
  const noted = chain?.note.attributes;
  const candidates = [
    ...(noted === undefined ? [] : [decodeAttributes(noted)]),
    ...(kernel.is('Conv') ? [kernel.proto.attribute ?? []] : []),
  ];
  const reader = chain?.factors[0]?.node ?? carrier;
  const own = candidates.find((list) => list !== undefined && isMeant(list, geometry, grid, reader));
  if (own !== undefined) return { attributeProtos: own };
  return {
    attributes: {
      dilations: { ints: grid.dilations },
      group: { int: geometry.groups },
      kernel_shape: { ints: grid.extents },
      ...(geometry.auto ? { auto_pad: { string: geometry.auto.mode } } : { pads: { ints: grid.pads } }),
      strides: { ints: geometry.stride },
    },
  };
}

/** The factor of a chain of convolutions that has the kernel; of several the first. */
function kernelOf({ factors, last }: Chain): Node {
  return (factors.find(isSpatial) ?? factors[0] ?? last).node;
}

/** True for attributes that say of a convolution what its geometry is. */
function isMeant(
  list: AttributeProtos,
  { stride, groups, auto }: Geometry,
  { extents, dilations, pads }: Grid,
  reader: Node,
): boolean {
  const attributes = new Attributes(list, '');
  const ones = extents.map(() => 1);
  const isWindow =
    (attributes.ints('kernel_shape') ?? extents).join() === extents.join() &&
    (attributes.ints('strides') ?? ones).join() === stride.join() &&
    (attributes.ints('dilations') ?? ones).every(
      (dilation, axis) => extents[axis] === 1 || dilation === dilations[axis],
    ) &&
    attributes.int('group', 1) === groups;
  if (!isWindow) return false;
  if (auto !== undefined) return attributes.string('auto_pad', 'NOTSET') === auto.mode;
  const own = explicitPads(list, extents, reader);
  return !('reason' in own) && own.join() === pads.join();
}

function transposedAttributes({ expression, carrier }: Region): NodeAttributes {
  const { upsampling, groups } = expression.geometry;
  const { proto, attributes } = upsampling?.node ?? carrier;
  const given = proto.attribute ?? [];
  const isSame = attributes.int('group', 1) === groups;
  return { attributeProtos: isSame ? given : withAttribute(given, 'group', { int: groups }) };
}

function gemmAttributes(region: Region, composition: Composition): NodeAttributes {
  const { expression, carrier, graph, chain, kept } = region;
  const { isTransposed } = expression.geometry;
  const hasNewBias = composition.bias?.kind === 'new';
  if (chain !== undefined) return chainGemmAttributes(region, hasNewBias);
  const transB = Number(composition.layout === 'out-in');
  const { attributes } = carrier;
  const [alpha, beta] = [kept.alpha?.attributes.float('alpha', 1) ?? 1, kept.bias?.beta ?? 1];
  const isSame =
    carrier.is('Gemm') &&
    attributes.float('alpha', 1) === alpha &&
    (attributes.float('beta', 1) === beta || composition.bias === undefined) &&
    attributes.int('transA', 0) === Number(isTransposed) &&
    attributes.int('transB', 0) === transB &&
    (attributes.has('broadcast') || opsetOf(graph) >= 7);
  if (isSame) return { attributeProtos: carrier.proto.attribute ?? [] };
  return {
    attributes: {
      ...(alpha !== 1 && { alpha: { float: alpha } }),
      ...(beta !== 1 && { beta: { float: beta } }),
      ...(isTransposed && { transA: { int: 1 } }),
      transB: { int: transB },
      ...broadcast(region).attributes,
    },
  };
}

/** Of a chain: those of its last factor, with what the first says of the input. */
function chainGemmAttributes(region: Region, hasNewBias: boolean): NodeAttributes {
  const { carrier, expression } = region;
  const set = (list: AttributeProtos, name: string, value: AttributeValue) =>
    withAttribute(list, name, value);
  let attributes: AttributeProtos = carrier.proto.attribute ?? [];
  const transA = Number(expression.geometry.isTransposed);
  const own = carrier.is('Gemm') ? carrier.attributes.int('transA', 0) : 0;
  if (transA !== own) attributes = set(attributes, 'transA', { int: transA });
  if (hasNewBias) {
    if (carrier.is('Gemm') && carrier.attributes.has('beta'))
      attributes = set(attributes, 'beta', { float: 1 });
    if (opsetOf(region.graph) < 7) attributes = set(attributes, 'broadcast', { int: 1 });
  }
  return { attributeProtos: attributes };
}

/** With an attribute in the place that it has, or at the end. */
function withAttribute(attributes: AttributeProtos, name: string, value: AttributeValue): AttributeProtos {
  const at = attributes.findIndex((attribute) => attribute.name === name);
  const made = makeAttribute(name, value);
  return at < 0 ? [...attributes, made] : attributes.toSpliced(at, 1, made);
}
