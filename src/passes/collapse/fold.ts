import { stemOf } from '../../affine/factor-names.js';
import { constantsOfExpression, type ExpressionConstant } from '../../affine/map/expression.js';
import type { Region } from '../../affine/match/region.js';
import {
  type ConstantValue,
  findConstant,
  type Graph,
  isConstant,
  type Node,
  type Tensor,
} from '../../graph/index.js';
import { trainedNames } from '../../graph/names/trained-names.js';
import { RELABELLING } from '../../graph/shapes/relabelling.js';
import { asConstants, editWith, type Placement, scratchTensor } from '../rewrite/placement.js';
import { isNear, placeAsSource, removeUnread } from '../rewrite/weight-source.js';
import { type Product, Products } from './product.js';
import { removeUnreadValue } from './remove-unread.js';
import { foldedNodes } from './write.js';

/** What was made already of regions that are folded one after another. */
export class FoldedConstants {
  /** Names of weights and biases, by the keys of regions: those of one key share them. */
  readonly weights = new Map<string, string>();
  readonly biases = new Map<string, string>();
  /** Names of weights that were read, and by regions of which key: others cannot have the name. */
  readonly read = new Map<string, string>();
}

/** What stands in the place of a region. */
export interface Folded {
  readonly nodes: readonly Node[];
  /** The constants that it reads, and the graph that they stand in. */
  readonly constants: readonly string[];
  readonly home: Graph;
  /** False where its weight was there already. */
  readonly bringsWeight: boolean;
}

/** The constants that a region's nodes, or some of them, read: weights, biases, statistics. */
export function constantsOfRegion({ expression }: Region, isMeant: (node: Node) => boolean): ConstantValue[] {
  return constantsOfExpression(expression)
    .filter(({ node }) => isMeant(node))
    .map(({ constant }) => constant);
}

/**
 * Puts one node in the place of a region's nodes, in one checked edit, and takes away the constants that nothing
 * reads any more. Composed in float64 and rounded once.
 *
 * @param made hand the same to every call, so that regions that shared their weights share the folded one
 * @param computed what the region multiplies out to, if that is known already
 */
export async function foldRegion(
  region: Region,
  made: FoldedConstants = new FoldedConstants(),
  computed?: Product,
): Promise<Folded> {
  const { graph, carrier, frame, expression, nodes } = region;
  const { model } = graph;
  const product = computed ?? (await new Products().of(region));
  const { composition } = product;
  const constants = constantsOfExpression(expression);
  const home = homeOf(region, constants);
  const weight =
    composition.target.main === 'Add' ? NO_WEIGHT : await placeWeight(region, product.weight, home, made);
  const placements: Placement[] = [weight];
  const { bias } = composition;
  let biasName = bias?.kind === 'kept' ? bias.value : undefined;
  if (bias?.kind === 'new') {
    const key = `${composition.target.main} ${region.keys.all()}`;
    biasName = made.biases.get(key);
    if (biasName === undefined || home.resolve(biasName) === undefined) {
      biasName = model.freshName(biasNameOf(weight.name || weightNameOf(region, home, made)));
      placements.push(
        asConstants(home, [await scratchTensor(model, biasName, frame.type, bias.shape, bias.values)]),
      );
      made.biases.set(key, biasName);
    }
  }
  const specs = foldedNodes(region, composition, {
    node: labelOf(region),
    weight: weight.name,
    bias: biasName,
    fresh: (base) => model.freshName(base),
  });
  // Shapes, axes and pads.
  const shapes = nodes
    .filter((node) => node.is(...RELABELLING, 'Pad'))
    .flatMap((node) => node.inputs.slice(1));
  const placed: Placement = {
    nodes: placements.flatMap((placement) => placement.nodes),
    initializers: placements.flatMap((placement) => placement.initializers),
  };
  const inserted = editWith(placed, home, nodes.at(-1) ?? carrier, {
    removeNodes: nodes,
    insertNodes: specs,
  });
  for (const { constant, isWeight } of constants) {
    if (isWeight) made.read.set(constant.value, region.keys.weight());
    removeUnread([constant]);
  }
  for (const value of shapes) removeUnreadValue(graph, value);
  return {
    nodes: inserted,
    constants: [weight.name, biasName ?? ''].filter(Boolean),
    home,
    bringsWeight: weight.nodes.length + weight.initializers.length > 0,
  };
}

interface PlacedWeight extends Placement {
  readonly name: string;
}

const NOTHING: Placement = { nodes: [], initializers: [] };
const NO_WEIGHT: PlacedWeight = { ...NOTHING, name: '' };

/**
 * The product under the name that it is to have: of a chain as its source had it, as the weight that is there still, or
 * as a new one.
 */
async function placeWeight(
  region: Region,
  weight: Tensor,
  home: Graph,
  made: FoldedConstants,
): Promise<PlacedWeight> {
  const { graph, chain } = region;
  const weightKey = region.keys.weight();
  const { model } = graph;
  const known = made.weights.get(weightKey);
  const same = known !== undefined && home.resolve(known) !== undefined ? known : undefined;
  const source = chain?.note.source;
  const placed = await (async (): Promise<PlacedWeight> => {
    if (same !== undefined && (same === chain?.note.weight || source === undefined))
      return { ...NOTHING, name: same };
    if (chain === undefined) {
      const name = weightNameOf(region, home, made);
      return { ...asConstants(home, [weight.renamed(name)]), name };
    }
    const wanted = chain.note.weight;
    const tensor = weight.renamed(wanted);
    if (!isNamed(home, wanted)) {
      const restored = source && (await placeAsSource(home, tensor, source));
      if (restored !== undefined) return { ...restored, name: wanted };
      if (same !== undefined) return { ...NOTHING, name: same };
      return { ...asConstants(home, [tensor]), name: wanted };
    }
    // What else reads the weight kept it, or another chain of the same weight brought it back.
    const present = findConstant(home, wanted);
    if (isConstant(present) && (await isNear(present, tensor))) return { ...NOTHING, name: wanted };
    const name = model.freshName(collapsedName(wanted));
    return { ...asConstants(home, [weight.renamed(name)]), name };
  })();
  made.weights.set(weightKey, placed.name);
  return placed;
}

/** The innermost of the graphs that hold the weights: there all of them, and what they make, can be read. */
function homeOf({ graph }: Region, constants: readonly ExpressionConstant[]): Graph {
  const homes = new Set(constants.filter(({ isWeight }) => isWeight).map(({ constant }) => constant.graph));
  if (homes.size === 0) return graph;
  let home = graph;
  while (!homes.has(home) && home.parent !== undefined) home = home.parent;
  return home;
}

/** True for a name of a value of the graph, of one around it or of one below. */
function isNamed(graph: Graph, name: string): boolean {
  if (graph.resolve(name) !== undefined) return true;
  return [...graph.walk()].some(
    (inner) => inner.producer(name) !== undefined || inner.initializers.has(name) || inner.isInput(name),
  );
}

/** What a product is called that cannot have the name of what it was. */
function collapsedName(weight: string): string {
  return weight.endsWith('/collapsed') ? weight : `${weight}/collapsed`;
}

function biasNameOf(weight: string): string {
  return /(^|[._/])weight$/.test(weight) ? weight.replace(/weight$/, 'bias') : `${weight}/bias`;
}

/** What the names of a chain's factors begin with, if they are one chain's. */
function commonStem(names: readonly string[]): string | undefined {
  const stems = new Set(names.map(stemOf));
  return stems.size === 1 ? [...stems][0] : undefined;
}

/** The name of the node that a region becomes. */
export function labelOf({ carrier, chain, expression, graph, nodes }: Region): string {
  if (chain !== undefined) return chain.note.site;
  const makers = constantsOfExpression(expression).filter(({ isWeight }) => isWeight);
  const stem = commonStem(makers.map(({ node }) => node.name));
  if (stem === undefined) return carrier.name;
  const isTaken = graph.nodes.some((node) => node.name === stem && !nodes.includes(node));
  return isTaken ? carrier.name : stem;
}

/** The name of the factors' weight, or the carrier's weight's where nothing else reads that, or a new one. */
function weightNameOf(
  { carrier, nodes, expression, graph, keys }: Region,
  home: Graph,
  { read: others }: FoldedConstants,
): string {
  const { model } = graph;
  const constants = constantsOfExpression(expression);
  const makers = constants.filter(({ isWeight }) => isWeight);
  const stem = commonStem(makers.map(({ constant }) => constant.value));
  if (stem !== undefined && home.resolve(stem) === undefined) return stem;
  const own = makers.find(({ node }) => node === carrier)?.constant;
  const read = new Set(constants.map(({ constant }) => constant.value));
  const name = own?.value ?? carrier.inputs.find((input) => read.has(input)) ?? `${carrier.name}/weight`;
  const isReplaced =
    own !== undefined &&
    own.path.length === 0 &&
    own.graph === home &&
    home.kind === 'graph' &&
    !home.isOutput(name) &&
    !trainedNames(model).has(name) &&
    (others.get(name) ?? keys.weight()) === keys.weight() &&
    home.uses(name).every(({ node }) => nodes.includes(node));
  return isReplaced ? name : model.freshName(collapsedName(name));
}
