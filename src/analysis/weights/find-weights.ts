import type { Model, Node } from '../../graph/index.js';
import type { ChainView } from '../report/options.js';
import { type ChainProduct, findChainProducts } from './chain-products.js';
import { type FoundWeights, type WeightMatrix, weightsInSight, withWeightsInSight } from './weights.js';

export { CHAIN_VIEWS, type ChainView } from '../report/options.js';

/** Options of findWeights. */
export interface WeightOptions {
  /** Of chains that `expand` wrote: the factors, what they multiply out to, or both (the default). */
  readonly chains?: ChainView | undefined;
}

/**
 * The weight matrices of a model in the order of execution (those of a subgraph in the place of the node that
 * holds it), in the main graph, in subgraphs and in functions; and the nodes with weights that are left out, with the
 * reason. A matrix that several nodes use, a transposed view of it included, is one. Reads no weights.
 *
 * Where a function of the model's own takes a weight as an argument, its nodes are those of a copy of the model that has its body in
 * place of the call, with the name of the call before theirs.
 *
 * @throws ModelError for functions that stand for more nodes than fit the memory limit
 * @example
 * const { weights, others } = findWeights(await readModel('model.onnx'));
 */
export function findWeights(model: Model, options: WeightOptions = {}): FoundWeights {
  const { chains = 'both' } = options;
  const inSight = withWeightsInSight(model);
  const { weights, others } = weightsInSight(inSight);
  const { products, open } = findChainProducts(inSight);
  if (chains !== 'factors') others.push(...open);
  return { weights: withChains(weights, products, chains), others };
}

/** Products stand before the first of their factors. */
function withChains(
  weights: readonly WeightMatrix[],
  products: readonly ChainProduct[],
  view: ChainView,
): WeightMatrix[] {
  const byNode = new Map(
    products.flatMap((product) => product.nodes.map((node) => [node, product] as const)),
  );
  const done = new Set<ChainProduct>();
  return weights.flatMap((weight): WeightMatrix[] => {
    const product = weight.uses.map(({ node }) => byNode.get(node)).find((one) => one !== undefined);
    if (product === undefined) return [weight];
    const role = { weight: product.weight, site: product.site };
    const rows: WeightMatrix[] = [];
    if (!done.has(product) && view !== 'factors') {
      const { data, op, rows: m, columns: n, conv } = product;
      const [node] = product.nodes as readonly [Node, ...Node[]];
      rows.push({
        name: product.weight,
        uses: [{ node, op, data, rows: m, columns: n, conv }],
        shape: data.shape,
        rows: m,
        columns: n,
        dataType: data.dataType,
        chain: { role: 'product', ...role },
      });
    }
    done.add(product);
    if (view !== 'product') rows.push({ ...weight, chain: { role: 'factor', ...role } });
    return rows;
  });
}
