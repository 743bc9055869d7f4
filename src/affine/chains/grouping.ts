import { stemOf } from './factor-names.js';
import { inputsOf, isSpatial, type Link, outputsOf, whyNotOne } from './link.js';

/** What a grouping costs; the first number that differs decides. */
type Cost = readonly [parameters: number, oddities: number, groups: number];

const NOTHING: Cost = [0, 0, 0];

/**
 * Splits a run into groups such that folding each leaves the fewest parameters, and no group costs more
 * multiply-adds after folding than before. Dynamic programming over the ends of groups.
 *
 * Where hidden layers have the width of a boundary, cuts at each of them cost the same. Then the one counts that
 * looks like a boundary of what `expand` was given.
 */
export function cheapestGrouping(run: readonly Link[]): (readonly Link[])[] {
  const best: { cost: Cost; start: number }[] = [{ cost: NOTHING, start: 0 }];
  for (let end = 1; end <= run.length; end += 1) {
    let choice: { cost: Cost; start: number } | undefined;
    for (let start = 0; start < end; start += 1) {
      const group = run.slice(start, end);
      if (!isWorthwhile(group)) continue;
      const cost = sum(best[start]?.cost ?? NOTHING, [parametersOf(group), odditiesOf(group), 1]);
      if (choice === undefined || isLess(cost, choice.cost)) choice = { cost, start };
    }
    best.push(choice ?? { cost: NOTHING, start: end - 1 });
  }
  const groups: (readonly Link[])[] = [];
  for (let end = run.length; end > 0; ) {
    const start = best[end]?.start ?? end - 1;
    groups.unshift(run.slice(start, end));
    end = start;
  }
  return groups;
}

function isWorthwhile(group: readonly Link[]): boolean {
  return group.length === 1 || (whyNotOne(group) === undefined && parametersOf(group) <= workOf(group));
}

function sum(a: Cost, b: Cost): Cost {
  return [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
}

function isLess(a: Cost, b: Cost): boolean {
  const at = a.findIndex((part, index) => part !== b[index]);
  return at >= 0 && (a[at] as number) < (b[at] as number);
}

function parametersOf(group: readonly Link[]): number {
  const [first] = group;
  const last = group.at(-1);
  if (first === undefined || last === undefined) return 0;
  if (first.site.op !== 'Conv') return inputsOf(first.site) * outputsOf(last.site);
  const kernel = Math.max(
    ...group.map((link) => link.site.kernel.reduce((product, extent) => product * extent, 1)),
  );
  return (first.site.weight.shape[1] ?? 0) * outputsOf(last.site) * kernel;
}

/** Multiply-adds for one output position of the group: nodes before the carrier of a stride work at more positions. */
function workOf(group: readonly Link[]): number {
  let positions = 1;
  let work = 0;
  for (const link of [...group].reverse()) {
    work += positions * link.site.rows * link.site.columns;
    positions *= (link.node.attributes.ints('strides') ?? []).reduce(
      (product, stride) => product * stride,
      1,
    );
  }
  return work;
}

/** What a chain by `expand` has not: a bias before the end, a kernel behind the start, names of several sites. */
function odditiesOf(group: readonly Link[]): number {
  const biases = group.slice(0, -1).filter((link) => link.bias !== undefined).length;
  const kernels = group.slice(1).filter((link) => isSpatial(link.site)).length;
  const stems = new Set(group.map((link) => stemOf(link.node.name))).size - 1;
  return biases + kernels + stems;
}
