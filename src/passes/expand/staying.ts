import type { LinearSite } from '../../affine/linear-sites.js';
import { type Graph, isFloatType } from '../../graph/index.js';

/**
 * Elements of each site's weight that a file still holds once all of the sites are chains, because something else reads
 * them: an embedding that is tied to a head. Each is counted once, with the first site. Before and after the sites'
 * nodes are replaced it is the same.
 */
export function stayingElements(sites: readonly LinearSite[]): number[] {
  const going = new Set(sites.map(({ node }) => node));
  const makers = new Set(sites.flatMap(({ weight }) => weight.path));
  const isRead = (graph: Graph, value: string): boolean =>
    graph.isOutput(value) || graph.uses(value).some(({ node }) => !going.has(node));
  // The last first: what makes a weight goes with it.
  for (let before = -1; before < going.size; ) {
    before = going.size;
    for (const maker of makers)
      if (!maker.outputs.some((output) => output !== '' && isRead(maker.graph, output))) going.add(maker);
  }
  const counted = new Set<object>();
  return sites.map(({ weight: { graph, path, leaves, root } }) => {
    const stored = leaves.filter(
      ({ name, dataType }) => isFloatType(dataType) && isRead(graph.resolve(name)?.graph ?? graph, name),
    );
    const inNode = path.some((maker) => maker.is('Constant') && !going.has(maker)) ? root : undefined;
    return [...stored, ...(inNode ? [inNode] : [])].reduce((sum, { proto, size }) => {
      if (counted.has(proto)) return sum;
      counted.add(proto);
      return sum + size;
    }, 0);
  });
}
