import { type ConstantValue, findConstant, isConstant, type Node } from '../../graph/index.js';
import type { LinearSite } from '../linear-sites.js';
import { whyNotKernels } from './kernel-attributes.js';
import { type ChainNote, readChainNote } from './note.js';
import { inputsPerGroup, outputsPerGroup } from './site-size.js';

/** A linear node in the form that composing needs. */
export interface Link {
  readonly node: Node;
  readonly site: LinearSite;
  /** The bias, where it is a constant vector over the outputs. */
  readonly bias: ConstantValue | undefined;
  /** A bias that is one zero: what Gemm must have before opset 11. Then there is no other. */
  readonly zero: ConstantValue | undefined;
  /** True where the bias is something else: it can be kept, but not multiplied or added to. */
  readonly hasOpenBias: boolean;
  readonly note: ChainNote | undefined;
}

export function linkOf(site: LinearSite): Link {
  const { node } = site;
  const name = site.op === 'MatMul' ? undefined : node.inputs[2];
  const vector = name ? vectorBias(site, name) : undefined;
  const isZero = vector?.root?.size === 1 && vector.root.floats()[0] === 0;
  return {
    node,
    site,
    bias: isZero ? undefined : vector,
    zero: isZero ? vector : undefined,
    hasOpenBias: Boolean(name) && vector === undefined,
    note: readChainNote(node),
  };
}

/** A bias that is the same for every row of the batch; undefined for others. */
function vectorBias(site: LinearSite, name: string): ConstantValue | undefined {
  const found = findConstant(site.node.graph, name);
  if (!isConstant(found) || found.dataType !== site.weight.dataType) return undefined;
  const { shape } = found;
  const last = shape.at(-1) ?? 1;
  const isRow = shape.slice(0, -1).every((dim) => dim === 1) && (last === outputsOf(site) || last === 1);
  return isRow ? found : undefined;
}

/** Why two neighbours can not be one node; undefined where they can. */
export function whyNotComposable(a: Link, b: Link): string | undefined {
  const [from, to] = [a.site, b.site];
  if (from.weight.dataType !== to.weight.dataType) return 'its factors have different element types';
  if (a.hasOpenBias) return `'${a.node.label}' has a bias that is no constant vector`;
  if (from.groups !== to.groups) return 'its factors have different groups';
  if (kindOf(from) !== kindOf(to)) return `its factors are ${kindOf(from)} and ${kindOf(to)}`;
  if (kindOf(from) === MATRICES) {
    const isLeft = (site: LinearSite): boolean => site.op === 'MatMul' && site.weightInput === 0;
    if (isLeft(from) !== isLeft(to)) return 'its factors multiply from different sides';
    if (to.op === 'Gemm' && to.node.attributes.int('transA', 0) === 1)
      return 'a later factor transposes its input';
  }
  const outputs = outputsPerGroup(from) * from.groups;
  const inputs = inputsPerGroup(to) * to.groups;
  return outputs === inputs ? undefined : `${outputs} outputs meet ${inputs} inputs`;
}

const MATRICES = 'a matrix product';

function kindOf(site: LinearSite): string {
  if (site.op === 'Conv') return 'a convolution';
  if (site.op === 'ConvTranspose') return 'a transposed convolution';
  return isBatched(site) ? 'a product of batches' : MATRICES;
}

/** True for a MatMul with a batch of constant matrices. */
export function isBatched(site: LinearSite): boolean {
  return site.op === 'MatMul' && site.weight.shape.length > 2;
}

/** Chains of transposed convolutions and of batches are folded where they say that they are chains. */
export function isStructural({ site }: Link): boolean {
  return site.op !== 'ConvTranspose' && !isBatched(site);
}

/** True for a chain of convolutions of which one behind the first has a kernel. */
export function isKernelChain(chain: readonly Link[]): boolean {
  const [first, ...rest] = chain;
  if (first?.site.op !== 'Conv' || first.note?.attributes === undefined) return false;
  return rest.some(({ site }) => site.kernel.some((extent) => extent !== 1));
}

/** Why a run of pairwise composable links is not one node; undefined where it is. */
export function whyNotOne(chain: readonly Link[]): string | undefined {
  const inner = chain.slice(0, -1);
  if (chain.at(-1)?.hasOpenBias && inner.some((link) => link.bias !== undefined)) {
    return 'a bias would have to be added to one that is no constant vector';
  }
  const [first] = chain;
  if (first === undefined) return undefined;
  if (isKernelChain(chain))
    return whyNotKernels(chain.map(({ node, site }) => ({ node, kernel: site.kernel })));
  if (!isStructural(first) && inner.some((link) => link.bias !== undefined || link.hasOpenBias)) {
    return 'a bias stands between its factors';
  }
  if (isBatched(first.site)) {
    const batches = new Set(chain.map(({ site }) => site.weight.shape.slice(0, -2).join()));
    return batches.size > 1 ? 'its batches have different shapes' : undefined;
  }
  if (first.site.op !== 'Conv' && first.site.op !== 'ConvTranspose') return undefined;
  const spatial = chain.filter((link) => isSpatial(link.site));
  if (spatial.length > 1) return 'more than one of its convolutions has a kernel, stride or padding';
  const [carrier] = spatial;
  if (carrier === undefined) return undefined;
  const before = chain.slice(0, chain.indexOf(carrier));
  if (isPadded(carrier.site) && before.some((link) => link.bias !== undefined)) {
    return 'a bias stands before a padded convolution, so that the border differs';
  }
  return undefined;
}

export function outputsOf(site: LinearSite): number {
  if (site.op === 'ConvTranspose') return outputsPerGroup(site) * site.groups;
  return site.orientation === 'out-in' ? site.rows : site.columns;
}

/** Inputs of the matrix; of a convolution, of one group and with the kernel. */
export function inputsOf(site: LinearSite): number {
  return site.orientation === 'out-in' ? site.columns : site.rows;
}

/** True for a convolution that does more than mix channels: a kernel, stride or padding. */
export function isSpatial(site: LinearSite): boolean {
  const { attributes } = site.node;
  return (
    site.kernel.some((extent) => extent !== 1) ||
    (attributes.ints('strides') ?? []).some((stride) => stride !== 1) ||
    (attributes.ints('output_padding') ?? []).some((padding) => padding !== 0) ||
    attributes.has('output_shape') ||
    isPadded(site)
  );
}

function isPadded(site: LinearSite): boolean {
  const { attributes } = site.node;
  const automatic = attributes.string('auto_pad', 'NOTSET');
  // With a kernel of one element SAME pads nothing.
  if (automatic.startsWith('SAME')) return site.kernel.some((extent) => extent !== 1);
  return automatic === 'NOTSET' && (attributes.ints('pads') ?? []).some((pad) => pad !== 0);
}
