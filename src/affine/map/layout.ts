import type { Dimension } from '../../graph/index.js';
import type { Relabelling } from '../../graph/shapes/relabelling.js';
import { type Refusal, refuse } from '../refusal.js';
import type { Axis } from './geometry.js';
import { isOne, isSame, keyOf, ONE, over, type Size, sizeOf, textOf, times } from './size.js';

/** A digit of the index along one axis of the source: (index / weight) mod size. */
export interface Digit {
  readonly axis: number;
  readonly weight: Size;
  readonly size: Size;
}

/**
 * How the axes of a value are made of those of the source of its region. A value's axis holds digits of the source's
 * axes, the last of which runs fastest; one of size 1 may hold none.
 */
export interface AxisLayout {
  /** Sizes along the source's axes, as they are by now. */
  readonly sizes: readonly Size[];
  /** The source's axis that is mixed. */
  readonly channel: number;
  readonly axes: readonly (readonly Digit[])[];
}

function wholeAxis(axis: number, size: Size): Digit[] {
  return isOne(size) ? [] : [{ axis, weight: ONE, size }];
}

/** The layout of a source itself. */
export function sourceLayout(shape: readonly Dimension[], channel: number): AxisLayout {
  const sizes = shape.map((dim, axis) => sizeOf(dim, `?${axis}`));
  // A single channel has a digit all the same, so that its place is known.
  const axes = sizes.map((size, axis) =>
    axis === channel ? [{ axis, weight: ONE, size }] : wholeAxis(axis, size),
  );
  return { sizes, channel, axes };
}

/** The axis of a source of so many axes that maps of a kind mix. */
export function channelAxis(axis: Axis, rank: number): number {
  return axis === 'channel' ? 1 : axis === 'last' ? rank - 1 : rank - 2;
}

/** Digits that follow each other as they do in their axis are one. */
export function joined(digits: readonly Digit[]): Digit[] {
  const result: Digit[] = [];
  for (const digit of digits) {
    const last = result.at(-1);
    const continues =
      last !== undefined && last.axis === digit.axis && isSame(last.weight, times(digit.weight, digit.size));
    if (continues) result[result.length - 1] = { ...digit, size: times(last.size, digit.size) };
    else result.push(digit);
  }
  return result;
}

/** Digits of one axis from the slowest to the fastest; undefined where they are not all of it up to the slowest. */
export function tiled(digits: readonly Digit[]): Digit[] | undefined {
  const rest = [...digits];
  const order: Digit[] = [];
  let weight = ONE;
  while (rest.length > 0) {
    const at = rest.findIndex((digit) => isSame(digit.weight, weight));
    const [next] = at < 0 ? [] : rest.splice(at, 1);
    if (next === undefined) return undefined;
    order.unshift(next);
    weight = times(weight, next.size);
  }
  return order;
}

/** The layout behind a node that relabels, or why that cannot be told. */
export function relabelled(layout: AxisLayout, how: Relabelling, name: string): AxisLayout | Refusal {
  const { axes } = layout;
  const rank = axes.length;
  const at = (axis: number, of = rank): number => (axis < 0 ? axis + of : axis);
  const unknown = (why: string): Refusal => refuse('unsupported', `'${name}' ${why}`);
  switch (how.kind) {
    case 'transpose': {
      const order = how.permutation(rank);
      if (order.length !== rank) return unknown(`permutes ${order.length} axes of ${rank}`);
      return { ...layout, axes: order.map((axis) => axes[axis] ?? []) };
    }
    case 'squeeze': {
      const isUnit = (digits: readonly Digit[]): boolean => digits.every(({ size }) => isOne(size));
      // Of axes that are named the runtime makes sure that their size is 1.
      const gone = new Set(how.axes?.map((axis) => at(axis)));
      if (how.axes === undefined) {
        if (axes.some((digits) => digits.some(({ size }) => size.symbols.length > 0)))
          return unknown('drops axes of size 1, and not all sizes are known');
        return { ...layout, axes: axes.filter((digits) => !isUnit(digits)) };
      }
      const dropped = axes.filter((_, axis) => gone.has(axis)).flat();
      // A digit that is the whole of its axis has size 1 then; of a part that would have to be followed up.
      if (
        dropped.some(({ axis, size }) => axis === layout.channel || !isSame(size, layout.sizes[axis] ?? ONE))
      )
        return unknown('drops an axis whose size is not known to be 1');
      const units = new Set(dropped.map(({ axis }) => axis));
      return {
        ...layout,
        sizes: layout.sizes.map((size, axis) => (units.has(axis) ? ONE : size)),
        axes: axes.filter((_, axis) => !gone.has(axis)),
      };
    }
    case 'unsqueeze': {
      const all = rank + how.axes.length;
      const added = new Set(how.axes.map((axis) => at(axis, all)));
      const rest = [...axes];
      return {
        ...layout,
        axes: Array.from({ length: all }, (_, i) => (added.has(i) ? [] : (rest.shift() ?? []))),
      };
    }
    case 'flatten': {
      const split = at(how.axis);
      return { ...layout, axes: [joined(axes.slice(0, split).flat()), joined(axes.slice(split).flat())] };
    }
    case 'reshape': {
      const sizes = axes.map((digits) => digits.reduce((size, digit) => times(size, digit.size), ONE));
      const target = how.target.map((dim, axis): Size | undefined => {
        if (dim === -1) return undefined;
        return dim === 0 && !how.allowsZero ? sizes[axis] : { factor: dim, symbols: [] };
      });
      const known = target.reduce<Size>((size, dim) => (dim ? times(size, dim) : size), ONE);
      const missing = over(sizes.reduce(times, ONE), known);
      if (missing === undefined)
        return unknown(`makes of axes [${sizes.map(textOf)}] others that they may not fit`);
      const split = splitAs(
        axes.flat(),
        target.map((size) => size ?? missing),
      );
      return split === undefined
        ? unknown(`cuts axes [${sizes.map(textOf)}] where they may not come apart`)
        : { ...layout, axes: split };
    }
  }
}

/** Digits in a row as axes of the given sizes; undefined where one would end within a digit at no known place. */
function splitAs(digits: readonly Digit[], sizes: readonly Size[]): Digit[][] | undefined {
  const rest = digits.filter((digit) => !isOne(digit.size));
  const axes: Digit[][] = [];
  for (const size of [...sizes].reverse()) {
    let wanted = size;
    const axis: Digit[] = [];
    while (!isOne(wanted)) {
      const digit = rest.pop();
      if (digit === undefined) return undefined;
      const left = over(wanted, digit.size);
      if (left !== undefined) {
        axis.unshift(digit);
        wanted = left;
        continue;
      }
      const above = over(digit.size, wanted);
      if (above === undefined) return undefined;
      axis.unshift({ ...digit, size: wanted });
      rest.push({ ...digit, weight: times(digit.weight, wanted), size: above });
      wanted = ONE;
    }
    axes.unshift(joined(axis));
  }
  return rest.length === 0 ? axes : undefined;
}

/** True for values whose axes are made alike of the source's. Their sizes are alike where their maps' windows are. */
export function isSameLayout(a: AxisLayout, b: AxisLayout): boolean {
  const key = ({ axes, sizes }: AxisLayout): string =>
    JSON.stringify(
      axes.map((digits) =>
        digits.map(({ axis, weight, size }) =>
          isOne(weight) && isSame(size, sizes[axis] ?? ONE) ? axis : [axis, keyOf(weight), keyOf(size)],
        ),
      ),
    );
  return key(a) === key(b);
}

/** The axis that holds all of the channels and nothing else; undefined where there is none. */
export function channelPlace({ axes, channel, sizes }: AxisLayout): number | undefined {
  const at = axes.findIndex((digits) => digits.some(({ axis }) => axis === channel));
  const digits = axes[at];
  if (digits === undefined || digits.some(({ axis }) => axis !== channel)) return undefined;
  const total = digits.reduce((size, digit) => times(size, digit.size), ONE);
  return isSame(total, sizes[channel] ?? ONE) ? at : undefined;
}

/** For each channel as the value has them, which of the source's it is; undefined where they are in order. */
export function channelOrder(layout: AxisLayout): number[] | undefined {
  const digits = layout.axes[channelPlace(layout) ?? -1] ?? [];
  if (digits.length < 2) return undefined;
  return digits.reduce<number[]>(
    (order, { weight, size }) =>
      order.flatMap((base) => Array.from({ length: size.factor }, (_, i) => base + i * weight.factor)),
    [0],
  );
}

/** The source's axis that a value's axis is the whole of; undefined for merged, cut and added ones. */
export function axisOf({ axes, sizes }: AxisLayout, at: number): number | undefined {
  const [digit, ...others] = axes[at] ?? [];
  if (digit !== undefined) {
    const isWhole =
      others.length === 0 && isOne(digit.weight) && isSame(digit.size, sizes[digit.axis] ?? ONE);
    return isWhole ? digit.axis : undefined;
  }
  // Of size 1: the source's axis at the same place, if that is one, too.
  return sizes.length === axes.length && isOne(sizes[at] ?? ONE) ? at : undefined;
}

/** With so many channels, in order, where they are an axis by themselves. */
export function withChannels(layout: AxisLayout, count: number): AxisLayout {
  const at = channelPlace(layout) ?? layout.channel;
  const size: Size = { factor: count, symbols: [] };
  const sizes = layout.sizes.with(layout.channel, size);
  return { ...layout, sizes, axes: layout.axes.with(at, [{ axis: layout.channel, weight: ONE, size }]) };
}

/**
 * With windowed axes as a step of that stride and slack leaves them.
 *
 * @param kind '' for one whose stride and slack say the size; else what sizes have in common that are the same
 * @param grown sizes that such a one makes, where they can be told
 */
export function withWindows(
  layout: AxisLayout,
  stride: readonly number[],
  slack: readonly number[],
  kind: string,
  grown: (size: number, window: number) => number | undefined = () => undefined,
): AxisLayout {
  const sizes = layout.sizes.map((size, axis) => {
    const known =
      axis >= 2 && kind !== '' && size.symbols.length === 0 ? grown(size.factor, axis - 2) : undefined;
    if (known !== undefined) return { factor: known, symbols: [] };
    const [step, extra] = [stride[axis - 2] ?? 1, slack[axis - 2] ?? 0];
    if (axis < 2 || (step === 1 && extra === 0 && kind === '')) return size;
    if (kind !== '' || size.symbols.length > 0)
      return { factor: 1, symbols: [`(${keyOf(size)} ${kind || extra})/${step}`] };
    return { factor: Math.floor((size.factor + extra - 1) / step) + 1, symbols: [] };
  });
  const axes = layout.axes.map((digits, at) => {
    const axis = axisOf(layout, at);
    const [size, before] = axis === undefined ? [] : [sizes[axis], layout.sizes[axis]];
    return axis === undefined || size === undefined || size === before ? digits : wholeAxis(axis, size);
  });
  return { ...layout, sizes, axes };
}
