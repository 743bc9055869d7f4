import type { LinearSite } from '../../affine/linear-site.js';
import { isFloatType } from '../../graph/index.js';
import type { Skipped } from '../../graph/skipped.js';
import { isReadBeside, withMakers } from '../rewrite/weight-source.js';
import type { ExpandInit, Recipe } from './options.js';

/** One site that became a chain. */
export interface ExpandedSite {
  readonly node: string;
  readonly op: string;
  readonly weight: string;
  /** The weight as a matrix, as it is stored. */
  readonly rows: number;
  readonly columns: number;
  /** Singular values above the rounding of the weight's type (the largest of the groups); unknown in a dry run. */
  readonly rank: number | undefined;
  /** Units (channels) of each hidden layer. */
  readonly hidden: number;
  readonly depth: number;
  readonly init: ExpandInit;
  /** The chain computes what the site did; not so from fresh weights, with noise, or where `error` says how far off. */
  readonly isPreserved: boolean;
  /** ‖W - product‖F / ‖W‖F of a width below the rank; undefined of one that is enough. */
  readonly error: number | undefined;
  /**
   * The largest ‖w - p‖ / ‖w‖ of a row or column w of the weight and p of the product of the factors as they are stored, from
   * random vectors: within a factor of some 3. Undefined of fresh weights, with noise and in a dry run.
   */
  readonly largestError: number | undefined;
  /** Residual connections of the chain. */
  readonly residuals: number;
  /** BatchNormalizations of the chain. */
  readonly norms: number;
  /** What was asked for and the chain is without, and why. */
  readonly without: readonly string[];
  /** Elements of the weight; 0 where a site before shares it, so that a sum counts it once. */
  readonly parametersBefore: number;
  /**
   * Elements of the factors, 0 where a site before shares them; and those of the weight that the file still holds, since
   * others read it as well.
   */
  readonly parametersAfter: number;
  /** Names of the chain's nodes. */
  readonly nodes: readonly string[];
}

/** What expand returns: which layers became chains, and which were skipped and why. */
export interface ExpandAccount {
  readonly rewritten: readonly ExpandedSite[];
  readonly skipped: readonly Skipped[];
  /** A rule for each site that became a chain and each that was not selected: given back, it does the same. */
  readonly recipe: Recipe;
  /** Patterns that matched no node: most likely misspelt. */
  readonly unmatched: readonly string[];
  /** Calls of the model's own functions that were replaced by their nodes, since a weight is passed to them. */
  readonly inlined: readonly string[];
}

/**
 * Elements of each site's weight that a file still holds once all of the sites are chains, because something else reads
 * them: an embedding that is tied to a head. Each is counted once, with the first site. Before and after the sites'
 * nodes are replaced it is the same.
 */
export function stayingElements(sites: readonly LinearSite[]): number[] {
  const going = withMakers(
    sites.map(({ node }) => node),
    sites.map(({ weight }) => weight),
  );
  const counted = new Set<object>();
  return sites.map(({ weight: { graph, path, leaves, root } }) => {
    const stored = leaves.filter(
      ({ name, dataType }) =>
        isFloatType(dataType) && isReadBeside(going, graph.resolve(name)?.graph ?? graph, name),
    );
    const inNode = path.some((maker) => maker.is('Constant') && !going.has(maker)) ? root : undefined;
    return [...stored, ...(inNode ? [inNode] : [])].reduce((sum, { proto, size }) => {
      if (counted.has(proto)) return sum;
      counted.add(proto);
      return sum + size;
    }, 0);
  });
}
