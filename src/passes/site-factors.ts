import type { LinearSite } from '../analysis/linear-sites.js';
import { EPSILON, type FloatType } from '../graph/index.js';
import { evaluateConstant } from '../runtime/constant.js';
import type { Matrix } from '../runtime/matmul.js';
import { Random } from '../runtime/random.js';
import { decompose, type Floats, type MatrixSource } from './decompose.js';
import { balancedFactors, type Factors, identityFactors } from './factorize.js';

export const EXPAND_INITS = ['balanced', 'identity'] as const;
export type ExpandInit = (typeof EXPAND_INITS)[number];

export interface FactorSettings {
  readonly depth: number;
  readonly width: number;
  readonly init: ExpandInit;
  readonly seed: number;
}

/** One weight of a chain. */
export interface SiteFactor {
  readonly shape: readonly number[];
  readonly data: Floats;
}

/** The weights of a chain. */
export interface SiteFactors {
  /** One by one, each with its place in the order of application: they need not be in memory together. */
  factors(): AsyncGenerator<readonly [index: number, factor: SiteFactor]>;
  /** The largest of the groups'. */
  readonly rank: number;
}

/** Factorizes the weight of a site, group by group. */
export async function factorizeSite(
  site: LinearSite,
  hidden: number,
  settings: FactorSettings,
): Promise<SiteFactors | { readonly reason: string }> {
  const { depth, init, seed } = settings;
  const { groups, orientation } = site;
  const perGroup = hidden / groups;
  const { type, matrices } = await matricesOf(site);
  const problem = whyNotDecomposable(matrices);
  if (problem !== undefined) return { reason: problem };
  const results: Factors[] = [];
  let rank = 0;
  for (const [group, matrix] of matrices.entries()) {
    const random = new Random(`${seed}/${site.weight.value}/${group}`);
    const result =
      init === 'balanced'
        ? await balancedFactors(matrix, orientation, depth, perGroup, EPSILON[type], random)
        : identityFactors(matrix, orientation, depth, perGroup, random);
    rank = Math.max(rank, result.rank);
    if (result.factors !== undefined) results.push(result);
  }
  if (rank > perGroup) return tooNarrow(site, rank, perGroup, settings);
  return {
    rank,
    async *factors() {
      // In the order of multiplication; the groups' blocks stand one behind the other.
      for (let i = 0; i < depth; i += 1) {
        const blocks: Matrix[] = [];
        for (const { factors } of results)
          blocks.push(await (factors[i] as () => Matrix | Promise<Matrix>)());
        const index = orientation === 'out-in' ? depth - 1 - i : i;
        yield [index, siteFactor(site, blocks, index)] as const;
      }
    },
  };
}

/** Why factorizeSite would refuse; reads the weight, but factorizes it only where its rank decides. */
export async function whyNotFactorizable(
  site: LinearSite,
  hidden: number,
  settings: FactorSettings,
): Promise<{ readonly reason: string } | undefined> {
  const perGroup = hidden / site.groups;
  const { type, matrices } = await matricesOf(site);
  const problem = whyNotDecomposable(matrices);
  if (problem !== undefined) return { reason: problem };
  let rank = 0;
  if (settings.init === 'identity') rank = outputsPerGroup(site);
  else if (perGroup < Math.min(site.rows / site.groups, site.columns)) {
    for (const matrix of matrices)
      rank = Math.max(rank, (await decompose(matrix, EPSILON[type])).values.length);
  }
  return rank > perGroup ? tooNarrow(site, rank, perGroup, settings) : undefined;
}

/** A tenth of the time of every(Number.isFinite): nothing is called for each element. */
function whyNotDecomposable(matrices: readonly MatrixSource[]): string | undefined {
  let zero = 0;
  let largest = 0;
  for (const matrix of matrices) {
    const { data } = matrix.load();
    for (let i = 0; i < data.length; i += 1) {
      const size = Math.abs(data[i] as number);
      zero += 0 * size;
      if (size > largest) largest = size;
    }
  }
  if (zero !== 0) return 'its weight has NaN or infinite values';
  const isInRange = largest === 0 || (largest > 1e-140 && largest < 1e140);
  return isInRange
    ? undefined
    : `its weight has values of the order of ${largest.toExponential(0)}, whose squares are out of range`;
}

function tooNarrow(
  site: LinearSite,
  rank: number,
  perGroup: number,
  { width, init }: FactorSettings,
): { readonly reason: string } {
  const enough = Math.ceil((rank / outputsPerGroup(site)) * 1e4) / 1e4;
  const what = init === 'balanced' ? `its weight has rank ${rank}` : `identities need ${rank} hidden units`;
  const group = site.groups > 1 ? ' a group' : '';
  return {
    reason: `${what}${group}, more than the ${perGroup} hidden units of width ${width}; use --width ${enough} or more`,
  };
}

function outputsPerGroup(site: LinearSite): number {
  return site.orientation === 'out-in' ? site.rows / site.groups : site.columns;
}

/** The weight as one matrix a group; a single one is read again each time, and not held in between. */
async function matricesOf(site: LinearSite): Promise<{ type: FloatType; matrices: MatrixSource[] }> {
  const { groups, columns } = site;
  const tensor = await evaluateConstant(site.weight.graph, site.weight.value);
  const type = tensor.dataType as FloatType;
  const rows = site.rows / groups;
  if (groups === 1) {
    return { type, matrices: [{ rows, columns, load: () => ({ rows, columns, data: tensor.floats() }) }] };
  }
  const values = tensor.floats();
  const matrices = Array.from({ length: groups }, (_, group) => {
    const data = values.subarray(group * rows * columns, (group + 1) * rows * columns);
    return { rows, columns, load: () => ({ rows, columns, data }) };
  });
  return { type, matrices };
}

/** The blocks of the groups as one tensor: a matrix, or a convolution kernel that is 1x1 behind the first. */
function siteFactor(site: LinearSite, blocks: readonly Matrix[], index: number): SiteFactor {
  const rows = blocks.reduce((sum, block) => sum + block.rows, 0);
  const columns = blocks[0]?.columns ?? 0;
  const data = joined(blocks);
  if (site.op !== 'Conv') return { shape: [rows, columns], data };
  const extents = index === 0 ? site.kernel : site.kernel.map(() => 1);
  const inputs = index === 0 ? (site.weight.shape[1] ?? 0) : columns;
  return { shape: [rows, inputs, ...extents], data };
}

function joined(blocks: readonly Matrix[]): Floats {
  const [first] = blocks;
  if (first !== undefined && blocks.length === 1) return first.data;
  const length = blocks.reduce((sum, block) => sum + block.data.length, 0);
  const isDouble = blocks.some((block) => block.data instanceof Float64Array);
  const out = isDouble ? new Float64Array(length) : new Float32Array(length);
  let offset = 0;
  for (const block of blocks) {
    out.set(block.data, offset);
    offset += block.data.length;
  }
  return out;
}
