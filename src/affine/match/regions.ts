import type { Model, Node } from '../../graph/index.js';
import { ValueKeys } from '../../graph/names/value-keys.js';
import { withoutCopies } from './copies.js';
import { Partition } from './partition.js';
import type { FoundRegions, RefusedRegion, Region } from './region.js';
import { type AffineOptions, affineGraph } from './segments.js';

/**
 * `force` takes each region as large as it is exact, whatever it costs. Default: a partition of each maximal affine
 * region that leaves the fewest parameters, no part of which costs more after than before.
 */
export type FindOptions = AffineOptions;

/**
 * Finds the affine regions of a model: connected nodes that are together an affine function of one value. Changes
 * nothing; of the weights it reads at most vectors, to see whether a bias is zero.
 *
 * @example
 * const { regions, refused } = findRegions(await readModel('repvgg.onnx'));
 * for (const region of regions) await foldRegion(region);
 */
export function findRegions(model: Model, options: FindOptions = {}): FoundRegions {
  const keys = new ValueKeys();
  const regions: Region[] = [];
  const refused: RefusedRegion[] = [];
  for (const graph of [model.graph, ...model.functions].flatMap((root) => [...root.walk()])) {
    const finder = new Partition(affineGraph(graph, options), options.force ?? false, keys);
    const found = finder.solve([...finder.affine.operators.keys()]);
    const order = new Map(graph.nodes.map((node, index) => [node, index]));
    const place = ({ nodes }: { nodes: readonly Node[] }): number => order.get(nodes.at(-1) as Node) ?? 0;
    regions.push(...[...found.regions].sort((a, b) => place(a) - place(b)));
    refused.push(...[...found.refused, ...finder.operandRefusals()].sort((a, b) => place(a) - place(b)));
  }
  if (options.force) return { regions, refused };
  return withoutCopies({ regions, refused });
}
