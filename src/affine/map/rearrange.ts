import { type Refusal, refuse } from '../refusal.js';
import { type AxisLayout, type Digit, tiled } from './layout.js';
import { isOne, isSame, ONE, type Size, times } from './size.js';

/** A node that brings a value from its source's axes into its own. */
export type Rearrangement =
  | { readonly kind: 'transpose'; readonly permutation: readonly number[] }
  | { readonly kind: 'flatten' }
  | { readonly kind: 'reshape'; readonly target: readonly number[] };

const sizeOfAll = (digits: readonly Digit[]): Size =>
  digits.reduce((whole, digit) => times(whole, digit.size), ONE);

/** What makes a layout of the source's own; empty where it is the same. */
export function rearrangements(layout: AxisLayout, name: string): Rearrangement[] | Refusal {
  const { axes, sizes } = layout;
  const order: number[] = [];
  for (const { axis, weight, size } of axes.flat()) {
    if (!isOne(weight) || !isSame(size, sizes[axis] ?? ONE)) return fromParts(layout, name);
    order.push(axis);
  }
  const units = sizes.flatMap((_, axis) => (order.includes(axis) ? [] : [axis]));
  const isSorted = order.every((axis, i) => i === 0 || axis > (order[i - 1] ?? 0));
  // Axes of size 1 fill the places that are left, so that a permutation alone may do.
  const spare = [...units];
  const plain = axes.map((digits) => (digits.length === 0 ? spare.shift() : digits[0]?.axis));
  const isPlain = axes.length === sizes.length && axes.every((digits) => digits.length < 2);
  if (isPlain && plain.every((axis, at) => axis === at)) return [];
  if (isPlain) return [{ kind: 'transpose', permutation: plain.map((axis) => axis ?? 0) }];
  const permutation = isSorted ? sizes.map((_, axis) => axis) : [...order, ...units];
  const steps: Rearrangement[] = isSorted ? [] : [{ kind: 'transpose', permutation }];
  const [first, second, ...more] = axes;
  const isFlat =
    second !== undefined && more.length === 0 && first?.length === 1 && first[0]?.axis === permutation[0];
  if (isFlat) return [...steps, { kind: 'flatten' }];
  return withReshape(
    steps,
    axes.map(sizeOfAll),
    permutation.map((axis) => sizes[axis] ?? ONE),
    name,
  );
}

/** Where axes come apart: cut, and if need be turned and joined. */
function fromParts(layout: AxisLayout, name: string): Rearrangement[] | Refusal {
  const { axes, sizes } = layout;
  const digits = axes.flat();
  const parts = sizes.flatMap((_, axis) => tiled(digits.filter((digit) => digit.axis === axis)) ?? []);
  if (parts.length !== digits.length) return refuse('unsupported', `'${name}' leaves an axis in parts`);
  if (digits.every((digit, i) => digit === parts[i]))
    return withReshape([], axes.map(sizeOfAll), sizes, name);
  // Axes of size 1 are cut too, so that turning may be all that is left: those in front, and those behind.
  const leading = axes.findIndex(({ length }) => length > 0);
  const units = axes.filter(({ length }) => length === 0).length - leading;
  const cut = withReshape(
    [],
    [...ones(leading), ...parts.map(({ size }) => size), ...ones(units)],
    sizes,
    name,
  );
  if ('reason' in cut) return cut;
  let unit = leading + parts.length;
  const permutation = axes.flatMap((own, at) => {
    if (own.length > 0) return own.map((digit) => leading + parts.indexOf(digit));
    return [at < leading ? at : unit++];
  });
  const steps: Rearrangement[] = [...cut, { kind: 'transpose', permutation }];
  if (axes.every(({ length }) => length < 2)) return steps;
  const turned = axes.flatMap((own) => (own.length === 0 ? [ONE] : own.map(({ size }) => size)));
  return withReshape(steps, axes.map(sizeOfAll), turned, name);
}

function ones(count: number): Size[] {
  return new Array<Size>(count).fill(ONE);
}

function withReshape(
  steps: readonly Rearrangement[],
  wanted: readonly Size[],
  before: readonly Size[],
  name: string,
): Rearrangement[] | Refusal {
  const target = wanted.map((size, at) => {
    if (size.symbols.length === 0) return size.factor;
    return isSame(size, before[at] ?? ONE) ? 0 : -1;
  });
  if (target.filter((dim) => dim === -1).length > 1)
    return refuse('unsupported', `'${name}' makes a shape of which more than one size is not known`);
  return [...steps, { kind: 'reshape', target }];
}
