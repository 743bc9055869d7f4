import { composeRegion } from '../../affine/compose.js';
import { constantsOfExpression } from '../../affine/map/expression.js';
import { gridOf } from '../../affine/map/geometry.js';
import { declaredRegions } from '../../affine/match/declared.js';
import type { Chain, Region } from '../../affine/match/region.js';
import type { Model, Node } from '../../graph/index.js';
import { ValueKeys } from '../../graph/names/value-keys.js';
import { joined } from '../../linalg/floats.js';
import type { ConvGeometry } from './types.js';
import { remembered, type WeightData } from './weight-data.js';

/** A chain of linear nodes that stands for one, and what it multiplies out to. */
export interface ChainProduct {
  /** The weight that the chain stands for. */
  readonly weight: string;
  /** The node that it stands for; the last of the chain where that had no name. */
  readonly site: string;
  /** Its linear nodes, those of connections included; the first factor first. */
  readonly nodes: readonly Node[];
  readonly op: string;
  readonly data: WeightData;
  readonly rows: number;
  readonly columns: number;
  readonly conv?: ConvGeometry | undefined;
}

/** A chain whose product is not known here, and why. */
export interface OpenChain {
  readonly node: Node;
  readonly reason: string;
}

/**
 * The chains of a model that say so in their metadata, and what collapse would fold each to: residual connections and
 * BatchNormalization (with its running statistics) are in the product. Reads no weights.
 *
 * @example
 * const { products } = findChainProducts(await readModel('expanded.onnx'));
 */
export function findChainProducts(model: Model): { products: ChainProduct[]; open: OpenChain[] } {
  const { regions, broken } = declaredRegions(model, new ValueKeys());
  const products: ChainProduct[] = [];
  const open: OpenChain[] = broken.map(({ first, reason }) => openChain(first.node, reason));
  const seen = new Set<string>();
  for (const region of regions) {
    const [first] = region.nodes;
    if (region.frame.batch !== undefined) {
      if (first !== undefined) open.push(openChain(first, 'its factors are batches of matrices'));
      continue;
    }
    const product = productOf(region);
    if (!seen.has(product.data.key)) products.push(product);
    seen.add(product.data.key);
  }
  return { products, open };
}

function openChain(node: Node, reason: string): OpenChain {
  return { node, reason: `the product of its chain: ${reason}` };
}

function productOf(region: Region & { readonly chain: Chain }): ChainProduct {
  const { chain, expression } = region;
  const { note, last, linear } = chain;
  const shape = shapeOf(region);
  const [rows = 0, ...rest] = shape;
  const name = note.source?.root?.name ?? note.weight;
  const multiply = remembered(() => elementsOf(region));
  // What is added to its outputs is not of the product.
  const constants = constantsOfExpression(expression)
    .filter(
      ({ node, constant, isWeight }) => isWeight || [1, 4].includes(node.inputs.indexOf(constant.value)),
    )
    .filter(({ node, isWeight }) => isWeight || node.is('BatchNormalization'))
    .map(({ constant }) => constant);
  const data: WeightData = {
    name,
    shape,
    dataType: last.weight.dataType,
    owner: region,
    key: JSON.stringify([name, ...constants.map(({ root, value }) => root?.name ?? value)]),
    isTransposed: false,
    read: async () => ({ data: await multiply(), isOwn: false }),
  };
  return {
    weight: name,
    site: note.site || last.node.label,
    nodes: linear,
    op: last.op,
    data,
    rows,
    columns: rest.reduce((product, size) => product * size, 1),
    ...(last.kernel.length > 0 && { conv: geometryOf(region) }),
  };
}

/** The shape of the weight that a chain multiplies out to, in the layout of its last node. */
function shapeOf({
  expression: { geometry },
  chain: { last },
}: Region & { readonly chain: Chain }): number[] {
  const { inputs, outputs, groups, upsampling } = geometry;
  if (last.kernel.length === 0) return last.orientation === 'out-in' ? [outputs, inputs] : [inputs, outputs];
  const { extents } = gridOf(geometry);
  return upsampling === undefined
    ? [outputs, inputs / groups, ...extents]
    : [inputs, outputs / groups, ...extents];
}

function geometryOf({ expression: { geometry } }: Region): ConvGeometry {
  const { groups, stride, upsampling } = geometry;
  return { groups, strides: upsampling?.strides ?? stride, dilations: gridOf(geometry).dilations };
}

async function elementsOf(region: Region): Promise<Float64Array> {
  const parts: Float64Array[] = [];
  const { weight } = await composeRegion(region);
  for await (const part of weight()) parts.push(Float64Array.from(part));
  return joined(parts) as Float64Array;
}
