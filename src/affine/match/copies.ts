import type { ConstantValue, Node } from '../../graph/index.js';
import { constantsOfExpression } from '../map/expression.js';
import type { FoundRegions, RefusedRegion, Region } from './region.js';
import { sizesAfter } from './region.js';

/** True where nothing but some nodes reads a constant or what it is made of: then it goes with them. */
export function isReadOnlyByNodes(constant: ConstantValue, nodes: ReadonlySet<Node>): boolean {
  return otherReaderOf(constant, nodes) === undefined;
}

/** What besides some nodes reads a constant, or what it is made of; undefined where nothing does. */
function otherReaderOf(
  { graph, value, path, leaves }: ConstantValue,
  nodes: ReadonlySet<Node>,
): string | undefined {
  const makers = new Set(path);
  const made = path.flatMap(({ outputs }) => outputs);
  for (const name of new Set([value, ...made, ...leaves.map((leaf) => leaf.name)])) {
    if (name === '') continue;
    const home = graph.resolve(name)?.graph ?? graph;
    if (home.isOutput(name)) return 'an output of the graph';
    const reader = home.uses(name).find(({ node }) => !nodes.has(node) && !makers.has(node));
    if (reader !== undefined) return `'${reader.node.label}'`;
  }
  return undefined;
}

/** What a file holds of a constant, and how many elements that has: nothing of what is computed of a shape. */
export function storedParts({
  leaves,
  path,
  root,
}: ConstantValue): (readonly [part: object, size: number])[] {
  const node = path.find((maker) => maker.is('Constant'));
  const inNode = node === undefined ? [] : [[node, root?.size ?? 1] as const];
  return [...leaves.map((leaf) => [leaf.proto, leaf.size] as const), ...inNode];
}

/**
 * Leaves out regions that would make a file larger: something else reads what they are made of, so that they would bring a
 * copy of it.
 */
export function withoutCopies({ regions, refused }: FoundRegions): FoundRegions {
  const kept = new Set<Region>();
  const copies: RefusedRegion[] = [];
  for (const group of connected(regions)) {
    // Where regions grow together, those may be right that share all that they are made of.
    const parts = growthOf(group) <= 0 ? [group] : grouped(group, ({ keys }) => keys.all());
    for (const part of parts) {
      const growth = parts.length === 1 && part === group ? 0 : growthOf(part);
      for (const region of part) {
        if (growth <= 0) kept.add(region);
        else copies.push(copyOf(region, part, growth));
      }
    }
  }
  return { regions: regions.filter((region) => kept.has(region)), refused: [...refused, ...copies] };
}

function copyOf(region: Region, part: readonly Region[], growth: number): RefusedRegion {
  const own = new Set(part.flatMap(({ nodes }) => nodes));
  const constants = constantsOfExpression(region.expression);
  const weights = new Set(constants.flatMap(({ constant, isWeight }) => (isWeight ? [constant] : [])));
  let reason = `the file would hold ${growth} parameters more`;
  for (const constant of new Set([...weights, ...constants.map((one) => one.constant)])) {
    const reader = otherReaderOf(constant, own);
    if (reader === undefined) continue;
    const what = weights.has(constant) ? 'weight' : 'constant';
    reason = `its ${what} '${constant.value}' is also read by ${reader}, so that there would be two`;
    break;
  }
  return { kind: 'cost', reason, nodes: region.nodes };
}

/** Elements that folding some regions adds to a file, less those that it takes away. */
function growthOf(regions: readonly Region[]): number {
  const nodes = new Set(regions.flatMap((region) => region.nodes));
  const staying = new Set(regions.flatMap(stayingValues));
  const gone = new Map<object, number>();
  const made = new Map<string, number>();
  for (const region of regions) {
    const { weight, bias } = sizesAfter(region);
    made.set(`weight ${region.keys.weight()}`, weight);
    if (region.kept.bias === undefined) made.set(`bias ${region.keys.all()}`, bias);
  }
  // One that all of the nodes read is looked at once.
  const constants = new Set(
    regions.flatMap(({ expression }) => constantsOfExpression(expression).map(({ constant }) => constant)),
  );
  for (const constant of constants) {
    if (staying.has(constant.value) || !isReadOnlyByNodes(constant, nodes)) continue;
    for (const [part, size] of storedParts(constant)) gone.set(part, size);
  }
  const sum = (sizes: Iterable<number>): number => [...sizes].reduce((total, size) => total + size, 0);
  return sum(made.values()) - sum(gone.values());
}

/** Values that the node in the place of a region reads as they are: a bias, the statistics of a normalization. */
function stayingValues({ kept, target, carrier }: Region): string[] {
  const statistics = target.main === 'BatchNormalization' ? carrier.inputs.slice(3, 5) : [];
  return [...(kept.bias ? [kept.bias.value] : []), ...statistics];
}

/** Regions by what they share, directly or through others. */
function connected(regions: readonly Region[]): Region[][] {
  const leaders = new Map<Region, Region>();
  const leaderOf = (region: Region): Region => {
    let leader = region;
    for (let next = leaders.get(leader); next !== undefined; next = leaders.get(leader)) leader = next;
    if (leader !== region) leaders.set(region, leader);
    return leader;
  };
  const readers = new Map<object, Region>();
  for (const region of regions) {
    for (const { constant } of constantsOfExpression(region.expression)) {
      for (const [part] of storedParts(constant)) {
        const other = leaderOf(readers.get(part) ?? region);
        const own = leaderOf(region);
        if (other !== own) leaders.set(own, other);
        readers.set(part, region);
      }
    }
  }
  return grouped(regions, leaderOf);
}

function grouped<K>(regions: readonly Region[], keyOf: (region: Region) => K): Region[][] {
  const groups = new Map<K, Region[]>();
  for (const region of regions) {
    const key = keyOf(region);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [region]);
    else group.push(region);
  }
  return [...groups.values()];
}
