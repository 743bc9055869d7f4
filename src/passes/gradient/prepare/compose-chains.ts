import { type LinearSite, taps } from '../../../affine/linear-site.js';
import { declaredRegions, isSpatial } from '../../../affine/match/declared.js';
import {
  type Graph,
  type Model,
  makeNode,
  type NodeProto,
  type NodeSpec,
  specOf,
  Tensor,
  type ValueInfo,
  withNodes,
} from '../../../graph/index.js';
import { ValueKeys } from '../../../graph/names/value-keys.js';
import type { Shape } from '../../../graph/shapes/shape-rules.js';
import { Shapes } from '../../../graph/shapes/shapes.js';
import type { ChainSteps } from '../options.js';
import { product } from '../shapes.js';
import { probe } from './infer-shapes.js';

/** A chain whose factors can be multiplied out in the graph, in the order of application. */
interface Composable {
  readonly factors: readonly LinearSite[];
  readonly source: string;
  readonly output: string;
  readonly site: string;
}

/**
 * The model with the factors of chains multiplied together before they meet the data: W3 (W2 (W1 x)) as (W3 W2 W1) x. The
 * function and, by the chain rule, the gradients of all factors are the same but for rounding, and so is what training does. For a
 * batch of p positions the factors take p (n1 n0 + n2 n1 + …) multiply-adds, the product p nk n0 and those of multiplying out,
 * which do not grow with the batch.
 *
 * Chains of two-dimensional Gemm and MatMul, and of convolutions with one group of which the first alone has a kernel, are
 * composed; those with normalizations, residual connections or biases between the factors stay.
 *
 * @param inputs with the sizes of a step
 * @param steps 'auto': chains for which that takes fewer multiply-adds
 * @returns the model itself where nothing is composed
 */
export async function withComposedChains(
  model: Model,
  inputs: readonly ValueInfo[],
  steps: Exclude<ChainSteps, 'factors'> = 'auto',
): Promise<Model> {
  const { graph } = model;
  const constants: Tensor[] = [];
  const named: NameOf = (base) => model.freshName(`grad/chain/${base}`);
  const replaced = new Map<string, readonly NodeProto[]>();
  const chains = declaredRegions(model, new ValueKeys()).regions.flatMap(
    (region) => composableOf(graph, region) ?? [],
  );
  const shapes = steps === 'auto' ? await shapesAt(model, inputs, chains) : undefined;
  for (const chain of chains) {
    if (shapes !== undefined && !isCheaper(chain, positionsOf(chain, shapes))) continue;
    for (const { node } of chain.factors) replaced.set(node.outputs[0] ?? '', []);
    replaced.set(chain.output, composed(chain, named, constants));
  }
  if (replaced.size === 0) return model;
  const nodes = graph.nodes.flatMap((node) => replaced.get(node.outputs[0] ?? '') ?? [node.proto]);
  return withNodes(model, nodes, constants);
}

type NameOf = (base: string) => string;

function composableOf(
  graph: Graph,
  region: ReturnType<typeof declaredRegions>['regions'][number],
): Composable | undefined {
  const { source, output, nodes, chain } = region;
  const { factors, note } = chain;
  const [first] = factors;
  if (region.graph !== graph || first === undefined || factors.length < 2) return undefined;
  if (nodes.length !== factors.length || !factors.every((factor, i) => isPlain(graph, factor, i, factors)))
    return undefined;
  return { factors, source, output, site: note.site };
}

/** May a factor's weight be multiplied with those beside it? */
function isPlain(graph: Graph, site: LinearSite, index: number, factors: readonly LinearSite[]): boolean {
  const { node, op, weight, weightInput, groups, orientation } = site;
  const isLast = index === factors.length - 1;
  const [first] = factors;
  if (op === 'ConvTranspose' || groups !== 1 || op !== first?.op || orientation !== first.orientation)
    return false;
  if (!graph.initializers.has(node.inputs[weightInput] ?? '') || (!isLast && node.inputs[2])) return false;
  if (op === 'Conv') return index === 0 || !isSpatial(site);
  const { attributes } = node;
  return (
    weight.shape.length === 2 &&
    (op === 'MatMul' || (attributes.float('alpha', 1) === 1 && attributes.int('transA', 0) === 0))
  );
}

/** The value whose axes, but for that of the channels, are the places at which a chain is applied. */
function placed({ factors: [first], source, output }: Composable): string {
  return first?.op === 'Conv' ? output : source;
}

/** Shapes of the values at which chains are applied: as the rules tell them or, where sizes are computed, as a run does. */
async function shapesAt(
  model: Model,
  inputs: readonly ValueInfo[],
  chains: readonly Composable[],
): Promise<ReadonlyMap<string, Shape>> {
  const rules = new Shapes(model.graph, {
    inputs: new Map(inputs.map(({ name, shape }) => [name, shape ?? []])),
  });
  const names = [...new Set(chains.map(placed))];
  const isOpen = (name: string): boolean =>
    rules.of(name)?.every((size) => typeof size === 'number') !== true;
  const open = names.filter(isOpen);
  const found = new Map<string, Shape>(names.map((name) => [name, rules.of(name) ?? []]));
  if (open.length === 0) return found;
  const { shapes } = await probe(model, inputs, open);
  for (const name of open) found.set(name, shapes.get(name) ?? []);
  return found;
}

/** Places at which the chain is applied in a step; undefined where they are not known. */
function positionsOf(chain: Composable, shapes: ReadonlyMap<string, Shape>): number | undefined {
  const { factors } = chain;
  const [first] = factors;
  const shape = shapes.get(placed(chain));
  if (shape === undefined || shape.length === 0) return undefined;
  const channels = first?.op === 'Conv' ? 1 : (shape?.length ?? 0) - (first?.weightInput === 0 ? 2 : 1);
  const sizes = shape?.filter((_, axis) => axis !== channels);
  return sizes?.every((size) => typeof size === 'number') ? product(sizes as number[]) : undefined;
}

function isCheaper(chain: Composable, positions: number | undefined): boolean {
  if (positions === undefined) return false;
  const [inputs, ...widths] = widthsOf(chain);
  if (inputs === undefined) return false;
  const outputs = widths.at(-1) ?? 0;
  const factors = widths.reduce((sum, width, i) => sum + width * (widths[i - 1] ?? inputs), 0);
  const { multiplyAdds } = foldingOf(chain);
  return positions * inputs * outputs + multiplyAdds < positions * factors;
}

/** What each factor reads, a kernel's elements each for itself, and what the last makes. */
function widthsOf({ factors }: Composable): number[] {
  const [first] = factors;
  return [(first?.inputs ?? 0) * taps(first?.kernel ?? []), ...factors.map(({ outputs }) => outputs)];
}

/** From which end multiplying out takes fewer multiply-adds. */
function foldingOf(chain: Composable): { readonly fromFirst: boolean; readonly multiplyAdds: number } {
  const widths = widthsOf(chain);
  const [inputs = 0, ...made] = widths;
  const outputs = made.at(-1) ?? 0;
  const pairs = made.slice(1).map((width, i) => width * (made[i] ?? 0));
  const first = inputs * pairs.reduce((sum, pair) => sum + pair, 0);
  const last = outputs * widths.slice(0, -2).reduce((sum, width, i) => sum + width * (widths[i + 1] ?? 0), 0);
  return { fromFirst: first <= last, multiplyAdds: Math.min(first, last) };
}

/** The nodes of a chain that is multiplied out, and the shapes that they take. */
function composed(chain: Composable, named: NameOf, constants: Tensor[]): NodeProto[] {
  const { factors, source, output, site } = chain;
  const [first, last] = [factors[0], factors.at(-1)];
  if (first === undefined || last === undefined) return [];
  const specs: NodeSpec[] = [];
  const op = (opType: string, inputs: readonly string[]): string => {
    const made = named(`${site}/${specs.length}`);
    specs.push({ opType, name: made, inputs, outputs: [made] });
    return made;
  };
  const reshaped = (value: string, shape: readonly number[]): string => {
    const sizes = Tensor.of(
      named(`${site}/shape`),
      'int64',
      [shape.length],
      BigInt64Array.from(shape, BigInt),
    );
    constants.push(sizes);
    return op('Reshape', [value, sizes.name]);
  };
  const isConv = first.op === 'Conv';
  const matrices = factors.map(({ node, weightInput, rows, columns }) => {
    const name = node.inputs[weightInput] ?? '';
    return isConv ? reshaped(name, [rows, columns]) : name;
  });
  const isOutIn = first.orientation === 'out-in';
  // (later, earlier) in the order of application.
  const multiplied = (later: string, earlier: string): string =>
    op('MatMul', isOutIn ? [later, earlier] : [earlier, later]);
  const whole = foldingOf(chain).fromFirst
    ? matrices.reduce((sofar, next) => multiplied(next, sofar))
    : matrices.reduceRight((sofar, previous) => multiplied(sofar, previous));
  const weight = isConv ? reshaped(whole, [last.outputs, first.inputs, ...first.kernel]) : whole;
  const operands = last.weightInput === 0 ? [weight, source] : [source, weight];
  const { attributes, ...spec } = specOf((isConv ? first : last).node.proto);
  const bias = last.node.inputs.slice(2);
  return [
    ...specs.map(makeNode),
    makeNode({
      ...spec,
      ...(attributes && { attributes }),
      name: site,
      inputs: [...operands, ...bias],
      outputs: [output],
    }),
  ];
}
