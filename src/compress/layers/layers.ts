import { type LinearSite, taps } from '../../affine/linear-site.js';
import { findLinearSites } from '../../affine/linear-sites.js';
import { isDeclared } from '../../affine/note.js';
import { explicitPads } from '../../affine/operators/conv.js';
import type { Model, Node } from '../../graph/index.js';
import { matching } from '../../graph/names/glob.js';
import { trainedNames } from '../../graph/names/trained-names.js';
import { ValueKeys } from '../../graph/names/value-keys.js';
import type { Skipped } from '../../graph/skipped.js';
import { stayingElements } from '../../passes/expand/account.js';
import { behindIdentity } from '../../passes/rewrite/weight-source.js';

/** A weight that can be factorized, and the nodes that read it: more than one where layers share it. */
export interface Layer {
  /** The label of the first node. */
  readonly name: string;
  readonly site: LinearSite;
  readonly sites: readonly LinearSite[];
  readonly outputs: number;
  readonly inputs: number;
  readonly kernel: readonly number[];
  /** The weight as a matrix: outputs x (inputs * taps). */
  readonly rows: number;
  readonly columns: number;
}

export interface LayerChoice {
  readonly only?: readonly string[] | undefined;
  readonly exclude?: readonly string[] | undefined;
}

/**
 * Operators that take weights in few bits. To factorize these and round the factors again would leave, for the share of bytes, the ranks that
 * factors of the original have for that share, and the errors of two roundings.
 */
const QUANTIZED = new Set([
  'ConvInteger',
  'DynamicQuantizeMatMul',
  'MatMulBnb4',
  'MatMulFpQ4',
  'MatMulInteger',
  'MatMulIntegerToFloat',
  'MatMulNBits',
  'QGemm',
  'QLinearConv',
  'QLinearMatMul',
]);

/**
 * The layers of a model that can be factorized, in the order of execution, and the linear nodes that cannot, with the reason.
 *
 * @throws PatternError for a pattern that matches no linear node
 */
export function findLayers(
  model: Model,
  { only = [], exclude = [] }: LayerChoice,
): { readonly layers: Layer[]; readonly skipped: Skipped[] } {
  const { sites, others } = findLinearSites(model);
  const names = [...sites, ...others].map(({ node }) => node.label);
  const file = model.path;
  const isOnly =
    only.length === 0 ? () => true : matching(only, names, { option: 'only', what: 'linear layer', file });
  const isExcluded = matching(exclude, names, { option: 'exclude', what: 'linear layer', file });
  const trained = trainedNames(model);
  const skipped: Skipped[] = [];
  const skip = (node: Node, reason: string): void => {
    skipped.push({ node: node.label, op: node.opType, reason });
  };
  for (const { node, reason } of others)
    skip(
      node,
      /quantized/.test(reason) ? `${reason}; compress the model that it was quantized from` : reason,
    );
  for (const node of model.graph.nodes)
    if (QUANTIZED.has(node.opType))
      skip(node, 'its weight is quantized; compress the model that it was quantized from');
  const keys = new ValueKeys();
  const groups = new Map<string, LinearSite[]>();
  for (const site of sites) {
    const reason = reasonAgainst(site, model, trained);
    const isChosen = isOnly(site.node.label) && !isExcluded(site.node.label);
    if (!isChosen || reason !== undefined) {
      skip(site.node, isChosen ? (reason ?? '') : 'not selected');
      continue;
    }
    const stored = behindIdentity(site.weight);
    const key = keys.of(stored.graph, stored.value);
    groups.set(key, [...(groups.get(key) ?? []), site]);
  }
  const layers: Layer[] = [];
  for (const group of groups.values()) {
    const [site] = group;
    if (site === undefined) continue;
    const problem = reasonAgainstGroup(group);
    if (problem !== undefined) {
      for (const { node } of group) skip(node, problem);
      continue;
    }
    const { inputs, outputs, kernel } = site;
    layers.push({
      name: site.node.label,
      site,
      sites: group,
      outputs,
      inputs,
      kernel,
      rows: outputs,
      columns: inputs * taps(kernel),
    });
  }
  return { layers, skipped };
}

function reasonAgainst(site: LinearSite, model: Model, trained: ReadonlySet<string>): string | undefined {
  const { node, op, groups, inputs, outputs, kernel, weight } = site;
  if (node.graph !== model.graph)
    return `it is in ${node.graph.kind === 'function' ? 'a function' : 'a subgraph'}, whose values do not come out of a run`;
  if (op === 'ConvTranspose') return 'transposed convolutions are left alone';
  if (groups > 1) return `its ${groups} groups have ${inputs} input channels each, too few to factorize`;
  const pads = op === 'Conv' ? explicitPads(node.proto.attribute ?? [], kernel, node) : [];
  if ('reason' in pads) return pads.reason;
  if (isDeclared(node)) return 'it is a factor of a chain of expand; collapse the model first';
  if (weight.leaves.some(({ name }) => trained.has(name)))
    return 'training_info of the file updates its weight';
  const columns = inputs * taps(kernel);
  // Two factors of rank 1 have rows + columns elements.
  if (outputs + columns >= outputs * columns)
    return `its weight is ${outputs} x ${columns}, which no factors make smaller`;
  return undefined;
}

function reasonAgainstGroup(group: readonly LinearSite[]): string | undefined {
  const [first] = group;
  const layout = ({ op, orientation, weightInput, weight }: LinearSite): string =>
    JSON.stringify([op === 'Conv', orientation, weightInput === 0, weight.shape]);
  if (first !== undefined && group.some((site) => layout(site) !== layout(first)))
    return 'layers share its weight and read it in different layouts';
  if (stayingElements(group).some((elements) => elements > 0))
    return 'another node reads its weight as well, so that the file would keep it beside the factors';
  return undefined;
}
