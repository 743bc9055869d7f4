import { isBatched, type Link } from '../../affine/chains/link.js';
import { type Chain, projectionsOf } from '../../affine/chains/match.js';
import { foldedShape } from '../../affine/chains/shape.js';
import { outputsPerGroup } from '../../affine/chains/site-size.js';
import { constantsOf } from '../../affine/operators.js';
import type { ConstantValue } from '../../graph/index.js';

/** Multiply-adds of a chain as it is and of its product, for one position of its output (one row, of matrices). */
export interface ChainWork {
  readonly before: number;
  readonly after: number;
}

export function workOfChain(chain: Chain): ChainWork {
  const { links, whole } = chain;
  const steps = whole?.steps ?? links.map((link) => ({ link, norm: undefined, skips: [] }));
  let before = 0;
  /** Positions of a factor's output for one of the chain's. */
  let positions = 1;
  for (const { link, norm, skips } of [...steps].reverse()) {
    const outputs = outputsPerGroup(link.site) * (isBatched(link.site) ? 1 : link.site.groups);
    before += positions * (workOf(link) + (norm === undefined ? 0 : outputs));
    for (const { projection } of skips)
      before += positions * (outputs + (projection === undefined ? 0 : workOf(projection)));
    positions *= link.site.op === 'ConvTranspose' ? 1 / strideOf(link) : strideOf(link);
  }
  const [first] = links;
  const shared =
    first && isBatched(first.site)
      ? batchOf(first)
      : links.reduce((product, link) => product * spread(link), 1);
  return { before, after: sizeOf(foldedShape(links)) / shared };
}

/** The constants of a chain: weights, biases, statistics. */
export function constantsOfChain(chain: Chain): ConstantValue[] {
  const links = [...chain.links, ...projectionsOf(chain)];
  const norms = chain.whole?.steps.flatMap(({ norm }) => (norm ? constantsOf(norm) : [])) ?? [];
  const own = links.flatMap(({ site, bias, zero }) =>
    [site.weight, bias, zero].filter((constant) => constant !== undefined),
  );
  return [...own, ...norms];
}

function workOf(link: Link): number {
  return sizeOf(link.site.weight.shape) / (isBatched(link.site) ? batchOf(link) : spread(link));
}

/** How many positions share in the weights: those that a ConvTranspose makes of one. */
function spread(link: Link): number {
  return link.site.op === 'ConvTranspose' ? strideOf(link) : 1;
}

function batchOf({ site }: Link): number {
  return sizeOf(site.weight.shape.slice(0, -2));
}

function strideOf({ node }: Link): number {
  return sizeOf(node.attributes.ints('strides') ?? []);
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}
