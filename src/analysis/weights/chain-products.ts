import { compose } from '../../affine/chains/compose.js';
import { composeSteps } from '../../affine/chains/compose-steps.js';
import { isBatched, type Link } from '../../affine/chains/link.js';
import { type Chain, declaredChains } from '../../affine/chains/match.js';
import { convolutionAttributes, foldedShape } from '../../affine/chains/shape.js';
import { Attributes, type Model, type Node } from '../../graph/index.js';
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
  const { chains, skipped } = declaredChains(model);
  const products: ChainProduct[] = [];
  const open: OpenChain[] = skipped.map(({ first, reason }) => openChain(first.node, reason));
  const seen = new Set<string>();
  for (const chain of chains) {
    const [first] = chain.links as readonly [Link, ...Link[]];
    if (isBatched(first.site)) {
      open.push(openChain(first.node, 'its factors are batches of matrices'));
      continue;
    }
    const product = productOf(chain);
    if (!seen.has(product.data.key)) products.push(product);
    seen.add(product.data.key);
  }
  return { products, open };
}

function openChain(node: Node, reason: string): OpenChain {
  return { node, reason: `the product of its chain: ${reason}` };
}

function productOf(chain: Chain): ChainProduct {
  const { links, whole } = chain;
  const { site, note } = links.at(-1) as Link;
  const shape = foldedShape(links);
  const [rows = 0, ...rest] = shape;
  const name = links[0]?.note?.source?.root?.name ?? note?.weight ?? '';
  const multiply = remembered(() => elementsOf(chain));
  const read = whole?.steps.flatMap(({ norm, skips }) => [
    ...(norm ? [norm.scale, norm.variance] : []),
    ...skips.flatMap(({ projection }) => projection?.site.weight ?? []),
  ]);
  const constants = [...links.map((link) => link.site.weight), ...(read ?? [])];
  const data: WeightData = {
    name,
    shape,
    dataType: site.weight.dataType,
    owner: links,
    key: JSON.stringify([name, ...constants.map(({ root, value }) => root?.name ?? value)]),
    isTransposed: false,
    read: async () => ({ data: await multiply(), isOwn: false }),
  };
  const projections = (whole?.steps ?? []).flatMap(({ skips }) =>
    skips.flatMap(({ projection }) => projection?.node ?? []),
  );
  return {
    weight: name,
    site: note?.site || site.node.label,
    nodes: [...links.map(({ node }) => node), ...projections],
    op: site.op,
    data,
    rows,
    columns: rest.reduce((product, size) => product * size, 1),
    ...(site.kernel.length > 0 && { conv: geometryOf(links) }),
  };
}

function geometryOf(links: readonly Link[]): ConvGeometry {
  const attributes = new Attributes(convolutionAttributes(links), '');
  return {
    groups: links[0]?.site.groups ?? 1,
    strides: attributes.ints('strides'),
    dilations: attributes.ints('dilations'),
  };
}

async function elementsOf({ links, whole }: Chain): Promise<Float64Array> {
  if (whole !== undefined) return Float64Array.from((await composeSteps(whole.steps)).weight);
  const parts: Float64Array[] = [];
  for await (const part of (await compose(links)).weight) parts.push(Float64Array.from(part));
  return joined(parts) as Float64Array;
}
